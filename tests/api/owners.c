// SPDX-License-Identifier: GPL-2.0
/*
 * DMA ownership: which owner or drivers may do DMA with a group.
 */

#include "unit.h"

static void a_claim_excludes_other_owners_and_drivers(struct kunit *test)
{
	struct device_under_test *device = iommu_api_device_of_its_own(test);
	struct iommu_group *group = iommu_api_group_of(test, device->dev);
	int one, another;

	KUNIT_EXPECT_FALSE(test, iommu_group_dma_owner_claimed(group));
	KUNIT_ASSERT_EQ(test, iommu_group_claim_dma_owner(group, &one), 0);
	KUNIT_EXPECT_TRUE(test, iommu_group_dma_owner_claimed(group));
	KUNIT_EXPECT_PTR_EQ(test, device->attached, &iommu_api_blocked);
	KUNIT_EXPECT_EQ(test, iommu_group_claim_dma_owner(group, &another), -EPERM);
	KUNIT_EXPECT_EQ(test, iommu_device_claim_dma_owner(device->dev, &another), -EPERM);
	KUNIT_EXPECT_EQ(test, iommu_device_use_default_domain(device->dev), -EBUSY);
	iommu_group_release_dma_owner(group);
	KUNIT_EXPECT_FALSE(test, iommu_group_dma_owner_claimed(group));
	KUNIT_EXPECT_PTR_EQ(test, device->attached, &iommu_api_identity);
}

static void one_owner_may_claim_each_device_of_a_group(struct kunit *test)
{
	struct device_under_test *devices[2];
	struct iommu_group *group;
	int owner;

	iommu_api_devices_of_one_group(test, devices);
	group = iommu_api_group_of(test, devices[0]->dev);
	for (int i = 0; i < 2; i++)
		KUNIT_ASSERT_EQ(test, iommu_device_claim_dma_owner(devices[i]->dev, &owner), 0);
	iommu_device_release_dma_owner(devices[0]->dev);
	KUNIT_EXPECT_TRUE(test, iommu_group_dma_owner_claimed(group));
	KUNIT_EXPECT_PTR_EQ(test, devices[0]->attached, &iommu_api_blocked);
	iommu_device_release_dma_owner(devices[1]->dev);
	KUNIT_EXPECT_FALSE(test, iommu_group_dma_owner_claimed(group));
	KUNIT_EXPECT_PTR_EQ(test, devices[0]->attached, &iommu_api_identity);
}

static void drivers_that_use_the_DMA_API_exclude_owners(struct kunit *test)
{
	struct device_under_test *devices[2];
	struct iommu_group *group;
	int owner;

	iommu_api_devices_of_one_group(test, devices);
	group = iommu_api_group_of(test, devices[0]->dev);
	for (int i = 0; i < 2; i++)
		KUNIT_ASSERT_EQ(test, iommu_device_use_default_domain(devices[i]->dev), 0);
	iommu_device_unuse_default_domain(devices[0]->dev);
	KUNIT_EXPECT_EQ(test, iommu_group_claim_dma_owner(group, &owner), -EPERM);
	KUNIT_EXPECT_EQ(test, iommu_device_claim_dma_owner(devices[0]->dev, &owner), -EPERM);
	iommu_device_unuse_default_domain(devices[1]->dev);
	KUNIT_ASSERT_EQ(test, iommu_group_claim_dma_owner(group, &owner), 0);
	iommu_group_release_dma_owner(group);
}

static struct kunit_case cases[] = {
	KUNIT_CASE(a_claim_excludes_other_owners_and_drivers),
	KUNIT_CASE(one_owner_may_claim_each_device_of_a_group),
	KUNIT_CASE(drivers_that_use_the_DMA_API_exclude_owners),
	{}
};

static struct kunit_suite suite = {
	.name = "iommu_api_owners",
	.suite_init = iommu_api_start_unit,
	.suite_exit = iommu_api_stop_unit,
	.test_cases = cases,
};
kunit_test_suite(suite);
