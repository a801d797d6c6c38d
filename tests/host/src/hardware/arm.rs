// SPDX-License-Identifier: GPL-2.0

//! Armv8-A page tables: Arm ARM (DDI 0487), sections D8.2 and D8.3. The shape of a page table is
//! derived from the fields that configure a unit, as in the manual's tables.

use super::{bit, bits, Fault, Found, Walker};
use crate::addr::Prot;

/// A unit that is configured with these fields of TCR or VTCR.
#[derive(Clone, Debug)]
pub struct Arm {
    stage: u32,
    /// Size of the granule, as a power of 2.
    granule_lg2: u32,
    ia_bits: u32,
    oa_bits: u32,
    /// As Arm counts levels: 3 is the lowest.
    start_level: u32,
}

impl Arm {
    /// Reads the fields of stage 1.
    pub fn stage1(t0sz: u8, tg: u8, ps: u8) -> Self {
        let t0sz = u32::from(t0sz);
        let granule_lg2 = granule(tg);
        // "Determining the initial lookup level", for each granule.
        let start_level = match (granule_lg2, t0sz) {
            (12, 16..=24) => 0,
            (12, 25..=33) => 1,
            (12, 34..=39) => 2,
            (14, 16) => 0,
            (14, 17..=27) => 1,
            (14, 28..=38) => 2,
            (16, 12..=21) => 1,
            (16, 22..=34) => 2,
            _ => panic!("T0SZ {t0sz} cannot be"),
        };

        Self {
            stage: 1,
            granule_lg2,
            ia_bits: 64 - t0sz,
            oa_bits: width(ps),
            start_level,
        }
    }

    /// Reads the fields of stage 2.
    pub fn stage2(t0sz: u8, sl0: u8, tg: u8, ps: u8) -> Self {
        let granule_lg2 = granule(tg);
        let start_level = match (granule_lg2, sl0) {
            (12, 0) => 2,
            (12, 1) => 1,
            (12, 2) => 0,
            (14 | 16, 0) => 3,
            (14 | 16, 1) => 2,
            (14 | 16, 2) => 1,
            _ => panic!("SL0 {sl0} cannot be"),
        };
        let ia_bits = 64 - u32::from(t0sz);
        let oa_bits = width(ps);

        // The start level has 1 entry up to 16 tables of entries.
        let below = granule_lg2 + (granule_lg2 - 3) * (3 - start_level);
        assert!(
            (1..=granule_lg2 - 3 + 4).contains(&(ia_bits - below)),
            "SL0 {sl0} does not go with T0SZ {t0sz}"
        );
        // SMMUv3 does not support a start level that the few address bits would not need.
        match (granule_lg2, start_level) {
            (12, 0) => assert!(oa_bits >= 44),
            (14, 1) => assert!(oa_bits >= 42),
            (16, 1) => assert!(oa_bits >= 44),
            _ => {}
        }
        Self {
            stage: 2,
            granule_lg2,
            ia_bits,
            oa_bits,
            start_level,
        }
    }
}

fn granule(tg: u8) -> u32 {
    match tg {
        0 => 12,
        1 => 16,
        2 => 14,
        _ => panic!("TG {tg} cannot be"),
    }
}

fn width(ps: u8) -> u32 {
    [32, 36, 40, 42, 44, 48, 52][usize::from(ps)]
}

impl Walker for Arm {
    fn granule_lg2(&self) -> u32 {
        self.granule_lg2
    }

    fn index_lg2(&self) -> u32 {
        self.granule_lg2 - 3
    }

    fn levels(&self) -> u32 {
        4 - self.start_level
    }

    fn iova_bits(&self) -> u32 {
        self.ia_bits
    }

    fn decode(&self, level: u32, iova: u64, entry: u64) -> Result<Found, Fault> {
        let arm_level = 4 - level;

        if !bit(entry, 0) {
            return Ok(Found::Absent);
        }

        let size_lg2 = self.granule_lg2 + (self.granule_lg2 - 3) * (level - 1);
        let mut addr = bits(entry, 47, self.granule_lg2) << self.granule_lg2;
        match self.granule_lg2 {
            16 => addr |= bits(entry, 15, 12) << 48,
            _ if bits(entry, 50, 48) != 0 => return Err(Fault::Reserved),
            _ => {}
        }
        // Address size fault.
        if addr >> self.oa_bits != 0 {
            return Err(Fault::Reserved);
        }

        match (arm_level, bit(entry, 1)) {
            (3, true) => {}
            (0..=2, true) => {
                // The fields that restrict lower levels are 0; bits 58:51 are ignored.
                return match bits(entry, 63, 59) {
                    0 => Ok(Found::Table(addr, Prot::READ | Prot::WRITE)),
                    _ => Err(Fault::Reserved),
                };
            }
            (1 | 2, false) if self.granule_lg2 == 12 => {}
            (2, false) => {}
            (1, false) if self.granule_lg2 == 16 && self.oa_bits == 52 => {}
            _ => return Err(Fault::Reserved),
        }
        if addr & ((1 << size_lg2) - 1) != 0 {
            return Err(Fault::Reserved);
        }

        // An entry with AF = 0 would fault. Bits 63:59 of a page are not used.
        if !bit(entry, 10) || bits(entry, 63, 59) != 0 {
            return Err(Fault::Reserved);
        }
        let mut prot = Prot::NONE;
        let mut dirty = false;
        if self.stage == 1 {
            // nG; NS.
            if !bit(entry, 11) || bit(entry, 5) {
                return Err(Fault::Reserved);
            }
            prot = prot | Prot::READ;
            // AP[2] is clear, or DBM allows hardware to clear it.
            if !bit(entry, 7) || bit(entry, 51) {
                prot = prot | Prot::WRITE;
            }
            if bit(entry, 51) {
                prot = prot | Prot::TRACK_DIRTY;
                dirty = !bit(entry, 7);
            }
            if !bit(entry, 6) {
                prot = prot | Prot::PRIV;
            }
            // The attributes in MAIR at this index: non-cacheable, write-back, device.
            match bits(entry, 4, 2) {
                0 => {}
                1 => prot = prot | Prot::CACHE,
                2 => prot = prot | Prot::MMIO,
                _ => return Err(Fault::Reserved),
            }
            match bits(entry, 54, 53) {
                0 => {}
                3 => prot = prot | Prot::NOEXEC,
                _ => return Err(Fault::Reserved),
            }
        } else {
            if bit(entry, 11) || bit(entry, 51) {
                return Err(Fault::Reserved);
            }
            if bit(entry, 6) {
                prot = prot | Prot::READ;
            }
            if bit(entry, 7) {
                prot = prot | Prot::WRITE;
            }
            match bits(entry, 5, 2) {
                0b0101 => {}
                0b1111 => prot = prot | Prot::CACHE,
                0b0001 => prot = prot | Prot::MMIO,
                _ => return Err(Fault::Reserved),
            }
            match bits(entry, 54, 53) {
                0b00 => {}
                0b10 => prot = prot | Prot::NOEXEC,
                _ => return Err(Fault::Reserved),
            }
        }
        // SH.
        match (bits(entry, 9, 8), prot.has(Prot::CACHE)) {
            (3, true) | (2, false) => {}
            // Shareability does not matter for device memory.
            (3, false) if prot.has(Prot::MMIO) => {}
            _ => return Err(Fault::Reserved),
        }

        let mut span_lg2 = size_lg2;
        if bit(entry, 52) {
            // The number of contiguous entries, by granule and level.
            span_lg2 += match (self.granule_lg2, arm_level) {
                (12, 1..=3) => 4,
                (14, 3) => 7,
                (14, 2) => 5,
                (16, 2..=3) => 5,
                _ => return Err(Fault::Reserved),
            };
            // The offset within the run is the same in both addresses.
            let inside = (1u64 << span_lg2) - (1 << size_lg2);
            if iova & inside != addr & inside {
                return Err(Fault::Reserved);
            }
        }
        Ok(Found::Page {
            size: 1 << span_lg2,
            phys: addr & !((1 << span_lg2) - 1),
            prot,
            dirty,
        })
    }

    /// The invalidation removes whatever translates the address: DDI 0487, TLB maintenance by
    /// address.
    fn forgets_page_of_part(&self) -> bool {
        true
    }

    fn record(&self, entry: u64, write: bool) -> u64 {
        // AF is set. A write clears AP[2] if DBM allows it.
        match self.stage == 1 && write && bit(entry, 51) {
            true => entry & !(1 << 7),
            false => entry,
        }
    }
}
