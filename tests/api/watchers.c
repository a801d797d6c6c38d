// SPDX-License-Identifier: GPL-2.0
/*
 * Debugging aids of the layer: CONFIG_IOMMU_DEBUG_PAGEALLOC and trace points.
 */

#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/page_ext.h>
#include <trace/events/iommu.h>

#include "../../../iommu-priv.h"
#include "unit.h"

#define IOVA 0x100000

static struct page *new_pages(struct kunit *test, unsigned int order)
{
	unsigned long address = __get_free_pages(GFP_KERNEL, order);

	KUNIT_ASSERT_NE(test, address, 0);
	return virt_to_page((void *)address);
}

#ifdef CONFIG_IOMMU_DEBUG_PAGEALLOC
/* The kernel's count of the mappings of a page. */
static int mappings_of(struct page *page)
{
	struct page_ext *more = page_ext_get(page);
	int count = atomic_read((atomic_t *)page_ext_data(more, &page_iommu_debug_ops));

	page_ext_put(more);
	return count;
}

static void debug_pagealloc_counts_mappings(struct kunit *test)
{
	struct device_under_test *device = iommu_api_device_of_its_own(test);
	struct iommu_domain *domain = iommu_api_new_domain(test, device);
	struct page *page;
	phys_addr_t phys;
	size_t size;

	if (!static_branch_unlikely(&iommu_debug_initialized))
		kunit_skip(test, "needs iommu.debug_pagealloc=1");
	page = new_pages(test, 2);
	phys = page_to_phys(page);
	size = 4 * PAGE_SIZE;
	KUNIT_EXPECT_EQ(test, iommu_map(domain, IOVA, phys, size, IOMMU_READ, GFP_KERNEL), 0);
	KUNIT_EXPECT_EQ(test, iommu_map(domain, 0, phys, PAGE_SIZE, IOMMU_READ, GFP_KERNEL), 0);
	KUNIT_EXPECT_EQ(test, mappings_of(page), 2);
	for (int i = 1; i < 4; i++)
		KUNIT_EXPECT_EQ(test, mappings_of(page + i), 1);

	/* Unmapping a longer range stops at the second page, which is not mapped. */
	KUNIT_EXPECT_EQ(test, iommu_unmap(domain, IOVA + PAGE_SIZE, PAGE_SIZE), PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, mappings_of(page + 1), 0);
	KUNIT_EXPECT_EQ(test, iommu_unmap(domain, IOVA, size), PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, mappings_of(page), 1);
	for (int i = 2; i < 4; i++)
		KUNIT_EXPECT_EQ(test, mappings_of(page + i), 1);

	/* A range that cannot be mapped as a whole is not mapped at all. */
	KUNIT_EXPECT_EQ(test, iommu_map(domain, IOVA, phys, size, IOMMU_READ, GFP_KERNEL), -EBUSY);
	KUNIT_EXPECT_EQ(test, mappings_of(page), 1);

	KUNIT_EXPECT_EQ(test, iommu_unmap(domain, IOVA + size / 2, size / 2), size / 2);
	KUNIT_EXPECT_EQ(test, iommu_unmap(domain, 0, PAGE_SIZE), PAGE_SIZE);
	for (int i = 0; i < 4; i++)
		KUNIT_EXPECT_EQ(test, mappings_of(page + i), 0);
	__free_pages(page, 2);
}
#endif

#ifdef CONFIG_TRACEPOINTS
struct traced {
	struct device *added, *removed, *attached, *faulted;
	int added_to, removed_from, flags;
	unsigned long mapped_at, unmapped_at, fault_at;
	phys_addr_t mapped_to;
	size_t mapped, to_unmap, unmapped;
};

static void trace_added(void *data, int group, struct device *dev)
{
	struct traced *seen = data;

	seen->added = dev;
	seen->added_to = group;
}

static void trace_removed(void *data, int group, struct device *dev)
{
	struct traced *seen = data;

	seen->removed = dev;
	seen->removed_from = group;
}

static void trace_attached(void *data, struct device *dev)
{
	struct traced *seen = data;

	seen->attached = dev;
}

static void trace_mapped(void *data, unsigned long iova, phys_addr_t phys, size_t size)
{
	struct traced *seen = data;

	seen->mapped_at = iova;
	seen->mapped_to = phys;
	seen->mapped = size;
}

static void trace_unmapped(void *data, unsigned long iova, size_t size, size_t unmapped)
{
	struct traced *seen = data;

	seen->unmapped_at = iova;
	seen->to_unmap = size;
	seen->unmapped = unmapped;
}

static void trace_faulted(void *data, struct device *dev, unsigned long iova, int flags)
{
	struct traced *seen = data;

	seen->faulted = dev;
	seen->fault_at = iova;
	seen->flags = flags;
}

/* Also runs if a case is aborted, so that the trace functions do not see the next case. */
static void stop_tracing(void *seen)
{
	unregister_trace_add_device_to_group(trace_added, seen);
	unregister_trace_remove_device_from_group(trace_removed, seen);
	unregister_trace_attach_device_to_domain(trace_attached, seen);
	unregister_trace_map(trace_mapped, seen);
	unregister_trace_unmap(trace_unmapped, seen);
	unregister_trace_io_page_fault(trace_faulted, seen);
	/* Wait until no CPU is in a trace function. */
	tracepoint_synchronize_unregister();
}

static void trace_points_report_what_happens(struct kunit *test)
{
	/* Static, because tracing stops after the function has returned. */
	static struct traced seen;
	struct device_under_test *device;
	struct iommu_domain *domain;
	struct iommu_group *group;
	struct page *page = new_pages(test, 1);

	memset(&seen, 0, sizeof(seen));
	KUNIT_EXPECT_EQ(test, register_trace_add_device_to_group(trace_added, &seen), 0);
	KUNIT_EXPECT_EQ(test, register_trace_remove_device_from_group(trace_removed, &seen), 0);
	KUNIT_EXPECT_EQ(test, register_trace_attach_device_to_domain(trace_attached, &seen), 0);
	KUNIT_EXPECT_EQ(test, register_trace_map(trace_mapped, &seen), 0);
	KUNIT_EXPECT_EQ(test, register_trace_unmap(trace_unmapped, &seen), 0);
	KUNIT_EXPECT_EQ(test, register_trace_io_page_fault(trace_faulted, &seen), 0);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, stop_tracing, &seen), 0);

	device = iommu_api_device_of_its_own(test);
	group = iommu_api_group_of(test, device->dev);
	KUNIT_EXPECT_PTR_EQ(test, seen.added, device->dev);
	KUNIT_EXPECT_EQ(test, seen.added_to, iommu_group_id(group));

	domain = iommu_api_new_domain(test, device);
	seen.attached = NULL;
	KUNIT_EXPECT_EQ(test, iommu_attach_group(domain, group), 0);
	KUNIT_EXPECT_PTR_EQ(test, seen.attached, device->dev);

	KUNIT_EXPECT_EQ(test, iommu_map(domain, IOVA, page_to_phys(page), 2 * PAGE_SIZE, IOMMU_READ,
					GFP_KERNEL), 0);
	KUNIT_EXPECT_EQ(test, seen.mapped_at, IOVA);
	KUNIT_EXPECT_EQ(test, seen.mapped_to, page_to_phys(page));
	KUNIT_EXPECT_EQ(test, seen.mapped, 2 * PAGE_SIZE);

	KUNIT_EXPECT_EQ(test, iommu_unmap(domain, IOVA, 3 * PAGE_SIZE), 2 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, seen.unmapped_at, IOVA);
	KUNIT_EXPECT_EQ(test, seen.to_unmap, 3 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, seen.unmapped, 2 * PAGE_SIZE);

	report_iommu_fault(domain, device->dev, SZ_4K, IOMMU_FAULT_WRITE);
	KUNIT_EXPECT_PTR_EQ(test, seen.faulted, device->dev);
	KUNIT_EXPECT_EQ(test, seen.fault_at, SZ_4K);
	KUNIT_EXPECT_EQ(test, seen.flags, IOMMU_FAULT_WRITE);

	iommu_detach_group(domain, group);
	iommu_api_remove_device(test, device);
	KUNIT_EXPECT_PTR_EQ(test, seen.removed, device->dev);
	KUNIT_EXPECT_EQ(test, seen.removed_from, iommu_group_id(group));

	__free_pages(page, 1);
}
#endif

static struct kunit_case cases[] = {
#ifdef CONFIG_IOMMU_DEBUG_PAGEALLOC
	KUNIT_CASE(debug_pagealloc_counts_mappings),
#endif
#ifdef CONFIG_TRACEPOINTS
	KUNIT_CASE(trace_points_report_what_happens),
#endif
	{}
};

static struct kunit_suite suite = {
	.name = "iommu_api_watchers",
	.suite_init = iommu_api_start_unit,
	.suite_exit = iommu_api_stop_unit,
	.test_cases = cases,
};
kunit_test_suite(suite);
