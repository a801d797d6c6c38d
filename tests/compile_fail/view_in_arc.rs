// SPDX-License-Identifier: GPL-2.0

//! Law 1: a driver that turns the view into a counted reference.

#![allow(dead_code)]

use kernel::{alloc::AllocError, prelude::*, sync::Arc};

use crate::driver::{DeviceView, VendorDriver};

fn alloc_paging<'a, D: VendorDriver>(
    device: &DeviceView<'a, D>,
) -> Result<Arc<DeviceView<'a, D>>, AllocError> {
    Arc::new(*device, GFP_KERNEL) //~ E0507
}
