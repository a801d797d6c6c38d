// SPDX-License-Identifier: GPL-2.0

//! The kernel's trace point of faults, `iommu:io_page_fault`.
//!
//! The kernel's layer fires the other trace points of `<trace/events/iommu.h>` itself. This one it
//! fires in `report_iommu_fault()`, which a driver calls.

use kernel::{bindings, ffi::c_int, prelude::*, sync::Arc};

use super::slot::Callable;
use crate::{
    fault::{Access, Fault, FaultSink},
    id_map::UnitFaults,
};

/// Receives the faults of a unit: counts and logs them, then fires the trace point.
pub struct TracedFaults<D: Callable>(Arc<UnitFaults<D>>);

impl<D: Callable> TracedFaults<D> {
    /// Faults that are counted and logged by `faults`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(faults: &Arc<UnitFaults<D>>) -> Result<Arc<Self>> {
        Ok(Arc::new(Self(faults.clone()), GFP_KERNEL)?)
    }
}

impl<D: Callable> FaultSink for TracedFaults<D> {
    fn report(&self, fault: &Fault) {
        self.0.report(fault);
        let (Some(endpoint), Some(instance)) = (self.0.endpoint_of(fault), D::slot().get()) else {
            return;
        };
        let Some(device) = instance.device_of(&endpoint) else {
            return;
        };
        let flags = match fault.access {
            Some(Access::Write | Access::Interrupt) => bindings::IOMMU_FAULT_WRITE,
            Some(Access::Read | Access::Execute) | None => bindings::IOMMU_FAULT_READ,
        };
        let address = fault.address.map_or(0, |address| address.raw());
        // The domain that the device is attached to may be freed meanwhile, and C asks it for
        // nothing but a handler of its own, which no user on these machines sets. The blocked
        // domain stays, and has no handler.
        //
        // SAFETY: The domain is a part of the instance, and the device is counted.
        unsafe {
            bindings::report_iommu_fault(
                instance.blocked_as_c(),
                device.get().as_raw(),
                address as usize,
                flags as c_int,
            );
        }
    }
}
