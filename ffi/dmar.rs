// SPDX-License-Identifier: GPL-2.0

//! VT-d units that the kernel's own code remaps interrupts with.
//!
//! In a kernel that has the core as its IOMMU layer, `drivers/iommu/intel/dmar.c` takes every unit
//! before the interrupt controllers are set up, and `irq_remapping.c` remaps interrupts with it. A
//! driver that translates with such a unit shares it. Invalidations go through the kernel's queue.
//! The kernel's code has a copy of the lasting bits of the global command register, which whoever
//! changes the register keeps up to date.
//!
//! A module cannot share a unit: the kernel exports nothing of this.

pub(crate) use unit::{FaultsTaken, SharedUnit};

#[cfg(all(CONFIG_IOMMU_CORE_NATIVE, CONFIG_DMAR_TABLE))]
mod unit {
    use core::ptr::{self, NonNull};

    use kernel::{
        bindings, container_of,
        error::to_result,
        ffi::{c_int, c_uint},
        prelude::*,
    };

    /// A unit that the kernel's own code remaps interrupts with.
    ///
    /// # Invariants
    ///
    /// The pointer is that of a unit in the kernel's list, which has a queue. The kernel frees such
    /// a unit only when its host bridge is unplugged, after all devices behind the unit.
    #[derive(Copy, Clone)]
    pub(crate) struct SharedUnit(NonNull<bindings::intel_iommu>);

    // SAFETY: Locks of the kernel's code protect what is changed here.
    unsafe impl Send for SharedUnit {}
    // SAFETY: As above.
    unsafe impl Sync for SharedUnit {}

    impl SharedUnit {
        /// The unit with registers at physical address `base`. `None` if the kernel's own code does
        /// not use it, or if the kernel's own driver translates.
        pub(crate) fn find(base: u64) -> Option<Self> {
            // SAFETY: The semaphore and the list live as long as the kernel. The list, and what its
            // entries say, do not change while the semaphore is held.
            unsafe {
                if bindings::intel_iommu_enabled != 0 {
                    return None;
                }
                bindings::down_read(&raw mut bindings::dmar_global_lock);
                let head = &raw mut bindings::dmar_drhd_units;
                let mut at = (*head).next;
                let mut found = None;
                while !ptr::eq(at, head) {
                    let unit = container_of!(at, bindings::dmar_drhd_unit, list);
                    if (*unit).reg_base_addr == base {
                        found = NonNull::new((*unit).iommu);
                    }
                    at = (*at).next;
                }
                bindings::up_read(&raw mut bindings::dmar_global_lock);
                // INVARIANT: It was in the list, and has a queue.
                found
                    .filter(|unit| !(*unit.as_ptr()).qi.is_null())
                    .map(Self)
            }
        }

        /// Calls `give` with the bits of the global command register that last so far, while nobody
        /// else changes it. `give` returns the bits that last from now on, and a result.
        ///
        /// Context: any; `give` does not sleep.
        pub(crate) fn command<R>(&self, give: impl FnOnce(u32) -> (u32, R)) -> R {
            let unit = self.0.as_ptr();
            // SAFETY: By the invariant the unit is valid. The lock protects the field.
            unsafe {
                let flags = bindings::_raw_spin_lock_irqsave(&raw mut (*unit).register_lock);
                let (lasting, result) = give((*unit).gcmd);
                (*unit).gcmd = lasting;
                bindings::_raw_spin_unlock_irqrestore(&raw mut (*unit).register_lock, flags);
                result
            }
        }

        /// Has the unit execute `descriptors`. When this returns `Ok`, they are done.
        ///
        /// The kernel's code waits for the unit as long as it takes.
        ///
        /// Context: any; does not sleep.
        ///
        /// # Errors
        ///
        /// `EINVAL` if the unit does not understand one of them. It has executed those before it.
        pub(crate) fn execute(
            &self,
            mut descriptors: impl ExactSizeIterator<Item = [u64; 2]>,
        ) -> Result {
            // As many as a caller has at a time, mostly.
            const PART: usize = 8;
            while descriptors.len() > 0 {
                let mut part: [bindings::qi_desc; PART] = pin_init::zeroed();
                let mut count = 0;
                for (to, from) in part.iter_mut().zip(descriptors.by_ref().take(PART)) {
                    [to.qw0, to.qw1] = from;
                    count += 1;
                }
                // SAFETY: By the invariant the unit is valid, and so are `count` descriptors.
                to_result(unsafe {
                    bindings::qi_submit_sync(self.0.as_ptr(), part.as_mut_ptr(), count, 0)
                })?;
            }
            Ok(())
        }

        /// Ends the kernel's own fault interrupt. Until the value is dropped the kernel's code
        /// takes `irq` for it: it would set up another one when a processor starts.
        ///
        /// Context: may sleep.
        pub(crate) fn take_faults(&self, irq: c_uint) -> FaultsTaken {
            let unit = self.0.as_ptr();
            exclusively(|| {
                // SAFETY: By the invariant the unit is valid; the semaphore protects the field. If
                // the field is not 0, `dmar_set_interrupt()` has allocated that interrupt, and has
                // requested it with the unit as its cookie. The functions of that interrupt find
                // the unit's registers by the field, which therefore changes last.
                unsafe {
                    let earlier = (*unit).irq;
                    if earlier != 0 {
                        bindings::free_irq(earlier, unit.cast());
                        bindings::dmar_free_hwirq(earlier as c_int);
                    }
                    (*unit).irq = irq;
                }
            });
            FaultsTaken(*self)
        }
    }

    /// Calls `change` while nobody else looks at the kernel's units.
    fn exclusively<R>(change: impl FnOnce() -> R) -> R {
        // SAFETY: The semaphore lives as long as the kernel.
        unsafe { bindings::down_write(&raw mut bindings::dmar_global_lock) };
        let result = change();
        // SAFETY: Taken above.
        unsafe { bindings::up_write(&raw mut bindings::dmar_global_lock) };
        result
    }

    /// A unit without the kernel's own fault interrupt. When the value is dropped, the unit gets it
    /// again.
    pub(crate) struct FaultsTaken(SharedUnit);

    impl Drop for FaultsTaken {
        fn drop(&mut self) {
            let unit = self.0 .0.as_ptr();
            exclusively(|| {
                // SAFETY: By the invariant the unit is valid; the semaphore protects the field. The
                // function logs if it fails.
                unsafe {
                    (*unit).irq = 0;
                    bindings::dmar_set_interrupt(unit);
                }
            });
        }
    }
}

#[cfg(not(all(CONFIG_IOMMU_CORE_NATIVE, CONFIG_DMAR_TABLE)))]
mod unit {
    use kernel::{ffi::c_uint, prelude::*};

    /// There is none.
    #[derive(Copy, Clone)]
    pub(crate) enum SharedUnit {}

    impl SharedUnit {
        pub(crate) fn find(_base: u64) -> Option<Self> {
            None
        }

        pub(crate) fn command<R>(&self, _give: impl FnOnce(u32) -> (u32, R)) -> R {
            match *self {}
        }

        pub(crate) fn execute(
            &self,
            _descriptors: impl ExactSizeIterator<Item = [u64; 2]>,
        ) -> Result {
            match *self {}
        }

        pub(crate) fn take_faults(&self, _irq: c_uint) -> FaultsTaken {
            match *self {}
        }
    }

    pub(crate) enum FaultsTaken {}
}
