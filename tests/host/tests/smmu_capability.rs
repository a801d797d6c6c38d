// SPDX-License-Identifier: GPL-2.0

//! Identification registers of SMMUv3: QEMU's values, and each bit separately.

mod smmu;
mod drivers {
    pub use iommu_core_host::shell;
}

use iommu_core_host::pgtable::{self, armv8::GranuleSize};
use smmu::records::{
    capability::{
        Capability, Firmware, FlagUpdates, Preset, Quirks, Refusal, Registers, SizeChange, Stage,
        Stalls,
    },
    stream_table_layout::StreamTableFormat,
    table_needs::TableNeeds,
};

const FIRMWARE: Firmware = Firmware {
    coherent: true,
    flag_updates: None,
    page0_only: false,
    window: 0x2_0000,
    repeat_invalidations: false,
};

/// QEMU 11.1, `-M virt-9.1,iommu=smmuv3`: stage 1.
const QEMU: Registers = Registers {
    idr0: 0x0d44_101a,
    idr1: 0x0273_0010,
    idr3: 0x0000_1404,
    idr5: 0x0000_0074,
    iidr: 0,
    aidr: 1,
};

fn decode(registers: Registers) -> Capability {
    Capability::decode(&registers, &FIRMWARE)
}

fn judge(registers: Registers) -> Result<Capability, Refusal> {
    Capability::judge(&registers, &FIRMWARE)
}

#[test]
fn qemu_unit() {
    let cap = judge(QEMU).unwrap();
    assert!(cap.stage1 && !cap.stage2 && !cap.nesting && cap.aarch64);
    assert!(cap.coherent && !cap.coherent_overridden);
    assert_eq!((cap.asid_bits, cap.vmid_bits), (16, 16));
    assert_eq!(cap.stalls, Stalls::Never);
    assert!(cap.terminate_by_abort && !cap.messages && !cap.events && !cap.hypervisor);
    assert!(!cap.device_tlb && !cap.device_tlb_split && !cap.broadcast && !cap.two_level_contexts);
    assert_eq!(cap.flag_updates, FlagUpdates::None);
    assert_eq!(cap.stream_table, StreamTableFormat::TwoLevel);
    assert_eq!((cap.stream_bits, cap.substream_bits), (16, 0));
    assert_eq!((cap.queues.commands, cap.queues.events), (19, 19));
    assert_eq!(cap.queues.page_requests, None);
    assert!(!cap.override_types && !cap.override_permissions);
    assert!(cap.range_invalidation && cap.hierarchy_disable && !cap.small_tables);
    assert_eq!(cap.size_change, SizeChange::Direct);
    assert_eq!((cap.output_bits, cap.virtual_bits), (44, 48));
    assert!(GranuleSize::ALL
        .into_iter()
        .all(|g| cap.granules.contains(g)));
    assert_eq!(cap.version, (0, 1));
    assert_eq!(cap.max_stalls, 0);
    assert_eq!(cap.register_bytes, 0x2_0000);
    assert!(!cap.poll_messages());
}

/// Stage 2 alone, and both stages, which newer QEMU machines have.
#[test]
fn other_qemu_units() {
    let cap = judge(Registers {
        idr0: 0x0d44_1019,
        idr3: 0x1414,
        ..QEMU
    })
    .unwrap();
    assert!(!cap.stage1 && cap.stage2 && !cap.nesting && cap.execute_by_level);
    let cap = judge(Registers {
        idr0: 0x0d44_101b,
        idr3: 0x1414,
        ..QEMU
    })
    .unwrap();
    assert!(cap.stage1 && cap.stage2 && cap.nesting);
}

/// Every bit of IDR0 separately, at its position in IHI 0070 6.3.
#[test]
fn features() {
    let none = Registers {
        idr0: 0,
        idr1: 0,
        idr3: 0,
        idr5: 0,
        iidr: 0,
        aidr: 0,
    };
    let idr0 = |idr0| decode(Registers { idr0, ..none });
    let base = idr0(0);
    assert!(!base.stage1 && !base.stage2 && !base.aarch64 && !base.nesting);
    assert!(
        base.coherent_overridden,
        "firmware says coherent, IDR0 does not"
    );
    assert_eq!(base.stream_table, StreamTableFormat::Linear);
    assert_eq!((base.asid_bits, base.vmid_bits), (8, 8));
    assert_eq!(base.stalls, Stalls::Optional);

    assert!(idr0(1 << 0).stage2);
    assert!(idr0(1 << 1).stage1);
    assert!(idr0(0b11).nesting);
    assert!(!idr0(1 << 2).aarch64);
    assert!(idr0(1 << 3).aarch64);
    assert!(!idr0(1 << 4).coherent_overridden);
    assert!(idr0(1 << 5).broadcast);
    assert_eq!(idr0(1 << 6).flag_updates, FlagUpdates::Access);
    assert_eq!(idr0(2 << 6).flag_updates, FlagUpdates::AccessDirty);
    assert_eq!(idr0(3 << 6).flag_updates, FlagUpdates::AccessDirtyTables);
    assert!(idr0(1 << 8).dormant_hint);
    assert!(idr0(1 << 9).hypervisor);
    let ats = idr0(1 << 10);
    assert!(ats.device_tlb && ats.device_tlb_split);
    assert!(!idr0(3 << 10).device_tlb_split);
    assert_eq!(idr0(1 << 12).asid_bits, 16);
    assert!(idr0(1 << 13).messages && idr0(1 << 13).poll_messages());
    assert!(idr0(1 << 14).events);
    assert!(idr0(1 << 15).address_lookup);
    assert_eq!(idr0(1 << 16).queues.page_requests, Some(0));
    assert!(idr0(1 << 17).vmid_wildcards);
    assert_eq!(idr0(1 << 18).vmid_bits, 16);
    assert!(idr0(1 << 19).two_level_contexts);
    assert_eq!(idr0(1 << 24).stalls, Stalls::Never);
    assert_eq!(idr0(2 << 24).stalls, Stalls::Always);
    assert_eq!(idr0(3 << 24).stalls, Stalls::Never);
    assert!(idr0(1 << 26).terminate_by_abort);

    let idr1 = |idr1| {
        decode(Registers {
            idr0: 1 << 27 | 1 << 16,
            idr1,
            ..none
        })
    };
    assert_eq!(idr1(32).stream_bits, 32);
    assert_eq!(idr1(63).stream_bits, 32);
    // Two levels are useful only with more than one second-level table.
    assert_eq!(idr1(8).stream_table, StreamTableFormat::Linear);
    assert_eq!(idr1(9).stream_table, StreamTableFormat::TwoLevel);
    assert_eq!(idr1(20 << 6).substream_bits, 20);
    assert_eq!(idr1(31 << 6).substream_bits, 20);
    assert_eq!(idr1(7 << 11).queues.page_requests, Some(7));
    assert_eq!(idr1(7 << 16).queues.events, 7);
    assert_eq!(idr1(7 << 21).queues.commands, 7);
    assert_eq!(idr1(31 << 21).queues.commands, 19);
    assert!(idr1(1 << 26).override_permissions);
    assert!(idr1(1 << 27).override_types);

    let idr3 = |idr3| decode(Registers { idr3, ..none });
    assert!(idr3(1 << 2).hierarchy_disable);
    assert!(idr3(1 << 3).page_attributes);
    assert!(idr3(1 << 4).execute_by_level);
    assert!(idr3(1 << 8).force_write_back);
    assert!(idr3(1 << 9).small_tables);
    assert!(idr3(1 << 10).range_invalidation);
    let size_change = |bbml: u32| idr3(bbml << 11).size_change;
    assert_eq!(size_change(0), SizeChange::Break);
    assert_eq!(size_change(1), SizeChange::NonTranslating);
    assert_eq!(size_change(2), SizeChange::Direct);
    assert_eq!(size_change(3), SizeChange::Break);

    let idr5 = |idr5| decode(Registers { idr5, ..none });
    let output = [32, 36, 40, 42, 44, 48, 52, 48];
    for (code, bits) in (0..).zip(output) {
        assert_eq!(idr5(code).output_bits, bits, "OAS {code}");
    }
    assert!(idr5(1 << 4).granules.contains(GranuleSize::K4));
    assert!(idr5(1 << 5).granules.contains(GranuleSize::K16));
    assert!(idr5(1 << 6).granules.contains(GranuleSize::K64));
    assert_eq!(idr5(1 << 10).virtual_bits, 52);
    assert_eq!(idr5(2 << 10).virtual_bits, 48);
    assert_eq!(idr5(0xabcd_0000).max_stalls, 0xabcd);
    let aidr = decode(Registers { aidr: 0x13, ..none });
    assert_eq!(aidr.version, (1, 3));
}

/// More than 48 address bits require 64 KiB pages.
#[test]
fn address_sizes() {
    let cap = decode(Registers {
        idr5: 1 << 10 | 6,
        ..QEMU
    });
    let sizes = |granule| {
        (
            cap.stage1_input_bits(granule),
            cap.stage2_input_bits(granule),
            cap.table_output_bits(granule),
        )
    };
    assert_eq!(sizes(GranuleSize::K4), (48, 48, 48));
    assert_eq!(sizes(GranuleSize::K16), (48, 48, 48));
    assert_eq!(sizes(GranuleSize::K64), (52, 52, 52));
    let cap = decode(QEMU);
    assert_eq!(cap.stage1_input_bits(GranuleSize::K64), 48);
    assert_eq!(cap.stage2_input_bits(GranuleSize::K64), 44);
    assert_eq!(cap.table_output_bits(GranuleSize::K4), 44);
}

#[test]
fn firmware_overrides_registers() {
    let firmware = Firmware {
        coherent: false,
        flag_updates: Some(FlagUpdates::AccessDirty),
        page0_only: true,
        window: 0x1_0000,
        repeat_invalidations: true,
    };
    let registers = Registers {
        idr0: QEMU.idr0 | 1 << 13,
        ..QEMU
    };
    let cap = Capability::judge(&registers, &firmware).unwrap();
    assert!(!cap.coherent && cap.coherent_overridden);
    // A processor that does not see the message cannot poll for it.
    assert!(cap.messages && !cap.poll_messages());
    assert_eq!(cap.flag_updates, FlagUpdates::AccessDirty);
    assert_eq!(cap.register_bytes, 0x1_0000);
    assert!(cap.quirks.repeat_invalidations);
    assert!(
        !Quirks::of(u32::MAX).repeat_invalidations && !decode(QEMU).quirks.repeat_invalidations
    );
}

/// Behind 64 KiB are the registers of something else. Only one product has all of them there.
#[test]
fn a_window_without_page_1() {
    let with = |window, page0_only| {
        let firmware = Firmware {
            window,
            page0_only,
            ..FIRMWARE
        };
        Capability::judge(&QEMU, &firmware).map(|cap| cap.register_bytes)
    };
    let refused = |has| {
        Err(Refusal::Window {
            has,
            needs: 0x2_0000,
        })
    };
    assert_eq!(with(0x1_0000, false), refused(0x1_0000));
    assert_eq!(with(0x1_ffff, false), refused(0x1_ffff));
    assert_eq!(with(0x2_0000, false), Ok(0x2_0000));
    assert_eq!(with(0x1_0000, true), Ok(0x1_0000));
    assert_eq!(with(0x2_0000, true), Ok(0x1_0000));
    let text = with(0x1_0000, false).unwrap_err().to_string();
    assert!(
        text.contains("0x10000 bytes, but there must be 0x20000"),
        "{text}"
    );
}

/// A domain attaches only to units that bear what its page table does at any moment.
#[test]
fn what_a_page_table_needs() {
    // Granules of 4 and 64 KiB.
    let idr5 = 0x54;
    let registers = |idr3: u32| Registers { idr3, idr5, ..QEMU };
    let needs = |registers| {
        let cap = decode(registers);
        TableNeeds {
            stage: cap.stage(),
            granule: GranuleSize::K4,
            input_bits: 48,
            output_bits: cap.table_output_bits(GranuleSize::K4),
            snoops: cap.coherent,
            splits: TableNeeds::may_split(&cap),
        }
    };
    // BBML 0, 1 and 2.
    let [break_first, by_bit, direct] = [0, 1, 2].map(|bbml| registers(bbml << 11));
    for unit in [break_first, by_bit, direct] {
        assert_eq!(needs(unit).splits, unit == direct);
        assert!(needs(break_first).are_met_by(&decode(unit)));
        assert!(needs(by_bit).are_met_by(&decode(unit)));
        assert_eq!(needs(direct).are_met_by(&decode(unit)), unit == direct);
    }

    let all = needs(direct);
    let meets = |needs: TableNeeds| needs.are_met_by(&decode(direct));
    assert!(meets(all));
    for other in [
        TableNeeds {
            stage: Stage::Two,
            ..all
        },
        TableNeeds {
            granule: GranuleSize::K16,
            ..all
        },
        TableNeeds {
            input_bits: 49,
            ..all
        },
        TableNeeds {
            output_bits: all.output_bits + 1,
            ..all
        },
    ] {
        assert!(!meets(other), "{other:?}");
    }
    let not_coherent = Firmware {
        coherent: false,
        ..FIRMWARE
    };
    let unit = Capability::decode(&direct, &not_coherent);
    assert!(!all.are_met_by(&unit));
    let flushed = TableNeeds {
        snoops: false,
        ..all
    };
    assert!(flushed.are_met_by(&unit) && meets(flushed));
}

#[test]
fn units_that_cannot_be_driven() {
    let refuse = |registers| judge(registers).unwrap_err();
    let all = |word| Registers {
        idr0: word,
        idr1: word,
        idr3: word,
        idr5: word,
        iidr: word,
        aidr: word,
    };
    assert_eq!(refuse(all(0)), Refusal::NoRegisters);
    assert_eq!(refuse(all(u32::MAX)), Refusal::NoRegisters);

    let idr0 = |idr0| refuse(Registers { idr0, ..QEMU });
    let idr1 = |idr1| refuse(Registers { idr1, ..QEMU });
    assert_eq!(idr0(QEMU.idr0 & !3), Refusal::NoTranslation);
    assert_eq!(idr0(QEMU.idr0 & !8), Refusal::NoFormat);
    assert_eq!(idr0(QEMU.idr0 & !8 | 4), Refusal::NoFormat);
    let endian = |code: u32| QEMU.idr0 & !(3 << 21) | code << 21;
    assert_eq!(idr0(endian(1)), Refusal::Endianness { code: 1 });
    assert_eq!(idr0(endian(3)), Refusal::Endianness { code: 3 });
    for either in [0, 2] {
        let idr0 = endian(either);
        assert!(judge(Registers { idr0, ..QEMU }).is_ok());
    }
    assert_eq!(
        idr1(QEMU.idr1 | 1 << 30 | 1 << 28),
        Refusal::Preset(Preset::Tables)
    );
    assert_eq!(idr1(QEMU.idr1 | 1 << 29), Refusal::Preset(Preset::Queues));
    assert_eq!(idr1(QEMU.idr1 | 1 << 28), Refusal::Preset(Preset::Relative));
    let commands = |bits: u32| QEMU.idr1 & !(31 << 21) | bits << 21;
    assert_eq!(idr1(commands(3)), Refusal::CommandQueue { entries: 8 });
    assert_eq!(idr1(commands(0)), Refusal::CommandQueue { entries: 1 });
    let idr1 = commands(4);
    assert!(judge(Registers { idr1, ..QEMU }).is_ok());
    assert_eq!(refuse(Registers { idr5: 4, ..QEMU }), Refusal::NoGranule);

    let text = |refusal: Refusal| refusal.to_string();
    assert!(text(Refusal::Preset(Preset::Tables)).contains("TABLES_PRESET"));
    assert!(text(Refusal::Preset(Preset::Queues)).contains("QUEUES_PRESET"));
    assert!(text(Refusal::Endianness { code: 3 }).contains("big-endian"));
    assert!(text(Refusal::CommandQueue { entries: 8 }).contains("16 is the least"));
}

/// The fields that the C driver reads from IIDR: product, variant, revision, implementer.
#[test]
fn products() {
    let of = |product: u32, variant: u32, revision: u32| {
        Quirks::of(product << 20 | variant << 16 | revision << 12 | 0x43b)
    };
    let mmu600 = of(0x483, 0, 2);
    assert!(mmu600.no_events && mmu600.no_nesting && !mmu600.no_broadcast);
    let mmu600 = of(0x483, 0, 3);
    assert!(!mmu600.no_events && mmu600.no_nesting);
    let mmu600 = of(0x483, 2, 0);
    assert!(!mmu600.no_events && !mmu600.no_nesting);

    let mmu700 = of(0x487, 1, 0);
    assert!(mmu700.no_broadcast && mmu700.no_nesting);
    assert_eq!(mmu700.max_unsynced, Some(63));
    let mmu700 = of(0x487, 1, 1);
    assert!(mmu700.no_broadcast && !mmu700.no_nesting);
    assert_eq!(mmu700.max_unsynced, None);

    assert!(of(0x48a, 3, 3).no_broadcast && of(0x498, 3, 3).no_broadcast);
    let other = of(0x499, 0, 0);
    assert!(!other.no_broadcast && !other.no_nesting && !other.no_events);
    // The same numbers with another implementer.
    assert_eq!(Quirks::of(0x4830_0000), other);

    let cap = decode(Registers {
        idr0: QEMU.idr0 | 3 | 1 << 14 | 1 << 5,
        iidr: 0x4830_243b,
        ..QEMU
    });
    assert!(!cap.events && !cap.nesting && cap.broadcast);
}
