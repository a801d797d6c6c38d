// SPDX-License-Identifier: GPL-2.0

//! Commands (AMD-Vi 2.4).

#![forbid(unsafe_code)]

use crate::drivers::shell::blocks::Block;

/// Bits 63:12 of a 64-bit word: the address of a 4 KiB page.
const PAGE_ADDRESS: u64 = !0xfff;

/// One 128-bit entry of the command buffer, low half first.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Command(pub [u64; 2]);

/// Operation codes, bits 63:60.
mod code {
    pub(super) const COMPLETION_WAIT: u64 = 0x1 << 60;
    pub(super) const INVALIDATE_DEVTAB_ENTRY: u64 = 0x2 << 60;
    pub(super) const INVALIDATE_IOMMU_PAGES: u64 = 0x3 << 60;
    pub(super) const INVALIDATE_INTERRUPT_TABLE: u64 = 0x5 << 60;
    pub(super) const INVALIDATE_IOMMU_ALL: u64 = 0x8 << 60;
}

/// The addresses that an invalidation covers.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Pages {
    /// All addresses.
    All,
    /// The addresses of one block, up to an order of [`MAX_ORDER`].
    Block(Block),
}

/// One command names 2^40 pages of 4 KiB at most, 2^52 bytes.
pub const MAX_ORDER: u8 = 40;

impl Pages {
    /// S: the address encodes the number of pages.
    const SIZE: u64 = 1 << 0;
    /// The address that stands for all addresses.
    const EVERYTHING: u64 = 0x7fff_ffff_ffff_f000;

    /// The address field and the S bit.
    ///
    /// Without S the address names one page. With S, the lowest address bit from 12 on that is 0
    /// encodes the size: 2^(n+1) bytes if it is bit n. All bits below it are 1. A block that has no
    /// such encoding is encoded as all addresses.
    const fn encode(self) -> u64 {
        match self {
            Self::Block(Block { address, order: 0 }) => address & PAGE_ADDRESS,
            Self::Block(Block { address, order }) if order <= MAX_ORDER => {
                let size = 1 << (order + 12);
                address & !(size - 1) | ((size >> 1) - 1) & PAGE_ADDRESS | Self::SIZE
            }
            _ => Self::EVERYTHING | Self::SIZE,
        }
    }
}

/// The address space of an invalidation.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Space {
    /// The host table's.
    Host,
    /// The guest table's of one PASID.
    Guest {
        /// The PASID; 20 bits.
        pasid: u32,
    },
}

impl Space {
    /// GN: the address is one of the guest table's.
    const GUEST: u64 = 1 << 2;

    /// The GN bit and the PASID.
    const fn encode(self) -> (u64, u64) {
        match self {
            Self::Host => (0, 0),
            Self::Guest { pasid } => (Self::GUEST, pasid as u64 & 0xf_ffff),
        }
    }
}

impl Command {
    /// Writes `data` to physical address `status` when all earlier commands are done
    /// (COMPLETION_WAIT).
    ///
    /// | bits | field |
    /// |---|---|
    /// | 0 | S: write the data |
    /// | 51:3 | address, 8-byte aligned |
    /// | 63:60 | code, 1 |
    /// | 127:64 | data |
    pub const fn wait(status: u64, data: u64) -> Self {
        Self([
            code::COMPLETION_WAIT | status & 0xf_ffff_ffff_fff8 | 1,
            data,
        ])
    }

    /// Makes later commands wait until all earlier ones are done (COMPLETION_WAIT). Without it, the
    /// unit may execute commands in any order.
    ///
    /// | bits | field |
    /// |---|---|
    /// | 2 | F: no later command is executed before this one is done |
    /// | 63:60 | code, 1 |
    pub const fn fence() -> Self {
        Self([code::COMPLETION_WAIT | 1 << 2, 0])
    }

    /// Invalidates a cached device table entry (INVALIDATE_DEVTAB_ENTRY).
    ///
    /// | bits | field |
    /// |---|---|
    /// | 15:0 | device id |
    /// | 63:60 | code, 2 |
    pub const fn device_entry(device: u16) -> Self {
        Self([code::INVALIDATE_DEVTAB_ENTRY | device as u64, 0])
    }

    /// Invalidates cached translations of a domain (INVALIDATE_IOMMU_PAGES).
    ///
    /// | bits | field |
    /// |---|---|
    /// | 19:0 | PASID |
    /// | 47:32 | domain id |
    /// | 63:60 | code, 3 |
    /// | 64 | S: the address encodes a size |
    /// | 65 | PDE: also cached page tables, not only leaf entries |
    /// | 66 | GN: an address of the guest table's |
    /// | 127:76 | address |
    pub const fn pages(domain: u16, space: Space, pages: Pages, leaves_only: bool) -> Self {
        let (guest, pasid) = space.encode();
        Self([
            code::INVALIDATE_IOMMU_PAGES | (domain as u64) << 32 | pasid,
            pages.encode() | (!leaves_only as u64) << 1 | guest,
        ])
    }

    /// Invalidates what is cached of the interrupt table of a device
    /// (INVALIDATE_INTERRUPT_TABLE).
    ///
    /// | bits | field |
    /// |---|---|
    /// | 15:0 | device id |
    /// | 63:60 | code, 5 |
    pub const fn interrupt_table(device: u16) -> Self {
        Self([code::INVALIDATE_INTERRUPT_TABLE | device as u64, 0])
    }

    /// Invalidates everything (INVALIDATE_IOMMU_ALL). The unit must have IASup.
    ///
    /// | bits | field |
    /// |---|---|
    /// | 63:60 | code, 8 |
    pub const fn all() -> Self {
        Self([code::INVALIDATE_IOMMU_ALL, 0])
    }
}
