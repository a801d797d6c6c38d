// SPDX-License-Identifier: GPL-2.0
/*
 * What drivers may expect of the kernel's IOMMU layer, C's or the core: one suite for both, written
 * against the declarations of the functions alone. It is about those that the kernel's own suites
 * do not get to. Where the layers differ on purpose a case says so: see Documentation/native.md.
 *
 * The unit is made of memory, on a bus of its own. It keeps what it was last told of each device.
 */

#include <kunit/device.h>
#include <kunit/test.h>
#include <linux/device.h>
#include <linux/dma-mapping.h>
#include <linux/fsl/mc.h>
#include <linux/fwnode.h>
#include <linux/iommu.h>
#include <linux/mm.h>
#include <linux/page_ext.h>
#include <linux/pci.h>
#include <linux/pci-ats.h>
#include <linux/property.h>
#include <linux/slab.h>
#include <linux/xarray.h>
#include <trace/events/iommu.h>

#include "../../../iommu-priv.h"

#define IS_CORE IS_ENABLED(CONFIG_IOMMU_CORE_NATIVE)

/* --- the unit ------------------------------------------------------------------------------ */

struct device_under_test {
	/* On a bus of its own it is none of PCI's, and yet what is done with those can be done. */
	struct pci_dev function;
	struct device *dev;
	/* How the unit is to behave. */
	bool is_in_the_common_group;
	bool is_deferred;
	int attach_error;
	/* What the unit was told. */
	struct iommu_domain *attached;
	struct iommu_domain *was_attached;
	struct iommu_domain *said_attached;
	struct iommu_domain *attached_to_pasid;
	int attaches;
};

struct domain_under_test {
	struct iommu_domain domain;
	/* The number of the page that each page of addresses leads to. */
	struct xarray table;
	unsigned long quirks;
	bool *is_freed;
};

static struct device_under_test *under_test(struct device *dev)
{
	return container_of(dev, struct device_under_test, function.dev);
}

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

static struct domain_under_test *domain_of(struct iommu_domain *domain)
{
	return container_of(domain, struct domain_under_test, domain);
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

static struct iommu_domain identity = { .type = IOMMU_DOMAIN_IDENTITY, .ops = &static_ops };
static struct iommu_domain blocked = { .type = IOMMU_DOMAIN_BLOCKED, .ops = &static_ops };

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

static struct iommu_device *probe_device(struct device *dev);

static struct iommu_group *device_group(struct device *dev)
{
	return under_test(dev)->is_in_the_common_group ? generic_single_device_group(dev) :
							 generic_device_group(dev);
}

static bool is_attach_deferred(struct device *dev)
{
	return under_test(dev)->is_deferred;
}

#define REGION 0x10000
#define MESSAGES 0xfee00000

/* Not in order, and the last one starts within the first. */
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

static const struct iommu_ops ops = {
	.owner = THIS_MODULE,
	.capable = is_capable,
	.identity_domain = &identity,
	.blocked_domain = &blocked,
	.default_domain = &identity,
	.default_domain_ops = &paging_ops,
	.domain_alloc_paging = alloc_paging,
	.probe_device = probe_device,
	.device_group = device_group,
	.is_attach_deferred = is_attach_deferred,
	.get_resv_regions = get_resv_regions,
};

static const struct bus_type bus = { .name = "iommu_api" };
static struct notifier_block notifier;
static struct iommu_device unit = { .max_pasids = 1 << 20 };

static struct iommu_device *probe_device(struct device *dev)
{
	if (dev->bus != &bus)
		return ERR_PTR(-ENODEV);
	dev_iommu_priv_set(dev, under_test(dev));
	return &unit;
}

static int start_unit(struct kunit_suite *suite)
{
	int error = bus_register(&bus);

	if (error)
		return error;
	error = iommu_device_sysfs_add(&unit, NULL, NULL, "iommu_api");
	if (error)
		goto no_bus;
	error = iommu_device_register_bus(&unit, &ops, &bus, &notifier);
	if (!error)
		return 0;
	iommu_device_sysfs_remove(&unit);
no_bus:
	bus_unregister(&bus);
	return error;
}

static void stop_unit(struct kunit_suite *suite)
{
	iommu_device_unregister_bus(&unit, &bus, &notifier);
	iommu_device_sysfs_remove(&unit);
	bus_unregister(&bus);
}

/* --- devices and domains of a case --------------------------------------------------------- */

static void release_device(struct device *dev)
{
	kfree(under_test(dev));
}

KUNIT_DEFINE_ACTION_WRAPPER(remove_device, device_unregister, struct device *);
KUNIT_DEFINE_ACTION_WRAPPER(put_group, iommu_group_put, struct iommu_group *);
KUNIT_DEFINE_ACTION_WRAPPER(free_domain_action, iommu_domain_free, struct iommu_domain *);

/* A device that is not there yet, for a case to say what it is like. */
static struct device_under_test *new_device(struct kunit *test, const char *name)
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

static void add_device(struct kunit *test, struct device_under_test *device)
{
	int error = iommu_mock_device_add(device->dev, &unit);

	if (error) {
		put_device(device->dev);
		KUNIT_FAIL_AND_ABORT(test, "%s: %d", dev_name(device->dev), error);
	}
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, remove_device, device->dev), 0);
	KUNIT_ASSERT_NOT_NULL(test, device->dev->iommu_group);
}

static struct device_under_test *device_of_its_own(struct kunit *test)
{
	struct device_under_test *device = new_device(test, "alone");

	add_device(test, device);
	return device;
}

/* Bits of a device's PASIDs, which it tells as devices of firmware do. */
#define PASID_BITS 2

static struct device_under_test *new_device_with_pasids(struct kunit *test)
{
	static const struct property_entry properties[] = {
		PROPERTY_ENTRY_U32("pasid-num-bits", PASID_BITS),
		{}
	};
	struct device_under_test *device = new_device(test, "with-pasids");
	int error = device_create_managed_software_node(device->dev, properties, NULL);

	KUNIT_ASSERT_EQ(test, error, 0);
	return device;
}

static void devices_of_one_group(struct kunit *test, struct device_under_test *devices[2])
{
	static const char * const names[] = { "first", "second" };

	for (int i = 0; i < 2; i++) {
		devices[i] = new_device(test, names[i]);
		devices[i]->is_in_the_common_group = true;
		add_device(test, devices[i]);
	}
}

static struct iommu_group *group_of(struct kunit *test, struct device *dev)
{
	struct iommu_group *group = iommu_group_get(dev);

	KUNIT_ASSERT_NOT_NULL(test, group);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, put_group, group), 0);
	return group;
}

static struct iommu_group *new_group(struct kunit *test)
{
	struct iommu_group *group = iommu_group_alloc();

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, group);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, put_group, group), 0);
	return group;
}

static struct iommu_domain *new_domain(struct kunit *test, struct device_under_test *device)
{
	struct iommu_domain *domain = iommu_paging_domain_alloc(device->dev);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, domain);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, free_domain_action, domain), 0);
	return domain;
}

/* --- devices and their units --------------------------------------------------------------- */

static void a_device_is_probed_when_it_is_added(struct kunit *test)
{
	struct device_under_test *device = device_of_its_own(test);

	KUNIT_EXPECT_PTR_EQ(test, device->dev->iommu->iommu_dev, &unit);
	KUNIT_EXPECT_PTR_EQ(test, dev_iommu_priv_get(device->dev), (void *)device);
	KUNIT_EXPECT_PTR_EQ(test, device->attached, &identity);
	KUNIT_EXPECT_PTR_EQ(test, device->was_attached, NULL);
}

static void the_unit_says_what_a_device_can(struct kunit *test)
{
	struct device_under_test *device = device_of_its_own(test);
	struct device *other = kunit_device_register(test, "elsewhere");

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, other);
	KUNIT_EXPECT_TRUE(test, device_iommu_capable(device->dev, IOMMU_CAP_CACHE_COHERENCY));
	KUNIT_EXPECT_FALSE(test, device_iommu_capable(device->dev, IOMMU_CAP_DIRTY_TRACKING));
	KUNIT_EXPECT_FALSE(test, device_iommu_capable(other, IOMMU_CAP_CACHE_COHERENCY));
}

static void ids_of_a_device_are_kept_for_its_unit(struct kunit *test)
{
	static const u32 first[] = { 7 }, more[] = { 8, 9 };
	struct device *dev = kunit_device_register(test, "elsewhere");
	struct fwnode_handle *unknown = fwnode_create_software_node(NULL, NULL);
	struct iommu_fwspec *ids;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, dev);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, unknown);
	KUNIT_EXPECT_EQ(test, iommu_fwspec_add_ids(dev, first, 1), -EINVAL);

	mutex_lock(&iommu_probe_device_lock);
	/* There is no such unit, or none yet. */
	KUNIT_EXPECT_LT(test, iommu_fwspec_init(dev, unknown), 0);
	KUNIT_EXPECT_PTR_EQ(test, dev_iommu_fwspec_get(dev), NULL);
	KUNIT_EXPECT_EQ(test, iommu_fwspec_init(dev, unit.fwnode), 0);
	KUNIT_EXPECT_EQ(test, iommu_fwspec_init(dev, unit.fwnode), 0);
	KUNIT_EXPECT_EQ(test, iommu_fwspec_add_ids(dev, first, 1), 0);
	KUNIT_EXPECT_EQ(test, iommu_fwspec_add_ids(dev, more, 2), 0);
	ids = dev_iommu_fwspec_get(dev);
	KUNIT_EXPECT_NOT_NULL(test, ids);
	if (ids) {
		KUNIT_EXPECT_EQ(test, ids->num_ids, 3);
		for (int i = 0; i < ids->num_ids; i++)
			KUNIT_EXPECT_EQ(test, ids->ids[i], 7 + i);
	}
	iommu_fwspec_free(dev);
	KUNIT_EXPECT_PTR_EQ(test, dev_iommu_fwspec_get(dev), NULL);
	dev_iommu_free(dev);
	KUNIT_EXPECT_PTR_EQ(test, dev->iommu, NULL);
	mutex_unlock(&iommu_probe_device_lock);
	fwnode_remove_software_node(unknown);
}

static void a_unit_is_found_by_its_node_while_it_is_registered(struct kunit *test)
{
	struct device *hardware = kunit_device_register(test, "hardware");
	struct iommu_device another = {};
	const struct fwnode_handle *node;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, hardware);
	KUNIT_ASSERT_EQ(test, device_create_managed_software_node(hardware, NULL, NULL), 0);
	node = dev_fwnode(hardware);
	KUNIT_EXPECT_PTR_EQ(test, iommu_ops_from_fwnode(unit.fwnode), &ops);
	KUNIT_EXPECT_PTR_EQ(test, iommu_ops_from_fwnode(node), NULL);
	KUNIT_ASSERT_EQ(test, iommu_device_register(&another, &ops, hardware), 0);
	KUNIT_EXPECT_PTR_EQ(test, iommu_ops_from_fwnode(node), &ops);
	KUNIT_EXPECT_TRUE(test, another.ready);
	iommu_device_unregister(&another);
	KUNIT_EXPECT_PTR_EQ(test, iommu_ops_from_fwnode(node), NULL);
}

static void deferred_devices_are_attached_when_they_are_used(struct kunit *test)
{
	struct device_under_test *device = new_device(test, "deferred");

	device->is_deferred = true;
	add_device(test, device);
	KUNIT_EXPECT_EQ(test, device->attaches, 0);
	KUNIT_EXPECT_EQ(test, iommu_deferred_attach(device->dev, &identity), 0);
	KUNIT_EXPECT_PTR_EQ(test, device->attached, &identity);

	device = device_of_its_own(test);
	KUNIT_EXPECT_EQ(test, iommu_deferred_attach(device->dev, &identity), 0);
	KUNIT_EXPECT_EQ(test, device->attaches, 1);
}

static void reserved_regions_of_a_group_are_in_order_and_joined(struct kunit *test)
{
	static const struct {
		phys_addr_t start;
		size_t length;
		enum iommu_resv_type type;
	} wanted[] = {
		{ REGION, SZ_8K + SZ_4K, IOMMU_RESV_RESERVED },
		{ MESSAGES, SZ_8K, IOMMU_RESV_MSI },
	};
	struct device_under_test *device = device_of_its_own(test);
	struct iommu_group *group = group_of(test, device->dev);
	struct iommu_resv_region *region;
	LIST_HEAD(list);
	int count = 0;

	iommu_get_resv_regions(device->dev, &list);
	KUNIT_EXPECT_EQ(test, list_count_nodes(&list), 3);
	iommu_put_resv_regions(device->dev, &list);

	INIT_LIST_HEAD(&list);
	KUNIT_EXPECT_EQ(test, iommu_get_group_resv_regions(group, &list), 0);
	list_for_each_entry(region, &list, list) {
		if (count < ARRAY_SIZE(wanted)) {
			KUNIT_EXPECT_EQ(test, region->start, wanted[count].start);
			KUNIT_EXPECT_EQ(test, region->length, wanted[count].length);
			KUNIT_EXPECT_EQ(test, region->type, wanted[count].type);
		}
		count++;
	}
	KUNIT_EXPECT_EQ(test, count, ARRAY_SIZE(wanted));
	iommu_put_resv_regions(device->dev, &list);
}

static void global_PASIDs_are_within_what_a_device_can(struct kunit *test)
{
	struct device_under_test *device = new_device_with_pasids(test);
	ioasid_t pasids[1 << PASID_BITS];
	int count;

	add_device(test, device);
	KUNIT_EXPECT_EQ(test, device->dev->iommu->max_pasids, ARRAY_SIZE(pasids));
	for (count = 0; count < ARRAY_SIZE(pasids); count++) {
		pasids[count] = iommu_alloc_global_pasid(device->dev);
		if (pasids[count] == IOMMU_PASID_INVALID)
			break;
		KUNIT_EXPECT_EQ(test, pasids[count], IOMMU_FIRST_GLOBAL_PASID + count);
	}
	/* 0 is the device's own. */
	KUNIT_EXPECT_EQ(test, count, ARRAY_SIZE(pasids) - 1);
	while (count--)
		iommu_free_global_pasid(pasids[count]);

	device = device_of_its_own(test);
	KUNIT_EXPECT_EQ(test, iommu_alloc_global_pasid(device->dev), IOMMU_PASID_INVALID);
}

/* --- groups -------------------------------------------------------------------------------- */

static void the_driver_says_who_is_in_a_group(struct kunit *test)
{
	struct device_under_test *alone = device_of_its_own(test), *devices[2];
	struct iommu_group *group, *other;

	devices_of_one_group(test, devices);
	group = devices[0]->dev->iommu_group;
	other = alone->dev->iommu_group;
	KUNIT_EXPECT_PTR_EQ(test, devices[1]->dev->iommu_group, group);
	KUNIT_EXPECT_PTR_NE(test, other, group);
	KUNIT_EXPECT_NE(test, iommu_group_id(other), iommu_group_id(group));
}

static int stop_at(struct device *dev, void *wanted)
{
	return dev == wanted ? 5 : 0;
}

static int count_device(struct device *dev, void *count)
{
	(*(int *)count)++;
	return 0;
}

static void devices_without_a_unit_can_be_in_a_group(struct kunit *test)
{
	struct device *first = kunit_device_register(test, "elsewhere-1");
	struct device *second = kunit_device_register(test, "elsewhere-2");
	struct iommu_group *group = new_group(test);
	int count = 0;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, first);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, second);
	KUNIT_EXPECT_EQ(test, iommu_group_set_name(group, "of a test"), 0);
	KUNIT_ASSERT_EQ(test, iommu_group_add_device(group, first), 0);
	KUNIT_ASSERT_EQ(test, iommu_group_add_device(group, second), 0);
	KUNIT_EXPECT_PTR_EQ(test, group_of(test, first), group);
	KUNIT_EXPECT_EQ(test, iommu_group_for_each_dev(group, &count, count_device), 0);
	KUNIT_EXPECT_EQ(test, count, 2);
	/* The first answer that is not 0 is the answer. */
	KUNIT_EXPECT_EQ(test, iommu_group_for_each_dev(group, second, stop_at), 5);

	iommu_group_remove_device(first);
	KUNIT_EXPECT_PTR_EQ(test, iommu_group_get(first), NULL);
	KUNIT_EXPECT_EQ(test, iommu_group_for_each_dev(group, first, stop_at), 0);
	iommu_group_remove_device(second);
}

static void set_flag(void *flag)
{
	*(bool *)flag = true;
}

static void what_a_driver_keeps_with_a_group_goes_with_the_group(struct kunit *test)
{
	struct iommu_group *group = iommu_group_alloc();
	bool is_released = false;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, group);
	KUNIT_EXPECT_PTR_EQ(test, iommu_group_get_iommudata(group), NULL);
	iommu_group_set_iommudata(group, &is_released, set_flag);
	KUNIT_EXPECT_PTR_EQ(test, iommu_group_get_iommudata(group), (void *)&is_released);
	KUNIT_EXPECT_PTR_EQ(test, iommu_group_ref_get(group), group);
	iommu_group_put(group);
	KUNIT_EXPECT_FALSE(test, is_released);
	iommu_group_put(group);
	KUNIT_EXPECT_TRUE(test, is_released);
}

static void devices_of_a_management_complex_are_with_their_container(struct kunit *test)
{
	struct fsl_mc_device *device = kunit_kzalloc(test, sizeof(*device), GFP_KERNEL);
	struct device *container = kunit_device_register(test, "container");
	struct iommu_group *own = new_group(test), *found;

	KUNIT_ASSERT_NOT_NULL(test, device);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, container);
	device->dev.parent = container;
	found = fsl_mc_device_group(&device->dev);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, found);
	KUNIT_EXPECT_PTR_NE(test, found, own);
	iommu_group_put(found);

	KUNIT_ASSERT_EQ(test, iommu_group_add_device(own, container), 0);
	found = fsl_mc_device_group(&device->dev);
	KUNIT_EXPECT_PTR_EQ(test, found, own);
	iommu_group_put(found);
	iommu_group_remove_device(container);
}

/* --- domains ------------------------------------------------------------------------------- */

static void a_device_of_its_own_is_attached_and_goes_back_to_its_default(struct kunit *test)
{
	struct device_under_test *device = device_of_its_own(test);
	struct iommu_domain *domain = new_domain(test, device);

	KUNIT_EXPECT_EQ(test, domain->type, IOMMU_DOMAIN_UNMANAGED);
	KUNIT_EXPECT_PTR_EQ(test, iommu_get_domain_for_dev(device->dev), &identity);
	KUNIT_ASSERT_EQ(test, iommu_attach_device(domain, device->dev), 0);
	KUNIT_EXPECT_PTR_EQ(test, device->attached, domain);
	KUNIT_EXPECT_PTR_EQ(test, iommu_get_domain_for_dev(device->dev), domain);
	/* Whichever way a driver asks what the device leaves. */
	KUNIT_EXPECT_PTR_EQ(test, device->was_attached, &identity);
	KUNIT_EXPECT_PTR_EQ(test, device->said_attached, &identity);
	/* What the DMA API has stays. */
	KUNIT_EXPECT_PTR_EQ(test, iommu_get_dma_domain(device->dev), &identity);
	KUNIT_EXPECT_PTR_EQ(test, iommu_group_default_domain(device->dev->iommu_group), &identity);
	iommu_detach_device(domain, device->dev);
	KUNIT_EXPECT_PTR_EQ(test, device->attached, &identity);
	KUNIT_EXPECT_PTR_EQ(test, iommu_get_domain_for_dev(device->dev), &identity);
}

static void a_device_cannot_be_attached_without_the_rest_of_its_group(struct kunit *test)
{
	struct device_under_test *devices[2];
	struct iommu_domain *domain;

	devices_of_one_group(test, devices);
	domain = new_domain(test, devices[0]);
	KUNIT_EXPECT_EQ(test, iommu_attach_device(domain, devices[0]->dev), -EINVAL);
	KUNIT_EXPECT_PTR_EQ(test, devices[0]->attached, &identity);
}

static void a_group_is_attached_to_one_domain_at_a_time(struct kunit *test)
{
	struct device_under_test *devices[2];
	struct iommu_domain *domain, *other;
	struct iommu_group *group;

	devices_of_one_group(test, devices);
	domain = new_domain(test, devices[0]);
	other = new_domain(test, devices[0]);
	group = group_of(test, devices[0]->dev);
	KUNIT_ASSERT_EQ(test, iommu_attach_group(domain, group), 0);
	KUNIT_EXPECT_EQ(test, iommu_attach_group(other, group), -EBUSY);
	for (int i = 0; i < 2; i++)
		KUNIT_EXPECT_PTR_EQ(test, devices[i]->attached, domain);
	iommu_detach_group(domain, group);
	for (int i = 0; i < 2; i++)
		KUNIT_EXPECT_PTR_EQ(test, devices[i]->attached, &identity);
	KUNIT_ASSERT_EQ(test, iommu_attach_group(other, group), 0);
	iommu_detach_group(other, group);
}

static void attaching_the_current_domain_does_nothing(struct kunit *test)
{
	struct device_under_test *device = device_of_its_own(test);
	struct iommu_domain *domain = new_domain(test, device);
	struct iommu_group *group = group_of(test, device->dev);
	int wanted = IS_CORE ? 0 : -EBUSY, before;

	KUNIT_ASSERT_EQ(test, iommu_attach_group(domain, group), 0);
	before = device->attaches;
	KUNIT_EXPECT_EQ(test, iommu_attach_group(domain, group), wanted);
	KUNIT_EXPECT_EQ(test, iommu_attach_device(domain, device->dev), wanted);
	KUNIT_EXPECT_EQ(test, device->attaches, before);
	iommu_detach_group(domain, group);
}

static void an_attach_that_fails_leaves_no_device_behind(struct kunit *test)
{
	struct device_under_test *devices[2];
	struct iommu_domain *domain;
	struct iommu_group *group;

	devices_of_one_group(test, devices);
	domain = new_domain(test, devices[0]);
	group = group_of(test, devices[0]->dev);
	for (int i = 0; i < 2; i++) {
		devices[i]->attach_error = -ENOSPC;
		KUNIT_EXPECT_EQ(test, iommu_attach_group(domain, group), -ENOSPC);
		devices[i]->attach_error = 0;
		for (int j = 0; j < 2; j++)
			KUNIT_EXPECT_PTR_EQ(test, devices[j]->attached, &identity);
	}
	KUNIT_EXPECT_PTR_EQ(test, iommu_get_domain_for_dev(devices[0]->dev), &identity);
}

static void a_domain_that_is_freed_while_attached_lasts_until_it_is_not(struct kunit *test)
{
	struct device_under_test *device = device_of_its_own(test);
	struct iommu_domain *domain;
	struct iommu_group *group = group_of(test, device->dev);
	bool is_freed = false;

	if (!IS_CORE)
		kunit_skip(test, "C's layer frees it under the device");
	domain = iommu_paging_domain_alloc(device->dev);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, domain);
	domain_of(domain)->is_freed = &is_freed;
	KUNIT_ASSERT_EQ(test, iommu_attach_group(domain, group), 0);
	iommu_domain_free(domain);
	KUNIT_EXPECT_FALSE(test, is_freed);
	KUNIT_EXPECT_PTR_EQ(test, device->attached, domain);
	iommu_detach_group(domain, group);
	KUNIT_EXPECT_TRUE(test, is_freed);
}

#ifdef CONFIG_PCI_ATS
static void a_device_is_blocked_while_it_is_reset(struct kunit *test)
{
	struct device_under_test *device = new_device_with_pasids(test);
	struct pci_dev *function = &device->function;
	struct iommu_domain *domain, *other;
	struct iommu_group *group;
	ioasid_t pasid = 1;

	/* Wherever it is: only devices that cache translations are kept from invalidations. */
	function->ats_cap = 1;
	add_device(test, device);
	domain = new_domain(test, device);
	other = new_domain(test, device);
	group = group_of(test, device->dev);
	KUNIT_ASSERT_EQ(test, iommu_attach_group(domain, group), 0);
	KUNIT_ASSERT_EQ(test, iommu_attach_device_pasid(other, device->dev, pasid, NULL), 0);
	KUNIT_EXPECT_PTR_EQ(test, device->attached_to_pasid, other);

	KUNIT_EXPECT_EQ(test, pci_dev_reset_iommu_prepare(function), 0);
	KUNIT_EXPECT_PTR_EQ(test, device->attached, &blocked);
	KUNIT_EXPECT_PTR_EQ(test, device->attached_to_pasid, &blocked);
	/* The group is where it was, and stays there. */
	KUNIT_EXPECT_PTR_EQ(test, iommu_get_domain_for_dev(device->dev), domain);
	KUNIT_EXPECT_EQ(test, iommu_attach_device_pasid(other, device->dev, pasid + 1, NULL),
			-EBUSY);

	/* A reset within the reset does not end it. */
	KUNIT_EXPECT_EQ(test, pci_dev_reset_iommu_prepare(function), 0);
	pci_dev_reset_iommu_done(function);
	KUNIT_EXPECT_PTR_EQ(test, device->attached, &blocked);

	pci_dev_reset_iommu_done(function);
	KUNIT_EXPECT_PTR_EQ(test, device->attached, domain);
	KUNIT_EXPECT_PTR_EQ(test, device->was_attached, &blocked);
	KUNIT_EXPECT_PTR_EQ(test, device->said_attached, &blocked);
	KUNIT_EXPECT_PTR_EQ(test, device->attached_to_pasid, other);

	iommu_detach_device_pasid(other, device->dev, pasid);
	KUNIT_EXPECT_PTR_EQ(test, device->attached_to_pasid, &blocked);
	iommu_detach_group(domain, group);
}
#endif

struct fault {
	struct iommu_domain *domain;
	struct device *dev;
	unsigned long iova;
	int flags;
};

static int keep_fault(struct iommu_domain *domain, struct device *dev, unsigned long iova,
		      int flags, void *token)
{
	*(struct fault *)token = (struct fault){ domain, dev, iova, flags };
	return 7;
}

static void who_has_a_domain_is_told_of_its_faults(struct kunit *test)
{
	struct device_under_test *device = device_of_its_own(test);
	struct iommu_domain *domain = new_domain(test, device);
	int flags = IOMMU_FAULT_WRITE;
	struct fault seen = {};

	KUNIT_EXPECT_EQ(test, report_iommu_fault(domain, device->dev, SZ_4K, flags), -ENOSYS);
	iommu_set_fault_handler(domain, keep_fault, &seen);
	KUNIT_EXPECT_EQ(test, report_iommu_fault(domain, device->dev, SZ_4K, flags), 7);
	KUNIT_EXPECT_PTR_EQ(test, seen.domain, domain);
	KUNIT_EXPECT_PTR_EQ(test, seen.dev, device->dev);
	KUNIT_EXPECT_EQ(test, seen.iova, SZ_4K);
	KUNIT_EXPECT_EQ(test, seen.flags, flags);
}

static void oddities_of_page_tables_are_set_by_the_driver(struct kunit *test)
{
	struct device_under_test *device = device_of_its_own(test);
	struct iommu_domain *domain = new_domain(test, device);

	KUNIT_EXPECT_EQ(test, iommu_set_pgtable_quirks(domain, 5), 0);
	KUNIT_EXPECT_EQ(test, domain_of(domain)->quirks, 5);
	KUNIT_EXPECT_EQ(test, iommu_set_pgtable_quirks(&identity, 5), -EINVAL);
}

/* --- what others watch ------------------------------------------------------------------- */

#define IOVA 0x100000

static struct page *new_pages(struct kunit *test, unsigned int order)
{
	unsigned long address = __get_free_pages(GFP_KERNEL, order);

	KUNIT_ASSERT_NE(test, address, 0);
	return virt_to_page((void *)address);
}

#ifdef CONFIG_IOMMU_DEBUG_PAGEALLOC
/* How often the kernel believes that a page is mapped. */
static int mappings_of(struct page *page)
{
	struct page_ext *more = page_ext_get(page);
	int count = atomic_read((atomic_t *)page_ext_data(more, &page_iommu_debug_ops));

	page_ext_put(more);
	return count;
}

static void the_debugging_of_page_allocations_knows_what_is_mapped(struct kunit *test)
{
	struct device_under_test *device = device_of_its_own(test);
	struct iommu_domain *domain = new_domain(test, device);
	struct page *page;
	phys_addr_t phys;
	size_t size;

	if (!static_branch_unlikely(&iommu_debug_initialized))
		kunit_skip(test, "it takes iommu.debug_pagealloc=1");
	page = new_pages(test, 2);
	phys = page_to_phys(page);
	size = 4 * PAGE_SIZE;
	KUNIT_EXPECT_EQ(test, iommu_map(domain, IOVA, phys, size, IOMMU_READ, GFP_KERNEL), 0);
	KUNIT_EXPECT_EQ(test, iommu_map(domain, 0, phys, PAGE_SIZE, IOMMU_READ, GFP_KERNEL), 0);
	KUNIT_EXPECT_EQ(test, mappings_of(page), 2);
	for (int i = 1; i < 4; i++)
		KUNIT_EXPECT_EQ(test, mappings_of(page + i), 1);

	/* With the second page unmapped a longer range ends there: the others are as they were. */
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

/* Also when a case is aborted: nobody may be told of what the next one does. */
static void stop_tracing(void *seen)
{
	unregister_trace_add_device_to_group(trace_added, seen);
	unregister_trace_remove_device_from_group(trace_removed, seen);
	unregister_trace_attach_device_to_domain(trace_attached, seen);
	unregister_trace_map(trace_mapped, seen);
	unregister_trace_unmap(trace_unmapped, seen);
	unregister_trace_io_page_fault(trace_faulted, seen);
	/* Whoever is in a trace point now is in it no more. */
	tracepoint_synchronize_unregister();
}

static void the_trace_points_tell_what_happens(struct kunit *test)
{
	/* The case may be over, and its stack gone, when tracing is stopped. */
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

	device = device_of_its_own(test);
	group = group_of(test, device->dev);
	KUNIT_EXPECT_PTR_EQ(test, seen.added, device->dev);
	KUNIT_EXPECT_EQ(test, seen.added_to, iommu_group_id(group));

	domain = new_domain(test, device);
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
	kunit_release_action(test, remove_device, device->dev);
	KUNIT_EXPECT_PTR_EQ(test, seen.removed, device->dev);
	KUNIT_EXPECT_EQ(test, seen.removed_from, iommu_group_id(group));

	__free_pages(page, 1);
}
#endif

/* --- ownership ----------------------------------------------------------------------------- */

static void a_claim_keeps_everybody_else_away(struct kunit *test)
{
	struct device_under_test *device = device_of_its_own(test);
	struct iommu_group *group = group_of(test, device->dev);
	int one, another;

	KUNIT_EXPECT_FALSE(test, iommu_group_dma_owner_claimed(group));
	KUNIT_ASSERT_EQ(test, iommu_group_claim_dma_owner(group, &one), 0);
	KUNIT_EXPECT_TRUE(test, iommu_group_dma_owner_claimed(group));
	KUNIT_EXPECT_PTR_EQ(test, device->attached, &blocked);
	KUNIT_EXPECT_EQ(test, iommu_group_claim_dma_owner(group, &another), -EPERM);
	KUNIT_EXPECT_EQ(test, iommu_device_claim_dma_owner(device->dev, &another), -EPERM);
	KUNIT_EXPECT_EQ(test, iommu_device_use_default_domain(device->dev), -EBUSY);
	iommu_group_release_dma_owner(group);
	KUNIT_EXPECT_FALSE(test, iommu_group_dma_owner_claimed(group));
	KUNIT_EXPECT_PTR_EQ(test, device->attached, &identity);
}

static void one_owner_may_claim_each_device_of_a_group(struct kunit *test)
{
	struct device_under_test *devices[2];
	struct iommu_group *group;
	int owner;

	devices_of_one_group(test, devices);
	group = group_of(test, devices[0]->dev);
	for (int i = 0; i < 2; i++)
		KUNIT_ASSERT_EQ(test, iommu_device_claim_dma_owner(devices[i]->dev, &owner), 0);
	iommu_device_release_dma_owner(devices[0]->dev);
	KUNIT_EXPECT_TRUE(test, iommu_group_dma_owner_claimed(group));
	KUNIT_EXPECT_PTR_EQ(test, devices[0]->attached, &blocked);
	iommu_device_release_dma_owner(devices[1]->dev);
	KUNIT_EXPECT_FALSE(test, iommu_group_dma_owner_claimed(group));
	KUNIT_EXPECT_PTR_EQ(test, devices[0]->attached, &identity);
}

static void drivers_that_use_the_DMA_API_keep_owners_away(struct kunit *test)
{
	struct device_under_test *devices[2];
	struct iommu_group *group;
	int owner;

	devices_of_one_group(test, devices);
	group = group_of(test, devices[0]->dev);
	for (int i = 0; i < 2; i++)
		KUNIT_ASSERT_EQ(test, iommu_device_use_default_domain(devices[i]->dev), 0);
	iommu_device_unuse_default_domain(devices[0]->dev);
	KUNIT_EXPECT_EQ(test, iommu_group_claim_dma_owner(group, &owner), -EPERM);
	KUNIT_EXPECT_EQ(test, iommu_device_claim_dma_owner(devices[0]->dev, &owner), -EPERM);
	iommu_device_unuse_default_domain(devices[1]->dev);
	KUNIT_ASSERT_EQ(test, iommu_group_claim_dma_owner(group, &owner), 0);
	iommu_group_release_dma_owner(group);
}

/* --- the default --------------------------------------------------------------------------- */

static void passthrough_can_be_made_the_default(struct kunit *test)
{
	bool before = iommu_default_passthrough();

	iommu_set_default_passthrough(false);
	KUNIT_EXPECT_TRUE(test, iommu_default_passthrough());
	iommu_set_default_translated(false);
	KUNIT_EXPECT_FALSE(test, iommu_default_passthrough());
	if (before)
		iommu_set_default_passthrough(false);
}

static struct kunit_case cases[] = {
	KUNIT_CASE(a_device_is_probed_when_it_is_added),
	KUNIT_CASE(the_unit_says_what_a_device_can),
	KUNIT_CASE(ids_of_a_device_are_kept_for_its_unit),
	KUNIT_CASE(a_unit_is_found_by_its_node_while_it_is_registered),
	KUNIT_CASE(deferred_devices_are_attached_when_they_are_used),
	KUNIT_CASE(reserved_regions_of_a_group_are_in_order_and_joined),
	KUNIT_CASE(global_PASIDs_are_within_what_a_device_can),
	KUNIT_CASE(the_driver_says_who_is_in_a_group),
	KUNIT_CASE(devices_without_a_unit_can_be_in_a_group),
	KUNIT_CASE(what_a_driver_keeps_with_a_group_goes_with_the_group),
	KUNIT_CASE(devices_of_a_management_complex_are_with_their_container),
	KUNIT_CASE(a_device_of_its_own_is_attached_and_goes_back_to_its_default),
	KUNIT_CASE(a_device_cannot_be_attached_without_the_rest_of_its_group),
	KUNIT_CASE(a_group_is_attached_to_one_domain_at_a_time),
	KUNIT_CASE(attaching_the_current_domain_does_nothing),
	KUNIT_CASE(an_attach_that_fails_leaves_no_device_behind),
	KUNIT_CASE(a_domain_that_is_freed_while_attached_lasts_until_it_is_not),
#ifdef CONFIG_PCI_ATS
	KUNIT_CASE(a_device_is_blocked_while_it_is_reset),
#endif
	KUNIT_CASE(who_has_a_domain_is_told_of_its_faults),
	KUNIT_CASE(oddities_of_page_tables_are_set_by_the_driver),
#ifdef CONFIG_IOMMU_DEBUG_PAGEALLOC
	KUNIT_CASE(the_debugging_of_page_allocations_knows_what_is_mapped),
#endif
#ifdef CONFIG_TRACEPOINTS
	KUNIT_CASE(the_trace_points_tell_what_happens),
#endif
	KUNIT_CASE(a_claim_keeps_everybody_else_away),
	KUNIT_CASE(one_owner_may_claim_each_device_of_a_group),
	KUNIT_CASE(drivers_that_use_the_DMA_API_keep_owners_away),
	KUNIT_CASE(passthrough_can_be_made_the_default),
	{}
};

static struct kunit_suite suite = {
	.name = "iommu_api",
	.suite_init = start_unit,
	.suite_exit = stop_unit,
	.test_cases = cases,
};
kunit_test_suite(suite);
