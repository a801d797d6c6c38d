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
        use kernel::{bindings, error::code, ffi::c_int};

        match error {
            Error::Invalid => code::EINVAL,
            Error::OutOfRange => code::ERANGE,
            // The kernel crate has a constant from 7.3 on.
            Error::InUse => Self::from_errno(-(bindings::EADDRINUSE as c_int)),
            Error::NoMemory => code::ENOMEM,
        }
    }
}
