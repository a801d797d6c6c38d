// SPDX-License-Identifier: GPL-2.0

//! Law 1: a driver that makes a view of its own that lives longer.

#![allow(dead_code)]

use core::marker::PhantomData;

use crate::{
    driver::VendorDriver,
    endpoint::{DeviceView, Endpoint},
};

fn alloc_paging<D: VendorDriver>(endpoint: &'static Endpoint<D>) -> DeviceView<'static, D> {
    DeviceView {
        endpoint,                //~ E0451
        _invariant: PhantomData, //~ E0451
    }
}
