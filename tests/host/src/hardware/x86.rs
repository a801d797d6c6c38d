// SPDX-License-Identifier: GPL-2.0

//! x86-64 tables: Intel SDM, volume 3, section 4.5; VT-d specification, section 9.7.

use super::{bit, bits, Fault, Found, Walker};
use crate::addr::Prot;

/// A unit with tables of so many levels.
#[derive(Clone)]
pub struct X86 {
    levels: u32,
}

impl X86 {
    /// Makes one.
    pub fn new(levels: u8) -> Self {
        assert!(levels == 4 || levels == 5);
        Self {
            levels: u32::from(levels),
        }
    }
}

impl Walker for X86 {
    fn granule_lg2(&self) -> u32 {
        12
    }

    fn index_lg2(&self) -> u32 {
        9
    }

    fn levels(&self) -> u32 {
        self.levels
    }

    /// Canonical addresses of the lower half.
    fn iova_bits(&self) -> u32 {
        12 + 9 * self.levels - 1
    }

    fn decode(&self, level: u32, _iova: u64, entry: u64) -> Result<Found, Fault> {
        // P.
        if !bit(entry, 0) {
            return Ok(Found::Absent);
        }
        // U/S: requests without a PASID are of users.
        if !bit(entry, 2) {
            return Err(Fault::Refused);
        }
        // PWT, PCD: nobody asked for another memory type.
        if bits(entry, 4, 3) != 0 {
            return Err(Fault::Reserved);
        }

        let mut prot = Prot::READ;
        if bit(entry, 1) {
            prot = prot | Prot::WRITE;
        }
        if bit(entry, 63) {
            prot = prot | Prot::NOEXEC;
        }
        let addr = bits(entry, 51, 12) << 12;
        // In the lowest level bit 7 is PAT, and bit 12 of large pages is.
        let size = match (level, bit(entry, 7)) {
            (1, false) => 1 << 12,
            (2, true) if bits(entry, 20, 12) == 0 => 1 << 21,
            (3, true) if bits(entry, 29, 12) == 0 => 1 << 30,
            (_, true) => return Err(Fault::Reserved),
            (_, false) => return Ok(Found::Table(addr, prot)),
        };
        // G: pages are not global.
        if bit(entry, 8) {
            return Err(Fault::Reserved);
        }
        Ok(Found::Page {
            size,
            phys: addr,
            prot,
            dirty: bit(entry, 6),
        })
    }

    /// As in VT-d's second stage: nothing better is known.
    fn forgets_page_of_part(&self) -> bool {
        false
    }

    fn record(&self, entry: u64, write: bool) -> u64 {
        entry | 1 << 5 | u64::from(write) << 6
    }
}
