// SPDX-License-Identifier: GPL-2.0

//! Law 5: an owner attaches a domain after it has released its claim.

#![allow(dead_code)]

use kernel::{prelude::*, sync::Arc};

use crate::{domain::Domain, driver::VendorDriver, group::Claim};

fn attach<D: VendorDriver>(claim: Claim<D>, domain: &Arc<Domain<D>>) -> Result {
    let _ = claim.release();
    claim.attach(domain) //~ E0382
}
