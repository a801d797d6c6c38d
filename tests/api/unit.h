/* SPDX-License-Identifier: GPL-2.0 */
/*
 * KUnit suites of the functions of the kernel's IOMMU layer. They use only the declarations of
 * these functions, so they run on the C layer and on the core, and test what drivers may expect of
 * either. They cover functions that the kernel's own suites do not test. If the layers differ on
 * purpose, a case says so: see Documentation/native.md.
 *
 * All suites share one unit in software, on its own bus. The unit stores the last request for each
 * device. Devices and domains that a case creates are removed when the case ends.
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

/* The addresses of the unit's reserved regions. */
#define REGION 0x10000
#define MESSAGES 0xfee00000

/* PASID bits of a device that supports PASIDs; the device reports them as a firmware property. */
#define PASID_BITS 2

struct device_under_test {
	/* Not on the PCI bus, but functions that take a PCI device can be called with it. */
	struct pci_dev function;
	struct device *dev;
	/* How the unit handles the device. */
	bool is_in_the_common_group;
	bool is_deferred;
	int attach_error;
	/* What the layer requested from the unit. */
	struct iommu_domain *attached;
	struct iommu_domain *was_attached;
	struct iommu_domain *said_attached;
	struct iommu_domain *attached_to_pasid;
	int attaches;
};

struct domain_under_test {
	struct iommu_domain domain;
	/* The output page number of each mapped page, by input page number. */
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

/* A device that is not added yet, so that the case can set its properties. */
struct device_under_test *iommu_api_new_device(struct kunit *test, const char *name);
struct device_under_test *iommu_api_new_device_with_pasids(struct kunit *test);
void iommu_api_add_device(struct kunit *test, struct device_under_test *device);
/* Removes the device before the case ends. */
void iommu_api_remove_device(struct kunit *test, struct device_under_test *device);
struct device_under_test *iommu_api_device_of_its_own(struct kunit *test);
void iommu_api_devices_of_one_group(struct kunit *test, struct device_under_test *devices[2]);

struct iommu_group *iommu_api_group_of(struct kunit *test, struct device *dev);
struct iommu_group *iommu_api_new_group(struct kunit *test);
struct iommu_domain *iommu_api_new_domain(struct kunit *test, struct device_under_test *device);

#endif /* IOMMU_API_TEST_UNIT_H */
