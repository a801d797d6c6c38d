/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What drivers may expect of the kernel's IOMMU layer, C's or the core: suites for both, written
 * against the declarations of the functions alone. They are about those that the kernel's own
 * suites do not get to. Where the layers differ on purpose a case says so: see
 * Documentation/native.md.
 *
 * All suites have the same unit, which is made of memory and has a bus of its own. It keeps what it
 * was last told of each device. What a case makes behind it goes with the case.
 */
#ifndef IOMMU_API_TEST_UNIT_H
#define IOMMU_API_TEST_UNIT_H

#include <kunit/test.h>
#include <linux/container_of.h>
#include <linux/device.h>
#include <linux/iommu.h>
#include <linux/pci.h>
#include <linux/xarray.h>

#define IS_CORE IS_ENABLED(CONFIG_IOMMU_CORE_NATIVE)

/* Where the unit's reserved regions are. */
#define REGION 0x10000
#define MESSAGES 0xfee00000

/* Bits of the PASIDs of a device that has some. It tells as devices of firmware do. */
#define PASID_BITS 2

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

static inline struct device_under_test *under_test(struct device *dev)
{
	return container_of(dev, struct device_under_test, function.dev);
}

static inline struct domain_under_test *domain_of(struct iommu_domain *domain)
{
	return container_of(domain, struct domain_under_test, domain);
}

extern struct iommu_domain iommu_api_identity, iommu_api_blocked;
extern const struct iommu_ops iommu_api_ops;
extern struct iommu_device iommu_api_unit;

int iommu_api_start_unit(struct kunit_suite *suite);
void iommu_api_stop_unit(struct kunit_suite *suite);

/* A device that is not there yet, for a case to say what it is like. */
struct device_under_test *iommu_api_new_device(struct kunit *test, const char *name);
struct device_under_test *iommu_api_new_device_with_pasids(struct kunit *test);
void iommu_api_add_device(struct kunit *test, struct device_under_test *device);
/* Before the case is over. */
void iommu_api_remove_device(struct kunit *test, struct device_under_test *device);
struct device_under_test *iommu_api_device_of_its_own(struct kunit *test);
void iommu_api_devices_of_one_group(struct kunit *test, struct device_under_test *devices[2]);

struct iommu_group *iommu_api_group_of(struct kunit *test, struct device *dev);
struct iommu_group *iommu_api_new_group(struct kunit *test);
struct iommu_domain *iommu_api_new_domain(struct kunit *test, struct device_under_test *device);

#endif /* IOMMU_API_TEST_UNIT_H */
