// SPDX-License-Identifier: GPL-2.0

//! Law 1: a driver that makes a view of its own that lives longer.

#![allow(dead_code)]

use core::marker::PhantomData;

use crate::driver::{DeviceView, VendorDriver};

fn alloc_paging<D: VendorDriver>(unit: &'static D::Unit) -> DeviceView<'static, D> {
    DeviceView {
        unit,                    //~ E0451
        _invariant: PhantomData, //~ E0451
    }
}
