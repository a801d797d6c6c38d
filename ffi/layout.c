// SPDX-License-Identifier: GPL-2.0
/*
 * Checks the layout of C structures that Rust declares by hand, because the
 * kernel crate has no bindings for their headers. Nothing in this file is
 * linked: compilation fails if the kernel's layout differs. Each line has a
 * counterpart in the Rust file.
 */

#include <linux/build_bug.h>
#include <linux/generic_pt/iommu.h>
#include <linux/kprobes.h>
#include <linux/memory.h>
#ifdef CONFIG_X86_64
#include <linux/msi.h>
#endif
#include <linux/spinlock.h>
#include <linux/stddef.h>
#include <linux/syscore_ops.h>

#define WORD sizeof(void *)

/* ffi/compat.rs, for kernels before 7.3 */
#ifndef CONFIG_PREEMPT_RT
static_assert(offsetof(spinlock_t, rlock) == 0);
#endif

/* ffi/kprobe.rs */
static_assert(offsetof(struct kprobe, symbol_name) == 6 * WORD);
static_assert(offsetof(struct kprobe, offset) == 7 * WORD);
static_assert(offsetof(struct kprobe, pre_handler) == 8 * WORD);
static_assert(sizeof(struct kprobe) <= 41 * WORD);

/* ffi/memory.rs */
#ifdef CONFIG_MEMORY_HOTPLUG
static_assert(offsetof(struct memory_notify, start_pfn) == 0 * WORD);
static_assert(offsetof(struct memory_notify, nr_pages) == 1 * WORD);
static_assert(MEM_ONLINE == 0);
#endif

#ifdef CONFIG_X86_64
/* ffi/irq_domain.rs */
static_assert(offsetof(struct msi_msg, address_lo) == 0);
static_assert(offsetof(struct msi_msg, address_hi) == 4);
static_assert(offsetof(struct msi_msg, data) == 8);
static_assert(sizeof(struct msi_msg) == 12);

/* ffi/msi.rs */
static_assert(offsetof(struct msi_parent_ops, supported_flags) == 0);
static_assert(offsetof(struct msi_parent_ops, required_flags) == 4);
static_assert(offsetof(struct msi_parent_ops, chip_flags) == 8);
static_assert(offsetof(struct msi_parent_ops, bus_select_token) == 12);
static_assert(offsetof(struct msi_parent_ops, bus_select_mask) == 16);
static_assert(offsetof(struct msi_parent_ops, prefix) == 3 * WORD);
static_assert(offsetof(struct msi_parent_ops, init_dev_msi_info) == 4 * WORD);
static_assert(sizeof(struct msi_parent_ops) == 5 * WORD);
static_assert(MSI_FLAG_MULTI_PCI_MSI == 1 << 16);
#endif

/* frontend/provider/ranges.rs */
static_assert(offsetof(struct pt_iommu, domain) == 0);
static_assert(offsetof(struct pt_iommu, ops) == sizeof(struct iommu_domain));
static_assert(sizeof(struct pt_iommu) == sizeof(struct iommu_domain) + 4 * WORD);
static_assert(offsetof(struct pt_iommu_ops, map_range) == 0 * WORD);
static_assert(offsetof(struct pt_iommu_ops, unmap_range) == 1 * WORD);
static_assert(sizeof(struct pt_iommu_ops) == 5 * WORD);

/* ffi/syscore.rs */
static_assert(offsetof(struct syscore_ops, suspend) == 0 * WORD);
static_assert(offsetof(struct syscore_ops, resume) == 1 * WORD);
static_assert(offsetof(struct syscore_ops, shutdown) == 2 * WORD);
static_assert(sizeof(struct syscore_ops) == 3 * WORD);
static_assert(offsetof(struct syscore, node) == 0 * WORD);
static_assert(offsetof(struct syscore, ops) == 2 * WORD);
static_assert(offsetof(struct syscore, data) == 3 * WORD);
static_assert(sizeof(struct syscore) == 4 * WORD);
