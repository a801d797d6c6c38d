// SPDX-License-Identifier: GPL-2.0

//! Device entries of an IVRS table: the devices of a unit, the ids of their requests, and the
//! messages that their device table entries must let through (AMD-Vi 5.2.2, "IVHD device
//! entries").
//!
//! | type | bytes | what |
//! |---|---|---|
//! | 0, 64 | 4, 8 | padding |
//! | 1 | 4 | every device |
//! | 2 | 4 | one device |
//! | 3, 4 | 4 | the first and the last device of a range |
//! | 66 | 8 | one device whose requests carry another id |
//! | 67 | 8 | the first device of a range whose requests carry another id |
//! | 70, 71 | 8 | as 2 and 3, with extended settings |
//! | 72 | 8 | an I/O APIC or a timer |
//! | 240 | 22 and more | a device with an ACPI name |
//!
//! Bits 7:6 of any other type give the entry's length: 4, 8, 16 or 32 bytes. Entries of types above
//! 240 have variable lengths.

#![forbid(unsafe_code)]

use super::{kind::Kind, warning::Oddity};
use crate::drivers::shell::bytes::{u16_at, u32_at, u64_at, u8_at};

/// Types of device entries.
mod kind {
    pub(super) const ALL: u8 = 1;
    pub(super) const SELECT: u8 = 2;
    pub(super) const RANGE_START: u8 = 3;
    pub(super) const RANGE_END: u8 = 4;
    pub(super) const ALIAS_SELECT: u8 = 66;
    pub(super) const ALIAS_RANGE_START: u8 = 67;
    pub(super) const EXTENDED_SELECT: u8 = 70;
    pub(super) const EXTENDED_RANGE_START: u8 = 71;
    pub(super) const SPECIAL: u8 = 72;
    pub(super) const ACPI_HID: u8 = 240;
}

/// Fixed part of a device entry of type 240, up to and with the length of the unique id.
const HID_FIXED: usize = 22;

/// The messages that a device table entry must let through (data setting).
///
/// | bits | name |
/// |---|---|
/// | 0 | `INITPass` |
/// | 1 | `EIntPass` |
/// | 2 | `NMIPass` |
/// | 5:4 | `SysMgt` |
/// | 6 | `Lint0Pass` |
/// | 7 | `Lint1Pass` |
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Settings(pub u8);

impl Settings {
    /// No such messages.
    pub const NONE: Self = Self(0);

    /// INIT messages pass.
    pub const fn init(self) -> bool {
        self.0 & 1 << 0 != 0
    }

    /// External interrupts pass.
    pub const fn external_interrupt(self) -> bool {
        self.0 & 1 << 1 != 0
    }

    /// NMIs pass.
    pub const fn nmi(self) -> bool {
        self.0 & 1 << 2 != 0
    }

    /// The treatment of system management messages: 0 the unit blocks them, 1 writes pass
    /// untranslated, 2 interrupts pass, 3 the unit translates them.
    pub const fn system_management(self) -> u8 {
        self.0 >> 4 & 3
    }

    /// Legacy PIC interrupts pass.
    pub const fn lint0(self) -> bool {
        self.0 & 1 << 6 != 0
    }

    /// Legacy NMIs pass.
    pub const fn lint1(self) -> bool {
        self.0 & 1 << 7 != 0
    }

    /// Whether interrupts pass that no interrupt table has an entry for.
    pub const fn pass_interrupts(self) -> bool {
        self.init()
            || self.external_interrupt()
            || self.nmi()
            || self.lint0()
            || self.lint1()
            || self.system_management() == 2
    }

    /// Whether no such messages must pass.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// Devices `first..=last` of the unit's segment.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Devices {
    /// The first device id.
    pub first: u16,
    /// The last device id.
    pub last: u16,
    /// Whether this entry is for all devices (type 1). Other entries list devices of the machine.
    pub all: bool,
    /// The id of the devices' requests; `None` if each has its own.
    pub alias: Option<u16>,
    /// The messages that their device table entries must let through.
    pub settings: Settings,
    /// The devices must not use ATS, although they support it.
    pub ats_disabled: bool,
}

impl Devices {
    /// Whether `device` is one of them.
    pub const fn contains(&self, device: u16) -> bool {
        self.first <= device && device <= self.last
    }
}

/// The kind of a special device.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Variety {
    /// An I/O interrupt controller.
    IoApic,
    /// A timer that sends message-signalled interrupts.
    Hpet,
    /// An unknown kind.
    Unknown(u8),
}

impl Variety {
    const fn from_value(value: u8) -> Self {
        match value {
            1 => Self::IoApic,
            2 => Self::Hpet,
            other => Self::Unknown(other),
        }
    }
}

/// A special device: one without a PCI function.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Special {
    /// The kind.
    pub variety: Variety,
    /// The number of the I/O APIC or timer in other ACPI tables.
    pub handle: u8,
    /// The device id of its requests.
    pub device: u16,
    /// The messages that its device table entry must let through.
    pub settings: Settings,
}

/// The unique id of a named device. It differs between devices with the same hardware id.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum UniqueId<'a> {
    /// No unique id.
    None,
    /// A number.
    Integer(u64),
    /// A string of ASCII characters.
    Text(&'a [u8]),
}

/// A device that ACPI names and no bus enumerates.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Named<'a> {
    /// The device id of its requests.
    pub device: u16,
    /// The hardware id, up to 8 ASCII characters.
    pub hid: &'a [u8],
    /// The compatible id, up to 8 ASCII characters; empty for none.
    pub cid: &'a [u8],
    /// The unique id.
    pub uid: UniqueId<'a>,
    /// The messages that its device table entry must let through.
    pub settings: Settings,
}

/// One device entry. The two entries of a range count as one.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum DeviceEntry<'a> {
    /// PCI functions.
    Devices(Devices),
    /// An I/O APIC or a timer.
    Special(Special),
    /// A named device.
    Named(Named<'a>),
}

impl DeviceEntry<'_> {
    /// Whether requests of these devices may have the id `device`.
    pub fn has(&self, device: u16) -> bool {
        match self {
            Self::Devices(devices) => devices.contains(device) || devices.alias == Some(device),
            Self::Special(special) => special.device == device,
            Self::Named(named) => named.device == device,
        }
    }

    /// The lowest id of these devices' requests.
    pub(super) fn first_id(&self) -> u16 {
        match self {
            Self::Devices(devices) => devices.first.min(devices.alias.unwrap_or(u16::MAX)),
            Self::Special(special) => special.device,
            Self::Named(named) => named.device,
        }
    }

    /// The highest id of these devices' requests.
    pub fn last_id(&self) -> u16 {
        match self {
            Self::Devices(devices) => devices.last.max(devices.alias.unwrap_or(0)),
            Self::Special(special) => special.device,
            Self::Named(named) => named.device,
        }
    }
}

/// The length of the device entry at the start of `rest`, at least 4, or why it is unknown.
fn length(rest: &[u8]) -> Result<usize, Oddity> {
    let value = u8_at(rest, 0);
    let claims = match value {
        kind::ACPI_HID if rest.len() < HID_FIXED => HID_FIXED,
        kind::ACPI_HID => HID_FIXED + usize::from(u8_at(rest, HID_FIXED - 1)),
        241.. => return Err(Oddity::EntryLength { value }),
        _ => 4 << (value >> 6),
    };
    if claims > rest.len() {
        let left = rest.len();
        return Err(Oddity::EntryPastBlock { claims, left });
    }
    Ok(claims)
}

/// One device entry as it is in the table.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct Raw<'a> {
    bytes: &'a [u8],
    /// Offset in the table.
    offset: usize,
}

impl Raw<'_> {
    fn kind(&self) -> u8 {
        u8_at(self.bytes, 0)
    }

    fn device(&self) -> u16 {
        u16_at(self.bytes, 1)
    }

    fn settings(&self) -> Settings {
        Settings(u8_at(self.bytes, 3))
    }

    /// The other id of alias entries and of special devices.
    fn used_id(&self) -> u16 {
        u16_at(self.bytes, 5)
    }

    /// The device of this entry, or the first device of the range that starts here.
    fn devices(&self) -> Devices {
        let kind = self.kind();
        let all = kind == kind::ALL;
        let alias = matches!(kind, kind::ALIAS_SELECT | kind::ALIAS_RANGE_START);
        let extended = matches!(kind, kind::EXTENDED_SELECT | kind::EXTENDED_RANGE_START);

        Devices {
            first: if all { 0 } else { self.device() },
            last: if all { u16::MAX } else { self.device() },
            all,
            alias: alias.then(|| self.used_id()),
            settings: self.settings(),
            ats_disabled: extended && u32_at(self.bytes, 4) >> 31 != 0,
        }
    }
}

/// Iterates over the entries of a block as they are in the table, up to the first whose end cannot
/// be found.
#[derive(Clone, Debug)]
struct RawEntries<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Iterator for RawEntries<'a> {
    type Item = Raw<'a>;

    fn next(&mut self) -> Option<Raw<'a>> {
        let len = length(self.rest).ok()?;
        let (bytes, rest) = (self.rest.get(..len)?, self.rest.get(len..)?);
        let offset = self.offset;
        self.rest = rest;
        self.offset += len;
        Some(Raw { bytes, offset })
    }
}

/// A device entry, or why the entry in the table makes no sense.
type Step<'a> = Result<DeviceEntry<'a>, Oddity>;

/// Iterates over the device entries of a block.
///
/// As in the C driver, other entries may come between the start and the end of a range, and a range
/// without an end lists nothing.
#[derive(Clone, Debug)]
pub struct DeviceEntries<'a> {
    raw: RawEntries<'a>,
    /// Whether the block may have named devices.
    named: bool,
    /// The start of a range whose end has not come yet.
    open: Option<Raw<'a>>,
}

impl<'a> DeviceEntries<'a> {
    /// The entries in `bytes`, which are at `offset` in the table, of a block of `kind`.
    pub(super) fn new(bytes: &'a [u8], offset: usize, kind: Kind) -> Self {
        Self {
            raw: RawEntries {
                rest: bytes,
                offset,
            },
            named: kind == Kind::Ivhd40,
            open: None,
        }
    }

    /// Calls `report` for each odd entry, with its offset in the table.
    pub(super) fn check(mut self, report: &mut dyn FnMut(usize, Oddity)) {
        while let Some(raw) = self.raw.next() {
            let before = self.open;
            match self.step(&raw) {
                Some(Err(oddity)) => report(raw.offset, oddity),
                Some(Ok(entry)) => {
                    if let Some(oddity) = oddity(&raw, &entry) {
                        report(raw.offset, oddity);
                    }
                }
                None => {}
            }
            if let (Some(before), Some(_)) = (before, self.open.filter(|now| Some(*now) != before))
            {
                let first = before.device();
                report(before.offset, Oddity::RangeNotEnded { first });
            }
        }
        if let Some(open) = self.open {
            let first = open.device();
            report(open.offset, Oddity::RangeNotEnded { first });
        }
        if let (false, Err(oddity)) = (self.raw.rest.is_empty(), length(self.raw.rest)) {
            report(self.raw.offset, oddity);
        }
    }

    /// The device entry that `raw` is or completes, after the entries before it.
    fn step(&mut self, raw: &Raw<'a>) -> Option<Step<'a>> {
        Some(match raw.kind() {
            kind::ALL | kind::SELECT | kind::ALIAS_SELECT | kind::EXTENDED_SELECT => {
                Ok(DeviceEntry::Devices(raw.devices()))
            }
            kind::RANGE_START | kind::ALIAS_RANGE_START | kind::EXTENDED_RANGE_START => {
                self.open = Some(*raw);
                return None;
            }
            kind::RANGE_END => {
                let last = raw.device();
                match self.open.take().map(|start| start.devices()) {
                    None => Err(Oddity::RangeNotStarted { last }),
                    Some(Devices { first, .. }) if last < first => {
                        Err(Oddity::RangeBackwards { first, last })
                    }
                    Some(start) => Ok(DeviceEntry::Devices(Devices { last, ..start })),
                }
            }
            kind::SPECIAL => Ok(DeviceEntry::Special(special(raw))),
            kind::ACPI_HID if !self.named => Err(Oddity::NameNotAllowed),
            kind::ACPI_HID => acpi_hid(raw)
                .map(DeviceEntry::Named)
                .ok_or(Oddity::NameMissing),
            _ => return None,
        })
    }
}

impl<'a> Iterator for DeviceEntries<'a> {
    type Item = DeviceEntry<'a>;

    fn next(&mut self) -> Option<DeviceEntry<'a>> {
        loop {
            let raw = self.raw.next()?;
            if let Some(Ok(entry)) = self.step(&raw) {
                return Some(entry);
            }
        }
    }
}

/// What is odd about an entry that is not left out.
fn oddity(raw: &Raw<'_>, entry: &DeviceEntry<'_>) -> Option<Oddity> {
    match entry {
        DeviceEntry::Special(Special {
            variety: Variety::Unknown(variety),
            ..
        }) => Some(Oddity::UnknownSpecial { variety: *variety }),
        DeviceEntry::Named(named) if named.uid == UniqueId::None && !uid_is_absent(raw) => {
            Some(Oddity::UniqueId)
        }
        _ => None,
    }
}

/// | bytes | field |
/// |---|---|
/// | 0 | type, 72 |
/// | 1-2 | reserved |
/// | 3 | data setting |
/// | 4 | handle |
/// | 5-6 | device id |
/// | 7 | variety |
fn special(raw: &Raw<'_>) -> Special {
    Special {
        variety: Variety::from_value(u8_at(raw.bytes, 7)),
        handle: u8_at(raw.bytes, 4),
        device: raw.used_id(),
        settings: raw.settings(),
    }
}

/// A named device; `None` if the entry has no hardware id.
///
/// | bytes | field |
/// |---|---|
/// | 0 | type, 240 |
/// | 1-2 | device id |
/// | 3 | data setting |
/// | 4-11 | hardware id |
/// | 12-19 | compatible id |
/// | 20 | format of the unique id: 0 none, 1 integer, 2 string |
/// | 21 | length of the unique id |
/// | 22- | unique id |
fn acpi_hid<'a>(raw: &Raw<'a>) -> Option<Named<'a>> {
    let bytes = raw.bytes;
    let hid = text(bytes, 4, 8);
    if hid.is_empty() {
        return None;
    }
    let uid = bytes.get(HID_FIXED..).unwrap_or_default();

    Some(Named {
        device: raw.device(),
        hid,
        cid: text(bytes, 12, 8),
        uid: match (u8_at(bytes, 20), uid.len()) {
            (1, len @ 1..=8) => UniqueId::Integer(integer(uid, len)),
            (2, len @ 1..) => match text(uid, 0, len) {
                [] => UniqueId::None,
                uid => UniqueId::Text(uid),
            },
            _ => UniqueId::None,
        },
        settings: raw.settings(),
    })
}

/// Whether the entry says that its device has no unique id.
fn uid_is_absent(raw: &Raw<'_>) -> bool {
    (u8_at(raw.bytes, 20), u8_at(raw.bytes, 21)) == (0, 0)
}

/// The little-endian number in the first `len` bytes, up to 8.
fn integer(bytes: &[u8], len: usize) -> u64 {
    let mut whole = [0; 8];
    for (to, from) in whole.iter_mut().zip(bytes).take(len) {
        *to = *from;
    }
    u64_at(&whole, 0)
}

/// The characters before the first zero in a field of `len` bytes at `at`.
fn text(bytes: &[u8], at: usize, len: usize) -> &[u8] {
    let field = bytes
        .get(at..)
        .and_then(|rest| rest.get(..len))
        .unwrap_or_default();
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}
