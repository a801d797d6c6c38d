// SPDX-License-Identifier: GPL-2.0

//! IVRS tables that the parser refuses, and tables from which it leaves something out.

use super::*;
use crate::amd::scope::{regions_for, unit_for};

#[test]
fn header_refusals() {
    let problem = |bytes: &[u8]| Table::count(bytes).unwrap_err().problem;
    let short = |claims| Problem::Header(HeaderRefusal::TooShort { claims });
    let truncated = |claims, has| Problem::Header(HeaderRefusal::Truncated { claims, has });

    assert_eq!(problem(&[]), short(0));
    assert_eq!(problem(&QEMU[..47]), short(47));
    assert_eq!(problem(&QEMU[..100]), truncated(0xb0, 100));

    let mut bytes = QEMU.to_vec();
    bytes[0] = b'X';
    let expected = b"IVRS";
    assert_eq!(
        problem(&bytes),
        Problem::Header(HeaderRefusal::Signature { expected })
    );
    assert_eq!(
        Table::count(&bytes).unwrap_err().to_string(),
        "header at offset 0x0: the signature is not \"IVRS\""
    );

    let mut bytes = QEMU.to_vec();
    bytes[4..8].copy_from_slice(&47u32.to_le_bytes());
    assert_eq!(problem(&bytes), short(47));
    bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(problem(&bytes), truncated(u32::MAX, 0xb0));

    let mut bytes = QEMU.to_vec();
    bytes.resize(MAX_LEN + 1, 0);
    let claims = MAX_LEN as u32 + 1;
    bytes[4..8].copy_from_slice(&claims.to_le_bytes());
    assert_eq!(problem(&bytes), Problem::TooLong { claims });

    let mut bytes = QEMU.to_vec();
    bytes[20] = bytes[20].wrapping_add(3);
    assert_eq!(problem(&bytes), Problem::Checksum { sum: 3 });
}

/// What is odd in a table of `blocks` that is accepted.
fn odd(blocks: &[u8]) -> Vec<(Kind, usize, Option<usize>, Oddity)> {
    let bytes = table(blocks);
    Checked::new(&bytes)
        .expect("the table must be accepted")
        .odd
}

fn words(blocks: &[u8]) -> Vec<String> {
    Checked::new(&table(blocks)).unwrap().words
}

/// The oddities of a unit's device entries, and the entries that are not left out.
fn of_entries(entries: &[u8]) -> (Vec<(usize, Oddity)>, Vec<DeviceEntry<'static>>) {
    let bytes = table(&one(entries)).leak();
    let checked = Box::leak(Box::new(Checked::new(bytes).unwrap()));
    let unit = checked.table().units().next().unwrap();
    let odd = checked.odd.iter().map(|(kind, offset, entry, oddity)| {
        assert_eq!((*kind, *offset), (Kind::Ivhd40, 0x30));
        (entry.unwrap(), *oddity)
    });
    (odd.collect(), unit.entries().collect())
}

fn list(first: u16, last: u16) -> DeviceEntry<'static> {
    DeviceEntry::Devices(devices(first, last))
}

fn short(claims: usize, needs: usize) -> BadLength {
    BadLength::TooShort { claims, needs }
}

fn past(claims: usize, left: usize) -> BadLength {
    BadLength::PastTable { claims, left }
}

#[test]
fn address_widths() {
    // Physical addresses of 65 bits, device addresses of 127.
    for (info, bits) in [(65 << 8, 65), (127 << 15, 127)] {
        let mut bytes = QEMU.to_vec();
        bytes[36..40].copy_from_slice(&u32::to_le_bytes(info));
        fix_sum(&mut bytes);
        let checked = Checked::new(&bytes).unwrap();
        let width = (Kind::Header, 0, None, Oddity::AddressWidth { bits });
        assert_eq!(checked.odd, [width]);
    }
}

/// If the parser cannot read a unit's block, the devices behind the unit are unknown.
#[test]
fn units_that_cannot_be_read() {
    assert_eq!(
        refusal(&[0x10, 0, 0, 0, 0, 0, 0, 0]),
        (Kind::Ivhd10, 0x30, Problem::Length(short(0, 24)))
    );
    let mut cut = ivhd(0x11, 2, 0, BASE, &[]);
    cut.truncate(39);
    cut[2] = 39;
    assert_eq!(
        refusal(&cut),
        (Kind::Ivhd11, 0x30, Problem::Length(short(39, 40)))
    );
    // Longer than the table.
    let mut long = ivhd(0x40, 2, 0, BASE, &[]);
    long[2] = 41;
    assert_eq!(
        refusal(&long),
        (Kind::Ivhd40, 0x30, Problem::Length(past(41, 40)))
    );
    // A stub after a good block.
    let mut bytes = one(&[]);
    bytes.extend_from_slice(&[0x11, 0, 40]);
    assert_eq!(
        refusal(&bytes),
        (Kind::Ivhd11, 0x58, Problem::Length(past(4, 3)))
    );
}

#[test]
fn blocks_that_cannot_be_read() {
    let after = |rest: &[u8]| {
        let bytes = [&one(&[]), rest].concat();
        let parsed = table(&bytes);
        let checked = Checked::new(&parsed).unwrap();
        assert_eq!(checked.table().units().count(), 1);
        assert_eq!(checked.table().regions().count(), 0);
        odd(&bytes)
    };
    let at = |kind, oddity| [(kind, 0x58, None, oddity)];
    let unreadable = |kind, problem| at(kind, Oddity::Unreadable(problem));

    assert_eq!(
        after(&[0x63, 0, 3, 0]),
        unreadable(Kind::Unknown(0x63), short(3, 4))
    );
    assert_eq!(after(&[0x21, 0, 32]), unreadable(Kind::IvmdOne, past(4, 3)));
    assert_eq!(
        after(&ivmd(0x20, 1, (0, 0), 0x1000, 0x1000)[..31]),
        unreadable(Kind::IvmdAll, past(32, 31))
    );
    for bytes in [1, 3, 4, 16] {
        let padding = Oddity::Padding { bytes };
        assert_eq!(after(&vec![0; bytes]), at(Kind::Header, padding));
    }
    // The parser leaves out a block that is too short, but not the blocks after it.
    let mut bytes = one(&[]);
    bytes.extend_from_slice(&ivmd(0x22, 1, (0, 1), 0x1000, 0x1000)[..31]);
    bytes[0x28 + 2] = 31;
    bytes.extend_from_slice(&ivmd(0x21, 1, (8, 0), 0x2000, 0x1000));
    assert_eq!(
        odd(&bytes),
        at(Kind::IvmdRange, Oddity::LeftOut(short(31, 32)))
    );
    let bytes = table(&bytes);
    let checked = Checked::new(&bytes).unwrap();
    let regions = checked.table().regions().map(|region| region.base());
    assert!(regions.eq([0x2000]));
}

/// In each case a good entry comes before one that the parser cannot read.
#[test]
fn entries_whose_end_cannot_be_found() {
    let with = |rest: &[u8]| {
        let (odd, left) = of_entries(&[&[2, 9, 0, 0], rest].concat());
        assert_eq!(left, [list(9, 9)]);
        odd
    };
    let at = |oddity| vec![(0x5c, oddity)];
    let past = |claims, left| at(Oddity::EntryPastBlock { claims, left });

    assert_eq!(with(&[2, 0, 0]), past(4, 3));
    assert_eq!(with(&[0x42, 0, 0, 0, 0, 0, 0]), past(8, 7));
    assert_eq!(with(&[0x80, 0, 0, 0]), past(16, 4));
    assert_eq!(with(&[0xef; 31]), past(32, 31));
    // A named device without the length of its unique id, and one whose unique id is too long.
    assert_eq!(with(&[0xf0; 21]), past(22, 21));
    let mut name = [0x41; 26];
    name[0] = 0xf0;
    name[21] = 5;
    assert_eq!(with(&name), past(27, 26));
    for value in 241..=255 {
        assert_eq!(with(&[value; 64]), at(Oddity::EntryLength { value }));
    }
    // The entries of a block of type 10h are at another offset.
    let cut = odd(&ivhd(0x10, 2, 0, BASE, &[2, 0, 0, 0, 4, 0, 0]));
    assert_eq!(cut[0].2, Some(0x4c));
}

/// As in the C driver, other entries may come before the end of a range. Of two starts without an
/// end in between, the second one counts.
#[test]
fn ranges() {
    let start = [3, 0x10, 0, 0];
    let end = [4, 0x17, 0, 0];
    let not_ended = |first| Oddity::RangeNotEnded { first };
    let not_started = |last| Oddity::RangeNotStarted { last };

    assert_eq!(of_entries(&start), (vec![(0x58, not_ended(0x10))], vec![]));
    assert_eq!(
        of_entries(&[start, [3, 0x11, 0, 0], end].concat()),
        (vec![(0x58, not_ended(0x10))], vec![list(0x11, 0x17)])
    );
    assert_eq!(
        of_entries(&[start, start, end].concat()),
        (vec![(0x58, not_ended(0x10))], vec![list(0x10, 0x17)])
    );
    assert_eq!(
        of_entries(&[start, [2, 9, 9, 0], end].concat()),
        (vec![], vec![list(0x909, 0x909), list(0x10, 0x17)])
    );
    assert_eq!(of_entries(&end), (vec![(0x58, not_started(0x17))], vec![]));
    assert_eq!(
        of_entries(&[start, end, end].concat()),
        (vec![(0x60, not_started(0x17))], vec![list(0x10, 0x17)])
    );
    let backwards = |first, last| Oddity::RangeBackwards { first, last };
    assert_eq!(
        of_entries(&[start, [4, 0x0f, 0, 0], end].concat()),
        (
            vec![(0x5c, backwards(0x10, 0x0f)), (0x60, not_started(0x17))],
            vec![]
        )
    );
    assert_eq!(
        of_entries(&[0x43, 0, 1, 0, 0, 0x20, 0, 0]),
        (vec![(0x58, not_ended(0x100))], vec![])
    );
    assert_eq!(
        of_entries(&[0x47, 0, 1, 0, 0, 0, 0, 0, 4, 0xff, 0, 0]),
        (vec![(0x60, backwards(0x100, 0xff))], vec![])
    );
}

#[test]
fn units_that_are_not_used() {
    let with = |base| {
        let bytes = [
            ivhd(
                0x10,
                2,
                0,
                base,
                &[2, 0x10, 0, 0, 0x42, 8, 0, 0, 0, 0x18, 0, 0],
            ),
            ivhd(0x10, 3, 0, 0x8000_0000, &[]),
        ]
        .concat();
        let parsed = table(&bytes);
        let checked = Checked::new(&parsed).unwrap();
        let units = checked.table().units().map(|unit| unit.device());
        assert!(units.eq([3]));
        let described = checked.table().described();
        assert!(described.map(|unit| unit.is_used).eq([false, true]));
        odd(&bytes)
    };
    let at = |oddity| [(Kind::Ivhd10, 0x30, None, oddity)];

    assert_eq!(with(0), at(Oddity::BaseImpossible { base: 0 }));
    let base = u64::MAX;
    assert_eq!(with(base), at(Oddity::BaseImpossible { base }));
    let base = BASE + 0x1000;
    assert_eq!(with(base), at(Oddity::BaseMisaligned { base }));
    assert_eq!(
        words(&ivhd(0x10, 2, 3, 0, &[2, 0x10, 0, 0, 0x42, 8, 0, 0, 0, 0x18, 0, 0])),
        [
            "IVHD of type 10h at offset 0x30: the register base 0x0 cannot be true, so the unit is \
             not used and DMA of its devices is not translated (devices 0003:00:01.0 to 00:03.0)"
        ]
    );
    // The highest window of the address space.
    let bytes = table(&ivhd(0x10, 2, 0, u64::MAX - 0x3fff, &[]));
    let checked = Checked::new(&bytes).unwrap();
    assert_eq!((checked.table().units().count(), checked.odd.len()), (1, 0));
}

#[test]
fn units_that_are_described_twice() {
    let two = |a: Vec<u8>, b: Vec<u8>| {
        let bytes = [a, b].concat();
        let parsed = table(&bytes);
        let checked = Checked::new(&parsed).unwrap();
        let units: Vec<_> = checked.table().units().map(|unit| unit.offset()).collect();
        (odd(&bytes), units)
    };
    let (base, other) = (BASE, 0x30);
    let overlap = Oddity::UnitsOverlap { base, other };
    assert_eq!(
        two(ivhd(0x11, 2, 0, BASE, &[]), ivhd(0x11, 3, 0, BASE, &[])),
        (vec![(Kind::Ivhd11, 0x58, None, overlap)], vec![0x30])
    );
    let second = Oddity::SecondBlock {
        device: 2,
        segment: 7,
        other,
    };
    assert_eq!(
        two(ivhd(0x11, 2, 7, BASE, &[]), ivhd(0x11, 2, 7, BASE, &[])),
        (vec![(Kind::Ivhd11, 0x58, None, second)], vec![0x30])
    );
    let differ = Oddity::BasesDiffer { other: 0x58 };
    assert_eq!(
        two(
            ivhd(0x11, 2, 7, BASE, &[]),
            ivhd(0x11, 2, 7, BASE + 0x4000, &[])
        ),
        (
            vec![
                (Kind::Ivhd11, 0x58, None, second),
                (Kind::Ivhd11, 0x30, None, differ)
            ],
            vec![0x30]
        )
    );
    // Blocks of different kinds with different register bases.
    let differ = Oddity::BasesDiffer { other: 0x30 };
    assert_eq!(
        two(
            ivhd(0x10, 2, 0, BASE, &[]),
            ivhd(0x11, 2, 0, BASE + 0x4000, &[])
        ),
        (vec![(Kind::Ivhd11, 0x48, None, differ)], vec![0x48])
    );
    // Errors in a block that does not count are not reported.
    assert_eq!(
        two(
            ivhd(0x10, 2, 0, BASE, &[3, 0, 0, 0]),
            ivhd(0x11, 2, 0, BASE, &[])
        ),
        (vec![], vec![0x4c])
    );
}

#[test]
fn regions() {
    let with = |kind, devices, start, length| {
        let blocks = ivmd(kind, 1, devices, start, length);
        let bytes = table(&blocks);
        let checked = Checked::new(&bytes).unwrap();
        let mut regions = checked.table().regions();
        let found = regions.next().map(|region| (region.base(), region.limit()));
        let odd = odd(&blocks);
        assert!(odd.iter().all(|odd| (odd.1, odd.2) == (0x30, None)));
        (found, odd.first().map(|odd| odd.3))
    };
    let all = |start, length| with(0x20, (0, 0), start, length);

    // A region without bytes, from a Strix Halo laptop. Linux maps nothing for it.
    for base in [0, 0x1000, 0x1234] {
        assert_eq!(all(base, 0), (None, Some(Oddity::RegionEmpty { base })));
    }
    for (base, length) in [
        (0x1000, u64::MAX),
        (u64::MAX, 2),
        (u64::MAX - 0xfff, 0x1001),
        (1 << 63, (1 << 63) + 1),
    ] {
        let wraps = Oddity::RegionWraps { base, length };
        assert_eq!(all(base, length), (None, Some(wraps)));
    }
    // Up to the end of the address space.
    let end = u64::MAX - 0xfff;
    assert_eq!(all(end, 0x1000), (Some((end, u64::MAX)), None));
    // Not of whole pages.
    assert_eq!(
        all(0x1800, 0x1000),
        (Some((0x1000, 0x2fff)), Some(Oddity::RegionMisaligned))
    );

    let (first, last) = (0x10, 0x0f);
    assert_eq!(
        with(0x22, (first, last), 0x1000, 0x1000),
        (None, Some(Oddity::RangeBackwards { first, last }))
    );
    // The second id of other types means nothing.
    for kind in [0x20, 0x21] {
        let found = with(kind, (first, last), 0x1000, 0x1000);
        assert_eq!(found, (Some((0x1000, 0x1fff)), None));
    }
}

#[test]
fn other_oddities() {
    let entry = |oddity| vec![(0x58, oddity)];

    let contradicts = Oddity::RegionContradicts;
    assert_eq!(
        odd(&ivmd(0x21, 0xf, (8, 0), 0x1000, 0x1000)),
        [(Kind::IvmdOne, 0x30, None, contradicts)]
    );
    // A region without any use.
    let bytes = table(&ivmd(0x21, 6, (8, 0), 0x1000, 0x1000));
    let checked = Checked::new(&bytes).unwrap();
    let region = checked.table().regions().next().unwrap();
    assert_eq!(region.usage(), Usage::None);

    // A special device of an unknown kind.
    let variety = 9;
    assert_eq!(
        of_entries(&[0x48, 0, 0, 0, 1, 0xa0, 0, 9]).0,
        entry(Oddity::UnknownSpecial { variety })
    );

    // Named devices: in a block that has none, without a name, with a unique id that makes no
    // sense.
    let name = |hid: u8, format: u8, uid: &[u8]| {
        let mut bytes = vec![0xf0, 0xa5, 0, 0, hid, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&[format, uid.len() as u8]);
        bytes.extend_from_slice(uid);
        bytes
    };
    let blocks = ivhd(0x11, 2, 0, BASE, &name(b'X', 0, &[]));
    assert_eq!(
        odd(&blocks),
        [(Kind::Ivhd11, 0x30, Some(0x58), Oddity::NameNotAllowed)]
    );
    let bytes = table(&blocks);
    let checked = Checked::new(&bytes).unwrap();
    let unit = checked.table().units().next().unwrap();
    assert_eq!(unit.entries().count(), 0);
    assert_eq!(
        of_entries(&name(0, 0, &[])),
        (entry(Oddity::NameMissing), vec![])
    );
    for (format, uid) in [
        (0, &[1][..]),
        (1, &[]),
        (1, &[1; 9]),
        (2, &[]),
        (2, &[0; 3]),
        (3, &[1]),
        (3, &[]),
    ] {
        let found = of_entries(&name(b'X', format, uid)).0;
        assert_eq!(found, entry(Oddity::UniqueId), "{format} {uid:?}");
    }
    assert_eq!(of_entries(&name(b'X', 2, b"A\0\0")).0, []);
}

#[test]
fn too_many_units() {
    let many: Vec<u8> = (0..=MAX_UNITS as u64)
        .flat_map(|n| ivhd(0x10, n as u16, 0, 0x1_0000_0000 + n * 0x4000, &[]))
        .collect();
    assert_eq!(
        refusal(&many),
        (Kind::Ivhd10, 0x30 + MAX_UNITS * 24, Problem::TooManyUnits)
    );
    let bytes = table(&many[..MAX_UNITS * 24]);
    let checked = Checked::new(&bytes).unwrap();
    assert_eq!(checked.table().units().count(), MAX_UNITS);
}

/// A message says what is wrong, where, and the consequence for which device.
#[test]
fn messages() {
    assert_eq!(
        words(&one(&[3, 0x10, 0, 0, 4, 0x0f, 0, 0])),
        [
            "IVHD of type 40h at offset 0x30: device entry at offset 0x5c: the range \
             00:02.0-00:01.7 ends before it starts; it is left out"
        ]
    );
    let region = "the region at 0x0 has no bytes; it is left out, no device can reach it";
    for (kind, devices, who) in [
        (0x20, (0, 0), "all devices of segment 0000"),
        (0x21, (0x10, 0), "device 0000:00:02.0"),
        (0x22, (0x10, 0x17), "devices 0000:00:02.0 to 00:02.7"),
    ] {
        assert_eq!(
            words(&ivmd(kind, 7, devices, 0, 0)),
            [format!(
                "IVMD of type {kind:x}h at offset 0x30: {region} ({who})"
            )]
        );
    }
    assert_eq!(
        words(&[0x99, 0, 0, 0]),
        [
            "block of type 99h at offset 0x30: length 0 would never end; it and all that follows it \
             is left out: memory regions in there reach no device, devices in there are behind no \
             unit"
        ]
    );
    let both = [ivhd(0x11, 2, 7, BASE, &[]), ivhd(0x11, 2, 7, BASE, &[])].concat();
    assert_eq!(
        words(&both),
        [
            "IVHD of type 11h at offset 0x58: a second block of this kind for unit 0007:00:00.2; \
             the first, at offset 0x30, counts, and devices that only this one lists are blocked"
        ]
    );
    let error = Table::count(&table(&[0x10, 0, 0, 0])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "IVHD of type 10h at offset 0x30: length 0 would never end"
    );
}

/// The times of a parse and of a look-up are linear in the length of the table. So the longest
/// table takes milliseconds. With quadratic times it would take minutes.
#[test]
fn long_tables() {
    let fill = |first: &[u8], again: &[u8]| {
        let mut bytes = first.to_vec();
        while bytes.len() + again.len() <= MAX_LEN - 48 {
            bytes.extend_from_slice(again);
        }
        table(&bytes)
    };
    // The maximum number of units, in one segment, with long lists; regions; the shortest blocks.
    let list = [3, 0, 0, 0, 4, 0xff, 0xff, 0].repeat(480);
    let units: Vec<u8> = (0..MAX_UNITS as u64)
        .flat_map(|n| ivhd(0x40, n as u16, 0, 0x1_0000_0000 + n * 0x4000, &list))
        .collect();
    let few = ivhd(0x40, 2, 0, BASE, &[1, 0, 0, 0]).repeat(MAX_UNITS);
    let tables = [
        fill(&units, &[0x77, 0, 4, 0]),
        fill(&few, &[0x77, 0, 4, 0]),
        fill(&few, &ivmd(0x22, 7, (0, 0xffff), 0x1000, 0x1000)),
    ];
    for bytes in tables {
        let started = std::time::Instant::now();
        let checked = Checked::new(&bytes).unwrap();
        for device in [0, 0x1234, 0xffff] {
            unit_for(checked.table(), 0, device);
            regions_for(checked.table(), 0, device).count();
        }
        assert!(started.elapsed() < std::time::Duration::from_secs(5));
    }
}
