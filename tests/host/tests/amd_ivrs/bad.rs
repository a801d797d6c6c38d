// SPDX-License-Identifier: GPL-2.0

//! IVRS tables that the parser refuses, or accepts with warnings.

use super::*;

#[test]
fn header_refusals() {
    let problem = |bytes: &[u8]| Table::parse(bytes).unwrap_err().problem;
    let short = |claims| Problem::TooShort { claims, needs: 48 };
    let truncated = |claims, has| Problem::TableTruncated { claims, has };

    assert_eq!(problem(&[]), short(0));
    assert_eq!(problem(&QEMU[..47]), short(47));
    assert_eq!(problem(&QEMU[..100]), truncated(0xb0, 100));

    let mut bytes = QEMU.to_vec();
    bytes[0] = b'X';
    assert_eq!(problem(&bytes), Problem::Signature);

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

    // Physical addresses of 65 bits, device addresses of 127.
    for (info, bits) in [(65 << 8, 65), (127 << 15, 127)] {
        let mut bytes = QEMU.to_vec();
        bytes[36..40].copy_from_slice(&u32::to_le_bytes(info));
        fix_sum(&mut bytes);
        assert_eq!(problem(&bytes), Problem::AddressWidth { bits });
    }
}

#[test]
fn block_refusals() {
    let short = |claims, needs| Problem::TooShort { claims, needs };
    let past = |claims, left| Problem::PastTable { claims, left };

    // With length 0 the parser would read the same block for ever.
    assert_eq!(
        refusal(&[0x10, 0, 0, 0, 0, 0, 0, 0]),
        (Kind::Ivhd10, 0x30, short(0, 24))
    );
    assert_eq!(
        refusal(&[0x63, 0, 3, 0]),
        (Kind::Unknown(0x63), 0x30, short(3, 4))
    );
    let mut cut = ivhd(0x11, 2, 0, BASE, &[]);
    cut.truncate(39);
    cut[2] = 39;
    assert_eq!(refusal(&cut), (Kind::Ivhd11, 0x30, short(39, 40)));
    let mut cut = ivmd(0x22, 1, (0, 1), 0x1000, 0x1000);
    cut[2] = 31;
    assert_eq!(refusal(&cut), (Kind::IvmdRange, 0x30, short(31, 32)));
    // Longer than the table.
    let mut long = ivhd(0x40, 2, 0, BASE, &[]);
    long[2] = 41;
    assert_eq!(refusal(&long), (Kind::Ivhd40, 0x30, past(41, 40)));
    // An incomplete block after a good block.
    let mut bytes = one(&[]);
    bytes.extend_from_slice(&[0x21, 0, 32]);
    assert_eq!(refusal(&bytes), (Kind::IvmdOne, 0x58, past(4, 3)));
}

#[test]
fn entry_refusals() {
    let with = |entries: &[u8]| {
        let bytes = table(&one(entries));
        let error = Table::parse(&bytes).expect_err("the table must be refused");
        assert_eq!((error.kind, error.offset), (Kind::Ivhd40, 0x30));
        (error.entry, error.problem)
    };
    let at = |problem| (Some(0x58), problem);
    let past = |claims, left| Problem::EntryPastBlock { claims, left };

    assert_eq!(with(&[2, 0, 0]), at(past(4, 3)));
    assert_eq!(with(&[0x42, 0, 0, 0, 0, 0, 0]), at(past(8, 7)));
    assert_eq!(with(&[0x80, 0, 0, 0]), at(past(16, 4)));
    assert_eq!(with(&[0xef; 31]), at(past(32, 31)));
    // A device by name without the length of its unique id, and with a length that is too large.
    assert_eq!(with(&[0xf0; 21]), at(past(22, 21)));
    let mut name = [0x41; 26];
    name[0] = 0xf0;
    name[21] = 5;
    assert_eq!(with(&name), at(past(27, 26)));
    for value in 241..=255 {
        assert_eq!(with(&[value; 64]), at(Problem::EntryLength { value }));
    }

    // Ranges.
    let start = [3, 0x10, 0, 0];
    let end = [4, 0x17, 0, 0];
    assert_eq!(with(&start), at(Problem::RangeNotEnded { first: 0x10 }));
    assert_eq!(
        with(&[start, start, end].concat()),
        at(Problem::RangeNotEnded { first: 0x10 })
    );
    assert_eq!(
        with(&[start, [2, 9, 9, 0], end].concat()),
        at(Problem::RangeNotEnded { first: 0x10 })
    );
    assert_eq!(with(&end), at(Problem::RangeNotStarted { last: 0x17 }));
    assert_eq!(
        with(&[start, end, end].concat()),
        (Some(0x60), Problem::RangeNotStarted { last: 0x17 })
    );
    assert_eq!(
        with(&[start, [4, 0x0f, 0, 0]].concat()),
        (
            Some(0x5c),
            Problem::RangeBackwards {
                first: 0x10,
                last: 0x0f
            }
        )
    );
    assert_eq!(
        with(&[0x43, 0, 1, 0, 0, 0x20, 0, 0]),
        at(Problem::RangeNotEnded { first: 0x100 })
    );
    assert_eq!(
        with(&[0x47, 0, 1, 0, 0, 0, 0, 0, 4, 0xff, 0, 0]),
        (
            Some(0x60),
            Problem::RangeBackwards {
                first: 0x100,
                last: 0xff
            }
        )
    );
    // In a block of type 10h the entries start at another offset.
    let bytes = table(&ivhd(0x10, 2, 0, BASE, &[2, 0, 0, 0, 4, 0, 0, 0]));
    assert_eq!(Table::parse(&bytes).unwrap_err().entry, Some(0x4c));
}

#[test]
fn unit_refusals() {
    let with = |base| refusal(&ivhd(0x10, 2, 0, base, &[]));
    let at = |problem| (Kind::Ivhd10, 0x30, problem);

    assert_eq!(with(0), at(Problem::BaseImpossible { base: 0 }));
    let base = u64::MAX;
    assert_eq!(with(base), at(Problem::BaseImpossible { base }));
    let base = BASE + 0x1000;
    assert_eq!(with(base), at(Problem::BaseMisaligned { base }));
    // The last possible register window.
    let bytes = table(&ivhd(0x10, 2, 0, u64::MAX - 0x3fff, &[]));
    assert!(Table::parse(&bytes).is_ok());

    let two = |a: Vec<u8>, b: Vec<u8>| refusal(&[a, b].concat());
    assert_eq!(
        two(ivhd(0x11, 2, 0, BASE, &[]), ivhd(0x11, 3, 0, BASE, &[])),
        (
            Kind::Ivhd11,
            0x58,
            Problem::UnitsOverlap {
                base: BASE,
                other: 0x30
            }
        )
    );
    assert_eq!(
        two(
            ivhd(0x11, 2, 7, BASE, &[]),
            ivhd(0x11, 2, 7, BASE + 0x4000, &[])
        ),
        (
            Kind::Ivhd11,
            0x58,
            Problem::SecondBlock {
                device: 2,
                segment: 7,
                other: 0x30
            }
        )
    );
}

#[test]
fn region_refusals() {
    let with = |start, length| refusal(&ivmd(0x20, 1, (0, 0), start, length));
    let at = |problem| (Kind::IvmdAll, 0x30, problem);

    assert_eq!(with(0x1000, 0), at(Problem::RegionEmpty { base: 0x1000 }));
    for (base, length) in [
        (0x1000, u64::MAX),
        (u64::MAX, 2),
        (u64::MAX - 0xfff, 0x1001),
        (1 << 63, (1 << 63) + 1),
    ] {
        assert_eq!(
            with(base, length),
            at(Problem::RegionWraps { base, length })
        );
    }
    // A region up to the last address.
    let bytes = table(&ivmd(0x20, 1, (0, 0), u64::MAX - 0xfff, 0x1000));
    let table = Table::parse(&bytes).unwrap();
    assert_eq!(table.regions().next().unwrap().limit(), u64::MAX);

    assert_eq!(
        refusal(&ivmd(0x22, 1, (0x10, 0x0f), 0x1000, 0x1000)),
        (
            Kind::IvmdRange,
            0x30,
            Problem::RangeBackwards {
                first: 0x10,
                last: 0x0f
            }
        )
    );
    // In the other types the second id has no meaning.
    for kind in [0x20, 0x21] {
        let bytes = self::table(&ivmd(kind, 1, (0x10, 0x0f), 0x1000, 0x1000));
        assert!(Table::parse(&bytes).is_ok());
    }
}

#[test]
fn accepted_with_warnings() {
    // A region within a page; a region with both flags.
    assert_eq!(
        warnings(&ivmd(0x21, 7, (8, 0), 0x1800, 0x1000)),
        [Warning::RegionMisaligned { offset: 0x30 }]
    );
    let bytes = table(&ivmd(0x21, 7, (8, 0), 0x1800, 0x1000));
    let region = Table::parse(&bytes).unwrap().regions().next().unwrap();
    assert_eq!((region.base(), region.limit()), (0x1000, 0x2fff));
    assert_eq!(
        warnings(&ivmd(0x21, 0xf, (8, 0), 0x1000, 0x1000)),
        [Warning::RegionContradicts { offset: 0x30 }]
    );
    // A region without read, write or exclusion flag.
    let bytes = table(&ivmd(0x21, 6, (8, 0), 0x1000, 0x1000));
    let region = Table::parse(&bytes).unwrap().regions().next().unwrap();
    assert_eq!(region.usage(), Usage::None);

    // A special device of an unknown kind.
    assert_eq!(
        warnings(&one(&[0x48, 0, 0, 0, 1, 0xa0, 0, 9])),
        [Warning::UnknownSpecial {
            offset: 0x58,
            variety: 9
        }]
    );

    // Devices by name: in a block type that has none, without a name, with an invalid unique id.
    let name = |hid: u8, format: u8, uid: &[u8]| {
        let mut bytes = vec![0xf0, 0xa5, 0, 0, hid, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&[format, uid.len() as u8]);
        bytes.extend_from_slice(uid);
        bytes
    };
    let offset = 0x58;
    assert_eq!(
        warnings(&ivhd(0x11, 2, 0, BASE, &name(b'X', 0, &[]))),
        [Warning::NameNotAllowed { offset }]
    );
    let bytes = table(&ivhd(0x11, 2, 0, BASE, &name(b'X', 0, &[])));
    let unit = Table::parse(&bytes).unwrap().units().next().unwrap();
    assert_eq!(unit.entries().count(), 0);
    assert_eq!(
        warnings(&one(&name(0, 0, &[]))),
        [Warning::NameMissing { offset }]
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
        assert_eq!(
            warnings(&one(&name(b'X', format, uid))),
            [Warning::UniqueId { offset }],
            "{format} {uid:?}"
        );
    }
    assert_eq!(warnings(&one(&name(b'X', 2, b"A\0\0"))), []);

    // Blocks of one unit that contradict each other.
    assert_eq!(
        warnings(
            &[
                ivhd(0x10, 2, 0, BASE, &[]),
                ivhd(0x11, 2, 0, BASE + 0x4000, &[])
            ]
            .concat()
        ),
        [Warning::BasesDiffer {
            offset: 0x48,
            other: 0x30
        }]
    );
}

#[test]
fn devices_that_two_units_list() {
    let two = |a: &[u8], b: &[u8], segment| {
        warnings(
            &[
                ivhd(0x40, 2, 0, BASE, a),
                ivhd(0x40, 3, segment, BASE + 0x4000, b),
            ]
            .concat(),
        )
    };
    let contested = |device, second| {
        [Warning::Contested {
            segment: 0,
            device,
            first: 0x30,
            second,
        }]
    };
    let range = [3, 0, 0x10, 0, 4, 0xff, 0x1f, 0];
    assert_eq!(two(&range, &[2, 0x41, 0x15, 0], 0), contested(0x1541, 0x60));
    assert_eq!(two(&[2, 0x41, 0x15, 0], &range, 0), contested(0x1541, 0x5c));
    assert_eq!(two(&range, &range, 0), contested(0x1000, 0x60));
    assert_eq!(two(&range, &[2, 0, 0x20, 0], 0), []);
    // At the boundaries of bitmap words and of buses.
    for device in [
        0x1000u16, 0x103f, 0x1040, 0x10bf, 0x10c0, 0x10ff, 0x1100, 0x1fff,
    ] {
        let [low, high] = device.to_le_bytes();
        assert_eq!(two(&range, &[2, low, high, 0], 0), contested(device, 0x60));
    }
    for device in [0x0fffu16, 0x2000] {
        let [low, high] = device.to_le_bytes();
        assert_eq!(two(&range, &[2, low, high, 0], 0), []);
    }
    assert_eq!(two(&range, &range, 1), []);
    // One unit lists all devices, another lists one of them: no conflict.
    assert_eq!(two(&[1, 0, 0, 0], &range, 0), []);
    assert_eq!(two(&[1, 0, 0, 0], &[1, 0, 0, 0], 0), contested(0, 0x5c));
    // A unit may list a device twice.
    assert_eq!(two(&[range, range].concat(), &[], 0), []);
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
    assert_eq!(Table::parse(&bytes).unwrap().units().count(), MAX_UNITS);
}

/// A message names the problem and its position.
#[test]
fn messages() {
    let text = |blocks: &[u8]| Table::parse(&table(blocks)).unwrap_err().to_string();
    assert_eq!(
        text(&one(&[3, 0x10, 0, 0, 4, 0x0f, 0, 0])),
        "IVHD of type 40h at offset 0x30: device entry at offset 0x5c: the range 00:02.0-00:01.7 \
         ends before it starts"
    );
    assert_eq!(
        text(&ivmd(0x21, 1, (0, 0), 0x1000, u64::MAX)),
        "IVMD of type 21h at offset 0x30: the region of 0xffffffffffffffff bytes at 0x1000 reaches \
         past the end of the address space"
    );
    assert_eq!(
        text(&[0x99, 0, 0, 0]),
        "block of type 99h at offset 0x30: length 0 would never end"
    );
    let both = [ivhd(0x11, 2, 7, BASE, &[]), ivhd(0x11, 2, 7, BASE, &[])].concat();
    assert_eq!(
        text(&both),
        "IVHD of type 11h at offset 0x58: a second block of this kind for unit 0007:00:00.2, the \
         first is at offset 0x30"
    );
    assert_eq!(
        warnings(
            &[
                one(&[1, 0, 0, 0]),
                ivhd(0x40, 3, 0, BASE + 0x4000, &[1, 0, 0, 0])
            ]
            .concat()
        )[0]
        .to_string(),
        "the units at offsets 0x30 and 0x5c both claim device 0000:00:00.0; the first one gets it"
    );

    // Every problem has its own text.
    let problems = [
        Problem::Signature,
        Problem::TableTruncated { claims: 1, has: 0 },
        Problem::TooLong { claims: 1 },
        Problem::TooShort {
            claims: 1,
            needs: 2,
        },
        Problem::PastTable { claims: 1, left: 0 },
        Problem::Checksum { sum: 1 },
        Problem::AddressWidth { bits: 65 },
        Problem::BaseImpossible { base: 1 },
        Problem::BaseMisaligned { base: 1 },
        Problem::BaseWraps { base: 1 },
        Problem::UnitsOverlap { base: 1, other: 1 },
        Problem::TooManyUnits,
        Problem::EntryPastBlock { claims: 1, left: 0 },
        Problem::EntryLength { value: 255 },
        Problem::RangeNotEnded { first: 1 },
        Problem::RangeNotStarted { last: 1 },
        Problem::RegionEmpty { base: 1 },
    ];
    let mut texts: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert!(texts.iter().all(|text| !text.is_empty()));
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), problems.len());
}
