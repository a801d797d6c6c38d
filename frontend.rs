// SPDX-License-Identifier: GPL-2.0

//! Frontends: the kernel's C API on one side, the core on the other. They translate and decide
//! nothing.

pub(crate) mod hosted;
