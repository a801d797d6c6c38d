// SPDX-License-Identifier: GPL-2.0

//! An IOMMU core: it owns domains, groups and DMA ownership, and drives IOMMUs through vendor
//! drivers.
//!
//! ```text
//! frontend    hosted | native, both on provider: speaks the kernel's C API, decides nothing
//!    |
//! core        id_map > group > domain > endpoint > unit; ownership, registry
//!    |
//! driver      the traits that a vendor driver implements
//!    |
//! drivers     registers, tables, queues, firmware tables
//!    |
//! pgtable     one walker, many formats
//! ```
//!
//! Arrows point down only. See Documentation/design.md.

// A module exports nothing to other crates. Here `pub` marks a file's interface, and `pub(super)`
// or no modifier marks the rest; the compiler still reports unused items.
#![allow(unreachable_pub)]
// The custom x86-64 kernel builds everything, so unused code shows there. Without the frontend, a
// driver for hardware or the suites, parts of the core have no user.
#![cfg_attr(
    not(all(
        CONFIG_IOMMU_CORE_PROVIDER,
        CONFIG_IOMMU_CORE_INTEL,
        CONFIG_IOMMU_CORE_AMD,
        CONFIG_IOMMU_CORE_KUNIT_TEST
    )),
    allow(dead_code, unused_imports, unused_macros)
)]

mod addr;
mod count;
mod counter;
mod device;
mod domain;
mod driver;
mod drivers;
mod endpoint;
mod fault;
mod ffi;
mod group;
mod health;
mod id_map;
mod interrupt;
mod label;
mod log;
mod ordered_set;
mod ownership;
mod pasid;
mod pgtable;
mod registry;
mod remapping;
mod requester;
mod reserved;
mod unit;
mod version;

#[cfg(any(CONFIG_IOMMU_CORE_PROVIDER, CONFIG_IOMMU_CORE_NATIVE))]
mod frontend;

use kernel::prelude::*;

module! {
    type: IommuCore,
    name: "iommu_core",
    authors: ["The iommu_core authors"],
    description: "IOMMU core subsystem",
    license: "GPL",
}

/// What `modinfo` shows, for which the macro above has no key.
///
/// Without `compiler`, rustc 1.97 marks the section for the linker, which then keeps it apart from
/// the macro's. The kernel refuses a module with two sections of this name.
#[link_section = ".modinfo"]
#[used(compiler)]
static MODINFO_VERSION: [u8; MODINFO_KEY.len() + version::VERSION.len() + 1] = {
    let (key, version) = (MODINFO_KEY.as_bytes(), version::VERSION.as_bytes());
    let mut text = [0; MODINFO_KEY.len() + version::VERSION.len() + 1];
    let mut at = 0;
    while at < key.len() + version.len() {
        text[at] = match at < key.len() {
            true => key[at],
            false => version[at - key.len()],
        };
        at += 1;
    }
    text
};

const MODINFO_KEY: &str = if cfg!(MODULE) {
    "version="
} else {
    "iommu_core.version="
};

/// The loaded module. The native frontend starts the drivers before modules start.
struct IommuCore {
    #[cfg(CONFIG_IOMMU_CORE_HOSTED)]
    _frontend: frontend::hosted::Frontend,
}

impl kernel::Module for IommuCore {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self {
            #[cfg(CONFIG_IOMMU_CORE_HOSTED)]
            _frontend: frontend::hosted::Frontend::start(_module)?,
        })
    }
}
