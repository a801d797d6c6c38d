// SPDX-License-Identifier: GPL-2.0

//! What a unit reports: event records, and global errors (SMMUv3 IHI 0070, chapter 7).

#![forbid(unsafe_code)]

use core::fmt;

use super::bits::{bit, field, mask};

/// 64-bit words of an event record.
pub const EVENT_WORDS: usize = 4;

/// Kinds of events (7.3).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A transaction that the unit does not support.
    Unsupported,
    /// The stream id has no STE.
    BadStreamId,
    /// The stream table could not be read.
    StreamFetch,
    /// The STE is not valid.
    BadStream,
    /// A translation request (ATS) that the STE forbids.
    BadTranslationRequest,
    /// The STE terminates transactions without a substream id.
    StreamDisabled,
    /// A translated transaction (ATS) that the STE forbids.
    TranslatedForbidden,
    /// The substream id has no CD.
    BadSubstreamId,
    /// A CD could not be read.
    ContextFetch,
    /// The CD is not valid.
    BadContext,
    /// A page table could not be read.
    WalkAbort,
    /// The page is not mapped.
    Translation,
    /// An address has too many bits.
    AddressSize,
    /// The access flag is clear.
    AccessFlag,
    /// The page is not mapped for this access.
    Permission,
    /// The unit's TLB has two translations of the address.
    TlbConflict,
    /// The unit's caches have two configurations of the stream.
    ConfigurationConflict,
    /// A device will probably access the page soon.
    PageRequest,
    /// A virtual machine structure (VMS) could not be read.
    MachineFetch,
    /// An event that the manufacturer defines.
    Implementation(u8),
    /// Not in the specification.
    Unknown(u8),
}

impl Kind {
    const fn from_code(code: u8) -> Self {
        match code {
            0x01 => Self::Unsupported,
            0x02 => Self::BadStreamId,
            0x03 => Self::StreamFetch,
            0x04 => Self::BadStream,
            0x05 => Self::BadTranslationRequest,
            0x06 => Self::StreamDisabled,
            0x07 => Self::TranslatedForbidden,
            0x08 => Self::BadSubstreamId,
            0x09 => Self::ContextFetch,
            0x0a => Self::BadContext,
            0x0b => Self::WalkAbort,
            0x10 => Self::Translation,
            0x11 => Self::AddressSize,
            0x12 => Self::AccessFlag,
            0x13 => Self::Permission,
            0x20 => Self::TlbConflict,
            0x21 => Self::ConfigurationConflict,
            0x24 => Self::PageRequest,
            0x25 => Self::MachineFetch,
            0xe0..=0xef => Self::Implementation(code),
            other => Self::Unknown(other),
        }
    }

    /// The name in the specification.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unsupported => "F_UUT",
            Self::BadStreamId => "C_BAD_STREAMID",
            Self::StreamFetch => "F_STE_FETCH",
            Self::BadStream => "C_BAD_STE",
            Self::BadTranslationRequest => "F_BAD_ATS_TREQ",
            Self::StreamDisabled => "F_STREAM_DISABLED",
            Self::TranslatedForbidden => "F_TRANSL_FORBIDDEN",
            Self::BadSubstreamId => "C_BAD_SUBSTREAMID",
            Self::ContextFetch => "F_CD_FETCH",
            Self::BadContext => "C_BAD_CD",
            Self::WalkAbort => "F_WALK_EABT",
            Self::Translation => "F_TRANSLATION",
            Self::AddressSize => "F_ADDR_SIZE",
            Self::AccessFlag => "F_ACCESS",
            Self::Permission => "F_PERMISSION",
            Self::TlbConflict => "F_TLB_CONFLICT",
            Self::ConfigurationConflict => "F_CFG_CONFLICT",
            Self::PageRequest => "E_PAGE_REQUEST",
            Self::MachineFetch => "F_VMS_FETCH",
            Self::Implementation(_) => "IMPDEF_EVENT",
            Self::Unknown(_) => "unknown event",
        }
    }

    /// Whether the record says at which address.
    pub const fn has_address(self) -> bool {
        self.has_access() || matches!(self, Self::BadTranslationRequest | Self::PageRequest)
    }

    /// Whether the record describes an access (PnU, InD, RnW). Translation requests and page
    /// requests are no access, and a fault in the configuration does not depend on the access.
    pub const fn has_access(self) -> bool {
        matches!(
            self,
            Self::Unsupported
                | Self::TranslatedForbidden
                | Self::WalkAbort
                | Self::Translation
                | Self::AddressSize
                | Self::AccessFlag
                | Self::Permission
                | Self::TlbConflict
        )
    }

    /// Whether the transaction may be stalled.
    const fn may_stall(self) -> bool {
        matches!(
            self,
            Self::Translation | Self::AddressSize | Self::AccessFlag | Self::Permission
        )
    }

    /// Whether the record has the address that the unit could not read.
    const fn has_fetch(self) -> bool {
        matches!(
            self,
            Self::StreamFetch | Self::ContextFetch | Self::WalkAbort | Self::MachineFetch
        )
    }

    /// The reason in words.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Unsupported => "the unit does not support this kind of transaction",
            Self::BadStreamId => "the stream id has no place in the stream table",
            Self::StreamFetch => "the unit could not read the stream table",
            Self::BadStream => {
                "the device is blocked, or the unit does not understand the stream table entry"
            }
            Self::BadTranslationRequest => {
                "the device sent a translation request, which its entry forbids"
            }
            Self::StreamDisabled => "the device sent no substream id, and its entry forbids that",
            Self::TranslatedForbidden => {
                "the device sent a translated request, which its entry forbids"
            }
            Self::BadSubstreamId => "the substream id has no context descriptor",
            Self::ContextFetch => "the unit could not read a context descriptor",
            Self::BadContext => "the context descriptor is not valid",
            Self::WalkAbort => "the unit could not read a page table",
            Self::Translation => "the page is not mapped",
            Self::AddressSize => {
                "the address is beyond what the unit or the domain's table translates"
            }
            Self::AccessFlag => "the access flag of the page is clear",
            Self::Permission => "the page is not mapped for this kind of access",
            Self::TlbConflict => "the unit's caches have two translations of the address",
            Self::ConfigurationConflict => "the unit's caches have two entries for the device",
            Self::PageRequest => "the device says that it will want the page",
            Self::MachineFetch => "the unit could not read the table of virtual machines",
            Self::Implementation(_) => "an event that only the unit's maker knows",
            Self::Unknown(_) => "an event that the specification does not have",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Implementation(code) | Self::Unknown(code) => {
                write!(f, "{} {code:#04x}", self.name())
            }
            _ => f.write_str(self.name()),
        }
    }
}

/// What the unit was about to translate when it faulted (CLASS).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Class {
    /// The address of a CD.
    Context,
    /// The address of a stage 1 page table.
    Table,
    /// The input address.
    Input,
    /// Reserved.
    Unknown,
}

/// The access of a transaction.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Access {
    /// Whether it read; atomic operations count as writes.
    pub read: bool,
    /// Whether it was an instruction fetch.
    pub execute: bool,
    /// Whether it was privileged.
    pub privileged: bool,
}

/// An event record.
///
/// | word | bits | field |
/// |---|---|---|
/// | 0 | 7:0 | event number |
/// | 0 | 11 | SSV: there is a substream id |
/// | 0 | 31:12 | substream id |
/// | 0 | 63:32 | stream id |
/// | 1 | 15:0 | STAG: tag of the stalled transaction |
/// | 1 | 31 | Stall |
/// | 1 | 33 | PnU: privileged |
/// | 1 | 34 | InD: instruction fetch |
/// | 1 | 35 | RnW: read |
/// | 1 | 39 | S2: at stage 2 |
/// | 1 | 41:40 | CLASS: 0 CD, 1 page table, 2 input address |
/// | 2 | 63:0 | InputAddr |
/// | 3 | 51:12 | IPA, of faults at stage 2 |
/// | 3 | 51:3 | FetchAddr, of external aborts |
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// Its kind.
    pub kind: Kind,
    /// The stream id.
    pub stream: u32,
    /// The substream id, if the transaction had one.
    pub substream: Option<u32>,
    /// The input address; `None` if the event has none.
    pub address: Option<u64>,
    /// The access; `None` if the event has none.
    pub access: Option<Access>,
    /// What the unit was about to translate.
    pub class: Class,
    /// The intermediate physical address, 4 KiB aligned, of a fault at stage 2.
    pub intermediate: Option<u64>,
    /// The address that the unit could not read; `None` if the event is about something else.
    pub fetch: Option<u64>,
    /// The stalled transaction's tag, for CMD_RESUME; `None` if the transaction was terminated.
    pub stall: Option<u16>,
}

impl Event {
    /// Decodes a record. The event number is in the first word.
    pub const fn decode(words: [u64; EVENT_WORDS]) -> Self {
        let [first, second, address, last] = words;
        let kind = Kind::from_code(first as u8);
        let second_stage = kind.may_stall() && bit(second, 39);

        Self {
            kind,
            stream: field(first, 63, 32) as u32,
            substream: if bit(first, 11) {
                Some(field(first, 31, 12) as u32)
            } else {
                None
            },
            address: if kind.has_address() {
                Some(address)
            } else {
                None
            },
            access: if kind.has_access() {
                Some(Access {
                    read: bit(second, 35),
                    execute: bit(second, 34),
                    privileged: bit(second, 33),
                })
            } else {
                None
            },
            class: match field(second, 41, 40) {
                0 => Class::Context,
                1 => Class::Table,
                2 => Class::Input,
                _ => Class::Unknown,
            },
            intermediate: if second_stage {
                Some(last & mask(51, 12))
            } else {
                None
            },
            fetch: if kind.has_fetch() {
                Some(last & mask(51, 3))
            } else {
                None
            },
            stall: if kind.may_stall() && bit(second, 31) {
                Some(second as u16)
            } else {
                None
            },
        }
    }

    /// The event number.
    pub const fn code(words: [u64; EVENT_WORDS]) -> u8 {
        words[0] as u8
    }
}

/// Why a unit stopped at a command (7.1, CERROR codes).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum CommandError {
    /// The unit did not stop.
    None,
    /// The unit does not understand the command.
    Illegal,
    /// The unit could not read the command.
    Abort,
    /// A device did not answer a CMD_ATC_INV before this CMD_SYNC.
    DeviceTlb,
    /// Not in the specification.
    Unknown(u8),
}

impl CommandError {
    /// From the consumer register's ERR field.
    pub const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::None,
            1 => Self::Illegal,
            2 => Self::Abort,
            3 => Self::DeviceTlb,
            other => Self::Unknown(other),
        }
    }

    /// The reason in words.
    pub const fn text(self) -> &'static str {
        match self {
            Self::None => "no reason given",
            Self::Illegal => "the unit does not understand the command (CERROR_ILL)",
            Self::Abort => "the unit could not read the command (CERROR_ABT)",
            Self::DeviceTlb => {
                "a device did not answer an invalidation of its cache (CERROR_ATC_INV_SYNC)"
            }
            Self::Unknown(_) => "a reason that the specification does not have",
        }
    }
}

/// The active global errors: GERROR exclusive-or GERRORN (7.5).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct GlobalErrors(u32);

impl GlobalErrors {
    /// The unit stopped at a command.
    pub const COMMAND: u32 = 1 << 0;
    /// An event could not be written.
    pub const EVENT_ABORT: u32 = 1 << 2;
    /// A page request could not be written.
    pub const PAGE_REQUEST_ABORT: u32 = 1 << 3;
    /// The message of a CMD_SYNC could not be written.
    pub const COMMAND_MESSAGE: u32 = 1 << 4;
    /// The interrupt message of the event queue could not be written.
    pub const EVENT_MESSAGE: u32 = 1 << 5;
    /// The interrupt message of the PRI queue could not be written.
    pub const PAGE_REQUEST_MESSAGE: u32 = 1 << 6;
    /// The interrupt message for errors could not be written.
    pub const ERROR_MESSAGE: u32 = 1 << 7;
    /// The unit is in service failure mode.
    pub const SERVICE_FAILURE: u32 = 1 << 8;

    const TEXTS: [(u32, &'static str); 8] = [
        (Self::COMMAND, "the unit stopped at a command (CMDQ_ERR)"),
        (
            Self::EVENT_ABORT,
            "the unit could not write an event (EVENTQ_ABT_ERR)",
        ),
        (
            Self::PAGE_REQUEST_ABORT,
            "the unit could not write a page request (PRIQ_ABT_ERR)",
        ),
        (
            Self::COMMAND_MESSAGE,
            "the unit could not write the message of a CMD_SYNC (MSI_CMDQ_ABT_ERR)",
        ),
        (
            Self::EVENT_MESSAGE,
            "the unit could not send the interrupt of the event queue (MSI_EVENTQ_ABT_ERR)",
        ),
        (
            Self::PAGE_REQUEST_MESSAGE,
            "the unit could not send the interrupt of the PRI queue (MSI_PRIQ_ABT_ERR)",
        ),
        (
            Self::ERROR_MESSAGE,
            "the unit could not send the interrupt for errors (MSI_GERROR_ABT_ERR)",
        ),
        (
            Self::SERVICE_FAILURE,
            "the unit is in service failure mode and translates nothing any more (SFM_ERR)",
        ),
    ];

    /// From the two registers. An error is active while its bits differ. Software acknowledges it
    /// by making them the same.
    pub const fn new(gerror: u32, gerrorn: u32) -> Self {
        Self(gerror ^ gerrorn)
    }

    /// Whether all bits of `mask` are active.
    pub const fn has(self, mask: u32) -> bool {
        self.0 & mask == mask
    }

    /// Whether none is active.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// All active bits.
    pub const fn raw(self) -> u32 {
        self.0
    }

    /// The active errors in words, if they are defined.
    pub fn texts(self) -> impl Iterator<Item = &'static str> {
        Self::TEXTS
            .into_iter()
            .filter(move |(mask, _)| self.has(*mask))
            .map(|(_, text)| text)
    }
}
