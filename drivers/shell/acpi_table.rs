// SPDX-License-Identifier: GPL-2.0

//! The ACPI table that describes a machine's units, and ACPI's numbers of memory nodes.
//!
//! A table is hostile input, in memory that firmware owns. So a driver reads only a copy of the
//! mapped table, which firmware cannot change after the driver has checked it.

use core::{fmt, marker::PhantomData, ptr, slice};

use kernel::{bindings, prelude::*, str::CStrExt, sync::Arc};

use crate::log::{log_err, log_warn};

/// How a driver reads its ACPI table.
pub(crate) trait AcpiTable {
    /// The table's signature, four characters.
    const SIGNATURE: &'static CStr;

    /// A table that was checked.
    type Parsed<'a>;

    /// Why a table cannot be used.
    type Error: fmt::Display;

    /// Checks `bytes`. The result depends on `bytes` only.
    ///
    /// # Errors
    ///
    /// Why the table cannot be used.
    fn parse(bytes: &[u8]) -> Result<Self::Parsed<'_>, Self::Error>;

    /// Calls `log` with each oddity of a table that can be used.
    fn warnings(table: Self::Parsed<'_>, log: impl FnMut(&dyn fmt::Display));
}

/// A copy of an ACPI table that its driver can use.
///
/// # Invariants
///
/// [`AcpiTable::parse`] accepts `bytes`.
pub(crate) struct CheckedTable<T: AcpiTable> {
    bytes: KVec<u8>,
    _table: PhantomData<fn() -> T>,
}

impl<T: AcpiTable> CheckedTable<T> {
    /// Finds, copies and checks the machine's table. Logs its oddities, and why it is refused.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the machine has no such table, `EINVAL` if the driver cannot use it, `ENOMEM`.
    pub(crate) fn find() -> Result<Arc<Self>> {
        let mut header = ptr::null_mut();
        // SAFETY: The signature is a string of four characters, which the function does not write
        // to, and `header` may be written to. The function may be called when ACPI is off.
        let status = unsafe {
            bindings::acpi_get_table(T::SIGNATURE.as_char_ptr().cast_mut(), 0, &raw mut header)
        };
        if status != 0 || header.is_null() {
            return Err(ENODEV);
        }

        // SAFETY: On success `header` points to a mapped table, which has the length in its header
        // and stays mapped until it is put.
        let mapped = unsafe { slice::from_raw_parts(header.cast(), (*header).length as usize) };
        let mut bytes = KVec::new();
        let copied = bytes.extend_from_slice(mapped, GFP_KERNEL);
        // SAFETY: `acpi_get_table()` has returned `header`, and nothing refers to the mapping any
        // more.
        unsafe { bindings::acpi_put_table(header) };
        copied?;

        Self::check(bytes)
    }

    /// Checks `bytes`, and logs as [`find`](Self::find) does.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the driver cannot use the table, `ENOMEM`.
    pub(crate) fn check(bytes: KVec<u8>) -> Result<Arc<Self>> {
        let name = T::SIGNATURE.to_str().unwrap_or_default();
        match T::parse(&bytes) {
            Ok(table) => T::warnings(table, |warning| log_warn!("{} table: {}", name, warning)),
            Err(error) => {
                log_err!(
                    "the machine's {} table is broken and cannot be used: {}; a firmware update \
                     may help",
                    name,
                    error,
                );
                return Err(EINVAL);
            }
        }
        let this = Self {
            // INVARIANT: `parse` has accepted them above.
            bytes,
            _table: PhantomData,
        };
        Ok(Arc::new(this, GFP_KERNEL)?)
    }

    /// The table.
    pub(crate) fn table(&self) -> Result<T::Parsed<'_>, T::Error> {
        // By the invariant this succeeds.
        T::parse(&self.bytes)
    }
}

/// The memory node of an ACPI proximity domain, negative for none.
pub(crate) fn memory_node(proximity_domain: Option<u32>) -> i32 {
    #[cfg(CONFIG_ACPI_NUMA)]
    if let Some(domain) = proximity_domain.and_then(|domain| i32::try_from(domain).ok()) {
        // SAFETY: The function takes any number.
        return unsafe { bindings::pxm_to_node(domain) };
    }
    // Without CONFIG_ACPI_NUMA the kernel does not know the node of a domain.
    let _ = proximity_domain;
    bindings::NUMA_NO_NODE
}
