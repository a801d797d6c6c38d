// SPDX-License-Identifier: GPL-2.0

//! The hosted frontend: the kernel's own IOMMU layer is our client.
//!
//! We register as its provider, so the DMA API, VFIO and sysfs of a stock kernel run on the core's
//! domains and groups.
//!
//! Where the native frontend is that layer, vendor drivers register in the same way, since C's
//! structures of units, devices and domains are what VFIO and the DMA API know. But what C's layer
//! would decide the core does: groups are attached and owned without a way through C (`backing`).
//!
//! | file | what |
//! |---|---|
//! | `platform` | a platform device for each unit; `bind` and `unbind` in sysfs |
//! | `unit` | a unit from takeover to release |
//! | `power` | units sleep and wake with the machine |
//! | `held` | devices that are attached before or without the kernel's layer |
//! | `instance` | all that belongs to one vendor driver, and the tables that C calls |
//! | `bus` | the buses that units translate for |
//! | `device`, `group`, `domain` | the kernel's objects with the core's beside them |
//! | `gather` | what is to be invalidated after an unmap, as C keeps it |
//! | `attach` | attaches of single devices, made into attaches of groups |
//! | `backing` | groups and domains for the native frontend |
//! | `notifier` | drivers come and go |
//! | `refusal` | who was refused by C, and who holds the group |
//! | `debugfs` | what people can look at |
//!
//! # Locking
//!
//! The kernel's layer calls us with its group's mutex held for everything that attaches, and with
//! its probe mutex for what makes devices known. Inside of either nest, in this order: a group's
//! `state`, the core's locks. The tables of an [`Instance`](instance::Instance) have mutexes that
//! are held for a look-up only, and nothing is taken inside of them.

mod bus;
mod debugfs;
pub(super) mod device;
pub(super) mod domain;
mod gather;
pub(super) mod group;
mod held;
pub(super) mod instance;
mod notifier;
mod platform;
mod power;
pub(crate) mod start;
#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
mod tests;
mod unit;
