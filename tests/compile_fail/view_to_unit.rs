// SPDX-License-Identifier: GPL-2.0

//! Law 1: a driver that keeps the unit longer than the view.

#![allow(dead_code)]

use crate::driver::{DeviceView, VendorDriver};

struct Paging<'a, D: VendorDriver> {
    unit: &'a D::Unit,
}

fn alloc_paging<'a, D: VendorDriver>(device: DeviceView<'a, D>) -> Paging<'a, D> {
    let unit = device.unit();
    Paging { unit } //~ E0515
}
