// SPDX-License-Identifier: GPL-2.0

//! Fault records: which request the unit refused, and why (VT-d 11.4.14 and chapter 7; 10.4.14 in
//! revisions before 4.0).

#![forbid(unsafe_code)]

/// What a device requested, by the T1 and T2 bits of a record.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// Memory write.
    Write,
    /// Memory read.
    Read,
    /// A page request.
    Page,
    /// An atomic operation.
    Atomic,
}

/// One fault recording register.
///
/// | bits | field |
/// |---|---|
/// | 63:12 | FI: page address; for interrupt faults bits 63:48 hold the index |
/// | 79:64 | SID: source id |
/// | 92 | T2 |
/// | 93 | PRIV: a privileged request |
/// | 94 | EXE: an instruction fetch |
/// | 95 | PP: the request had a PASID |
/// | 103:96 | FR: reason |
/// | 123:104 | PV: the PASID |
/// | 125:124 | AT: 0 untranslated, 1 translation request, 2 translated |
/// | 126 | T1 |
/// | 127 | F: the record is valid; a 1 written clears it |
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct FaultRecord {
    /// The requester id.
    pub source: u16,
    /// The raw fault information; see [`page`](Self::page).
    pub information: u64,
    /// What the device requested.
    pub request: Request,
    /// The PASID, if the request had one.
    pub pasid: Option<u32>,
    /// Whether it was an instruction fetch.
    pub execute: bool,
    /// The reason code.
    pub reason: u8,
}

impl FaultRecord {
    /// The F bit in the upper half.
    pub const FAULT: u64 = 1 << 63;

    /// Decodes a record, low half first; `None` if it is not valid.
    pub const fn decode(words: [u64; 2]) -> Option<Self> {
        let high = words[1];
        if high & Self::FAULT == 0 {
            return None;
        }
        let request = match (high >> 62 & 1, high >> 28 & 1) {
            (0, 0) => Request::Write,
            (1, 0) => Request::Read,
            (0, _) => Request::Page,
            (_, _) => Request::Atomic,
        };

        Some(Self {
            source: high as u16,
            information: words[0],
            request,
            pasid: match high >> 31 & 1 {
                0 => None,
                _ => Some((high >> 40) as u32 & 0xf_ffff),
            },
            execute: high >> 30 & 1 != 0,
            reason: (high >> 32) as u8,
        })
    }

    /// The page that the request was for; `None` if it was an interrupt message.
    pub const fn page(&self) -> Option<u64> {
        if self.is_interrupt() {
            None
        } else {
            Some(self.information & !0xfff)
        }
    }

    /// Whether the unit refused an interrupt message rather than a memory access.
    pub const fn is_interrupt(&self) -> bool {
        matches!(self.reason, 0x20..=0x2f)
    }

    /// The reason in words.
    pub const fn reason_text(&self) -> &'static str {
        reason_text(self.reason)
    }
}

/// The reason code in words.
///
/// Codes below 0x10 are those of legacy mode, 0x20 to 0x2f those of interrupt remapping, and higher
/// ones those of scalable mode (7.1.3, table of fault conditions). QEMU's unit reports some of
/// legacy mode also in scalable mode.
pub const fn reason_text(code: u8) -> &'static str {
    match code {
        0x1 => "nothing on its bus is attached to a domain (root entry not present)",
        0x2 => "the device is blocked (context entry not present)",
        0x3 => "the unit does not understand the context entry",
        0x4 => "the address is beyond what the unit or the domain's table translates",
        0x5 => "the page is not mapped for writing",
        0x6 => "the page is not mapped for reading",
        0x7 => "the unit could not read a page table",
        0x8 => "the unit could not read the root table",
        0x9 => "the unit could not read a context table",
        0xa => "reserved bits are set in the root entry",
        0xb => "reserved bits are set in the context entry",
        0xc => "reserved bits are set in a page table entry",
        0xd => "the device sent a translation or translated request, which its entry forbids",
        0x20 => "reserved bits are set in an interrupt request",
        0x21 => "the interrupt index is beyond the remapping table",
        0x22 => "the interrupt remapping entry is not present",
        0x23 => "the unit could not read the interrupt remapping table",
        0x24 => "reserved bits are set in an interrupt remapping entry",
        0x25 => "an interrupt in compatibility format was blocked",
        0x26 => "the interrupt remapping entry belongs to another device",
        0x30 => "the root table address has a mode that the unit lacks or reserved bits",
        0x31 => "the device sent a PASID, which legacy mode forbids",
        0x32 => "the device sent a page request, which legacy mode forbids",
        0x38 => "the unit could not read the root table",
        0x39 => "nothing on its half of the bus is attached to a domain (root entry not present)",
        0x3a => "reserved bits are set in the root entry",
        0x40 => "the unit could not read a context table",
        0x41 => "the device is blocked (context entry not present)",
        0x42 => "reserved bits are set in the context entry",
        0x43 => "the unit does not understand the context entry",
        0x44 => "the device sent a translation or translated request, which its entry forbids",
        0x45 => "the device sent a PASID, which its context entry forbids",
        0x46 => "the device sent a PASID that is beyond its PASID directory",
        0x47 => "the device sent a page request, which its context entry forbids",
        0x48 => "the context entry names a PASID that is beyond the PASID directory",
        0x50 => "the unit could not read a PASID directory",
        0x51 => "nothing is attached to this PASID of the device (directory entry not present)",
        0x52 => "reserved bits are set in the PASID directory entry",
        0x58 => "the unit could not read a PASID table",
        0x59 => "the device or its PASID is blocked (PASID table entry not present)",
        0x5a => "reserved bits are set in the PASID table entry",
        0x5b => "the unit does not understand the PASID table entry",
        0x5c => "the device asked to execute, which its PASID table entry forbids",
        0x5d => "the device sent a privileged request, which its PASID table entry forbids",
        0x70 => "the unit could not read a first-stage page table",
        0x71 => "the page is not mapped (first stage)",
        0x72 => "reserved bits are set in a first-stage page table entry",
        0x73 => "the unit could not read the top of a first-stage page table",
        0x74 => "a first-stage table is beyond what the second stage translates",
        0x75 => "the second stage does not let the unit read the top of the first stage",
        0x76 => "the second stage does not let the unit read a first-stage page table",
        0x77 => "the second stage does not let the unit write to a first-stage page table",
        0x78 => "the unit could not read a second-stage page table",
        0x79 => "the page is not mapped for this access (second stage)",
        0x7a => "reserved bits are set in a second-stage page table entry",
        0x7b => "the unit could not read the top of a second-stage page table",
        0x7c => "the unit cannot set accessed or dirty bits without snooping (second stage)",
        0x80 => "the address is not canonical",
        0x81 => "the page is mapped for privileged requests only",
        0x82 => "the page is not mapped for executing",
        0x83 => "the address is beyond what the unit translates",
        0x84 => "the address is beyond what the second-stage page table translates",
        0x85 => "the page is not mapped for writing",
        0x86 => "the page is not mapped for reading",
        0x87 => "the page leads to the addresses of interrupt messages",
        0x90 => "the unit cannot set accessed or dirty bits without snooping (first stage)",
        0x91 => "the unit could not set accessed or dirty bits",
        _ => "a reason that the specification does not have",
    }
}

/// A snapshot of the fault status register (11.4.9; 10.4.9 before 4.0).
///
/// | bits | field |
/// |---|---|
/// | 0 | PFO: records were lost because all registers were in use |
/// | 1 | PPF: a record is pending |
/// | 4 | IQE: the queue stopped at a descriptor that it does not understand |
/// | 5 | ICE: a device's answer to an invalidation was not expected |
/// | 6 | ITE: a device did not answer an invalidation in time |
/// | 15:8 | FRI: the first pending record |
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct FaultStatus(pub u32);

impl FaultStatus {
    /// Primary fault overflow.
    pub const OVERFLOW: u32 = 1 << 0;
    /// Primary pending fault.
    pub const PENDING: u32 = 1 << 1;
    /// Invalidation queue error.
    pub const QUEUE_ERROR: u32 = 1 << 4;
    /// Invalidation completion error.
    pub const COMPLETION_ERROR: u32 = 1 << 5;
    /// Invalidation time-out error.
    pub const TIMEOUT_ERROR: u32 = 1 << 6;

    /// Whether nothing answers at the unit's registers, which then read as all ones.
    pub const fn is_gone(self) -> bool {
        self.0 == u32::MAX
    }

    /// Whether all bits of `mask` are set.
    pub const fn has(self, mask: u32) -> bool {
        self.0 & mask == mask
    }

    /// The register that holds the first pending record.
    pub const fn first_record(self) -> usize {
        (self.0 >> 8 & 0xff) as usize
    }
}
