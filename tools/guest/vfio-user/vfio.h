/* SPDX-License-Identifier: GPL-2.0 */
/*
 * VFIO containers, groups and devices, each known by a short name that the
 * person (or script) on standard input chose for it.
 *
 * Every function returns 0 or a negative errno and leaves nothing half-done.
 */
#ifndef VFIO_USER_VFIO_H
#define VFIO_USER_VFIO_H

#include <stddef.h>
#include <stdint.h>

#define NAME_LEN	16

struct device;

/* What one kind of PCI device can be told to do. */
struct device_kind {
	const char *name;
	/* Offset and length of the registers in BAR 0 that are needed. */
	size_t bar_length;
};

struct device {
	char name[NAME_LEN];
	const struct device_kind *kind;
	int fd;
	volatile uint8_t *bar;
	/* Submission queue tail and command identifiers, for NVMe. */
	uint16_t tail;
	uint8_t *queues;
};

extern const struct device_kind device_kind_edu;
extern const struct device_kind device_kind_nvme;
extern const struct device_kind device_kind_testdev;

int container_open(const char *name);
/* An iommufd, which the kernel lets stand in for a container. */
int container_open_iommufd(const char *name);
int container_close(const char *name);
int container_set_iommu(const char *name, unsigned long type);
int container_fd(const char *name);

/* 1 when the group may be used, 0 when a kernel driver still has part of it. */
int group_open(const char *name, unsigned int number);
int group_close(const char *name);
int group_set_container(const char *name, const char *container);
int group_unset_container(const char *name);

int device_open(const char *name, const char *group, const char *address,
		const struct device_kind *kind);
int device_close(const char *name);
int device_reset(const char *name);
/* Has the device's first message signalled to an eventfd; with -1 messages are off again. */
int device_set_msi(struct device *device, int event);
struct device *device_find(const char *name);

#endif
