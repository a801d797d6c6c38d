// SPDX-License-Identifier: GPL-2.0

//! Law 1: a driver that gets the endpoint from the view.

#![allow(dead_code)]

use crate::driver::{DeviceView, VendorDriver};

fn alloc_paging<'a, D: VendorDriver>(device: &'a DeviceView<'_, D>) -> &'a D::Endpoint {
    device.endpoint //~ E0609
}
