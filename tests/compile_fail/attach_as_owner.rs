// SPDX-License-Identifier: GPL-2.0

//! Law 5: code without a claim calls the function that `Claim::attach` calls.

#![allow(dead_code)]

use kernel::{prelude::*, sync::Arc};

use crate::{domain::Domain, driver::VendorDriver, group::Group, ownership::Owner};

fn attach<D: VendorDriver>(group: &Arc<Group<D>>, owner: Owner, domain: &Arc<Domain<D>>) -> Result {
    group.attach_claimed(owner, domain) //~ E0624
}
