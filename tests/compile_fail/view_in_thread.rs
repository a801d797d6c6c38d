// SPDX-License-Identifier: GPL-2.0

//! Law 1: a driver that moves the view to another thread.

#![allow(dead_code)]

use crate::driver::{DeviceView, VendorDriver};

/// The bounds of a function that runs its argument later or on another thread.
fn spawn(_work: impl FnOnce() + Send + 'static) {}

fn alloc_paging<D: VendorDriver>(device: &DeviceView<'_, D>) {
    spawn(|| drop(D::health(device.unit()).name())); //~ E0521
}
