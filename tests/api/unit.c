// SPDX-License-Identifier: GPL-2.0
/*
 * The unit of the suites, and functions that create devices, groups and domains for the cases.
 */

#include <linux/dma-mapping.h>
#include <linux/mm.h>
#include <linux/property.h>
#include <linux/slab.h>

#include "../../../iommu-priv.h"
#include "unit.h"

static int attach(struct iommu_domain *domain, struct device *dev, struct iommu_domain *old)
{
	struct device_under_test *device = under_test(dev);

	iommu_group_mutex_assert(dev);
	if (device->attach_error)
		return device->attach_error;
	device->attached = domain;
	device->was_attached = old;
	device->said_attached = iommu_driver_get_domain_for_dev(dev);
	device->attaches++;
	return 0;
}

static int attach_pasid(struct iommu_domain *domain, struct device *dev, ioasid_t pasid,
			struct iommu_domain *old)
{
	iommu_group_mutex_assert(dev);
	under_test(dev)->attached_to_pasid = domain;
	return 0;
}

static int map_pages(struct iommu_domain *domain, unsigned long iova, phys_addr_t phys,
		     size_t size, size_t count, int prot, gfp_t gfp, size_t *mapped)
{
	for (; count--; iova += size, phys += size) {
		int error = xa_insert(&domain_of(domain)->table, iova / PAGE_SIZE,
				      xa_mk_value(PHYS_PFN(phys)), gfp);

		if (error)
			return error;
		*mapped += size;
	}
	return 0;
}

static size_t unmap_pages(struct iommu_domain *domain, unsigned long iova, size_t size,
			  size_t count, struct iommu_iotlb_gather *gather)
{
	size_t unmapped = 0;

	while (count-- && xa_erase(&domain_of(domain)->table, (iova + unmapped) / PAGE_SIZE))
		unmapped += size;
	return unmapped;
}

static phys_addr_t iova_to_phys(struct iommu_domain *domain, dma_addr_t iova)
{
	void *entry = xa_load(&domain_of(domain)->table, iova / PAGE_SIZE);

	return entry ? PFN_PHYS(xa_to_value(entry)) + offset_in_page(iova) : 0;
}

static int set_quirks(struct iommu_domain *domain, unsigned long quirks)
{
	domain_of(domain)->quirks = quirks;
	return 0;
}

static void free_domain(struct iommu_domain *domain)
{
	struct domain_under_test *freed = domain_of(domain);

	if (freed->is_freed)
		*freed->is_freed = true;
	xa_destroy(&freed->table);
	kfree(freed);
}

static const struct iommu_domain_ops paging_ops = {
	.attach_dev = attach,
	.set_dev_pasid = attach_pasid,
	.map_pages = map_pages,
	.unmap_pages = unmap_pages,
	.iova_to_phys = iova_to_phys,
	.set_pgtable_quirks = set_quirks,
	.free = free_domain,
};

static const struct iommu_domain_ops static_ops = {
	.attach_dev = attach,
	.set_dev_pasid = attach_pasid,
};

struct iommu_domain iommu_api_identity = { .type = IOMMU_DOMAIN_IDENTITY, .ops = &static_ops };
struct iommu_domain iommu_api_blocked = { .type = IOMMU_DOMAIN_BLOCKED, .ops = &static_ops };

static struct iommu_domain *alloc_paging(struct device *dev)
{
	struct domain_under_test *made = kzalloc(sizeof(*made), GFP_KERNEL);

	if (!made)
		return ERR_PTR(-ENOMEM);
	xa_init(&made->table);
	made->domain.pgsize_bitmap = PAGE_SIZE;
	made->domain.geometry.aperture_end = DMA_BIT_MASK(48);
	return &made->domain;
}

static bool is_capable(struct device *dev, enum iommu_cap cap)
{
	return cap == IOMMU_CAP_CACHE_COHERENCY;
}

static const struct bus_type bus = { .name = "iommu_api" };
struct iommu_device iommu_api_unit = { .max_pasids = 1 << 20 };

static struct iommu_device *probe_device(struct device *dev)
{
	if (dev->bus != &bus)
		return ERR_PTR(-ENODEV);
	dev_iommu_priv_set(dev, under_test(dev));
	return &iommu_api_unit;
}

static struct iommu_group *device_group(struct device *dev)
{
	return under_test(dev)->is_in_the_common_group ? generic_single_device_group(dev) :
							 generic_device_group(dev);
}

static bool is_attach_deferred(struct device *dev)
{
	return under_test(dev)->is_deferred;
}

/* The regions are not in order, and the last one starts within the first. */
static void get_resv_regions(struct device *dev, struct list_head *list)
{
	static const struct {
		phys_addr_t start;
		enum iommu_resv_type type;
	} regions[] = {
		{ REGION, IOMMU_RESV_RESERVED },
		{ MESSAGES, IOMMU_RESV_MSI },
		{ REGION + SZ_4K, IOMMU_RESV_RESERVED },
	};
	struct iommu_resv_region *region;

	for (int i = 0; i < ARRAY_SIZE(regions); i++) {
		region = iommu_alloc_resv_region(regions[i].start, SZ_8K, 0, regions[i].type,
						 GFP_KERNEL);
		if (region)
			list_add_tail(&region->list, list);
	}
}

const struct iommu_ops iommu_api_ops = {
	.owner = THIS_MODULE,
	.capable = is_capable,
	.identity_domain = &iommu_api_identity,
	.blocked_domain = &iommu_api_blocked,
	.default_domain = &iommu_api_identity,
	.default_domain_ops = &paging_ops,
	.domain_alloc_paging = alloc_paging,
	.probe_device = probe_device,
	.device_group = device_group,
	.is_attach_deferred = is_attach_deferred,
	.get_resv_regions = get_resv_regions,
};

static struct notifier_block notifier;

int iommu_api_start_unit(struct kunit_suite *suite)
{
	int error = bus_register(&bus);

	if (error)
		return error;
	error = iommu_device_sysfs_add(&iommu_api_unit, NULL, NULL, "iommu_api");
	if (error)
		goto no_bus;
	error = iommu_device_register_bus(&iommu_api_unit, &iommu_api_ops, &bus, &notifier);
	if (!error)
		return 0;
	iommu_device_sysfs_remove(&iommu_api_unit);
no_bus:
	bus_unregister(&bus);
	return error;
}

void iommu_api_stop_unit(struct kunit_suite *suite)
{
	iommu_device_unregister_bus(&iommu_api_unit, &bus, &notifier);
	iommu_device_sysfs_remove(&iommu_api_unit);
	bus_unregister(&bus);
}

static void release_device(struct device *dev)
{
	kfree(under_test(dev));
}

KUNIT_DEFINE_ACTION_WRAPPER(remove_device, device_unregister, struct device *);
KUNIT_DEFINE_ACTION_WRAPPER(put_group, iommu_group_put, struct iommu_group *);
KUNIT_DEFINE_ACTION_WRAPPER(free_domain_action, iommu_domain_free, struct iommu_domain *);

struct device_under_test *iommu_api_new_device(struct kunit *test, const char *name)
{
	struct device_under_test *device = kzalloc(sizeof(*device), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, device);
	device->dev = &device->function.dev;
	device_initialize(device->dev);
	device->dev->bus = &bus;
	device->dev->release = release_device;
	KUNIT_ASSERT_EQ(test, dev_set_name(device->dev, "%s", name), 0);
	return device;
}

void iommu_api_add_device(struct kunit *test, struct device_under_test *device)
{
	int error = iommu_mock_device_add(device->dev, &iommu_api_unit);

	if (error) {
		put_device(device->dev);
		KUNIT_FAIL_AND_ABORT(test, "%s: %d", dev_name(device->dev), error);
	}
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, remove_device, device->dev), 0);
	KUNIT_ASSERT_NOT_NULL(test, device->dev->iommu_group);
}

struct device_under_test *iommu_api_device_of_its_own(struct kunit *test)
{
	struct device_under_test *device = iommu_api_new_device(test, "alone");

	iommu_api_add_device(test, device);
	return device;
}

struct device_under_test *iommu_api_new_device_with_pasids(struct kunit *test)
{
	static const struct property_entry properties[] = {
		PROPERTY_ENTRY_U32("pasid-num-bits", PASID_BITS),
		{}
	};
	struct device_under_test *device = iommu_api_new_device(test, "with-pasids");
	int error = device_create_managed_software_node(device->dev, properties, NULL);

	KUNIT_ASSERT_EQ(test, error, 0);
	return device;
}

void iommu_api_devices_of_one_group(struct kunit *test, struct device_under_test *devices[2])
{
	static const char * const names[] = { "first", "second" };

	for (int i = 0; i < 2; i++) {
		devices[i] = iommu_api_new_device(test, names[i]);
		devices[i]->is_in_the_common_group = true;
		iommu_api_add_device(test, devices[i]);
	}
}

struct iommu_group *iommu_api_group_of(struct kunit *test, struct device *dev)
{
	struct iommu_group *group = iommu_group_get(dev);

	KUNIT_ASSERT_NOT_NULL(test, group);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, put_group, group), 0);
	return group;
}

struct iommu_group *iommu_api_new_group(struct kunit *test)
{
	struct iommu_group *group = iommu_group_alloc();

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, group);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, put_group, group), 0);
	return group;
}

struct iommu_domain *iommu_api_new_domain(struct kunit *test, struct device_under_test *device)
{
	struct iommu_domain *domain = iommu_paging_domain_alloc(device->dev);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, domain);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, free_domain_action, domain), 0);
	return domain;
}

void iommu_api_remove_device(struct kunit *test, struct device_under_test *device)
{
	kunit_release_action(test, remove_device, device->dev);
}
