// SPDX-License-Identifier: GPL-2.0

//! What keeps this module from being unloaded while C can call its functions.

use kernel::{bindings, prelude::*};

/// A count on this module.
pub struct ModuleCount(&'static ThisModule);

impl ModuleCount {
    /// Keeps the module loaded until the value is dropped.
    pub fn new(module: &'static ThisModule) -> Self {
        // SAFETY: The module is running, for this is its code.
        unsafe { bindings::__module_get(module.as_ptr()) };
        Self(module)
    }
}

impl Drop for ModuleCount {
    fn drop(&mut self) {
        // SAFETY: The count was taken by `new`.
        unsafe { bindings::module_put(self.0.as_ptr()) };
    }
}
