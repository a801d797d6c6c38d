// SPDX-License-Identifier: GPL-2.0

//! Law 1: a driver that stores a reference to the view in its part of the domain.

#![allow(dead_code)]

use crate::driver::{DeviceView, VendorDriver};

struct Paging<D: VendorDriver> {
    device: &'static DeviceView<'static, D>,
}

fn alloc_paging<D: VendorDriver>(device: &DeviceView<'_, D>) -> Paging<D> {
    Paging { device } //~ lifetime may not live long enough
}
