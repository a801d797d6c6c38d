// SPDX-License-Identifier: GPL-2.0

//! DMAR tables that the parser refuses, and tables from which it leaves something out.

use super::*;
use crate::{
    intel::scope::{regions_for, unit_for, Device, Location},
    requester::RequesterId,
};

/// What is odd in a table of `structures` that is accepted.
fn odd(structures: &[u8]) -> Vec<(Kind, usize, Oddity)> {
    let bytes = table(structures);
    let checked = Checked::new(&bytes).expect("the table must be accepted");
    let odd = checked.odd.iter();
    odd.map(|(kind, offset, scope, oddity)| {
        assert_eq!(*scope, None);
        (*kind, *offset, *oddity)
    })
    .collect()
}

/// The messages about a table of `structures`.
fn words(structures: &[u8]) -> Vec<String> {
    Checked::new(&table(structures)).unwrap().words
}

const BASE: u64 = 0xfed9_0000;

fn short(claims: usize, needs: usize) -> BadLength {
    BadLength::TooShort { claims, needs }
}

fn past(claims: usize, left: usize) -> BadLength {
    BadLength::PastTable { claims, left }
}

#[test]
fn header_refusals() {
    let problem = |bytes: &[u8]| Table::count(bytes).unwrap_err().problem;
    let short = |claims| Problem::Header(HeaderRefusal::TooShort { claims });
    let truncated = |claims, has| Problem::Header(HeaderRefusal::Truncated { claims, has });

    assert_eq!(problem(&[]), short(0));
    assert_eq!(problem(&QEMU[..47]), short(47));
    assert_eq!(problem(&QEMU[..100]), truncated(0x98, 100));

    let mut bytes = QEMU.to_vec();
    bytes[0] = b'X';
    let expected = b"DMAR";
    assert_eq!(
        problem(&bytes),
        Problem::Header(HeaderRefusal::Signature { expected })
    );
    assert_eq!(
        Table::count(&bytes).unwrap_err().to_string(),
        "header at offset 0x0: the signature is not \"DMAR\""
    );

    let mut bytes = QEMU.to_vec();
    bytes[4..8].copy_from_slice(&47u32.to_le_bytes());
    assert_eq!(problem(&bytes), short(47));
    bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(problem(&bytes), truncated(u32::MAX, 0x98));
}

/// As Linux, the parser reports it and uses the table.
#[test]
fn a_wrong_sum() {
    let mut bytes = QEMU.to_vec();
    bytes[20] = bytes[20].wrapping_add(3);
    let checked = Checked::new(&bytes).unwrap();
    assert_eq!(
        checked.odd,
        [(Kind::Header, 0, None, Oddity::Checksum { sum: 3 })]
    );
    assert_eq!(checked.table().units().count(), 1);
    assert_eq!(
        checked.words,
        [
            "header at offset 0x0: the bytes sum up to 0x03 instead of 0; what the table says may \
             be wrong"
        ]
    );
}

#[test]
fn address_widths() {
    let with = |last: u8| {
        let mut bytes = QEMU.to_vec();
        bytes[36] = last;
        fix_sum(&mut bytes);
        let checked = Checked::new(&bytes).unwrap();
        (checked.table().host_address_width(), checked.odd)
    };
    assert_eq!(with(63), (64, vec![]));
    assert_eq!(with(11), (12, vec![]));
    for (last, bits) in [(64, 65), (255, 256), (10, 11), (0, 1)] {
        let odd = (Kind::Header, 0, None, Oddity::AddressWidth { bits });
        assert_eq!(with(last), (64, vec![odd]));
    }
}

#[test]
fn flags() {
    let with = |flags: u8| {
        let mut bytes = QEMU.to_vec();
        bytes[37] = flags;
        fix_sum(&mut bytes);
        let checked = Checked::new(&bytes).unwrap();
        let table = checked.table();
        (table.dma_protection_opt_in(), table.remapping_opt_out())
    };
    assert_eq!(with(3), (false, false));
    assert_eq!(with(4), (true, false));
    assert_eq!(with(8), (false, true));
    assert_eq!(with(0xf7), (true, false));
}

/// If the parser cannot read a unit's structure, the devices behind the unit are unknown.
#[test]
fn units_that_cannot_be_read() {
    let at = |length| (Kind::Drhd, 0x30, Problem::Length(length));

    assert_eq!(
        refusal(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]),
        at(short(0, 16))
    );
    assert_eq!(
        refusal(&[0, 0, 15, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]),
        at(short(15, 16))
    );
    assert_eq!(refusal(&drhd(1, 0, 0, BASE, &[])[..15]), at(past(16, 15)));
    assert_eq!(refusal(&[0, 0, 16]), at(past(4, 3)));
    // After other structures.
    let mut bytes = rmrr(0x1000, 0x1fff);
    bytes.extend_from_slice(&drhd(0, 0, 0, BASE, &[])[..10]);
    assert_eq!(
        refusal(&bytes),
        (Kind::Drhd, 0x48, Problem::Length(past(16, 10)))
    );

    let bytes = table(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(
        Table::count(&bytes).unwrap_err().to_string(),
        "DRHD at offset 0x30: length 0 would never end"
    );
}

#[test]
fn zeros_at_the_end() {
    for zeros in [1, 2, 3, 4, 16, 17] {
        let mut bytes = drhd(1, 0, 0, BASE, &[]);
        bytes.resize(16 + zeros, 0);
        let padding = Oddity::Padding { bytes: zeros };
        assert_eq!(odd(&bytes), [(Kind::Header, 0x40, padding)]);
        let bytes = table(&bytes);
        let checked = Checked::new(&bytes).unwrap();
        assert_eq!(checked.table().structures().count(), 1);
        assert_eq!(checked.table().units().count(), 1);
    }
}

/// The parser leaves out the structures that it cannot find. Units come first, so it knows them
/// all.
#[test]
fn structures_whose_end_cannot_be_found() {
    let after = |rest: &[u8]| {
        let bytes = [&drhd(1, 0, 0, BASE, &[]), rest].concat();
        assert_eq!(
            Checked::new(&table(&bytes))
                .unwrap()
                .table()
                .units()
                .count(),
            1
        );
        odd(&bytes)
    };
    let at = |kind, problem| [(kind, 0x40, Oddity::Unreadable(problem))];

    assert_eq!(
        after(&[0x63, 0, 0, 0]),
        at(Kind::Unknown(0x63), short(0, 4))
    );
    assert_eq!(after(&[1, 0, 3, 0, 1]), at(Kind::Rmrr, short(3, 24)));
    assert_eq!(after(&[2, 0, 9, 0, 1, 0, 0, 0]), at(Kind::Atsr, past(9, 8)));
    assert_eq!(after(&[1, 0, 24]), at(Kind::Rmrr, past(4, 3)));
    assert_eq!(after(&[7]), at(Kind::Unknown(7), past(4, 1)));
    // The parser does not look at the structures after it.
    let mut bytes = vec![1, 0, 0, 0];
    bytes.extend_from_slice(&rmrr(0x1000, 0x1fff));
    assert_eq!(after(&bytes), at(Kind::Rmrr, short(0, 24)));
}

#[test]
fn structures_that_are_too_short() {
    let mut bytes = drhd(1, 0, 0, BASE, &[]);
    bytes.extend_from_slice(&rmrr(0x1000, 0x1fff)[..23]);
    bytes[16 + 2] = 23;
    bytes.extend_from_slice(&rmrr(0x2000, 0x2fff));
    assert_eq!(
        odd(&bytes),
        [(Kind::Rmrr, 0x40, Oddity::LeftOut(short(23, 24)))]
    );
    let bytes = table(&bytes);
    let checked = Checked::new(&bytes).unwrap();
    let regions = checked.table().reserved_regions();
    assert!(regions.map(|region| region.base()).eq([0x2000]));
    assert_eq!(
        checked.words,
        ["RMRR at offset 0x40: claims 23 bytes, but has 24 at least; it is left out"]
    );
}

/// In each case the first scope is bad, and a good scope follows.
#[test]
fn scopes_that_name_no_device() {
    let with = |scope: &[u8], paths: &[&str]| {
        let good = [1, 8, 0, 0, 0, 0, 3, 0];
        let bytes = table(&drhd(0, 0, 0, BASE, &[scope, &good].concat()));
        let checked = Checked::new(&bytes).unwrap();
        let unit = checked.table().units().next().unwrap();
        let found: Vec<_> = unit.scopes().map(|scope| scope.to_string()).collect();
        assert_eq!(found, [paths, &["00:03.0"]].concat());
        let [(Kind::Drhd, 0x30, Some(0x40), oddity)] = checked.odd[..] else {
            panic!("{:?}", checked.odd);
        };
        oddity
    };

    assert_eq!(with(&[1, 6, 0, 0, 0, 0], &["00"]), Oddity::ScopePathMissing);
    assert_eq!(
        with(&[1, 7, 0, 0, 0, 0, 9], &["00"]),
        Oddity::ScopePathMissing
    );
    assert_eq!(
        with(&[1, 9, 0, 0, 0, 0, 2, 0, 0], &["00:02.0"]),
        Oddity::ScopePathOdd { claims: 9 }
    );
    assert_eq!(
        with(&[1, 8, 0, 0, 0, 0, 32, 0], &["00:20.0"]),
        Oddity::ScopePath {
            device: 32,
            function: 0
        }
    );
    assert_eq!(
        with(&[2, 10, 0, 0, 0, 0, 1, 0, 2, 8], &["00:01.0/02.8"]),
        Oddity::ScopePath {
            device: 2,
            function: 8
        }
    );
    assert_eq!(
        with(&[9, 7, 0, 0, 0, 0, 0xff], &["an unknown device"]),
        Oddity::ScopeUnknown { value: 9 }
    );
}

/// In each case a good scope comes before one that the parser cannot read.
#[test]
fn scopes_whose_end_cannot_be_found() {
    let with = |rest: &[u8]| {
        let good = [1, 8, 0, 0, 0, 0, 3, 0];
        let bytes = table(
            &[
                drhd(0, 0, 0, BASE, &[&good, rest].concat()),
                rmrr(0x1000, 0x1fff),
            ]
            .concat(),
        );
        let checked = Checked::new(&bytes).unwrap();
        assert_eq!(checked.table().structures().count(), 2);
        let unit = checked.table().units().next().unwrap();
        assert_eq!(unit.scopes().count(), 1);
        let [(Kind::Drhd, 0x30, Some(0x48), oddity)] = checked.odd[..] else {
            panic!("{:?}", checked.odd);
        };
        oddity
    };
    let past = |claims, left| Oddity::ScopePastStructure { claims, left };

    for bytes in [1, 2, 6, 8] {
        assert_eq!(with(&vec![0; bytes]), Oddity::ScopePadding { bytes });
    }
    assert_eq!(
        with(&[1, 0, 0, 0, 0, 0, 2, 0]),
        Oddity::ScopeTooShort { claims: 0 }
    );
    assert_eq!(
        with(&[1, 5, 0, 0, 0, 0, 2, 0]),
        Oddity::ScopeTooShort { claims: 5 }
    );
    assert_eq!(with(&[1, 8, 0, 0, 0]), past(6, 5));
    assert_eq!(with(&[1]), past(6, 1));
    // The scope reaches into the next structure.
    assert_eq!(with(&[1, 10, 0, 0, 0, 0, 2, 0]), past(10, 8));
}

#[test]
fn units_that_are_not_used() {
    let with = |size, base| {
        let bytes = [
            drhd(0, size, 0, base, &[1, 8, 0, 0, 0, 0, 2, 0]),
            drhd(1, 0, 0, 0x8000_0000, &[]),
        ]
        .concat();
        let parsed = table(&bytes);
        let checked = Checked::new(&parsed).unwrap();
        let units = checked.table().units().map(|unit| unit.base());
        assert!(units.eq([0x8000_0000]));
        assert_eq!(checked.table().drhds().count(), 2);
        odd(&bytes)
    };
    let at = |oddity| [(Kind::Drhd, 0x30, oddity)];

    assert_eq!(with(0, 0), at(Oddity::BaseImpossible { base: 0 }));
    let base = u64::MAX;
    assert_eq!(with(0, base), at(Oddity::BaseImpossible { base }));
    let base = BASE + 0x800;
    assert_eq!(with(0, base), at(Oddity::BaseMisaligned { base }));
    let base = u64::MAX - 0xfff;
    assert_eq!(with(1, base), at(Oddity::BaseWraps { base }));
    assert_eq!(
        words(&drhd(1, 0, 3, 0, &[])),
        [
            "DRHD at offset 0x30: the register base 0x0 cannot be true, so the unit is not used \
             and DMA of its devices is not translated (all devices of segment 0x0003 that no \
             other unit lists)"
        ]
    );
    assert_eq!(
        words(&drhd(0, 0, 0, 0, &[1, 8, 0, 0, 0, 0, 2, 0])),
        [
            "DRHD at offset 0x30: the register base 0x0 cannot be true, so the unit is not used \
             and DMA of its devices is not translated (00:02.0)"
        ]
    );
}

#[test]
fn registers_of_two_units() {
    let two = |a: Vec<u8>, b: Vec<u8>| {
        let bytes = [a, b].concat();
        let parsed = table(&bytes);
        let checked = Checked::new(&parsed).unwrap();
        let units: Vec<_> = checked.table().units().map(|unit| unit.offset()).collect();
        (odd(&bytes), units)
    };
    let second = |oddity| vec![(Kind::Drhd, 0x40, oddity)];
    let (base, other) = (BASE, 0x30);

    // One unit.
    assert_eq!(
        two(drhd(0, 0, 3, BASE, &[]), drhd(0, 0, 3, BASE, &[])),
        (second(Oddity::DescribedTwice { base, other }), vec![0x30])
    );
    assert_eq!(
        two(drhd(1, 0, 3, BASE, &[]), drhd(1, 1, 3, BASE, &[])),
        (second(Oddity::DescribedTwice { base, other }), vec![0x30])
    );
    // A unit serves one segment.
    assert_eq!(
        two(drhd(0, 0, 0, BASE, &[]), drhd(0, 0, 1, BASE, &[])),
        (second(Oddity::SegmentsDiffer { base, other }), vec![0x30])
    );
    // The window of the first unit reaches over the base of the second, in both orders of the
    // structures.
    let base = BASE + 0x1000;
    assert_eq!(
        two(drhd(0, 1, 0, BASE, &[]), drhd(0, 0, 0, base, &[])),
        (
            second(Oddity::WindowsOverlap { base, other }),
            vec![0x30, 0x40]
        )
    );
    assert_eq!(
        two(drhd(0, 0, 0, base, &[]), drhd(0, 1, 0, BASE, &[])),
        (
            vec![(
                Kind::Drhd,
                0x30,
                Oddity::WindowsOverlap { base, other: 0x40 }
            )],
            vec![0x30, 0x40]
        )
    );
    // The first window reaches over the base of a third unit, the second window does not.
    let three = [
        drhd(0, 3, 0, BASE, &[]),
        drhd(0, 0, 0, BASE + 0x8000, &[]),
        drhd(0, 0, 0, BASE + 0x7000, &[]),
    ];
    let base = BASE + 0x7000;
    assert_eq!(
        odd(&three.concat()),
        [(Kind::Drhd, 0x50, Oddity::WindowsOverlap { base, other })]
    );
}

#[test]
fn units_for_all_other_devices() {
    // One such unit in each segment.
    let bytes = [drhd(1, 0, 0, BASE, &[]), drhd(1, 0, 1, BASE + 0x1000, &[])];
    assert_eq!(odd(&bytes.concat()), []);

    let not_last = [drhd(1, 0, 3, BASE, &[]), drhd(0, 0, 3, BASE + 0x1000, &[])];
    assert_eq!(
        odd(&not_last.concat()),
        [(Kind::Drhd, 0x30, Oddity::IncludeAllNotLast { segment: 3 })]
    );
    assert_eq!(
        words(&not_last.concat()),
        [
            "DRHD at offset 0x30: the unit for all other devices of segment 0x0003 is not the last \
             one listed"
        ]
    );
    // One report for each such unit, for any number of units after it.
    let many = [
        &not_last[..],
        &[drhd(0, 0, 3, BASE + 0x2000, &[])],
        &[drhd(0, 0, 2, BASE + 0x3000, &[])],
    ];
    assert_eq!(odd(&many.concat().concat()).len(), 1);

    // Two such units in one segment: the first one counts, as in Linux.
    let (segment, other) = (7, 0x40);
    let second = [
        drhd(1, 0, 0, BASE + 0x3000, &[]),
        drhd(1, 0, 7, BASE, &[]),
        drhd(1, 0, 7, BASE + 0x1000, &[]),
    ];
    assert_eq!(
        odd(&second.concat()),
        [(
            Kind::Drhd,
            0x50,
            Oddity::SecondIncludeAll { segment, other }
        )]
    );
}

#[test]
fn named_devices_that_cannot_be_found() {
    // Device 1 has a name, device 2 has none, device 3 has one and is behind a bridge.
    let scopes = [
        [5, 8, 0, 0, 1, 0, 0x15, 0].as_slice(),
        &[5, 8, 0, 0, 2, 0, 0x15, 1],
        &[5, 10, 0, 0, 3, 0, 0x1c, 0, 0, 0],
    ];
    let andd = |number, name| [4, 0, 10, 0, 0, 0, 0, number, name, 0];
    let bytes = [
        &drhd(1, 0, 0, BASE, &scopes.concat())[..],
        &andd(1, b'A'),
        // Without a name.
        &andd(2, 0),
        &andd(3, b'A'),
        // A name without a terminator.
        &[4, 0, 10, 0, 0, 0, 0, 4, b'A', b'B'],
    ]
    .concat();
    assert_eq!(
        odd(&bytes),
        [
            (Kind::Drhd, 0x30, Oddity::NameMissing { number: 2 }),
            (Kind::Drhd, 0x30, Oddity::NamePath { number: 3 }),
            (Kind::Andd, 0x64, Oddity::Name { number: 2 }),
            (Kind::Andd, 0x78, Oddity::Name { number: 4 }),
        ]
    );
    let words = words(&bytes);
    assert_eq!(
        words[..2],
        [
            "DRHD at offset 0x30: no ANDD gives device 2 behind the unit a name; its DMA is \
             blocked",
            "DRHD at offset 0x30: the path of the named device 3 is no requester id; its DMA is \
             blocked",
        ]
    );
    assert_eq!(
        words[2],
        "ANDD at offset 0x64: the name of device 2 is empty or never ends; it is left out"
    );
    let bytes = table(&bytes);
    let checked = Checked::new(&bytes).unwrap();
    let named = checked
        .table()
        .structures()
        .filter_map(|structure| match structure {
            Structure::Andd(device) => Some(device.number()),
            _ => None,
        });
    assert!(named.eq([1, 3]));
}

#[test]
fn too_many_units() {
    let many: Vec<u8> = (0..=MAX_UNITS as u64)
        .flat_map(|n| drhd(0, 0, 0, 0x1_0000_0000 + n * 4096, &[]))
        .collect();
    assert_eq!(
        refusal(&many),
        (Kind::Drhd, 0x30 + MAX_UNITS * 16, Problem::TooManyUnits)
    );
    let bytes = table(&many[..MAX_UNITS * 16]);
    assert_eq!(
        Checked::new(&bytes).unwrap().table().units().count(),
        MAX_UNITS
    );
}

#[test]
fn regions() {
    let with = |base, limit| {
        let structures = rmrr(base, limit);
        let bytes = table(&structures);
        let checked = Checked::new(&bytes).unwrap();
        let mut regions = checked.table().reserved_regions();
        let found = regions.next().map(|region| (region.base(), region.limit()));
        let odd = odd(&structures);
        assert!(odd.iter().all(|odd| (odd.0, odd.1) == (Kind::Rmrr, 0x30)));
        (found, odd.first().map(|odd| odd.2))
    };
    // Of whole pages.
    for (base, limit) in [
        (0x8000, 0x8fff),
        (0xf_0000, 0xf_ffff),
        (u64::MAX - 0xfff, u64::MAX),
        (0, u64::MAX),
    ] {
        assert_eq!(with(base, limit), (Some((base, limit)), None));
    }
    // Regions without bytes are left out. HP Compaq 6730b has the first, an X58 board the second.
    for (base, limit) in [
        (0, 0),
        (0xbf7d_c000, 0xbf7d_bfff),
        (0x8000, 0x7fff),
        (0x8000, 0x8000),
        (0x8fff, 0x8fff),
        (u64::MAX, u64::MAX),
        (u64::MAX - 0xfff, 0xfff),
    ] {
        let empty = Oddity::RegionEmpty { base, limit };
        assert_eq!(with(base, limit), (None, Some(empty)));
    }
    // Regions that do not consist of whole pages get all pages that they touch. ASRock P55M Pro has
    // the first two.
    for ((base, limit), pages) in [
        ((0xe_4000, 0xe_8bff), (0xe_4000, 0xe_8fff)),
        ((0xcf7e_b400, 0xcf7f_ffff), (0xcf7e_b000, 0xcf7f_ffff)),
        ((0x8001, 0x8fff), (0x8000, 0x8fff)),
        ((0x8000, 0x9000), (0x8000, 0x9fff)),
        ((0x8fff, 0x9000), (0x8000, 0x9fff)),
        ((0x8000, 0x8ffe), (0x8000, 0x8fff)),
        ((1, u64::MAX - 1), (0, u64::MAX)),
    ] {
        let misaligned = Oddity::RegionMisaligned { base, limit };
        assert_eq!(with(base, limit), (Some(pages), Some(misaligned)));
    }
}

/// A message says which devices lose what.
#[test]
fn warnings_name_the_devices() {
    let with = |base, limit, scopes: &[u8]| {
        let mut bytes = rmrr(base, limit);
        bytes[2] += scopes.len() as u8;
        bytes.extend_from_slice(scopes);
        words(&bytes).remove(0)
    };
    let one = [1, 8, 0, 0, 0, 0, 0x1d, 0];
    let far = [1, 10, 0, 0, 0, 3, 0x1c, 1, 0, 0];
    let timer = [4, 8, 0, 0, 2, 0, 0x1f, 0];
    let apic = [3, 8, 0, 0, 9, 0, 0x1f, 0];
    let named = [5, 8, 0, 0, 7, 0, 0x1f, 0];
    let empty =
        "RMRR at offset 0x30: the region 0x0-0x0 ends before it starts; it is left out, no \
                 device can reach it";

    assert_eq!(with(0, 0, &[]), format!("{empty} (no device is listed)"));
    assert_eq!(with(0, 0, &one), format!("{empty} (00:1d.0)"));
    assert_eq!(
        with(0, 0, &[&far[..], &timer, &apic, &named].concat()),
        format!("{empty} (03:1c.1/00.0, timer 2, I/O APIC 9, named device 7)")
    );
    assert_eq!(
        with(0, 0, &[&one[..], &one, &one, &one, &one, &far].concat()),
        format!("{empty} (00:1d.0, 00:1d.0, 00:1d.0, 00:1d.0 and 2 more)")
    );
    assert_eq!(
        with(0x8000, 0x9000, &one),
        "RMRR at offset 0x30: the region 0x8000-0x9000 is not made of whole 4 KiB pages; all pages \
         that it touches are its own (00:1d.0)"
    );
    let bytes = drhd(0, 0, 0, BASE, &[1, 2, 0, 0, 0, 0, 2, 0]);
    assert_eq!(
        words(&bytes),
        [
            "DRHD at offset 0x30: device scope at offset 0x40: claims 2 bytes, but has 6 at least; \
             it and those that follow it are left out"
        ]
    );
}

/// The times of a parse and of a look-up are linear in the length of the table. So a table of 1 MiB
/// takes milliseconds. With quadratic times it would take minutes.
#[test]
fn long_tables() {
    const LEN: usize = 1 << 20;
    let fill = |first: &[u8], again: &[u8]| {
        let mut bytes = first.to_vec();
        while bytes.len() < LEN {
            bytes.extend_from_slice(again);
        }
        table(&bytes)
    };
    // The maximum number of units, all at the same address or far from each other; scopes for named
    // devices and names; only the shortest structures.
    let units: Vec<u8> = (0..MAX_UNITS as u64)
        .flat_map(|n| drhd(1, 0, 0, BASE + (n << 12), &[]))
        .collect();
    let same = drhd(1, 0, 0, BASE, &[]).repeat(MAX_UNITS);
    let named = drhd(1, 0, 0, BASE, &[5, 8, 0, 0, 1, 0, 0, 0].repeat(8000));
    let name = [4, 0, 10, 0, 0, 0, 0, 1, b'A', 0];
    let tables = [
        fill(&units, &rmrr(0x1000, 0x1fff)),
        fill(&same, &[9, 0, 4, 0]),
        fill(&named.repeat(8), &name),
        fill(&[], &[1, 0, 4, 0]),
    ];
    for bytes in tables {
        let started = std::time::Instant::now();
        let checked = Checked::new(&bytes).unwrap();
        for device in [
            Device::Named(b"\\_SB.B"),
            Device::Named(b"A"),
            Device::Function(Location {
                segment: 0,
                function: RequesterId::new(8),
                upstream: &[],
            }),
        ] {
            unit_for(checked.table(), device);
            regions_for(checked.table(), device).count();
        }
        assert!(started.elapsed() < std::time::Duration::from_secs(5));
    }
}
