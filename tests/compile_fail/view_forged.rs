// SPDX-License-Identifier: GPL-2.0

//! Law 1: a driver that constructs a view with a longer lifetime.

#![allow(dead_code)]

use core::marker::PhantomData;

use crate::driver::{DeviceView, VendorDriver};

fn alloc_paging<D: VendorDriver>(unit: &'static D::Unit) -> DeviceView<'static, D> {
    DeviceView {
        unit,                    //~ E0451
        _invariant: PhantomData, //~ E0451
    }
}
