// SPDX-License-Identifier: GPL-2.0
/*
 * Groups: their members and their driver data.
 */

#include <kunit/device.h>
#include <linux/fsl/mc.h>

#include "unit.h"

static void the_driver_decides_which_devices_are_in_a_group(struct kunit *test)
{
	struct device_under_test *alone = iommu_api_device_of_its_own(test), *devices[2];
	struct iommu_group *group, *other;

	iommu_api_devices_of_one_group(test, devices);
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
	struct iommu_group *group = iommu_api_new_group(test);
	int count = 0;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, first);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, second);
	KUNIT_EXPECT_EQ(test, iommu_group_set_name(group, "of a test"), 0);
	KUNIT_ASSERT_EQ(test, iommu_group_add_device(group, first), 0);
	KUNIT_ASSERT_EQ(test, iommu_group_add_device(group, second), 0);
	KUNIT_EXPECT_PTR_EQ(test, iommu_api_group_of(test, first), group);
	KUNIT_EXPECT_EQ(test, iommu_group_for_each_dev(group, &count, count_device), 0);
	KUNIT_EXPECT_EQ(test, count, 2);
	/* The iteration stops at the first nonzero result and returns it. */
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

static void driver_data_of_a_group_is_released_with_the_group(struct kunit *test)
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

static void devices_of_a_management_complex_join_the_group_of_their_container(struct kunit *test)
{
	struct fsl_mc_device *device = kunit_kzalloc(test, sizeof(*device), GFP_KERNEL);
	struct device *container = kunit_device_register(test, "container");
	struct iommu_group *own = iommu_api_new_group(test), *found;

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

static struct kunit_case cases[] = {
	KUNIT_CASE(the_driver_decides_which_devices_are_in_a_group),
	KUNIT_CASE(devices_without_a_unit_can_be_in_a_group),
	KUNIT_CASE(driver_data_of_a_group_is_released_with_the_group),
	KUNIT_CASE(devices_of_a_management_complex_join_the_group_of_their_container),
	{}
};

static struct kunit_suite suite = {
	.name = "iommu_api_groups",
	.suite_init = iommu_api_start_unit,
	.suite_exit = iommu_api_stop_unit,
	.test_cases = cases,
};
kunit_test_suite(suite);
