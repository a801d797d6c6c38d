// SPDX-License-Identifier: GPL-2.0

//! What the drivers of real units share.

pub(crate) mod bytes;
