// SPDX-License-Identifier: GPL-2.0

//! Hardware records, compared with bit patterns from the specification; and capability registers of
//! real machines and of QEMU.

mod intel;
#[allow(dead_code)]
#[path = "../../../requester.rs"]
mod requester;
mod drivers {
    pub use iommu_core_host::shell;
}

use drivers::shell::blocks::Block;
use intel::{
    capability::{AddressSpace, Capability, Refusal, Width},
    entries::{ContextEntry, RootEntry, Translation},
    fault_record::{reason_text, FaultRecord, FaultStatus, Request},
    invalidation::{ContextScope, Descriptor, Drain, InterruptScope, Tagged, TlbKind, TlbScope},
};
use proptest::prelude::*;

/// QEMU: 48 bits, caching mode, not coherent.
const QEMU: (u64, u64) = (0x00d2_008c_222f_0686, 0x00f0_0f5e);
/// A client processor's unit for all devices except graphics.
const CLIENT: (u64, u64) = (0x00d2_008c_4066_0462, 0x00f0_50da);
/// The same processor's unit for graphics: no page-selective invalidation.
const GRAPHICS: (u64, u64) = (0x01c0_000c_4066_0462, 0x019e_2ff0_505e);

#[test]
fn capability_of_qemu() {
    let (cap, space) = Capability::judge(QEMU.0, QEMU.1).unwrap();
    assert_eq!(cap.domains, 65536);
    assert_eq!(cap.usable_domains(), 65536);
    assert!(cap.caching_mode && !cap.write_buffer_flush);
    assert!(!cap.protected_low && !cap.protected_high);
    assert_eq!(cap.max_address_bits, 48);
    assert_eq!(cap.fault_offset, 0x220);
    assert_eq!(cap.fault_records, 1);
    assert_eq!(cap.iotlb_offset, 0xf0);
    assert_eq!(cap.page_sizes(), 1 << 12 | 1 << 21 | 1 << 30);
    assert!(cap.page_selective && cap.drain_reads && cap.drain_writes);
    assert_eq!(cap.max_address_mask, 18);
    assert!(!cap.coherent && cap.queued_invalidation && cap.device_tlb && cap.pass_through);
    assert!(cap.interrupt_remapping && cap.extended_interrupt_mode && !cap.snoop_control);
    assert!(!cap.scalable_mode && !cap.root_pointer_flushes);
    assert_eq!(cap.register_bytes(), 4096);
    assert_eq!(
        space,
        AddressSpace {
            width: Width::Bits48,
            bits: 48
        }
    );
}

#[test]
fn capability_of_real_units() {
    let (cap, space) = Capability::judge(CLIENT.0, CLIENT.1).unwrap();
    assert_eq!(cap.domains, 256);
    assert!(cap.protected_low && cap.protected_high && cap.zero_length_read);
    assert_eq!(cap.fault_offset, 0x400);
    assert_eq!(cap.iotlb_offset, 0x500);
    assert!(cap.snoop_control && cap.pass_through && !cap.device_tlb);
    // The unit supports only 48-bit page tables, but its devices have 39 address bits.
    assert_eq!(
        space,
        AddressSpace {
            width: Width::Bits48,
            bits: 39
        }
    );

    let (cap, _) = Capability::judge(GRAPHICS.0, GRAPHICS.1).unwrap();
    assert!(!cap.page_selective);
    assert_eq!(cap.max_address_mask, 0);
    assert!(cap.device_tlb && !cap.snoop_control);
}

/// The address widths that follow from SAGAW and MGAW.
#[test]
fn address_spaces() {
    let space = |sagaw: u64, mgaw: u64| {
        Capability::decode(sagaw << 8 | (mgaw - 1) << 16, 0)
            .address_space()
            .map(|s| (s.width.bits(), s.bits))
    };
    assert_eq!(space(0b00010, 39), Some((39, 39)));
    assert_eq!(space(0b00110, 39), Some((39, 39)));
    assert_eq!(space(0b00100, 39), Some((48, 39)));
    assert_eq!(space(0b00110, 46), Some((48, 46)));
    assert_eq!(space(0b01110, 48), Some((48, 48)));
    assert_eq!(space(0b01110, 57), Some((57, 57)));
    assert_eq!(space(0b00110, 57), Some((48, 48)));
    assert_eq!(space(0b00010, 48), Some((39, 39)));
    assert_eq!(space(0b00001, 48), None);
    assert_eq!(space(0b10000, 48), None);
    assert_eq!(space(0, 48), None);
}

#[test]
fn units_that_cannot_be_driven() {
    let judge = |cap, ecap| Capability::judge(cap, ecap).unwrap_err();
    assert_eq!(judge(u64::MAX, u64::MAX), Refusal::NoRegisters);
    assert_eq!(judge(0, 0), Refusal::NoRegisters);
    assert_eq!(judge(QEMU.0, QEMU.1 & !2), Refusal::NoQueue);
    assert_eq!(
        judge(QEMU.0 & !0x1f00, QEMU.1),
        Refusal::NoWidth { bitmap: 0 }
    );
    assert_eq!(
        judge(QEMU.0 & !0x600 | 0x100, QEMU.1),
        Refusal::NoWidth { bitmap: 1 }
    );
    assert_eq!(
        judge(QEMU.0 & !0x3f_0000 | 29 << 16, QEMU.1),
        Refusal::TooNarrow { bits: 30 }
    );
    assert!(judge(QEMU.0, 0).to_string().contains("ECAP.QI is 0"));
}

#[test]
fn register_window_covers_what_is_used() {
    // 256 records at 0x3ff0.
    let cap = Capability::decode(0x3ff << 24 | 0xff << 40, 0);
    assert_eq!(cap.register_bytes(), 0x5000);
    // IOTLB registers on the second page.
    let cap = Capability::decode(0, 0x100 << 8);
    assert_eq!(cap.register_bytes(), 0x2000);
    assert_eq!(Capability::decode(0, 0).register_bytes(), 0x1000);
    // At most the largest register window that a DMAR table can describe.
    assert!(Capability::decode(u64::MAX, u64::MAX).register_bytes() < 0x10000);
}

/// VT-d 9.1: present bit 0, table address from bit 12 on, the rest 0.
#[test]
fn root_entries() {
    let entry = RootEntry {
        context_table: Some(0x1_2345_6000),
    };
    assert_eq!(entry.encode(), [0x1_2345_6001, 0]);
    assert_eq!(RootEntry::decode([0x1_2345_6001, 0]), entry);
    assert_eq!(
        RootEntry {
            context_table: None
        }
        .encode(),
        [0, 0]
    );
    assert_eq!(RootEntry::decode([0x1_2345_6000, 0]).context_table, None);
}

/// VT-d 9.3: present bit 0, type bits 3:2, table from bit 12, width bits 66:64, id bits 87:72.
#[test]
fn context_entries() {
    let second = |width| ContextEntry {
        translation: Translation::SecondStage {
            root: 0x7f_dead_b000,
            width,
        },
        domain: 0xabcd,
    };
    for (width, aw) in [(Width::Bits39, 1), (Width::Bits48, 2), (Width::Bits57, 3)] {
        let words = [0x7f_dead_b001, 0x00ab_cd00 | aw];
        assert_eq!(second(width).encode(), words);
        assert_eq!(ContextEntry::decode(words), Some(second(width)));
    }

    let pass = ContextEntry {
        translation: Translation::PassThrough {
            width: Width::Bits48,
        },
        domain: 1,
    };
    assert_eq!(pass.encode(), [0b1001, 0x102]);
    assert_eq!(ContextEntry::decode([0b1001, 0x102]), Some(pass));

    // Not present; present with device TLB, with the reserved type, with a width of 30 bits.
    assert_eq!(ContextEntry::decode([0, 0]), None);
    assert_eq!(ContextEntry::decode([0x7f_dead_b000, 0x00ab_cd02]), None);
    assert_eq!(ContextEntry::decode([0b0101, 0x102]), None);
    assert_eq!(ContextEntry::decode([0b1101, 0x102]), None);
    assert_eq!(ContextEntry::decode([0b0001, 0x100]), None);
}

/// VT-d 6.5.2.1 to 6.5.2.8.
#[test]
fn descriptors() {
    let none = Drain {
        writes: false,
        reads: false,
    };
    let both = Drain {
        writes: true,
        reads: true,
    };

    assert_eq!(Descriptor::context(ContextScope::Global).0, [0x11, 0]);
    assert_eq!(
        Descriptor::context(ContextScope::Device {
            domain: 0x1234,
            source: 0xfe08
        })
        .0,
        [0xfe08_1234_0031, 0]
    );

    // 6.5.2.7: type 4, granularity bit 4, index bits 47:32.
    let interrupts = |scope| Descriptor::interrupt_entries(scope).0;
    assert_eq!(interrupts(InterruptScope::Global), [4, 0]);
    assert_eq!(
        interrupts(InterruptScope::Entry { index: 0xfedc }),
        [0xfedc_0000_0014, 0]
    );
    assert_eq!(Descriptor::all_translations(none).0, [0x12, 0]);
    assert_eq!(Descriptor::all_translations(both).0, [0xd2, 0]);
    let by_domain =
        |drain, scope| Descriptor::translations(TlbKind::new(Tagged::ByDomain, drain), scope).0;
    let writes = Drain {
        writes: true,
        reads: false,
    };
    assert_eq!(
        by_domain(writes, TlbScope::Domain { domain: 7 }),
        [0x7_0062, 0]
    );
    let block = Block {
        address: 0x1234_5600_0000,
        order: 9,
    };
    let pages = |leaves_only| TlbScope::Pages {
        domain: 0xffff,
        block,
        leaves_only,
    };
    assert_eq!(
        by_domain(none, pages(false)),
        [0xffff_0032, 0x1234_5600_0009]
    );
    assert_eq!(
        by_domain(both, pages(true)),
        [0xffff_00f2, 0x1234_5600_0049]
    );

    assert_eq!(
        Descriptor::wait(0x1_0000_0ff4, 0xdead_beef).0,
        [0xdead_beef_0000_0065, 0x1_0000_0ff4]
    );
}

/// The records that a unit writes, with the layout of VT-d 11.4.14.
#[test]
fn fault_records() {
    // 01:00.0 reads 0xdeadb000, which is not mapped readable.
    let read = FaultRecord::decode([0xdead_b000, 0xc000_0006_0000_0100]).unwrap();
    assert_eq!(read.source, 0x100);
    assert_eq!(read.page(), Some(0xdead_b000));
    assert_eq!(read.request, Request::Read);
    assert_eq!(read.reason, 6);
    assert!(!read.execute && !read.is_interrupt());
    assert_eq!(read.reason_text(), "the page is not mapped for reading");

    let write = FaultRecord::decode([0x1000, 0x8000_0005_0000_fff8]).unwrap();
    assert_eq!(
        (write.source, write.request, write.reason),
        (0xfff8, Request::Write, 5)
    );

    let request = |high| FaultRecord::decode([0, high]).unwrap().request;
    assert_eq!(request(0x8000_0000_1000_0000), Request::Page);
    assert_eq!(request(0xc000_0000_1000_0000), Request::Atomic);
    assert!(
        FaultRecord::decode([0, 0x8000_0000_4000_0000])
            .unwrap()
            .execute
    );

    // PP and PV.
    let pasid = |high| FaultRecord::decode([0, high]).unwrap().pasid;
    assert_eq!(pasid(0x8012_3406_0000_0100), None);
    assert_eq!(pasid(0x8ab1_2306_8000_0100), Some(0xa_b123));

    // An interrupt with index 0x17 and no entry: the address field contains an index.
    let interrupt = FaultRecord::decode([0x17 << 48, 0x8000_0022_0000_00fa]).unwrap();
    assert!(interrupt.is_interrupt());
    assert_eq!(interrupt.page(), None);

    assert_eq!(
        FaultRecord::decode([0xdead_b000, 0x4000_0006_0000_0100]),
        None
    );
}

#[test]
fn every_reason_has_words() {
    let unknown = reason_text(0xff);
    for code in (0x1..=0xd).chain(0x20..=0x26) {
        assert_ne!(reason_text(code), unknown, "{code:#x}");
    }
    for code in [0u8, 0xe, 0x27, 0x6f] {
        assert_eq!(reason_text(code), unknown);
    }
}

#[test]
fn fault_status() {
    let status = FaultStatus(0x0000_0503);
    assert!(status.has(FaultStatus::OVERFLOW) && status.has(FaultStatus::PENDING));
    assert!(!status.has(FaultStatus::QUEUE_ERROR));
    assert_eq!(status.first_record(), 5);
    assert_eq!(FaultStatus::QUEUE_ERROR, 0x10);
    assert_eq!(FaultStatus::COMPLETION_ERROR, 0x20);
    assert_eq!(FaultStatus::TIMEOUT_ERROR, 0x40);
}

proptest! {
    /// The driver decodes every entry that it writes, and never sets a reserved bit.
    #[test]
    fn context_entry_bits(root in any::<u64>(), domain in any::<u16>(), levels in 3u8..=5) {
        let width = Width::from_levels(levels).unwrap();
        let root = root & !0xfff;
        let entry = ContextEntry {
            translation: Translation::SecondStage { root, width },
            domain,
        };
        let words = entry.encode();
        prop_assert_eq!(words[0] & 0xff2, 0);
        prop_assert_eq!(words[1] & !0xff_ff07, 0);
        prop_assert_eq!(ContextEntry::decode(words), Some(entry));
    }
}
