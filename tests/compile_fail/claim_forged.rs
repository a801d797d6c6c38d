// SPDX-License-Identifier: GPL-2.0

//! Law 5: code constructs a claim without `Group::claim`.

#![allow(dead_code)]

use kernel::sync::Arc;

use crate::{
    driver::VendorDriver,
    group::{Claim, Group},
    ownership::Owner,
};

fn forge<D: VendorDriver>(group: &Arc<Group<D>>, owner: Owner) -> Claim<D> {
    Claim {
        group: group.clone(), //~ E0451
        owner,                //~ E0451
        ended: false,         //~ E0451
    }
}
