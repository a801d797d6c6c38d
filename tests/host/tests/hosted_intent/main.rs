// SPDX-License-Identifier: GPL-2.0

//! What the hosted frontend makes of C's calls (`frontend/hosted/intent.rs`,
//! `frontend/provider/stage.rs`), for every sequence of events with two devices in one group.
//!
//! The worlds that two devices can be in are finite, so all of them are visited, and from each one
//! every event is tried, with every allocation of it failing: that one alone, and that one and all
//! that follow. So the length of a sequence has no limit. But a sequence ends where it breaks a
//! rule, unless only the record is wrong ([`Broken::is_final`]).

mod c;
mod core;
mod rules;
mod today;
mod world;

use std::{
    collections::{btree_map::Entry, BTreeMap, BTreeSet, HashSet, VecDeque},
    fmt::Write,
};

use c::{Answer, Driver};
use core::Domain;
use rules::Broken;
use today::TODAY;
use world::{Config, Direct, Failing, World, DEVICES};

/// What can happen.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Happens {
    Register,
    /// A driver comes to a device between our visit and C's.
    RegisterLate(usize, bool),
    Unregister,
    /// A device is added when C has released all others, and has not yet forgotten the unit.
    UnregisterLate(usize),
    Rescan,
    AddBegins(usize),
    AddEnds(usize),
    Remove(usize),
    BindBegins(usize),
    BindEnds(usize),
    BindManaging(usize),
    Removes(usize),
    UnbindBegins(usize),
    UnbindEnds(usize),
    /// Somebody reads who holds the group.
    Read,
    Claim,
    Release,
    Attach(u8),
    Replace(u8),
    Detach,
    StoreType(Domain),
    ResetPrepare(usize),
    ResetDone(usize),
}

use Happens::*;

impl Happens {
    /// All that C, its callers and the driver core permit in a world.
    fn all(world: &World) -> Vec<Self> {
        let c = &world.c;
        let mut all = Vec::new();
        // Between the two halves of a bind, an unbind or an addition others can do anything that
        // does not need the same lock.
        let adding = (0..DEVICES).find(|&d| c.devices[d].known && !c.list.contains(&d));
        let removing = |d: usize| matches!(c.bus[d].driver, Driver::Removing { .. });
        let moving = |d: usize| {
            removing(d) || matches!(c.bus[d].driver, Driver::Binding | Driver::Unbinding { .. })
        };
        let any_moving = (0..DEVICES).any(moving);
        let quiet = adding.is_none() && !any_moving;
        let in_reset = |d: usize| c.devices[d].blocked;
        let own = matches!(c.domain, Some(Domain::Own(_)));
        if !c.registered && !any_moving {
            all.push(Register);
            for d in (0..DEVICES).filter(|&d| c.bus[d].present && c.bus[d].driver == Driver::None) {
                all.extend([RegisterLate(d, true), RegisterLate(d, false)]);
            }
        }
        // Before, drivers are unbound, and those with an owner wait for it to leave.
        if c.registered && !any_moving && !c.owner && !own {
            all.push(Unregister);
            let absent = (0..DEVICES).filter(|&d| !c.bus[d].present && adding.is_none());
            all.extend(absent.map(UnregisterLate));
        }
        if c.registered && adding.is_none() {
            all.push(Rescan);
        }
        for d in 0..DEVICES {
            let device = c.bus[d];
            // The device's lock is held.
            let busy = moving(d) || in_reset(d) || adding == Some(d);
            if !device.present && quiet {
                all.push(AddBegins(d));
            }
            if adding == Some(d) {
                all.push(AddEnds(d));
            }
            let removable = device.driver == Driver::None && !busy && adding.is_none();
            if device.present && removable {
                all.push(Remove(d));
            }
            if device.present && device.driver == Driver::None && !busy && !any_moving {
                all.extend([BindBegins(d), BindManaging(d)]);
            }
            match device.driver {
                Driver::Binding => all.push(BindEnds(d)),
                Driver::Unbinding { .. } => all.push(UnbindEnds(d)),
                Driver::Bound { .. } if !busy && !any_moving => {
                    all.extend([Removes(d), UnbindBegins(d)]);
                }
                Driver::Removing { .. } if !in_reset(d) => all.push(UnbindBegins(d)),
                _ => {}
            }
            if c.list.contains(&d) && world.config.ats[d] {
                match in_reset(d) {
                    true => all.push(ResetDone(d)),
                    false if !moving(d) || removing(d) => all.push(ResetPrepare(d)),
                    false => {}
                }
            }
        }
        if c.list.is_empty() || c.default.is_none() {
            return all;
        }
        all.push(Read);
        if c.owner_cnt < 2 {
            all.push(Claim);
        }
        if c.owner {
            all.push(Release);
        }
        all.push(Attach(0));
        if own {
            all.extend([Detach, Replace(0), Replace(1)]);
        }
        all.extend([StoreType(Domain::Paging), StoreType(Domain::Identity)]);
        all
    }

    fn happen(self, world: &mut World) -> Answer {
        match self {
            Register => world.register(None),
            RegisterLate(d, dma_api) => world.register(Some((d, dma_api))),
            Unregister => world.unregister(None),
            UnregisterLate(d) => world.unregister(Some(d)),
            Rescan => world.rescan(),
            AddBegins(d) => world.add_begins(d),
            AddEnds(d) => world.add_ends(d),
            Remove(d) => world.remove(d),
            BindBegins(d) => world.bind_begins(d),
            BindEnds(d) => world.bind_ends(d),
            BindManaging(d) => world.bind_managing(d),
            Removes(d) => world.removes(d),
            UnbindBegins(d) => world.unbind_begins(d),
            UnbindEnds(d) => world.unbind_ends(d),
            Read => {
                // Whoever reads is not told of a failure.
                let _ = world.settle();
                Answer::Done
            }
            Claim => world.claim(),
            Release => world.iommu_device_release_dma_owner(),
            Attach(own) => world.iommu_attach_group(own),
            Replace(own) => world.iommu_replace_group_handle(own),
            Detach => world.iommu_detach_group(),
            StoreType(domain) => world.iommu_group_store_type(domain),
            ResetPrepare(d) => world.pci_dev_reset_iommu_prepare(d),
            ResetDone(d) => world.pci_dev_reset_iommu_done(d),
        }
    }

    fn name(self) -> String {
        let letter = |d: usize| ["A", "B"][d];
        match self {
            RegisterLate(d, true) => format!("Register, driver comes to {}", letter(d)),
            RegisterLate(d, false) => format!("Register, managing driver comes to {}", letter(d)),
            UnregisterLate(d) => format!("Unregister, {} is added", letter(d)),
            AddBegins(d) => format!("AddBegins({})", letter(d)),
            AddEnds(d) => format!("AddEnds({})", letter(d)),
            Remove(d) => format!("Remove({})", letter(d)),
            BindBegins(d) => format!("BindBegins({})", letter(d)),
            BindEnds(d) => format!("BindEnds({})", letter(d)),
            BindManaging(d) => format!("BindManaging({})", letter(d)),
            Removes(d) => format!("Removes({})", letter(d)),
            UnbindBegins(d) => format!("UnbindBegins({})", letter(d)),
            UnbindEnds(d) => format!("UnbindEnds({})", letter(d)),
            ResetPrepare(d) => format!("ResetPrepare({})", letter(d)),
            ResetDone(d) => format!("ResetDone({})", letter(d)),
            other => format!("{other:?}"),
        }
    }

    fn kind(self) -> String {
        let name = self.name();
        name.split(['(', ',']).next().unwrap().to_string()
    }
}

/// Lets one thing happen, and looks whether everything holds.
fn try_it(before: &World, happens: Happens, failing: Failing) -> World {
    let mut world = before.clone();
    world.begin(failing);
    let answer = happens.happen(&mut world);
    world.look();
    let was_broken = before.settled();
    let is_broken = world.settled();
    let news = is_broken.difference(&was_broken).copied();
    world.watch.broken.extend(news);
    // The registration of another unit that fails leaves C's own lists broken.
    world.watch.ends = happens == Rescan && answer != Answer::Done;
    if let Answer::Failed(_) = answer {
        let undone = match happens {
            // What C or the system says of the device has changed all the same.
            AddBegins(_) | AddEnds(_) | RegisterLate(..) | Rescan => true,
            _ => before.key() == world.key(),
        };
        let same = |d: usize| before.reach(d) == world.reach(d);
        if !undone && (before.known != world.known || !(0..DEVICES).all(same)) {
            world.breaks(Broken::NotUndone);
        }
    }
    if !world.has_failed() && matches!(answer, Answer::Failed(_)) && !is_meant(before, happens) {
        world.breaks(Broken::Refused);
    }
    if !world.has_failed() && matches!(happens, Register | RegisterLate(..)) {
        match answer {
            Answer::Done => {}
            Answer::Refused => world.watch.broken = [Broken::UnitRefused].into(),
            Answer::Failed(_) => world.watch.broken = [Broken::HoldRefused].into(),
        }
    }
    world
}

/// Whether we are right to refuse what C does not.
fn is_meant(before: &World, happens: Happens) -> bool {
    // Nobody else may have a group that a held driver uses (law 5).
    let in_use = (0..DEVICES).any(|d| before.is_held_by_user(d));
    // Nobody may have a device that firmware needs at all times.
    let pinned = (0..DEVICES).any(|d| before.pinned(d) && before.c.bus[d].present);
    in_use || pinned && !matches!(happens, ResetPrepare(_) | ResetDone(_))
}

/// How to get to something that breaks a rule.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Way {
    failures: usize,
    length: usize,
    /// How much the devices have that most have not.
    properties: usize,
    /// What the devices are, and what happens.
    text: String,
}

/// The shortest way to break each rule with each event.
type Found = BTreeMap<(Broken, String), Way>;

fn describe(config: &Config) -> String {
    let mut text = String::new();
    for d in 0..DEVICES {
        let name = ["A", "B"][d];
        if config.ats[d] {
            write!(text, "{name} has ATS; ").unwrap();
        }
        match config.direct[d] {
            Direct::No => {}
            Direct::Relaxable => write!(text, "firmware uses {name} at first; ").unwrap(),
            Direct::Always => write!(text, "firmware uses {name}; ").unwrap(),
        }
        if config.untrusted[d] {
            write!(text, "{name} is untrusted; ").unwrap();
        }
    }
    if config.shared_id {
        text.push_str("one id; ");
    }
    text
}

/// One world that was reached.
struct Reached {
    before: usize,
    by: String,
    depth: usize,
}

fn way(config: &Config, trail: &[Reached], at: usize, last: &str) -> Way {
    let mut path = vec![last];
    let mut at = at;
    while at != 0 {
        path.push(&trail[at].by);
        at = trail[at].before;
    }
    path.reverse();
    Way {
        failures: path.iter().filter(|name| name.ends_with(NO_MEMORY)).count(),
        length: path.len(),
        properties: describe(config).matches(';').count(),
        text: describe(config) + &path.join(", "),
    }
}

const NO_MEMORY: &str = " without memory";

fn note(found: &mut Found, key: (Broken, String), way: Way) {
    match found.entry(key) {
        Entry::Vacant(entry) => {
            entry.insert(way);
        }
        Entry::Occupied(mut entry) => {
            if way < *entry.get() {
                entry.insert(way);
            }
        }
    }
}

/// What a walk has seen.
#[derive(Default)]
struct Seen {
    found: Found,
    worlds: usize,
    events: usize,
    /// The longest of the shortest ways to a world.
    longest: usize,
}

/// Visits every world that two devices can be in.
fn walk(config: Config) -> Seen {
    let start = World::new(config);
    let mut seen = Seen::default();
    let mut known = HashSet::from([start.key()]);
    let mut trail = vec![Reached {
        before: 0,
        by: String::new(),
        depth: 0,
    }];
    let mut queue = VecDeque::from([(start, 0)]);
    while let Some((world, at)) = queue.pop_front() {
        for happens in Happens::all(&world) {
            let plain = try_it(&world, happens, Failing::Never);
            let failures = (0..plain.tried()).flat_map(|fails| {
                let both = [Failing::Once(fails), Failing::From(fails)];
                both.map(|failing| (try_it(&world, happens, failing), NO_MEMORY))
            });
            for (next, suffix) in [(plain.clone(), "")].into_iter().chain(failures) {
                seen.events += 1;
                let name = happens.name() + suffix;
                for &broken in &next.watch.broken {
                    let way = way(&config, &trail, at, &name);
                    note(&mut seen.found, (broken, happens.kind()), way);
                }
                let ends = next.watch.ends || next.watch.broken.iter().any(Broken::is_final);
                if !ends && known.insert(next.key()) {
                    let depth = trail[at].depth + 1;
                    seen.longest = seen.longest.max(depth);
                    trail.push(Reached {
                        before: at,
                        by: name,
                        depth,
                    });
                    queue.push_back((next, trail.len() - 1));
                }
            }
        }
    }
    seen.worlds = known.len();
    seen
}

/// All that are looked at.
fn configs() -> Vec<Config> {
    let plain = Config::PLAIN;
    let mut all = Vec::new();
    for ats in [[false, false], [true, false], [false, true], [true, true]] {
        all.push(Config { ats, ..plain });
    }
    let (always, relaxable) = (Direct::Always, Direct::Relaxable);
    for direct in [
        [always, Direct::No],
        [Direct::No, always],
        [always, relaxable],
    ] {
        all.push(Config { direct, ..plain });
    }
    let direct = [Direct::Always, Direct::Relaxable];
    all.push(Config {
        direct,
        ats: [true, false],
        ..plain
    });
    all.push(Config {
        direct,
        shared_id: true,
        ..plain
    });
    let direct = [Direct::Always; DEVICES];
    all.push(Config {
        direct,
        shared_id: true,
        ..plain
    });
    all.push(Config {
        shared_id: true,
        ..plain
    });
    all.push(Config {
        untrusted: [true, false],
        ..plain
    });
    all.push(Config {
        untrusted: [false, true],
        ..plain
    });
    all
}

#[test]
fn every_sequence_of_events() {
    let walks: Vec<_> = configs()
        .into_iter()
        .map(|config| std::thread::spawn(move || (config, walk(config))))
        .collect();
    let mut all = Found::new();
    for walk in walks {
        let (config, seen) = walk.join().unwrap();
        println!(
            "{}{} worlds, {} events, the longest way is {}",
            describe(&config),
            seen.worlds,
            seen.events,
            seen.longest
        );
        for (key, way) in seen.found {
            note(&mut all, key, way);
        }
    }
    let lines = all
        .iter()
        .map(|((broken, kind), way)| (*broken, kind.as_str(), way.text.as_str()));
    let found: BTreeSet<_> = lines.collect();
    let today: BTreeSet<_> = TODAY.iter().copied().collect();
    let news: Vec<_> = found.difference(&today).collect();
    let gone: Vec<_> = today.difference(&found).collect();
    assert!(
        news.is_empty() && gone.is_empty(),
        "not in the list: {news:#?}\nin the list, and not found: {gone:#?}"
    );
}

/// C goes on as if the first attach of a group had been done. A device that was held for its
/// driver, which is gone, must not stay on identity then.
#[test]
fn law_7_a_first_attach_that_fails_leaves_nothing_on_identity() {
    let mut world = World::new(Config::PLAIN);
    for happens in [RegisterLate(0, false), UnbindBegins(0), Remove(1)] {
        world = try_it(&world, happens, Failing::Never);
    }
    let tried = try_it(&world, Rescan, Failing::Never).tried();
    let mut failed = 0;
    for at in (0..tried).flat_map(|at| [Failing::Once(at), Failing::From(at)]) {
        let after = try_it(&world, Rescan, at);
        let believes = after.c.list.contains(&0) && after.c.domain == Some(Domain::Paging);
        if believes && after.reach(0) != Domain::Paging {
            failed += 1;
            assert_eq!(after.reach(0), Domain::Blocked, "{at:?}");
        }
    }
    assert!(failed > 0);
}

/// Lets `happens` happen one after the other; what they break, each.
fn replay(config: Config, happens: &[Happens]) -> Vec<Vec<Broken>> {
    let mut world = World::new(config);
    let each = happens.iter().map(|happens| {
        world = try_it(&world, *happens, Failing::Never);
        world.watch.broken.iter().copied().collect()
    });
    each.collect()
}

#[test]
fn issue_13_a1_two_held_devices_with_one_id() {
    let both = [Direct::Always; DEVICES];
    let one = [Direct::Always, Direct::No];
    let other = [Direct::No, Direct::Always];
    for direct in [both, one, other] {
        let config = Config {
            direct,
            shared_id: true,
            ..Config::PLAIN
        };
        for before in [None, Some(BindBegins(0)), Some(BindManaging(1))] {
            let events: Vec<_> = before.into_iter().chain([Register, Unregister]).collect();
            assert!(replay(config, &events[..events.len() - 1])
                .concat()
                .is_empty());
        }
        assert!(replay(config, &[Register, Unregister]).concat().is_empty());
    }
}

#[test]
fn issue_13_a2_an_untrusted_device_beside_a_held_driver() {
    let config = Config {
        untrusted: [false, true],
        ..Config::PLAIN
    };
    let unbound = replay(config, &[Register]);
    assert!(unbound.concat().is_empty());
    // It is left out, and the driver goes on.
    let bound = replay(config, &[BindBegins(0), Register]);
    assert!(bound.concat().is_empty());
    let late = replay(config, &[RegisterLate(0, true)]);
    assert!(late.concat().is_empty());
}

#[test]
fn issue_13_a6_a_reset_that_is_ended_by_a_neighbour() {
    let config = Config {
        ats: [true, false],
        ..Config::PLAIN
    };
    let events = [
        Register,
        Claim,
        Attach(0),
        ResetPrepare(0),
        // B's user closes.
        Detach,
        Release,
        ResetDone(0),
    ];
    let broken = replay(config, &events);
    assert!(broken.concat().is_empty(), "{broken:?}");
}

#[test]
fn issue_13_a7_a_driver_that_comes_between_the_visits() {
    let first = replay(Config::PLAIN, &[RegisterLate(0, true)]);
    assert!(first.concat().is_empty());
    let second = replay(Config::PLAIN, &[RegisterLate(1, true)]);
    assert!(second.concat().is_empty());
}

#[test]
fn issue_13_a4_a_device_that_is_added_while_its_unit_leaves() {
    let added = [Register, Remove(0), UnregisterLate(0)];
    assert!(replay(Config::PLAIN, &added).concat().is_empty());
    let in_between = [Register, Remove(0), AddBegins(0), Unregister];
    assert!(replay(Config::PLAIN, &in_between).concat().is_empty());
}

#[test]
fn a_user_of_a_group_comes_and_goes() {
    for config in configs()
        .into_iter()
        .filter(|c| c.direct == [Direct::No; DEVICES])
    {
        let events = [
            Register,
            Claim,
            Attach(0),
            Replace(1),
            Detach,
            Attach(0),
            Detach,
            Release,
            BindBegins(0),
            BindEnds(0),
            Claim,
            UnbindBegins(0),
            UnbindEnds(0),
            Claim,
            Release,
            StoreType(Domain::Identity),
            Remove(0),
            AddBegins(0),
            AddEnds(0),
            Unregister,
            Register,
        ];
        let broken = replay(config, &events).concat();
        let identity_is_refused = config.untrusted != [false; DEVICES];
        assert!(broken.is_empty() || identity_is_refused, "{broken:?}");
    }
}

/// Every sequence up to a length, one by one: merging equal worlds has left nothing out.
#[test]
fn every_sequence_of_four_events() {
    const LENGTH: usize = 4;
    fn go(world: &World, path: &mut Vec<Happens>, found: &mut BTreeMap<(Broken, String), usize>) {
        if path.len() == LENGTH {
            return;
        }
        for happens in Happens::all(world) {
            let next = try_it(world, happens, Failing::Never);
            path.push(happens);
            for &broken in &next.watch.broken {
                let length = found.entry((broken, happens.kind())).or_insert(path.len());
                *length = path.len().min(*length);
            }
            if !next.watch.ends && !next.watch.broken.iter().any(Broken::is_final) {
                go(&next, path, found);
            }
            path.pop();
        }
    }
    let config = Config {
        ats: [true; DEVICES],
        ..Config::PLAIN
    };
    let mut one_by_one = BTreeMap::new();
    go(&World::new(config), &mut Vec::new(), &mut one_by_one);
    let merged: BTreeMap<_, _> = walk(config)
        .found
        .into_iter()
        .filter(|(_, way)| way.failures == 0 && way.length <= LENGTH)
        .map(|(key, way)| (key, way.length))
        .collect();
    assert_eq!(one_by_one, merged);
    assert!(!merged.is_empty());
}
