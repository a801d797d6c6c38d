// SPDX-License-Identifier: GPL-2.0

//! Where a firmware table and its structures start and end: what ACPI's tables of units (DMAR,
//! IVRS, IORT) have in common.
//!
//! Each begins with a header of the same length, whose first bytes are ACPI's own (ACPI 5.2.6,
//! "System Description Table Header"). Structures follow, one after the other. Each says its kind
//! and its length in its first bytes.

#![forbid(unsafe_code)]

use core::{fmt, marker::PhantomData};

use super::bytes::u32_at;

/// Bytes of a table's header: ACPI's own 36 and 12 of the table.
pub const HEADER_LEN: usize = 48;

/// The kinds of structures that a table has. Each structure begins with its kind and its length.
pub trait StructureKind: Copy {
    /// The table's header, for messages.
    const HEADER: Self;

    /// Bytes that every structure begins with.
    const LEN: usize;

    /// The kind of the structure that `bytes` begin with.
    fn kind(bytes: &[u8]) -> Self;

    /// The length that the structure that `bytes` begin with claims.
    fn claims(bytes: &[u8]) -> usize;

    /// Bytes that a structure of this kind has at least.
    fn fixed_len(self) -> usize;
}

/// Why the header of a table is refused.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum HeaderRefusal {
    /// The signature is another one.
    Signature {
        /// The one that the table must have.
        expected: &'static [u8; 4],
    },
    /// The table says that it is longer than the memory that it was found in.
    Truncated {
        /// Length that the table claims.
        claims: u32,
        /// Bytes that there are.
        has: usize,
    },
    /// The table is shorter than its header.
    TooShort {
        /// Length of the table.
        claims: usize,
    },
}

impl fmt::Display for HeaderRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Signature { expected } => {
                f.write_str("the signature is not \"")?;
                for byte in expected {
                    fmt::Write::write_char(f, char::from(*byte))?;
                }
                f.write_str("\"")
            }
            Self::Truncated { claims, has } => {
                write!(f, "claims {claims} bytes, but there are {has}")
            }
            Self::TooShort { claims } => {
                write!(f, "claims {claims} bytes, but has {HEADER_LEN} at least")
            }
        }
    }
}

/// Why a table was refused: the structure, its offset in the table, and what is wrong with it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct TableError<K, P> {
    /// The structure.
    pub kind: K,
    /// Offset of the structure in the table.
    pub offset: usize,
    /// What is wrong.
    pub problem: P,
}

impl<K: StructureKind, P: From<HeaderRefusal>> From<HeaderRefusal> for TableError<K, P> {
    fn from(refusal: HeaderRefusal) -> Self {
        Self {
            kind: K::HEADER,
            offset: 0,
            problem: refusal.into(),
        }
    }
}

impl<K: fmt::Display, P: fmt::Display> fmt::Display for TableError<K, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at offset {:#x}: {}",
            self.kind, self.offset, self.problem
        )
    }
}

/// What is wrong with the length of a structure.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum BadLength {
    /// It is smaller than the fixed part.
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
}

impl fmt::Display for BadLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooShort { claims: 0, .. } => f.write_str("length 0 would never end"),
            Self::TooShort { claims, needs } => {
                write!(f, "claims {claims} bytes, but has {needs} at least")
            }
            Self::PastTable { claims, left } => {
                write!(f, "claims {claims} bytes, but the table ends after {left}")
            }
        }
    }
}

/// The bytes of the table with this signature that `bytes` begin with.
///
/// # Errors
///
/// Why there is no such table.
pub fn whole<'a>(bytes: &'a [u8], signature: &'static [u8; 4]) -> Result<&'a [u8], HeaderRefusal> {
    let has = bytes.len();
    if has < HEADER_LEN {
        return Err(HeaderRefusal::TooShort { claims: has });
    }
    if !bytes.starts_with(signature) {
        return Err(HeaderRefusal::Signature {
            expected: signature,
        });
    }
    let claims = u32_at(bytes, 4);
    let table = usize::try_from(claims)
        .ok()
        .and_then(|len| bytes.get(..len))
        .ok_or(HeaderRefusal::Truncated { claims, has })?;
    match table.len() {
        claims @ ..HEADER_LEN => Err(HeaderRefusal::TooShort { claims }),
        _ => Ok(table),
    }
}

/// What the bytes of a table sum up to, modulo 256: 0 unless the table is damaged.
pub fn sum(table: &[u8]) -> u8 {
    table.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// One structure as it is in a table.
#[derive(Copy, Clone, Debug)]
pub struct Raw<'a, K> {
    /// Its kind.
    pub kind: K,
    /// Its offset in the table.
    pub offset: usize,
    /// Its bytes.
    pub bytes: &'a [u8],
}

impl<'a, K: StructureKind> Raw<'a, K> {
    /// The structure at `offset`, if its end can be found.
    pub fn at(table: &'a [u8], offset: usize) -> Option<Self> {
        let rest = table.get(offset..).filter(|rest| rest.len() >= K::LEN)?;
        let len = K::claims(rest);
        if len < K::LEN {
            return None;
        }
        Some(Self {
            kind: K::kind(rest),
            offset,
            bytes: rest.get(..len)?,
        })
    }

    /// Whether it has as many bytes as its kind has at least.
    pub fn is_complete(&self) -> bool {
        self.bytes.len() >= self.kind.fixed_len()
    }
}

/// The structures of a table as they are in it, up to the first whose end cannot be found.
#[derive(Clone, Debug)]
pub struct RawStructures<'a, K> {
    table: &'a [u8],
    at: usize,
    _kind: PhantomData<K>,
}

impl<'a, K: StructureKind> RawStructures<'a, K> {
    /// The structures of `table`, the bytes of a whole table, from offset `first` on.
    pub fn new(table: &'a [u8], first: usize) -> Self {
        Self {
            table,
            at: first,
            _kind: PhantomData,
        }
    }

    /// Offset of the next structure.
    pub fn at(&self) -> usize {
        self.at
    }
}

impl<'a, K: StructureKind> Iterator for RawStructures<'a, K> {
    type Item = Raw<'a, K>;

    fn next(&mut self) -> Option<Raw<'a, K>> {
        let raw = Raw::at(self.table, self.at)?;
        self.at += raw.bytes.len();
        Some(raw)
    }
}

/// What is wrong at `offset`, where the walk over the structures of `table` ended. Zeros up to the
/// end of the table are padding, and not wrong.
pub fn unreadable<K: StructureKind>(table: &[u8], offset: usize) -> Option<(K, BadLength)> {
    let rest = table.get(offset..).unwrap_or_default();
    if rest.iter().all(|byte| *byte == 0) {
        return None;
    }
    let kind = K::kind(rest);
    let (claims, left) = (K::claims(rest), rest.len());
    let problem = if left < K::LEN {
        let claims = K::LEN;
        BadLength::PastTable { claims, left }
    } else if claims < K::LEN {
        let needs = kind.fixed_len();
        BadLength::TooShort { claims, needs }
    } else {
        BadLength::PastTable { claims, left }
    };
    Some((kind, problem))
}
