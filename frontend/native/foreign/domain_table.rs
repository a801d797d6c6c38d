// SPDX-License-Identifier: GPL-2.0

//! From a domain as C knows it to the core's.
//!
//! C's structure has no place for a pointer of ours, and many domains are made by drivers of units
//! for others than us: for processes, for guests' page tables, for iommufd. So there is a table. A
//! domain enters it when somebody attaches it, and leaves it when its user frees it; what is in the
//! table is the user's handle. Groups that are attached have counts of their own, so a domain that
//! is freed too early lasts until the last of them has left (law 2).
//!
//! Nothing that is done for each mapping looks at the table.

use kernel::{
    bindings,
    prelude::*,
    rbtree::RBTree,
    sync::{global_lock, Arc, SetOnce},
};

use super::driver::{Foreign, ForeignDomain};
use crate::{
    count::Count,
    domain::{Domain, Kind},
    id_map::IdMap,
    log::log_err,
    registry::Registry,
};

global_lock! {
    // SAFETY: Initialised when the kernel boots, before any unit is registered.
    unsafe(uninit) static TABLE: Mutex<Option<RBTree<usize, Arc<Domain<Foreign>>>>> = None;
}

/// The list of all domains, for people.
static REGISTRY: SetOnce<Arc<Registry>> = SetOnce::new();

/// The ids of all members of groups.
static IDS: SetOnce<Arc<IdMap<Foreign>>> = SetOnce::new();

/// Makes the table usable.
///
/// # Safety
///
/// Called once, before anybody has a domain.
pub unsafe fn init() -> Result {
    // SAFETY: By the requirements.
    unsafe { TABLE.init() };
    *TABLE.lock() = Some(RBTree::new());
    REGISTRY.populate(Registry::new()?);
    IDS.populate(IdMap::new()?);
    Ok(())
}

/// The list of all domains, for people.
pub fn registry() -> Result<&'static Arc<Registry>> {
    REGISTRY.as_ref().ok_or(ENODEV)
}

/// The ids of all members of groups.
pub(super) fn ids() -> Result<Arc<IdMap<Foreign>>> {
    IDS.as_ref().cloned().ok_or(ENODEV)
}

/// The core's domain for C's.
///
/// # Errors
///
/// `ENOMEM`, `ENODEV` if its driver is on its way out.
///
/// # Safety
///
/// `raw` is valid until it is freed.
pub unsafe fn domain_of(raw: *mut bindings::iommu_domain) -> Result<Arc<Domain<Foreign>>> {
    let mut table = TABLE.lock();
    let table = table.as_mut().ok_or(ENODEV)?;
    if let Some(known) = table.get(&(raw as usize)) {
        return Ok(known.clone());
    }
    // SAFETY: By the requirements.
    let (foreign, name, is_part_of_driver) = unsafe {
        (
            ForeignDomain::new(raw)?,
            kind_of((*raw).type_),
            (*(*raw).ops).free.is_none(),
        )
    };
    let domain = Domain::from_paging(registry()?, foreign, name)?;
    if !is_part_of_driver {
        table.try_create_and_insert(raw as usize, domain.clone(), GFP_KERNEL)?;
    }
    Ok(domain)
}

/// What people call a domain of a type.
fn kind_of(kind: u32) -> &'static str {
    match kind {
        bindings::IOMMU_DOMAIN_BLOCKED => "blocked",
        bindings::IOMMU_DOMAIN_IDENTITY => "identity",
        bindings::IOMMU_DOMAIN_SVA => "process",
        bindings::IOMMU_DOMAIN_NESTED => "nested",
        bindings::IOMMU_DOMAIN_PLATFORM => "platform",
        _ => "paging",
    }
}

/// Frees a domain, now or when the last group has left it.
#[export]
pub unsafe extern "C" fn iommu_domain_free(domain: *mut bindings::iommu_domain) {
    // SAFETY: The caller's promise: the domain is its own. What was kept with it goes now.
    unsafe { bindings::iommu_core_put_cookie(domain) };
    let known = match &mut *TABLE.lock() {
        Some(table) => table.remove(&(domain as usize)),
        None => None,
    };
    let Some(known) = known else {
        // Nobody has ever attached it, or it is a part of its driver.
        // SAFETY: The caller's promise.
        unsafe {
            if let Some(free) = (*(*domain).ops).free {
                free(domain);
            }
        }
        return;
    };
    if known.record().groups() > 0 {
        log_err!(
            "{} is freed while attached to {}; it lasts until they have left",
            &*known,
            Count::new(known.record().groups(), "group"),
        );
        // SAFETY: The domain is still there. Nobody has it who could handle its faults.
        unsafe {
            (*domain).iopf_handler = None;
            (*domain).cookie_type = bindings::iommu_domain_cookie_type_IOMMU_COOKIE_NONE;
        }
    }
    if let Kind::Paging(tables) = known.kind() {
        if let Ok(foreign) = tables.get() {
            foreign.free();
        }
    }
    // If nobody is attached this is the end of it.
    drop(known);
}
