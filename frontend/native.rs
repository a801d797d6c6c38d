// SPDX-License-Identifier: GPL-2.0

//! The native frontend: the core is the kernel's IOMMU layer itself.
//!
//! The functions of `<linux/iommu.h>` and of its private neighbours are defined here, in place of
//! `drivers/iommu/iommu.c`. The kernel's drivers of units, VFIO, iommufd and the DMA API call them
//! and find what they are used to; where the answer differs it says so.
//!
//! | file | what |
//! |---|---|
//! | `boot` | what the command line says of default domains |
//! | `units` | the list of units |
//! | `probe`, `default` | devices come and go; default domains |
//! | `record` | `dev->iommu`, and what firmware says of a device there |
//! | `group`, `sysfs` | groups, and their folders in `/sys/kernel/iommu_groups` |
//! | `topology` | which devices belong together |
//! | `reserved`, `merge` | address ranges with a meaning of their own |
//! | `backing` | what the core has of a group, whichever driver its units have |
//! | `vendor` | our vendor drivers, as far as the layer has to know them |
//! | `foreign` | the kernel's drivers of units, as the core sees them |
//! | `domain`, `domains` | domains as C knows them, and the core's for them |
//! | `map`, `page_size` | mapping and unmapping |
//! | `handles` | what users have told a group to remember with an attach |
//! | `msi` | interrupt messages that are translated |
//! | `attach`, `owner` | users' domains, and who may attach them |
//! | `pasid` | domains for transactions with a PASID |
//! | `reset` | devices that are reset |
//! | `trace` | trace points and the check of freed pages |
//! | `exports.c` | what only C can say: exports, boot hooks, inline functions |
//!
//! # Signatures
//!
//! Each function is marked `#[export]`, which compares its type with the one that bindgen has made
//! of the C prototype; `exports.c` names those that modules may call. One that is missing does not
//! link.
//!
//! # Safety
//!
//! What `<linux/iommu.h>` asks of callers holds for all of these functions: pointers are valid, and
//! counted or otherwise kept by the caller during the call; what is passed as a group, a domain or
//! a device is one. `SAFETY` comments call that *the caller's promise*.

// The safety section above is for all of them.
#![allow(clippy::missing_safety_doc)]

mod attach;
mod backing;
mod boot;
mod default;
mod domain;
mod domains;
mod foreign;
mod group;
mod handles;
mod map;
mod merge;
#[cfg(CONFIG_IRQ_MSI_IOMMU)]
mod msi;
mod owner;
mod page_size;
mod pasid;
mod probe;
mod record;
mod reserved;
mod reset;
mod sysfs;
mod topology;
mod trace;
mod units;
#[cfg(CONFIG_IOMMU_CORE_PROVIDER)]
mod vendor;

/// `WARN_ON_ONCE()`: something that only a bug leads to. The value is the condition.
macro_rules! warn_once {
    ($condition:expr) => {{
        let bad = $condition;
        if bad {
            ::kernel::do_once_lite! { ::kernel::warn_on!(true); }
        }
        bad
    }};
}

use warn_once;
