// SPDX-License-Identifier: GPL-2.0

//! Nodes of units and of devices (DEN 0049, "IORT nodes").

#![forbid(unsafe_code)]

use super::super::records::capability::FlagUpdates;
use super::{elements::Elements, kind::Kind, mapping::Mapping, node::Node};
use crate::drivers::shell::bytes::{u32_at, u64_at};

impl<'a> Node<'a> {
    /// The unit that the node describes, if it describes one.
    pub fn as_unit(self) -> Option<SmmuV3<'a>> {
        (self.kind() == Kind::SmmuV3).then_some(SmmuV3 { node: self })
    }

    /// The root complex that the node describes, if it describes one.
    pub fn as_root_complex(self) -> Option<RootComplex<'a>> {
        (self.kind() == Kind::RootComplex).then_some(RootComplex { node: self })
    }

    /// The named component that the node describes, if it describes one.
    pub fn as_named(self) -> Option<Named<'a>> {
        (self.kind() == Kind::NamedComponent).then_some(Named { node: self })
    }
}

/// The model of a unit.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Model {
    /// Any that follows the architecture.
    Generic,
    /// HiSilicon Hi161x: CMD_PREFETCH does not work.
    HisiliconHi161x,
    /// Cavium CN99xx: one page of registers instead of two, and one wire for all interrupts.
    CaviumCn99xx,
    /// Not in the specification.
    Unknown(u32),
}

/// A unit.
///
/// | bytes | field |
/// |---|---|
/// | 16-23 | base of the registers |
/// | 24-27 | flags |
/// | 40-43 | model |
/// | 44-47 | interrupt for events |
/// | 48-51 | interrupt for page requests |
/// | 52-55 | interrupt for errors |
/// | 56-59 | interrupt for CMD_SYNC |
/// | 60-63 | proximity domain; since revision 1 |
/// | 64-67 | index of the mapping for its own interrupts; since revision 1 |
///
/// | flag | meaning |
/// |---|---|
/// | 0 | COHACC override: the unit is coherent |
/// | 2:1 | HTTU override: 1 access flag, 2 access flag and dirty state |
/// | 3 | the proximity domain is valid |
/// | 4 | the index of the mapping is valid; since revision 5 |
#[derive(Copy, Clone, Debug)]
pub struct SmmuV3<'a> {
    node: Node<'a>,
}

impl<'a> SmmuV3<'a> {
    /// Offset of the node in the table.
    pub fn offset(self) -> usize {
        self.node.offset()
    }

    fn flags(self) -> u32 {
        u32_at(self.node.bytes(), 24)
    }

    fn word(self, at: usize) -> u32 {
        u32_at(self.node.bytes(), at)
    }

    /// Physical address of the registers.
    pub fn base(self) -> u64 {
        u64_at(self.node.bytes(), 16)
    }

    /// Bytes of the register window: one or two pages of 64 KiB.
    pub fn window(self) -> u64 {
        match self.model() {
            Model::CaviumCn99xx => 0x1_0000,
            _ => 0x2_0000,
        }
    }

    /// The model of the unit.
    pub fn model(self) -> Model {
        match self.word(40) {
            0 => Model::Generic,
            1 => Model::HisiliconHi161x,
            2 => Model::CaviumCn99xx,
            other => Model::Unknown(other),
        }
    }

    /// Whether the unit's accesses to tables and queues snoop the processors' caches.
    pub fn coherent(self) -> bool {
        self.flags() & 1 != 0
    }

    /// Which flags of page table entries the unit may update.
    pub fn flag_updates(self) -> FlagUpdates {
        match self.flags() >> 1 & 3 {
            1 => FlagUpdates::Access,
            2 => FlagUpdates::AccessDirty,
            // 3 is reserved.
            _ => FlagUpdates::None,
        }
    }

    /// The index of the mapping that its own interrupt messages use, if firmware gives one.
    pub fn message_mapping(self) -> Option<u32> {
        let valid = match self.node.revision() {
            0 => false,
            // There was no flag. The index is valid unless every interrupt has a wire.
            1..=4 => [44, 48, 52, 56].into_iter().any(|at| self.word(at) == 0),
            _ => self.flags() & 1 << 4 != 0,
        };
        valid.then(|| self.word(64))
    }

    /// The index of the mapping for its own interrupts, if it is not the index of a mapping.
    pub(super) fn bad_message_mapping(self) -> Option<u32> {
        let index = self.message_mapping()?;
        let count = self.node.array(Elements::Mappings).count();
        // Old revisions cannot say that there is no mapping.
        (count > 0 && index >= count).then_some(index)
    }
}

/// The root complex of a PCI segment.
///
/// | bytes | field |
/// |---|---|
/// | 16-23 | memory access properties |
/// | 24-27 | ATS attribute; bit 0: supported, bit 1: page requests too |
/// | 28-31 | PCI segment |
/// | 32 | bits of an address that its devices can use; since revision 1 |
#[derive(Copy, Clone, Debug)]
pub struct RootComplex<'a> {
    node: Node<'a>,
}

impl<'a> RootComplex<'a> {
    /// Offset of the node in the table.
    pub fn offset(self) -> usize {
        self.node.offset()
    }

    /// The PCI segment.
    pub fn segment(self) -> u32 {
        u32_at(self.node.bytes(), 28)
    }

    /// Whether it supports ATS.
    pub fn device_tlb(self) -> bool {
        u32_at(self.node.bytes(), 24) & 1 != 0
    }

    /// The id that a requester id becomes, and its mapping.
    pub(super) fn map(self, requester: u32) -> Option<(u32, Mapping<'a>)> {
        self.node.mappings().map(requester)
    }
}

/// A named component: a device that is not on a PCI bus.
///
/// | bytes | field |
/// |---|---|
/// | 16-19 | flags; bit 0: transactions may be stalled, bits 5:1: bits of a substream id |
/// | 20-27 | memory access properties |
/// | 28 | bits of an address that it can use |
/// | 29- | ACPI path, ends with 0 |
#[derive(Copy, Clone, Debug)]
pub struct Named<'a> {
    node: Node<'a>,
}

impl<'a> Named<'a> {
    /// The ACPI path of the device, without the terminator; empty if it has none.
    pub fn path(self) -> &'a [u8] {
        let path = self.node.bytes().get(29..).unwrap_or_default();
        let end = path.iter().position(|byte| *byte == 0);
        end.and_then(|end| path.get(..end)).unwrap_or_default()
    }

    /// Its single mappings: one for each id of the device.
    pub(super) fn singles(self) -> impl Iterator<Item = Mapping<'a>> {
        self.node.mappings().filter(|mapping| mapping.is_single())
    }
}
