// SPDX-License-Identifier: GPL-2.0

//! The nodes of an IORT (DEN 0049, "IORT nodes").

#![forbid(unsafe_code)]

use super::super::records::capability::FlagUpdates;
use super::{u32_at, u64_at, u8_at, Kind, Mapping, Mappings, Rmr, Warning};

/// One node.
///
/// | bytes | field |
/// |---|---|
/// | 0 | type |
/// | 1-2 | length |
/// | 3 | revision |
/// | 4-7 | identifier |
/// | 8-11 | number of mappings |
/// | 12-15 | offset of the mappings in the node |
/// | 16- | what the kind of node has |
#[derive(Copy, Clone, Debug)]
pub struct Node<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Node<'a> {
    pub(super) fn new(bytes: &'a [u8], offset: usize) -> Self {
        Self { bytes, offset }
    }

    /// What it is.
    pub fn kind(self) -> Kind {
        Kind::from_type(u8_at(self.bytes, 0))
    }

    /// Offset of the node in the table.
    pub fn offset(self) -> usize {
        self.offset
    }

    fn revision(self) -> u8 {
        u8_at(self.bytes, 3)
    }

    /// The bytes of the node.
    pub(super) fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// Its mappings, in the order of the table.
    pub(super) fn mappings(self) -> Mappings<'a> {
        Mappings::new(self.bytes, self.offset)
    }

    /// What is odd about its mappings.
    pub(super) fn mapping_warnings(self) -> impl Iterator<Item = Warning> + 'a {
        let kind = self.kind();
        // One mapping of a unit may be for its own interrupts: it takes no id.
        kind.is_known()
            .then(|| self.mappings().warnings(kind))
            .into_iter()
            .flatten()
    }

    /// The unit that it is.
    pub fn as_unit(self) -> Option<SmmuV3<'a>> {
        (self.kind() == Kind::SmmuV3).then_some(SmmuV3 { node: self })
    }

    /// The root complex that it is.
    pub fn as_root_complex(self) -> Option<RootComplex<'a>> {
        (self.kind() == Kind::RootComplex).then_some(RootComplex { node: self })
    }

    /// The device with a name that it is.
    pub fn as_named(self) -> Option<Named<'a>> {
        (self.kind() == Kind::NamedComponent).then_some(Named { node: self })
    }

    /// The memory ranges that it is.
    pub fn as_rmr(self) -> Option<Rmr<'a>> {
        (self.kind() == Kind::Rmr).then_some(Rmr::new(self))
    }

    /// The group of interrupt translators that it is.
    pub fn as_its_group(self) -> Option<ItsGroup<'a>> {
        (self.kind() == Kind::ItsGroup).then_some(ItsGroup { node: self })
    }
}

/// Which implementation a unit is, where that makes a difference.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Model {
    /// One that does what the architecture says.
    Generic,
    /// HiSilicon Hi161x: CMD_PREFETCH does not work.
    HisiliconHi161x,
    /// Cavium CN99xx: one page of registers instead of two, and one wire for all interrupts.
    CaviumCn99xx,
    /// One that the specification did not define when this was written.
    Unknown(u32),
}

/// The wired interrupts of a unit; `None` means that there is no wire.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Interrupts {
    /// Events.
    pub events: Option<u32>,
    /// Page requests.
    pub page_requests: Option<u32>,
    /// Errors of the unit itself.
    pub errors: Option<u32>,
    /// Completion of CMD_SYNC.
    pub sync: Option<u32>,
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
    pub(super) fn new(bytes: &'a [u8], offset: usize) -> Self {
        Self {
            node: Node::new(bytes, offset),
        }
    }

    /// Offset of the node in the table.
    pub fn offset(self) -> usize {
        self.node.offset
    }

    fn flags(self) -> u32 {
        u32_at(self.node.bytes, 24)
    }

    fn word(self, at: usize) -> u32 {
        u32_at(self.node.bytes, at)
    }

    /// Physical address of the registers; 64 KiB aligned.
    pub fn base(self) -> u64 {
        u64_at(self.node.bytes, 16)
    }

    /// Bytes of the register window: one or two pages of 64 KiB.
    pub fn window(self) -> u64 {
        match self.model() {
            Model::CaviumCn99xx => 0x1_0000,
            _ => 0x2_0000,
        }
    }

    /// Which implementation it is.
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

    /// Which flags of page table entries the unit may write.
    pub fn flag_updates(self) -> FlagUpdates {
        match self.flags() >> 1 & 3 {
            1 => FlagUpdates::Access,
            2 => FlagUpdates::AccessDirty,
            // 3 is reserved: what promises least.
            _ => FlagUpdates::None,
        }
    }

    /// Its wired interrupts.
    pub fn interrupts(self) -> Interrupts {
        let wire = |at| Some(self.word(at)).filter(|number| *number != 0);
        Interrupts {
            events: wire(44),
            page_requests: wire(48),
            errors: wire(52),
            sync: wire(56),
        }
    }

    /// Whether one wire serves all interrupts.
    pub fn has_one_wire(self) -> bool {
        let Interrupts {
            events,
            page_requests,
            errors,
            sync,
        } = self.interrupts();
        self.model() == Model::CaviumCn99xx && [page_requests, errors, sync] == [events; 3]
    }

    /// The ACPI proximity domain that it is close to.
    pub fn proximity_domain(self) -> Option<u32> {
        let valid = self.node.revision() >= 1 && self.flags() & 1 << 3 != 0;
        valid.then(|| self.word(60))
    }

    /// The index of the mapping that its own interrupt messages use, if firmware gives one.
    fn mapping_index(self) -> Option<u32> {
        let valid = match self.node.revision() {
            0 => false,
            // There was no flag: it counts unless every interrupt has a wire.
            1..=4 => {
                let wires = self.interrupts();
                [wires.events, wires.page_requests, wires.errors, wires.sync].contains(&None)
            }
            _ => self.flags() & 1 << 4 != 0,
        };
        valid.then(|| self.word(64))
    }

    /// The id that its own interrupt messages have at their translator, and the offset of the
    /// translators' node in the table.
    pub fn message_id(self) -> Option<(u32, u32)> {
        let index = usize::try_from(self.mapping_index()?).ok()?;
        let mapping = self.node.mappings().nth(index)?;
        mapping
            .is_single()
            .then(|| (mapping.output(), mapping.reference()))
    }

    pub(super) fn warning(self) -> Option<Warning> {
        let index = self.mapping_index()?;
        // Firmware of old revisions has no way to say that there is no mapping at all.
        let count = u32_at(self.node.bytes, 8);
        (count > 0 && index >= count).then(|| Warning::MappingIndex {
            offset: self.offset(),
            index,
        })
    }
}

/// A PCI root complex: one segment.
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
        self.node.offset
    }

    /// The PCI segment.
    pub fn segment(self) -> u32 {
        u32_at(self.node.bytes, 28)
    }

    /// Whether it passes translation requests on.
    pub fn device_tlb(self) -> bool {
        u32_at(self.node.bytes, 24) & 1 != 0
    }

    /// Whether it passes page requests on.
    pub fn page_requests(self) -> bool {
        u32_at(self.node.bytes, 24) & 2 != 0
    }

    /// What a requester id becomes.
    pub(super) fn map(self, requester: u32) -> Option<(u32, Mapping<'a>)> {
        self.node.mappings().map(requester, true)
    }
}

/// A device that firmware describes by name.
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
    /// Offset of the node in the table.
    pub fn offset(self) -> usize {
        self.node.offset
    }

    /// The ACPI path of the device, without the terminator.
    pub fn path(self) -> &'a [u8] {
        let path = self.node.bytes.get(29..).unwrap_or_default();
        path.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// Whether its transactions may be stalled when they fault.
    pub fn can_stall(self) -> bool {
        u32_at(self.node.bytes, 16) & 1 != 0
    }

    /// Bits of the substream ids that it sends; 0 if it sends none.
    pub fn substream_bits(self) -> u8 {
        (u32_at(self.node.bytes, 16) >> 1 & 0x1f) as u8
    }

    /// Its mappings that take no id: one for each id of the device.
    pub(super) fn singles(self) -> impl Iterator<Item = Mapping<'a>> {
        self.node.mappings().filter(|mapping| mapping.is_single())
    }

    /// What an id that the device gives becomes.
    pub(super) fn map(self, id: u32) -> Option<(u32, Mapping<'a>)> {
        self.node.mappings().map(id, true)
    }
}

/// A group of interrupt translators.
///
/// | bytes | field |
/// |---|---|
/// | 16-19 | number of translators |
/// | 20- | their numbers, 4 bytes each |
#[derive(Copy, Clone, Debug)]
pub struct ItsGroup<'a> {
    node: Node<'a>,
}

impl<'a> ItsGroup<'a> {
    /// Offset of the node in the table.
    pub fn offset(self) -> usize {
        self.node.offset
    }

    /// The numbers of the translators.
    pub fn translators(self) -> impl Iterator<Item = u32> + 'a {
        let count = u32_at(self.node.bytes, 16) as usize;
        let numbers = self.node.bytes.get(20..).unwrap_or_default();
        numbers
            .chunks_exact(4)
            .take(count)
            .map(|bytes| u32_at(bytes, 0))
    }
}
