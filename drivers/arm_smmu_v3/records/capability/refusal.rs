// SPDX-License-Identifier: GPL-2.0

//! Why the driver cannot use a unit.

#![forbid(unsafe_code)]

use core::fmt;

/// Binary logarithm of the commands that a queue must have room for: a smaller one would hardly
/// hold a batch and its CMD_SYNC.
pub(super) const MIN_COMMANDS: u8 = 4;

/// What is at an address that the unit defines. This driver wants to choose it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Preset {
    /// The stream table.
    Tables,
    /// The queues.
    Queues,
    /// Addresses of tables and queues are relative to the registers.
    Relative,
}

/// Why the driver cannot use a unit.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// All registers read all ones, or all zeros.
    NoRegisters,
    /// Firmware says that there are fewer registers than the unit must have.
    Window {
        /// Bytes of the memory region.
        has: u64,
        /// Bytes of the registers.
        needs: u64,
    },
    /// Tables or queues are where the unit defines.
    Preset(Preset),
    /// It has neither stage.
    NoTranslation,
    /// It does not walk AArch64 page tables.
    NoFormat,
    /// Page tables must be big endian, or in an unknown byte order.
    Endianness {
        /// IDR0.TTENDIAN.
        code: u8,
    },
    /// It has no granule.
    NoGranule,
    /// The command queue is too small.
    CommandQueue {
        /// The most entries that it can have.
        entries: u32,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoRegisters => f.write_str(
                "its registers read the same everywhere, so nothing answers at the address that \
                 firmware gives",
            ),
            Self::Window { has, needs } => write!(
                f,
                "firmware says that its registers have {has:#x} bytes, but there must be \
                 {needs:#x}: page 1, with the indexes of its event queue, is missing"
            ),
            Self::Preset(Preset::Tables) => f.write_str(
                "its stream table is fixed in the unit (IDR1.TABLES_PRESET), which is not \
                 supported",
            ),
            Self::Preset(Preset::Queues) => f.write_str(
                "its queues are fixed in the unit (IDR1.QUEUES_PRESET), which is not supported",
            ),
            Self::Preset(Preset::Relative) => f.write_str(
                "its tables are addressed relative to its registers (IDR1.REL), which is not \
                 supported",
            ),
            Self::NoTranslation => {
                f.write_str("it translates at neither stage (IDR0.S1P and IDR0.S2P are 0)")
            }
            Self::NoFormat => {
                f.write_str("it does not walk page tables of the AArch64 format (IDR0.TTF)")
            }
            Self::Endianness { code: 3 } => {
                f.write_str("it walks big-endian page tables only (IDR0.TTENDIAN is 3)")
            }
            Self::Endianness { code } => write!(
                f,
                "the byte order of its page tables is not known (IDR0.TTENDIAN is {code})"
            ),
            Self::NoGranule => f.write_str(
                "it has pages of neither 4, 16 nor 64 KiB (IDR5.GRAN4K, GRAN16K and GRAN64K are 0)",
            ),
            Self::CommandQueue { entries } => write!(
                f,
                "its command queue has {entries} entries at most (IDR1.CMDQS), and {} is the \
                 least that is supported",
                1 << MIN_COMMANDS
            ),
        }
    }
}
