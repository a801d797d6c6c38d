// SPDX-License-Identifier: GPL-2.0

//! Law 5: code without a claim attaches a domain.

#![allow(dead_code)]

use kernel::{prelude::*, sync::Arc};

use crate::{domain::Domain, driver::VendorDriver, group::Group};

fn attach<D: VendorDriver>(group: &Arc<Group<D>>, domain: &Arc<Domain<D>>) -> Result {
    group.attach(domain) //~ E0599
}
