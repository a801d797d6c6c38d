// SPDX-License-Identifier: GPL-2.0

//! Suites of groups, on the mock driver.

#![forbid(unsafe_code)]

mod aliases;
mod attach;
mod claims;
mod concurrent;
mod members;
mod model;
mod moves;
mod reset;

use kernel::{prelude::*, sync::Arc};

use super::{Group, Reason};
use crate::{
    drivers::mock::{Machine, Mock},
    endpoint::Endpoint,
};

/// A group and its members.
type Party = (Arc<Group<Mock>>, KVec<Arc<Endpoint<Mock>>>);

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

/// All members leave.
fn disband(party: &Party) {
    for endpoint in party.1.iter() {
        party.0.leave(endpoint);
    }
}
