// SPDX-License-Identifier: GPL-2.0

//! Changes of a device table entry while a unit reads it: law 7 at every moment.
//!
//! The unit is a separate model. It decodes an entry by the bits in the specification (AMD-Vi
//! 2.2.2), and shares no code with the driver's encoder or planner. It may read the entry between
//! any two stores, all 256 bits at once, and may use what it read until the invalidation at the
//! end.

mod amd;
#[allow(dead_code)]
#[path = "../../../requester.rs"]
mod requester;
#[path = "amd/strategies.rs"]
mod strategies;
mod drivers {
    pub use iommu_core_host::shell;
}

use amd::{
    entries::{DeviceEntry, Interrupts, Translation, Words},
    ivrs::Settings,
    update::{Store, Update},
};
use proptest::prelude::*;
use strategies::what_happens_to_interrupts;

/// What a unit does with the requests of a device with this entry.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Effect {
    /// Addresses pass untranslated, without a permission check.
    Everything,
    /// All requests are blocked.
    Blocked,
    /// Addresses pass untranslated, with a domain id.
    Untranslated { domain: u64 },
    /// A host table: its address, levels, and accessed and dirty control, with a domain id.
    Host {
        root: u64,
        levels: u64,
        dirty: u64,
        domain: u64,
    },
    /// A guest table: its roots, with a domain id.
    Guest {
        gcr3: u64,
        glx: u64,
        levels: u64,
        domain: u64,
    },
    /// An entry that must never exist.
    Nonsense,
}

fn bits(words: &Words, high: usize, low: usize) -> u64 {
    (low..=high).rev().fold(0, |value, bit| {
        value << 1 | words[bit / 64] >> (bit % 64) & 1
    })
}

fn effect(words: &Words) -> Effect {
    let bit = |at| bits(words, at, at) == 1;
    let domain = bits(words, 79, 64);

    if !bit(0) {
        return Effect::Everything;
    }
    if !bit(1) {
        return Effect::Blocked;
    }
    match (bit(61), bit(62)) {
        (true, true) => {}
        (false, false) => return Effect::Blocked,
        _ => return Effect::Nonsense,
    }
    let mode = bits(words, 11, 9);
    if bit(55) {
        // GIoV: without it, requests without a process id pass untranslated.
        if !bit(54) || mode != 0 {
            return Effect::Nonsense;
        }
        return Effect::Guest {
            gcr3: bits(words, 60, 58) << 12
                | bits(words, 95, 80) << 15
                | bits(words, 127, 107) << 31,
            glx: bits(words, 57, 56),
            levels: bits(words, 183, 182),
            domain,
        };
    }
    match mode {
        0 => Effect::Untranslated { domain },
        7 => Effect::Nonsense,
        levels => Effect::Host {
            root: bits(words, 51, 12) << 12,
            levels,
            dirty: bits(words, 8, 7),
            domain,
        },
    }
}

/// The handling of interrupts: IV, IntCtl and the bits that pass some interrupts.
fn interrupts(words: &Words) -> (u64, u64, u64, u64) {
    (
        bits(words, 128, 128),
        bits(words, 186, 184),
        bits(words, 189, 188),
        bits(words, 191, 190),
    )
}

/// Every value of the entry in memory, from the old one to the new one.
fn moments(old: Words, update: &Update) -> Vec<Words> {
    let mut memory = old;
    let mut all = vec![old];
    for store in update.stores() {
        match *store {
            Store::Word { index, value } => memory[index] = value,
            Store::Pair { values } => memory[..2].copy_from_slice(&values),
        }
        all.push(memory);
    }
    all
}

/// Checks an update against the model.
fn check(old: Words, new: Words, pairs: bool) -> Result<(), TestCaseError> {
    let update = Update::new(old, new, pairs);
    let moments = moments(old, &update);
    let (before, after) = (effect(&old), effect(&new));

    prop_assert_eq!(*moments.last().unwrap(), new);
    let mut arrived = false;
    for moment in &moments {
        let now = effect(moment);
        prop_assert!(
            now == before || now == after || now == Effect::Blocked,
            "{:?} on the way from {:?} to {:?}",
            now,
            before,
            after
        );
        if update.is_hitless() {
            prop_assert!(now == before || now == after);
            // Once the unit has seen the new entry, it never sees an older one.
            prop_assert!(!arrived || now == after);
            arrived |= now == after && after != before;
        }
        // Erratum 63: with SysMgt at 1 (bits 105:104) IW (bit 62) has to be set at every moment.
        if [&old, &new].map(|words| bits(words, 105, 104)) == [1, 1] {
            prop_assert_eq!(bits(moment, 62, 62), 1);
        }
        let passing = interrupts(moment);
        prop_assert!(passing == interrupts(&old) || passing == interrupts(&new));
    }
    for store in update.stores() {
        match store {
            Store::Word { index, .. } => prop_assert!(*index < 4),
            Store::Pair { .. } => prop_assert!(pairs),
        }
    }
    Ok(())
}

fn translations() -> impl Strategy<Value = Translation> {
    let page = |bits: u32| (0u64..1 << (bits - 12)).prop_map(|page| page << 12);
    prop_oneof![
        Just(Translation::Blocked),
        (0u16..3).prop_map(|domain| Translation::Identity { domain }),
        (0u16..3, page(14), 1u8..=6, any::<bool>()).prop_map(|(domain, root, levels, dirty)| {
            Translation::Host {
                domain,
                root,
                levels,
                dirty,
            }
        }),
        (any::<u16>(), page(52), 1u8..=6, any::<bool>()).prop_map(
            |(domain, root, levels, dirty)| Translation::Host {
                domain,
                root,
                levels,
                dirty,
            }
        ),
        (0u16..3, page(14), 1u8..=3, any::<bool>()).prop_map(
            |(domain, gcr3, gcr3_levels, five_levels)| Translation::Guest {
                domain,
                gcr3,
                gcr3_levels,
                five_levels,
            }
        ),
        (any::<u16>(), page(52), 1u8..=3, any::<bool>()).prop_map(
            |(domain, gcr3, gcr3_levels, five_levels)| Translation::Guest {
                domain,
                gcr3,
                gcr3_levels,
                five_levels,
            }
        ),
    ]
}

fn entries() -> impl Strategy<Value = Words> {
    let settings = prop_oneof![Just(0u8), Just(0xd7u8), any::<u8>()];
    (
        translations(),
        any::<bool>(),
        what_happens_to_interrupts(),
        settings,
    )
        .prop_map(|(translation, device_tlb, interrupts, settings)| {
            DeviceEntry {
                translation,
                device_tlb,
                interrupts,
                settings: Settings(settings),
            }
            .encode()
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// Any entry of this driver replaces any other.
    #[test]
    fn every_moment_shows_the_old_entry_the_new_one_or_blocked(
        old in entries(),
        new in entries(),
        pairs in any::<bool>(),
    ) {
        check(old, new, pairs)?;
    }

    /// An entry of this driver replaces an invalid entry of firmware or another system.
    #[test]
    fn from_any_invalid_entry(
        old in any::<[u64; 4]>(),
        new in entries(),
        pairs in any::<bool>(),
    ) {
        let old = [old[0] & !1, old[1], old[2], old[3]];
        let update = Update::new(old, new, pairs);
        for moment in moments(old, &update) {
            let now = effect(&moment);
            prop_assert!(now == Effect::Everything || now == effect(&new));
        }
    }
}

fn host(domain: u16, root: u64, levels: u8) -> Words {
    DeviceEntry {
        translation: Translation::Host {
            domain,
            root,
            levels,
            dirty: false,
        },
        device_tlb: false,
        interrupts: Interrupts::Pass,
        settings: Settings::NONE,
    }
    .encode()
}

/// Attaching the current domain writes nothing.
#[test]
fn law_4_nothing_to_write() {
    let entry = host(1, 0x1000, 3);
    for pairs in [false, true] {
        assert_eq!(Update::new(entry, entry, pairs).stores(), []);
    }
}

/// A page table with one more level, or with a new root: one store.
#[test]
fn a_table_that_grows() {
    for pairs in [false, true] {
        let update = Update::new(host(1, 0x1000, 3), host(1, 0x2000, 4), pairs);
        assert!(update.is_hitless());
        assert_eq!(
            update.stores(),
            [Store::Word {
                index: 0,
                value: 0x6000_0000_0000_2803
            }]
        );
    }
}

/// From one domain to another: directly if the CPU can store 128 bits at once, otherwise through a
/// blocked entry.
#[test]
fn from_domain_to_domain() {
    let (old, new) = (host(1, 0x1000, 3), host(2, 0x2000, 3));
    let update = Update::new(old, new, true);
    assert!(update.is_hitless());
    assert_eq!(
        update.stores(),
        [Store::Pair {
            values: [0x6000_0000_0000_2603, 2]
        }]
    );

    let update = Update::new(old, new, false);
    assert!(!update.is_hitless());
    assert_eq!(
        update.stores(),
        [
            Store::Word { index: 0, value: 1 },
            Store::Word { index: 1, value: 2 },
            Store::Word {
                index: 0,
                value: 0x6000_0000_0000_2603
            },
        ]
    );
}

/// To blocked, the first word is written first; from blocked, it is written last.
#[test]
fn to_and_from_blocked() {
    let blocked = DeviceEntry::BLOCKED.encode();
    let attached = host(2, 0x2000, 3);
    assert_eq!(blocked, [1, 0, 0, 0]);

    let update = Update::new(attached, blocked, false);
    assert!(update.is_hitless());
    assert_eq!(
        update.stores(),
        [
            Store::Word { index: 0, value: 1 },
            Store::Word { index: 1, value: 0 },
        ]
    );
    let update = Update::new(blocked, attached, false);
    assert!(update.is_hitless());
    assert_eq!(
        update.stores(),
        [
            Store::Word { index: 1, value: 2 },
            Store::Word {
                index: 0,
                value: 0x6000_0000_0000_2603
            },
        ]
    );
}

/// The levels of guest tables are in another word than the rest, so they change only while the
/// entry is blocked.
#[test]
fn guest_tables_of_other_levels() {
    let guest = |five_levels| {
        DeviceEntry {
            translation: Translation::Guest {
                domain: 1,
                gcr3: 0x1000,
                gcr3_levels: 1,
                five_levels,
            },
            device_tlb: false,
            interrupts: Interrupts::Pass,
            settings: Settings::NONE,
        }
        .encode()
    };
    let update = Update::new(guest(false), guest(true), true);
    assert!(!update.is_hitless());
    assert_eq!(update.stores()[0], Store::Word { index: 0, value: 1 });

    // From a host table the change is hitless: the host walk ignores the levels of guest tables.
    let update = Update::new(host(1, 0x1000, 3), guest(true), true);
    assert!(update.is_hitless());
    assert!(matches!(
        update.stores(),
        [
            Store::Word { index: 2, .. },
            Store::Pair { .. } | Store::Word { index: 0, .. }
        ]
    ));
    let update = Update::new(guest(true), host(1, 0x1000, 3), true);
    assert!(update.is_hitless());
    assert!(matches!(
        update.stores().last(),
        Some(Store::Word { index: 2, .. })
    ));
}

/// Shows that the model detects a wrong order of stores.
#[test]
fn the_model_detects_wrong_orders() {
    let (old, new) = (host(1, 0x1000, 3), host(2, 0x2000, 3));
    let torn = [new[0], old[1], 0, 0];
    assert!(effect(&torn) != effect(&old) && effect(&torn) != effect(&new));
    assert_eq!(effect(&[0; 4]), Effect::Everything);
}
