// SPDX-License-Identifier: GPL-2.0

//! A provider of the kernel's IOMMU layer (`struct iommu_ops`): C's structures of units, devices,
//! groups and domains, made from the core's.
//!
//! VFIO, the DMA API and sysfs know these structures, whether the layer is C's or the native
//! frontend. What differs is who decides. [`layer`] says what a frontend has to tell a provider;
//! `hosted` infers it from C's calls, `native` knows it. Nothing here imports from either.
//!
//! | file | what |
//! |---|---|
//! | `start` | the start of all vendor drivers, and their end |
//! | `platform`, `vendor` | a platform device for each unit; `bind` and `unbind` in sysfs |
//! | `power`, `notifier` | the machine sleeps and wakes; drivers come and go |
//! | `device_ops`, `domain_ops` | the tables that C calls |
//! | `trace` | the kernel's trace point of faults |
//! | `takeover`, `hold` | a unit from takeover to release, and the devices that must not be blocked then |
//! | `grouping` | which group a device is in |
//! | `interrupts`, `remap` | whether the unit remaps a device's interrupts, and from when on |
//! | `show`, `sysfs`, `debugfs` | what people can look at |
//! | `slot`, `layer` | where C's calls find a vendor driver, and who decides |
//! | `instance` | all that belongs to one vendor driver |
//! | `unit`, `device`, `group`, `domain` | C's objects with the core's beside them |
//! | `held` | devices that are attached before or without the kernel's layer |
//! | `stage` | which devices these are, from takeover to release: a pure state machine |
//! | `gather` | what is to be invalidated after an unmap, as C keeps it |
//! | `deferred` | page-table pages that wait for C's flush queue |
//! | `bus` | the buses that units translate for |
//! | `ranges` | domains that C maps in ranges of any length |
//! | `module_count` | what keeps the module from being unloaded |
//! | `served` | vendor drivers as this folder needs them |
//!
//! # Locking
//!
//! The kernel's layer calls us with its group's mutex held for everything that attaches, and with
//! its probe mutex for what makes devices known. Inside of either nest, in this order: what the
//! hosted frontend keeps of a group, the tables of an [`Instance`](instance::Instance), the core's
//! locks. The tables are held for a look-up only, and none inside of another one.
//!
//! Outside of all that nests what a takeover holds: the kernel's lock of hotplug, then the lock on
//! which a driver waits that comes meanwhile.

mod bus;
mod debugfs;
mod deferred;
pub(super) mod device;
mod device_ops;
pub(super) mod domain;
mod domain_ops;
mod gather;
pub(super) mod group;
mod grouping;
mod held;
mod hold;
pub(super) mod instance;
mod interrupts;
pub(super) mod layer;
mod memory;
mod module_count;
mod notifier;
mod platform;
mod power;
mod ranges;
mod remap;
pub(super) mod served;
mod show;
pub(super) mod slot;
pub(super) mod stage;
pub(super) mod start;
mod sysfs;
mod takeover;
#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
mod tests;
mod trace;
mod unit;
mod vendor;
