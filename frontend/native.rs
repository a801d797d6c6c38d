// SPDX-License-Identifier: GPL-2.0

//! The native frontend: the core is the kernel's IOMMU layer itself.
//!
//! The functions of `<linux/iommu.h>` and of its private neighbours are defined here, in place of
//! `drivers/iommu/iommu.c`. The kernel's drivers of units, VFIO, iommufd and the DMA API call them
//! and find what they are used to; where the answer differs it says so.
//!
//! | file | what |
//! |---|---|
//! | `boot` | what is done while the machine boots |
//! | `command_line` | what the command line says of default domains |
//! | `registration` | units are registered and unregistered |
//! | `probe`, `default_domain` | devices come and go; default domains |
//! | `attach`, `owner` | users' domains, and who may attach them |
//! | `pasid` | domains for transactions with a PASID |
//! | `reset` | devices that are reset |
//! | `msi` | interrupt messages that are translated |
//! | `topology` | which devices belong together |
//! | `group_files` | the files of a group in `/sys/kernel/iommu_groups` |
//! | `reserved` | address ranges with a meaning of their own, of a group's devices |
//! | `vendor` | our vendor drivers, whose groups the core attaches |
//! | `group` | groups: C's structure, which is ours |
//! | `handles` | what users have told a group to remember with an attach |
//! | `sysfs` | the folders of groups, and the links to their devices |
//! | `foreign` | the kernel's own drivers of units, as the core sees them |
//! | `backing` | what the core has of a group, whichever driver its units have |
//! | `group_domains` | the domains of a group |
//! | `domain` | domains as C knows them |
//! | `record` | `dev->iommu`, and what firmware says of a device there |
//! | `units` | the list of units |
//! | `region_list`, `merge` | a device's address ranges with a meaning of their own |
//! | `map`, `page_size` | mapping and unmapping |
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
mod command_line;
mod default_domain;
mod domain;
mod foreign;
mod group;
mod group_domains;
mod group_files;
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
mod region_list;
mod registration;
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
