// SPDX-License-Identifier: GPL-2.0

//! What is done while the machine boots.

#[cfg(CONFIG_IOMMU_CORE_PROVIDER)]
use kernel::sync::SetOnce;
use kernel::{ffi::c_int, prelude::*};

use super::{foreign, sysfs};
use crate::frontend::answer;
#[cfg(CONFIG_IOMMU_CORE_PROVIDER)]
use crate::{ffi::compat::this_module, frontend::provider::start::Provider, log::log_info};

/// Makes `/sys/kernel/iommu_groups`, and what units and domains are found with.
#[export]
pub unsafe extern "C" fn iommu_core_add_folder() -> c_int {
    // SAFETY: Called once, before drivers of units are initialised.
    let result = unsafe { foreign::init() };
    answer(result.and_then(|()| sysfs::add_folder()))
}

/// The vendor drivers, if there is a unit.
#[cfg(CONFIG_IOMMU_CORE_PROVIDER)]
static STARTED: SetOnce<Provider> = SetOnce::new();

/// Starts the vendor drivers, which keep their units until the machine ends.
#[cfg(CONFIG_IOMMU_CORE_PROVIDER)]
#[export]
pub unsafe extern "C" fn iommu_core_start_drivers() -> c_int {
    let module = this_module();
    // A kernel may be built for many machines, so that there is no unit is no error.
    let result = Provider::start(module, |why| log_info!("no IOMMU to drive: {}", why));
    answer(result.map(|provider| {
        STARTED.populate(provider);
    }))
}

/// Lets the units sleep with the machine.
#[cfg(CONFIG_IOMMU_CORE_PROVIDER)]
#[export]
pub unsafe extern "C" fn iommu_core_follow_sleep() -> c_int {
    answer(STARTED.as_ref().map_or(Ok(()), Provider::follow_sleep))
}
