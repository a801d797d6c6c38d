// SPDX-License-Identifier: GPL-2.0

//! Device table entries that change while a unit reads them: law 7 at each moment.
//!
//! The unit here is a model of its own. It knows an entry by the bits that the specification gives
//! (AMD-Vi 2.2.2), and nothing of the driver's encoder or planner. It may read the entry between
//! any two stores, all 256 bits at once, and may use what it read until the invalidation at the
//! end.

mod amd;
#[allow(dead_code)]
#[path = "../../../requester.rs"]
mod requester;
mod drivers {
    pub use iommu_core_host::{blocks, shell};
}

use amd::{
    entries::{DeviceEntry, Translation, Words},
    ivrs::Settings,
    update::{Store, Update},
};
use proptest::prelude::*;

/// What a unit does with the requests of a device whose entry this is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Effect {
    /// Addresses pass, no permission is checked.
    Everything,
    /// Nothing passes.
    Blocked,
    /// Addresses pass under a domain id.
    Untranslated { domain: u64 },
    /// A host table: its address, levels and accessed and dirty bits, under a domain id.
    Host {
        root: u64,
        levels: u64,
        dirty: u64,
        domain: u64,
    },
    /// A guest table: its roots, under a domain id.
    Guest {
        gcr3: u64,
        glx: u64,
        levels: u64,
        domain: u64,
    },
    /// What no entry may ever look like.
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
        // GIoV: without it, requests without a process id are untranslated.
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

/// What interrupts may do: IV, IntCtl and the bits that let some pass.
fn interrupts(words: &Words) -> (u64, u64, u64, u64) {
    (
        bits(words, 128, 128),
        bits(words, 186, 184),
        bits(words, 189, 188),
        bits(words, 191, 190),
    )
}

/// Every entry that is in memory at some moment, the old one first and the new one last.
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
            // There is no way back.
            prop_assert!(!arrived || now == after);
            arrived |= now == after && after != before;
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
    (translations(), any::<bool>(), settings).prop_map(|(translation, device_tlb, settings)| {
        DeviceEntry {
            translation,
            device_tlb,
            settings: Settings(settings),
        }
        .encode()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// Any entry of this driver after any other.
    #[test]
    fn no_moment_is_worse_than_before_or_after(
        old in entries(),
        new in entries(),
        pairs in any::<bool>(),
    ) {
        check(old, new, pairs)?;
    }

    /// What firmware or another system left, and was not valid, becomes an entry of this driver.
    #[test]
    fn from_whatever_was_not_valid(
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
        settings: Settings::NONE,
    }
    .encode()
}

/// Attaching what is attached writes nothing.
#[test]
fn law_4_nothing_to_write() {
    let entry = host(1, 0x1000, 3);
    for pairs in [false, true] {
        assert_eq!(Update::new(entry, entry, pairs).stores(), []);
    }
}

/// A table that got a level more, and one that moved: one store.
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

/// From one domain to another: at once if the CPU can, else by way of blocking.
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

/// To blocked, the first word goes first; from blocked, it goes last.
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

/// The levels of guest tables are in another word than the rest: they change while blocked only.
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
            settings: Settings::NONE,
        }
        .encode()
    };
    let update = Update::new(guest(false), guest(true), true);
    assert!(!update.is_hitless());
    assert_eq!(update.stores()[0], Store::Word { index: 0, value: 1 });

    // From a host table it is hitless: the host's walk does not look at them.
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

/// The model is not blind: it finds what a careless order does.
#[test]
fn the_model_sees_careless_orders() {
    let (old, new) = (host(1, 0x1000, 3), host(2, 0x2000, 3));
    let torn = [new[0], old[1], 0, 0];
    assert!(effect(&torn) != effect(&old) && effect(&torn) != effect(&new));
    assert_eq!(effect(&[0; 4]), Effect::Everything);
}
