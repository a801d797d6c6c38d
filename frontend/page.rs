// SPDX-License-Identifier: GPL-2.0

//! The page of a file in sysfs.

use core::{
    fmt::{self, Write},
    ptr,
};

use kernel::{bindings, ffi::c_char};

/// A page that sysfs wants filled.
///
/// # Invariants
///
/// `at` is a page, and `len` bytes of it are written.
pub(super) struct Page {
    at: *mut c_char,
    len: usize,
}

impl Page {
    /// The page of a call from sysfs.
    ///
    /// # Safety
    ///
    /// `at` is a page to fill, until the call ends.
    pub(super) unsafe fn new(at: *mut c_char) -> Self {
        // INVARIANT: By the requirements.
        Self { at, len: 0 }
    }

    /// How many bytes were written, as sysfs wants to know.
    pub(super) fn len(&self) -> isize {
        self.len as isize
    }
}

impl Write for Page {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // What does not fit is left out, by whole lines or nearly so.
        if self.len + text.len() > bindings::PAGE_SIZE {
            return Err(fmt::Error);
        }
        // SAFETY: By the invariant, and there is room for the text.
        unsafe {
            ptr::copy_nonoverlapping(
                text.as_ptr(),
                self.at.cast::<u8>().add(self.len),
                text.len(),
            );
        }
        self.len += text.len();
        Ok(())
    }
}
