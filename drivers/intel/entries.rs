// SPDX-License-Identifier: GPL-2.0

//! Root and context entries, which say what a requester id is attached to (VT-d 9.1 and 9.3, legacy
//! mode).

#![forbid(unsafe_code)]

use super::{capability::Width, change::CacheTag, invalidation::Tagged};

/// Entries in a root table (one for each bus) and in a context table (one for each device and
/// function number of a bus).
pub const ENTRIES: usize = 256;

/// Bits 63:12 of a 64-bit word: the address of a 4 KiB page.
const PAGE_ADDRESS: u64 = !0xfff;

/// A root entry: the address of a bus's context table (9.1).
///
/// | bits | field |
/// |---|---|
/// | 0 | P: present |
/// | 63:12 | CTP: address of the context table |
/// | 127:64 | reserved, 0 |
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct RootEntry {
    /// Address of the context table, a 4 KiB page; `None` blocks the whole bus.
    pub context_table: Option<u64>,
}

impl RootEntry {
    /// The entry that blocks the whole bus.
    pub const EMPTY: [u64; 2] = [0, 0];

    /// The entry as the unit reads it, low half first.
    ///
    /// Bits 11:0 of the address are dropped, since a table is a page.
    pub const fn encode(self) -> [u64; 2] {
        match self.context_table {
            Some(address) => [address & PAGE_ADDRESS | 1, 0],
            None => Self::EMPTY,
        }
    }

    /// What `words` mean to the unit.
    pub const fn decode(words: [u64; 2]) -> Self {
        Self {
            context_table: if words[0] & 1 != 0 {
                Some(words[0] & PAGE_ADDRESS)
            } else {
                None
            },
        }
    }
}

/// What happens to the requests of one requester id.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Translation {
    /// Addresses go through a second-stage table; translation requests are refused (TT 0).
    SecondStage {
        /// Address of the top table, a 4 KiB page.
        root: u64,
        /// The table's width.
        width: Width,
    },
    /// Addresses pass untranslated (TT 2).
    PassThrough {
        /// The widest table that the unit walks. It limits the addresses that pass.
        width: Width,
    },
}

/// A context entry that is present: what a requester id is attached to (9.3). One that is not
/// present blocks, and the unit reports the requests that it refuses.
///
/// | bits | field |
/// |---|---|
/// | 0 | P: present |
/// | 1 | FPD: faults are not reported |
/// | 3:2 | TT: translation type |
/// | 63:12 | SSPTPTR: address of the second-stage table |
/// | 66:64 | AW: width of the table |
/// | 70:67 | ignored |
/// | 87:72 | DID: domain id |
///
/// All other bits are reserved, 0.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct ContextEntry {
    /// What happens to requests.
    pub translation: Translation,
    /// The name of the domain in the unit's caches.
    pub domain: u16,
}

impl ContextEntry {
    const TYPE_SECOND_STAGE: u64 = 0;
    const TYPE_PASS_THROUGH: u64 = 2;

    /// The entry as the unit reads it, low half (with the present bit) first.
    ///
    /// Bits 11:0 of the address are dropped, since a table is a page.
    pub const fn encode(self) -> [u64; 2] {
        let (kind, root, width) = match self.translation {
            Translation::SecondStage { root, width } => (Self::TYPE_SECOND_STAGE, root, width),
            Translation::PassThrough { width } => (Self::TYPE_PASS_THROUGH, 0, width),
        };

        [
            root & PAGE_ADDRESS | kind << 2 | 1,
            (self.domain as u64) << 8 | width.encoding() as u64,
        ]
    }

    /// The tag of what the unit caches through the entry.
    pub const fn tag(self) -> CacheTag {
        CacheTag {
            domain: self.domain,
            pasid: 0,
            tagged: Tagged::ByDomain,
        }
    }

    /// What `words` mean to the unit; `None` if they block, or if this driver writes no such entry.
    pub const fn decode(words: [u64; 2]) -> Option<Self> {
        if words[0] & 1 == 0 {
            return None;
        }
        let Some(width) = Width::from_levels((words[1] & 7) as u8 + 2) else {
            return None;
        };
        let translation = match words[0] >> 2 & 3 {
            Self::TYPE_SECOND_STAGE => Translation::SecondStage {
                root: words[0] & PAGE_ADDRESS,
                width,
            },
            Self::TYPE_PASS_THROUGH => Translation::PassThrough { width },
            _ => return None,
        };

        Some(Self {
            translation,
            domain: (words[1] >> 8) as u16,
        })
    }
}
