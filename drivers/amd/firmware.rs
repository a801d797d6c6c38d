// SPDX-License-Identifier: GPL-2.0

//! The IVRS table of this machine.

use core::slice;

use kernel::{bindings, prelude::*, str::CStrExt, sync::Arc};

use super::ivrs::{Error, Table};
use crate::log::{log_err, log_warn};

/// A copy of the IVRS table, which firmware cannot change any more.
///
/// # Invariants
///
/// [`Table::parse`] accepts `bytes`.
pub(super) struct Firmware {
    bytes: KVec<u8>,
}

impl Firmware {
    /// Finds and checks the table.
    ///
    /// # Errors
    ///
    /// `ENODEV` if there is none, `EINVAL` if it is broken; logged, if it is broken.
    pub(super) fn find() -> Result<Arc<Self>> {
        let mut header = core::ptr::null_mut();
        // SAFETY: The signature is a string of four characters, which is not written to, and
        // `header` is valid for the answer. The function copes with ACPI being off.
        let status = unsafe {
            bindings::acpi_get_table(c"IVRS".as_char_ptr().cast_mut(), 0, &raw mut header)
        };
        if status != 0 || header.is_null() {
            return Err(ENODEV);
        }

        // SAFETY: On success `header` points to a mapped table of the length that is in it, which
        // stays mapped until it is put.
        let mapped = unsafe { slice::from_raw_parts(header.cast(), (*header).length as usize) };
        let mut bytes = KVec::new();
        let copied = bytes.extend_from_slice(mapped, GFP_KERNEL);
        // SAFETY: `header` was just got, and nothing refers to the mapping any more.
        unsafe { bindings::acpi_put_table(header) };
        copied?;

        Self::check(bytes)
    }

    /// Takes `bytes` if they are a good table.
    pub(super) fn check(bytes: KVec<u8>) -> Result<Arc<Self>> {
        match Table::parse(&bytes) {
            Ok(table) => {
                for warning in table.warnings() {
                    log_warn!("IVRS table: {}", warning);
                }
            }
            Err(error) => {
                log_err!(
                    "the machine's IVRS table is broken and cannot be used: {}; \
                     a firmware update may help",
                    error,
                );
                return Err(EINVAL);
            }
        }
        // INVARIANT: Just parsed.
        Ok(Arc::new(Self { bytes }, GFP_KERNEL)?)
    }

    /// The table.
    pub(super) fn table(&self) -> Result<Table<'_>, Error> {
        // By the invariant this succeeds.
        Table::parse(&self.bytes)
    }
}
