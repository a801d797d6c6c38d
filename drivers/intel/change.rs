// SPDX-License-Identifier: GPL-2.0

//! How the entries of an id change while the unit may read them, and what the unit has to forget
//! (VT-d 6.5.3.3).
//!
//! An id's entries are one context entry in legacy mode. In scalable mode they are a context entry,
//! of which only the present bit changes, and a PASID table entry: the one for requests without a
//! PASID, or that of a PASID. The context entry of an id that uses PASIDs stays present from the
//! first insertion on, since it leads to all of them; an entry that is not present blocks. The unit
//! reads the word with the present bit first, and ignores the rest of an entry that is not present.
//! It may read the other words at any later time, in any order. So an entry that is present never
//! changes:
//!
//! 1. *Removal*: the present bits become 0, that of the context entry first. All else stays: the
//!    unit may have read the present bit, and then finds the rest of the old entry.
//! 2. The unit forgets the context entry, and in scalable mode the PASID table entry. Then, after a
//!    fence, it forgets the translations under the tag of the old domain. As long as it has an
//!    entry cached, it may cache more of them.
//! 3. *Insertion*: the other words first; then the words with the present bits, that of the context
//!    entry last.
//! 4. A unit in caching mode may have cached that the entries were not present, and forgets that as
//!    in 2. It caches this under domain id 0 (6.1).
//!
//! Without step 2 between an old and a new entry, the unit may have read one word of the old entry
//! and then read another word of the new one. It would cache the old domain's page table under the
//! new domain's id, and a third device in the new domain could reach memory that its own domain
//! does not map (law 7). Once the invalidation has completed, no walk through the old entry is
//! under way either (6.2.2.1, 6.5.2.8, 9.3).

#![forbid(unsafe_code)]

use super::invalidation::{ContextScope, Descriptor, Drain, PasidScope, Tagged, TlbKind, TlbScope};

/// A 64-bit word of the entries of an id.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Word {
    /// Of the context entry.
    Context(usize),
    /// Of the PASID table entry.
    Pasid(usize),
}

/// Words that are stored in any order. The unit must see each group before the next one.
pub type Group = &'static [Word];

const LEGACY: [Group; 2] = [&[Word::Context(1)], &[Word::Context(0)]];

const SCALABLE: [Group; 3] = [
    &[
        Word::Pasid(1),
        Word::Pasid(2),
        Word::Pasid(3),
        Word::Pasid(4),
        Word::Pasid(5),
        Word::Pasid(6),
        Word::Pasid(7),
    ],
    &[Word::Pasid(0)],
    &[Word::Context(0)],
];

/// Bit 0 of a word that has a present bit.
pub const PRESENT: u64 = 1;

/// What the entries of an id are.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A context entry of legacy mode.
    Legacy,
    /// Those of scalable mode, of an id that uses no PASIDs.
    Scalable,
    /// Those of scalable mode, of an id that uses PASIDs: its context entry stays present.
    WithPasids,
}

/// The words whose present bits a removal clears, in this order.
pub const fn present_words(kind: Kind) -> &'static [Word] {
    match kind {
        Kind::Legacy => &[Word::Context(0)],
        Kind::Scalable => &[Word::Context(0), Word::Pasid(0)],
        Kind::WithPasids => &[Word::Pasid(0)],
    }
}

/// The groups of words that an insertion stores, in this order.
pub const fn groups(scalable: bool) -> &'static [Group] {
    match scalable {
        false => &LEGACY,
        true => &SCALABLE,
    }
}

/// What a unit tags with when it caches translations of a domain.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct CacheTag {
    /// The domain id.
    pub domain: u16,
    /// The PASID of the requests; 0 for those without one.
    pub pasid: u32,
    /// Whether the PASID belongs to the tag.
    pub tagged: Tagged,
}

impl CacheTag {
    /// A place for one.
    pub const NONE: Self = Self {
        domain: 0,
        pasid: 0,
        tagged: Tagged::ByDomain,
    };
}

/// Forgets the context entry of the id `source`. In legacy mode the entry named `domain`; 0 if it
/// was not present. In scalable mode the unit ignores the domain id.
pub const fn forget_context(source: u16, domain: u16) -> Descriptor {
    Descriptor::context(ContextScope::Device { domain, source })
}

/// Forgets the PASID table entries for `pasid` (0 for requests without one) that name `domain`, and
/// those that were not present if it is 0. Only in scalable mode. One of these is enough for all
/// ids of a domain.
pub const fn forget_pasid(domain: u16, pasid: u32) -> Descriptor {
    Descriptor::pasid_cache(PasidScope::Pasid { domain, pasid })
}

/// Forgets the translations under `tag`. Comes after a fence.
pub const fn forget_translations(tag: CacheTag, drain: Drain) -> Descriptor {
    let CacheTag {
        domain,
        pasid,
        tagged,
    } = tag;
    let kind = TlbKind::new(tagged, drain);
    let kind = match tagged {
        Tagged::ByDomain => kind,
        Tagged::ByPasid => kind.with_pasid(pasid),
    };
    Descriptor::translations(kind, TlbScope::Domain { domain })
}
