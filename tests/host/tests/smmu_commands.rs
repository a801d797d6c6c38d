// SPDX-License-Identifier: GPL-2.0

//! Commands of SMMUv3, compared with what the C driver writes or the specification says; and the
//! commands for ranges.

mod smmu;
mod drivers {
    pub use iommu_core_host::shell;
}

use iommu_core_host::pgtable::{self, armv8::GranuleSize};
use proptest::prelude::*;
use smmu::records::{
    command::{name, Command, Extent, Pages, Signal, Tag},
    invalidation::{Plan, Range, MAX_RANGES},
};

const STAGE1: Tag = Tag::Stage1 {
    vmid: 0x12,
    asid: 0xabcd,
};
const STAGE2: Tag = Tag::Stage2 { vmid: 7 };

/// IHI 0070 4.3: opcode bits 7:0, SID bits 63:32, Leaf bit 64, Range bits 68:64.
#[test]
fn configuration() {
    assert_eq!(
        Command::invalidate_ste(0x1234_5678, true).0,
        [0x1234_5678_0000_0003, 1]
    );
    assert_eq!(Command::invalidate_ste(8, false).0, [0x8_0000_0003, 0]);
    assert_eq!(
        Command::invalidate_ste_range(0x100, 7).0,
        [0x100_0000_0004, 7]
    );
    assert_eq!(Command::invalidate_all_stes().0, [0x4, 31]);
}

/// Tegra264 repeats commands from CFGI_STE (3) up to ATC_INV (0x40), as the C driver does.
#[test]
fn what_the_unit_itself_caches() {
    for operation in 0..=u8::MAX {
        let command = Command([u64::from(operation) | 0x55 << 32, 0]);
        let expected = (0x03..0x40).contains(&operation);
        assert_eq!(command.is_for_caches(), expected, "{operation:#x}");
    }
    // CMD_PREFETCH (1, 2), which HiSilicon's Hi161x do not have, is none of the driver's.
    assert_eq!(name(1), name(0xff));
    assert_eq!(name(2), name(0xff));
}

/// IHI 0070 4.4: VMID bits 47:32, ASID bits 63:48, Leaf bit 64, address bits 127:76.
#[test]
fn translations() {
    assert_eq!(
        Command::invalidate_domain(STAGE1).0,
        [0xabcd_0012_0000_0011, 0]
    );
    assert_eq!(Command::invalidate_domain(STAGE2).0, [0x7_0000_0028, 0]);
    assert_eq!(Command::invalidate_el1().0, [0x30, 0]);
    assert_eq!(Command::invalidate_el2().0, [0x20, 0]);

    let one = |leaves_only| Pages {
        address: 0xfff0_1234_dead_bfff,
        extent: Extent::One,
        leaves_only,
    };
    assert_eq!(
        Command::invalidate_pages(STAGE1, one(true)).0,
        [0xabcd_0012_0000_0012, 0xfff0_1234_dead_b001]
    );
    assert_eq!(
        Command::invalidate_pages(STAGE2, one(true)).0,
        [0x7_0000_002a, 0x1234_dead_b001]
    );
}

/// IHI 0070 4.4.1.1: NUM bits 16:12, SCALE bits 24:20, TTL bits 73:72, TG bits 75:74.
#[test]
fn ranges_of_translations() {
    let pages = |count, scale, granule, level, leaves_only| Pages {
        address: 0x1_0000,
        extent: Extent::Range {
            count,
            scale,
            granule,
            level,
        },
        leaves_only,
    };
    assert_eq!(
        Command::invalidate_pages(STAGE1, pages(3, 2, GranuleSize::K4, None, false)).0,
        [0xabcd_0012_0020_2012, 0x1_0400]
    );
    assert_eq!(
        Command::invalidate_pages(STAGE2, pages(32, 31, GranuleSize::K16, Some(3), true)).0,
        [0x0000_0007_01f1_f02a, 0x1_0b01]
    );
    assert_eq!(
        Command::invalidate_pages(STAGE1, pages(1, 0, GranuleSize::K64, Some(2), true)).0,
        [0xabcd_0012_0000_0012, 0x1_0e01]
    );
}

/// IHI 0070 4.5: SID bits 63:32, Size bits 69:64, address from bit 76.
#[test]
fn device_caches() {
    assert_eq!(
        Command::invalidate_atc(8, 0x1000, 0).0,
        [0x8_0000_0040, 0x1000]
    );
    assert_eq!(Command::invalidate_whole_atc(8).0, [0x8_0000_0040, 52]);

    let range = |first: u64, last: u64| Command::invalidate_atc_range(8, first, last).0[1];
    assert_eq!(range(0x1000, 0x1fff), 0x1000);
    // Pages 8 to 11 are one block; a block around pages 7 to 10 needs sixteen pages.
    assert_eq!(range(0x8000, 0xbfff), 0x8002);
    assert_eq!(range(0x7000, 0xafff), 0x4);
    assert_eq!(range(0x7fff_ffff_f000, 0x8000_0000_0fff), 36);
    assert_eq!(range(0, u64::MAX), 52);
    assert_eq!(range(1 << 63, u64::MAX), 1 << 63 | 51);
}

/// IHI 0070 4.5.2, 4.6.1 and 4.7.3.
#[test]
fn answers_and_syncs() {
    assert_eq!(
        Command::refuse_page_requests(8, None, 0x1ff).0,
        [0x8_0000_0041, 0x1ff]
    );
    assert_eq!(
        Command::refuse_page_requests(8, Some(0xf_ffff), 1).0,
        [0x8_ffff_f841, 1]
    );
    assert_eq!(Command::abort_stalled(8, 0xbeef).0, [0x8_0000_2044, 0xbeef]);

    assert_eq!(Command::sync(Signal::None).0, [0x46, 0]);
    assert_eq!(
        Command::sync(Signal::Message {
            address: 0x1_2345_6784,
            data: 0xdead_beef
        })
        .0,
        [0xdead_beef_0fc0_1046, 0x1_2345_6784]
    );
}

#[test]
fn commands_have_names() {
    assert_eq!(
        name(Command::invalidate_el1().operation()),
        "CMD_TLBI_NSNH_ALL"
    );
    assert_eq!(name(Command::sync(Signal::None).operation()), "CMD_SYNC");
    assert_eq!(
        name(Command::invalidate_all_stes().operation()),
        "CMD_CFGI_STE_RANGE"
    );
    let unknown = name(0xff);
    for used in [
        0x3, 0x4, 0x11, 0x12, 0x20, 0x28, 0x2a, 0x30, 0x40, 0x41, 0x44, 0x46,
    ] {
        assert_ne!(name(used), unknown, "{used:#x}");
    }
}

/// The range that a command covers, decoded by IHI 0070 4.4.1.1.
#[derive(Debug)]
struct Covered {
    first: u128,
    last: u128,
    ttl: u64,
    one: bool,
}

fn read(command: Command) -> Covered {
    let [low, high] = command.0;
    assert_eq!(low & 0xff, 0x12, "CMD_TLBI_NH_VA");
    let address = high & !0xfff;
    let (num, scale) = (low >> 12 & 0x1f, low >> 20 & 0x1f);
    let (ttl, tg) = (high >> 8 & 3, high >> 10 & 3);
    assert_eq!(low & 0xffff_0fff_fe0e_0f00 & !0xabcd_0012_0000_0012, 0);
    if tg == 0 {
        assert_eq!((num, scale, ttl), (0, 0, 0), "reserved without a granule");
        return Covered {
            first: address.into(),
            last: address.into(),
            ttl,
            one: true,
        };
    }
    assert_ne!((num, scale, ttl), (0, 0, 0), "not a range");
    let shift = 10 + 2 * tg;
    assert_eq!(
        address % (1 << shift),
        0,
        "an address in units of the granule"
    );
    assert!(!(tg == 2 && ttl == 1), "no blocks at level 1 with 16 KiB");
    Covered {
        first: address.into(),
        last: u128::from(address) + (u128::from(num + 1) << scale << shift) - 1,
        ttl,
        one: false,
    }
}

fn range(first: u64, last: u64) -> Range {
    Range {
        first,
        last,
        granule: GranuleSize::K4,
        leaf: None,
        leaves_only: false,
    }
}

fn words(range: &Range, ranges: bool) -> Vec<[u64; 2]> {
    let plan = Plan::new(range, ranges);
    plan.commands(STAGE1).map(|command| command.0).collect()
}

/// The commands that the C driver writes for the same ranges.
#[test]
fn ranges_as_in_c() {
    const VA: u64 = 0xabcd_0012_0000_0012;
    let leaves = |first, last, leaf| Range {
        leaf: Some(leaf),
        leaves_only: true,
        ..range(first, last)
    };
    // Five pages, including page tables.
    assert_eq!(words(&range(0x1000, 0x5fff), true), [[VA | 0x4000, 0x1400]]);
    // 2 MiB of pages: 16 · 2^5; and the same range as leaves of one level.
    assert_eq!(
        words(&range(0x20_0000, 0x3f_ffff), true),
        [[VA | 0x90_0000, 0x20_0400]]
    );
    assert_eq!(
        words(&leaves(0x20_0000, 0x3f_ffff, 12), true),
        [[VA | 0x90_0000, 0x20_0701]]
    );
    assert_eq!(
        words(&leaves(0x20_0000, 0x3f_ffff, 21), true),
        [[VA | 0x90_0000, 0x20_0601]]
    );
    assert_eq!(
        words(&leaves(0x4000_0000, 0x7fff_ffff, 30), true),
        [[VA | 0x120_0000, 0x4000_0501]]
    );
    // 99 pages: 3 + 3 · 2^5.
    assert_eq!(
        words(&range(0x1000, 0x6_3fff), true),
        [[VA | 0x2000, 0x1400], [VA | 0x50_2000, 0x4400]]
    );
    // One page with a known level, and one page with an unknown level, which is rounded to two.
    assert_eq!(words(&leaves(0x3000, 0x3fff, 12), true), [[VA, 0x3701]]);
    assert_eq!(
        words(&range(0x2000, 0x2fff), true),
        [[VA | 0x10_0000, 0x2400]]
    );
    // 33 pages: 34 = 17 · 2.
    assert_eq!(
        words(&range(0x2000, 0x2_2fff), true),
        [[VA | 0x11_0000, 0x2400]]
    );
    // A part of a leaf entry invalidates the whole entry.
    assert_eq!(
        words(&leaves(0x20_1000, 0x20_1fff, 21), true),
        [[VA | 0x90_0000, 0x20_0601]]
    );
    // 16 and 64 KiB.
    let large = |granule, leaf| Range {
        granule,
        ..leaves(0x400_0000, 0x7ff_ffff, leaf)
    };
    assert_eq!(
        words(&large(GranuleSize::K16, 25), true),
        [[VA | 0xc0_0000, 0x400_0a01]]
    );
    assert_eq!(
        words(&large(GranuleSize::K64, 16), true),
        [[VA | 0xa0_0000, 0x400_0f01]]
    );
}

#[test]
fn one_by_one() {
    const VA: u64 = 0xabcd_0012_0000_0012;
    assert_eq!(
        words(&range(0x1800, 0x3001), false),
        [[VA, 0x1000], [VA, 0x2000], [VA, 0x3000]]
    );
    // One command per leaf entry if the entries are known to be large.
    let large = Range {
        leaf: Some(21),
        leaves_only: true,
        ..range(0x20_0000, 0x5f_ffff)
    };
    assert_eq!(words(&large, false), [[VA, 0x20_0001], [VA, 0x40_0001]]);
    // As many pages as a table has entries: the whole domain.
    assert_eq!(words(&range(0x1000, 0x1f_ffff), false).len(), 511);
    assert_eq!(
        words(&range(0, 0x1f_ffff), false),
        [[0xabcd_0012_0000_0011, 0]]
    );
    assert_eq!(
        words(&range(0, u64::MAX), false),
        [[0xabcd_0012_0000_0011, 0]]
    );
    let stage2 = Plan::new(&range(0, u64::MAX), false).commands(STAGE2);
    assert_eq!(
        stage2.map(|c| c.0).collect::<Vec<_>>(),
        [[0x7_0000_0028, 0]]
    );
}

/// Ranges that need too many commands, and both ends of the address space.
#[test]
fn whole_domain() {
    const ALL: [u64; 2] = [0xabcd_0012_0000_0011, 0];
    // 2^36 granules exceed the largest scale.
    assert_eq!(words(&range(0, (1 << 48) - 1), true), [ALL]);
    assert_ne!(words(&range(0, (1 << 47) - 1), true), [ALL]);
    // Five groups of five bits.
    let odd = 1 << 32 | 1 << 24 | 1 << 16 | 1 << 8 | 2;
    assert_eq!(words(&range(0, (odd << 12) - 1), true), [ALL]);
    assert_eq!(words(&range(0, u64::MAX), true), [ALL]);
    // The last page, together with the page before it.
    assert_eq!(
        words(&range(u64::MAX, u64::MAX), true),
        [[0xabcd_0012_0010_0012, 0xffff_ffff_ffff_e400]]
    );
    // If a range ends before it starts, its first page is invalidated.
    assert_eq!(
        words(&range(0x4000, 0), true),
        words(&range(0x4000, 0x4000), true)
    );
}

proptest! {
    /// A plan covers all granules of the range, with commands that a unit accepts, and at most one
    /// granule more.
    #[test]
    fn plans_cover(
        first in prop_oneof![0u64..1 << 24, 0u64..1 << 48, any::<u64>()],
        len in prop_oneof![1u64..1 << 16, 1u64..1 << 30, any::<u64>()],
        granule in 0usize..3,
        leaf in prop_oneof![Just(None), (12u8..40).prop_map(Some)],
        leaves_only in any::<bool>(),
        ranges in any::<bool>(),
    ) {
        let granule = GranuleSize::ALL[granule];
        // A leaf entry has the size of a level's entry, or is a run of such entries.
        let leaf = leaf.map(|shift| shift.max(granule.lg2() as u8));
        let last = first.saturating_add(len - 1);
        let range = Range { first, last, granule, leaf, leaves_only };
        let commands: Vec<_> = Plan::new(&range, ranges).commands(STAGE1).collect();
        prop_assert!(!commands.is_empty());
        if commands[0].0 == [0xabcd_0012_0000_0011, 0] {
            prop_assert_eq!(commands.len(), 1);
            return Ok(());
        }
        let unit = u128::from(1u64 << granule.lg2());
        let covered: Vec<_> = commands.into_iter().map(read).collect();
        prop_assert!(covered.iter().all(|one| one.one != ranges));
        if ranges {
            prop_assert!(covered.len() <= usize::from(MAX_RANGES));
            // Whole leaf entries, if the command contains their level.
            let unit = match leaf {
                Some(leaf) if covered[0].ttl != 0 => 1 << leaf,
                _ => unit,
            };
            let start = u128::from(first) / unit * unit;
            let end = (u128::from(last) / unit + 1) * unit;
            prop_assert!(covered.windows(2).all(|pair| pair[0].last + 1 == pair[1].first));
            let (low, high) = (covered[0].first, covered[covered.len() - 1].last + 1);
            prop_assert!(low <= start && end <= high);
            let more = if covered[0].ttl == 0 { unit } else { 0 };
            prop_assert!(high - low <= end - start + more);
            prop_assert!(covered[0].ttl == 0 || low % unit == 0);
            let known = leaf.is_some() && leaves_only;
            prop_assert!(known || covered.iter().all(|one| one.ttl == 0));
        } else {
            let size = 1u128 << leaf.unwrap_or(granule.lg2() as u8);
            prop_assert!((covered.len() as u64) < (1u64 << granule.lg2()) / 8);
            let mut next = u128::from(first) / size * size;
            for one in &covered {
                prop_assert_eq!(one.first, next);
                next += size;
            }
            prop_assert!(next > last.into() && next - size <= last.into());
        }
    }
}
