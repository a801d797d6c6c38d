// SPDX-License-Identifier: GPL-2.0
/* QEMU's iommu-testdev; its registers are in QEMU's docs/specs/iommu-testdev.rst. */
#include <errno.h>

#include "devices.h"
#include "registers.h"

#define TESTDEV_TRIGGER		0x00
#define TESTDEV_IOVA_LOW	0x04
#define TESTDEV_IOVA_HIGH	0x08
#define TESTDEV_LENGTH		0x0c
#define TESTDEV_RESULT		0x10
#define TESTDEV_DOORBELL	0x14
#define TESTDEV_PHYSICAL_LOW	0x1c
#define TESTDEV_PHYSICAL_HIGH	0x20
#define TESTDEV_ARM		0x1

const struct device_kind device_kind_testdev = {
	.name = "testdev",
	.bar_length = 4096,
};

int testdev_run(struct device *device, uint64_t to, uint64_t physical, uint32_t length,
		uint32_t *result)
{
	if (device->kind != &device_kind_testdev)
		return -ENODEV;
	write32(device, TESTDEV_IOVA_LOW, (uint32_t)to);
	write32(device, TESTDEV_IOVA_HIGH, (uint32_t)(to >> 32));
	write32(device, TESTDEV_PHYSICAL_LOW, (uint32_t)physical);
	write32(device, TESTDEV_PHYSICAL_HIGH, (uint32_t)(physical >> 32));
	write32(device, TESTDEV_LENGTH, length);
	write32(device, TESTDEV_DOORBELL, TESTDEV_ARM);
	/* The device does the DMA before it answers this read. */
	read32(device, TESTDEV_TRIGGER);
	*result = read32(device, TESTDEV_RESULT);
	return 0;
}
