// SPDX-License-Identifier: GPL-2.0

//! A whole DMAR table: what is checked once, and what can be asked then.

#![forbid(unsafe_code)]

use super::{
    error::{Error, Problem, Warning, MAX_UNITS},
    kind::{Kind, HEADER_LEN, STRUCTURE_PREFIX},
    scopes::{DeviceScope, ScopeKind, SCOPE_PREFIX},
    structures::{Drhd, Rmrr, Structure, Structures, PAGE},
};
use crate::drivers::shell::bytes::{u16_at, u32_at, u64_at, u8_at};

/// A DMAR table that was checked from end to end.
///
/// | bytes | field |
/// |---|---|
/// | 0-3 | signature, `DMAR` |
/// | 4-7 | length of the whole table |
/// | 8 | revision |
/// | 9 | checksum: all bytes sum up to 0 |
/// | 10-35 | OEM and creator, not used |
/// | 36 | host address width, minus 1 |
/// | 37 | flags |
/// | 38-47 | reserved |
/// | 48- | remapping structures |
///
/// # Invariants
///
/// `bytes` passed every check of [`Table::parse`]; in particular every structure and every device
/// scope lies inside what contains it, and none is shorter than its fixed part.
#[derive(Copy, Clone, Debug)]
pub struct Table<'a> {
    bytes: &'a [u8],
}

impl<'a> Table<'a> {
    /// Checks `bytes`, which may be longer than the table in them.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let header = |problem| Error::new(Kind::Header, 0, problem);

        if bytes.len() < HEADER_LEN {
            return Err(header(Problem::TooShort {
                claims: bytes.len(),
                needs: HEADER_LEN,
            }));
        }
        if !bytes.starts_with(b"DMAR") {
            return Err(header(Problem::Signature));
        }
        let claims = u32_at(bytes, 4);
        let Some(bytes) = usize::try_from(claims)
            .ok()
            .and_then(|len| bytes.get(..len))
        else {
            return Err(header(Problem::TableTruncated {
                claims,
                has: bytes.len(),
            }));
        };
        if bytes.len() < HEADER_LEN {
            return Err(header(Problem::TooShort {
                claims: bytes.len(),
                needs: HEADER_LEN,
            }));
        }
        let sum = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        if sum != 0 {
            return Err(header(Problem::Checksum { sum }));
        }
        let bits = u16::from(u8_at(bytes, 36)) + 1;
        if bits > 64 {
            return Err(header(Problem::AddressWidth { bits }));
        }

        let mut at = HEADER_LEN;
        let mut units = 0;
        while at < bytes.len() {
            at += Self::check_structure(bytes, at, &mut units)?;
        }

        let table = Self { bytes };
        table.check_units()?;
        Ok(table)
    }

    /// Checks one structure and returns its length.
    fn check_structure(table: &[u8], at: usize, units: &mut usize) -> Result<usize, Error> {
        let rest = table.get(at..).unwrap_or_default();
        if rest.len() < STRUCTURE_PREFIX {
            // Not even the type can be trusted: report it as what the first bytes say, if any.
            let kind = Kind::from_type(u16_at(rest, 0));
            return Err(Error::new(
                kind,
                at,
                Problem::PastTable {
                    claims: STRUCTURE_PREFIX,
                    left: rest.len(),
                },
            ));
        }
        let kind = Kind::from_type(u16_at(rest, 0));
        let claims = usize::from(u16_at(rest, 2));
        if claims < kind.fixed_len() {
            return Err(Error::new(
                kind,
                at,
                Problem::TooShort {
                    claims,
                    needs: kind.fixed_len(),
                },
            ));
        }
        let Some(bytes) = rest.get(..claims) else {
            return Err(Error::new(
                kind,
                at,
                Problem::PastTable {
                    claims,
                    left: rest.len(),
                },
            ));
        };

        match kind {
            Kind::Drhd => {
                *units += 1;
                if *units > MAX_UNITS {
                    return Err(Error::new(kind, at, Problem::TooManyUnits));
                }
                Self::check_registers(Drhd { bytes, offset: at })?;
            }
            Kind::Rmrr => {
                let (base, limit) = (u64_at(bytes, 8), u64_at(bytes, 16));
                if limit <= base {
                    let problem = Problem::RegionEmpty { base, limit };
                    return Err(Error::new(kind, at, problem));
                }
                if base % PAGE != 0 || limit % PAGE != PAGE - 1 {
                    let problem = Problem::RegionMisaligned { base, limit };
                    return Err(Error::new(kind, at, problem));
                }
            }
            Kind::Andd => {
                let name = bytes.get(8..).unwrap_or_default();
                if !name.iter().any(|byte| *byte == 0) || name.first() == Some(&0) {
                    return Err(Error::new(kind, at, Problem::Name));
                }
            }
            _ => {}
        }

        if kind.has_scopes() {
            let mut scope = kind.fixed_len();
            while scope < claims {
                let rest = bytes.get(scope..).unwrap_or_default();
                scope += Self::check_scope(rest).map_err(|problem| Error {
                    scope: Some(at + scope),
                    ..Error::new(kind, at, problem)
                })?;
            }
        }
        Ok(claims)
    }

    fn check_registers(unit: Drhd<'_>) -> Result<(), Error> {
        let base = unit.base();
        let refuse = |problem| Err(Error::new(Kind::Drhd, unit.offset(), problem));

        if base == 0 || base == u64::MAX {
            return refuse(Problem::BaseImpossible { base });
        }
        if base % PAGE != 0 {
            return refuse(Problem::BaseMisaligned { base });
        }
        if base.checked_add(unit.window() - 1).is_none() {
            return refuse(Problem::BaseWraps { base });
        }
        Ok(())
    }

    /// Checks the device scope at the start of `rest` and returns its length.
    fn check_scope(rest: &[u8]) -> Result<usize, Problem> {
        if rest.len() < SCOPE_PREFIX {
            return Err(Problem::ScopePastStructure {
                claims: SCOPE_PREFIX,
                left: rest.len(),
            });
        }
        let claims = u8_at(rest, 1);
        let len = usize::from(claims);
        if len < SCOPE_PREFIX {
            return Err(Problem::ScopeTooShort { claims });
        }
        let Some(bytes) = rest.get(..len) else {
            return Err(Problem::ScopePastStructure {
                claims: len,
                left: rest.len(),
            });
        };
        // What follows the fixed part is known only for the types that are known.
        if ScopeKind::from_type(u8_at(bytes, 0)).is_some() {
            if len % 2 != 0 {
                return Err(Problem::ScopePathOdd { claims });
            }
            let scope = DeviceScope { bytes };
            if scope.path().next().is_none() {
                return Err(Problem::ScopePathMissing);
            }
            for hop in scope.path() {
                if hop.device > 31 || hop.function > 7 {
                    return Err(Problem::ScopePath {
                        device: hop.device,
                        function: hop.function,
                    });
                }
            }
        }
        Ok(len)
    }

    /// Checks what concerns more than one unit.
    fn check_units(self) -> Result<(), Error> {
        for unit in self.units() {
            for before in self
                .units()
                .take_while(|other| other.offset() < unit.offset())
            {
                let (start, end) = (unit.base(), unit.base() + (unit.window() - 1));
                if start <= before.base() + (before.window() - 1) && before.base() <= end {
                    return Err(Error::new(
                        Kind::Drhd,
                        unit.offset(),
                        Problem::UnitsOverlap {
                            base: start,
                            other: before.offset(),
                        },
                    ));
                }
                if unit.segment() == before.segment() && unit.include_all() && before.include_all()
                {
                    return Err(Error::new(
                        Kind::Drhd,
                        unit.offset(),
                        Problem::SecondIncludeAll {
                            segment: unit.segment(),
                            other: before.offset(),
                        },
                    ));
                }
            }
        }
        Ok(())
    }

    /// What is odd, but does not keep the table from being used.
    pub fn warnings(self) -> impl Iterator<Item = Warning> + 'a {
        let (order, names) = (self.warnings_of_order(), self.warnings_of_names());
        Iterator::chain(order, names)
    }

    fn warnings_of_names(self) -> impl Iterator<Item = Warning> + 'a {
        self.units().flat_map(move |unit| {
            let named = unit
                .scopes()
                .filter(|scope| scope.kind() == Some(ScopeKind::Named));
            named.filter_map(move |scope| {
                let (number, offset) = (scope.enumeration_id(), unit.offset());
                if self.names_of(number).next().is_none() {
                    Some(Warning::NameMissing { number, offset })
                } else if scope.path().len() != 1 {
                    Some(Warning::NamePath { number, offset })
                } else {
                    None
                }
            })
        })
    }

    fn warnings_of_order(self) -> impl Iterator<Item = Warning> + 'a {
        self.units()
            .filter(|unit| unit.include_all())
            .filter(move |unit| {
                let (segment, offset) = (unit.segment(), unit.offset());
                self.units()
                    .any(|other| other.segment() == segment && other.offset() > offset)
            })
            .map(|unit| Warning::IncludeAllNotLast {
                segment: unit.segment(),
                offset: unit.offset(),
            })
    }

    /// The width of physical addresses on this machine in bits, 1 to 64.
    pub fn host_address_width(self) -> u8 {
        u8_at(self.bytes, 36).saturating_add(1)
    }

    /// Whether firmware asks for DMA to stay blocked while the system starts (flags bit 2).
    pub fn dma_protection_opt_in(self) -> bool {
        u8_at(self.bytes, 37) & (1 << 2) != 0
    }

    /// Every structure, in the order of the table.
    pub fn structures(self) -> Structures<'a> {
        Structures::new(self.bytes)
    }

    /// Every unit, in the order of the table.
    pub fn units(self) -> impl Iterator<Item = Drhd<'a>> {
        self.structures().filter_map(|structure| match structure {
            Structure::Drhd(unit) => Some(unit),
            _ => None,
        })
    }

    /// The ACPI path of the device that scopes of type [`ScopeKind::Named`] mean by `number`.
    /// Nothing keeps a table from giving it to several.
    pub fn names_of(self, number: u8) -> impl Iterator<Item = &'a [u8]> {
        self.structures()
            .filter_map(move |structure| match structure {
                Structure::Andd(device) if device.number() == number => Some(device.name()),
                _ => None,
            })
    }

    /// Every reserved memory region, in the order of the table.
    pub fn reserved_regions(self) -> impl Iterator<Item = Rmrr<'a>> {
        self.structures().filter_map(|structure| match structure {
            Structure::Rmrr(region) => Some(region),
            _ => None,
        })
    }
}
