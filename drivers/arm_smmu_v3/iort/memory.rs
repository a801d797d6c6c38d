// SPDX-License-Identifier: GPL-2.0

//! Reserved memory ranges, which devices use for firmware (DEN 0049, "Reserved Memory Range node").

#![forbid(unsafe_code)]

use super::{error::Warning, kind::Kind, node::Node};
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

    /// Whether the device with this stream id uses it. `unit` is the offset of its unit's node.
    pub fn concerns(self, unit: usize, stream: u32) -> bool {
        self.node
            .mappings()
            .any(|mapping| mapping.reference() as usize == unit && mapping.gives(stream))
    }

    /// Its memory ranges, without empty ones.
    pub fn regions(self) -> impl Iterator<Item = Region<'a>> {
        self.all_regions().filter(|region| region.raw_length() > 0)
    }

    fn all_regions(self) -> Regions<'a> {
        Regions::new(self.node.bytes(), self.node.offset())
    }

    pub(super) fn warnings(self) -> impl Iterator<Item = Warning> + 'a {
        let odd = self.all_regions().filter_map(Region::warning);
        let overlaps = self.regions().filter_map(move |region| {
            let other = self
                .regions()
                .take_while(|other| other.offset < region.offset)
                .find(|other| other.first() <= region.last() && region.first() <= other.last())?;
            Some(Warning::RegionsOverlap {
                first: other.offset,
                second: region.offset,
            })
        });
        odd.chain(overlaps)
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

impl Region<'_> {
    /// Bytes of a memory range in the table.
    pub(super) const LEN: usize = 20;

    pub(super) fn offset(self) -> usize {
        self.offset
    }

    pub(super) fn raw_base(self) -> u64 {
        u64_at(self.bytes, 0)
    }

    pub(super) fn raw_length(self) -> u64 {
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

    fn warning(self) -> Option<Warning> {
        let (base, length) = (self.raw_base(), self.raw_length());
        if length == 0 {
            return Some(Warning::RegionEmpty {
                offset: self.offset,
                base,
            });
        }
        ((base | length) % PAGE != 0).then_some(Warning::RegionMisaligned {
            offset: self.offset,
            base,
            length,
        })
    }
}

/// Iterates over the memory ranges of a node.
#[derive(Clone, Debug)]
pub struct Regions<'a> {
    rest: &'a [u8],
    left: u32,
    offset: usize,
}

impl<'a> Regions<'a> {
    /// The memory ranges of a node whose bytes are at `offset` in the table.
    pub(super) fn new(node: &'a [u8], offset: usize) -> Self {
        let (count, start) = (u32_at(node, 20), u32_at(node, 24) as usize);
        Self {
            rest: node.get(start..).unwrap_or_default(),
            left: count,
            offset: offset + start,
        }
    }
}

impl<'a> Iterator for Regions<'a> {
    type Item = Region<'a>;

    fn next(&mut self) -> Option<Region<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (bytes, rest) = (self.rest.get(..Region::LEN)?, self.rest.get(Region::LEN..)?);
        let region = Region {
            bytes,
            offset: self.offset,
        };
        self.rest = rest;
        self.offset += Region::LEN;
        Some(region)
    }
}
