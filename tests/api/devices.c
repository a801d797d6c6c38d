// SPDX-License-Identifier: GPL-2.0
/*
 * Devices and their units: probing, and what the unit reports of a device.
 */

#include <kunit/device.h>
#include <linux/fwnode.h>
#include <linux/property.h>

#include "../../../iommu-priv.h"
#include "unit.h"

static void a_device_is_probed_when_it_is_added(struct kunit *test)
{
	struct device_under_test *device = iommu_api_device_of_its_own(test);

	KUNIT_EXPECT_PTR_EQ(test, device->dev->iommu->iommu_dev, &iommu_api_unit);
	KUNIT_EXPECT_PTR_EQ(test, dev_iommu_priv_get(device->dev), (void *)device);
	KUNIT_EXPECT_PTR_EQ(test, device->attached, &iommu_api_identity);
	KUNIT_EXPECT_PTR_EQ(test, device->was_attached, NULL);
}

static void the_unit_reports_the_capabilities_of_a_device(struct kunit *test)
{
	struct device_under_test *device = iommu_api_device_of_its_own(test);
	struct device *other = kunit_device_register(test, "elsewhere");

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, other);
	KUNIT_EXPECT_TRUE(test, device_iommu_capable(device->dev, IOMMU_CAP_CACHE_COHERENCY));
	KUNIT_EXPECT_FALSE(test, device_iommu_capable(device->dev, IOMMU_CAP_DIRTY_TRACKING));
	KUNIT_EXPECT_FALSE(test, device_iommu_capable(other, IOMMU_CAP_CACHE_COHERENCY));
}

static void a_device_stores_the_ids_at_its_unit(struct kunit *test)
{
	static const u32 first[] = { 7 }, more[] = { 8, 9 };
	struct device *dev = kunit_device_register(test, "elsewhere");
	struct fwnode_handle *unknown = fwnode_create_software_node(NULL, NULL);
	struct iommu_fwspec *ids;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, dev);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, unknown);
	KUNIT_EXPECT_EQ(test, iommu_fwspec_add_ids(dev, first, 1), -EINVAL);

	mutex_lock(&iommu_probe_device_lock);
	/* No unit with this node is registered. */
	KUNIT_EXPECT_LT(test, iommu_fwspec_init(dev, unknown), 0);
	KUNIT_EXPECT_PTR_EQ(test, dev_iommu_fwspec_get(dev), NULL);
	KUNIT_EXPECT_EQ(test, iommu_fwspec_init(dev, iommu_api_unit.fwnode), 0);
	KUNIT_EXPECT_EQ(test, iommu_fwspec_init(dev, iommu_api_unit.fwnode), 0);
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
	KUNIT_EXPECT_PTR_EQ(test, iommu_ops_from_fwnode(iommu_api_unit.fwnode), &iommu_api_ops);
	KUNIT_EXPECT_PTR_EQ(test, iommu_ops_from_fwnode(node), NULL);
	KUNIT_ASSERT_EQ(test, iommu_device_register(&another, &iommu_api_ops, hardware), 0);
	KUNIT_EXPECT_PTR_EQ(test, iommu_ops_from_fwnode(node), &iommu_api_ops);
	KUNIT_EXPECT_TRUE(test, another.ready);
	iommu_device_unregister(&another);
	KUNIT_EXPECT_PTR_EQ(test, iommu_ops_from_fwnode(node), NULL);
}

static void deferred_devices_are_attached_when_they_are_used(struct kunit *test)
{
	struct device_under_test *device = iommu_api_new_device(test, "deferred");

	device->is_deferred = true;
	iommu_api_add_device(test, device);
	KUNIT_EXPECT_EQ(test, device->attaches, 0);
	KUNIT_EXPECT_EQ(test, iommu_deferred_attach(device->dev, &iommu_api_identity), 0);
	KUNIT_EXPECT_PTR_EQ(test, device->attached, &iommu_api_identity);

	device = iommu_api_device_of_its_own(test);
	KUNIT_EXPECT_EQ(test, iommu_deferred_attach(device->dev, &iommu_api_identity), 0);
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
	struct device_under_test *device = iommu_api_device_of_its_own(test);
	struct iommu_group *group = iommu_api_group_of(test, device->dev);
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

static void global_PASIDs_are_within_the_limit_of_the_device(struct kunit *test)
{
	struct device_under_test *device = iommu_api_new_device_with_pasids(test);
	ioasid_t pasids[1 << PASID_BITS];
	int count;

	iommu_api_add_device(test, device);
	KUNIT_EXPECT_EQ(test, device->dev->iommu->max_pasids, ARRAY_SIZE(pasids));
	for (count = 0; count < ARRAY_SIZE(pasids); count++) {
		pasids[count] = iommu_alloc_global_pasid(device->dev);
		if (pasids[count] == IOMMU_PASID_INVALID)
			break;
		KUNIT_EXPECT_EQ(test, pasids[count], IOMMU_FIRST_GLOBAL_PASID + count);
	}
	/* PASID 0 is reserved for DMA without a PASID. */
	KUNIT_EXPECT_EQ(test, count, ARRAY_SIZE(pasids) - 1);
	while (count--)
		iommu_free_global_pasid(pasids[count]);

	device = iommu_api_device_of_its_own(test);
	KUNIT_EXPECT_EQ(test, iommu_alloc_global_pasid(device->dev), IOMMU_PASID_INVALID);
}

static struct kunit_case cases[] = {
	KUNIT_CASE(a_device_is_probed_when_it_is_added),
	KUNIT_CASE(the_unit_reports_the_capabilities_of_a_device),
	KUNIT_CASE(a_device_stores_the_ids_at_its_unit),
	KUNIT_CASE(a_unit_is_found_by_its_node_while_it_is_registered),
	KUNIT_CASE(deferred_devices_are_attached_when_they_are_used),
	KUNIT_CASE(reserved_regions_of_a_group_are_in_order_and_joined),
	KUNIT_CASE(global_PASIDs_are_within_the_limit_of_the_device),
	{}
};

static struct kunit_suite suite = {
	.name = "iommu_api_devices",
	.suite_init = iommu_api_start_unit,
	.suite_exit = iommu_api_stop_unit,
	.test_cases = cases,
};
kunit_test_suite(suite);
