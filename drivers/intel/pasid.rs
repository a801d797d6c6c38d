// SPDX-License-Identifier: GPL-2.0

//! Context, PASID directory and PASID table entries of scalable mode (VT-d 9.2, 9.4 to 9.6).
//!
//! A root entry has two halves (9.2). Each is what a [`RootEntry`](super::entries::RootEntry) of
//! legacy mode has in its lower half: the lower half leads to the context table of devices 0 to 15
//! of the bus, the upper half to that of devices 16 to 31.
//!
//! A context entry leads to a PASID directory, an entry of the directory to a PASID table, and an
//! entry of the table says what happens to requests with its PASID. Requests without a PASID use
//! the entry whose number is in the context entry. This driver writes 0 there, which is also what a
//! unit without that field uses (ECAP.RPS).
//!
//! A table has the entries of 64 PASIDs, and a directory leads to as many tables as the context
//! entry says.

#![forbid(unsafe_code)]

use super::{capability::Width, change::CacheTag, invalidation::Tagged};

/// Entries in a context table, which has those of half a bus.
pub const CONTEXT_ENTRIES: usize = 128;
/// 64-bit words of a context entry.
pub const CONTEXT_WORDS: usize = 4;
/// 64-bit words of a PASID table entry.
pub const PASID_WORDS: usize = 8;
/// The PASID table entry for requests without a PASID.
pub const NO_PASID: u32 = 0;
/// Binary logarithm of the entries of a PASID table.
pub const TABLE_BITS: u32 = 6;
/// Binary logarithm of the entries of the smallest PASID directory.
const MIN_DIRECTORY_BITS: u32 = 7;

/// Bits 63:12 of a 64-bit word: the address of a 4 KiB page.
const PAGE_ADDRESS: u64 = !0xfff;
const PRESENT: u64 = 1 << 0;
/// PASIDE of a context entry.
const SERVED: u64 = 1 << 3;

/// The first word of a scalable-mode context entry; this driver writes 0 to the other three (9.4).
///
/// | bits | field |
/// |---|---|
/// | 0 | P: present |
/// | 1 | FPD: faults are not reported |
/// | 2 | DTE: device TLBs may be used |
/// | 3 | PASIDE: requests with a PASID are served |
/// | 4 | PRE: page requests are served |
/// | 11:9 | PDTS: the directory has 2^(PDTS + 7) entries |
/// | 63:12 | PASIDDIRPTR: address of the directory |
/// | 83:64 | RID_PASID: the entry for requests without a PASID |
/// | 84 | RID_PRIV: such requests are privileged |
///
/// All other bits are reserved, 0. In an entry that is not present the unit ignores all but P, so
/// the address stays there while the id is blocked.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct ContextWord {
    /// Whether the unit uses the entry.
    pub present: bool,
    /// The PASID directory; `None` if the id has none yet.
    pub directory: Option<Directory>,
}

/// A PASID directory, as a context entry names it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Directory {
    /// Its address, that of a 4 KiB page.
    pub address: u64,
    /// Which PASIDs it has.
    pub width: PasidWidth,
}

/// The width of the PASIDs that the unit serves for an id.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum PasidWidth {
    /// It serves no requests with a PASID.
    None,
    /// It serves those whose PASID has so many bits, 20 at most.
    Bits(u8),
}

impl PasidWidth {
    /// How many PASIDs there are, 0 included; 0 if requests with one are not served.
    pub const fn count(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Bits(bits) => 1 << bits,
        }
    }

    /// Binary logarithm of the entries of a directory for these PASIDs.
    const fn directory_bits(self) -> u32 {
        match self {
            Self::Bits(bits) if bits as u32 > MIN_DIRECTORY_BITS + TABLE_BITS => {
                bits as u32 - TABLE_BITS
            }
            _ => MIN_DIRECTORY_BITS,
        }
    }

    /// How many entries a directory for these PASIDs has.
    pub const fn directory_entries(self) -> usize {
        1 << self.directory_bits()
    }
}

impl ContextWord {
    /// The word of an id that has no PASID directory.
    pub const EMPTY: u64 = 0;

    /// The word as the unit reads it. Bits 11:0 of the address are dropped.
    pub const fn encode(self) -> u64 {
        match self.directory {
            Some(Directory { address, width }) => {
                let served = !matches!(width, PasidWidth::None) as u64;
                let size = (width.directory_bits() - MIN_DIRECTORY_BITS) as u64;
                address & PAGE_ADDRESS | size << 9 | served << 3 | self.present as u64
            }
            None => Self::EMPTY,
        }
    }

    /// What this driver has written.
    pub const fn decode(word: u64) -> Self {
        Self {
            present: word & PRESENT != 0,
            directory: match word & PAGE_ADDRESS {
                0 => None,
                address => Some(Directory {
                    address,
                    width: match word & SERVED {
                        0 => PasidWidth::None,
                        // As wide as the directory is, which may be wider than what was written.
                        _ => PasidWidth::Bits(
                            (word >> 9 & 7) as u8 + (MIN_DIRECTORY_BITS + TABLE_BITS) as u8,
                        ),
                    },
                }),
            },
        }
    }
}

/// A PASID directory entry: the address of the PASID table for 64 PASIDs (9.5).
///
/// | bits | field |
/// |---|---|
/// | 0 | P: present |
/// | 1 | FPD: faults are not reported |
/// | 63:12 | SMPTBLPTR: address of the table |
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct DirectoryEntry {
    /// Address of the PASID table, a 4 KiB page.
    pub table: u64,
}

impl DirectoryEntry {
    /// The entry as the unit reads it.
    pub const fn encode(self) -> u64 {
        self.table & PAGE_ADDRESS | PRESENT
    }

    /// What `word` means to the unit; `None` if it is not present.
    pub const fn decode(word: u64) -> Option<Self> {
        match word & PRESENT {
            0 => None,
            _ => Some(Self {
                table: word & PAGE_ADDRESS,
            }),
        }
    }
}

/// What happens to the requests that use a PASID table entry (PGTT).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum PasidTranslation {
    /// Addresses go through a first-stage table (PGTT 1).
    FirstStage {
        /// Address of the top table, a 4 KiB page.
        root: u64,
        /// The table's width: 48 or 57 bits.
        width: Width,
        /// Whether the unit's walks snoop (PWSNP).
        coherent: bool,
    },
    /// Addresses go through a second-stage table (PGTT 2).
    SecondStage {
        /// Address of the top table, a 4 KiB page.
        root: u64,
        /// The table's width.
        width: Width,
        /// Whether the unit's walks snoop (PWSNP).
        coherent: bool,
    },
    /// Addresses pass untranslated (PGTT 4).
    PassThrough {
        /// The widest table that the unit walks. It limits the addresses that pass.
        width: Width,
    },
}

/// A PASID table entry that is present (9.6).
///
/// | bits | field |
/// |---|---|
/// | 0 | P: present |
/// | 1 | FPD: faults are not reported |
/// | 4:2 | AW: width of the second-stage table, or of addresses that pass |
/// | 8:6 | PGTT: 1 first stage, 2 second stage, 3 nested, 4 pass-through |
/// | 9 | SSADE: accessed and dirty bits of the second stage |
/// | 63:12 | SSPTPTR: address of the second-stage table |
/// | 79:64 | DID: domain id |
/// | 87 | PWSNP: page walks snoop |
/// | 88 | PGSNP: all accesses snoop, whatever the device asks for |
/// | 128 | SRE: privileged requests are served |
/// | 131:130 | FSPM: levels of the first-stage table, 0 for 4 and 1 for 5 |
/// | 132 | WPE: privileged requests obey R/W |
/// | 191:140 | FSPTPTR: address of the first-stage table |
///
/// All other bits are reserved, or for what this driver does not use, 0. SRE is 0: a request
/// without a PASID is not privileged, unless RID_PRIV says so.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct PasidEntry {
    /// What happens to requests.
    pub translation: PasidTranslation,
    /// The name of the domain in the unit's caches.
    pub domain: u16,
}

impl PasidEntry {
    const FIRST_STAGE: u64 = 1;
    const SECOND_STAGE: u64 = 2;
    const PASS_THROUGH: u64 = 4;
    const WALKS_SNOOP: u64 = 1 << 23;

    /// The entry as the unit reads it, lowest word (with the present bit) first.
    ///
    /// Bits 11:0 of an address are dropped, since a table is a page.
    pub const fn encode(self) -> [u64; PASID_WORDS] {
        let (kind, width, second, first, coherent) = match self.translation {
            PasidTranslation::FirstStage {
                root,
                width,
                coherent,
            } => {
                let mode = matches!(width, Width::Bits57) as u64;
                let first = root & PAGE_ADDRESS | mode << 2;
                (Self::FIRST_STAGE, width, 0, first, coherent)
            }
            PasidTranslation::SecondStage {
                root,
                width,
                coherent,
            } => (Self::SECOND_STAGE, width, root & PAGE_ADDRESS, 0, coherent),
            PasidTranslation::PassThrough { width } => (Self::PASS_THROUGH, width, 0, 0, false),
        };
        let walks = match coherent {
            true => Self::WALKS_SNOOP,
            false => 0,
        };

        [
            second | kind << 6 | (width.encoding() as u64) << 2 | PRESENT,
            self.domain as u64 | walks,
            first,
            0,
            0,
            0,
            0,
            0,
        ]
    }

    /// The tag of what the unit caches through the entry, which is that of `pasid`.
    pub const fn tag(self, pasid: u32) -> CacheTag {
        CacheTag {
            domain: self.domain,
            pasid,
            tagged: match self.translation {
                PasidTranslation::SecondStage { .. } => Tagged::ByDomain,
                PasidTranslation::FirstStage { .. } | PasidTranslation::PassThrough { .. } => {
                    Tagged::ByPasid
                }
            },
        }
    }

    /// The tag of an entry whose first two words are `words`, that of `pasid`; `None` if they
    /// block, or if this driver writes no such entry.
    pub const fn tag_of(words: [u64; 2], pasid: u32) -> Option<CacheTag> {
        if words[0] & PRESENT == 0 {
            return None;
        }
        let tagged = match words[0] >> 6 & 7 {
            Self::FIRST_STAGE | Self::PASS_THROUGH => Tagged::ByPasid,
            Self::SECOND_STAGE => Tagged::ByDomain,
            _ => return None,
        };
        Some(CacheTag {
            domain: words[1] as u16,
            pasid,
            tagged,
        })
    }
}
