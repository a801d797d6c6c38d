// SPDX-License-Identifier: GPL-2.0

//! Law 1: a driver that asks the view for the endpoint behind it.

#![allow(dead_code)]

use crate::{
    driver::VendorDriver,
    endpoint::{DeviceView, Endpoint},
};

fn alloc_paging<'a, D: VendorDriver>(device: &DeviceView<'a, D>) -> &'a Endpoint<D> {
    device.endpoint //~ E0616
}
