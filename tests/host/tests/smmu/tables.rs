// SPDX-License-Identifier: GPL-2.0

//! IORT tables, and what makes them.

/// The table of QEMU 11.1 with `-M virt,iommu=smmuv3,gic-version=3` and one bus, with the checksum
/// that firmware fills in.
#[rustfmt::skip]
pub const QEMU: [u8; 236] = [
    // Header: length 236, revision 5, three nodes from offset 48 on.
    0x49, 0x4f, 0x52, 0x54, 0xec, 0, 0, 0, 5, 0x56, 0x42, 0x4f, 0x43, 0x48, 0x53, 0x20,
    0x42, 0x58, 0x50, 0x43, 0x20, 0x20, 0x20, 0x20, 1, 0, 0, 0, 0x42, 0x58, 0x50, 0x43,
    1, 0, 0, 0, 3, 0, 0, 0, 0x30, 0, 0, 0, 0, 0, 0, 0,
    // ITS group at 48: one translator, number 0.
    0, 0x18, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,
    // SMMUv3 at 72, revision 4, one mapping at 68.
    4, 0x58, 0, 4, 0, 0, 0, 0, 1, 0, 0, 0, 0x44, 0, 0, 0, 0, 0, 5, 9,
    0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0x6a, 0, 0, 0, 0x6b, 0, 0, 0, 0x6d, 0, 0, 0, 0x6c, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0,
    0x30, 0, 0, 0, 0, 0, 0, 0,
    // Root complex at 160, revision 3, two mappings at 36.
    2, 0x4c, 0, 3, 2, 0, 0, 0, 2, 0, 0, 0, 0x24, 0, 0, 0, 1, 0, 0, 0,
    0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0,
    0xff, 0, 0, 0, 0, 0, 0, 0, 0x48, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0,
    0xff, 0xfe, 0, 0, 0, 1, 0, 0, 0x30, 0, 0, 0, 0, 0, 0, 0,
];

pub const SINGLE: u32 = 1;

/// A mapping: first id, number of ids minus 1, first output id, reference, flags.
pub type Map = (u32, u32, u32, u32, u32);

/// A node of a type and revision: its 16-byte header, its body, and its mappings.
pub fn node(kind: u8, revision: u8, body: &[u8], maps: &[Map]) -> Vec<u8> {
    let start = 16 + body.len();
    let len = (start + 20 * maps.len()) as u16;
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.push(revision);
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&(maps.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&(start as u32).to_le_bytes());
    bytes.extend_from_slice(body);
    for (input, more, output, reference, flags) in maps {
        for word in [input, more, output, reference, flags] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
    }
    bytes
}

pub fn its(numbers: &[u32]) -> Vec<u8> {
    let mut body = (numbers.len() as u32).to_le_bytes().to_vec();
    body.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    node(0, 1, &body, &[])
}

pub fn named(flags: u32, path: &str, maps: &[Map]) -> Vec<u8> {
    let mut body = flags.to_le_bytes().to_vec();
    body.extend_from_slice(&[0; 8]);
    body.push(40);
    body.extend_from_slice(path.as_bytes());
    body.push(0);
    node(1, 4, &body, maps)
}

pub fn root(segment: u32, ats: u32, maps: &[Map]) -> Vec<u8> {
    let mut body = vec![0; 8];
    body.extend_from_slice(&ats.to_le_bytes());
    body.extend_from_slice(&segment.to_le_bytes());
    body.extend_from_slice(&[64, 0, 0, 0]);
    node(2, 3, &body, maps)
}

/// A unit: revision, base, flags, model, the four wired interrupts, proximity domain and mapping
/// index.
pub struct Unit {
    pub revision: u8,
    pub base: u64,
    pub flags: u32,
    pub model: u32,
    pub wires: [u32; 4],
    pub domain: u32,
    pub index: u32,
}

pub const UNIT: Unit = Unit {
    revision: 5,
    base: 0x1_0000_0000,
    flags: 0,
    model: 0,
    wires: [0; 4],
    domain: 0,
    index: 0,
};

pub fn unit(unit: &Unit, maps: &[Map]) -> Vec<u8> {
    let mut body = unit.base.to_le_bytes().to_vec();
    body.extend_from_slice(&unit.flags.to_le_bytes());
    body.extend_from_slice(&[0; 12]);
    body.extend_from_slice(&unit.model.to_le_bytes());
    body.extend(unit.wires.iter().flat_map(|wire| wire.to_le_bytes()));
    body.extend_from_slice(&unit.domain.to_le_bytes());
    body.extend_from_slice(&unit.index.to_le_bytes());
    node(4, unit.revision, &body, maps)
}

/// Reserved memory: flags, ranges, then the mappings.
pub fn rmr(flags: u32, ranges: &[(u64, u64)], maps: &[Map]) -> Vec<u8> {
    let mut body = flags.to_le_bytes().to_vec();
    body.extend_from_slice(&(ranges.len() as u32).to_le_bytes());
    body.extend_from_slice(&28u32.to_le_bytes());
    for (base, length) in ranges {
        body.extend_from_slice(&base.to_le_bytes());
        body.extend_from_slice(&length.to_le_bytes());
        body.extend_from_slice(&[0; 4]);
    }
    node(6, 3, &body, maps)
}

pub fn fix_sum(bytes: &mut [u8]) {
    bytes[9] = 0;
    let sum = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    bytes[9] = sum.wrapping_neg();
}

/// A table of these nodes; the first is at offset 48.
pub fn table_of(revision: u8, nodes: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = b"IORT".to_vec();
    bytes.resize(48, 0);
    for node in nodes {
        bytes.extend_from_slice(node);
    }
    let len = bytes.len() as u32;
    bytes[4..8].copy_from_slice(&len.to_le_bytes());
    bytes[8] = revision;
    bytes[36..40].copy_from_slice(&(nodes.len() as u32).to_le_bytes());
    bytes[40..44].copy_from_slice(&48u32.to_le_bytes());
    fix_sum(&mut bytes);
    bytes
}

pub fn table(nodes: &[Vec<u8>]) -> Vec<u8> {
    table_of(6, nodes)
}

/// A machine with two units, devices with names, counters, and firmware that keeps using memory.
pub fn server() -> Vec<u8> {
    let first = Unit {
        flags: 1 | 2 << 1 | 1 << 3 | 1 << 4,
        wires: [0, 0, 77, 0],
        domain: 3,
        index: 1,
        ..UNIT
    };
    let second = Unit {
        base: 0x1_0002_0000,
        model: 1,
        flags: 1 << 1,
        ..UNIT
    };
    // Offsets: 48 group (28), 76 unit (68 + 40), 184 unit (68 + 20), 272 ...
    table(&[
        its(&[4, 9]),
        unit(
            &first,
            &[(0, 0xffff, 0x10000, 48, 0), (0, 0, 0xbeef, 48, SINGLE)],
        ),
        unit(&second, &[(0, 0xffff_fffe, 0, 48, 0)]),
        // Buses 0 and 1 are behind the first unit, bus 2 behind the second, bus 3 behind none.
        root(
            0,
            1,
            &[
                (0, 0x1ff, 0x800, 76, 0),
                (0x200, 0xff, 0x4000_0000, 184, 0),
                (0x300, 0xff, 0x300, 48, 0),
            ],
        ),
        named(
            1 | 20 << 1,
            "\\_SB.DMA0",
            &[(0, 0, 0x50, 76, SINGLE), (0, 0, 0x51, 184, SINGLE)],
        ),
        named(0, "\\_SB.BUS0", &[(0x10, 0xf, 0x90, 184, 0)]),
        node(3, 0, &[0; 60], &[]),
        node(5, 1, &[0; 24], &[(0, 0, 1, 48, SINGLE)]),
        node(
            7,
            0,
            b"\0\0\0\0\0\0\0\0\x01\0\\_SB.IWB0\0",
            &[(0, 9, 0, 48, 0)],
        ),
        node(0x55, 0, b"whatever", &[(0, 1, 2, 3, 4)]),
        rmr(
            1,
            &[(0x8000_0000, 0x1_0000), (0x9000_0000, 0x1000)],
            &[(0, 1, 0x808, 76, 0), (0, 0, 0x4000_0000, 184, SINGLE)],
        ),
        rmr(
            2 | 5 << 2,
            &[(0xa000_0000, 0x1_0000)],
            &[(0, 0, 0x808, 184, 0)],
        ),
    ])
}

/// A unit of an older architecture.
pub fn old_unit(maps: &[Map]) -> Vec<u8> {
    node(3, 0, &[0; 44], maps)
}
