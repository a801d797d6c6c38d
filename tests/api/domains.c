// SPDX-License-Identifier: GPL-2.0
/*
 * Domains: attach and detach, default domains, and blocking a device while it is reset.
 */

#include <linux/pci-ats.h>

#include "unit.h"

static void a_single_device_is_attached_and_returns_to_its_default(struct kunit *test)
{
	struct device_under_test *device = iommu_api_device_of_its_own(test);
	struct iommu_domain *domain = iommu_api_new_domain(test, device);

	KUNIT_EXPECT_EQ(test, domain->type, IOMMU_DOMAIN_UNMANAGED);
	KUNIT_EXPECT_PTR_EQ(test, iommu_get_domain_for_dev(device->dev), &iommu_api_identity);
	KUNIT_ASSERT_EQ(test, iommu_attach_device(domain, device->dev), 0);
	KUNIT_EXPECT_PTR_EQ(test, device->attached, domain);
	KUNIT_EXPECT_PTR_EQ(test, iommu_get_domain_for_dev(device->dev), domain);
	/* The two ways to get the domain that the device leaves. */
	KUNIT_EXPECT_PTR_EQ(test, device->was_attached, &iommu_api_identity);
	KUNIT_EXPECT_PTR_EQ(test, device->said_attached, &iommu_api_identity);
	/* The DMA API's domain does not change. */
	KUNIT_EXPECT_PTR_EQ(test, iommu_get_dma_domain(device->dev), &iommu_api_identity);
	KUNIT_EXPECT_PTR_EQ(test, iommu_group_default_domain(device->dev->iommu_group),
			    &iommu_api_identity);
	iommu_detach_device(domain, device->dev);
	KUNIT_EXPECT_PTR_EQ(test, device->attached, &iommu_api_identity);
	KUNIT_EXPECT_PTR_EQ(test, iommu_get_domain_for_dev(device->dev), &iommu_api_identity);
}

static void a_device_cannot_be_attached_without_the_rest_of_its_group(struct kunit *test)
{
	struct device_under_test *devices[2];
	struct iommu_domain *domain;

	iommu_api_devices_of_one_group(test, devices);
	domain = iommu_api_new_domain(test, devices[0]);
	KUNIT_EXPECT_EQ(test, iommu_attach_device(domain, devices[0]->dev), -EINVAL);
	KUNIT_EXPECT_PTR_EQ(test, devices[0]->attached, &iommu_api_identity);
}

static void a_group_is_attached_to_one_domain_at_a_time(struct kunit *test)
{
	struct device_under_test *devices[2];
	struct iommu_domain *domain, *other;
	struct iommu_group *group;

	iommu_api_devices_of_one_group(test, devices);
	domain = iommu_api_new_domain(test, devices[0]);
	other = iommu_api_new_domain(test, devices[0]);
	group = iommu_api_group_of(test, devices[0]->dev);
	KUNIT_ASSERT_EQ(test, iommu_attach_group(domain, group), 0);
	KUNIT_EXPECT_EQ(test, iommu_attach_group(other, group), -EBUSY);
	for (int i = 0; i < 2; i++)
		KUNIT_EXPECT_PTR_EQ(test, devices[i]->attached, domain);
	iommu_detach_group(domain, group);
	for (int i = 0; i < 2; i++)
		KUNIT_EXPECT_PTR_EQ(test, devices[i]->attached, &iommu_api_identity);
	KUNIT_ASSERT_EQ(test, iommu_attach_group(other, group), 0);
	iommu_detach_group(other, group);
}

static void attaching_the_current_domain_does_nothing(struct kunit *test)
{
	struct device_under_test *device = iommu_api_device_of_its_own(test);
	struct iommu_domain *domain = iommu_api_new_domain(test, device);
	struct iommu_group *group = iommu_api_group_of(test, device->dev);
	int wanted = IS_CORE ? 0 : -EBUSY, before;

	KUNIT_ASSERT_EQ(test, iommu_attach_group(domain, group), 0);
	before = device->attaches;
	KUNIT_EXPECT_EQ(test, iommu_attach_group(domain, group), wanted);
	KUNIT_EXPECT_EQ(test, iommu_attach_device(domain, device->dev), wanted);
	KUNIT_EXPECT_EQ(test, device->attaches, before);
	iommu_detach_group(domain, group);
}

static void a_failed_attach_leaves_every_device_attached_as_before(struct kunit *test)
{
	struct device_under_test *devices[2];
	struct iommu_domain *domain;
	struct iommu_group *group;

	iommu_api_devices_of_one_group(test, devices);
	domain = iommu_api_new_domain(test, devices[0]);
	group = iommu_api_group_of(test, devices[0]->dev);
	for (int i = 0; i < 2; i++) {
		devices[i]->attach_error = -ENOSPC;
		KUNIT_EXPECT_EQ(test, iommu_attach_group(domain, group), -ENOSPC);
		devices[i]->attach_error = 0;
		for (int j = 0; j < 2; j++)
			KUNIT_EXPECT_PTR_EQ(test, devices[j]->attached, &iommu_api_identity);
	}
	KUNIT_EXPECT_PTR_EQ(test, iommu_get_domain_for_dev(devices[0]->dev), &iommu_api_identity);
}

static void a_domain_freed_while_attached_lives_until_the_detach(struct kunit *test)
{
	struct device_under_test *device = iommu_api_device_of_its_own(test);
	struct iommu_domain *domain;
	struct iommu_group *group = iommu_api_group_of(test, device->dev);
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
	struct device_under_test *device = iommu_api_new_device_with_pasids(test);
	struct pci_dev *function = &device->function;
	struct iommu_domain *domain, *other;
	struct iommu_group *group;
	ioasid_t pasid = 1;

	/* At any offset: only devices with ATS are blocked, to protect them from invalidations. */
	function->ats_cap = 1;
	iommu_api_add_device(test, device);
	domain = iommu_api_new_domain(test, device);
	other = iommu_api_new_domain(test, device);
	group = iommu_api_group_of(test, device->dev);
	KUNIT_ASSERT_EQ(test, iommu_attach_group(domain, group), 0);
	KUNIT_ASSERT_EQ(test, iommu_attach_device_pasid(other, device->dev, pasid, NULL), 0);
	KUNIT_EXPECT_PTR_EQ(test, device->attached_to_pasid, other);

	KUNIT_EXPECT_EQ(test, pci_dev_reset_iommu_prepare(function), 0);
	KUNIT_EXPECT_PTR_EQ(test, device->attached, &iommu_api_blocked);
	KUNIT_EXPECT_PTR_EQ(test, device->attached_to_pasid, &iommu_api_blocked);
	/* The group stays attached to its domain. */
	KUNIT_EXPECT_PTR_EQ(test, iommu_get_domain_for_dev(device->dev), domain);
	KUNIT_EXPECT_EQ(test, iommu_attach_device_pasid(other, device->dev, pasid + 1, NULL),
			-EBUSY);

	/* The end of a nested reset does not end the outer one. */
	KUNIT_EXPECT_EQ(test, pci_dev_reset_iommu_prepare(function), 0);
	pci_dev_reset_iommu_done(function);
	KUNIT_EXPECT_PTR_EQ(test, device->attached, &iommu_api_blocked);

	pci_dev_reset_iommu_done(function);
	KUNIT_EXPECT_PTR_EQ(test, device->attached, domain);
	KUNIT_EXPECT_PTR_EQ(test, device->was_attached, &iommu_api_blocked);
	KUNIT_EXPECT_PTR_EQ(test, device->said_attached, &iommu_api_blocked);
	KUNIT_EXPECT_PTR_EQ(test, device->attached_to_pasid, other);

	iommu_detach_device_pasid(other, device->dev, pasid);
	KUNIT_EXPECT_PTR_EQ(test, device->attached_to_pasid, &iommu_api_blocked);
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

static void a_fault_handler_of_a_domain_is_called(struct kunit *test)
{
	struct device_under_test *device = iommu_api_device_of_its_own(test);
	struct iommu_domain *domain = iommu_api_new_domain(test, device);
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

static void the_driver_sets_page_table_quirks(struct kunit *test)
{
	struct device_under_test *device = iommu_api_device_of_its_own(test);
	struct iommu_domain *domain = iommu_api_new_domain(test, device);

	KUNIT_EXPECT_EQ(test, iommu_set_pgtable_quirks(domain, 5), 0);
	KUNIT_EXPECT_EQ(test, domain_of(domain)->quirks, 5);
	KUNIT_EXPECT_EQ(test, iommu_set_pgtable_quirks(&iommu_api_identity, 5), -EINVAL);
}

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
	KUNIT_CASE(a_single_device_is_attached_and_returns_to_its_default),
	KUNIT_CASE(a_device_cannot_be_attached_without_the_rest_of_its_group),
	KUNIT_CASE(a_group_is_attached_to_one_domain_at_a_time),
	KUNIT_CASE(attaching_the_current_domain_does_nothing),
	KUNIT_CASE(a_failed_attach_leaves_every_device_attached_as_before),
	KUNIT_CASE(a_domain_freed_while_attached_lives_until_the_detach),
#ifdef CONFIG_PCI_ATS
	KUNIT_CASE(a_device_is_blocked_while_it_is_reset),
#endif
	KUNIT_CASE(a_fault_handler_of_a_domain_is_called),
	KUNIT_CASE(the_driver_sets_page_table_quirks),
	KUNIT_CASE(passthrough_can_be_made_the_default),
	{}
};

static struct kunit_suite suite = {
	.name = "iommu_api_domains",
	.suite_init = iommu_api_start_unit,
	.suite_exit = iommu_api_stop_unit,
	.test_cases = cases,
};
kunit_test_suite(suite);
