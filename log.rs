// SPDX-License-Identifier: GPL-2.0

//! Messages in the kernel log.
//!
//! The kernel crate's `pr_*!` macros format with the kernel crate's own `Display` trait. Most
//! values that the core prints are pure types, which implement only `core`'s `Display`. These
//! macros therefore use `core`'s formatting. Each call prints one line.

#![forbid(unsafe_code)]

/// An operation failed and will not recover.
macro_rules! log_err {
    ($($args:tt)*) => { ::kernel::prelude::pr_err!("{}\n", ::core::format_args!($($args)*)) };
}

/// A request was refused, or an operation continues with less.
macro_rules! log_warn {
    ($($args:tt)*) => { ::kernel::prelude::pr_warn!("{}\n", ::core::format_args!($($args)*)) };
}

/// An event worth knowing.
macro_rules! log_info {
    ($($args:tt)*) => { ::kernel::prelude::pr_info!("{}\n", ::core::format_args!($($args)*)) };
}

pub(crate) use {log_err, log_info, log_warn};
