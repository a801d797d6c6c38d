// SPDX-License-Identifier: GPL-2.0

//! Law 1: a driver that returns the view with its part of the domain.

#![allow(dead_code)]

use crate::driver::{DeviceView, VendorDriver};

fn alloc_paging<D: VendorDriver>(device: DeviceView<'_, D>) -> DeviceView<'static, D> {
    device //~ lifetime may not live long enough
}
