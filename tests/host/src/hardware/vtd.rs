// SPDX-License-Identifier: GPL-2.0

//! VT-d second-stage tables: sections 3.7, 6.2 and 9.8 of the specification.

use super::{bit, bits, Fault, Found, Walker};
use crate::addr::Prot;

/// A unit whose page tables have `levels` levels.
#[derive(Clone)]
pub struct Vtd {
    levels: u32,
}

impl Vtd {
    /// Creates a unit.
    pub fn new(levels: u8) -> Self {
        Self {
            levels: u32::from(levels),
        }
    }
}

fn permissions(entry: u64) -> Prot {
    let mut prot = Prot::NONE;

    if bit(entry, 0) {
        prot = prot | Prot::READ;
    }
    if bit(entry, 1) {
        prot = prot | Prot::WRITE;
    }
    prot
}

impl Walker for Vtd {
    fn granule_lg2(&self) -> u32 {
        12
    }

    fn index_lg2(&self) -> u32 {
        9
    }

    fn levels(&self) -> u32 {
        self.levels
    }

    fn iova_bits(&self) -> u32 {
        12 + 9 * self.levels
    }

    fn decode(&self, level: u32, _iova: u64, entry: u64) -> Result<Found, Fault> {
        if !bit(entry, 0) && !bit(entry, 1) {
            return Ok(Found::Absent);
        }
        // Bits 6:2 are EMT, IPAT and reserved; they are not used.
        if bits(entry, 6, 2) != 0 {
            return Err(Fault::Reserved);
        }

        let addr = bits(entry, 51, 12) << 12;
        let size = match (level, bit(entry, 7)) {
            (1, _) => 1 << 12,
            (2, true) if bits(entry, 20, 12) == 0 => 1 << 21,
            (3, true) if bits(entry, 29, 12) == 0 => 1 << 30,
            (_, true) => return Err(Fault::Reserved),
            (_, false) => return Ok(Found::Table(addr, permissions(entry))),
        };
        let mut prot = permissions(entry);

        if bit(entry, 11) {
            prot = prot | Prot::FORCE_SNOOP;
        }
        Ok(Found::Page {
            size,
            phys: addr,
            prot,
            dirty: bit(entry, 9),
        })
    }

    /// The address mask must cover a large page: see the description of IVA_REG.
    fn forgets_page_of_part(&self) -> bool {
        false
    }

    fn record(&self, entry: u64, write: bool) -> u64 {
        entry | 1 << 8 | u64::from(write) << 9
    }
}
