// SPDX-License-Identifier: GPL-2.0

//! Hardware records, compared with bit patterns from the specification and from what the C driver
//! writes; and feature registers of real machines and of QEMU.

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
    capability::{
        judge, AddressSpace, Capability, Encryption, Features, Refusal, GUEST_PAGE_SIZES,
        HOST_PAGE_SIZES,
    },
    commands::{Command, Pages, Space, MAX_ORDER},
    entries::{DeviceEntry, Gcr3Entry, Interrupts, Translation},
    events::{Access, Event, HardwareError},
    ivrs::Settings,
};
use drivers::shell::blocks::Block;
use proptest::prelude::*;
use strategies::what_happens_to_interrupts;

/// QEMU 11.1: PreF, PPR, GT, IA, GA, HE, HATS 2, GATS 2.
const QEMU: u64 = 0x29d3;
/// A laptop's registers, from its IVRS.
const LAPTOP: [u64; 2] = [0x2465_77ef_a225_4afa, 0x10];

#[test]
fn features_of_qemu() {
    let (features, space) = judge([QEMU, 0], false, 0).unwrap();
    assert!(features.prefetch && features.page_requests && features.guest_translation);
    assert!(features.invalidate_all && features.guest_apic && features.hardware_error);
    assert!(!features.x2apic && !features.no_execute && !features.performance_counters);
    assert_eq!((features.host_levels, features.guest_levels), (6, 6));
    assert_eq!((features.gcr3_levels, features.pasid_bits), (1, 1));
    assert_eq!(features.table_segments, 1);
    assert!(!features.host_dirty && !features.nested_paging_security);
    assert_eq!(
        space,
        AddressSpace {
            levels: 6,
            bits: 64
        }
    );
}

/// The bits of 0x246577efa2254afa: 1, 3 to 7, 9, 11, 14; 16, 18, 21; 25, 29, 31; 32 to 35, 37 to
/// 42, 44 to 46; 48, 50, 53, 54, 58, 61.
#[test]
fn features_of_a_laptop() {
    let (features, space) = judge(LAPTOP, false, 64).unwrap();
    assert!(!features.prefetch && features.page_requests && !features.x2apic);
    assert!(features.no_execute && features.guest_translation && features.invalidate_all);
    assert!(features.guest_apic && !features.hardware_error && features.performance_counters);
    assert_eq!(features.host_levels, 6);
    assert_eq!(features.guest_levels, 4);
    assert_eq!(features.gcr3_levels, 2);
    assert!(features.dual_event_log);
    assert_eq!(features.pasid_bits, 16);
    assert!(features.user_supervisor);
    assert_eq!(features.table_segments, 8);
    assert!(features.msi_in_registers);
    assert!(features.guest_io && !features.host_accessed && features.enhanced_page_requests);
    assert!(!features.host_dirty && features.iotlb_type);
    assert!(!features.nested_paging_security && !features.ht_range_ignored);
    assert_eq!(space.bits, 64);
    assert!(Features::decode([0, 1 << 11]).ht_range_ignored);
    assert!(Features::decode([1 << 52 | 1 << 49, 0]).host_dirty);
    assert!(Features::decode([1 << 52 | 1 << 49, 0]).host_accessed);
    assert!(Features::decode([1 << 63, 0]).nested_paging_security);
}

/// The paging modes that follow from HATS and from firmware's VAsize.
#[test]
fn address_spaces() {
    let space = |hats: u64, virtual_bits| {
        judge([hats << 10, 0], false, virtual_bits).map(|(_, space)| (space.levels, space.bits))
    };
    assert_eq!(space(0, 0), Ok((4, 48)));
    assert_eq!(space(1, 0), Ok((5, 57)));
    assert_eq!(space(2, 0), Ok((6, 64)));
    assert_eq!(space(2, 64), Ok((6, 64)));
    assert_eq!(space(2, 48), Ok((6, 48)));
    assert_eq!(space(0, 64), Ok((4, 48)));
    assert_eq!(space(0, 40), Ok((4, 40)));
    assert_eq!(space(0, 31), Ok((4, 31)));
}

#[test]
fn units_that_cannot_be_driven() {
    assert_eq!(
        judge([u64::MAX, u64::MAX], false, 0),
        Err(Refusal::NoRegisters)
    );
    assert_eq!(judge([3 << 10, 0], false, 0), Err(Refusal::NoHostTables));
    assert_eq!(judge([QEMU, 0], true, 0), Err(Refusal::NoHostTables));
    assert_eq!(
        judge([QEMU, 0], false, 30),
        Err(Refusal::TooNarrow { bits: 30 })
    );
    assert_eq!(
        Capability::decode(u32::MAX, u32::MAX),
        Err(Refusal::NoCapability { header: u32::MAX })
    );
    // An MSI capability.
    assert!(Capability::decode(0x0080_0005, 0).is_err());
    // A capability with the same id and another type.
    assert!(Capability::decode(0x1c02_000f, 0).is_err());
    assert!(Refusal::NoCapability { header: 5 }
        .to_string()
        .contains("0x00000005"));
    assert!(Refusal::NoHostTables.to_string().contains("HATDis"));
}

/// QEMU's block: id 0fh, type 3; IotlbSup, HtTunnel, NpCache, EFRSup and CapExt; PAsize 46 (QEMU's
/// 40 overlaps with another field), VAsize 48.
#[test]
fn capability_blocks() {
    let qemu = Capability::decode(0x1f03_000f, 0x0018_2e00).unwrap();
    assert!(qemu.iotlb && qemu.ht_tunnel && qemu.caches_not_present && qemu.feature_registers);
    assert_eq!((qemu.physical_bits, qemu.virtual_bits), (46, 48));
    assert_eq!(qemu.msi_number, 0);

    // A laptop's: 190b640f; PAsize 48, VAsize 64, message 0.
    let laptop = Capability::decode(0x190b_640f, 0x0020_3040).unwrap();
    assert!(laptop.iotlb && laptop.feature_registers);
    assert!(!laptop.ht_tunnel && !laptop.caches_not_present);
    assert_eq!((laptop.physical_bits, laptop.virtual_bits), (48, 64));
    assert_eq!(
        Capability::decode(0x190b_640f, 0x1f).unwrap().msi_number,
        31
    );
}

/// The C-bit is bit 47 on processors of family 17h, and bit 51 on family 19h. The C driver lists
/// the microcode that family 17h needs.
#[test]
fn encryption() {
    let judge = Encryption::judge;
    assert_eq!(judge(0, false, 0x17, 0), Encryption::None);
    assert_eq!(judge(1 << 51, true, 0x19, 0), Encryption::CBit(1 << 51));
    for (microcode, works) in [
        (0x0800_1125, false),
        (0x0800_1126, true),
        (0x0800_11ff, true),
        (0x0800_1200, false),
        (0x0800_1204, false),
        (0x0800_1205, true),
        (0x0830_1034, true),
    ] {
        let expected = match works {
            true => Encryption::CBit(1 << 47),
            false => Encryption::Erratum { microcode },
        };
        assert_eq!(judge(1 << 47, true, 0x17, microcode), expected);
    }
    // In a guest the host's unit cannot read the guest's memory.
    assert_eq!(judge(1 << 51, false, 0x19, 0), Encryption::Guest);
    let text = Refusal::Encryption { microcode: 0x801 }.to_string();
    assert!(text.contains("0x00000801") && text.contains("mem_encrypt=off"));
    assert!(Refusal::EncryptedGuest.to_string().contains("SEV"));
}

#[test]
fn page_sizes() {
    for order in 0..64 {
        let has = (12..=51).contains(&order) && order != 39;
        assert_eq!(HOST_PAGE_SIZES >> order & 1 != 0, has, "2^{order}");
    }
    assert_eq!(GUEST_PAGE_SIZES, 0x4020_1000);
}

/// AMD-Vi 2.2.2: IV bit 128, IntTabLen bits 132:129, the table's address bits 179:134, IntCtl bits
/// 189:188.
#[test]
fn device_entries_with_interrupts() {
    let third = |interrupts| {
        DeviceEntry {
            interrupts,
            ..DeviceEntry::BLOCKED
        }
        .encode()[2]
    };
    assert_eq!(third(Interrupts::Pass), 0);
    assert_eq!(third(Interrupts::Refused), 1);
    // The C driver's word for a table of 512 entries: IntCtl 2, the address, 9 << 1, IV.
    let table = 0x0_1234_5678_9a80;
    let remapped = |length_lg2| third(Interrupts::Remapped { table, length_lg2 });
    assert_eq!(remapped(9), 0x2000_1234_5678_9a93);
    assert_eq!(remapped(11), 0x2000_1234_5678_9a97);
}

fn entry(translation: Translation) -> DeviceEntry {
    DeviceEntry {
        translation,
        device_tlb: false,
        interrupts: Interrupts::Pass,
        settings: Settings::NONE,
    }
}

/// AMD-Vi 2.2.2: V bit 0, TV bit 1, HAD bits 8:7, Mode bits 11:9, root bits 51:12, IR bit 61, IW
/// bit 62, domain id bits 79:64.
#[test]
fn device_entries() {
    // The C driver's cleared entry: V and no other bit.
    let blocked = DeviceEntry::BLOCKED;
    assert_eq!(blocked.encode(), [1, 0, 0, 0]);
    assert_eq!(DeviceEntry::decode([1, 0, 0, 0]), Some(blocked));

    let identity = entry(Translation::Identity { domain: 0xabcd });
    let words = [0x6000_0000_0000_0003, 0xabcd, 0, 0];
    assert_eq!(identity.encode(), words);
    assert_eq!(DeviceEntry::decode(words), Some(identity));

    let host = |levels, dirty| {
        entry(Translation::Host {
            domain: 0x1234,
            root: 0xf_dead_beef_e000,
            levels,
            dirty,
        })
    };
    for (levels, mode) in [(1, 0x200), (3, 0x600), (4, 0x800), (6, 0xc00)] {
        let words = [0x600f_dead_beef_e003 | mode, 0x1234, 0, 0];
        assert_eq!(host(levels, false).encode(), words);
        assert_eq!(DeviceEntry::decode(words), Some(host(levels, false)));
        let words = [0x600f_dead_beef_e183 | mode, 0x1234, 0, 0];
        assert_eq!(host(levels, true).encode(), words);
        assert_eq!(DeviceEntry::decode(words), Some(host(levels, true)));
    }

    let with_tlb = DeviceEntry {
        device_tlb: true,
        ..identity
    };
    assert_eq!(
        with_tlb.encode(),
        [0x6000_0000_0000_0003, 0x1_0000_abcd, 0, 0]
    );
    assert_eq!(DeviceEntry::decode(with_tlb.encode()), Some(with_tlb));

    // Page requests (PPR, bit 52) and ATS (I, bit 96) are off in every entry.
    for entry in [blocked, identity, host(4, false), host(6, true)] {
        let [first, second, ..] = DeviceEntry {
            settings: Settings(0xff),
            ..entry
        }
        .encode();
        assert_eq!(first >> 52 & 1, 0);
        assert_eq!(second >> 32 & 1, 0);
    }
    // Root and levels are in the first word; its other bits do not change with them.
    let first = 0x600f_dead_beef_e783;
    assert_eq!(DeviceEntry::host_root(first), Some(0xf_dead_beef_e000));
    assert_eq!(
        DeviceEntry::with_host_root(first, 0x1234_5000, 4),
        0x6000_0000_1234_5983
    );
    // Blocked; untranslated; a guest table; not valid; Mode 7.
    for first in [
        0x1,
        0x6000_0000_0000_0003,
        0x64c0_0000_0000_0603,
        0x600f_dead_beef_e682,
        0x600f_dead_beef_ee03,
    ] {
        assert_eq!(DeviceEntry::host_root(first), None, "{first:#x}");
    }

    // Not valid; read only; Mode 7.
    assert_eq!(DeviceEntry::decode([0; 4]), None);
    assert_eq!(DeviceEntry::decode([0x2000_0000_0000_0003, 0, 0, 0]), None);
    assert_eq!(DeviceEntry::decode([0x6000_0000_0000_0e03, 0, 0, 0]), None);
}

/// GCR3 table root: bits 14:12 at 60:58, 30:15 at 95:80, 51:31 at 127:107. GV bit 55, GIoV bit 54,
/// GLX bits 57:56, levels of guest tables bits 183:182.
#[test]
fn guest_entries() {
    let guest = |gcr3, gcr3_levels, five_levels| {
        entry(Translation::Guest {
            domain: 7,
            gcr3,
            gcr3_levels,
            five_levels,
        })
    };
    for (gcr3, words) in [
        (0x1000, [0x64c0_0000_0000_0003, 7]),
        (0x7000, [0x7cc0_0000_0000_0003, 7]),
        (0x8000, [0x60c0_0000_0000_0003, 0x1_0007]),
        (0x7fff_8000, [0x60c0_0000_0000_0003, 0xffff_0007]),
        (0x8000_0000, [0x60c0_0000_0000_0003, 0x0000_0800_0000_0007]),
        (
            0xf_ffff_8000_0000,
            [0x60c0_0000_0000_0003, 0xffff_f800_0000_0007],
        ),
    ] {
        let words = [words[0], words[1], 0, 0];
        assert_eq!(guest(gcr3, 1, false).encode(), words, "{gcr3:#x}");
        assert_eq!(DeviceEntry::decode(words), Some(guest(gcr3, 1, false)));
    }
    let words = [0x66c0_0000_0000_0003, 7, 0x0040_0000_0000_0000, 0];
    assert_eq!(guest(0x1000, 3, true).encode(), words);
    assert_eq!(DeviceEntry::decode(words), Some(guest(0x1000, 3, true)));

    assert_eq!(Gcr3Entry { table: None }.encode(), 0);
    let root = Gcr3Entry {
        table: Some(0x1_2345_6000),
    };
    assert_eq!(root.encode(), 0x1_2345_6001);
}

/// The bits that the C driver sets for each setting in the IVRS table: b8h INIT, b9h EInt, bah NMI,
/// 68h and 69h SysMgt, beh Lint0, bfh Lint1.
#[test]
fn settings() {
    for (setting, bit) in [
        (0x01, 0xb8),
        (0x02, 0xb9),
        (0x04, 0xba),
        (0x10, 0x68),
        (0x20, 0x69),
        (0x40, 0xbe),
        (0x80, 0xbf),
    ] {
        let entry = DeviceEntry {
            settings: Settings(setting),
            ..DeviceEntry::BLOCKED
        };
        let mut words = [1, 0, 0, 0];
        words[bit / 64] |= 1u64 << (bit % 64);
        if setting == 0x10 {
            // Erratum 63: IW, although the entry blocks.
            words[0] |= 1 << 62;
        }
        assert_eq!(entry.encode(), words, "{setting:#x}");
        assert_eq!(DeviceEntry::decode(words), Some(entry));
    }
    // SysMgt 3 is not 1.
    let entry = DeviceEntry {
        settings: Settings(0x30),
        ..DeviceEntry::BLOCKED
    };
    assert_eq!(entry.encode(), [1, 3 << 40, 0, 0]);
    // The reserved bit is preserved.
    let entry = DeviceEntry {
        settings: Settings(0x08),
        ..DeviceEntry::BLOCKED
    };
    assert_eq!(entry.encode(), [1, 0, 0, 0]);
}

/// AMD-Vi 2.4, and the commands that the C driver composes.
#[test]
fn commands() {
    assert_eq!(
        Command::wait(0xf_1234_5678_9ab8, 0xdead_beef_0123_4567).0,
        [0x100f_1234_5678_9ab9, 0xdead_beef_0123_4567]
    );
    // Bits outside of the address field are not written.
    assert_eq!(Command::wait(u64::MAX, 1).0, [0x100f_ffff_ffff_fff9, 1]);
    assert_eq!(Command::device_entry(0xfe08).0, [0x2000_0000_0000_fe08, 0]);
    assert_eq!(
        Command::interrupt_table(0xfe08).0,
        [0x5000_0000_0000_fe08, 0]
    );
    // F is set, and no store is requested.
    assert_eq!(Command::fence().0, [0x1000_0000_0000_0004, 0]);
    assert_eq!(Command::all().0, [0x8000_0000_0000_0000, 0]);

    // The whole domain, including page tables.
    assert_eq!(
        Command::pages(0xabcd, Space::Host, Pages::All, false).0,
        [0x3000_abcd_0000_0000, 0x7fff_ffff_ffff_f003]
    );
    assert_eq!(
        Command::pages(0xabcd, Space::Host, Pages::All, true).0,
        [0x3000_abcd_0000_0000, 0x7fff_ffff_ffff_f001]
    );
    let guest = Space::Guest { pasid: 0xa_bcde };
    assert_eq!(
        Command::pages(1, guest, Pages::All, false).0,
        [0x3000_0001_000a_bcde, 0x7fff_ffff_ffff_f007]
    );
}

/// Sizes encoded in addresses: "Example Page Size Encodings". Without S, 4 KiB. With S, the lowest
/// 0 from bit 12 upwards determines the size: bit 12 for 8 KiB, bit 13 for 16 KiB, and so on.
#[test]
fn sizes() {
    let pages = |address, order| {
        let block = Block { address, order };
        Command::pages(0, Space::Host, Pages::Block(block), true).0[1]
    };
    assert_eq!(pages(0x1234_5000, 0), 0x1234_5000);
    assert_eq!(pages(0x1234_6000, 1), 0x1234_6001);
    assert_eq!(pages(0x1234_4000, 2), 0x1234_5001);
    assert_eq!(pages(0x1234_0000, 4), 0x1234_7001);
    assert_eq!(pages(0x1_0000_0000, 9), 0x1_000f_f001);
    assert_eq!(pages(0x40_0000_0000, 18), 0x40_1fff_f001);
    // 4 GiB: bits 30:12 are 1, bit 31 is 0.
    assert_eq!(pages(0x2_0000_0000, 20), 0x2_7fff_f001);
    // 2^52: bits 50:12 are 1.
    assert_eq!(pages(0, 40), 0x0007_ffff_ffff_f001);
    assert_eq!(pages(0xfff0_0000_0000_0000, 40), 0xfff7_ffff_ffff_f001);
    // A larger size means the whole address space.
    assert_eq!(pages(0, 41), 0x7fff_ffff_ffff_f001);
    assert_eq!(pages(0, 255), 0x7fff_ffff_ffff_f001);
}

/// The range that a unit invalidates for an address.
fn covered(word: u64) -> (u64, u64) {
    if word & 1 == 0 {
        return (word & !0xfff, word | 0xfff);
    }
    let zero = (12..64).find(|bit| word >> bit & 1 == 0).unwrap();
    if zero >= 51 {
        return (0, u64::MAX);
    }
    let size = 1u64 << (zero + 1);
    (word & !(size - 1), word | (size - 1))
}

proptest! {
    /// For any block, the unit invalidates exactly that block, or more if the block is huge.
    #[test]
    fn a_unit_invalidates_the_named_block(page in any::<u64>(), order in 0u8..=MAX_ORDER) {
        let size = 4096u64 << order;
        let address = page & !(size - 1);
        let pages = Pages::Block(Block { address, order });
        let word = Command::pages(3, Space::Host, pages, true).0[1];
        let expected = if order == MAX_ORDER { (0, u64::MAX) } else { (address, address + (size - 1)) };
        prop_assert_eq!(covered(word), expected);
        // No reserved bit is written.
        prop_assert_eq!(word & 0xffe, 0);
    }

    /// A change of what happens to interrupts changes nothing else in an entry.
    #[test]
    fn only_interrupts_change(before in what_happens_to_interrupts(), after in what_happens_to_interrupts(), settings in any::<u8>()) {
        let entry = |interrupts| DeviceEntry {
            interrupts,
            settings: Settings(settings & 0xf7),
            ..entry(Translation::Identity { domain: 7 })
        };
        let (before, after) = (entry(before).encode(), entry(after));
        prop_assert_eq!(
            [before[0], before[1], DeviceEntry::with_interrupts(before[2], after.interrupts), 0],
            after.encode()
        );
    }

    /// The driver decodes every entry that it writes, and never sets a reserved bit.
    #[test]
    fn device_entry_bits(
        domain in any::<u16>(),
        root in any::<u64>(),
        levels in 1u8..=6,
        dirty in any::<bool>(),
        guest in any::<bool>(),
        device_tlb in any::<bool>(),
        interrupts in what_happens_to_interrupts(),
        settings in any::<u8>(),
    ) {
        let root = root & 0xf_ffff_ffff_f000;
        let entry = DeviceEntry {
            translation: if guest {
                Translation::Guest {
                    domain,
                    gcr3: root,
                    gcr3_levels: levels.min(3),
                    five_levels: dirty,
                }
            } else {
                Translation::Host { domain, root, levels, dirty }
            },
            device_tlb,
            interrupts,
            settings: Settings(settings & 0xf7),
        };
        let words = entry.encode();
        prop_assert_eq!(words[0] & 0x8000_0000_0000_007c, 0);
        prop_assert_eq!(words[1] & 0x0000_0400_0000_0000, 0);
        prop_assert_eq!(words[2] & 0x0830_0000_0000_0000, 0);
        prop_assert_eq!(words[3], 0);
        prop_assert_eq!(DeviceEntry::decode(words), Some(entry));
    }

    /// Every log entry is decoded and has a text.
    #[test]
    fn any_event(low in any::<u64>(), high in any::<u64>()) {
        match Event::decode([low, high]) {
            None => prop_assert_eq!(low >> 60, 0),
            Some(event) => {
                prop_assert!(!event.reason().is_empty());
                prop_assert!(event.to_string().starts_with(event.reason()));
            }
        }
    }
}

/// The entries that a unit writes: code in bits 63:60, flags from bit 48 on, device id in bits
/// 15:0, domain id in bits 47:32.
#[test]
fn page_faults() {
    // Flags as in logs of the C driver: 0x0020, 0x0000, 0x0070, 0x0050.
    let fault = |flags: u64| Event::decode([0x2000_0005_0000_0300 | flags << 48, 0xdead_b000]);
    let write = fault(0x020).unwrap();
    let request = write.request().unwrap();
    assert_eq!(request.device, 0x300);
    assert_eq!(request.domain, Some(5));
    assert_eq!(request.pasid, None);
    assert_eq!(request.address, 0xdead_b000);
    assert_eq!(request.access, Access::Write);
    assert_eq!(request.code, 0x2020);
    assert!(!request.execute);
    assert_eq!(
        write.reason(),
        "the page is not mapped, or the device is blocked"
    );

    let access = |flags| fault(flags).unwrap().request().unwrap().access;
    let reason = |flags| fault(flags).unwrap().reason();
    assert_eq!(access(0x000), Access::Read);
    assert_eq!(access(0x070), Access::Write);
    assert_eq!(reason(0x070), "the page is not mapped for writing");
    assert_eq!(access(0x050), Access::Read);
    assert_eq!(reason(0x050), "the page is not mapped for reading");
    assert_eq!(reason(0x0b0), "reserved bits are set in a page table entry");
    assert_eq!(
        reason(0x052),
        "the page is not mapped for instruction fetches"
    );
    assert!(fault(0x052).unwrap().request().unwrap().execute);
    assert_eq!(
        reason(0x010),
        "the unit does not understand a page table entry"
    );
    assert_eq!(access(0x100), Access::Translation);

    // A guest's event with process id 0xabcde.
    let guest = Event::decode([0x2021_bcde_000a_0300, 0x1000]).unwrap();
    assert_eq!(guest.request().unwrap().domain, None);
    assert_eq!(guest.request().unwrap().pasid, Some(0xa_bcde));

    // The unit has not written the entry yet.
    assert_eq!(Event::decode([0x0020_0005_0000_0300, 0xdead_b000]), None);
}

#[test]
fn interrupts() {
    let fault = |flags: u64, address| {
        Event::decode([0x2000_0000_0000_0300 | flags << 48, address]).unwrap()
    };
    for address in [
        0xfee0_0000,
        0xfeef_fffc,
        0xfd_f800_0000,
        0xffff_fffd_f800_0000,
    ] {
        let refused = fault(0x008, address);
        assert_eq!(refused.request().unwrap().access, Access::Interrupt);
        assert_eq!(
            refused.reason(),
            "the interrupt has no remapping entry, or is blocked"
        );
    }
    assert_eq!(
        fault(0x098, 0xfee0_0000).reason(),
        "reserved bits are set in the interrupt remapping entry"
    );
    assert_eq!(
        fault(0x018, 0xfee0_0000).reason(),
        "the interrupt is not allowed"
    );
}

/// QEMU marks all requests as interrupts, with the kind of access in bits 49:48.
#[test]
fn faults_of_qemu() {
    let fault = |info: u64| Event::decode([info << 48 | 0x18, 0x8000_0000]).unwrap();
    for (info, access) in [(0x2009, Access::Read), (0x200a, Access::Write)] {
        let event = fault(info);
        let request = event.request().unwrap();
        assert_eq!(request.access, access);
        assert_eq!((request.device, request.address), (0x18, 0x8000_0000));
        assert_eq!((request.domain, request.pasid), (None, None));
        assert!(!request.execute);
        assert_eq!(u64::from(request.code), info);
        assert_eq!(
            event.reason(),
            "the page is not mapped, or the device is blocked"
        );
    }
}

#[test]
fn other_events() {
    let event = |low| Event::decode([low, 0x1234_5678]).unwrap();

    let illegal = event(0x1080_0000_0000_0a00);
    assert_eq!(illegal.request().unwrap().device, 0xa00);
    assert_eq!(
        illegal.reason(),
        "reserved bits are set in the device table entry"
    );
    assert_eq!(
        event(0x1000_0000_0000_0a00).reason(),
        "the unit does not understand the device table entry"
    );

    let hardware = event(0x3200_0000_0000_0a00);
    assert!(
        matches!(hardware, Event::DeviceTableError(request, HardwareError::MasterAbort)
            if request.device == 0xa00 && request.address == 0x1234_5678)
    );
    assert_eq!(
        hardware.to_string(),
        "the unit could not read the device table (nothing answers at its address)"
    );
    assert!(matches!(
        event(0x4420_0007_0000_0a00),
        Event::PageTableError(request, HardwareError::TargetAbort)
            if request.domain == Some(7) && request.access == Access::Write
    ));
    assert!(matches!(
        event(0x6600_0000_0000_0000),
        Event::CommandError {
            address: 0x1234_5678,
            error: HardwareError::Data,
        }
    ));
    let command = event(0x5000_0000_0000_0000);
    assert_eq!(
        command,
        Event::IllegalCommand {
            address: 0x1234_5678
        }
    );
    assert!(command.request().is_none());
    assert_eq!(
        event(0x7000_0000_0000_0a00),
        Event::DeviceTlbTimeout {
            device: 0xa00,
            address: 0x1234_5670
        }
    );
    assert!(matches!(
        event(0x9000_0000_0000_0a00),
        Event::InvalidPageRequest(_)
    ));
    assert_eq!(event(0xa000_0000_0000_0000), Event::CounterZero);
    assert_eq!(event(0xb000_0000_0000_0000), Event::GuestEventFault);
    assert!(matches!(
        event(0xc000_0000_0000_0000),
        Event::GuestUnitError { .. }
    ));
    assert!(matches!(event(0xd000_0000_0000_0a00), Event::OwnerFault(_)));
    assert!(matches!(event(0xe000_0000_0000_0a00), Event::OwnerError(_)));
    assert_eq!(
        event(0xf000_0000_0000_0001).to_string(),
        "an event that was not defined when this was written (0xf000000000000001 \
         0x0000000012345678)"
    );
}

/// Bits 59:57 of an INVALID_DEVICE_REQUEST. A known machine logs flags 0x0a00: a write to the
/// interrupt range by a device whose IntCtl is 0.
#[test]
fn invalid_requests() {
    let reason = |flags: u64| {
        Event::decode([0x8000_0000_0000_0000 | flags << 48, 0xffff_fffd_f800_0000])
            .unwrap()
            .reason()
    };
    assert_eq!(
        reason(0xa00),
        "the device sent an interrupt, which its entry forbids"
    );
    let mut all: Vec<_> = (0..8)
        .flat_map(|kind| [reason(kind << 9), reason(kind << 9 | 0x100)])
        .collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 10);
}
