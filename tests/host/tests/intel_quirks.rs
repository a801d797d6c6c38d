// SPDX-License-Identifier: GPL-2.0

//! Machines whose units are wrong in a known way, by the PCI functions that they have. The ids are
//! those of the kernel's own driver.

mod intel;
#[allow(dead_code)]
#[path = "../../../requester.rs"]
mod requester;
mod drivers {
    pub use iommu_core_host::shell;
}

use intel::{
    quirks::{
        dma_engine_unit, is_dma_engine, Function, IsochronousUnit, LeftAlone, Note, Present, Quirks,
    },
    scope::{is_listed, lists_functions_only, Device, Location},
    tables::{table, LAPTOP, QEMU, SERVER},
    Checked,
};
use requester::RequesterId;

const DISPLAY: u32 = 0x03_0000;
const HOST_BRIDGE: u32 = 0x06_0000;

fn intel(device: u16, class: u32) -> Function {
    Function {
        vendor: 0x8086,
        device,
        class,
        on_root_bus: true,
        trusted: true,
    }
}

fn see(functions: &[Function]) -> Quirks {
    see_with(functions, |_| Some(0)).0
}

fn see_with(
    functions: &[Function],
    read: impl Fn(u16) -> Option<u32>,
) -> (Quirks, Vec<Option<Note>>) {
    let mut quirks = Quirks::default();
    let notes = functions
        .iter()
        .map(|&function| quirks.see(function, &read))
        .collect();
    (quirks, notes)
}

#[test]
fn machine_that_is_in_order() {
    // Skylake: host bridge, graphics.
    let quirks = see(&[intel(0x1904, HOST_BRIDGE), intel(0x1916, DISPLAY)]);
    assert_eq!(quirks, Quirks::default());
    assert!(quirks.allows_deferred_flush());
}

#[test]
fn graphics_units_that_do_not_work() {
    let mut ids = vec![
        0x29b2, 0x2a40, 0x2e00, 0x2e10, 0x2e20, 0x2e30, 0x2e40, 0x2e90, 0x0044,
    ];
    for level in 0..4 {
        for kind in [0x2, 0x6, 0xa, 0xb, 0xd, 0xe] {
            ids.push(0x1600 | level << 4 | kind);
        }
    }
    assert_eq!(ids.len(), 33);
    for id in ids {
        let (quirks, notes) = see_with(&[intel(id, HOST_BRIDGE)], |_| None);
        assert!(quirks.graphics_unit_broken, "{id:#x}");
        assert_eq!(notes, [Some(Note::GraphicsUnitBroken)]);
    }
    for id in [0x1600, 0x1604, 0x1612 + 0x30, 0x0046, 0x1904] {
        assert!(
            !see(&[intel(id, HOST_BRIDGE)]).graphics_unit_broken,
            "{id:#x}"
        );
    }
}

#[test]
fn write_buffer_flush_that_the_capability_hides() {
    for id in [0x2a40, 0x2e00, 0x2e10, 0x2e20, 0x2e30, 0x2e40, 0x2e90] {
        assert!(see(&[intel(id, HOST_BRIDGE)]).write_buffer, "{id:#x}");
    }
    assert!(!see(&[intel(0x29b2, HOST_BRIDGE)]).write_buffer);
}

/// GGC is the word at 0x52, bit 11 of which says that there is a shadow.
#[test]
fn ironlake_by_its_graphics_control() {
    for id in [0x0040, 0x0062, 0x006a] {
        let bridge = [intel(id, HOST_BRIDGE)];
        let ggc = |word: u32| move |at| Some(if at == 0x50 { word << 16 | 0xffff } else { 0 });

        let (quirks, notes) = see_with(&bridge, ggc(0xf7ff));
        assert!(quirks.graphics_unit_broken && quirks.allows_deferred_flush());
        assert_eq!(notes, [Some(Note::ShadowMissing)]);

        let (quirks, notes) = see_with(&bridge, ggc(0x0900));
        assert!(!quirks.graphics_unit_broken);
        assert!(!quirks.allows_deferred_flush());
        assert_eq!(notes, [Some(Note::Strict)]);

        let (quirks, notes) = see_with(&bridge, |_| None);
        assert_eq!((quirks, notes), (Quirks::default(), vec![None]));
    }
    // With a unit that is left alone nothing needs strict mode, whichever function comes first.
    let both = [intel(0x0044, HOST_BRIDGE), intel(0x0040, HOST_BRIDGE)];
    for order in [both, [both[1], both[0]]] {
        let (quirks, _) = see_with(&order, |_| Some(u32::MAX));
        assert!(quirks.allows_deferred_flush());
    }
}

#[test]
fn graphics_from_ice_lake_to_meteor_lake() {
    for id in [
        0x4571, 0x4680, 0x46a6, 0x4c8a, 0x4e55, 0x7d55, 0x8a52, 0x9840, 0x9a49, 0xa780,
    ] {
        let (quirks, notes) = see_with(&[intel(id, DISPLAY)], |_| None);
        assert!(quirks.graphics_never_finish, "{id:#x}");
        assert_eq!(notes, [Some(Note::GraphicsNeverFinish)]);
        // Another device with such an id is no display controller.
        assert!(!see(&[intel(id, HOST_BRIDGE)]).graphics_never_finish);
    }
    for id in [0x5917, 0x3e9b, 0x5690, 0xe20b, 0x64a0] {
        assert!(!see(&[intel(id, DISPLAY)]).graphics_never_finish, "{id:#x}");
    }
    let graphics = intel(0x9a49, DISPLAY);
    let quirks = see(&[graphics]);
    let mut present = Present::default();
    present.add(graphics);
    assert!(quirks.must_not_end(present, true));
    // A unit that does not wait for requests in flight stops at once.
    assert!(!quirks.must_not_end(present, false));
    // Neither is it the unit of other devices.
    present.add(intel(0xa0ed, 0x0c_0330));
    assert!(!quirks.must_not_end(present, true));
    assert!(!Quirks::default().must_not_end(present, true));
}

#[test]
fn x58() {
    for id in 0x3400..=0x3407 {
        assert!(see(&[intel(id, HOST_BRIDGE)]).queues_first, "{id:#x}");
    }
    assert!(!see(&[intel(0x3408, 0x06_0400)]).queues_first);
}

/// The revisions of the kernel's early quirk `intel_remapping_check`.
#[test]
fn chipsets_that_lose_remapped_interrupts() {
    let broken = |id, revision: u32| {
        let read = |at| (at == 8).then_some(0x0600_0000 | revision);
        see_with(&[intel(id, HOST_BRIDGE)], read).0.remapping_broken
    };
    for id in [0x3403, 0x3405, 0x3406] {
        assert!(broken(id, 0x12) && broken(id, 0x13), "{id:#x}");
        assert!(!broken(id, 0x14), "{id:#x}");
        assert_eq!(broken(id, 0x22), id == 0x3405);
    }
    assert!(!broken(0x3400, 0x13));
}

/// VTISOCHCTRL: bit 0 routes the sound device to the unit of all devices. With the other bits 0,
/// the register with bits 4:2 is the number of translations.
#[test]
fn sound_device_of_x58() {
    let azalia = intel(0x3a3e, 0x04_0300);
    let registers = intel(0x342e, 0x08_8000);
    let unit =
        |functions: &[Function], word| see_with(functions, |at| (at == 0x188).then_some(word)).0;
    let both = [registers, azalia];
    for (word, expected) in [
        (0x01, IsochronousUnit::Fine),
        (0x10, IsochronousUnit::Fine),
        (0x00, IsochronousUnit::NoEntries),
        (0xffff_ffe2, IsochronousUnit::NoEntries),
        (0x08, IsochronousUnit::Few { entries: 8 }),
    ] {
        let quirks = unit(&both, word);
        assert_eq!(quirks.isochronous_unit(), expected, "{word:#x}");
        let needs = expected == IsochronousUnit::NoEntries;
        assert_eq!(quirks.needs_identity(azalia, false), needs);
        assert!(!quirks.needs_identity(registers, false));
    }
    // Without the device, or with the registers hidden, nothing is known to be wrong.
    for function in both {
        assert_eq!(
            unit(&[function], 0).isochronous_unit(),
            IsochronousUnit::Fine
        );
    }
    assert_eq!(
        see_with(&both, |_| None).0.isochronous_unit(),
        IsochronousUnit::Fine
    );
}

#[test]
fn integrated_graphics_are_untranslated_where_the_kernel_wants_that() {
    let quirks = Quirks::default();
    let graphics = intel(0x1916, DISPLAY);
    assert!(quirks.needs_identity(graphics, true));
    assert!(quirks.needs_identity(intel(0x1916, 0x03_8000), true));
    assert!(!quirks.needs_identity(graphics, false));
    for other in [
        Function {
            vendor: 0x1002,
            ..graphics
        },
        Function {
            class: HOST_BRIDGE,
            ..graphics
        },
        Function {
            on_root_bus: false,
            ..graphics
        },
        Function {
            trusted: false,
            ..graphics
        },
    ] {
        assert!(!quirks.needs_identity(other, true), "{other:?}");
    }
}

/// A device behind an external port may say that it is anything.
#[test]
fn functions_that_are_not_trusted_change_nothing() {
    for (id, class) in [
        (0x2a40, HOST_BRIDGE),
        (0x0040, HOST_BRIDGE),
        (0x9a49, DISPLAY),
        (0x3405, HOST_BRIDGE),
        (0x342e, HOST_BRIDGE),
        (0x3a3e, HOST_BRIDGE),
    ] {
        let function = Function {
            trusted: false,
            ..intel(id, class)
        };
        assert_eq!(see(&[function]), Quirks::default());
        let function = Function {
            vendor: 0x1002,
            ..intel(id, class)
        };
        assert_eq!(see(&[function]), Quirks::default());
    }
    let azalia = Function {
        trusted: false,
        ..intel(0x3a3e, 0x04_0300)
    };
    let quirks = see(&[intel(0x342e, HOST_BRIDGE), intel(0x3a3e, 0x04_0300)]);
    assert!(!quirks.needs_identity(azalia, false));
}

#[test]
fn dma_engine_of_sandy_bridge() {
    assert!(is_dma_engine(intel(0x402f, 0x08_8000)));
    assert!(!is_dma_engine(intel(0x3c20, 0x08_8000)));
    assert_eq!(dma_engine_unit(0xfbff_c001), 0xfbff_0000 + 0xa000);
    assert_eq!(dma_engine_unit(0xffff_ffff), 0xffff_a000);
}

#[test]
fn units_that_are_left_alone() {
    let graphics = intel(0x0046, DISPLAY);
    let ironlake = see(&[intel(0x0044, HOST_BRIDGE)]);
    let with = |functions: &[Function]| {
        let mut present = Present::default();
        functions.iter().for_each(|&function| present.add(function));
        present
    };
    for quirks in [Quirks::default(), ironlake] {
        assert_eq!(quirks.leaves_alone(with(&[])), Some(LeftAlone::NoDevices));
        let other = intel(0x3b3c, 0x0c_0320);
        assert_eq!(quirks.leaves_alone(with(&[other])), None);
        assert_eq!(quirks.leaves_alone(with(&[graphics, other])), None);
    }
    assert_eq!(Quirks::default().leaves_alone(with(&[graphics])), None);
    assert_eq!(
        ironlake.leaves_alone(with(&[graphics])),
        Some(LeftAlone::Graphics)
    );
}

fn is_behind(bytes: &[u8], base: u64, function: RequesterId, upstream: &[RequesterId]) -> bool {
    let checked = Checked::new(bytes).unwrap();
    let table = checked.table();
    let unit = table.units().find(|unit| unit.base() == base).unwrap();
    let device = Device::Function(Location {
        segment: 0,
        function,
        upstream,
    });
    is_listed(table, unit, device)
}

/// What a unit lists counts, not what it is responsible for beside that.
#[test]
fn listed_devices() {
    let graphics = RequesterId::pci(0, 2 << 3);
    let laptop = table(LAPTOP);
    assert!(is_behind(&laptop, 0xfed9_0000, graphics, &[]));
    assert!(!is_behind(
        &laptop,
        0xfed9_0000,
        RequesterId::pci(0, 0),
        &[]
    ));
    // The unit for all other devices lists an I/O APIC and a timer.
    assert!(!is_behind(
        &laptop,
        0xfed9_1000,
        RequesterId::pci(0, 0x1f << 3),
        &[]
    ));
    // A bridge that is listed, and what is behind it.
    let bridge = RequesterId::pci(0, 3 << 3);
    assert!(is_behind(&QEMU, 0xfed9_0000, bridge, &[]));
    assert!(is_behind(
        &QEMU,
        0xfed9_0000,
        RequesterId::pci(1, 0),
        &[bridge]
    ));

    let only_functions = |bytes: &[u8], base| {
        let checked = Checked::new(bytes).unwrap();
        let table = checked.table();
        let unit = table.units().find(|unit| unit.base() == base).unwrap();
        lists_functions_only(table, unit)
    };
    assert!(only_functions(&laptop, 0xfed9_0000));
    assert!(!only_functions(&laptop, 0xfed9_1000));
    assert!(only_functions(&QEMU, 0xfed9_0000));
    let server = table(SERVER);
    assert!(only_functions(&server, 0xc7ff_c000));
    // For all devices of its segment; one has only a name.
    assert!(!only_functions(&server, 0xd17f_c000));
}
