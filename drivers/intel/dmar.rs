// SPDX-License-Identifier: GPL-2.0

//! The ACPI DMAR table: which units exist, which devices are behind each, which memory firmware
//! keeps using (Intel VT-d specification, chapter 8, "BIOS Considerations").
//!
//! Firmware tables are hostile input. [`Table::parse`] checks every length and offset once; what
//! it accepts can then be walked any number of times without an error path. Nothing is copied and
//! nothing is allocated: every record borrows from the bytes of the table.

#![forbid(unsafe_code)]

use core::fmt;

/// Bytes of the ACPI header, the host address width, the flags and the reserved field (8.1).
const HEADER_LEN: usize = 48;
/// Type and length of a remapping structure.
const STRUCTURE_PREFIX: usize = 4;
/// Fixed part of a device scope, without its path (8.3.1).
const SCOPE_PREFIX: usize = 6;
/// Registers are addressed in pages of this size.
const PAGE: u64 = 4096;
/// More units than this in one table is a broken table. It also bounds the comparison of every
/// unit with every other.
pub const MAX_UNITS: usize = 1024;

/// A kind of remapping structure (8.2).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The table's own header.
    Header,
    /// DMA remapping hardware unit definition.
    Drhd,
    /// Reserved memory region reporting.
    Rmrr,
    /// Root port ATS capability reporting.
    Atsr,
    /// Remapping hardware static affinity.
    Rhsa,
    /// ACPI name-space device declaration.
    Andd,
    /// SoC integrated address translation cache reporting.
    Satc,
    /// SoC integrated device property reporting.
    Sidp,
    /// A type that the specification did not define when this was written.
    Unknown(u16),
}

impl Kind {
    const fn from_type(value: u16) -> Self {
        match value {
            0 => Self::Drhd,
            1 => Self::Rmrr,
            2 => Self::Atsr,
            3 => Self::Rhsa,
            4 => Self::Andd,
            5 => Self::Satc,
            6 => Self::Sidp,
            other => Self::Unknown(other),
        }
    }

    /// Bytes that a structure of this kind has at least.
    const fn fixed_len(self) -> usize {
        match self {
            Self::Header => HEADER_LEN,
            Self::Drhd => 16,
            Self::Rmrr => 24,
            Self::Atsr | Self::Satc | Self::Sidp => 8,
            Self::Rhsa => 20,
            // One character and its terminator at least.
            Self::Andd => 10,
            Self::Unknown(_) => STRUCTURE_PREFIX,
        }
    }

    /// Whether device scopes follow the fixed part.
    const fn has_scopes(self) -> bool {
        matches!(
            self,
            Self::Drhd | Self::Rmrr | Self::Atsr | Self::Satc | Self::Sidp
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::Drhd => "DRHD",
            Self::Rmrr => "RMRR",
            Self::Atsr => "ATSR",
            Self::Rhsa => "RHSA",
            Self::Andd => "ANDD",
            Self::Satc => "SATC",
            Self::Sidp => "SIDP",
            Self::Unknown(value) => return write!(f, "structure of type {value}"),
        })
    }
}

/// What is wrong with a table.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Problem {
    /// The signature is not `DMAR`.
    Signature,
    /// The table says that it is longer than the memory it was found in.
    TableTruncated {
        /// Length that the table claims.
        claims: u32,
        /// Bytes that there are.
        has: usize,
    },
    /// The length field is smaller than the fixed part.
    TooShort {
        /// Length that the structure claims.
        claims: usize,
        /// Length that its kind has at least.
        needs: usize,
    },
    /// The structure reaches past the end of the table.
    PastTable {
        /// Length that the structure claims.
        claims: usize,
        /// Bytes left in the table.
        left: usize,
    },
    /// The bytes of the table do not sum up to zero.
    Checksum {
        /// What they sum up to.
        sum: u8,
    },
    /// A host address width outside 1 to 64 bits.
    AddressWidth {
        /// Bits that the table claims.
        bits: u16,
    },
    /// A device scope is shorter than its fixed part.
    ScopeTooShort {
        /// Length that the scope claims.
        claims: u8,
    },
    /// A device scope reaches into the next structure.
    ScopePastStructure {
        /// Length that the scope claims.
        claims: usize,
        /// Bytes left in the structure.
        left: usize,
    },
    /// A device scope's path does not consist of whole (device, function) pairs.
    ScopePathOdd {
        /// Length that the scope claims.
        claims: u8,
    },
    /// A device scope names no device at all.
    ScopePathMissing,
    /// A device scope's path has a device above 31 or a function above 7.
    ScopePath {
        /// Device number.
        device: u8,
        /// Function number.
        function: u8,
    },
    /// A register base that is zero or all ones.
    BaseImpossible {
        /// The base.
        base: u64,
    },
    /// A register base that is not on a 4 KiB boundary.
    BaseMisaligned {
        /// The base.
        base: u64,
    },
    /// A register window that wraps around the end of the address space.
    BaseWraps {
        /// The base.
        base: u64,
    },
    /// Two units whose registers overlap.
    UnitsOverlap {
        /// The register base of this unit.
        base: u64,
        /// Offset of the other unit's structure.
        other: usize,
    },
    /// More units than [`MAX_UNITS`].
    TooManyUnits,
    /// Two units that both claim every other device of one segment.
    SecondIncludeAll {
        /// The PCI segment.
        segment: u16,
        /// Offset of the first unit's structure.
        other: usize,
    },
    /// A memory region that ends before it starts.
    RegionEmpty {
        /// First byte.
        base: u64,
        /// Last byte.
        limit: u64,
    },
    /// A memory region that is not made of whole 4 KiB pages.
    RegionMisaligned {
        /// First byte.
        base: u64,
        /// Last byte.
        limit: u64,
    },
    /// An ACPI object name without a terminator, or with nothing before it.
    Name,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Signature => f.write_str("the signature is not \"DMAR\""),
            Self::TableTruncated { claims, has } => {
                write!(f, "claims {claims} bytes, but there are {has}")
            }
            Self::TooShort { claims: 0, .. } => f.write_str("length 0 would never end"),
            Self::TooShort { claims, needs } => {
                write!(f, "claims {claims} bytes, but has {needs} at least")
            }
            Self::PastTable { claims, left } => {
                write!(f, "claims {claims} bytes, but the table ends after {left}")
            }
            Self::Checksum { sum } => write!(f, "the bytes sum up to {sum:#04x} instead of 0"),
            Self::AddressWidth { bits } => write!(f, "a host address width of {bits} bits"),
            Self::ScopeTooShort { claims } => {
                write!(f, "claims {claims} bytes, but has 6 at least")
            }
            Self::ScopePastStructure { claims, left } => write!(
                f,
                "claims {claims} bytes, but its structure ends after {left}"
            ),
            Self::ScopePathOdd { claims } => write!(
                f,
                "claims {claims} bytes, which is no whole number of path entries"
            ),
            Self::ScopePathMissing => f.write_str("names no device (it has no path)"),
            Self::ScopePath { device, function } => {
                write!(f, "names device {device}, function {function}")
            }
            Self::BaseImpossible { base } => {
                write!(f, "the register base {base:#x} cannot be true")
            }
            Self::BaseMisaligned { base } => {
                write!(f, "the register base {base:#x} is not on a 4 KiB boundary")
            }
            Self::BaseWraps { base } => write!(
                f,
                "the registers at {base:#x} reach past the end of the address space"
            ),
            Self::UnitsOverlap { base, other } => write!(
                f,
                "the registers at {base:#x} overlap those of the unit at offset {other:#x}"
            ),
            Self::TooManyUnits => write!(f, "more than {MAX_UNITS} units"),
            Self::SecondIncludeAll { segment, other } => write!(
                f,
                "a second unit for all other devices of segment {segment:#06x}, \
                 the first is at offset {other:#x}"
            ),
            Self::RegionEmpty { base, limit } => {
                write!(f, "the region {base:#x}-{limit:#x} ends before it starts")
            }
            Self::RegionMisaligned { base, limit } => write!(
                f,
                "the region {base:#x}-{limit:#x} is not made of whole 4 KiB pages"
            ),
            Self::Name => f.write_str("an object name that is empty or never ends"),
        }
    }
}

/// Why a table was refused: the structure, where in the table the trouble is, and what it is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Error {
    /// The structure.
    pub kind: Kind,
    /// Offset of the structure in the table.
    pub offset: usize,
    /// Offset in the table of the device scope in the structure, if that is where the trouble is.
    pub scope: Option<usize>,
    /// What is wrong.
    pub problem: Problem,
}

impl Error {
    const fn new(kind: Kind, offset: usize, problem: Problem) -> Self {
        Self {
            kind,
            offset,
            scope: None,
            problem,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at offset {:#x}: ", self.kind, self.offset)?;
        if let Some(scope) = self.scope {
            write!(f, "device scope at offset {scope:#x}: ")?;
        }
        self.problem.fmt(f)
    }
}

/// Something odd that does not keep the table from being used.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Warning {
    /// The unit for all other devices of a segment must be listed last (8.4), and is not.
    IncludeAllNotLast {
        /// The PCI segment.
        segment: u16,
        /// Offset of the structure.
        offset: usize,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::IncludeAllNotLast { segment, offset } => write!(
                f,
                "DRHD at offset {offset:#x}: the unit for all other devices of segment \
                 {segment:#06x} is not the last one listed"
            ),
        }
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.get(..N)?.try_into().ok()
}

fn u8_at(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    array(bytes, at).map_or(0, u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    array(bytes, at).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    array(bytes, at).map_or(0, u64::from_le_bytes)
}

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
        Structures {
            table: self.bytes,
            at: HEADER_LEN,
        }
    }

    /// Every unit, in the order of the table.
    pub fn units(self) -> impl Iterator<Item = Drhd<'a>> {
        self.structures().filter_map(|structure| match structure {
            Structure::Drhd(unit) => Some(unit),
            _ => None,
        })
    }

    /// The ACPI path of the device that scopes of type [`ScopeKind::Named`] give `number` to.
    pub fn name_of(self, number: u8) -> Option<&'a [u8]> {
        self.structures().find_map(|structure| match structure {
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

/// One remapping structure.
#[derive(Copy, Clone, Debug)]
pub enum Structure<'a> {
    /// A unit.
    Drhd(Drhd<'a>),
    /// A reserved memory region.
    Rmrr(Rmrr<'a>),
    /// Root ports that pass translation requests on.
    Atsr(Atsr<'a>),
    /// The memory node of a unit.
    Rhsa(Rhsa),
    /// The name of a device that firmware describes by name.
    Andd(Andd<'a>),
    /// Devices on the board that cache translations.
    Satc(Satc<'a>),
    /// A structure that is not looked into: SIDP, and kinds that are not known.
    Other,
}

/// Iterates over the structures of a [`Table`].
#[derive(Clone, Debug)]
pub struct Structures<'a> {
    table: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Structures<'a> {
    type Item = Structure<'a>;

    fn next(&mut self) -> Option<Structure<'a>> {
        let offset = self.at;
        let rest = self.table.get(offset..)?;
        if rest.len() < STRUCTURE_PREFIX {
            return None;
        }
        // `max` keeps the walk going forward whatever the bytes are.
        let len = usize::from(u16_at(rest, 2)).max(STRUCTURE_PREFIX);
        let bytes = rest.get(..len)?;
        self.at += len;

        Some(match Kind::from_type(u16_at(bytes, 0)) {
            Kind::Drhd => Structure::Drhd(Drhd { bytes, offset }),
            Kind::Rmrr => Structure::Rmrr(Rmrr { bytes }),
            Kind::Atsr => Structure::Atsr(Atsr { bytes }),
            Kind::Rhsa => Structure::Rhsa(Rhsa {
                base: u64_at(bytes, 8),
                proximity_domain: u32_at(bytes, 16),
            }),
            Kind::Andd => Structure::Andd(Andd { bytes }),
            Kind::Satc => Structure::Satc(Satc { bytes }),
            _ => Structure::Other,
        })
    }
}

/// A unit: DMA remapping hardware unit definition (8.4).
///
/// | bytes | field |
/// |---|---|
/// | 0-1 | type, 0 |
/// | 2-3 | length |
/// | 4 | flags; bit 0: `INCLUDE_PCI_ALL` |
/// | 5 | bits 3:0: the register window is 2^n pages of 4 KiB |
/// | 6-7 | PCI segment |
/// | 8-15 | base of the registers |
/// | 16- | device scopes |
#[derive(Copy, Clone, Debug)]
pub struct Drhd<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Drhd<'a> {
    /// Offset of the structure in the table.
    pub fn offset(self) -> usize {
        self.offset
    }

    /// Whether every device of the segment that no other unit lists is behind this one.
    pub fn include_all(self) -> bool {
        u8_at(self.bytes, 4) & 1 != 0
    }

    /// Bytes of the register window: a power of two, 4 KiB to 128 MiB.
    pub fn window(self) -> u64 {
        PAGE << (u8_at(self.bytes, 5) & 0xf)
    }

    /// The PCI segment of every device behind the unit.
    pub fn segment(self) -> u16 {
        u16_at(self.bytes, 6)
    }

    /// Physical address of the registers; 4 KiB aligned.
    pub fn base(self) -> u64 {
        u64_at(self.bytes, 8)
    }

    /// The devices that are listed.
    pub fn scopes(self) -> Scopes<'a> {
        Scopes::new(self.bytes, Kind::Drhd)
    }
}

/// Memory that firmware's devices keep using (8.5).
///
/// | bytes | field |
/// |---|---|
/// | 0-1 | type, 1 |
/// | 2-3 | length |
/// | 6-7 | PCI segment |
/// | 8-15 | first byte; 4 KiB aligned |
/// | 16-23 | last byte |
/// | 24- | device scopes |
#[derive(Copy, Clone, Debug)]
pub struct Rmrr<'a> {
    bytes: &'a [u8],
}

impl<'a> Rmrr<'a> {
    /// The PCI segment of the devices.
    pub fn segment(self) -> u16 {
        u16_at(self.bytes, 6)
    }

    /// Physical address of the first byte; 4 KiB aligned.
    pub fn base(self) -> u64 {
        u64_at(self.bytes, 8)
    }

    /// Physical address of the last byte; the last one of a 4 KiB page.
    pub fn limit(self) -> u64 {
        u64_at(self.bytes, 16)
    }

    /// The devices that use the memory.
    pub fn scopes(self) -> Scopes<'a> {
        Scopes::new(self.bytes, Kind::Rmrr)
    }
}

/// Root ports below which devices may ask for translations (8.6).
///
/// | bytes | field |
/// |---|---|
/// | 0-1 | type, 2 |
/// | 2-3 | length |
/// | 4 | flags; bit 0: `ALL_PORTS` |
/// | 6-7 | PCI segment |
/// | 8- | device scopes |
#[derive(Copy, Clone, Debug)]
pub struct Atsr<'a> {
    bytes: &'a [u8],
}

impl<'a> Atsr<'a> {
    /// Whether every root port of the segment is meant.
    pub fn all_ports(self) -> bool {
        u8_at(self.bytes, 4) & 1 != 0
    }

    /// The PCI segment of the ports.
    pub fn segment(self) -> u16 {
        u16_at(self.bytes, 6)
    }

    /// The ports, unless all are meant.
    pub fn scopes(self) -> Scopes<'a> {
        Scopes::new(self.bytes, Kind::Atsr)
    }
}

/// The memory node that a unit is close to (8.7).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Rhsa {
    /// Base of the unit's registers.
    pub base: u64,
    /// The ACPI proximity domain.
    pub proximity_domain: u32,
}

/// A device that firmware describes by name (8.8).
#[derive(Copy, Clone, Debug)]
pub struct Andd<'a> {
    bytes: &'a [u8],
}

impl<'a> Andd<'a> {
    /// The number that device scopes of type [`ScopeKind::Named`] refer to.
    pub fn number(self) -> u8 {
        u8_at(self.bytes, 7)
    }

    /// The ACPI path of the device, without the terminator.
    pub fn name(self) -> &'a [u8] {
        let name = self.bytes.get(8..).unwrap_or_default();
        name.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

/// Devices on the board that cache translations (8.9).
///
/// | bytes | field |
/// |---|---|
/// | 0-1 | type, 5 |
/// | 2-3 | length |
/// | 4 | flags; bit 0: `ATC_REQUIRED` |
/// | 6-7 | PCI segment |
/// | 8- | device scopes |
#[derive(Copy, Clone, Debug)]
pub struct Satc<'a> {
    bytes: &'a [u8],
}

impl<'a> Satc<'a> {
    /// Whether the devices cannot work without their cache of translations.
    pub fn cache_required(self) -> bool {
        u8_at(self.bytes, 4) & 1 != 0
    }

    /// The PCI segment of the devices.
    pub fn segment(self) -> u16 {
        u16_at(self.bytes, 6)
    }

    /// The devices.
    pub fn scopes(self) -> Scopes<'a> {
        Scopes::new(self.bytes, Kind::Satc)
    }
}

/// What a device scope names (8.3.1).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum ScopeKind {
    /// One PCI function.
    Endpoint,
    /// A PCI bridge and everything behind it.
    SubHierarchy,
    /// An I/O interrupt controller.
    IoApic,
    /// A timer that sends message-signalled interrupts.
    Hpet,
    /// A device that firmware describes by name.
    Named,
}

impl ScopeKind {
    const fn from_type(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::Endpoint,
            2 => Self::SubHierarchy,
            3 => Self::IoApic,
            4 => Self::Hpet,
            5 => Self::Named,
            _ => return None,
        })
    }
}

/// One step of a device scope's path.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Hop {
    /// PCI device number, 0 to 31.
    pub device: u8,
    /// PCI function number, 0 to 7.
    pub function: u8,
}

/// One device, or one bridge with all that is behind it (8.3.1).
///
/// | bytes | field |
/// |---|---|
/// | 0 | type |
/// | 1 | length |
/// | 2-3 | reserved |
/// | 4 | enumeration id |
/// | 5 | number of the bus that the path starts on |
/// | 6- | path: pairs of device and function number |
#[derive(Copy, Clone, Debug)]
pub struct DeviceScope<'a> {
    bytes: &'a [u8],
}

impl<'a> DeviceScope<'a> {
    /// What is named; `None` for a type that is not known.
    pub fn kind(self) -> Option<ScopeKind> {
        ScopeKind::from_type(u8_at(self.bytes, 0))
    }

    /// The I/O APIC's, timer's or named device's number; 0 for PCI devices.
    pub fn enumeration_id(self) -> u8 {
        u8_at(self.bytes, 4)
    }

    /// The bus on which the path starts.
    pub fn start_bus(self) -> u8 {
        u8_at(self.bytes, 5)
    }

    /// From the bus on which it starts down to the device, bridge by bridge.
    pub fn path(self) -> impl DoubleEndedIterator<Item = Hop> + ExactSizeIterator + 'a {
        let path = self.bytes.get(SCOPE_PREFIX..).unwrap_or_default();
        path.chunks_exact(2).map(|pair| Hop {
            device: u8_at(pair, 0),
            function: u8_at(pair, 1),
        })
    }
}

/// Iterates over the device scopes of a structure.
#[derive(Clone, Debug)]
pub struct Scopes<'a> {
    rest: &'a [u8],
}

impl<'a> Scopes<'a> {
    fn new(structure: &'a [u8], kind: Kind) -> Self {
        Self {
            rest: structure.get(kind.fixed_len()..).unwrap_or_default(),
        }
    }
}

impl<'a> Iterator for Scopes<'a> {
    type Item = DeviceScope<'a>;

    fn next(&mut self) -> Option<DeviceScope<'a>> {
        // `max` keeps the walk going forward whatever the bytes are.
        let len = usize::from(*self.rest.get(1)?).max(SCOPE_PREFIX);
        let (bytes, rest) = (self.rest.get(..len)?, self.rest.get(len..)?);
        self.rest = rest;
        Some(DeviceScope { bytes })
    }
}
