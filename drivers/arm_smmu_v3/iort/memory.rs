// SPDX-License-Identifier: GPL-2.0

//! Reserved memory ranges, which devices use for firmware (DEN 0049, "Reserved Memory Range node").

#![forbid(unsafe_code)]

use super::{elements::Elements, kind::Kind, mapping::Mappings, node::Node, warning::Oddity};
use crate::drivers::shell::bytes::{u32_at, u64_at};

/// Bytes of the pages that memory ranges consist of.
const PAGE: u64 = 4096;

/// A node of reserved memory ranges. The outputs of its mappings are the stream ids of the devices
/// that use them.
///
/// | bytes | field |
/// |---|---|
/// | 16-19 | flags; bit 0: may be mapped elsewhere, bit 1: privileged, bits 9:2: memory type |
/// | 20-23 | number of memory ranges |
/// | 24-27 | offset of the memory ranges in the node |
#[derive(Copy, Clone, Debug)]
pub struct Rmr<'a> {
    node: Node<'a>,
}

impl<'a> Node<'a> {
    /// The reserved memory ranges that the node describes, if it describes some.
    pub fn as_rmr(self) -> Option<Rmr<'a>> {
        (self.kind() == Kind::Rmr).then_some(Rmr { node: self })
    }
}

impl<'a> Rmr<'a> {
    /// Offset of the node in the table.
    pub fn offset(self) -> usize {
        self.node.offset()
    }

    fn flags(self) -> u32 {
        u32_at(self.node.bytes(), 16)
    }

    /// Whether the devices may lose the memory once a driver or an owner has them.
    pub fn is_relaxable(self) -> bool {
        self.flags() & 1 != 0
    }

    /// Whether the devices access it with privileged transactions.
    pub fn is_privileged(self) -> bool {
        self.flags() & 2 != 0
    }

    /// Whether it is device memory.
    pub fn is_device_memory(self) -> bool {
        self.flags() >> 2 & 0xff <= 3
    }

    /// Whether it is write-back cacheable memory.
    pub fn is_cached(self) -> bool {
        self.flags() >> 2 & 0xff == 5
    }

    /// Its mappings.
    pub(super) fn mappings(self) -> Mappings<'a> {
        self.node.mappings()
    }

    /// Its memory ranges, without those that are left out.
    pub fn regions(self) -> impl Iterator<Item = Region<'a>> {
        Regions::new(self.node).filter(|region| !region.is_left_out())
    }

    /// All its memory ranges.
    pub(super) fn all_regions(self) -> Regions<'a> {
        Regions::new(self.node)
    }
}

/// A memory range.
///
/// | bytes | field |
/// |---|---|
/// | 0-7 | first byte |
/// | 8-15 | number of bytes |
/// | 16-19 | reserved |
#[derive(Copy, Clone, Debug)]
pub struct Region<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Region<'a> {
    /// Bytes of a memory range in the table.
    const LEN: usize = 20;

    /// The memory range at `offset` of a table.
    pub(super) fn at(table: &'a [u8], offset: usize) -> Self {
        Self {
            bytes: table.get(offset..).unwrap_or_default(),
            offset,
        }
    }

    pub(super) fn offset(self) -> usize {
        self.offset
    }

    fn raw_base(self) -> u64 {
        u64_at(self.bytes, 0)
    }

    fn raw_length(self) -> u64 {
        u64_at(self.bytes, 8)
    }

    /// Physical address of the first byte, rounded down to a 4 KiB page.
    pub fn first(self) -> u64 {
        self.raw_base() & !(PAGE - 1)
    }

    /// Physical address of the last byte, rounded up to the last one of a 4 KiB page.
    pub fn last(self) -> u64 {
        let last = self
            .raw_base()
            .saturating_add(self.raw_length().saturating_sub(1));
        last | (PAGE - 1)
    }

    /// What is wrong with it.
    pub(super) fn oddity(self) -> Option<Oddity> {
        let (base, length) = (self.raw_base(), self.raw_length());
        if length == 0 {
            Some(Oddity::RegionEmpty { base })
        } else if base.checked_add(length - 1).is_none() {
            Some(Oddity::RegionWraps { base, length })
        } else {
            let aligned = (base | length) % PAGE == 0;
            (!aligned).then_some(Oddity::RegionMisaligned { base, length })
        }
    }

    /// Whether it is no range of memory.
    pub(super) fn is_left_out(self) -> bool {
        matches!(
            self.oddity(),
            Some(Oddity::RegionEmpty { .. } | Oddity::RegionWraps { .. })
        )
    }
}

/// Iterates over the memory ranges of a node.
#[derive(Clone, Debug)]
pub(super) struct Regions<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Regions<'a> {
    /// The memory ranges of a node that lie in it.
    fn new(node: Node<'a>) -> Self {
        let (rest, offset) = node.array(Elements::Regions).bytes();
        Self { rest, offset }
    }
}

impl<'a> Iterator for Regions<'a> {
    type Item = Region<'a>;

    fn next(&mut self) -> Option<Region<'a>> {
        let (bytes, rest) = self.rest.split_at_checked(Region::LEN)?;
        let region = Region {
            bytes,
            offset: self.offset,
        };
        self.rest = rest;
        self.offset += Region::LEN;
        Some(region)
    }
}
