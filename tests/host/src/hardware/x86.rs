// SPDX-License-Identifier: GPL-2.0

//! x86-64 tables: Intel SDM, volume 3, section 4.5; VT-d specification, section 9.7.

use super::{bit, bits, Fault, Found, Walker};
use crate::addr::Prot;

/// A unit whose page tables have `levels` levels.
#[derive(Clone)]
pub struct X86 {
    levels: u32,
}

impl X86 {
    /// Creates a unit.
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
        // U/S: requests without a PASID are user requests.
        if !bit(entry, 2) {
            return Err(Fault::Refused);
        }
        // PWT, PCD: other memory types are not used.
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
        // Bit 7 is PAT in the lowest level; in large pages bit 12 is PAT.
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

    /// As in VT-d's second stage: the specifications do not guarantee more.
    fn forgets_page_of_part(&self) -> bool {
        false
    }

    fn record(&self, entry: u64, write: bool) -> u64 {
        entry | 1 << 5 | u64::from(write) << 6
    }
}
