// SPDX-License-Identifier: GPL-2.0

//! Law 1: a driver that clones the view.

#![allow(dead_code)]

use crate::driver::{DeviceView, VendorDriver};

fn cloned<T: Clone>(value: &T) -> T {
    value.clone()
}

fn alloc_paging<D: VendorDriver>(device: &DeviceView<'_, D>) {
    let _kept = cloned(device); //~ E0277
}
