// SPDX-License-Identifier: GPL-2.0

//! Units: IOMMU hardware instances.

#![forbid(unsafe_code)]

#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
mod tests;

use kernel::{
    prelude::*,
    rbtree::RBTree,
    sync::{
        atomic::{Atomic, Relaxed},
        new_mutex, Arc, Mutex,
    },
};

use crate::{
    driver::{Attach, VendorDriver},
    endpoint::Endpoint,
    fault::Fault,
    group::Group,
    label::Label,
    log::{log_err, log_warn},
    requester::RequesterId,
};

/// Who sits behind a requester id.
struct Seat<D: Attach> {
    endpoint: Arc<Endpoint<D>>,
    group: Arc<Group<D>>,
}

/// One unit.
///
/// `seats` says which endpoint and group each requester id belongs to. Faults are named with it,
/// and a second group cannot have an id that one group has. Its lock nests inside a group's.
#[pin_data]
pub struct Unit<D: Attach> {
    name: Label,
    #[pin]
    seats: Mutex<RBTree<u32, Seat<D>>>,
    failed: Atomic<bool>,
    released: Atomic<bool>,
    stray_faults: Atomic<u64>,
    #[pin]
    hardware: D::Unit,
}

impl<D: Attach> Unit<D> {
    /// A unit called `name`.
    pub fn new(name: Label, hardware: impl PinInit<D::Unit, Error>) -> Result<Arc<Self>> {
        Arc::pin_init(
            try_pin_init!(Self {
                name,
                seats <- new_mutex!(RBTree::new()),
                failed: Atomic::new(false),
                released: Atomic::new(false),
                stray_faults: Atomic::new(0),
                hardware <- hardware,
            }),
            GFP_KERNEL,
        )
    }

    /// What messages and sysfs call the unit.
    pub fn name(&self) -> Label {
        self.name
    }

    /// The vendor driver's part.
    pub fn hardware(&self) -> &D::Unit {
        &self.hardware
    }

    /// Whether the unit was given back: there is nobody to write entries or invalidate for.
    pub(crate) fn is_released(&self) -> bool {
        self.released.load(Relaxed)
    }

    /// Declares the unit failed, for `reason`; said once. From now on every request that needs it
    /// gets `EIO`; it never comes back but by a release and a new takeover.
    ///
    /// Context: any.
    pub fn fail(&self, reason: core::fmt::Arguments<'_>) {
        if !self.failed.xchg(true, Relaxed) {
            log_err!(
                "{}: the unit has failed: {}; no domain can be attached or invalidated there any \
                 more, unbind the drivers of its devices and reset the machine",
                self.name,
                reason,
            );
        }
    }

    /// Whether the unit has failed.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Relaxed)
    }

    /// `EIO` if the unit has failed.
    pub fn check(&self) -> Result {
        if self.has_failed() {
            return Err(EIO);
        }
        Ok(())
    }

    /// Gives `id` to an endpoint of a group.
    ///
    /// # Errors
    ///
    /// `EBUSY` if another group has it: such endpoints cannot be told apart and would have to be
    /// in one group.
    pub(crate) fn seat(
        &self,
        id: RequesterId,
        endpoint: &Arc<Endpoint<D>>,
        group: &Arc<Group<D>>,
    ) -> Result {
        let mut seats = self.seats.lock();
        if let Some(seat) = seats.get(&id.raw()) {
            if !Arc::ptr_eq(&seat.group, group) {
                log_err!(
                    "{}: {} cannot join {}: its id {} is used by {} in {}",
                    self.name,
                    endpoint.name(),
                    group.name(),
                    id,
                    seat.endpoint.name(),
                    seat.group.name(),
                );
                return Err(EBUSY);
            }
        }
        let seat = Seat {
            endpoint: endpoint.clone(),
            group: group.clone(),
        };
        seats.try_create_and_insert(id.raw(), seat, GFP_KERNEL)?;
        Ok(())
    }

    /// Makes `endpoint` the one that `id` is named after. `id` has a seat already.
    pub(crate) fn reseat(&self, id: RequesterId, endpoint: &Arc<Endpoint<D>>) {
        let mut seats = self.seats.lock();
        let old = seats
            .get_mut(&id.raw())
            .map(|seat| core::mem::replace(&mut seat.endpoint, endpoint.clone()));
        drop(seats);
        drop(old);
    }

    /// Takes `id` from whoever has it.
    pub(crate) fn unseat(&self, id: RequesterId) {
        let seat = self.seats.lock().remove(&id.raw());
        // Dropped without the lock: it may be the last reference to a group.
        drop(seat);
    }

    /// Reports a fault: names who caused it, logs it rate limited and counts it.
    ///
    /// Context: may sleep; the thread of the unit's fault interrupt.
    pub fn report_fault(&self, fault: &Fault) {
        let seat = {
            let seats = self.seats.lock();
            seats
                .get(&fault.requester.raw())
                .map(|s| (s.endpoint.clone(), s.group.clone()))
        };
        match seat {
            Some((endpoint, group)) => group.report_fault(self.name, &endpoint.name(), fault),
            None => {
                // Nobody to name, so nobody to count it for: a device that is not known (yet).
                let count = self.stray_faults.fetch_add(1, Relaxed);
                if count.is_power_of_two() || count == 0 {
                    log_warn!(
                        "{}: fault: unknown device {}: {} ({} so far)",
                        self.name,
                        fault.requester,
                        fault,
                        count + 1,
                    );
                }
            }
        }
    }

    /// Faults of ids that no group has.
    pub fn stray_faults(&self) -> u64 {
        self.stray_faults.load(Relaxed)
    }
}

impl<D: VendorDriver> Unit<D> {
    /// Takes the unit: every requester id is blocked, and nothing translated yet.
    ///
    /// # Errors
    ///
    /// Those of [`VendorDriver::take_over`]; the unit is then as it was.
    pub fn take_over(self: &Arc<Self>) -> Result {
        self.failed.store(false, Relaxed);
        D::take_over(self)?;
        self.released.store(false, Relaxed);
        Ok(())
    }

    /// Starts translation.
    ///
    /// # Errors
    ///
    /// Those of [`VendorDriver::enable`].
    pub fn enable(&self) -> Result {
        D::enable(self)
    }

    /// Switches the unit off while the machine sleeps, or for the kernel that comes next. Domains
    /// and groups stay as they are, and can be worked with.
    ///
    /// Context: any; does not sleep.
    pub fn suspend(&self) {
        if D::suspend(self).is_err() {
            self.fail(format_args!("it does not stop to translate"));
        }
    }

    /// Undoes [`suspend`](Self::suspend), also if the unit has lost all that it knew meanwhile. One
    /// that does not come back has failed.
    ///
    /// Context: any; does not sleep.
    pub fn resume(&self) {
        if D::resume(self).is_err() {
            self.fail(format_args!(
                "it did not come back when the machine woke up"
            ));
        }
    }

    /// Tells the unit that devices can be reached again, after [`resume`](Self::resume).
    pub fn buses_are_back(&self) {
        D::buses_are_back(self);
    }

    /// Gives the unit back. Endpoints that are still attached see their domain until translation
    /// ends; they leave their groups afterwards, and hardware is no longer told.
    pub fn release(&self) {
        D::release(self);
        self.released.store(true, Relaxed);
    }
}
