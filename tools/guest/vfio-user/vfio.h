/* SPDX-License-Identifier: GPL-2.0 */
/*
 * VFIO containers, groups and devices. The commands on standard input give each
 * of them a short name.
 *
 * Every function returns 0 or a negative errno. A function that fails changes
 * nothing.
 */
#ifndef VFIO_USER_VFIO_H
#define VFIO_USER_VFIO_H

#include <stddef.h>
#include <stdint.h>

#define NAME_LEN	16

struct device;

/* A kind of PCI device that this program can drive. */
struct device_kind {
	const char *name;
	/* The length of the registers, at the start of BAR 0. */
	size_t bar_length;
};

struct device {
	char name[NAME_LEN];
	const struct device_kind *kind;
	int fd;
	volatile uint8_t *bar;
	/* For NVMe: the tail of the submission queue, also the next command identifier. */
	uint16_t tail;
	uint8_t *queues;
};

extern const struct device_kind device_kind_edu;
extern const struct device_kind device_kind_nvme;
extern const struct device_kind device_kind_testdev;

int container_open(const char *name);
/* An iommufd, which the kernel accepts in place of a container. */
int container_open_iommufd(const char *name);
int container_close(const char *name);
int container_set_iommu(const char *name, unsigned long type);
int container_fd(const char *name);

/* Returns 1 if the group is viable, 0 if a kernel driver still uses a device of it. */
int group_open(const char *name, unsigned int number);
int group_close(const char *name);
int group_set_container(const char *name, const char *container);
int group_unset_container(const char *name);

int device_open(const char *name, const char *group, const char *address,
		const struct device_kind *kind);
int device_close(const char *name);
int device_reset(const char *name);
/* Connects the device's first MSI with an eventfd. With -1, switches MSIs off. */
int device_set_msi(struct device *device, int event);
/* Gives the device this many MSI-X vectors, which nobody waits for. With 0, takes them back. */
int device_set_vectors(struct device *device, unsigned int count);
struct device *device_find(const char *name);

#endif
