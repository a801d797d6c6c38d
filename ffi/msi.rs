// SPDX-License-Identifier: GPL-2.0

//! Interrupt domains for the messages of devices whose unit remaps them.
//!
//! Each device has a domain of its own, on top of the domain that manages the processors' vectors:
//!
//! ```text
//! the device's MSI or MSI-X domain   writes the message to the device
//!    |
//! MessageDomain                      the message names an entry of the unit's interrupt table;
//!    |                               the entry has processor and vector
//! vectors                            chooses processor and vector
//! ```
//!
//! The kernel makes the upper domain when a driver first allocates an interrupt, on top of the one
//! that the device has then, and ends it when the driver is unbound. So a device changes its domain
//! only while no driver has interrupts.

use core::ptr;

use kernel::{
    bindings,
    ffi::{c_int, c_uint, c_void},
    prelude::*,
    str::{as_char_ptr_in_const_context, CString},
    sync::Arc,
};

use super::{
    device::{Device, DeviceLock},
    irq_domain::{parent_message, vectors, DomainName, MsiMessage},
    table::Table,
};
use crate::{
    interrupt::{Delivery, NotRemapped, Target},
    label::Label,
    log::log_err,
    remapping::InterruptTable,
    requester::RequesterId,
};

/// `struct msi_parent_ops`, of which the bindings have only the name.
#[repr(C)]
struct ParentOps {
    supported_flags: u32,
    required_flags: u32,
    chip_flags: u32,
    bus_select_token: u32,
    bus_select_mask: u32,
    prefix: *const kernel::ffi::c_char,
    init_dev_msi_info: Option<
        unsafe extern "C" fn(
            dev: *mut bindings::device,
            domain: *mut bindings::irq_domain,
            parent: *mut bindings::irq_domain,
            info: *mut c_void,
        ) -> bool,
    >,
}

/// A device may have several interrupts by one address, at data in a row.
const MSI_FLAG_MULTI_PCI_MSI: u32 = 1 << 16;

// The kernel exports it; the kernel crate's bindings do not include the header.
extern "C" {
    fn msi_create_parent_irq_domain(info: *mut c_void, ops: *const c_void) -> *mut c_void;
}

/// What the kernel's calls need.
struct Shared {
    ops: ParentOps,
    table: Arc<dyn InterruptTable>,
    user: Label,
    ids: KVec<RequesterId>,
}

/// The interrupt domain of one device.
///
/// # Invariants
///
/// [`MessageDomain::new`] has made `raw`, with `_name`, and with `shared` as its data. When this is
/// dropped, no device has interrupts of the domain.
pub(crate) struct MessageDomain {
    raw: *mut bindings::irq_domain,
    // Dropped after the domain.
    shared: KBox<Shared>,
    _name: DomainName,
}

// SAFETY: The value owns the kernel's object, which any task may remove, and the table is `Send`.
unsafe impl Send for MessageDomain {}
// SAFETY: A shared reference gives access to the pointer only.
unsafe impl Sync for MessageDomain {}

impl MessageDomain {
    /// A domain for the device called `user`, which sends messages with `ids`. The unit remaps them
    /// with `table`.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the kernel has no domain of vectors; `ENOMEM`.
    pub(crate) fn new(
        user: Label,
        ids: &[RequesterId],
        table: Arc<dyn InterruptTable>,
    ) -> Result<Self> {
        let parent = vectors()?;
        let mut known = KVec::new();
        known.extend_from_slice(ids, GFP_KERNEL)?;
        // SAFETY: The domain of vectors lives for ever. What it is the parent of does not change
        // after boot.
        let parent_ops = unsafe { (*parent).msi_parent_ops.cast::<ParentOps>().as_ref() };
        let supported_flags = parent_ops.ok_or(ENODEV)?.supported_flags;
        let shared = KBox::new(
            Shared {
                ops: ParentOps {
                    supported_flags: supported_flags | MSI_FLAG_MULTI_PCI_MSI,
                    required_flags: 0,
                    chip_flags: 0,
                    bus_select_token: bindings::irq_domain_bus_token_DOMAIN_BUS_AMDVI,
                    bus_select_mask: 0,
                    prefix: as_char_ptr_in_const_context(c"IR-"),
                    init_dev_msi_info: Some(init_device_domain),
                },
                table,
                user,
                ids: known,
            },
            GFP_KERNEL,
        )?;
        let name = CString::try_from_fmt(fmt!("iommu_core-{}", user.as_str()))?;
        let name = DomainName::new(&name)?;
        let mut info = bindings::irq_domain_info {
            fwnode: name.as_raw(),
            // The unit enforces it: the table's owner has admitted the device's ids.
            domain_flags: bindings::IRQ_DOMAIN_FLAG_ISOLATED_MSI,
            ops: DOMAIN_OPS.get(),
            host_data: ptr::from_ref(&*shared).cast_mut().cast(),
            parent,
            ..pin_init::zeroed()
        };
        // SAFETY: `info` is valid for the call. What it points to lives longer than the domain: the
        // static table, the node and `shared`.
        let raw: *mut bindings::irq_domain = unsafe {
            msi_create_parent_irq_domain((&raw mut info).cast(), (&raw const shared.ops).cast())
                .cast()
        };
        match raw.is_null() {
            true => Err(ENOMEM),
            // INVARIANT: Just made.
            false => Ok(Self {
                raw,
                shared,
                _name: name,
            }),
        }
    }

    /// Makes this the domain in which the interrupts of `device` are allocated from now on.
    /// [`may_remap`] has said that they can be.
    pub(crate) fn serve(&self, device: &DeviceLock<'_>) {
        // SAFETY: With the device's lock held, and without interrupts, nobody else uses the field.
        unsafe { (*device.device().as_raw()).msi.domain = self.raw };
    }

    /// The unit's table for the device's messages.
    pub(crate) fn table(&self) -> &Arc<dyn InterruptTable> {
        &self.shared.table
    }

    /// Whether `device` allocates its interrupts here.
    pub(crate) fn serves(&self, device: Device<'_>) -> bool {
        ptr::eq(domain_of(device), self.raw)
    }

    /// Undoes [`serve`](Self::serve), and ends the domain.
    ///
    /// # Errors
    ///
    /// `EBUSY` if a driver has interrupts of it, or is being bound (logged). The device then keeps
    /// the domain for ever, and the kernel may always call the module's functions.
    pub(crate) fn dismiss(self, device: Device<'_>) -> Result {
        let lock = device.try_lock();
        match (lock.as_ref().is_some_and(has_no_interrupts), vectors()) {
            (true, Ok(vectors)) if self.serves(device) => {
                // SAFETY: With the device's lock held, and without interrupts, nobody else uses the
                // field.
                unsafe { (*device.as_raw()).msi.domain = vectors };
                Ok(())
            }
            (true, _) if !self.serves(device) => Ok(()),
            _ => {
                log_err!(
                    "{}: a driver came while its unit was given back: its interrupts are refused; \
                     unbind it and bind it again",
                    device.name(),
                );
                core::mem::forget(self);
                Err(EBUSY)
            }
        }
    }
}

impl Drop for MessageDomain {
    fn drop(&mut self) {
        // SAFETY: By the invariants; the device has no interrupt of the domain.
        unsafe { bindings::irq_domain_remove(self.raw) };
    }
}

fn domain_of(device: Device<'_>) -> *mut bindings::irq_domain {
    // SAFETY: The device is valid. The field is read once; the caller knows what that is good for.
    unsafe { ptr::read_volatile(&raw const (*device.as_raw()).msi.domain) }
}

/// Whether no driver has interrupts by messages.
fn has_no_interrupts(device: &DeviceLock<'_>) -> bool {
    // SAFETY: The device is valid, and its lock is held: no driver comes or goes.
    unsafe { (*device.device().as_raw()).msi.data.is_null() }
}

/// Whether the messages of a device can be remapped.
///
/// # Errors
///
/// Why not: a driver has allocated interrupts, or they belong to another interrupt controller.
pub(crate) fn may_remap(device: &DeviceLock<'_>) -> Result<(), NotRemapped> {
    if !has_no_interrupts(device) {
        return Err(NotRemapped::DriverWasBound);
    }
    let device = device.device();
    match vectors() {
        Ok(vectors) if ptr::eq(domain_of(device), vectors) => Ok(()),
        _ => Err(NotRemapped::OtherController),
    }
}

/// The kernel makes the device's own domain, on top of `domain` or of one that is on top of it.
///
/// # Safety
///
/// Only the kernel calls it, with a domain made here.
unsafe extern "C" fn init_device_domain(
    dev: *mut bindings::device,
    domain: *mut bindings::irq_domain,
    real_parent: *mut bindings::irq_domain,
    info: *mut c_void,
) -> bool {
    // SAFETY: The kernel calls with a domain made here. Its parent is the domain of vectors, which
    // has such a function as well.
    unsafe {
        let parent = (*domain).parent;
        let ops = (*parent).msi_parent_ops.cast::<ParentOps>().as_ref();
        match ops.and_then(|ops| ops.init_dev_msi_info) {
            Some(init) => init(dev, parent, real_parent, info),
            None => false,
        }
    }
}

/// The data of a [`MessageDomain`].
///
/// # Safety
///
/// `domain` is one made here; it lives for `'a`.
unsafe fn shared_of<'a>(domain: *mut bindings::irq_domain) -> &'a Shared {
    // SAFETY: By the requirements; the data lives longer than the domain.
    unsafe { &*(*domain).host_data.cast::<Shared>() }
}

/// The data of an interrupt's domain, and the interrupt's entry in the table.
///
/// # Safety
///
/// `data` is that of an interrupt that [`allocate`] has set up.
unsafe fn entry_of<'a>(data: *mut bindings::irq_data) -> (&'a Shared, u16) {
    // SAFETY: By the requirements; an interrupt ends before its domain.
    unsafe { (shared_of((*data).domain), (*data).hwirq as u16) }
}

/// Makes an interrupt's messages go to the processor and vector that the parent has chosen.
///
/// # Safety
///
/// `data` is that of an interrupt that [`allocate`] has set up.
unsafe fn point(data: *mut bindings::irq_data) -> Result {
    // SAFETY: By the requirements.
    let (shared, index) = unsafe { entry_of(data) };
    // SAFETY: By the requirements; the parent is the domain of vectors, whose interrupts have a
    // configuration.
    let (message, destination) = unsafe {
        (
            parent_message(data),
            (*bindings::irqd_cfg(data)).dest_apicid,
        )
    };
    let target = Target {
        vector: message.data as u8,
        delivery: Delivery::from_data(message.data).ok_or(EINVAL)?,
        logical: message.address_low >> 2 & 1 != 0,
        destination,
    };
    shared.table.point(index, Some(target))
}

/// The kernel calls this when a driver allocates interrupts.
extern "C" fn allocate(
    domain: *mut bindings::irq_domain,
    irq: c_uint,
    count: c_uint,
    info: *mut c_void,
) -> c_int {
    // SAFETY: The kernel calls with a domain made here, and with what x86's MSI domains pass.
    match unsafe { try_allocate(domain, irq, count, info) } {
        Ok(()) => 0,
        Err(error) => error.to_errno(),
    }
}

/// # Safety
///
/// The arguments are those of [`allocate`].
unsafe fn try_allocate(
    domain: *mut bindings::irq_domain,
    irq: c_uint,
    count: c_uint,
    info: *mut c_void,
) -> Result {
    // SAFETY: By the requirements.
    let (shared, kind) = unsafe {
        let info = info.cast::<bindings::irq_alloc_info>().as_ref();
        (shared_of(domain), info.ok_or(EINVAL)?.type_)
    };
    match kind {
        bindings::irq_alloc_type_X86_IRQ_ALLOC_TYPE_PCI_MSI => {}
        bindings::irq_alloc_type_X86_IRQ_ALLOC_TYPE_PCI_MSIX if count == 1 => {}
        _ => return Err(EINVAL),
    }
    let entries = u16::try_from(count).map_err(|_| EINVAL)?;
    let first = shared.table.reserve(shared.user, &shared.ids, entries)?;
    // SAFETY: The kernel's arguments are passed on.
    let result = unsafe { bindings::irq_domain_alloc_irqs_parent(domain, irq, count, info) };
    if result < 0 {
        shared.table.free(first);
        return Err(Error::from_errno(result));
    }
    for i in 0..entries {
        // SAFETY: The kernel has allocated the data of these interrupts in this domain. The chip
        // lives as long as the module.
        unsafe {
            let data = bindings::irq_domain_get_irq_data(domain, irq + c_uint::from(i));
            if let Some(data) = data.as_mut() {
                data.hwirq = (first + i).into();
                data.chip = ptr::from_ref(CHIP.get()).cast_mut();
                data.chip_data = (*domain).host_data;
            }
        }
    }
    Ok(())
}

/// The kernel calls this when a driver frees what one [`allocate`] has allocated.
extern "C" fn free(domain: *mut bindings::irq_domain, irq: c_uint, count: c_uint) {
    // SAFETY: The kernel calls with a domain made here, and with interrupts of it.
    unsafe {
        let shared = shared_of(domain);
        if let Some(data) = bindings::irq_domain_get_irq_data(domain, irq).as_ref() {
            shared.table.free(data.hwirq as u16);
        }
        bindings::irq_domain_free_irqs_common(domain, irq, count);
    }
}

/// The kernel calls this when an interrupt has got a processor and a vector.
extern "C" fn activate(
    _domain: *mut bindings::irq_domain,
    data: *mut bindings::irq_data,
    _reserve: bool,
) -> c_int {
    // SAFETY: All interrupts of the domain were set up by `allocate`.
    match unsafe { point(data) } {
        Ok(()) => 0,
        Err(error) => error.to_errno(),
    }
}

/// The kernel calls this when an interrupt loses its vector. A message must not reach the next user
/// of the vector.
extern "C" fn deactivate(_domain: *mut bindings::irq_domain, data: *mut bindings::irq_data) {
    // SAFETY: All interrupts of the domain were set up by `allocate`.
    let (shared, index) = unsafe { entry_of(data) };
    // A unit that has failed says so.
    let _ = shared.table.point(index, None);
}

/// The kernel moves an interrupt. The old vector stays until an interrupt has come by the new one,
/// so messages that the unit has let through before are not lost.
extern "C" fn set_affinity(
    data: *mut bindings::irq_data,
    mask: *const bindings::cpumask,
    force: bool,
) -> c_int {
    // SAFETY: The kernel's arguments are passed on, and the interrupt has a parent.
    let result = unsafe { bindings::irq_chip_set_affinity_parent(data, mask, force) };
    if result < 0 || result == bindings::IRQ_SET_MASK_OK_DONE as c_int {
        return result;
    }
    // SAFETY: Only interrupts that `allocate` has set up have this chip.
    match unsafe { point(data) } {
        // The message in the device stays as it is.
        Ok(()) => bindings::IRQ_SET_MASK_OK_DONE as c_int,
        Err(error) => error.to_errno(),
    }
}

extern "C" fn compose(data: *mut bindings::irq_data, message: *mut bindings::msi_msg) {
    // SAFETY: Only interrupts that `allocate` has set up have this chip.
    let (shared, index) = unsafe { entry_of(data) };
    let composed = shared.table.message(index);
    // SAFETY: The kernel calls with a message to write; `MsiMessage` has its layout.
    unsafe {
        message.cast::<MsiMessage>().write(MsiMessage {
            address_low: composed.address,
            address_high: 0,
            data: composed.data,
        });
    }
}

/// The functions of a [`MessageDomain`].
// SAFETY: The kernel does not write to the functions of a domain.
static DOMAIN_OPS: Table<bindings::irq_domain_ops> = unsafe {
    Table::new(bindings::irq_domain_ops {
        alloc: Some(allocate),
        free: Some(free),
        activate: Some(activate),
        deactivate: Some(deactivate),
        ..pin_init::zeroed()
    })
};

/// The chip of a remapped interrupt.
// SAFETY: The kernel does not write to a chip.
static CHIP: Table<bindings::irq_chip> = unsafe {
    Table::new(bindings::irq_chip {
        name: as_char_ptr_in_const_context(c"iommu_core-IR"),
        irq_ack: Some(bindings::irq_chip_ack_parent),
        irq_set_affinity: Some(set_affinity),
        irq_compose_msi_msg: Some(compose),
        ..pin_init::zeroed()
    })
};
