/* SPDX-License-Identifier: GPL-2.0 */
/* The commands of each emulated device. Each device has its own file. */
#ifndef VFIO_USER_DEVICES_H
#define VFIO_USER_DEVICES_H

#include "vfio.h"

/*
 * edu: reads @length bytes (at most 4096) at @from into the device's buffer, or
 * writes them from this buffer to @to. The device does not report failed DMA.
 */
int edu_read(struct device *device, uint64_t from, uint32_t length);
int edu_write(struct device *device, uint64_t to, uint32_t length);

/* edu: raises an interrupt (MSI), and waits until it arrives. */
/* Has the device raise this many interrupts, one after the other, and counts those that arrive. */
int edu_interrupts(struct device *device, unsigned int count, uint64_t *arrived);

/*
 * NVMe: nvme_start() starts the controller with an admin queue pair in @queues
 * (8192 bytes, mapped at @iova). nvme_identify() lets it write its
 * identification (4096 bytes) to @to. @status gets the 15 status bits of the
 * completion.
 */
int nvme_start(struct device *device, uint8_t *queues, uint64_t iova);
int nvme_identify(struct device *device, uint64_t to, uint16_t *status);
int nvme_stop(struct device *device);

/*
 * iommu-testdev: the device writes a fixed pattern to @to by DMA, and compares
 * the memory at the physical address @physical with it. @result gets the
 * device's result: 0 if they match.
 */
int testdev_run(struct device *device, uint64_t to, uint64_t physical, uint32_t length,
		uint32_t *result);

#endif
