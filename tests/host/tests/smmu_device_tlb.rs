// SPDX-License-Identifier: GPL-2.0

//! TLBs of devices: the list of ATS streams; and attaches, checked against a model of a device with
//! a TLB, a unit, and a processor that unmaps at the same time.

mod smmu;
mod drivers {
    pub use iommu_core_host::shell;
}

use std::collections::{BTreeMap, BTreeSet};

use iommu_core_host::pgtable;
use proptest::{prelude::*, strategy::ValueTree};
use smmu::{
    device_tlb::change::{Action, Change},
    records::{
        command::{Command, Tag},
        ste::DeviceTlb,
    },
    unit::ats_streams::{AtsStream, AtsStreams},
};

fn asid(asid: u16) -> Tag {
    Tag::Stage1 { vmid: 0, asid }
}

fn ats_streams(room: usize) -> AtsStreams<Vec<AtsStream>> {
    AtsStreams::new(vec![AtsStream::FREE; room])
}

#[test]
fn room_is_reserved() {
    let mut streams = ats_streams(0);
    assert_eq!(streams.reserve(), Err(2));
    assert_eq!(streams.grow(vec![AtsStream::FREE; 4]).len(), 0);
    assert_eq!((streams.reserve(), streams.reserve()), (Ok(()), Ok(())));
    assert_eq!(streams.reserve(), Err(6));
    for stream in [7, 8] {
        assert!(streams.insert(asid(1), stream) && streams.insert(asid(2), stream));
    }
    // No room was reserved for it.
    assert!(!streams.insert(asid(3), 7));
    assert_eq!(streams.devices(), 2);
    // Smaller storage is returned unused; larger storage takes over all pairs.
    assert_eq!(streams.grow(vec![AtsStream::FREE; 3]).len(), 3);
    assert_eq!(streams.grow(vec![AtsStream::FREE; 8]).len(), 4);
    assert_eq!(streams.of(asid(1)).len(), 2);
    streams.unreserve();
    assert_eq!(streams.devices(), 1);
}

#[test]
fn devices_that_do_not_answer() {
    let mut streams = ats_streams(8);
    for (tag, stream) in [(1, 5), (2, 5), (1, 6)] {
        assert!(streams.insert(asid(tag), stream));
    }
    streams.set_unresponsive(5);
    assert!(streams.is_unresponsive(asid(1), 5) && streams.is_unresponsive(asid(2), 5));
    assert!(!streams.is_unresponsive(asid(1), 6) && !streams.is_unresponsive(asid(3), 5));
    streams.remove_all(5);
    assert_eq!(streams.of(asid(1)).len(), 1);
    // A stream that is listed anew starts without its earlier state.
    assert!(streams.insert(asid(1), 5) && !streams.is_unresponsive(asid(1), 5));
    // Which invalidation a device did not answer.
    assert!(!streams.is_silent(6, 1));
    streams.set_silent(6, 3);
    assert!(streams.is_silent(6, 1) && streams.is_silent(6, 3) && !streams.is_silent(6, 4));
    assert!(!streams.is_silent(5, 1));
}

/// The list is walked by stream id, so that it may change on the way.
#[test]
fn streams_one_after_the_other() {
    let mut streams = ats_streams(8);
    for (tag, stream) in [(1, 0), (1, 5), (2, 6), (1, 7)] {
        assert!(streams.insert(asid(tag), stream));
    }
    let next = |streams: &AtsStreams<Vec<AtsStream>>, after| {
        streams.next_of(asid(1), after).map(|listed| listed.stream)
    };
    assert_eq!(next(&streams, None), Some(0));
    assert_eq!(next(&streams, Some(0)), Some(5));
    streams.remove_all(0);
    streams.remove_all(5);
    assert_eq!(next(&streams, Some(5)), Some(7));
    assert!(streams.insert(asid(1), 6));
    assert_eq!(next(&streams, Some(5)), Some(6));
    assert_eq!(next(&streams, Some(7)), None);
    assert_eq!(next(&streams, Some(u32::MAX)), None);
    assert_eq!(
        streams.next_of(asid(3), None).map(|listed| listed.stream),
        None
    );
}

proptest! {
    /// The list is a set of pairs, for any order of insertions and removals.
    #[test]
    fn ats_streams_are_a_set(
        steps in prop::collection::vec((0u8..6, 0u16..4, 0u32..4, any::<bool>()), 0..60),
    ) {
        // At most 16 pairs of tag and stream exist.
        let mut streams = ats_streams(16);
        let mut model: BTreeMap<(bool, u16, u32), bool> = BTreeMap::new();
        for (what, name, stream, stage2) in steps {
            let tag = if stage2 { Tag::Stage2 { vmid: name } } else { asid(name) };
            let key = (stage2, name, stream);
            match what {
                0..=2 => {
                    let room = model.len() < 16;
                    let had = model.contains_key(&key);
                    prop_assert_eq!(streams.insert(tag, stream), room || had);
                    if room || had {
                        model.entry(key).or_insert(false);
                    }
                }
                3 => {
                    streams.remove(tag, stream);
                    model.remove(&key);
                }
                4 => {
                    streams.remove_all(stream);
                    model.retain(|key, _| key.2 != stream);
                }
                _ => {
                    streams.set_unresponsive(stream);
                    let of_device = model.iter_mut().filter(|(key, _)| key.2 == stream);
                    of_device.for_each(|(_, silent)| *silent = true);
                }
            }
            prop_assert_eq!(streams.is_empty(), model.is_empty());
            for stage2 in [false, true] {
                for name in 0..4 {
                    let tag = if stage2 { Tag::Stage2 { vmid: name } } else { asid(name) };
                    let found: BTreeMap<_, _> = streams.of(tag).iter().map(|listed| {
                        assert_eq!(listed.tag, tag);
                        ((stage2, name, listed.stream), listed.unresponsive)
                    }).collect();
                    prop_assert_eq!(found.len(), streams.of(tag).len());
                    let expected: BTreeMap<_, _> = model.iter()
                        .filter(|((of, tag, _), _)| (*of, *tag) == (stage2, name))
                        .map(|(key, silent)| (*key, *silent)).collect();
                    prop_assert_eq!(found, expected);
                }
            }
        }
    }
}

/// EATS is bits 93:92 of an entry; all other bits stay (5.2).
#[test]
fn forbidding_changes_eats_only() {
    let words = [u64::MAX; 8];
    let mut expected = words;
    expected[1] = !(3 << 28);
    assert_eq!(DeviceTlb::forbid(&words), expected);
}

const PAGES: u64 = 4;
const STREAM: u32 = 9;

/// A domain of the model: which of its pages map to its own memory.
#[derive(Clone, Default)]
struct Domain {
    mapped: BTreeSet<u64>,
}

/// What a device can reach: page `page` of domain `domain`.
type Place = (u16, u64);

/// What an unmap does after it has changed the page table. Attaches go on in between: nobody holds
/// a lock.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Step {
    /// The unit completes the invalidation of its own TLB.
    Unit,
    /// The driver looks which devices are listed.
    Look,
    /// These devices invalidate their TLBs.
    Devices,
}

/// The order of the driver.
const STEPS: [Step; 3] = [Step::Unit, Step::Look, Step::Devices];

/// An unmap that has changed the page table, and has not returned yet.
struct Unmap {
    place: Place,
    done: usize,
    asked: Vec<u32>,
}

/// A device with a TLB, the unit, and memory, by IHI 0070 3.9 and PCIe 10.
struct Machine {
    domains: BTreeMap<u16, Domain>,
    /// The device's entry: the domain, and whether it accepts translated requests.
    entry: (Option<u16>, bool),
    /// What the unit has cached, by domain.
    unit: BTreeSet<Place>,
    /// Whether the device's TLB is enabled, and its contents: the output of each page.
    is_on: bool,
    device: BTreeMap<u64, Place>,
    streams: AtsStreams<Vec<AtsStream>>,
    /// An unmap on the way.
    unmap: Option<Unmap>,
    /// The number of requests that the entry refused although ATS was enabled in the device.
    refused: usize,
}

impl Machine {
    /// The device requests a translation and caches it, if its TLB is enabled.
    fn ask(&mut self, page: u64) {
        if !self.is_on {
            return;
        }
        let (Some(domain), true) = self.entry else {
            self.refused += 1;
            return;
        };
        if self.unit.contains(&(domain, page)) || self.domains[&domain].mapped.contains(&page) {
            self.unit.insert((domain, page));
            self.device.insert(page, (domain, page));
        }
    }

    /// What the device can reach at `page`: through its TLB, which it may use as long as its entry
    /// accepts translated requests, even after its TLB was disabled; or through the unit.
    fn reaches(&mut self, page: u64) -> Vec<Place> {
        let mut places = Vec::new();
        let (domain, allowed) = self.entry;
        if allowed {
            places.extend(self.device.get(&page));
        }
        if let Some(domain) = domain {
            let place = (domain, page);
            if self.unit.contains(&place) || self.domains[&domain].mapped.contains(&page) {
                self.unit.insert(place);
                places.push(place);
            }
        }
        places
    }

    fn invalidate_unit(&mut self, domain: u16) {
        self.unit.retain(|place| place.0 != domain);
    }

    /// Executes a CMD_ATC_INV, as the specification's table of its fields describes it (4.5.1).
    fn invalidate_device(&mut self, Command([low, high]): Command) {
        assert_eq!(low & 0xff, 0x40);
        assert_eq!((low >> 32) as u32, STREAM);
        let (size, address) = (high & 0x3f, high >> 12);
        let pages = if size >= 52 { u64::MAX } else { 1 << size };
        assert_eq!(address % pages.min(1 << 51), 0);
        self.device
            .retain(|page, _| !(address..address.saturating_add(pages)).contains(page));
    }

    /// Begins to unmap a page.
    fn unmap(&mut self, domain: u16, page: u64, steps: &[Step]) {
        self.finish(steps);
        self.domains.get_mut(&domain).unwrap().mapped.remove(&page);
        self.unmap = Some(Unmap {
            place: (domain, page),
            done: 0,
            asked: Vec::new(),
        });
    }

    /// Takes the next step of the unmap. After the last one it has returned, and no device may
    /// reach the page any more.
    fn step(&mut self, steps: &[Step]) {
        let Some(mut unmap) = self.unmap.take() else {
            return;
        };
        let (domain, page) = unmap.place;
        match steps[unmap.done] {
            Step::Unit => self.invalidate_unit(domain),
            Step::Look => {
                let listed = self.streams.of(asid(domain)).iter();
                unmap.asked = listed.map(|listed| listed.stream).collect();
            }
            Step::Devices => {
                for &stream in &unmap.asked {
                    let (first, last) = (page << 12, page << 12 | 0xfff);
                    self.invalidate_device(Command::invalidate_atc_range(stream, first, last));
                }
            }
        }
        unmap.done += 1;
        if unmap.done < steps.len() {
            self.unmap = Some(unmap);
        }
    }

    /// Takes all steps of the unmap that are left.
    fn finish(&mut self, steps: &[Step]) {
        while self.unmap.is_some() {
            self.step(steps);
        }
    }

    /// Whether the memory of a page is freed. An unmap that has not returned has freed nothing.
    fn is_freed(&self, place: Place) -> bool {
        let on_the_way = self.unmap.as_ref().map(|unmap| unmap.place);
        !self.domains[&place.0].mapped.contains(&place.1) && on_the_way != Some(place)
    }

    /// Checks that no device reaches unmapped memory, or a domain that is not in `allowed`.
    fn check(&mut self, allowed: &[Option<u16>]) {
        for page in 0..PAGES {
            for place in self.reaches(page) {
                assert!(!self.is_freed(place), "freed: {place:?}");
                assert!(allowed.contains(&Some(place.0)), "foreign: {place:?}");
            }
        }
    }
}

/// An event between two actions.
#[derive(Clone, Debug)]
enum Event {
    Ask(u64),
    /// Another device has the unit cache a page of a domain.
    Cache(u16, u64),
    Unmap(u16, u64),
    Step,
    Map(u16, u64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        3 => (0..PAGES).prop_map(Event::Ask),
        1 => (1u16..4, 0..PAGES).prop_map(|(domain, page)| Event::Cache(domain, page)),
        1 => (1u16..4, 0..PAGES).prop_map(|(domain, page)| Event::Unmap(domain, page)),
        2 => Just(Event::Step),
        1 => (1u16..4, 0..PAGES).prop_map(|(domain, page)| Event::Map(domain, page)),
    ];
    prop::collection::vec(event, 0..6)
}

/// An attach: the domain if there is one, whether the TLB is enabled, and what happens after each
/// action.
type Attach = (Option<u16>, bool, Vec<Vec<Event>>);

/// Attaches: to a domain with the TLB enabled or disabled, or to no domain.
fn attaches() -> impl Strategy<Value = Vec<Attach>> {
    let target = prop_oneof![1 => Just(None), 4 => (1u16..4).prop_map(Some)];
    let between = prop::collection::vec(events(), Action::ORDER.len() + 1);
    prop::collection::vec((target, prop::bool::weighted(0.8), between), 1..8)
}

/// Performs attaches with the actions in `order`, with events in between, and with the steps of an
/// unmap in the order of `steps`. Panics if a device reaches memory that it must not reach.
fn attach_all(order: &[Action], steps: &[Step], attaches: &[Attach]) -> usize {
    let domain = Domain {
        mapped: (0..PAGES).collect(),
    };
    let mut machine = Machine {
        domains: (1..4).map(|name| (name, domain.clone())).collect(),
        entry: (None, false),
        unit: BTreeSet::new(),
        is_on: false,
        device: BTreeMap::new(),
        streams: ats_streams(2),
        unmap: None,
        refused: 0,
    };
    let mut under = None;
    let mut current = None;

    for (target, wants_tlb, between) in attaches {
        let after = target.filter(|_| *wants_tlb).map(asid);
        let change = Change {
            before: under,
            after,
        };
        let allowed = [current, *target];
        for (action, events) in order.iter().zip(between) {
            if change.takes(*action) {
                match action {
                    Action::List => assert!(machine.streams.insert(after.unwrap(), STREAM)),
                    Action::DisableAts => machine.is_on = false,
                    Action::WriteSte => machine.entry = (*target, after.is_some()),
                    Action::InvalidateUnit => {
                        if let Some(current) = current.filter(|old| Some(*old) != *target) {
                            machine.invalidate_unit(current);
                        }
                    }
                    Action::InvalidateDevice => {
                        machine.invalidate_device(Command::invalidate_whole_atc(STREAM));
                    }
                    Action::Unlist => machine.streams.remove(under.unwrap(), STREAM),
                    Action::EnableAts => machine.is_on = true,
                }
            }
            for event in events {
                match *event {
                    Event::Ask(page) => machine.ask(page),
                    Event::Cache(domain, page) => {
                        if machine.domains[&domain].mapped.contains(&page) {
                            machine.unit.insert((domain, page));
                        }
                    }
                    Event::Unmap(domain, page) => machine.unmap(domain, page, steps),
                    Event::Step => machine.step(steps),
                    Event::Map(domain, page) => {
                        // Who maps the page again has waited for the unmap.
                        machine.finish(steps);
                        machine
                            .domains
                            .get_mut(&domain)
                            .unwrap()
                            .mapped
                            .insert(page);
                    }
                }
                machine.check(&allowed);
            }
            machine.check(&allowed);
        }
        (under, current) = (after, *target);
        // The attach has completed: the old domain cannot be reached.
        machine.check(&[current]);
        assert_eq!(machine.is_on, under.is_some());
        let listed: usize = (1..4)
            .map(|name| machine.streams.of(asid(name)).len())
            .sum();
        assert_eq!(listed, usize::from(under.is_some()));
    }
    machine.refused
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Laws 7 and 8 hold at every moment of every attach, and a device with an enabled TLB is never
    /// refused.
    #[test]
    fn attaches_in_order(attaches in attaches()) {
        prop_assert_eq!(attach_all(&Action::ORDER, &STEPS, &attaches), 0);
    }
}

/// Shows that the model detects wrong orders: each pair of dependent actions, swapped.
#[test]
fn the_model_detects_wrong_orders() {
    use std::panic::{catch_unwind, set_hook, take_hook, AssertUnwindSafe};

    let hook = take_hook();
    set_hook(Box::new(|_| {}));
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let runs: Vec<_> = (0..3000)
        .map(|_| attaches().new_tree(&mut runner).unwrap().current())
        .collect();
    let is_found = |first: Action, second: Action| {
        let mut order = Action::ORDER;
        let at = |action| {
            Action::ORDER
                .iter()
                .position(|other| *other == action)
                .unwrap()
        };
        order.swap(at(first), at(second));
        runs.iter().any(|run| {
            catch_unwind(AssertUnwindSafe(|| attach_all(&order, &STEPS, run)))
                .map_or(true, |n| n > 0)
        })
    };
    let found = [
        is_found(Action::List, Action::Unlist),
        is_found(Action::DisableAts, Action::WriteSte),
        is_found(Action::WriteSte, Action::InvalidateDevice),
        is_found(Action::WriteSte, Action::EnableAts),
        is_found(Action::InvalidateDevice, Action::Unlist),
    ];
    set_hook(hook);
    assert_eq!(found, [true; 5]);
}

/// Law 8: an unmap looks which devices are listed after the unit has invalidated its own TLB. If it
/// looked before, a device that comes from another domain in between could get the old translation
/// from the unit, and nobody would tell it.
#[test]
fn law_8_the_list_is_read_after_the_unit_is_invalidated() {
    use std::panic::catch_unwind;

    const LOOK_FIRST: [Step; 3] = [Step::Look, Step::Unit, Step::Devices];
    let quiet = || vec![Vec::new(); Action::ORDER.len() + 1];
    // Another device uses the page. Nobody with a TLB is listed yet for the domain.
    let mut first = quiet();
    first[6].extend([Event::Cache(2, 1), Event::Unmap(2, 1), Event::Step]);
    // The entry leads to the other domain.
    let mut second = quiet();
    second[2].extend([Event::Ask(1), Event::Step, Event::Step]);
    let attaches = [(Some(1), true, first), (Some(2), true, second)];

    assert_eq!(attach_all(&Action::ORDER, &STEPS, &attaches), 0);
    let is_wrong = catch_unwind(|| attach_all(&Action::ORDER, &LOOK_FIRST, &attaches)).is_err();
    assert!(is_wrong);
}
