// SPDX-License-Identifier: GPL-2.0

//! Paging domains on a unit that is off: its device table, and the tables that this leads to.

#![forbid(unsafe_code)]

mod commits;
mod growth;

use kernel::{io::Io, macros::kunit_tests, sync::atomic::Relaxed};

use super::{
    super::{
        capability::TableConfig,
        commands::Space,
        entries::DeviceEntry,
        faults,
        hardware::{tests::unit_with_tables, Hardware},
        regs::{CONTROL_LOW, EVENT_HEAD, STATUS},
    },
    *,
};
use crate::{
    id_map::{IdMap, UnitFaults},
    pasid::Selector,
    pgtable::{Entry, Gather, Table, TableMemory},
    unit::Unit,
};

/// An IVRS table with one unit (00:01.0, registers at 0xfed80000) for all devices.
fn firmware() -> Result<Arc<Firmware>> {
    let mut bytes = KVec::new();
    bytes.extend_from_slice(b"IVRS", GFP_KERNEL)?;
    bytes.extend_from_slice(&76u32.to_le_bytes(), GFP_KERNEL)?;
    bytes.extend_from_slice(&[0; 40], GFP_KERNEL)?;
    bytes.extend_from_slice(&[0x10, 0, 28, 0, 8, 0, 0x40, 0], GFP_KERNEL)?;
    bytes.extend_from_slice(&0xfed8_0000u64.to_le_bytes(), GFP_KERNEL)?;
    bytes.extend_from_slice(&[0; 8], GFP_KERNEL)?;
    // All devices.
    bytes.extend_from_slice(&[1, 0, 0, 0], GFP_KERNEL)?;
    let sum = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    bytes[9] = sum.wrapping_neg();
    Firmware::check(bytes)
}

/// A unit that was taken over and is off, so it carries out every batch at once.
fn unit(kind: TableKind) -> Result<AmdViUnit> {
    let hardware = unit_with_tables(kind)?;
    hardware.start()?;
    unit_with(hardware)
}

/// The unit with `hardware`, which was taken over.
fn unit_with(hardware: Arc<Hardware>) -> Result<AmdViUnit> {
    let description = Description {
        firmware: firmware()?,
        base: 0xfed8_0000,
        segment: 0,
        function: RequesterId::new(8),
    };
    AmdViUnit::taken_over(hardware.health.clone(), description, hardware)
}

fn hardware(unit: &AmdViUnit) -> Result<&Hardware> {
    Ok(unit.hardware()?)
}

fn read(unit: &AmdViUnit, id: RequesterId) -> Option<Translation> {
    let entry = hardware(unit).ok()?.tables.read(id)?;
    Some(entry.translation)
}

fn map(paging: &Paging, iova: u64, phys: u64) -> Result {
    map_with(paging, iova, phys, Gfp::KERNEL)
}

fn map_with(paging: &Paging, iova: u64, phys: u64, flags: Gfp) -> Result {
    map_as(paging, iova, phys, Prot::READ | Prot::WRITE, flags)
}

fn map_as(paging: &Paging, iova: u64, phys: u64, prot: Prot, flags: Gfp) -> Result {
    let mut gather = Gather::new();
    let (mapped, result) = AmdVi::map(
        paging,
        Iova::new(iova),
        PhysAddr::new(phys),
        4096,
        prot,
        flags,
        &mut gather,
    );
    assert!(gather.is_empty());
    assert_eq!(mapped, if result.is_ok() { 4096 } else { 0 });
    result
}

fn unmap(paging: &Paging, iova: u64) {
    let mut gather = Gather::new();
    assert_eq!(
        AmdVi::unmap(paging, Iova::new(iova), 4096, &mut gather),
        4096
    );
    gather.done();
}

/// Entry `index` of the table at `address`.
fn entry(address: u64, index: usize) -> u64 {
    let table = Table::at(PhysAddr::new(address));
    KernelMemory::new(-1).entries(table, 512)[index].load()
}

const ADDRESS: u64 = 0xf_ffff_ffff_f000;

#[kunit_tests(iommu_core_amd_vi)]
mod suite {
    use super::*;

    /// Version 2, which no emulator translates with: the DTE leads to a GCR3 table, this to the
    /// page table, and this to the page. The bits are those of the processors' tables, and of the
    /// specification's DTE (2.2.2, 2.2.6).
    #[test]
    fn guest_tables() -> Result {
        for (levels, bits) in [(4, 47), (5, 56)] {
            let unit = unit(TableKind::Guest)?;
            let space = TableConfig {
                kind: TableKind::Guest,
                levels,
                bits,
                no_execute: false,
            };
            let paging = Paging::new(space, -1)?;
            assert_eq!(
                AmdVi::geometry(&paging),
                Geometry {
                    first: Iova::new(0),
                    last: Iova::new((1 << bits) - 1),
                    page_sizes: crate::addr::PageSizes::new(1 << 12 | 1 << 21 | 1 << 30),
                }
            );
            map(&paging, 0x8060_4000, 0x1234_5000)?;

            let translation = paging.translation(9);
            let words = DeviceEntry {
                translation,
                ..DeviceEntry::BLOCKED
            }
            .encode();
            // V, TV, GIoV, GV, IR, IW; one level of GCR3 tables.
            assert_eq!(
                words[0] & !(7 << 58),
                1 | 1 << 1 | 1 << 54 | 1 << 55 | 1 << 61 | 1 << 62
            );
            assert_eq!(words[1] & 0xffff, 9);
            assert_eq!(words[2], u64::from(levels == 5) << 54);
            let roots =
                (words[0] >> 58 & 7) << 12 | (words[1] >> 16 & 0xffff) << 15 | words[1] >> 43 << 31;

            let root = entry(roots, 0);
            assert_eq!(root & !ADDRESS, 1);
            assert!((1..512).all(|index| entry(roots, index) == 0));
            // 0x80604000 is entry 2, 3, 4 from the third level down.
            let mut table = root & ADDRESS;
            for index in [0, 0, 2, 3].into_iter().skip(5 - usize::from(levels)) {
                let link = entry(table, index);
                // Present, writable, for users.
                assert_eq!(link & 7, 7);
                table = link & ADDRESS;
            }
            let leaf = entry(table, 4);
            assert_eq!(leaf & (ADDRESS | 7), 0x1234_5000 | 7);

            // The attach, and the address space in commands.
            let tag = AmdVi::acquire_tag(&unit, Some(&paging), Selector::NoPasid)?;
            let id = RequesterId::pci(1, 0);
            let hardware = hardware(&unit)?;
            hardware.tables.change(id, paging.translation(tag.0));
            assert_eq!(read(&unit, id), Some(paging.translation(tag.0)));
            assert_eq!(hardware.space(), Space::Guest { pasid: 0 });
            hardware.tables.block_all();
            unmap(&paging, 0x8060_4000);
            AmdVi::release_tag(&unit, tag);
            AmdVi::release(&unit)?;
        }
        Ok(())
    }

    /// All events are read, and a status that never changes does not keep the thread for ever.
    #[test]
    fn events() -> Result {
        let unit = Unit::<AmdVi>::new(unit(TableKind::Host)?)?;
        let sink = UnitFaults::new(&IdMap::new()?, &unit)?;
        let hardware = hardware(unit.data())?;
        let registers = &hardware.registers;
        let io = registers.io();
        io.write_reg(STATUS::zeroed());
        let head = || u32::from(io.read(EVENT_HEAD));

        // IO_PAGE_FAULT of a write of 01:00.0, ILLEGAL_COMMAND_ERROR, and one that does not arrive.
        for event in [
            [0x2020_0000_0000_0100, 0x1000],
            [0x5000_0000_0000_0000, 0x2000],
            [0; 2],
        ] {
            hardware.events.put(registers, event);
        }
        faults::report(hardware, &*sink, || false);
        assert_eq!(head(), 48);
        assert_eq!(sink.unknown_ids(), 1);
        assert_eq!(hardware.own_events.load(Relaxed), 2);
        assert_eq!(hardware.overflows.load(Relaxed), 0);

        // More events than the log has slots, so that the indexes wrap around.
        for _ in 0..3 {
            for _ in 0..400 {
                hardware
                    .events
                    .put(registers, [0x2020_0000_0000_0100, 0x1000]);
            }
            faults::report(hardware, &*sink, || false);
        }
        assert_eq!(head(), 1203 % 512 * 16);
        assert_eq!(sink.unknown_ids(), 1201);

        // Nothing is read once the interrupt is about to end.
        hardware.events.put(registers, [0; 2]);
        faults::report(hardware, &*sink, || true);
        assert_eq!(head(), 1203 % 512 * 16);

        // A log that was full is restarted. These registers say for ever that it is full.
        io.write_reg(STATUS::zeroed().with_event_overflow(true));
        faults::report(hardware, &*sink, || false);
        assert!((1..100).contains(&hardware.overflows.load(Relaxed)));
        assert!(io.read(CONTROL_LOW).event_log());
        // The same for the interrupt bit, and for a unit that does not answer.
        io.write_reg(STATUS::zeroed().with_event_interrupt(true));
        faults::report(hardware, &*sink, || false);
        io.write_reg(STATUS::from(u32::MAX));
        faults::report(hardware, &*sink, || false);

        io.write_reg(STATUS::zeroed());
        AmdVi::release(unit.data())?;
        Ok(())
    }

    /// A domain fits units that walk tables of its kind, with as many levels as it may get.
    #[test]
    fn fitting_units() -> Result {
        let of = |kind, levels, bits| TableConfig {
            kind,
            levels,
            bits,
            no_execute: false,
        };
        let paging = Paging::new(of(TableKind::Host, 4, 48), -1)?;
        assert!(paging.fits(&of(TableKind::Host, 4, 48)));
        assert!(paging.fits(&of(TableKind::Host, 6, 64)));
        assert!(!paging.fits(&of(TableKind::Host, 4, 40)));
        assert!(!paging.fits(&of(TableKind::Guest, 5, 56)));
        // It does not map addresses that a unit cannot translate.
        assert_eq!(map(&paging, 1 << 48, 0x1000), Err(ERANGE));

        // A unit without NXSup takes NX for a reserved bit, so it walks no table that may have it.
        // A unit with NXSup walks a table without it.
        let knows = TableConfig {
            no_execute: true,
            ..of(TableKind::Guest, 4, 47)
        };
        let paging = Paging::new(knows, -1)?;
        assert!(paging.fits(&knows));
        assert!(!paging.fits(&of(TableKind::Guest, 4, 47)));
        assert!(Paging::new(of(TableKind::Guest, 4, 47), -1)?.fits(&knows));
        Ok(())
    }

    /// The highest bit of a leaf is NX, and reserved for units without NXSup (2.2.6).
    #[test]
    fn no_instruction_fetches() -> Result {
        for no_execute in [false, true] {
            let paging = Paging::new(
                TableConfig {
                    kind: TableKind::Guest,
                    levels: 4,
                    bits: 47,
                    no_execute,
                },
                -1,
            )?;
            let prot = Prot::READ | Prot::WRITE | Prot::NOEXEC;
            map_as(&paging, 0x1000, 0x1234_5000, prot, Gfp::KERNEL)?;
            let Translation::Guest { gcr3, .. } = paging.translation(9) else {
                return Err(EINVAL);
            };
            let mut table = entry(gcr3, 0) & ADDRESS;
            for _ in 0..3 {
                table = entry(table, 0) & ADDRESS;
            }
            let leaf = entry(table, 1);
            assert_eq!(leaf & ADDRESS, 0x1234_5000);
            assert_eq!(leaf >> 63, u64::from(no_execute));
            unmap(&paging, 0x1000);
        }
        Ok(())
    }
}
