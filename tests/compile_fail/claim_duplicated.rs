// SPDX-License-Identifier: GPL-2.0

//! Law 5: code duplicates a claim.

#![allow(dead_code)]

use crate::{driver::VendorDriver, group::Claim};

fn duplicate<D: VendorDriver>(claim: &Claim<D>) -> Claim<D> {
    *claim //~ E0507
}
