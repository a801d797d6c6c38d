// SPDX-License-Identifier: GPL-2.0

//! Law 1: a driver that takes the view along to another thread.

#![allow(dead_code)]

use crate::driver::{DeviceView, VendorDriver};

/// What it takes to run something later, or elsewhere.
fn spawn(_work: impl FnOnce() + Send + 'static) {}

fn alloc_paging<D: VendorDriver>(device: &DeviceView<'_, D>) {
    spawn(|| drop(D::health(device.unit()).name())); //~ E0521
}
