// SPDX-License-Identifier: GPL-2.0

//! PCI: addresses, and what is read from the configuration space.

use serde::Serialize;

/// Whether a function keeps requests from reaching other devices past the unit: Access Control
/// Services (PCI Express Base Specification 6.0, 6.12 and 7.7.11).
#[derive(Copy, Clone, PartialEq, Eq, Default, Serialize, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Acs {
    /// It redirects requests to the unit.
    On,
    /// It can, and does not.
    Off,
    /// It cannot.
    None,
    /// Nobody but root may read that part of the configuration space.
    #[default]
    Unknown,
}

/// What a function needs to have on: source validation, request and completion redirect, upstream
/// forwarding. The kernel needs the same.
const NEEDED: u16 = 0b1_1101;

/// Where extended capabilities begin, and the id of ACS.
const EXTENDED: usize = 0x100;
const ACS_ID: u32 = 0x000d;

/// Reads ACS from a configuration space.
pub fn acs(config: &[u8]) -> Acs {
    // Without the permission the kernel gives the first 64 bytes, of a conventional device 256.
    if config.len() < EXTENDED {
        return Acs::Unknown;
    }
    let mut at = EXTENDED;
    // There is room for so many headers, so a circle ends.
    for _ in 0..(4096 - EXTENDED) / 8 {
        let Some(header) = long(config, at) else {
            return Acs::None;
        };
        if header & 0xffff == ACS_ID {
            let control = word(config, at + 6).unwrap_or(0);
            let can = word(config, at + 4).unwrap_or(0) & NEEDED;
            return match can {
                0 => Acs::None,
                can if control & can == can => Acs::On,
                _ => Acs::Off,
            };
        }
        at = (header >> 20) as usize;
        if at < EXTENDED {
            return Acs::None;
        }
    }
    Acs::None
}

fn word(config: &[u8], at: usize) -> Option<u16> {
    let bytes = config.get(at..at.checked_add(2)?)?;
    Some(u16::from_le_bytes(bytes.try_into().ok()?))
}

fn long(config: &[u8], at: usize) -> Option<u32> {
    let bytes = config.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

/// Whether a name is the address of a PCI function, such as 0000:01:00.0.
pub fn is_address(name: &str) -> bool {
    let digits = |text: &str, least: usize, most: usize| {
        (least..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let mut parts = name.split(':');
    let (Some(segment), Some(bus), Some(rest), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let Some((device, function)) = rest.split_once('.') else {
        return false;
    };
    digits(segment, 4, 8) && digits(bus, 2, 2) && digits(device, 2, 2) && digits(function, 1, 1)
}
