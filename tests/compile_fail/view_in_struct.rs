// SPDX-License-Identifier: GPL-2.0

//! Law 1: a driver that stores the view of the device in its part of the domain.

#![allow(dead_code)]

use crate::driver::{DeviceView, VendorDriver};

struct Paging<D: VendorDriver> {
    device: DeviceView<'static, D>,
}

fn alloc_paging<D: VendorDriver>(device: DeviceView<'_, D>) -> Paging<D> {
    Paging { device } //~ lifetime may not live long enough
}
