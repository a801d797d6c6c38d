/* SPDX-License-Identifier: GPL-2.0 */
/* What the emulated devices can be told to do, one file a device. */
#ifndef VFIO_USER_DEVICES_H
#define VFIO_USER_DEVICES_H

#include "vfio.h"

/*
 * edu: reads @length bytes (at most 4096) at @from into its own buffer, or
 * writes them from there to @to. It does not know whether the DMA went through.
 */
int edu_read(struct device *device, uint64_t from, uint32_t length);
int edu_write(struct device *device, uint64_t to, uint32_t length);

/* edu: sends a message that signals an interrupt, and waits until it is there. */
int edu_interrupt(struct device *device);

/*
 * NVMe: starts the controller with an admin queue pair in @queues (8192
 * bytes, which devices see at @iova), and asks it to write its identification
 * (4096 bytes) to @to. @status gets the 15 status bits of the completion.
 */
int nvme_start(struct device *device, uint8_t *queues, uint64_t iova);
int nvme_identify(struct device *device, uint64_t to, uint16_t *status);
int nvme_stop(struct device *device);

/*
 * iommu-testdev: writes its fixed pattern to @to and reads it back from guest
 * physical memory at @physical. @result gets its verdict, 0 for a match.
 */
int testdev_run(struct device *device, uint64_t to, uint64_t physical, uint32_t length,
		uint32_t *result);

#endif
