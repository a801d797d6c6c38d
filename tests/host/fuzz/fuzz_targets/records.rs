// SPDX-License-Identifier: GPL-2.0

//! The decoders of registers, events and fault records, of all three vendors: no input panics, and
//! each decoded value has a text.

#![no_main]

#[path = "../../tests/amd/mod.rs"]
mod amd;
#[path = "../../tests/intel/mod.rs"]
mod intel;
#[allow(dead_code)]
#[path = "../../../../requester.rs"]
mod requester;
#[path = "../../tests/smmu/mod.rs"]
mod smmu;
mod drivers {
    pub use iommu_core_host::shell;
}

use std::hint::black_box;

use iommu_core_host::pgtable;
use libfuzzer_sys::fuzz_target;
use smmu::records;

/// The 64-bit words of the input, zeros after its end.
struct Words<'a>(&'a [u8]);

impl Words<'_> {
    fn next(&mut self) -> u64 {
        let (bytes, rest) = self.0.split_at(self.0.len().min(8));
        self.0 = rest;
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(word)
    }

    fn some<const N: usize>(&mut self) -> [u64; N] {
        [0; N].map(|_| self.next())
    }
}

/// Shows a value.
fn show(value: impl std::fmt::Display) {
    assert!(!value.to_string().is_empty());
}

fn vtd(words: &mut Words<'_>) {
    use intel::{
        capability::Capability,
        fault_record::{reason_text, FaultRecord, FaultStatus},
    };

    let [cap, ecap, low, high, status] = words.some();
    let capability = Capability::decode(cap, ecap);
    assert!(capability.register_bytes() > 0);
    black_box((capability.page_sizes(), capability.usable_domains()));
    black_box((capability.address_space(), capability.untranslated()));
    if let Err(refusal) = Capability::judge(cap, ecap) {
        show(refusal);
    }
    if let Some(record) = FaultRecord::decode([low, high]) {
        black_box((record.page(), record.is_interrupt()));
        show(record.reason_text());
    }
    show(reason_text(status as u8));
    let status = FaultStatus(status as u32);
    black_box((status.first_record(), status.has(1)));
}

fn amd_vi(words: &mut Words<'_>) {
    use amd::{
        capability::{judge, Capability, Encryption, Features},
        entries::DeviceEntry,
        events::Event,
    };

    let [first, second, header, more] = words.some();
    black_box(Features::decode([first, second]));
    match Capability::decode(header as u32, (header >> 32) as u32) {
        Ok(capability) => {
            if let Err(refusal) = judge([first, second], more & 1 != 0, capability.virtual_bits) {
                show(refusal);
            }
        }
        Err(refusal) => show(refusal),
    }
    black_box(Encryption::judge(
        more & 0x3f,
        more >> 6 & 1 != 0,
        (more >> 8) as u8,
        (more >> 32) as u32,
    ));
    if let Some(event) = Event::decode(words.some()) {
        black_box(event.request());
        show(event.reason());
        show(event);
    }
    if let Some(entry) = DeviceEntry::decode(words.some()) {
        assert!(DeviceEntry::decode(entry.encode()).is_some());
    }
}

fn smmu_v3(words: &mut Words<'_>) {
    use records::{
        capability::{Capability, Firmware, FlagUpdates, Registers},
        event::{CommandError, Event, GlobalErrors},
        page_request::PageRequest,
    };

    let [one, two, three, firmware] = words.some();
    let registers = Registers {
        idr0: one as u32,
        idr1: (one >> 32) as u32,
        idr3: two as u32,
        idr5: (two >> 32) as u32,
        iidr: three as u32,
        aidr: (three >> 32) as u32,
    };
    let said = Firmware {
        coherent: firmware & 1 != 0,
        flag_updates: (firmware & 2 != 0).then(|| FlagUpdates::from_bits((firmware >> 8) as u32)),
        page0_only: firmware & 4 != 0,
        window: 0x1_0000 << (firmware >> 16 & 1),
        repeat_invalidations: firmware & 8 != 0,
    };
    match Capability::judge(&registers, &said) {
        Ok(capability) => {
            black_box((capability.stage(), capability.poll_messages()));
        }
        Err(refusal) => show(refusal),
    }
    let event = Event::decode(words.some());
    show(event.kind);
    show(event.kind.text());
    black_box((event.kind.has_address(), event.kind.has_access()));
    let request = PageRequest::decode(words.some());
    black_box(request.is_stop_marker());
    show(request);
    let [errors] = words.some();
    show(CommandError::from_code(errors as u8).text());
    let errors = GlobalErrors::new(errors as u32, (errors >> 32) as u32);
    assert_eq!(errors.is_empty(), errors.raw() == 0);
    errors.texts().for_each(show);
}

fuzz_target!(|bytes: &[u8]| {
    let Some((which, bytes)) = bytes.split_first() else {
        return;
    };
    let mut words = Words(bytes);
    match which % 3 {
        0 => vtd(&mut words),
        1 => amd_vi(&mut words),
        _ => smmu_v3(&mut words),
    }
});
