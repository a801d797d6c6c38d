// SPDX-License-Identifier: GPL-2.0

//! Updates of entries, checked with a model of a unit that reads each word separately, at any time.
//!
//! The model shares no code with the planner. It decodes an entry's effect on transactions from the
//! specification's description of each field. Between two syncs the unit may read any word as it
//! was before or after the writes in between, and it may have cached an entry that it read since
//! the last sync. So during a step it can see every mixture of the words before and after the step.

mod smmu;
mod drivers {
    pub use iommu_core_host::shell;
}

use iommu_core_host::pgtable;
use proptest::prelude::*;
use smmu::records::update::{steps, Step, MAX_STEPS};

type Words = [u64; 8];

/// All steps of an update.
struct Update(Vec<Step>);

impl Update {
    fn new(old: &Words, new: &Words) -> Self {
        Self(steps(old, new).collect())
    }

    fn steps(&self) -> &[Step] {
        &self.0
    }

    /// Whether the entry is made invalid in between, although both the old and the new one are
    /// valid.
    fn breaks(&self) -> bool {
        match (self.0.first(), self.0.last()) {
            (Some(first), Some(last)) => {
                first.writes().next() == Some((0, 0)) && last.result()[0] != 0
            }
            _ => false,
        }
    }
}

/// Bits `high` to `low`, in the specification's numbering of the whole entry.
fn bits(entry: &Words, high: usize, low: usize) -> u64 {
    assert_eq!(high / 64, low / 64);
    let width = high - low + 1;
    let value = entry[low / 64] >> (low % 64);
    if width == 64 {
        value
    } else {
        value & ((1 << width) - 1)
    }
}

/// The effect of an entry on an untranslated transaction.
#[derive(Clone, PartialEq, Debug)]
enum Effect {
    /// The transaction is terminated, with or without an event.
    Terminated,
    /// The transaction passes; the fields determine how.
    Passes(Vec<(&'static str, u64)>),
}

/// The entry's EATS setting, for translated transactions: refused, split-stage or full.
fn own_translations(entry: &Words) -> u64 {
    match stream(entry) {
        Effect::Passes(how) if how[0].1 != 4 => bits(entry, 93, 92),
        _ => 0,
    }
}

/// A stream table entry by IHI 0070 5.2.
fn stream(entry: &Words) -> Effect {
    let mut how = Vec::new();
    let mut field = |name, high, low| {
        let value = bits(entry, high, low);
        how.push((name, value));
        value
    };

    // V; Config: reserved values behave like abort.
    let config = bits(entry, 3, 1);
    if bits(entry, 0, 0) == 0 || config & 4 == 0 {
        return Effect::Terminated;
    }
    field("Config", 3, 1);
    // Attributes of the device's transactions, unless a stage of translation replaces them.
    field("PRIVCFG", 113, 112);
    field("INSTCFG", 115, 114);
    let (stage1, stage2) = (config & 1 != 0, config & 2 != 0);
    let mut stage1_lets_pass = false;

    if stage1 {
        field("S1ContextPtr", 51, 6);
        field("S1CIR", 67, 66);
        field("S1COR", 69, 68);
        field("S1CSH", 71, 70);
        field("S1STALLD", 91, 91);
        if field("S1CDMax", 63, 59) != 0 {
            if field("S1Fmt", 5, 4) == 3 {
                return Effect::Terminated;
            }
            match field("S1DSS", 65, 64) {
                1 => stage1_lets_pass = true,
                3 => return Effect::Terminated,
                _ => {}
            }
        }
        match field("STRW", 95, 94) {
            // Cached translations are tagged with VMID as well.
            0 => {
                field("S2VMID", 143, 128);
            }
            1 | 3 => return Effect::Terminated,
            // EL2 has no second stage.
            _ if stage2 => return Effect::Terminated,
            _ => {}
        }
    }
    if stage2 {
        field("S2VMID", 143, 128);
        field("S2T0SZ", 165, 160);
        field("S2SL0", 167, 166);
        field("S2IR0", 169, 168);
        field("S2OR0", 171, 170);
        field("S2SH0", 173, 172);
        field("S2TG", 175, 174);
        field("S2PS", 178, 176);
        field("S2AA64", 179, 179);
        field("S2ENDI", 180, 180);
        field("S2AFFD", 181, 181);
        field("S2PTW", 182, 182);
        field("S2HD", 183, 183);
        field("S2HA", 184, 184);
        field("S2S", 185, 185);
        field("S2R", 186, 186);
        field("S2FWB", 89, 89);
        field("S2TTB", 243, 196);
    }
    // 13.5: if stage 1 translates, the page table determines the shareability.
    if !stage1 || stage1_lets_pass || stage2 {
        field("SHCFG", 109, 108);
    }
    // Full ATS is illegal with stage 2 stalls, and split-stage ATS requires both stages.
    match bits(entry, 93, 92) {
        _ if !stage1 && !stage2 => {}
        1 if stage2 && bits(entry, 185, 185) != 0 => return Effect::Terminated,
        2 if config != 7 => return Effect::Terminated,
        3 => return Effect::Terminated,
        _ => {}
    }
    Effect::Passes(how)
}

/// Every mixture of the words of two entries.
fn mixtures(before: &Words, after: &Words) -> impl Iterator<Item = Words> {
    let (before, after) = (*before, *after);
    let differ: Vec<usize> = (0..8).filter(|n| before[*n] != after[*n]).collect();
    (0..1u32 << differ.len()).map(move |choice| {
        let mut mixture = before;
        for (bit, word) in differ.iter().enumerate() {
            if choice >> bit & 1 != 0 {
                mixture[*word] = after[*word];
            }
        }
        mixture
    })
}

/// Checks everything that a unit can see. Returns whether a transaction that passes with both
/// entries can be terminated during the update.
fn watch(old: &Words, new: &Words, update: &Update) -> bool {
    let own = own_translations;
    let (from, to) = (stream(old), stream(new));
    let mut terminated = false;
    let mut now = *old;

    for step in update.steps() {
        let mut after = now;
        for (index, value) in step.writes() {
            assert_ne!(after[index], value, "a write that changes nothing");
            after[index] = value;
        }
        assert_eq!(&after, step.result());
        for seen in mixtures(&now, &after) {
            let what = stream(&seen);
            assert!(
                what == from || what == to || what == Effect::Terminated,
                "{old:x?} -> {new:x?}: saw {seen:x?}: {what:?}"
            );
            terminated |= what == Effect::Terminated;
            assert!([0, own(old), own(new)].contains(&own(&seen)));
        }
        now = after;
    }
    assert_eq!(&now, new, "it must end with the new entry");
    terminated && from != Effect::Terminated && to != Effect::Terminated
}

/// Plans and checks an update. Returns the number of syncs, and whether the entry becomes invalid
/// in between.
fn of_stream(old: &Words, new: &Words) -> (usize, bool) {
    let update = Update::new(old, new);
    let interrupted = watch(old, new, &update);
    assert_eq!(interrupted, update.breaks() && passes(old) && passes(new));
    (update.steps().len(), update.breaks())
}

fn passes(entry: &Words) -> bool {
    stream(entry) != Effect::Terminated
}

const INVALID: Words = [0; 8];
const ABORT: Words = [1, 0, 0, 0, 0, 0, 0, 0];
const BYPASS: Words = [0x9, 0x1000_0000_0000, 0, 0, 0, 0, 0, 0];
/// Stage 1 with ATS; a transaction without substream id uses the first descriptor.
const STAGE1: Words = [0xf800_f0f0_f0f0_f0eb, 0x1800_00d6, 0, 0, 0, 0, 0, 0];
/// As above, but a transaction without substream id is not translated.
const STAGE1_PASS: Words = [0xf800_f0f0_f0f0_f0eb, 0x1000_1800_00d5, 0, 0, 0, 0, 0, 0];
/// As above, with another context table.
const STAGE1_PASS_OTHER: Words = [0xf800_004b_4b4b_4b6b, 0x1000_1800_00d5, 0, 0, 0, 0, 0, 0];
/// Stage 1 with stalls, without ATS.
const STAGE1_STALL: Words = [0xf800_f0f0_f0f0_f0eb, 0xd6, 0, 0, 0, 0, 0, 0];
/// Stage 2 with ATS.
const STAGE2: Words = [
    0xd,
    0x1000_1000_0000,
    0x0449_b6c4_0000_0000,
    0x000d_beef_dead_bee0,
    0,
    0,
    0,
    0,
];
/// Stage 2 without ATS.
const STAGE2_PLAIN: Words = [
    0xd,
    0x1000_0000_0000,
    0x0449_b6c4_0000_0000,
    0x000d_beef_dead_bee0,
    0,
    0,
    0,
    0,
];
/// Stage 2 with stalls, without ATS.
const STAGE2_STALL: Words = [
    0xd,
    0x1000_0000_0000,
    0x0649_b6c4_0000_0000,
    0x000d_beef_dead_bee0,
    0,
    0,
    0,
    0,
];
/// Both stages with ATS; a transaction without substream id is not translated at stage 1.
const BOTH_PASS: Words = [
    0xf800_f0f0_f0f0_f0ef,
    0x1000_1808_00d5,
    0x0449_b6c4_0000_0000,
    0x000d_beef_dead_bee0,
    0,
    0,
    0,
    0,
];

/// The pairs of entries of the C driver's test, with its numbers of syncs.
#[test]
fn streams_as_in_c() {
    let hitless: [(&str, &Words, &Words, usize); 19] = [
        ("bypass to abort", &BYPASS, &ABORT, 2),
        ("abort to bypass", &ABORT, &BYPASS, 2),
        ("stage 1 to abort", &STAGE1, &ABORT, 2),
        ("abort to stage 1", &ABORT, &STAGE1, 2),
        ("stage 1 to bypass", &STAGE1, &BYPASS, 3),
        ("bypass to stage 1", &BYPASS, &STAGE1, 3),
        ("S1DSS to bypass", &STAGE1, &STAGE1_PASS, 1),
        ("S1DSS from bypass", &STAGE1_PASS, &STAGE1, 1),
        ("S1DSS bypass to bypass", &STAGE1_PASS, &BYPASS, 2),
        ("bypass to S1DSS bypass", &BYPASS, &STAGE1_PASS, 2),
        ("stage 2 to abort", &STAGE2, &ABORT, 2),
        ("abort to stage 2", &ABORT, &STAGE2, 2),
        ("stage 2 to bypass", &STAGE2, &BYPASS, 2),
        ("bypass to stage 2", &BYPASS, &STAGE2, 2),
        ("stage 1 to stage 2", &STAGE1, &STAGE2, 3),
        ("stage 2 to stage 1", &STAGE2, &STAGE1, 3),
        (
            "stage 1 to stage 2, stalls",
            &STAGE1_STALL,
            &STAGE2_STALL,
            3,
        ),
        (
            "stage 2 to stage 1, stalls",
            &STAGE2_STALL,
            &STAGE1_STALL,
            3,
        ),
        (
            "both with S1DSS bypass to stage 2",
            &BOTH_PASS,
            &STAGE2_PLAIN,
            3,
        ),
    ];
    for (name, old, new, syncs) in hitless {
        assert_eq!(of_stream(old, new), (syncs, false), "{name}");
    }
    // One more than C, which sets EATS while the old entry is in force.
    assert_eq!(of_stream(&STAGE2_PLAIN, &BOTH_PASS), (3, false));
    // Another context table and another S1DSS in one update.
    assert_eq!(of_stream(&STAGE1, &STAGE1_PASS_OTHER), (3, true));
}

/// The updates that this driver makes most often.
#[test]
fn everyday_updates() {
    // With one context descriptor per domain, a change of the domain is one write.
    let domain = |contexts: u64| -> Words { [0xb | contexts, 0x0800_00d4, 0, 0, 0, 0, 0, 0] };
    assert_eq!(of_stream(&domain(0x1000), &domain(0x2040)), (1, false));
    // A change of the domain at stage 2: VMID and page table are in two words.
    let mut other = STAGE2;
    other[2] |= 7;
    other[3] ^= 0x1000;
    assert_eq!(of_stream(&STAGE2, &other), (3, true));
    // Nothing changes.
    assert_eq!(of_stream(&STAGE2, &STAGE2), (0, false));
    // To and from invalid.
    for entry in [ABORT, BYPASS, STAGE1, STAGE2, BOTH_PASS] {
        assert!(!of_stream(&INVALID, &entry).1);
        assert!(!of_stream(&entry, &INVALID).1);
    }
}

/// The valid bit is written last when an entry becomes valid, and first when it becomes invalid.
#[test]
fn order_of_writes() {
    let indexes = |step: &Step| step.writes().map(|(index, _)| index).collect::<Vec<_>>();
    let update = Update::new(&INVALID, &STAGE2);
    let steps: Vec<_> = update.steps().iter().map(indexes).collect();
    assert_eq!(steps, [vec![1, 2, 3], vec![0]]);
    let update = Update::new(&STAGE2, &INVALID);
    let steps: Vec<_> = update.steps().iter().map(indexes).collect();
    assert_eq!(steps, [vec![0], vec![1, 2, 3]]);
    let update = Update::new(&STAGE1, &STAGE1_PASS_OTHER);
    let steps: Vec<_> = update.steps().iter().map(indexes).collect();
    assert_eq!(steps, [vec![0], vec![1], vec![0]]);
    assert_eq!(update.steps()[0].result()[0], 0);
}

/// The new entry terminates everything (its Config is reserved), but has EATS set.
#[test]
fn eats_is_not_set_while_the_old_entry_is_in_force() {
    let old = [0xd, 0x0000_1000_0000_0000, 0, 0x4000, 0, 0, 0, 0];
    let new = [0x3, 0x0000_1000_1000_0000, 0, 0, 0, 0, 0, 0];
    let update = Update::new(&old, &new);
    watch(&old, &new, &update);
    // An entry that is in force with both stages accepts translated transactions in the end only.
    let update = Update::new(&STAGE2_PLAIN, &BOTH_PASS);
    let eats = |step: &Step| bits(step.result(), 93, 92);
    let seen: Vec<_> = update.steps().iter().map(eats).collect();
    assert_eq!(seen, [0, 0, 1]);
    // And it stops to do so at once.
    let update = Update::new(&BOTH_PASS, &STAGE2_PLAIN);
    assert_eq!(eats(&update.steps()[0]), 0);
}

/// Stream table entries in which every field has two or three values.
fn some_streams() -> Vec<Words> {
    let mut entries = vec![INVALID, ABORT];
    for attributes in [0, 0x1000_0000_0000, 0x3000_0000_0000] {
        entries.push([0x9, attributes, 0, 0, 0, 0, 0, 0]);
    }
    let walks = [0x0, 0xd4];
    let ats = [0, 0x1000_0000];
    for contexts in [0x1000, 0xf800_0000_0000_2020] {
        for unsure in [0, 1, 2] {
            for walk in walks {
                for ats in ats {
                    for (world, vmid) in [(0, 0), (0, 3), (0x8000_0000, 0)] {
                        let sharing = if unsure == 1 { 0x1000_0000_0000 } else { 0 };
                        let first = unsure | walk | ats | world | sharing;
                        entries.push([0xb | contexts, first, vmid, 0, 0, 0, 0, 0]);
                    }
                }
            }
        }
    }
    for control in [
        0x0448_3594_0000_0003,
        0x0448_3594_0000_0004,
        0x0749_b6d8_0000_0003,
    ] {
        for table in [0x4000, 0x8000] {
            for ats in ats {
                // Stalls at stage 2 exclude ATS.
                if ats != 0 && bits(&[0, 0, control, 0, 0, 0, 0, 0], 185, 185) != 0 {
                    continue;
                }
                for sharing in [0, 0x1000_0000_0000] {
                    entries.push([0xd, ats | sharing, control, table, 0, 0, 0, 0]);
                    // Both stages.
                    let first = ats | sharing | 0xd4;
                    entries.push([0x100f, first, control, table, 0, 0, 0, 0]);
                }
            }
        }
    }
    entries
}

/// Every pair of many entries.
#[test]
fn every_pair_of_streams() {
    let entries = some_streams();
    let mut hitless = 0;
    for old in &entries {
        for new in &entries {
            let (_, breaks) = of_stream(old, new);
            // The entry becomes invalid in between only if a transaction passes with both entries.
            assert!(!breaks || passes(old) && passes(new));
            // An update from or to bypass never needs that, as long as the attributes are the same.
            let sharing = |entry: &Words| bits(entry, 109, 108);
            if old[0] == 0x9 && new[0] != 0x9 && sharing(old) == sharing(new) {
                assert!(!breaks, "{old:x?} -> {new:x?}");
            }
            hitless += usize::from(!breaks);
        }
    }
    assert!(hitless * 4 > entries.len() * entries.len());
}

/// A stream table entry with arbitrary field values, valid or not.
fn any_stream() -> impl Strategy<Value = Words> {
    let first = any::<u64>().prop_map(|bits| bits & 0xf80f_ffff_ffff_ffff);
    let second = any::<u64>().prop_map(|bits| bits & 0x000f_3000_fa08_00ff);
    let third = any::<u64>().prop_map(|bits| bits & 0x07ff_ffff_0000_ffff);
    let fourth = any::<u64>().prop_map(|bits| bits & 0x000f_ffff_ffff_fff0);
    (any::<bool>(), first, second, third, fourth).prop_map(
        |(valid, first, second, third, fourth)| {
            let first = if valid { first | 9 } else { first };
            [first, second, third, fourth, 0, 0, 0, 0]
        },
    )
}

/// `new`, but with only some words or bits of it; the rest is as in `old`.
fn blend(old: &Words, new: &Words, words: u8, bits: u64) -> Words {
    core::array::from_fn(|index| {
        if words >> index & 1 != 0 {
            new[index]
        } else {
            old[index] & !bits | new[index] & bits
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// Arbitrary entries, including entries that no driver writes.
    #[test]
    fn any_streams(
        old in any_stream(),
        new in any_stream(),
        words in any::<u8>(),
        bits in prop_oneof![Just(0u64), any::<u64>()],
    ) {
        let new = blend(&old, &new, words, bits);
        let update = Update::new(&old, &new);
        let interrupted = watch(&old, &new, &update);
        prop_assert!(!interrupted || update.breaks());
        prop_assert!(update.steps().len() <= MAX_STEPS);
    }
}
