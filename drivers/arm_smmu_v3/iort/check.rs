// SPDX-License-Identifier: GPL-2.0

//! Checks an IORT.
//!
//! The check leaves out what makes no sense, as little as possible, and reports each case:
//!
//! - A memory range that is left out is mapped for no device.
//! - The ids of a mapping that is left out, or that leads nowhere, belong to no unit. If a unit
//!   translates them all the same, it blocks them: a unit blocks every id that the driver did not
//!   attach there.
//! - If the registers of a unit cannot be where the table says, the unit is left out. The driver
//!   cannot block the devices whose mappings lead to it: their DMA is not translated, as without
//!   the driver. It takes none of them, so none gets a domain that is not enforced.
//!
//! There is no unit for "all other devices", so nothing that cannot be read makes the rest
//! uncertain. The check refuses only a header that makes no sense.
//!
//! The time is linear in the length of the table, but for sorts: n log n in the number of nodes,
//! and in the number of mappings or memory ranges of a node.

#![forbid(unsafe_code)]

use super::{
    elements::Elements,
    error::Error,
    index::{Entry, Use},
    kind::Kind,
    mapping::Mapping,
    memory::Region,
    node::Node,
    nodes::SmmuV3,
    warning::{Oddity, Warning},
};
use crate::drivers::shell::{
    acpi_structures::{self, unreadable, BadLength, RawStructures, StructureKind, HEADER_LEN},
    bytes::{u32_at, u8_at},
    sort::sort_by_key,
};

/// Takes warnings.
pub type Report<'r> = &'r mut dyn FnMut(&Warning);

/// Registers are addressed in pages of this size.
const REGISTER_PAGE: u64 = 0x1_0000;

/// The first revision of the table that may have reserved memory ranges (DEN 0049E.d; earlier
/// definitions of them were withdrawn).
const REGIONS_SINCE: u8 = 5;

/// The bytes of the table that `bytes` begin with.
pub(super) fn whole(bytes: &[u8]) -> Result<&[u8], Error> {
    Ok(acpi_structures::whole(bytes, b"IORT")?)
}

/// The entry of the node at an offset in the table. Entries of nodes are sorted by offset.
pub(super) fn entry_at(nodes: &[Entry], offset: u32) -> Option<&Entry> {
    let offset = offset as usize;
    let at = nodes.partition_point(|entry| entry.offset < offset);
    nodes.get(at).filter(|entry| entry.offset == offset)
}

/// The table's revision.
pub(super) fn revision(table: &[u8]) -> u8 {
    u8_at(table, 8)
}

/// Whether reserved memory ranges of the table count.
pub(super) fn has_regions(table: &[u8]) -> bool {
    revision(table) >= REGIONS_SINCE
}

/// How many nodes the table claims.
fn claimed(table: &[u8]) -> u32 {
    u32_at(table, 36)
}

/// The nodes of a table, as many as it claims or up to the first whose end cannot be found.
fn walk(table: &[u8]) -> core::iter::Take<RawStructures<'_, Kind>> {
    let first = u32_at(table, 40) as usize;
    RawStructures::new(table, first).take(claimed(table) as usize)
}

/// How many entries the index has: one for each node, and room to sort the elements of any node.
///
/// # Errors
///
/// Why the table cannot be used.
pub(super) fn count(bytes: &[u8]) -> Result<usize, Error> {
    let table = whole(bytes)?;
    let claims = u32_at(table, 40);
    if claimed(table) > 0 && (claims as usize) < HEADER_LEN {
        return Err(Error::FirstNode { claims });
    }
    let (mut nodes, mut room) = (0, 0);
    for raw in walk(table) {
        let node = Node::new(raw);
        for of in [Elements::Mappings, Elements::Regions] {
            room = room.max(node.array(of).count() as usize);
        }
        nodes += 1;
    }
    Ok(nodes + room)
}

/// Fills `index`, one entry for each node, and reports what is wrong.
///
/// [`count`] has accepted `bytes` and counted the entries.
pub(super) fn index(bytes: &[u8], index: &mut [Entry], report: Report<'_>) {
    let table = whole(bytes).unwrap_or_default();
    let nodes = walk(table).count();
    let (index, room) = index.split_at_mut(nodes.min(index.len()));

    let sum = acpi_structures::sum(table);
    if sum != 0 {
        report(&about(Kind::Header, 0, Oddity::Checksum { sum }));
    }
    fill(table, index, report);
    units(table, index, report);
    root_complexes(table, index, report);
    for entry in index.iter().filter(|entry| entry.how == Use::Node) {
        let node = Node::at(table, entry.offset);
        arrays(node, report);
        mappings(node, table, index, room, report);
        regions(node, table, room, report);
    }
    // Nothing is left of the sorts.
    room.fill(Entry::default());
}

/// A warning about a node.
fn about(kind: Kind, offset: usize, oddity: Oddity) -> Warning {
    Warning {
        kind,
        offset,
        element: None,
        oddity,
    }
}

/// Fills in where the nodes are, and which of them make no sense by themselves.
fn fill(table: &[u8], index: &mut [Entry], report: Report<'_>) {
    let mut end = u32_at(table, 40) as usize;
    let mut has = 0;
    for (entry, raw) in index.iter_mut().zip(walk(table)) {
        has += 1;
        end = raw.offset + raw.bytes.len();
        let oddity = if raw.is_complete() {
            node(Node::new(raw))
        } else {
            Some(Oddity::LeftOut(BadLength::TooShort {
                claims: raw.bytes.len(),
                needs: raw.kind.fixed_len(),
            }))
        };
        let how = match oddity {
            None | Some(Oddity::BaseMisaligned { .. }) => Use::Node,
            Some(_) => Use::LeftOut,
        };
        *entry = Entry {
            offset: raw.offset,
            how,
            ..Entry::default()
        };
        if let Some(oddity) = oddity {
            report(&about(raw.kind, raw.offset, oddity));
        }
    }
    let claims = claimed(table);
    if has < claims as usize {
        report(&about(
            Kind::Header,
            0,
            Oddity::NodesMissing { claims, has },
        ));
        if let Some((kind, problem)) = unreadable::<Kind>(table, end) {
            report(&about(kind, end, Oddity::Unreadable(problem)));
        }
    }
}

/// What is wrong in the fixed part of a node.
fn node(node: Node<'_>) -> Option<Oddity> {
    match node.kind() {
        Kind::SmmuV3 => registers(node.as_unit()?),
        Kind::NamedComponent if node.as_named()?.path().is_empty() => Some(Oddity::Name),
        _ => None,
    }
}

/// What is wrong with where the registers of a unit are.
fn registers(unit: SmmuV3<'_>) -> Option<Oddity> {
    let base = unit.base();
    if base == 0 || base == u64::MAX {
        Some(Oddity::BaseImpossible { base })
    } else if base.checked_add(unit.window() - 1).is_none() {
        Some(Oddity::BaseWraps { base })
    } else {
        (base % REGISTER_PAGE != 0).then_some(Oddity::BaseMisaligned { base })
    }
}

/// The key of entries that a sort moves to the end.
const LAST: u64 = u64::MAX;

/// Sorts entries by `key`, and by offset where that is the same.
fn sort(entries: &mut [Entry], key: impl Fn(&Entry) -> u64) {
    for entry in entries.iter_mut() {
        entry.key = key(entry);
    }
    sort_by_key(entries, |entry| (entry.key, entry.offset));
}

/// Reports units that share registers. `index` is sorted by offset before and after.
fn units(table: &[u8], index: &mut [Entry], report: Report<'_>) {
    let unit = |entry: &Entry| match entry.how {
        Use::Node => Node::at(table, entry.offset).as_unit(),
        _ => None,
    };
    sort(index, |entry| unit(entry).map_or(LAST, SmmuV3::base));

    // The unit whose registers reach furthest so far, and the last one by base.
    let mut furthest: Option<(u64, SmmuV3<'_>)> = None;
    let mut before: Option<SmmuV3<'_>> = None;
    for this in index.iter().map_while(unit) {
        let (base, last) = (this.base(), this.base() + (this.window() - 1));
        if let Some(first) = before.filter(|before| before.base() == base) {
            let other = first.offset();
            let oddity = Oddity::DescribedTwice { base, other };
            report(&about(Kind::SmmuV3, this.offset(), oddity));
            continue;
        }
        if let Some((_, reaching)) = furthest.filter(|(reach, _)| base <= *reach) {
            let other = reaching.offset();
            let oddity = Oddity::WindowsOverlap { base, other };
            report(&about(Kind::SmmuV3, this.offset(), oddity));
        }
        if furthest.is_none_or(|(reach, _)| reach < last) {
            furthest = Some((last, this));
        }
        before = Some(this);
    }
    sort_by_key(index, |entry| entry.offset);
}

/// Leaves out all but the first root complex of each segment. `index` is sorted by offset before
/// and after.
fn root_complexes(table: &[u8], index: &mut [Entry], report: Report<'_>) {
    let segment = |entry: &Entry| match entry.how {
        Use::Node => Some(Node::at(table, entry.offset).as_root_complex()?.segment()),
        _ => None,
    };
    sort(index, |entry| segment(entry).map_or(LAST, u64::from));

    let mut first: Option<(u32, usize)> = None;
    for entry in index.iter_mut() {
        let Some(segment) = segment(entry) else {
            break;
        };
        match first.filter(|(known, _)| *known == segment) {
            None => first = Some((segment, entry.offset)),
            Some((_, other)) => {
                entry.how = Use::LeftOut;
                let oddity = Oddity::SecondRootComplex { segment, other };
                report(&about(Kind::RootComplex, entry.offset, oddity));
            }
        }
    }
    sort_by_key(index, |entry| entry.offset);
}

/// Reports arrays that are not in their node as a whole, and indexes of no element.
fn arrays(node: Node<'_>, report: Report<'_>) {
    let kind = node.kind();
    let mut warn = |oddity| report(&about(kind, node.offset(), oddity));
    let arrays: &[Elements] = match kind {
        Kind::Unknown(_) => &[],
        Kind::ItsGroup => &[Elements::Mappings, Elements::Translators],
        Kind::Rmr => &[Elements::Mappings, Elements::Regions],
        _ => &[Elements::Mappings],
    };
    for of in arrays {
        if let Some(oddity) = node.array(*of).oddity() {
            warn(oddity);
        }
    }
    if let Some(index) = node.as_unit().and_then(SmmuV3::bad_message_mapping) {
        warn(Oddity::MappingIndex { index });
    }
    if kind == Kind::ItsGroup && node.mappings().next().is_some() {
        warn(Oddity::MappingsUnexpected);
    }
}

/// Reports what is wrong in the mappings of a node.
fn mappings(node: Node<'_>, table: &[u8], index: &[Entry], room: &mut [Entry], report: Report<'_>) {
    let kind = node.kind();
    let mut warn = |mapping: Mapping<'_>, oddity| {
        report(&Warning {
            element: Some(mapping.offset()),
            ..about(kind, node.offset(), oddity)
        });
    };
    if !kind.is_known() || kind == Kind::ItsGroup {
        return;
    }

    let mut ranges = 0;
    // The first mapping that leads nowhere, and how many others do.
    let mut dangling: Option<(Mapping<'_>, u32)> = None;
    for mapping in node.mappings() {
        if let Some(base) = mapping.wraps() {
            let more = mapping.more();
            warn(mapping, Oddity::IdsWrap { base, more });
        }
        // A single mapping of an SMMUv3 or of its counters is for their own interrupts.
        if mapping.is_single() && kind == Kind::Smmu {
            warn(mapping, Oddity::SingleUnexpected);
        }
        let to = mapping.reference();
        match entry_at(index, to).map(|entry| Node::at(table, entry.offset).kind()) {
            None => {
                let (first, others) = dangling.map_or((mapping, 0), |(first, n)| (first, n + 1));
                dangling = Some((first, others));
            }
            Some(target) if !kind.maps_to(target) => {
                warn(mapping, Oddity::ReferenceKind { to, kind: target });
            }
            Some(_) => {}
        }
        if let Some(entry) = room.get_mut(ranges).filter(|_| !mapping.is_single()) {
            entry.offset = mapping.offset();
            ranges += 1;
        }
    }
    if let Some((first, others)) = dangling {
        let to = first.reference();
        warn(first, Oddity::ReferenceDangling { to, others });
    }
    let at = |entry: &Entry| Mapping::at(table, entry.offset);
    overlaps(
        room.get_mut(..ranges).unwrap_or_default(),
        |entry| (at(entry).input().into(), at(entry).last().into()),
        &mut |this, other| {
            let other = at(other).offset();
            warn(at(this), Oddity::MappingsOverlap { other });
        },
    );
}

/// Reports what is wrong in the memory ranges of a node.
fn regions(node: Node<'_>, table: &[u8], room: &mut [Entry], report: Report<'_>) {
    let Some(memory) = node.as_rmr() else {
        return;
    };
    if !has_regions(table) {
        let revision = revision(table);
        let oddity = Oddity::RegionsTooOld { revision };
        return report(&about(Kind::Rmr, node.offset(), oddity));
    }
    let mut warn = |region: Region<'_>, oddity| {
        report(&Warning {
            element: Some(region.offset()),
            ..about(Kind::Rmr, node.offset(), oddity)
        });
    };
    let mut ranges = 0;
    for region in memory.all_regions() {
        if let Some(oddity) = region.oddity() {
            warn(region, oddity);
        }
        if let Some(entry) = room.get_mut(ranges).filter(|_| !region.is_left_out()) {
            entry.offset = region.offset();
            ranges += 1;
        }
    }
    let at = |entry: &Entry| Region::at(table, entry.offset);
    overlaps(
        room.get_mut(..ranges).unwrap_or_default(),
        |entry| (at(entry).first(), at(entry).last()),
        &mut |this, other| {
            let other = at(other).offset();
            warn(at(this), Oddity::RegionsOverlap { other });
        },
    );
}

/// Calls `report` for each element whose range begins within the range of another one, with both.
/// Elements are given by their offsets; `range` is the first and last of one.
fn overlaps(
    elements: &mut [Entry],
    range: impl Fn(&Entry) -> (u64, u64),
    report: &mut dyn FnMut(&Entry, &Entry),
) {
    sort(elements, |entry| range(entry).0);
    let mut furthest: Option<(u64, &Entry)> = None;
    for this in elements.iter() {
        let (first, last) = range(this);
        if let Some((_, other)) = furthest.filter(|(reach, _)| first <= *reach) {
            report(this, other);
        }
        if furthest.is_none_or(|(reach, _)| reach < last) {
            furthest = Some((last, this));
        }
    }
}
