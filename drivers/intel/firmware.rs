// SPDX-License-Identifier: GPL-2.0

//! The DMAR table of this machine.

use core::slice;

use kernel::{bindings, prelude::*, str::CStrExt, sync::Arc};

use super::dmar::{Error, Structure, Table};
use crate::log::{log_err, log_warn};

/// A copy of the DMAR table, which firmware cannot change any more.
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
            bindings::acpi_get_table(c"DMAR".as_char_ptr().cast_mut(), 0, &raw mut header)
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
    fn check(bytes: KVec<u8>) -> Result<Arc<Self>> {
        match Table::parse(&bytes) {
            Ok(table) => {
                for warning in table.warnings() {
                    log_warn!("DMAR table: {}", warning);
                }
            }
            Err(error) => {
                log_err!(
                    "the machine's DMAR table is broken and cannot be used: {}; \
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

    /// The memory node that the unit at `base` is close to, negative for none.
    #[cfg(CONFIG_ACPI_NUMA)]
    pub(super) fn node_of(&self, base: u64) -> i32 {
        let domain = self.table().ok().and_then(|table| {
            table.structures().find_map(|structure| match structure {
                Structure::Rhsa(affinity) if affinity.base == base => {
                    i32::try_from(affinity.proximity_domain).ok()
                }
                _ => None,
            })
        });
        match domain {
            // SAFETY: Any number is fine.
            Some(domain) => unsafe { bindings::pxm_to_node(domain) },
            None => bindings::NUMA_NO_NODE,
        }
    }

    /// The memory node that the unit at `base` is close to: there are no nodes to tell apart.
    #[cfg(not(CONFIG_ACPI_NUMA))]
    pub(super) fn node_of(&self, _base: u64) -> i32 {
        bindings::NUMA_NO_NODE
    }
}
