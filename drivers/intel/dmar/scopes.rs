// SPDX-License-Identifier: GPL-2.0

//! Device scopes: the devices that a structure is about (8.3.1).

#![forbid(unsafe_code)]

use super::kind::Kind;
use crate::drivers::shell::bytes::u8_at;

/// Fixed part of a device scope, without its path (8.3.1).
pub(super) const SCOPE_PREFIX: usize = 6;

/// What a device scope names (8.3.1).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum ScopeKind {
    /// One PCI function.
    Endpoint,
    /// A PCI bridge and everything behind it.
    SubHierarchy,
    /// An I/O interrupt controller.
    IoApic,
    /// A timer that sends message-signalled interrupts.
    Hpet,
    /// A device that firmware describes by name.
    Named,
}

impl ScopeKind {
    pub(super) const fn from_type(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::Endpoint,
            2 => Self::SubHierarchy,
            3 => Self::IoApic,
            4 => Self::Hpet,
            5 => Self::Named,
            _ => return None,
        })
    }
}

/// One step of a device scope's path.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Hop {
    /// PCI device number, 0 to 31.
    pub device: u8,
    /// PCI function number, 0 to 7.
    pub function: u8,
}

/// One device, or one bridge with all that is behind it (8.3.1).
///
/// | bytes | field |
/// |---|---|
/// | 0 | type |
/// | 1 | length |
/// | 2-3 | reserved |
/// | 4 | enumeration id |
/// | 5 | number of the bus that the path starts on |
/// | 6- | path: pairs of device and function number |
#[derive(Copy, Clone, Debug)]
pub struct DeviceScope<'a> {
    pub(super) bytes: &'a [u8],
}

impl<'a> DeviceScope<'a> {
    /// What is named; `None` for a type that is not known.
    pub fn kind(self) -> Option<ScopeKind> {
        ScopeKind::from_type(u8_at(self.bytes, 0))
    }

    /// The I/O APIC's, timer's or named device's number; 0 for PCI devices.
    pub fn enumeration_id(self) -> u8 {
        u8_at(self.bytes, 4)
    }

    /// The bus on which the path starts.
    pub fn start_bus(self) -> u8 {
        u8_at(self.bytes, 5)
    }

    /// From the bus on which it starts down to the device, bridge by bridge.
    pub fn path(self) -> impl DoubleEndedIterator<Item = Hop> + ExactSizeIterator + 'a {
        let path = self.bytes.get(SCOPE_PREFIX..).unwrap_or_default();
        path.chunks_exact(2).map(|pair| Hop {
            device: u8_at(pair, 0),
            function: u8_at(pair, 1),
        })
    }
}

/// Iterates over the device scopes of a structure.
#[derive(Clone, Debug)]
pub struct Scopes<'a> {
    rest: &'a [u8],
}

impl<'a> Scopes<'a> {
    pub(super) fn new(structure: &'a [u8], kind: Kind) -> Self {
        Self {
            rest: structure.get(kind.fixed_len()..).unwrap_or_default(),
        }
    }
}

impl<'a> Iterator for Scopes<'a> {
    type Item = DeviceScope<'a>;

    fn next(&mut self) -> Option<DeviceScope<'a>> {
        // `max` keeps the walk going forward whatever the bytes are.
        let len = usize::from(*self.rest.get(1)?).max(SCOPE_PREFIX);
        let (bytes, rest) = (self.rest.get(..len)?, self.rest.get(len..)?);
        self.rest = rest;
        Some(DeviceScope { bytes })
    }
}
