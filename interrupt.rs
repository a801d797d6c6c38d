// SPDX-License-Identifier: GPL-2.0

//! Interrupt messages (MSI), and why a unit does not remap those of a device (law 9).
//!
//! A device raises an interrupt by a write to an address of the processors. Without remapping that
//! write says which processor gets which vector, so the device can raise any interrupt. With
//! remapping the write says no more than the index of an entry, in a table that the unit finds by
//! the device's requester id; the entry has processor and vector.

#![forbid(unsafe_code)]

use core::fmt;

use crate::{label::Label, requester::RequesterId};

/// How the processors treat an interrupt, in the coding of a message's data.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// The destination gets the vector.
    Fixed,
    /// One of several destinations gets the vector.
    LowestPriority,
}

impl Delivery {
    /// The mode in bits 10:8 of the data of a message; `None` for one that no device may use.
    pub const fn from_data(data: u32) -> Option<Self> {
        Self::from_code((data >> 8 & 7) as u64)
    }

    /// The mode with this coding; `None` for one that no device may use.
    pub const fn from_code(code: u64) -> Option<Self> {
        match code {
            0 => Some(Self::Fixed),
            1 => Some(Self::LowestPriority),
            _ => None,
        }
    }

    /// The mode's coding.
    pub const fn code(self) -> u64 {
        match self {
            Self::Fixed => 0,
            Self::LowestPriority => 1,
        }
    }
}

/// Where an interrupt goes.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// The vector.
    pub vector: u8,
    /// How the processors treat it.
    pub delivery: Delivery,
    /// `destination` is a set of processors, not the id of one.
    pub logical: bool,
    /// The processor's APIC id, or the set.
    pub destination: u32,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.logical {
            true => "processors",
            false => "processor",
        };
        write!(
            f,
            "vector {:#04x} at {kind} {:#x}",
            self.vector, self.destination
        )
    }
}

/// The message that a device has to send.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// Lower half of the address; the upper one is 0.
    pub address: u32,
    /// The data.
    pub data: u32,
}

/// Why the messages of a device are not remapped.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum NotRemapped {
    /// The driver of the unit cannot remap messages.
    Unsupported,
    /// The unit cannot remap messages, or firmware does not say what it would need.
    ByUnit(&'static str),
    /// An interrupt controller or a timer uses the same requester id.
    SharedWithController(RequesterId),
    /// Firmware lets other kinds of messages of the device pass: NMI, INIT, or those of the
    /// legacy controller.
    FirmwarePasses(RequesterId),
    /// The device's driver was bound before, and its messages are not remapped.
    DriverWasBound,
    /// A device that shares a requester id has messages that are not remapped.
    SharedWithDevice(Label),
    /// The unit remaps the messages of all devices behind it or of none, and this device's have to
    /// pass unchanged.
    NeededPlain(Label),
    /// No entry can check this many requester ids.
    SeveralIds(RequesterId),
    /// The device's messages go to another controller than the processors'.
    OtherController,
    /// An error, while it was set up.
    Failed(i32),
}

impl fmt::Display for NotRemapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported => f.write_str("this driver does not remap interrupts of the unit"),
            Self::ByUnit(why) => f.write_str(why),
            Self::SharedWithController(id) => {
                write!(f, "an I/O APIC or a timer uses the requester id {id}, too")
            }
            Self::FirmwarePasses(id) => write!(
                f,
                "firmware lets NMI, INIT or legacy interrupts of the requester id {id} pass"
            ),
            Self::DriverWasBound => {
                f.write_str("its driver was bound before iommu_core took the unit")
            }
            Self::SharedWithDevice(other) => write!(
                f,
                "{other} shares a requester id, and its driver was bound before iommu_core took \
                 the unit"
            ),
            Self::NeededPlain(device) => write!(
                f,
                "the unit remaps the interrupts of all devices behind it or of none, and {device} \
                 had a driver or was about to get one when iommu_core took the unit"
            ),
            Self::SeveralIds(id) => write!(
                f,
                "the unit remaps the interrupts of all devices behind it or of none, and cannot \
                 check those of {id}, which sends requests with other ids as well"
            ),
            Self::OtherController => {
                f.write_str("its messages do not go to the processors' interrupt controller")
            }
            Self::Failed(error) => write!(f, "the set-up failed with error {error}"),
        }
    }
}
