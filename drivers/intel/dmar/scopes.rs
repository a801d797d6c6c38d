// SPDX-License-Identifier: GPL-2.0

//! Device scopes: the devices that a structure is about (8.3.1).

#![forbid(unsafe_code)]

use core::fmt;

use super::kind::Kind;
use crate::drivers::shell::{acpi_structures::StructureKind, bytes::u8_at};

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
    const fn from_type(value: u8) -> Option<Self> {
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
    /// PCI device number.
    pub device: u8,
    /// PCI function number.
    pub function: u8,
}

impl Hop {
    /// Device number in bits 7:3, function number in bits 2:0; `None` if there is no such function.
    pub fn devfn(self) -> Option<u8> {
        (self.device < 32 && self.function < 8).then_some(self.device << 3 | self.function)
    }
}

/// One device, or one bridge with all devices behind it (8.3.1).
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
    bytes: &'a [u8],
}

impl<'a> DeviceScope<'a> {
    /// Bytes of the scope.
    pub(super) fn len(self) -> usize {
        self.bytes.len()
    }

    /// The number of the type.
    pub(super) fn kind_value(self) -> u8 {
        u8_at(self.bytes, 0)
    }

    /// The kind of device that the scope names; `None` for an unknown type.
    pub fn kind(self) -> Option<ScopeKind> {
        ScopeKind::from_type(self.kind_value())
    }

    /// The I/O APIC's, timer's or named device's number; 0 for PCI devices.
    pub fn enumeration_id(self) -> u8 {
        u8_at(self.bytes, 4)
    }

    /// The bus on which the path starts.
    pub fn start_bus(self) -> u8 {
        u8_at(self.bytes, 5)
    }

    /// The path, from the start bus over the bridges down to the device. Ignores a last byte that
    /// is half a pair.
    pub fn path(self) -> impl DoubleEndedIterator<Item = Hop> + ExactSizeIterator + 'a {
        let path = self.bytes.get(SCOPE_PREFIX..).unwrap_or_default();
        path.chunks_exact(2).map(|pair| Hop {
            device: u8_at(pair, 0),
            function: u8_at(pair, 1),
        })
    }
}

/// As lspci shows a device with the path to it: `00:1c.0/00.1`.
impl fmt::Display for DeviceScope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.enumeration_id();
        match self.kind() {
            Some(ScopeKind::Endpoint | ScopeKind::SubHierarchy) => {
                write!(f, "{:02x}", self.start_bus())?;
                for (at, hop) in self.path().enumerate() {
                    let before = if at == 0 { ':' } else { '/' };
                    write!(f, "{before}{:02x}.{}", hop.device, hop.function)?;
                }
                Ok(())
            }
            Some(ScopeKind::IoApic) => write!(f, "I/O APIC {number}"),
            Some(ScopeKind::Hpet) => write!(f, "timer {number}"),
            Some(ScopeKind::Named) => write!(f, "named device {number}"),
            None => f.write_str("an unknown device"),
        }
    }
}

/// The device scopes of a structure, up to the first whose end cannot be found.
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

    /// The bytes that were not iterated over yet: further scopes, and bytes that are no scope.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Scopes<'a> {
    type Item = DeviceScope<'a>;

    fn next(&mut self) -> Option<DeviceScope<'a>> {
        let len = usize::from(*self.rest.get(1)?);
        if len < SCOPE_PREFIX {
            return None;
        }
        let (bytes, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(DeviceScope { bytes })
    }
}

/// Shows the first few devices of a structure, and the number of the others.
pub(super) struct Listed<'a>(pub(super) Scopes<'a>);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 4;

        let mut scopes = self.0.clone();
        let mut comma = "";
        for scope in scopes.by_ref().take(SHOWN) {
            write!(f, "{comma}{scope}")?;
            comma = ", ";
        }
        match scopes.count() {
            0 if comma.is_empty() => f.write_str("no device is listed"),
            0 => Ok(()),
            others => write!(f, " and {others} more"),
        }
    }
}
