// SPDX-License-Identifier: GPL-2.0

//! Commands: what software tells a unit (SMMUv3 IHI 0070, chapter 4).

#![forbid(unsafe_code)]

use super::{
    bits::{field, flag, mask, put},
    ste::World,
};
use crate::pgtable::armv8::GranuleSize;

/// One 128-bit entry of the command queue, low half first.
///
/// In every command bits 7:0 are the operation.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Command(pub [u64; 2]);

/// Operations (4.1.1).
mod op {
    pub(super) const CFGI_STE: u64 = 0x03;
    pub(super) const CFGI_STE_RANGE: u64 = 0x04;
    pub(super) const CFGI_CD: u64 = 0x05;
    pub(super) const CFGI_CD_ALL: u64 = 0x06;
    pub(super) const TLBI_NH_ALL: u64 = 0x10;
    pub(super) const TLBI_NH_ASID: u64 = 0x11;
    pub(super) const TLBI_NH_VA: u64 = 0x12;
    pub(super) const TLBI_NH_VAA: u64 = 0x13;
    pub(super) const TLBI_EL2_ALL: u64 = 0x20;
    pub(super) const TLBI_EL2_ASID: u64 = 0x21;
    pub(super) const TLBI_EL2_VA: u64 = 0x22;
    pub(super) const TLBI_EL2_VAA: u64 = 0x23;
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
        op::CFGI_CD => "CMD_CFGI_CD",
        op::CFGI_CD_ALL => "CMD_CFGI_CD_ALL",
        op::TLBI_NH_ALL => "CMD_TLBI_NH_ALL",
        op::TLBI_NH_ASID => "CMD_TLBI_NH_ASID",
        op::TLBI_NH_VA => "CMD_TLBI_NH_VA",
        op::TLBI_NH_VAA => "CMD_TLBI_NH_VAA",
        op::TLBI_EL2_ALL => "CMD_TLBI_EL2_ALL",
        op::TLBI_EL2_ASID => "CMD_TLBI_EL2_ASID",
        op::TLBI_EL2_VA => "CMD_TLBI_EL2_VA",
        op::TLBI_EL2_VAA => "CMD_TLBI_EL2_VAA",
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

/// The domain that an invalidation is for.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Tag {
    /// A stage 1 domain.
    Stage1 {
        /// Whose tables they are.
        world: World,
        /// The VMID of the entries, for [`World::El1`].
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
    /// Whether cached page tables may stay, because only leaf entries changed.
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
        /// The level of all leaf entries in the range, 1 to 3, if that is known. A range of one
        /// granule must have it.
        level: Option<u8>,
    },
}

impl Pages {
    /// The second word, and what belongs into the first.
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

/// What a unit does when the commands before a CMD_SYNC are done (4.7.3).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Signal {
    /// Nothing: its consumer index passes the command.
    None,
    /// It writes `data` to memory.
    Message {
        /// Physical address, 4-byte aligned.
        address: u64,
        /// What it writes, 32 bits.
        data: u32,
    },
    /// It sends an event to processors that wait for one, in addition to the consumer index.
    Event,
}

/// How a page request of a device is answered (4.5.2).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum PageResponse {
    /// No more requests of this device will be answered.
    Failure,
    /// The pages cannot be made present.
    Invalid,
    /// The pages are present now.
    Success,
}

/// What becomes of a stalled transaction (4.6.1).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Resume {
    /// It is terminated; the context descriptor says how that looks to the device.
    Terminate,
    /// It is tried again.
    Retry,
    /// It is terminated and an abort is reported to the device.
    Abort,
}

/// Covers every translation in a device's cache, in 2^n pages of 4 KiB.
const ALL_PAGES: u8 = 52;

impl Command {
    /// Forgets what is cached of one stream table entry; with `leaf`, level 1 descriptors may stay
    /// (4.3.1). Context descriptors that were found through the entry are forgotten too.
    ///
    /// | word | bits | field |
    /// |---|---|---|
    /// | 0 | 63:32 | stream id |
    /// | 1 | 0 | Leaf |
    pub const fn forget_stream(stream: u32, leaf: bool) -> Self {
        Self([op::CFGI_STE | put(stream as u64, 63, 32), leaf as u64])
    }

    /// Forgets what is cached of the 2^(`range` + 1) stream table entries around `stream`; of all
    /// entries and context descriptors if `range` is 31 (4.3.2).
    ///
    /// | word | bits | field |
    /// |---|---|---|
    /// | 0 | 63:32 | stream id |
    /// | 1 | 4:0 | Range |
    pub const fn forget_streams(stream: u32, range: u8) -> Self {
        Self([
            op::CFGI_STE_RANGE | put(stream as u64, 63, 32),
            put(range as u64, 4, 0),
        ])
    }

    /// Forgets everything that is cached of the configuration (4.3.2).
    pub const fn forget_configuration() -> Self {
        Self::forget_streams(0, 31)
    }

    /// Forgets what is cached of one context descriptor; with `leaf`, level 1 descriptors may stay
    /// (4.3.3).
    ///
    /// | word | bits | field |
    /// |---|---|---|
    /// | 0 | 31:12 | substream id |
    /// | 0 | 63:32 | stream id |
    /// | 1 | 0 | Leaf |
    pub const fn forget_context(stream: u32, substream: u32, leaf: bool) -> Self {
        Self([
            op::CFGI_CD | put(substream as u64, 31, 12) | put(stream as u64, 63, 32),
            leaf as u64,
        ])
    }

    /// Forgets what is cached of all context descriptors of a stream (4.3.4).
    pub const fn forget_contexts(stream: u32) -> Self {
        Self([op::CFGI_CD_ALL | put(stream as u64, 63, 32), 0])
    }

    /// Forgets all cached translations of a domain (4.4.2 to 4.4.4).
    pub const fn forget_domain(tag: Tag) -> Self {
        Self([
            match tag {
                Tag::Stage1 {
                    world: World::El1,
                    vmid,
                    asid,
                } => op::TLBI_NH_ASID | Tag::names(vmid, asid),
                Tag::Stage1 {
                    world: World::El2,
                    asid,
                    ..
                } => op::TLBI_EL2_ASID | Tag::names(0, asid),
                Tag::Stage2 { vmid } => op::TLBI_S12_VMALL | Tag::names(vmid, 0),
            },
            0,
        ])
    }

    /// Forgets cached translations of some addresses of a domain (4.4.2 to 4.4.4).
    ///
    /// Stage 2 invalidations by address do not cover what both stages together led to; a domain of
    /// stage 2 alone has no such entries.
    pub const fn forget_pages(tag: Tag, pages: Pages) -> Self {
        let [low, high] = pages.encode();
        match tag {
            Tag::Stage1 {
                world: World::El1,
                vmid,
                asid,
            } => Self([op::TLBI_NH_VA | Tag::names(vmid, asid) | low, high]),
            Tag::Stage1 {
                world: World::El2,
                asid,
                ..
            } => Self([op::TLBI_EL2_VA | Tag::names(0, asid) | low, high]),
            Tag::Stage2 { vmid } => Self([
                op::TLBI_S2_IPA | Tag::names(vmid, 0) | low,
                // Bits of an intermediate physical address beyond 51 are reserved.
                high & mask(51, 0),
            ]),
        }
    }

    /// Forgets cached translations of some addresses in every ASID of a world, also entries that
    /// are not marked with an ASID (4.4.2).
    pub const fn forget_pages_of_all(world: World, vmid: u16, pages: Pages) -> Self {
        let [low, high] = pages.encode();
        Self([
            match world {
                World::El1 => op::TLBI_NH_VAA | Tag::names(vmid, 0),
                World::El2 => op::TLBI_EL2_VAA,
            } | low,
            high,
        ])
    }

    /// Forgets every cached stage 1 translation of a VMID (4.4.2).
    pub const fn forget_stage1(vmid: u16) -> Self {
        Self([op::TLBI_NH_ALL | Tag::names(vmid, 0), 0])
    }

    /// Forgets every cached translation of [`World::El1`], of both stages (4.4.4).
    pub const fn forget_el1() -> Self {
        Self([op::TLBI_NSNH_ALL, 0])
    }

    /// Forgets every cached translation of [`World::El2`] (4.4.3). Only for units with IDR0.HYP.
    pub const fn forget_el2() -> Self {
        Self([op::TLBI_EL2_ALL, 0])
    }

    /// Makes a device forget the translations of 2^`order` pages of 4 KiB from `address` on, which
    /// must be a multiple of that (4.5.1). Without a substream the translations of all its
    /// substreams go too.
    ///
    /// | word | bits | field |
    /// |---|---|---|
    /// | 0 | 9 | G: of every substream |
    /// | 0 | 11 | SSV: there is a substream id |
    /// | 0 | 31:12 | substream id |
    /// | 0 | 63:32 | stream id |
    /// | 1 | 5:0 | Size: 2^n pages of 4 KiB |
    /// | 1 | 63:12 | address |
    pub const fn forget_in_device(
        stream: u32,
        substream: Option<u32>,
        address: u64,
        order: u8,
    ) -> Self {
        Self([
            op::ATC_INV | Self::substream(substream) | put(stream as u64, 63, 32),
            address & mask(63, 12) | put(order as u64, 5, 0),
        ])
    }

    /// Makes a device forget every translation (4.5.1).
    pub const fn forget_all_in_device(stream: u32, substream: Option<u32>) -> Self {
        Self::forget_in_device(stream, substream, 0, ALL_PAGES)
    }

    /// Makes a device forget the translations of `first..=last`: of the smallest block around them
    /// that one command can name.
    pub const fn forget_range_in_device(
        stream: u32,
        substream: Option<u32>,
        first: u64,
        last: u64,
    ) -> Self {
        // The highest bit of the page numbers in which the ends differ, and all below it.
        let order = u64::BITS - (first >> 12 ^ last >> 12).leading_zeros();
        if order >= ALL_PAGES as u32 {
            return Self::forget_all_in_device(stream, substream);
        }
        let address = first & !((1 << (order + 12)) - 1);
        Self::forget_in_device(stream, substream, address, order as u8)
    }

    /// Answers a group of page requests (4.5.2).
    ///
    /// | word | bits | field |
    /// |---|---|---|
    /// | 0 | 11 | SSV: there is a substream id |
    /// | 0 | 31:12 | substream id |
    /// | 0 | 63:32 | stream id |
    /// | 1 | 8:0 | index of the group |
    /// | 1 | 13:12 | response: 0 failure, 1 invalid, 2 success |
    pub const fn answer(
        stream: u32,
        substream: Option<u32>,
        group: u16,
        response: PageResponse,
    ) -> Self {
        let response = match response {
            PageResponse::Failure => 0,
            PageResponse::Invalid => 1,
            PageResponse::Success => 2,
        };
        Self([
            op::PRI_RESP | Self::substream(substream) | put(stream as u64, 63, 32),
            put(group as u64, 8, 0) | put(response, 13, 12),
        ])
    }

    /// Ends the stall of a transaction (4.6.1).
    ///
    /// | word | bits | field |
    /// |---|---|---|
    /// | 0 | 12 | Ac: retry |
    /// | 0 | 13 | Ab: abort |
    /// | 0 | 63:32 | stream id |
    /// | 1 | 15:0 | stall tag |
    pub const fn resume(stream: u32, tag: u16, how: Resume) -> Self {
        let how = match how {
            Resume::Terminate => 0,
            Resume::Retry => 1,
            Resume::Abort => 2,
        };
        Self([
            op::RESUME | put(how, 13, 12) | put(stream as u64, 63, 32),
            tag as u64,
        ])
    }

    /// Completes when all commands before it are done (4.7.3).
    ///
    /// | word | bits | field |
    /// |---|---|---|
    /// | 0 | 13:12 | CS: 0 none, 1 message, 2 event |
    /// | 0 | 23:22 | MSH: shareability of the message, 3 inner |
    /// | 0 | 27:24 | MSIAttr: memory type of the message, 0xf write-back |
    /// | 0 | 63:32 | MSIData |
    /// | 1 | 51:2 | MSIAddress |
    pub const fn sync(signal: Signal) -> Self {
        match signal {
            Signal::None => Self([op::SYNC, 0]),
            Signal::Event => Self([op::SYNC | put(2, 13, 12), 0]),
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

    const fn substream(substream: Option<u32>) -> u64 {
        match substream {
            Some(id) => flag(true, 11) | put(id as u64, 31, 12),
            None => 0,
        }
    }

    /// Whether the unit waits for a device's answer to it.
    pub const fn is_for_device(self) -> bool {
        self.operation() as u64 == op::ATC_INV
    }

    /// The operation; see [`name`].
    pub const fn operation(self) -> u8 {
        field(self.0[0], 7, 0) as u8
    }
}
