// SPDX-License-Identifier: GPL-2.0

//! Why a call on a page table failed.

#![forbid(unsafe_code)]

/// Why a call failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// An argument is misaligned or empty, or the format cannot express it (`EINVAL`).
    Invalid,
    /// An address is outside of what the page table translates or can translate to (`ERANGE`).
    OutOfRange,
    /// A part of the range is already mapped (`EADDRINUSE`).
    InUse,
    /// No memory for a table (`ENOMEM`).
    NoMemory,
}

#[cfg(CONFIG_RUST)]
impl From<Error> for kernel::error::Error {
    fn from(error: Error) -> Self {
        use kernel::error::code;

        match error {
            Error::Invalid => code::EINVAL,
            Error::OutOfRange => code::ERANGE,
            Error::InUse => code::EADDRINUSE,
            Error::NoMemory => code::ENOMEM,
        }
    }
}
