// SPDX-License-Identifier: GPL-2.0

//! The ACPI table that describes a machine's units, and ACPI's numbers of memory nodes.
//!
//! A table is hostile input, in memory that firmware owns. So a driver reads only a copy of the
//! mapped table, which firmware cannot change after the driver has checked it.

use core::{fmt, marker::PhantomData};

use kernel::{bindings, prelude::*, sync::Arc};

use crate::log::{log_err, log_warn};

/// A driver's reader of its ACPI table.
///
/// The driver checks a table once. It keeps the results of the check in an index, so later look-ups
/// need no second check.
pub(crate) trait AcpiTable {
    /// The table's signature, four characters.
    const SIGNATURE: &'static CStr;

    /// An entry of the index, for one part of the table.
    type Entry: Clone + Default;

    /// A table that was checked.
    type Parsed<'a>;

    /// Why a table cannot be used.
    type Error: fmt::Display;

    /// Returns how many entries the index of the table in `bytes` has.
    ///
    /// # Errors
    ///
    /// Why the driver cannot use the table.
    fn count(bytes: &[u8]) -> Result<usize, Self::Error>;

    /// Fills the index, which has as many entries as [`count`](Self::count) has returned. Calls
    /// `log` with everything that is wrong in the table.
    fn index(bytes: &[u8], index: &mut [Self::Entry], log: &mut dyn FnMut(&dyn fmt::Display));

    /// Returns the table in `bytes`. `index` is its index.
    fn parsed<'a>(bytes: &'a [u8], index: &'a [Self::Entry]) -> Self::Parsed<'a>;
}

/// A copy of an ACPI table that its driver can use.
///
/// # Invariants
///
/// [`AcpiTable::count`] accepts `bytes`, and [`AcpiTable::index`] has filled `index`.
pub(crate) struct CheckedTable<T: AcpiTable> {
    bytes: KVec<u8>,
    index: KVec<T::Entry>,
    _table: PhantomData<fn() -> T>,
}

impl<T: AcpiTable> CheckedTable<T> {
    /// Finds, copies and checks the machine's table. Logs its oddities, and why it is refused.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the machine has no such table, `EINVAL` if the driver cannot use it, `ENOMEM`.
    pub(crate) fn find() -> Result<Arc<Self>> {
        Self::check(copy(T::SIGNATURE)?)
    }

    /// Checks `bytes`, and logs as [`find`](Self::find) does.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the driver cannot use the table, `ENOMEM`.
    pub(crate) fn check(bytes: KVec<u8>) -> Result<Arc<Self>> {
        let name = T::SIGNATURE.to_str().unwrap_or_default();
        let entries = T::count(&bytes).map_err(|error| {
            log_err!(
                "the machine's {} table is broken and cannot be used: {}; a firmware update may \
                 help",
                name,
                error,
            );
            EINVAL
        })?;
        let mut index = KVec::from_elem(T::Entry::default(), entries, GFP_KERNEL)?;
        T::index(&bytes, &mut index, &mut |warning| {
            log_warn!("{} table: {}", name, warning);
        });
        let this = Self {
            // INVARIANT: Just counted and filled.
            bytes,
            index,
            _table: PhantomData,
        };
        Ok(Arc::new(this, GFP_KERNEL)?)
    }

    /// The table.
    pub(crate) fn table(&self) -> T::Parsed<'_> {
        T::parsed(&self.bytes, &self.index)
    }
}

/// A copy of the machine's table with this signature.
#[cfg(CONFIG_ACPI)]
fn copy(signature: &'static CStr) -> Result<KVec<u8>> {
    use core::{ptr, slice};

    use kernel::str::CStrExt;

    let mut header = ptr::null_mut();
    // SAFETY: The signature is a string of four characters, which the function does not write to,
    // and `header` may be written to. The function may be called when ACPI is off.
    let status =
        unsafe { bindings::acpi_get_table(signature.as_char_ptr().cast_mut(), 0, &raw mut header) };
    if status != 0 || header.is_null() {
        return Err(ENODEV);
    }

    // SAFETY: On success `header` points to a mapped table, which has the length in its header and
    // stays mapped until it is put.
    let mapped = unsafe { slice::from_raw_parts(header.cast(), (*header).length as usize) };
    let mut bytes = KVec::new();
    let copied = bytes.extend_from_slice(mapped, GFP_KERNEL);
    // SAFETY: `acpi_get_table()` has returned `header`, and nothing refers to the mapping any more.
    unsafe { bindings::acpi_put_table(header) };
    copied?;
    Ok(bytes)
}

/// A kernel without ACPI knows no tables.
#[cfg(not(CONFIG_ACPI))]
fn copy(_signature: &'static CStr) -> Result<KVec<u8>> {
    Err(ENODEV)
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
