// SPDX-License-Identifier: GPL-2.0

//! A domain of one driver is attached to another driver's endpoints.

#![allow(dead_code)]

use kernel::{prelude::*, sync::Arc};

use crate::{domain::Domain, driver::VendorDriver, group::Claim};

fn attach<D: VendorDriver, E: VendorDriver>(claim: &Claim<D>, domain: &Arc<Domain<E>>) -> Result {
    claim.attach(domain) //~ E0308
}
