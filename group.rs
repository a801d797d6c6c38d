// SPDX-License-Identifier: GPL-2.0

//! Groups: the smallest sets of endpoints that hardware can isolate from the rest.
//!
//! Every change of what endpoints can reach happens here, for the whole group at once (law 3):
//!
//! ```text
//! same domain?  -> done                                       (law 4)
//! prepare every member; a failure drops all plans             (law 3)
//! commit: one batch of entries and invalidations per unit
//! the members' old residences end; the old domain's count of groups drops (law 2)
//! ```
//!
//! | file | what |
//! |---|---|
//! | `state` | the group: members, domains, and changes of the group's domain |
//! | `membership` | endpoints join, leave, and move to another group |
//! | `dma_api` | drivers that use the DMA API |
//! | `claim`, `loan` | the proofs that a caller may attach its own domain |
//! | `reset` | one member is blocked while its device is reset |
//! | `attached` | what a group is attached to, by selector |
//! | `pasids` | attaches for requests with a PASID |
//! | `member` | one endpoint in a group, and the two halves of its attach |
//! | `space` | one address space of a member: the attach of one selector |
//! | `interrupts`, `messages` | the interrupt messages of members |
//! | `reason` | why an endpoint is in its group |
//! | `faults` | the faults of a group, counted and rate-limited |
//! | `show` | a group's state in debugfs and sysfs |
//!
//! Locking: `state` is a mutex and is held during an attach. The id map, a domain's `residences`
//! and the vendor driver's locks nest inside it. A map or unmap never takes it.

#![forbid(unsafe_code)]

mod attached;
mod claim;
mod dma_api;
mod faults;
mod interrupts;
mod loan;
mod member;
mod membership;
mod messages;
mod pasids;
mod reason;
mod reset;
mod show;
mod space;
mod state;
#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
mod tests;

pub use self::{
    claim::Claim,
    loan::Loan,
    reason::Reason,
    state::{Group, IdOwners},
};
