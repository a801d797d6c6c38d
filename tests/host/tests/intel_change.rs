// SPDX-License-Identifier: GPL-2.0

//! Changes of an id's entries while a VT-d unit reads them: laws 7 and 8 at every moment.
//!
//! The unit is a separate model, by the bits in the specification (VT-d 6.1, 6.2, 6.5.2, 9.3 to
//! 9.6). It shares no code with the driver's encoders. It reads an entry word by word, at any time:
//! first the word with the present bit, then the others in any order. It caches everything that it
//! may. An invalidation removes what it must and no
//! more, and ends the reads of entries that are under way. Between two fences the unit executes
//! descriptors in any order.

mod intel;
#[allow(dead_code)]
#[path = "../../../requester.rs"]
mod requester;
mod drivers {
    pub use iommu_core_host::shell;
}

use intel::{
    capability::Width,
    change::{
        forget_context, forget_pasid, forget_translations, groups, present_words, CacheTag, Group,
        Kind, Word,
    },
    entries::{ContextEntry, Translation},
    invalidation::{Descriptor, Drain},
    pasid::{ContextWord, Directory, PasidEntry, PasidTranslation, PasidWidth},
};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// The PASID that changes, of ids that use PASIDs.
const NUMBER: u32 = 0x4_3210;

/// The id that changes, and one that stays in the new domain.
const IDS: [u16; 2] = [0x0108, 0xfff9];
/// Words of a context entry and of a PASID table entry.
const CONTEXT: usize = 4;
const PASID: usize = 8;

/// What an entry leads to: a domain id, and what is cached under it.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Reached {
    domain: u64,
    /// Whether the PASID belongs to the tag.
    by_pasid: bool,
    /// A page table, or none if addresses pass.
    root: Option<u64>,
}

/// What the unit has cached of an entry.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Cached {
    /// It was not present. The tag is domain id 0.
    Absent,
    /// A context entry of scalable mode, with the address of its directory.
    Directory(u64),
    Reached(Reached),
}

#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Which {
    Context,
    Pasid,
}

fn bits(value: u64, high: u32, low: u32) -> u64 {
    value >> low & (u64::MAX >> (63 - (high - low)))
}

fn bit(value: u64, at: u32) -> bool {
    value >> at & 1 == 1
}

struct Unit {
    kind: Kind,
    scalable: bool,
    /// The PASID of all requests; 0 for those without one.
    pasid: u64,
    caching: bool,
    memory: [([u64; CONTEXT], [u64; PASID]); 2],
    /// Reads of entries that are under way, by id: the words that were read.
    reads: BTreeMap<(usize, Which), [Option<u64>; PASID]>,
    entries: BTreeMap<(usize, Which), Cached>,
    translations: Vec<Reached>,
}

impl Unit {
    fn new(kind: Kind, caching: bool) -> Self {
        Self {
            kind,
            scalable: kind != Kind::Legacy,
            pasid: match kind {
                Kind::WithPasids => NUMBER.into(),
                Kind::Legacy | Kind::Scalable => 0,
            },
            caching,
            memory: [([0; CONTEXT], [0; PASID]); 2],
            reads: BTreeMap::new(),
            entries: BTreeMap::new(),
            translations: Vec::new(),
        }
    }

    fn words(&self, which: Which) -> usize {
        match (which, self.scalable) {
            (Which::Context, false) => 2,
            (Which::Context, true) => CONTEXT,
            (Which::Pasid, _) => PASID,
        }
    }

    /// What a whole entry means.
    fn decode(&self, which: Which, words: &[u64]) -> Result<Cached, TestCaseError> {
        if !bit(words[0], 0) {
            return Ok(Cached::Absent);
        }
        let reached = match (which, self.scalable) {
            (Which::Context, true) => {
                // Reserved: bits 8:5; RID_PASID and the rest are 0 here. PASIDE, and PDTS as wide
                // as it gets.
                let low = match self.kind {
                    Kind::WithPasids => 0xe08,
                    Kind::Legacy | Kind::Scalable => 0,
                };
                prop_assert_eq!(words[0] & 0xffe, low);
                prop_assert_eq!(&words[1..], &[0; 3][..]);
                return Ok(Cached::Directory(bits(words[0], 63, 12)));
            }
            (Which::Context, false) => Reached {
                domain: bits(words[1], 23, 8),
                by_pasid: false,
                root: match bits(words[0], 3, 2) {
                    0 => Some(bits(words[0], 63, 12)),
                    2 => None,
                    other => return Err(TestCaseError::fail(format!("type {other}"))),
                },
            },
            (Which::Pasid, _) => {
                let (by_pasid, root) = match bits(words[0], 8, 6) {
                    1 => (true, Some(bits(words[2], 63, 12))),
                    2 => (false, Some(bits(words[0], 63, 12))),
                    4 => (true, None),
                    other => return Err(TestCaseError::fail(format!("type {other}"))),
                };
                Reached {
                    domain: bits(words[1], 15, 0),
                    by_pasid,
                    root,
                }
            }
        };
        Ok(Cached::Reached(reached))
    }

    /// Reads a word of an entry. When it has all words, or finds the entry not present, it caches
    /// what they say.
    fn read(&mut self, id: usize, which: Which, word: usize) -> Result<(), TestCaseError> {
        let leads = matches!(
            self.entries.get(&(id, Which::Context)),
            Some(Cached::Directory(_))
        );
        if self.entries.contains_key(&(id, which)) || which == Which::Pasid && !leads {
            return Ok(());
        }
        let count = self.words(which);
        let read = self.reads.entry((id, which)).or_default();
        let word = match read[0] {
            None => 0,
            Some(_) => word % count,
        };
        let value = match which {
            Which::Context => self.memory[id].0[word],
            Which::Pasid => self.memory[id].1[word],
        };
        read[word].get_or_insert(value);
        let mut words: Vec<u64> = read[..count].iter().flatten().copied().collect();
        if !bit(words[0], 0) {
            words = vec![0; count];
        }
        if words.len() < count {
            return Ok(());
        }
        self.reads.remove(&(id, which));
        match self.decode(which, &words)? {
            Cached::Absent if !self.caching => {}
            cached => {
                self.entries.insert((id, which), cached);
            }
        }
        Ok(())
    }

    /// Makes a request of `id`, through what is cached.
    fn request(&mut self, id: usize) {
        let which = match self.scalable {
            false => Which::Context,
            true => Which::Pasid,
        };
        // A walk begins at the context entry.
        if !self.entries.contains_key(&(id, Which::Context)) {
            return;
        }
        if let Some(Cached::Reached(reached)) = self.entries.get(&(id, which)) {
            if !self.translations.contains(reached) {
                self.translations.push(*reached);
            }
        }
    }

    fn domain_of(cached: &Cached) -> u64 {
        match cached {
            Cached::Absent => 0,
            Cached::Directory(_) => u64::MAX,
            Cached::Reached(reached) => reached.domain,
        }
    }

    fn execute(&mut self, Descriptor([low, high]): Descriptor) -> Result<(), TestCaseError> {
        let (kind, granularity) = (bits(low, 3, 0), bits(low, 5, 4));
        let domain = bits(low, 31, 16);
        prop_assert_eq!(high, 0);
        let scalable = self.scalable;
        match kind {
            1 => {
                prop_assert_eq!(granularity, 3);
                let source = bits(low, 47, 32);
                self.reads.clear();
                self.entries.retain(|(id, which), cached| {
                    *which != Which::Context
                        || u64::from(IDS[*id]) != source
                        || !scalable && Self::domain_of(cached) != domain
                });
            }
            7 => {
                prop_assert!(scalable);
                prop_assert_eq!((granularity, bits(low, 51, 32)), (1, self.pasid));
                self.reads.clear();
                self.entries.retain(|(_, which), cached| {
                    *which != Which::Pasid || Self::domain_of(cached) != domain
                });
            }
            2 => {
                prop_assert_eq!((granularity, bits(low, 63, 32)), (2, 0));
                self.translations
                    .retain(|reached| reached.by_pasid || reached.domain != domain);
            }
            6 => {
                prop_assert!(scalable);
                prop_assert_eq!((granularity, bits(low, 51, 32)), (2, self.pasid));
                self.translations
                    .retain(|reached| !reached.by_pasid || reached.domain != domain);
            }
            other => return Err(TestCaseError::fail(format!("descriptor {other}"))),
        }
        Ok(())
    }
}

/// An entry of either mode, or none.
#[derive(Copy, Clone, Debug)]
enum Entry {
    Legacy(ContextEntry),
    Scalable(PasidEntry),
}

impl Entry {
    fn tag(self, pasid: u64) -> CacheTag {
        match self {
            Self::Legacy(entry) => entry.tag(),
            Self::Scalable(entry) => entry.tag(pasid as u32),
        }
    }

    fn value(self, kind: Kind, word: Word) -> u64 {
        match (self, word) {
            (Self::Legacy(entry), Word::Context(index)) => entry.encode()[index],
            (Self::Legacy(_), Word::Pasid(_)) => panic!("legacy mode has no PASID table"),
            (Self::Scalable(entry), Word::Pasid(index)) => entry.encode()[index],
            (Self::Scalable(_), Word::Context(index)) => {
                assert_eq!(index, 0);
                directory(kind, true)
            }
        }
    }
}

/// The first word of a context entry of scalable mode.
fn directory(kind: Kind, present: bool) -> u64 {
    let width = match kind {
        Kind::WithPasids => PasidWidth::Bits(20),
        Kind::Legacy | Kind::Scalable => PasidWidth::None,
    };
    ContextWord {
        present,
        directory: Some(Directory {
            address: 0x5_a000,
            width,
        }),
    }
    .encode()
}

/// A step of the driver.
#[derive(Copy, Clone, Debug)]
enum Step {
    Store(Word, u64),
    Execute(Descriptor),
    /// A change is complete.
    Done,
}

/// The steps of one change of id 0, in parts: the steps of a part are done in any order.
type Parts = Vec<Vec<Step>>;

const NO_DRAIN: Drain = Drain {
    writes: false,
    reads: false,
};

/// What the driver does when `old` goes and `new` comes, with `groups` for the order of an
/// insertion.
fn plan(unit: &Unit, groups: &[Group], old: Option<Entry>, new: Option<Entry>) -> Parts {
    let mut parts = Vec::new();
    let (source, kind, pasid) = (IDS[0], unit.kind, unit.pasid as u32);
    if let Some(old) = old {
        let old_tag = old.tag(unit.pasid);
        for word in present_words(kind) {
            parts.push(vec![Step::Store(*word, old.value(kind, *word) & !1)]);
        }
        let mut entries = Vec::new();
        if kind != Kind::WithPasids {
            entries.push(Step::Execute(forget_context(source, old_tag.domain)));
        }
        if unit.scalable {
            entries.push(Step::Execute(forget_pasid(old_tag.domain, pasid)));
        }
        parts.push(entries);
        parts.push(vec![Step::Execute(forget_translations(old_tag, NO_DRAIN))]);
    }
    parts.push(vec![Step::Done]);
    if let Some(new) = new {
        let new_tag = new.tag(unit.pasid);
        for group in groups {
            let step = |word: &Word| Step::Store(*word, new.value(kind, *word));
            parts.push(group.iter().map(step).collect());
        }
        if unit.caching {
            let mut entries = vec![Step::Execute(forget_context(source, 0))];
            if unit.scalable {
                entries.push(Step::Execute(forget_pasid(0, pasid)));
                entries.push(Step::Execute(forget_pasid(new_tag.domain, pasid)));
            }
            parts.push(entries);
            parts.push(vec![Step::Execute(forget_translations(new_tag, NO_DRAIN))]);
        }
    }
    parts.push(vec![Step::Done]);
    parts
}

/// What an entry leads to.
fn reached(entry: Entry) -> Reached {
    match entry {
        Entry::Legacy(entry) => Reached {
            domain: entry.domain.into(),
            by_pasid: false,
            root: match entry.translation {
                Translation::SecondStage { root, .. } => Some(root >> 12),
                Translation::PassThrough { .. } => None,
            },
        },
        Entry::Scalable(entry) => {
            let (by_pasid, root) = match entry.translation {
                PasidTranslation::FirstStage { root, .. } => (true, Some(root >> 12)),
                PasidTranslation::SecondStage { root, .. } => (false, Some(root >> 12)),
                PasidTranslation::PassThrough { .. } => (true, None),
            };
            Reached {
                domain: entry.domain.into(),
                by_pasid,
                root,
            }
        }
    }
}

/// Runs a change, with the unit's actions in between as `script` says. `was_used` is whether an id
/// that uses PASIDs was attached for one before.
fn run(
    mut unit: Unit,
    was_used: bool,
    groups: &[Group],
    (old, new): (Option<Entry>, Option<Entry>),
    script: &[u8],
) -> Result<(), TestCaseError> {
    let write = |unit: &mut Unit, id: usize, entry: Option<Entry>| {
        if unit.scalable {
            let present = was_used && unit.kind == Kind::WithPasids;
            unit.memory[id].0[0] = directory(unit.kind, present);
        }
        let words = groups.iter().flat_map(|group| group.iter());
        for (word, entry) in words.zip(std::iter::repeat(entry)) {
            let Some(entry) = entry else { break };
            match *word {
                Word::Context(index) => unit.memory[id].0[index] = entry.value(unit.kind, *word),
                Word::Pasid(index) => unit.memory[id].1[index] = entry.value(unit.kind, *word),
            }
        }
    };
    write(&mut unit, 0, old);
    write(&mut unit, 1, new);
    let allowed: Vec<Reached> = [old, new].into_iter().flatten().map(reached).collect();
    let mut parts = plan(&unit, groups, old, new);
    let mut script = script.iter().copied().cycle();
    let mut next = || usize::from(script.next().unwrap_or(0));
    let mut done = 0;

    while !parts.is_empty() {
        for _ in 0..next() % 24 {
            let (id, which) = match next() % 6 {
                0 => (0, Some(Which::Context)),
                1 => (1, Some(Which::Context)),
                2 => (0, Some(Which::Pasid)),
                3 => (1, Some(Which::Pasid)),
                4 => (0, None),
                _ => (1, None),
            };
            match which {
                Some(Which::Pasid) if !unit.scalable => {}
                Some(which) => unit.read(id, which, next())?,
                None => unit.request(id),
            }
            for found in &unit.translations {
                prop_assert!(
                    allowed.contains(found),
                    "{found:x?} is neither of {allowed:x?}"
                );
            }
        }
        let part = &mut parts[0];
        let step = part.swap_remove(next() % part.len());
        if part.is_empty() {
            parts.remove(0);
        }
        match step {
            Step::Store(Word::Context(index), value) => unit.memory[0].0[index] = value,
            Step::Store(Word::Pasid(index), value) => unit.memory[0].1[index] = value,
            Step::Execute(descriptor) => unit.execute(descriptor)?,
            Step::Done => {
                done += 1;
                let of_old = old
                    .map(reached)
                    .filter(|old| Some(*old) != new.map(reached));
                prop_assert!(!unit.translations.iter().any(|found| Some(*found) == of_old));
                let mut cached = unit.entries.iter().filter(|((id, _), _)| *id == 0);
                let left = cached.any(|(_, cached)| match cached {
                    Cached::Reached(reached) => Some(*reached) == of_old,
                    // A unit in caching mode has forgotten that there was no entry.
                    Cached::Absent => done == 2 && new.is_some(),
                    Cached::Directory(_) => done == 1 && unit.kind != Kind::WithPasids,
                });
                prop_assert!(!left);
            }
        }
    }
    Ok(())
}

const WIDTHS: [Width; 3] = [Width::Bits39, Width::Bits48, Width::Bits57];

/// An entry of domain `domain`. Each domain is of one kind and has one table, which it shares with
/// no other.
fn entry(scalable: bool, domain: u16, kind: u8) -> Entry {
    let root = u64::from(domain) << 16 | 0xfff0_0000_0000_0000 & u64::from(domain) << 50;
    let width = WIDTHS[usize::from(kind) % 3];
    let coherent = kind & 4 != 0;
    if !scalable {
        let translation = match kind % 2 {
            0 => Translation::SecondStage { root, width },
            _ => Translation::PassThrough { width },
        };
        return Entry::Legacy(ContextEntry {
            translation,
            domain,
        });
    }
    let translation = match kind % 3 {
        0 => PasidTranslation::SecondStage {
            root,
            width,
            coherent,
        },
        1 => PasidTranslation::FirstStage {
            root,
            width: WIDTHS[1 + usize::from(kind / 3) % 2],
            coherent,
        },
        _ => PasidTranslation::PassThrough { width },
    };
    Entry::Scalable(PasidEntry {
        translation,
        domain,
    })
}

/// Domain ids and kinds of the old and the new entry.
type Change = (Option<(u16, u8)>, Option<(u16, u8)>);

fn changes() -> impl Strategy<Value = Change> {
    let kind = any::<u8>();
    let id = prop_oneof![Just(3u16), any::<u16>().prop_map(|id| id.max(1))];
    let of_old = proptest::option::of((id.clone(), kind));
    let of_new = proptest::option::of((id, kind));
    (of_old, of_new).prop_map(|(old, new)| match (old, new) {
        // One domain id has one meaning.
        (Some((a, _)), Some((b, kind))) if a == b => (Some((a, kind)), Some((b, kind))),
        other => other,
    })
}

fn check(
    (kind, was_used, caching): (Kind, bool, bool),
    groups: &[Group],
    (old, new): Change,
    script: &[u8],
) -> Result<(), TestCaseError> {
    let of = |(domain, of)| entry(kind != Kind::Legacy, domain, of);
    let change = (old.map(of), new.map(of));
    run(Unit::new(kind, caching), was_used, groups, change, script)
}

const KINDS: [Kind; 3] = [Kind::Legacy, Kind::Scalable, Kind::WithPasids];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// The unit sees the old entry, the new one, or neither; and forgets the old one.
    #[test]
    fn laws_7_and_8_at_every_moment(
        kind in proptest::sample::select(KINDS.to_vec()),
        was_used in any::<bool>(),
        caching in any::<bool>(),
        change in changes(),
        script in proptest::collection::vec(any::<u8>(), 40..400),
    ) {
        let groups = groups(kind != Kind::Legacy);
        check((kind, was_used, caching), groups, change, &script)?;
    }
}

/// The model notices if the present bits come first.
#[test]
fn the_opposite_order_is_noticed() {
    for kind in KINDS {
        let order = groups(kind != Kind::Legacy);
        let opposite: Vec<Group> = order.iter().rev().copied().collect();
        let mut noticed = 0;
        for seed in 0..4000u32 {
            let script: Vec<u8> = (0..200u32)
                .map(|at| (seed.wrapping_mul(0x9e37_79b9) ^ at.wrapping_mul(0x85eb_ca6b)) as u64)
                .map(|mixed| (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8)
                .collect();
            let change = (Some((5, 0)), Some((6, 0)));
            let unit = (kind, true, false);
            noticed += u32::from(check(unit, &opposite, change, &script).is_err());
        }
        assert!(noticed > 0, "{kind:?}");
    }
}

/// An insertion stores every word that an entry uses; those with the present bits are stored alone,
/// last. A removal clears them in the opposite order.
#[test]
fn groups_have_every_word_once() {
    let flat = |scalable| -> Vec<Word> {
        let all = groups(scalable).iter().flat_map(|group| group.iter());
        all.copied().collect()
    };
    assert_eq!(flat(false), [Word::Context(1), Word::Context(0)]);
    assert_eq!(present_words(Kind::Legacy), [Word::Context(0)]);
    let mut scalable = flat(true);
    assert_eq!(scalable.pop(), Some(Word::Context(0)));
    assert_eq!(scalable.pop(), Some(Word::Pasid(0)));
    assert_eq!(scalable, (1..PASID).map(Word::Pasid).collect::<Vec<_>>());
    let both = [Word::Context(0), Word::Pasid(0)];
    assert_eq!(present_words(Kind::Scalable), both);
    assert_eq!(present_words(Kind::WithPasids), &both[1..]);
}
