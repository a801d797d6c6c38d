// SPDX-License-Identifier: GPL-2.0

//! Law 1: a frontend that keeps the view longer than the endpoint.

#![allow(dead_code)]

use kernel::sync::Arc;

use crate::{driver::VendorDriver, endpoint::Endpoint};

fn allocate<D: VendorDriver>(endpoint: Arc<Endpoint<D>>) {
    let view = endpoint.view();
    drop(endpoint); //~ E0505
    drop(D::health(view.unit()).name());
}
