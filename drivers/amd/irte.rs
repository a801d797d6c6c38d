// SPDX-License-Identifier: GPL-2.0

//! Entries of interrupt tables (IRTE), which say where the interrupts of a device go (AMD-Vi
//! 2.2.5).

#![forbid(unsafe_code)]

use crate::interrupt::{Delivery, Target};

/// How a unit reads its interrupt tables.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Format {
    /// Entries of 32 bits: destinations of 8 bits.
    Short,
    /// Entries of 128 bits, for units with GASup and GAEn.
    Long {
        /// Destinations have 32 bits (XTEn), not 8.
        x2apic: bool,
    },
}

impl Format {
    /// Bytes of an entry.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Short => 4,
            Self::Long { .. } => 16,
        }
    }

    /// Whether an entry can name `destination`.
    pub const fn reaches(self, destination: u32) -> bool {
        match self {
            Self::Long { x2apic: true } => true,
            Self::Long { x2apic: false } | Self::Short => destination <= 0xff,
        }
    }
}

const REMAP_ENABLE: u64 = 1 << 0;
const DELIVERY: u32 = 2;
const LOGICAL: u32 = 6;
const DESTINATION: u32 = 8;

/// What both formats have in their lowest 8 bits.
const fn control(target: Target) -> u64 {
    REMAP_ENABLE | target.delivery.code() << DELIVERY | (target.logical as u64) << LOGICAL
}

/// A short entry (2.2.5.1). One that is all zeros refuses.
///
/// | bits | field |
/// |---|---|
/// | 0 | RemapEn: 0 refuses |
/// | 1 | SupIOPF: the unit reports no refusal; 0 |
/// | 4:2 | IntType: the delivery |
/// | 5 | RqEoi; 0 |
/// | 6 | DM: the destination is a set |
/// | 15:8 | destination |
/// | 23:16 | vector |
pub const fn short(target: Option<Target>) -> u32 {
    match target {
        None => 0,
        Some(target) => {
            control(target) as u32
                | (target.destination & 0xff) << DESTINATION
                | (target.vector as u32) << 16
        }
    }
}

/// A long entry, lower half first (2.2.5.2). One that is all zeros refuses.
///
/// | bits | field |
/// |---|---|
/// | 0 to 6 | as in a short entry |
/// | 7 | GuestMode; 0 |
/// | 31:8 | destination, bits 23:0 |
/// | 71:64 | vector |
/// | 127:120 | destination, bits 31:24 |
pub const fn long(target: Option<Target>) -> [u64; 2] {
    match target {
        None => [0, 0],
        Some(target) => [
            control(target) | ((target.destination & 0xff_ffff) as u64) << DESTINATION,
            target.vector as u64 | ((target.destination >> 24) as u64) << 56,
        ],
    }
}

/// Where a short entry sends messages; `None` if it refuses them.
pub fn decode_short(entry: u32) -> Option<Target> {
    decode(entry.into(), entry >> 8 & 0xff, (entry >> 16) as u8)
}

/// Where a long entry sends messages; `None` if it refuses them.
pub fn decode_long([low, high]: [u64; 2]) -> Option<Target> {
    let destination = (low >> 8) as u32 & 0xff_ffff | ((high >> 56) as u32) << 24;
    decode(low, destination, high as u8)
}

fn decode(control: u64, destination: u32, vector: u8) -> Option<Target> {
    let delivery = Delivery::from_code(control >> DELIVERY & 7)?;
    (control & REMAP_ENABLE != 0).then_some(Target {
        vector,
        delivery,
        logical: control >> LOGICAL & 1 != 0,
        destination,
    })
}
