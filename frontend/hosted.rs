// SPDX-License-Identifier: GPL-2.0

//! The hosted frontend: the kernel's own IOMMU layer is our client.

pub(super) mod attach;
pub(super) mod refusal;
