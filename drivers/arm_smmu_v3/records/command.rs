// SPDX-License-Identifier: GPL-2.0

//! Commands to a unit (SMMUv3 IHI 0070, chapter 4).

#![forbid(unsafe_code)]

use super::bits::{field, flag, mask, put};
use crate::pgtable::armv8::GranuleSize;

/// 64-bit words of a command.
pub const COMMAND_WORDS: usize = 2;

/// One command, low word first. Bits 7:0 of each command are the operation.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Command(pub [u64; COMMAND_WORDS]);

/// Operations (4.1.1).
mod op {
    pub(super) const CFGI_STE: u64 = 0x03;
    pub(super) const CFGI_STE_RANGE: u64 = 0x04;
    pub(super) const TLBI_NH_ASID: u64 = 0x11;
    pub(super) const TLBI_NH_VA: u64 = 0x12;
    pub(super) const TLBI_EL2_ALL: u64 = 0x20;
    pub(super) const TLBI_S12_VMALL: u64 = 0x28;
    pub(super) const TLBI_S2_IPA: u64 = 0x2a;
    pub(super) const TLBI_NSNH_ALL: u64 = 0x30;
    pub(super) const ATC_INV: u64 = 0x40;
    pub(super) const PRI_RESP: u64 = 0x41;
    pub(super) const RESUME: u64 = 0x44;
    pub(super) const SYNC: u64 = 0x46;
}

/// The name of an operation, for messages.
pub const fn name(operation: u8) -> &'static str {
    match operation as u64 {
        op::CFGI_STE => "CMD_CFGI_STE",
        op::CFGI_STE_RANGE => "CMD_CFGI_STE_RANGE",
        op::TLBI_NH_ASID => "CMD_TLBI_NH_ASID",
        op::TLBI_NH_VA => "CMD_TLBI_NH_VA",
        op::TLBI_EL2_ALL => "CMD_TLBI_EL2_ALL",
        op::TLBI_S12_VMALL => "CMD_TLBI_S12_VMALL",
        op::TLBI_S2_IPA => "CMD_TLBI_S2_IPA",
        op::TLBI_NSNH_ALL => "CMD_TLBI_NSNH_ALL",
        op::ATC_INV => "CMD_ATC_INV",
        op::PRI_RESP => "CMD_PRI_RESP",
        op::RESUME => "CMD_RESUME",
        op::SYNC => "CMD_SYNC",
        _ => "a command that this driver does not use",
    }
}

/// The domain that an invalidation is for, as the unit's TLB tags it.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Tag {
    /// A stage 1 domain.
    Stage1 {
        /// The VMID.
        vmid: u16,
        /// The ASID.
        asid: u16,
    },
    /// A stage 2 domain.
    Stage2 {
        /// The VMID.
        vmid: u16,
    },
}

/// Which addresses of a domain an invalidation covers.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Pages {
    /// Address of the first byte.
    pub address: u64,
    /// How many bytes.
    pub extent: Extent,
    /// Whether cached table descriptors may stay, because only leaf entries changed.
    pub leaves_only: bool,
}

/// How many bytes an invalidation covers.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Extent {
    /// The page or block that the address is in, whatever its size.
    One,
    /// (`count` · 2^`scale`) granules; only for units with range invalidation (4.4.1.1).
    Range {
        /// 1 to 32.
        count: u8,
        /// 0 to 31.
        scale: u8,
        /// The granule of the tables.
        granule: GranuleSize,
        /// The level of all leaf entries in the range, 1 to 3, if it is known. A range of one
        /// granule must have it.
        level: Option<u8>,
    },
}

impl Pages {
    /// The second word, and the bits of the first.
    ///
    /// | word | bits | field |
    /// |---|---|---|
    /// | 0 | 16:12 | NUM: count - 1 |
    /// | 0 | 24:20 | SCALE |
    /// | 1 | 0 | Leaf |
    /// | 1 | 9:8 | TTL: level, 0 if not known |
    /// | 1 | 11:10 | TG: 0 no range, 1 4 KiB, 2 16 KiB, 3 64 KiB |
    /// | 1 | 63:12 | address |
    const fn encode(self) -> [u64; 2] {
        let (low, high) = match self.extent {
            Extent::One => (0, 0),
            Extent::Range {
                count,
                scale,
                granule,
                level,
            } => {
                let code = match granule {
                    GranuleSize::K4 => 1,
                    GranuleSize::K16 => 2,
                    GranuleSize::K64 => 3,
                };
                let level = match level {
                    Some(level) => level as u64,
                    None => 0,
                };
                (
                    put((count as u64).saturating_sub(1), 16, 12) | put(scale as u64, 24, 20),
                    put(code, 11, 10) | put(level, 9, 8),
                )
            }
        };
        [
            low,
            high | self.address & mask(63, 12) | self.leaves_only as u64,
        ]
    }
}

impl Tag {
    /// VMID in bits 47:32, ASID in bits 63:48 of the first word.
    const fn names(vmid: u16, asid: u16) -> u64 {
        put(vmid as u64, 47, 32) | put(asid as u64, 63, 48)
    }
}

/// What a unit does when a CMD_SYNC completes (4.7.3).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Signal {
    /// Nothing. Software sees that the consumer index passes the command.
    None,
    /// It writes `data` to memory.
    Message {
        /// Physical address, 4-byte aligned.
        address: u64,
        /// The value.
        data: u32,
    },
}

/// Covers every translation in a device's TLB: 2^n pages of 4 KiB.
const ALL_PAGES: u8 = 52;

impl Command {
    /// Invalidates what the unit has cached of one STE, and of the CDs that it points to; with
    /// `leaf` not of level 1 descriptors (4.3.1).
    ///
    /// | word | bits | field |
    /// |---|---|---|
    /// | 0 | 63:32 | stream id |
    /// | 1 | 0 | Leaf |
    pub const fn invalidate_ste(stream: u32, leaf: bool) -> Self {
        Self([op::CFGI_STE | put(stream as u64, 63, 32), leaf as u64])
    }

    /// Invalidates what the unit has cached of the 2^(`range` + 1) STEs around `stream`; of all
    /// STEs and CDs if `range` is 31 (4.3.2).
    ///
    /// | word | bits | field |
    /// |---|---|---|
    /// | 0 | 63:32 | stream id |
    /// | 1 | 4:0 | Range |
    pub const fn invalidate_ste_range(stream: u32, range: u8) -> Self {
        Self([
            op::CFGI_STE_RANGE | put(stream as u64, 63, 32),
            put(range as u64, 4, 0),
        ])
    }

    /// Invalidates what the unit has cached of all STEs and CDs (4.3.2).
    pub const fn invalidate_all_stes() -> Self {
        Self::invalidate_ste_range(0, 31)
    }

    /// Invalidates all cached translations of a domain (4.4.2 to 4.4.4).
    pub const fn invalidate_domain(tag: Tag) -> Self {
        Self([
            match tag {
                Tag::Stage1 { vmid, asid } => op::TLBI_NH_ASID | Tag::names(vmid, asid),
                Tag::Stage2 { vmid } => op::TLBI_S12_VMALL | Tag::names(vmid, 0),
            },
            0,
        ])
    }

    /// Invalidates cached translations of some addresses of a domain (4.4.2 to 4.4.4).
    ///
    /// At stage 2 this does not cover translations by both stages. A domain of stage 2 alone has
    /// none.
    pub const fn invalidate_pages(tag: Tag, pages: Pages) -> Self {
        let [low, high] = pages.encode();
        match tag {
            Tag::Stage1 { vmid, asid } => {
                Self([op::TLBI_NH_VA | Tag::names(vmid, asid) | low, high])
            }
            Tag::Stage2 { vmid } => Self([
                op::TLBI_S2_IPA | Tag::names(vmid, 0) | low,
                // Bits of an intermediate physical address beyond 51 are reserved.
                high & mask(51, 0),
            ]),
        }
    }

    /// Invalidates every cached translation of EL1, of both stages (4.4.4).
    pub const fn invalidate_el1() -> Self {
        Self([op::TLBI_NSNH_ALL, 0])
    }

    /// Invalidates every cached translation of EL2 (4.4.3). Only for units with IDR0.HYP.
    pub const fn invalidate_el2() -> Self {
        Self([op::TLBI_EL2_ALL, 0])
    }

    /// Has a device invalidate the translations of 2^`order` pages of 4 KiB in its TLB, from
    /// `address` on, which must be a multiple of that (4.5.1). Those of all its substreams are
    /// covered.
    ///
    /// | word | bits | field |
    /// |---|---|---|
    /// | 0 | 63:32 | stream id |
    /// | 1 | 5:0 | Size: 2^n pages of 4 KiB |
    /// | 1 | 63:12 | address |
    pub const fn invalidate_atc(stream: u32, address: u64, order: u8) -> Self {
        Self([
            op::ATC_INV | put(stream as u64, 63, 32),
            address & mask(63, 12) | put(order as u64, 5, 0),
        ])
    }

    /// Has a device invalidate its whole TLB (4.5.1).
    pub const fn invalidate_whole_atc(stream: u32) -> Self {
        Self::invalidate_atc(stream, 0, ALL_PAGES)
    }

    /// Has a device invalidate the translations of `first..=last`, and of the rest of the smallest
    /// block around them that one command can name.
    pub const fn invalidate_atc_range(stream: u32, first: u64, last: u64) -> Self {
        // The highest bit of the page numbers in which the ends differ, and all below it.
        let order = u64::BITS - (first >> 12 ^ last >> 12).leading_zeros();
        if order >= ALL_PAGES as u32 {
            return Self::invalidate_whole_atc(stream);
        }
        let address = first & !((1 << (order + 12)) - 1);
        Self::invalidate_atc(stream, address, order as u8)
    }

    /// Answers a group of page requests with "response failure" (4.5.2): the device gets no answer
    /// to later requests either, until its page requests are enabled anew.
    ///
    /// | word | bits | field |
    /// |---|---|---|
    /// | 0 | 11 | SSV: there is a substream id |
    /// | 0 | 31:12 | substream id |
    /// | 0 | 63:32 | stream id |
    /// | 1 | 8:0 | index of the group |
    /// | 1 | 13:12 | Resp: 0 failure |
    pub const fn refuse_page_requests(stream: u32, substream: Option<u32>, group: u16) -> Self {
        let substream = match substream {
            Some(id) => flag(true, 11) | put(id as u64, 31, 12),
            None => 0,
        };
        Self([
            op::PRI_RESP | substream | put(stream as u64, 63, 32),
            put(group as u64, 8, 0),
        ])
    }

    /// Terminates a stalled transaction, and reports an abort to the device (4.6.1).
    ///
    /// | word | bits | field |
    /// |---|---|---|
    /// | 0 | 13 | Ab: abort |
    /// | 0 | 63:32 | stream id |
    /// | 1 | 15:0 | stall tag |
    pub const fn abort_stalled(stream: u32, tag: u16) -> Self {
        Self([
            op::RESUME | flag(true, 13) | put(stream as u64, 63, 32),
            tag as u64,
        ])
    }

    /// Completes when all commands before it have completed (4.7.3).
    ///
    /// | word | bits | field |
    /// |---|---|---|
    /// | 0 | 13:12 | CS: 0 none, 1 message |
    /// | 0 | 23:22 | MSH: shareability of the message, 3 inner |
    /// | 0 | 27:24 | MSIAttr: memory type of the message, 0xf write-back |
    /// | 0 | 63:32 | MSIData |
    /// | 1 | 51:2 | MSIAddress |
    pub const fn sync(signal: Signal) -> Self {
        match signal {
            Signal::None => Self([op::SYNC, 0]),
            Signal::Message { address, data } => Self([
                op::SYNC
                    | put(1, 13, 12)
                    | put(3, 23, 22)
                    | put(0xf, 27, 24)
                    | put(data as u64, 63, 32),
                address & mask(51, 2),
            ]),
        }
    }

    /// Whether the unit waits for a device's answer before the next CMD_SYNC completes.
    pub const fn is_for_device(self) -> bool {
        self.operation() as u64 == op::ATC_INV
    }

    /// The stream id of a CMD_ATC_INV.
    pub const fn stream(self) -> u32 {
        field(self.0[0], 63, 32) as u32
    }

    /// Whether it invalidates what the unit itself caches: entries of tables, or translations.
    pub const fn is_for_caches(self) -> bool {
        let operation = self.operation() as u64;
        operation >= op::CFGI_STE && operation < op::ATC_INV
    }

    /// The operation; see [`name`].
    pub const fn operation(self) -> u8 {
        field(self.0[0], 7, 0) as u8
    }
}
