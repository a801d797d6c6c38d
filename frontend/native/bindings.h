/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For bindgen: what the native frontend needs of C that the kernel crate's own list of headers leaves
 * out. Prototypes of functions that the frontend defines are here, too: `#[export]` compares them.
 */
#include <linux/generic_pt/iommu.h>
#include <linux/msi.h>
#include <linux/pci-ats.h>
#include <linux/scatterlist.h>
#include <trace/events/iommu.h>

#include "../../../dma-iommu.h"
#include "../../../iommu-pages.h"
#include "../../../iommu-priv.h"
#ifdef CONFIG_DMAR_TABLE
#include "../../../intel/iommu.h"
#endif
#include "helpers.h"

/* Memory for page tables comes in whole pages, at addresses that the kernel can reach. */
const gfp_t RUST_CONST_HELPER_IOMMU_CORE_NO_GFP =
	__GFP_COMP | __GFP_DMA | __GFP_DMA32 | __GFP_HIGHMEM;
const gfp_t RUST_CONST_HELPER_IOMMU_CORE_MAY_SLEEP = __GFP_DIRECT_RECLAIM;
