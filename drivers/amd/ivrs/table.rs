// SPDX-License-Identifier: GPL-2.0

//! A whole IVRS table: what is checked once, and what can be asked then.

#![forbid(unsafe_code)]

use super::{
    blocks::{Block, Blocks},
    error::{Error, Problem, MAX_LEN, MAX_UNITS},
    hardware::{Ivhd, WINDOW},
    info::Info,
    kind::{Kind, BLOCK_PREFIX, HEADER_LEN},
    memory::Ivmd,
};
use crate::drivers::shell::bytes::{u16_at, u32_at, u8_at};

/// An IVRS table that was checked from end to end.
///
/// | bytes | field |
/// |---|---|
/// | 0-3 | signature, `IVRS` |
/// | 4-7 | length of the whole table |
/// | 8 | revision |
/// | 9 | checksum: all bytes sum up to 0 |
/// | 10-35 | OEM and creator, not used |
/// | 36-39 | virtualization information (IVinfo) |
/// | 40-47 | reserved |
/// | 48- | blocks |
///
/// # Invariants
///
/// `bytes` passed every check of [`Table::parse`]; in particular every block and every device entry
/// lies inside what contains it, none is shorter than its fixed part, and every range of devices
/// that starts also ends.
#[derive(Copy, Clone, Debug)]
pub struct Table<'a> {
    bytes: &'a [u8],
}

impl<'a> Table<'a> {
    /// Checks `bytes`, which may be longer than the table in them.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let bytes =
            Self::check_header(bytes).map_err(|problem| Error::new(Kind::Header, 0, problem))?;

        let mut at = HEADER_LEN;
        let mut units = 0;
        while at < bytes.len() {
            at += Self::check_block(bytes, at, &mut units)?;
        }

        let table = Self { bytes };
        table.check_units()?;
        Ok(table)
    }

    /// Checks the header and returns the bytes of the table.
    fn check_header(bytes: &[u8]) -> Result<&[u8], Problem> {
        let too_short = |claims| Problem::TooShort {
            claims,
            needs: HEADER_LEN,
        };

        if bytes.len() < HEADER_LEN {
            return Err(too_short(bytes.len()));
        }
        if !bytes.starts_with(b"IVRS") {
            return Err(Problem::Signature);
        }
        let claims = u32_at(bytes, 4);
        let Some(bytes) = usize::try_from(claims)
            .ok()
            .and_then(|len| bytes.get(..len))
        else {
            let has = bytes.len();
            return Err(Problem::TableTruncated { claims, has });
        };
        if bytes.len() < HEADER_LEN {
            return Err(too_short(bytes.len()));
        }
        if bytes.len() > MAX_LEN {
            return Err(Problem::TooLong { claims });
        }
        let sum = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        if sum != 0 {
            return Err(Problem::Checksum { sum });
        }
        let info = Info(u32_at(bytes, 36));
        match info.physical_bits().max(info.virtual_bits()) {
            bits @ 65.. => Err(Problem::AddressWidth { bits }),
            _ => Ok(bytes),
        }
    }

    /// Checks one block and returns its length.
    fn check_block(table: &[u8], at: usize, units: &mut usize) -> Result<usize, Error> {
        let rest = table.get(at..).unwrap_or_default();
        let kind = Kind::from_type(u8_at(rest, 0));
        let refuse = |problem| Error::new(kind, at, problem);

        if rest.len() < BLOCK_PREFIX {
            return Err(refuse(Problem::PastTable {
                claims: BLOCK_PREFIX,
                left: rest.len(),
            }));
        }
        let claims = usize::from(u16_at(rest, 2));
        let needs = kind.fixed_len();
        if claims < needs {
            return Err(refuse(Problem::TooShort { claims, needs }));
        }
        let Some(bytes) = rest.get(..claims) else {
            let left = rest.len();
            return Err(refuse(Problem::PastTable { claims, left }));
        };

        match kind {
            Kind::Ivhd10 | Kind::Ivhd11 | Kind::Ivhd40 => {
                *units += 1;
                if *units > MAX_UNITS {
                    return Err(refuse(Problem::TooManyUnits));
                }
                let unit = Ivhd::new(bytes, at, kind);
                Self::check_registers(unit).map_err(refuse)?;
                unit.entries().check().map_err(|(entry, problem)| Error {
                    entry: Some(entry),
                    ..refuse(problem)
                })?;
            }
            Kind::IvmdAll | Kind::IvmdOne | Kind::IvmdRange => {
                Self::check_region(Ivmd::new(bytes, at, kind)).map_err(refuse)?;
            }
            Kind::Header | Kind::Unknown(_) => {}
        }
        Ok(claims)
    }

    fn check_registers(unit: Ivhd<'_>) -> Result<(), Problem> {
        let base = unit.base();

        if base == 0 || base == u64::MAX {
            return Err(Problem::BaseImpossible { base });
        }
        if base % WINDOW != 0 {
            return Err(Problem::BaseMisaligned { base });
        }
        if base.checked_add(WINDOW - 1).is_none() {
            return Err(Problem::BaseWraps { base });
        }
        Ok(())
    }

    fn check_region(region: Ivmd<'_>) -> Result<(), Problem> {
        let (base, length) = (region.start(), region.length());

        if length == 0 {
            return Err(Problem::RegionEmpty { base });
        }
        if base.checked_add(length - 1).is_none() {
            return Err(Problem::RegionWraps { base, length });
        }
        let (first, last) = region.devices();
        if last < first {
            return Err(Problem::RangeBackwards { first, last });
        }
        Ok(())
    }

    /// Checks what concerns more than one block of units.
    fn check_units(self) -> Result<(), Error> {
        for unit in self.hardware() {
            let before = || {
                self.hardware()
                    .take_while(|other| other.offset() < unit.offset())
            };
            let refuse = |problem| Error::new(unit.kind(), unit.offset(), problem);

            if let Some(other) =
                before().find(|other| other.is_same_unit(unit) && other.kind() == unit.kind())
            {
                return Err(refuse(Problem::SecondBlock {
                    device: unit.device(),
                    segment: unit.segment(),
                    other: other.offset(),
                }));
            }
            // Windows are aligned to their size.
            if let Some(other) =
                before().find(|other| !other.is_same_unit(unit) && other.base() == unit.base())
            {
                return Err(refuse(Problem::UnitsOverlap {
                    base: unit.base(),
                    other: other.offset(),
                }));
            }
        }
        Ok(())
    }

    /// What the header says about the machine.
    pub fn info(self) -> Info {
        Info(u32_at(self.bytes, 36))
    }

    /// Every block, in the order of the table.
    pub fn blocks(self) -> Blocks<'a> {
        Blocks::new(self.bytes)
    }

    /// Every hardware definition, in the order of the table; a unit may have several.
    pub(super) fn hardware(self) -> impl Iterator<Item = Ivhd<'a>> + Clone {
        self.blocks().filter_map(|block| match block {
            Block::Ivhd(unit) => Some(unit),
            _ => None,
        })
    }

    /// Every unit once, in the order of the table: the block that says most about it.
    pub fn units(self) -> impl Iterator<Item = Ivhd<'a>> + Clone {
        self.hardware().filter(move |unit| {
            self.hardware().all(|other| {
                !other.is_same_unit(*unit) || other.kind().rank() <= unit.kind().rank()
            })
        })
    }

    /// Every memory definition, in the order of the table.
    pub fn regions(self) -> impl Iterator<Item = Ivmd<'a>> + Clone {
        self.blocks().filter_map(|block| match block {
            Block::Ivmd(region) => Some(region),
            _ => None,
        })
    }
}
