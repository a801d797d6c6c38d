# SPDX-License-Identifier: GPL-2.0
"""Tools around the iommu_core module: everything that is not kernel code."""
