// SPDX-License-Identifier: GPL-2.0

//! All that belongs to one vendor driver: its units, its fixed domains, the tables that C calls.

use core::{
    fmt::{self, Write},
    ptr,
};

use kernel::{
    bindings, new_mutex,
    prelude::*,
    sync::{
        atomic::{Acquire, Atomic, Full, Release},
        Arc, ArcBorrow, Mutex,
    },
};

use super::{
    device::{self, HostedDevice},
    domain::{self, HostedDomain, Role},
    group::HostedGroup,
    held::Held,
    start::IS_NATIVE,
    unit::HostedUnit,
};
use crate::{
    domain::Domain, driver::VendorDriver, ffi::device::Device, frontend::hosted::refusal::Board,
    pgtable::kernel_memory::KernelMemory, registry::Registry, unit::Unit,
};

/// A vendor driver that this frontend can serve.
///
/// The kernel asks about a device that it knows nothing of yet, with nothing but the function that
/// it calls to tell drivers apart; so each driver has a place where its [`Instance`] is found.
pub trait Hosted: VendorDriver<Memory = KernelMemory> {
    /// The place.
    fn slot() -> &'static Slot<Self>;
}

/// Where C's calls find the instance of a vendor driver.
///
/// # Invariants
///
/// The pointer is null or comes from an [`Arc`] that the slot has a count of.
pub struct Slot<D: Hosted>(Atomic<*const Instance<D>>);

// SAFETY: An instance may be shared between tasks, and the pointer is changed atomically.
unsafe impl<D: Hosted> Sync for Slot<D> {}

impl<D: Hosted> Slot<D> {
    /// A slot with nothing in it.
    pub const fn new() -> Self {
        Self(Atomic::new(ptr::null()))
    }

    /// Fills the slot.
    fn fill(&self, instance: &Arc<Instance<D>>) {
        // INVARIANT: The count goes with the pointer.
        self.0.store(Arc::into_raw(instance.clone()), Release);
    }

    /// Empties the slot. No unit is registered any more, so C does not call.
    fn clear(&self) {
        let raw = self.0.xchg(ptr::null(), Full);
        if !raw.is_null() {
            // SAFETY: By the invariant; nobody uses the slot's count, as there is nobody to call.
            drop(unsafe { Arc::from_raw(raw) });
        }
    }

    /// The instance. The caller is called by C because a unit is registered.
    pub fn get(&self) -> Option<Arc<Instance<D>>> {
        let raw = self.0.load(Acquire);
        if raw.is_null() {
            return None;
        }
        // SAFETY: By the invariant; the slot is emptied only when C does not call any more.
        Some(unsafe { ArcBorrow::from_raw(raw) }.into())
    }
}

/// All that belongs to one vendor driver.
#[pin_data]
pub struct Instance<D: Hosted> {
    module: &'static ThisModule,
    ops: KBox<bindings::iommu_ops>,
    /// Where devices go that nobody may do DMA with, and where groups begin.
    pub blocked: Arc<HostedDomain<D>>,
    pub identity: Arc<HostedDomain<D>>,
    /// Where devices go that leave; blocked as well, but told apart by C's pointer.
    _release: Arc<HostedDomain<D>>,
    pub registry: Arc<Registry>,
    pub board: Arc<Board>,
    /// All units that firmware tells of.
    pub cores: KVec<Arc<Unit<D>>>,
    pub units: KVec<Arc<HostedUnit<D>>>,
    #[pin]
    pub devices: Mutex<KVec<Arc<HostedDevice<D>>>>,
    #[pin]
    pub groups: Mutex<KVec<Arc<HostedGroup<D>>>>,
    #[pin]
    pub held: Mutex<KVec<Held<D>>>,
}

// SAFETY: The table of functions and the domains that it points to do not change once they are
// there; everything else is `Send` and `Sync` by itself.
unsafe impl<D: Hosted> Send for Instance<D> {}
// SAFETY: As above.
unsafe impl<D: Hosted> Sync for Instance<D> {}

impl<D: Hosted> Instance<D> {
    /// Looks for units and makes ready for C's calls. Touches no unit.
    ///
    /// # Errors
    ///
    /// Those of [`VendorDriver::discover`].
    pub fn new(module: &'static ThisModule) -> Result<Arc<Self>> {
        let cores = D::discover()?;
        let mut units = KVec::with_capacity(cores.len(), GFP_KERNEL)?;
        for core in &cores {
            units.push(HostedUnit::new(core)?, GFP_KERNEL)?;
        }
        let registry = Registry::new()?;
        let board = Board::new()?;
        let nothing = Domain::blocked(&registry)?;
        let blocked = HostedDomain::fixed(&nothing, Role::Blocked)?;
        let release = HostedDomain::fixed(&nothing, Role::Release)?;
        let identity = HostedDomain::fixed(&Domain::identity(&registry)?, Role::Identity)?;
        let ops = KBox::new(
            bindings::iommu_ops {
                capable: Some(device::capable::<D>),
                domain_alloc_paging: Some(domain::alloc_paging::<D>),
                probe_device: Some(device::probe::<D>),
                release_device: Some(device::release::<D>),
                device_group: Some(device::group::<D>),
                get_resv_regions: Some(device::reserved_regions::<D>),
                of_xlate: Some(device::tree_id),
                def_domain_type: Some(device::default_type::<D>),
                owner: module.as_ptr(),
                identity_domain: identity.as_c(),
                blocked_domain: blocked.as_c(),
                // The native frontend lets the core's group block a device that leaves.
                release_domain: match IS_NATIVE {
                    true => ptr::null_mut(),
                    false => release.as_c(),
                },
                ..pin_init::zeroed()
            },
            GFP_KERNEL,
        )?;
        Arc::pin_init(
            pin_init!(Self {
                module,
                ops,
                blocked,
                identity,
                _release: release,
                registry,
                board,
                cores,
                units,
                devices <- new_mutex!(KVec::new()),
                groups <- new_mutex!(KVec::new()),
                held <- new_mutex!(KVec::new()),
            }),
            GFP_KERNEL,
        )
    }

    /// Lets C's calls find the instance until [`close`](Self::close).
    pub fn open(self: &Arc<Self>) {
        D::slot().fill(self);
    }

    /// Ends [`open`](Self::open). No unit is registered any more.
    pub fn close() {
        D::slot().clear();
    }

    /// This module.
    pub fn module(&self) -> &'static ThisModule {
        self.module
    }

    /// The functions that C calls.
    pub fn ops(&self) -> *const bindings::iommu_ops {
        &*self.ops
    }

    /// The blocked domain.
    pub fn blocked(&self) -> &Arc<Domain<D>> {
        self.blocked.core()
    }

    /// The identity domain.
    pub fn identity(&self) -> &Arc<Domain<D>> {
        self.identity.core()
    }

    /// The frontend's part of a unit.
    pub fn unit(&self, core: &Arc<Unit<D>>) -> Option<&Arc<HostedUnit<D>>> {
        self.units
            .iter()
            .find(|unit| Arc::ptr_eq(unit.core(), core))
    }

    /// What we know of a device, if it is one of ours.
    pub fn device(&self, device: Device<'_>) -> Option<Arc<HostedDevice<D>>> {
        self.devices
            .lock()
            .iter()
            .find(|known| known.is(device))
            .cloned()
    }

    /// All devices, as of now.
    pub fn snapshot_devices(&self) -> Result<KVec<Arc<HostedDevice<D>>>> {
        snapshot(&self.devices)
    }

    /// Writes what is known of each unit.
    pub fn show_units(&self, f: &mut dyn Write) -> fmt::Result {
        for unit in &self.units {
            unit.show(self, f)?;
        }
        Ok(())
    }

    /// Writes what is known of each group: those of the kernel, then those that only we know.
    pub fn show_groups(&self, f: &mut dyn Write) -> fmt::Result {
        self.for_each_group(|group| group.show(f))
    }

    /// Writes the faults of each group and those that no group has.
    pub fn show_faults(&self, f: &mut dyn Write) -> fmt::Result {
        self.for_each_group(|group| group.show_faults(f))?;
        for unit in &self.cores {
            if unit.stray_faults() > 0 {
                writeln!(
                    f,
                    "{}: {} faults of unknown devices",
                    unit.name(),
                    unit.stray_faults()
                )?;
            }
        }
        Ok(())
    }

    fn for_each_group(
        &self,
        mut f: impl FnMut(&crate::group::Group<D>) -> fmt::Result,
    ) -> fmt::Result {
        let groups = snapshot(&self.groups).map_err(|_| fmt::Error)?;
        let held = Held::groups(self).map_err(|_| fmt::Error)?;
        for group in &groups {
            f(group.core())?;
        }
        for group in &held {
            if !groups.iter().any(|other| Arc::ptr_eq(other.core(), group)) {
                f(group)?;
            }
        }
        Ok(())
    }

    /// Writes a line for each domain, and how many there were.
    pub fn show_domains(&self, f: &mut dyn Write) -> fmt::Result {
        self.registry.for_each_domain(|domain| {
            writeln!(
                f,
                "{domain}: {}, {} groups, {} bytes mapped",
                domain.driver(),
                domain.groups(),
                domain.mapped(),
            )
        })?;
        let (allocated, freed) = self.registry.counts();
        writeln!(f, "allocated {allocated} freed {freed}")
    }
}

/// A copy of a table, to walk through without its lock.
fn snapshot<T: ?Sized>(table: &Mutex<KVec<Arc<T>>>) -> Result<KVec<Arc<T>>> {
    let table = table.lock();
    let mut copy = KVec::with_capacity(table.len(), GFP_KERNEL)?;
    for entry in table.iter() {
        copy.push(entry.clone(), GFP_KERNEL)?;
    }
    Ok(copy)
}
