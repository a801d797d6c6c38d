// SPDX-License-Identifier: GPL-2.0

//! AMD-Vi host tables: section 2.2.3 of the specification.

use super::{bit, bits, Fault, Found, Walker};
use crate::addr::Prot;

/// A unit whose device table entry has this mode (number of levels).
#[derive(Clone)]
pub struct Amd {
    mode: u32,
}

impl Amd {
    /// Creates a unit.
    pub fn new(mode: u8) -> Self {
        assert!((1..=6).contains(&mode));
        Self {
            mode: u32::from(mode),
        }
    }
}

/// Page sizes, as powers of 2, that must not be used: units do not handle them correctly.
const BROKEN: u32 = 39;

impl Walker for Amd {
    fn granule_lg2(&self) -> u32 {
        12
    }

    fn index_lg2(&self) -> u32 {
        9
    }

    fn levels(&self) -> u32 {
        self.mode
    }

    fn iova_bits(&self) -> u32 {
        (12 + 9 * self.mode).min(64)
    }

    fn decode(&self, level: u32, _iova: u64, entry: u64) -> Result<Found, Fault> {
        // PR.
        if !bit(entry, 0) {
            return Ok(Found::Absent);
        }

        let next_level = bits(entry, 11, 9) as u32;
        let addr = bits(entry, 51, 12) << 12;
        let mut prot = Prot::NONE;

        if bit(entry, 61) {
            prot = prot | Prot::READ;
        }
        if bit(entry, 62) {
            prot = prot | Prot::WRITE;
        }
        let default_lg2 = 12 + 9 * (level - 1);
        let size_lg2 = match next_level {
            0 => default_lg2,
            // The lowest 0 of the address, from bit 12 upwards, is the highest of the bits below
            // the size.
            7 => {
                let mut lowest_zero = 12;

                while bit(entry, lowest_zero) {
                    lowest_zero += 1;
                }
                let size_lg2 = lowest_zero + 1;
                if size_lg2 <= default_lg2 || size_lg2 >= default_lg2 + 9 {
                    return Err(Fault::Reserved);
                }
                size_lg2
            }
            // Hardware can skip levels. The walker does not use that.
            _ if next_level != level - 1 || bits(entry, 60, 52) != 0 => {
                return Err(Fault::Reserved)
            }
            _ => return Ok(Found::Table(addr, prot)),
        };
        let below = (1u64 << size_lg2) - 1;
        let expected = match next_level {
            0 => 0,
            _ => below >> 1 & !0xfff,
        };

        // Bits 58:52 are reserved; bit 59 (U) is not used.
        if size_lg2 == BROKEN || level == 6 || addr & below != expected || bits(entry, 59, 52) != 0
        {
            return Err(Fault::Reserved);
        }
        if bit(entry, 60) {
            prot = prot | Prot::FORCE_SNOOP;
        }
        Ok(Found::Page {
            size: 1 << size_lg2,
            phys: addr & !below,
            prot,
            dirty: bit(entry, 6),
        })
    }

    /// The specification does not guarantee more.
    fn forgets_page_of_part(&self) -> bool {
        false
    }

    fn record(&self, entry: u64, write: bool) -> u64 {
        entry | 1 << 5 | u64::from(write) << 6
    }
}
