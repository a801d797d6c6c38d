// SPDX-License-Identifier: GPL-2.0

//! Messages in the kernel log.
//!
//! The kernel crate's `pr_*!` format with a `Display` trait of their own. What is printed here is
//! mostly pure types, which know only `core`'s; so these take `core`'s formatting, one line a call.

#![forbid(unsafe_code)]

/// Something failed and stays so.
macro_rules! log_err {
    ($($args:tt)*) => { ::kernel::prelude::pr_err!("{}\n", ::core::format_args!($($args)*)) };
}

/// Something was refused, or goes on with less.
macro_rules! log_warn {
    ($($args:tt)*) => { ::kernel::prelude::pr_warn!("{}\n", ::core::format_args!($($args)*)) };
}

/// Something worth knowing happened.
macro_rules! log_info {
    ($($args:tt)*) => { ::kernel::prelude::pr_info!("{}\n", ::core::format_args!($($args)*)) };
}

pub(crate) use {log_err, log_info, log_warn};
