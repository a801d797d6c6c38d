// SPDX-License-Identifier: GPL-2.0

//! A workqueue that the kernel crate does not provide yet.

use kernel::{bindings, workqueue::Queue};

/// Returns the kernel's workqueue for work that may run on any CPU, several items at the same time.
pub(crate) fn any_cpu() -> &'static Queue {
    // SAFETY: The kernel creates it early during boot and never destroys it.
    unsafe { Queue::from_raw(bindings::system_dfl_wq) }
}
