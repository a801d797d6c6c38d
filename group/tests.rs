// SPDX-License-Identifier: GPL-2.0

//! Suites of groups, on the mock driver.

#![forbid(unsafe_code)]

mod aliases;
mod at_once;
mod attach;
mod claims;
mod concurrent;
mod loans;
mod members;
mod model;
mod moves;
mod named;
mod reset;

use kernel::{prelude::*, sync::Arc};

use super::{Group, Reason};
use crate::{
    domain::Domain,
    drivers::mock::{machine::Machine, Mock},
    endpoint::Endpoint,
};

/// A group and its members.
type Party = (Arc<Group<Mock>>, KVec<Arc<Endpoint<Mock>>>);

/// A group, its member, and its default domain.
type Settled = (Arc<Group<Mock>>, Arc<Endpoint<Mock>>, Arc<Domain<Mock>>);

/// A group of `count` endpoints behind unit 0, with ids from `first` on.
fn party(machine: &Machine, first: u32, count: u32) -> Result<Party> {
    let group = machine.group("party")?;
    let mut endpoints = KVec::new();
    for id in first..first + count {
        let endpoint = machine.endpoint(0, &[id])?;
        group.join(&endpoint, Reason::Platform)?;
        endpoints.push(endpoint, GFP_KERNEL)?;
    }
    Ok((group, endpoints))
}

/// The id that all members of a [`sharing`] group have, as that of a bridge.
const SHARED: u32 = 9;

/// A group of `count` endpoints behind unit 0 that have an id of their own each, from 1 on, and
/// [`SHARED`].
fn sharing(machine: &Machine, count: u32) -> Result<Party> {
    let group = machine.group("sharing")?;
    let mut endpoints = KVec::new();
    for id in 1..=count {
        let endpoint = machine.endpoint(0, &[id, SHARED])?;
        group.join(&endpoint, Reason::Platform)?;
        endpoints.push(endpoint, GFP_KERNEL)?;
    }
    Ok((group, endpoints))
}

/// A group of one endpoint on its default domain, in which 0x1000 leads to 0xa000.
fn settled(machine: &Machine, id: u32) -> Result<Settled> {
    let (group, endpoint) = machine.alone(id)?;
    let default = machine.paging(&endpoint, &[(0x1000, 0xa000)])?;
    group.set_default(&default)?;
    Ok((group, endpoint, default))
}

/// All members leave.
fn disband(party: &Party) {
    for endpoint in party.1.iter() {
        party.0.leave(endpoint);
    }
}
