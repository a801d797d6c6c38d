// SPDX-License-Identifier: GPL-2.0

//! KUnit suites of groups, on the mock driver.

#![forbid(unsafe_code)]

mod aliases;
mod at_once;
mod attach;
mod claims;
mod concurrent;
mod interrupts;
mod loans;
mod members;
mod model;
mod moves;
mod named;
mod pasids;
mod reset;

use kernel::{prelude::*, sync::Arc};

use super::{Group, Reason};
use crate::{
    domain::Domain,
    drivers::mock::{machine::Machine, Mock},
    endpoint::Endpoint,
};

/// A group and its members.
type TestGroup = (Arc<Group<Mock>>, KVec<Arc<Endpoint<Mock>>>);

/// A group, its member, and its default domain.
type GroupOnDefault = (Arc<Group<Mock>>, Arc<Endpoint<Mock>>, Arc<Domain<Mock>>);

/// A group of `count` endpoints behind unit 0, with the ids `first`, `first` + 1 and so on.
fn group_of(machine: &Machine, first: u32, count: u32) -> Result<TestGroup> {
    let group = machine.group("group")?;
    let mut endpoints = KVec::new();
    for id in first..first + count {
        let endpoint = machine.endpoint(0, &[id])?;
        group.join(&endpoint, Reason::Platform)?;
        endpoints.push(endpoint, GFP_KERNEL)?;
    }
    Ok((group, endpoints))
}

/// The id that all members of a [`group_sharing_id`] group have in common, like the id of a bridge
/// above them.
const SHARED: u32 = 9;

/// A group of `count` endpoints behind unit 0. Each has its own id, counted from 1, and [`SHARED`].
fn group_sharing_id(machine: &Machine, count: u32) -> Result<TestGroup> {
    let group = machine.group("sharing")?;
    let mut endpoints = KVec::new();
    for id in 1..=count {
        let endpoint = machine.endpoint(0, &[id, SHARED])?;
        group.join(&endpoint, Reason::Platform)?;
        endpoints.push(endpoint, GFP_KERNEL)?;
    }
    Ok((group, endpoints))
}

/// A group of one endpoint, attached to a default domain that maps 0x1000 to 0xa000.
fn group_on_default(machine: &Machine, id: u32) -> Result<GroupOnDefault> {
    let (group, endpoint) = machine.alone(id)?;
    let default = machine.paging(&endpoint, &[(0x1000, 0xa000)])?;
    group.set_default(&default)?;
    Ok((group, endpoint, default))
}

/// Removes all members from the group.
fn leave_all(test_group: &TestGroup) {
    for endpoint in test_group.1.iter() {
        test_group.0.leave(endpoint);
    }
}
