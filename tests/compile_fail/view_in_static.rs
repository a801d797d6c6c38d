// SPDX-License-Identifier: GPL-2.0

//! Law 1: a driver that stores the view in a static.

#![allow(dead_code)]

use kernel::sync::SetOnce;

use crate::{driver::DeviceView, drivers::intel::Vtd};

static KEPT: SetOnce<&'static DeviceView<'static, Vtd>> = SetOnce::new();

fn alloc_paging(device: &DeviceView<'_, Vtd>) {
    KEPT.populate(device); //~ E0521
}
