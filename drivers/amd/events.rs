// SPDX-License-Identifier: GPL-2.0

//! Event log entries: which request the unit refused and why, and what went wrong in the unit
//! itself (AMD-Vi 2.5).

#![forbid(unsafe_code)]

use core::fmt;

/// What a device requested.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Access {
    /// A memory read.
    Read,
    /// A memory write.
    Write,
    /// An interrupt message.
    Interrupt,
    /// A request for a translation.
    Translation,
}

/// Which request an event is about.
///
/// | bits | field |
/// |---|---|
/// | 15:0 | device id |
/// | 19:16 | PASID, bits 19:16 |
/// | 47:32 | domain id, or PASID, bits 15:0 |
/// | 48 | GN: an address of a guest table's, with a PASID |
/// | 49 | NX: an instruction fetch |
/// | 50 | US: a user-mode request |
/// | 51 | I: an interrupt |
/// | 52 | PR: the page, or the interrupt's entry, is present |
/// | 53 | RW: a write |
/// | 54 | PE: permissions forbid it |
/// | 55 | RZ: reserved bits are set |
/// | 56 | TR: a request for a translation |
/// | 58:57 | in hardware errors: how the access to memory failed |
/// | 59:57 | in INVALID_DEVICE_REQUEST: what was forbidden |
/// | 63:60 | code |
/// | 127:64 | address |
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// The device id.
    pub device: u16,
    /// The domain id, if the address is not one of a guest table's.
    pub domain: Option<u16>,
    /// The PASID, if the address is one of a guest table's.
    pub pasid: Option<u32>,
    /// The address that the device used; in hardware errors that of the table entry.
    pub address: u64,
    /// What the device requested.
    pub access: Access,
    /// Whether it was an instruction fetch.
    pub execute: bool,
    /// Bits 63:48 of the entry: code and flags.
    pub code: u16,
    /// Bits 59:48, with the specification's meaning.
    flags: u16,
}

/// Bits 59:48 of an entry, from bit 0 on.
mod flag {
    pub(super) const GUEST: u16 = 1 << 0;
    pub(super) const EXECUTE: u16 = 1 << 1;
    pub(super) const INTERRUPT: u16 = 1 << 3;
    pub(super) const PRESENT: u16 = 1 << 4;
    pub(super) const WRITE: u16 = 1 << 5;
    pub(super) const PERMISSION: u16 = 1 << 6;
    pub(super) const RESERVED: u16 = 1 << 7;
    pub(super) const TRANSLATION: u16 = 1 << 8;
}

impl Request {
    const fn decode(words: [u64; 2]) -> Self {
        let [low, address] = words;
        let flags = (low >> 48 & 0xfff) as u16;
        let id = (low >> 32) as u16;
        let guest = flags & flag::GUEST != 0;
        let mut this = Self {
            device: low as u16,
            domain: if guest { None } else { Some(id) },
            pasid: if guest {
                Some((low >> 16 & 0xf) as u32 * 0x1_0000 + id as u32)
            } else {
                None
            },
            address,
            access: if flags & flag::TRANSLATION != 0 {
                Access::Translation
            } else if flags & flag::INTERRUPT != 0 {
                Access::Interrupt
            } else if flags & flag::WRITE != 0 {
                Access::Write
            } else {
                Access::Read
            },
            execute: flags & flag::EXECUTE != 0,
            code: (low >> 48) as u16,
            flags,
        };
        if matches!(this.access, Access::Interrupt) && !this.may_be_interrupt() {
            this.set_emulated();
        }
        this
    }

    /// Whether the address is one of interrupt messages: in the processors' range, or in
    /// HyperTransport's range below 2^40, which units also report with all higher bits set.
    const fn may_be_interrupt(&self) -> bool {
        matches!(
            self.address,
            0xfee0_0000..=0xfeef_ffff
                | 0xfd_0000_0000..=0xff_ffff_ffff
                | 0xffff_fffd_0000_0000..=u64::MAX
        )
    }

    /// Corrects an event of QEMU's. QEMU sets I for every refused request, and puts the access (1
    /// read, 2 write) into the bits of GN and NX. An address that no interrupt message has gives
    /// such an event away.
    const fn set_emulated(&mut self) {
        self.access = if self.flags & flag::EXECUTE != 0 {
            Access::Write
        } else {
            Access::Read
        };
        self.execute = false;
        self.pasid = None;
        self.domain = None;
        self.flags &= !(flag::INTERRUPT | flag::GUEST | flag::EXECUTE);
    }

    const fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

/// How the unit's own access to memory failed (bits 58:57).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum HardwareError {
    /// Nothing answered.
    MasterAbort,
    /// Memory refused the access.
    TargetAbort,
    /// The data had errors.
    Data,
    /// The unit does not say how.
    Unknown,
}

impl HardwareError {
    const fn decode(low: u64) -> Self {
        match low >> 57 & 3 {
            1 => Self::MasterAbort,
            2 => Self::TargetAbort,
            3 => Self::Data,
            _ => Self::Unknown,
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::MasterAbort => "nothing answers at its address",
            Self::TargetAbort => "memory refused the access",
            Self::Data => "the data are broken",
            Self::Unknown => "the access failed",
        }
    }
}

/// One entry of the event log.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The unit does not understand a device table entry (ILLEGAL_DEV_TABLE_ENTRY).
    IllegalDeviceEntry(Request),
    /// The unit refused a request (IO_PAGE_FAULT).
    PageFault(Request),
    /// The unit could not read a device table entry (DEV_TAB_HARDWARE_ERROR).
    DeviceTableError(Request, HardwareError),
    /// The unit could not read a page table (PAGE_TAB_HARDWARE_ERROR).
    PageTableError(Request, HardwareError),
    /// The unit does not understand a command, and stopped (ILLEGAL_COMMAND_ERROR).
    IllegalCommand {
        /// Physical address of the command.
        address: u64,
    },
    /// The unit could not read a command, and stopped (COMMAND_HARDWARE_ERROR).
    CommandError {
        /// Physical address of the access.
        address: u64,
        /// How it failed.
        error: HardwareError,
    },
    /// A device did not answer an invalidation in time (IOTLB_INV_TIMEOUT).
    DeviceTlbTimeout {
        /// The device id.
        device: u16,
        /// Physical address of the command.
        address: u64,
    },
    /// A device did what its entry forbids (INVALID_DEVICE_REQUEST).
    InvalidRequest(Request),
    /// A device's page request is invalid (INVALID_PPR_REQUEST).
    InvalidPageRequest(Request),
    /// A performance counter overflowed (EVENT_COUNTER_ZERO).
    CounterZero,
    /// An event of a guest's own unit could not be delivered (GUEST_EVENT_FAULT).
    GuestEventFault,
    /// The unit could not reach a guest's own unit (VIOMMU_HARDWARE_ERROR).
    GuestUnitError {
        /// Physical address of the access.
        address: u64,
    },
    /// The page belongs to a guest whose memory is protected (RMP_PAGE_FAULT).
    OwnerFault(Request),
    /// The unit could not read who owns a page (RMP_HARDWARE_ERROR).
    OwnerError(Request),
    /// A code that this driver does not know.
    Unknown {
        /// The entry.
        words: [u64; 2],
    },
}

impl Event {
    /// Decodes an entry, low half first; `None` if the unit has not written it yet.
    ///
    /// Some units move the tail of the log before the entry arrives in memory. The code is 0 until
    /// then, since the driver clears the entries that it has read.
    pub const fn decode(words: [u64; 2]) -> Option<Self> {
        let [low, address] = words;
        let request = Request::decode(words);
        Some(match low >> 60 {
            0x0 => return None,
            0x1 => Self::IllegalDeviceEntry(request),
            0x2 => Self::PageFault(request),
            0x3 => Self::DeviceTableError(request, HardwareError::decode(low)),
            0x4 => Self::PageTableError(request, HardwareError::decode(low)),
            0x5 => Self::IllegalCommand { address },
            0x6 => Self::CommandError {
                address,
                error: HardwareError::decode(low),
            },
            0x7 => Self::DeviceTlbTimeout {
                device: low as u16,
                address: address & !0xf,
            },
            0x8 => Self::InvalidRequest(request),
            0x9 => Self::InvalidPageRequest(request),
            0xa => Self::CounterZero,
            0xb => Self::GuestEventFault,
            0xc => Self::GuestUnitError { address },
            0xd => Self::OwnerFault(request),
            0xe => Self::OwnerError(request),
            _ => Self::Unknown { words },
        })
    }

    /// The device's request, if the event is about one.
    pub const fn request(&self) -> Option<&Request> {
        match self {
            Self::IllegalDeviceEntry(request)
            | Self::PageFault(request)
            | Self::DeviceTableError(request, _)
            | Self::PageTableError(request, _)
            | Self::InvalidRequest(request)
            | Self::InvalidPageRequest(request)
            | Self::OwnerFault(request)
            | Self::OwnerError(request) => Some(request),
            _ => None,
        }
    }

    /// The reason in words.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::IllegalDeviceEntry(request) => {
                if request.has(flag::RESERVED) {
                    "reserved bits are set in the device table entry"
                } else {
                    "the unit does not understand the device table entry"
                }
            }
            Self::PageFault(request) => page_fault(request),
            Self::DeviceTableError(..) => "the unit could not read the device table",
            Self::PageTableError(..) => "the unit could not read a page table",
            Self::IllegalCommand { .. } => "the unit does not understand a command",
            Self::CommandError { .. } => "the unit could not read a command",
            Self::DeviceTlbTimeout { .. } => "the device did not answer an invalidation in time",
            Self::InvalidRequest(request) => invalid_request(request),
            Self::InvalidPageRequest(_) => "the device's page request makes no sense",
            Self::CounterZero => "a performance counter overflowed",
            Self::GuestEventFault => "an event of a guest's own unit could not be delivered",
            Self::GuestUnitError { .. } => "the unit could not reach a guest's own unit",
            Self::OwnerFault(_) => "the page belongs to a guest whose memory is protected",
            Self::OwnerError(_) => "the unit could not read who owns the page",
            Self::Unknown { .. } => "an event that was not defined when this was written",
        }
    }
}

/// The reason, and for accesses of the unit itself how they failed.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())?;
        match *self {
            Self::DeviceTableError(_, error)
            | Self::PageTableError(_, error)
            | Self::CommandError { error, .. } => write!(f, " ({})", error.text()),
            Self::Unknown {
                words: [low, high], ..
            } => write!(f, " ({low:#018x} {high:#018x})"),
            _ => Ok(()),
        }
    }
}

/// What the flags of an IO_PAGE_FAULT mean. PE and RZ are valid if PR is set.
const fn page_fault(request: &Request) -> &'static str {
    let present = request.has(flag::PRESENT);
    match request.access {
        Access::Interrupt if !present => "the interrupt has no remapping entry, or is blocked",
        Access::Interrupt if request.has(flag::RESERVED) => {
            "reserved bits are set in the interrupt remapping entry"
        }
        Access::Interrupt => "the interrupt is not allowed",
        _ if !present => "the page is not mapped, or the device is blocked",
        _ if request.has(flag::RESERVED) => "reserved bits are set in a page table entry",
        _ if request.has(flag::PERMISSION) => match request.access {
            _ if request.execute => "the page is not mapped for instruction fetches",
            Access::Write => "the page is not mapped for writing",
            _ => "the page is not mapped for reading",
        },
        _ => "the unit does not understand a page table entry",
    }
}

/// What the type of an INVALID_DEVICE_REQUEST means (bits 59:57).
const fn invalid_request(request: &Request) -> &'static str {
    let kind = request.flags >> 9 & 7;
    match (request.has(flag::TRANSLATION), kind) {
        (false, 0) => "the device read where interrupts go",
        (false, 1) => "the device sent a translated request, which its entry forbids",
        (false, 2) => "the device used port I/O, which its entry forbids",
        (false, 3) => "the device sent a system management message to an address that has none",
        (false, 4) => "the device read where system management messages go",
        (false, 5) => "the device sent an interrupt, which its entry forbids",
        (false, 6) => "the device sent an interrupt to a reserved address",
        (false, _) => "the device used addresses of system management, which its entry forbids",
        (true, 0) => "the device asked for a translation, which its entry forbids",
        (true, _) => "the device asked for a translation in a way that is not allowed",
    }
}
