// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vfio.h"

#define MAX_OBJECTS	16

struct handle {
	char name[NAME_LEN];
	int fd;
};

static struct handle containers[MAX_OBJECTS];
static struct handle groups[MAX_OBJECTS];
static struct device devices[MAX_OBJECTS];

static struct handle *handle_find(struct handle *table, const char *name)
{
	for (int i = 0; i < MAX_OBJECTS; i++)
		if (table[i].name[0] && !strcmp(table[i].name, name))
			return &table[i];
	return NULL;
}

static int handle_open(struct handle *table, const char *name, const char *path)
{
	int fd;

	if (strlen(name) >= NAME_LEN)
		return -ENAMETOOLONG;
	if (handle_find(table, name))
		return -EEXIST;
	for (int i = 0; i < MAX_OBJECTS; i++) {
		if (table[i].name[0])
			continue;
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			return -errno;
		table[i].fd = fd;
		strcpy(table[i].name, name);
		return 0;
	}
	return -ENOSPC;
}

static int handle_close(struct handle *table, const char *name)
{
	struct handle *handle = handle_find(table, name);
	int ret;

	if (!handle)
		return -ENOENT;
	ret = close(handle->fd) ? -errno : 0;
	handle->name[0] = '\0';
	return ret;
}

static int container_open_at(const char *name, const char *path)
{
	int ret = handle_open(containers, name, path);

	if (ret)
		return ret;
	if (ioctl(container_fd(name), VFIO_GET_API_VERSION) != VFIO_API_VERSION) {
		handle_close(containers, name);
		return -EPROTO;
	}
	return 0;
}

int container_open(const char *name)
{
	return container_open_at(name, "/dev/vfio/vfio");
}

int container_open_iommufd(const char *name)
{
	return container_open_at(name, "/dev/iommu");
}

int container_close(const char *name)
{
	return handle_close(containers, name);
}

int container_fd(const char *name)
{
	struct handle *container = handle_find(containers, name);

	return container ? container->fd : -ENOENT;
}

int container_set_iommu(const char *name, unsigned long type)
{
	int fd = container_fd(name);

	if (fd < 0)
		return fd;
	return ioctl(fd, VFIO_SET_IOMMU, type) ? -errno : 0;
}

int group_open(const char *name, unsigned int number)
{
	struct vfio_group_status status = { .argsz = sizeof(status) };
	char path[32];
	int ret;

	snprintf(path, sizeof(path), "/dev/vfio/%u", number);
	ret = handle_open(groups, name, path);
	if (ret)
		return ret;
	if (ioctl(handle_find(groups, name)->fd, VFIO_GROUP_GET_STATUS, &status)) {
		ret = -errno;
		handle_close(groups, name);
		return ret;
	}
	return !!(status.flags & VFIO_GROUP_FLAGS_VIABLE);
}

int group_close(const char *name)
{
	return handle_close(groups, name);
}

int group_set_container(const char *name, const char *container)
{
	struct handle *group = handle_find(groups, name);
	int fd = container_fd(container);

	if (!group || fd < 0)
		return -ENOENT;
	return ioctl(group->fd, VFIO_GROUP_SET_CONTAINER, &fd) ? -errno : 0;
}

int group_unset_container(const char *name)
{
	struct handle *group = handle_find(groups, name);

	if (!group)
		return -ENOENT;
	return ioctl(group->fd, VFIO_GROUP_UNSET_CONTAINER) ? -errno : 0;
}

struct device *device_find(const char *name)
{
	for (int i = 0; i < MAX_OBJECTS; i++)
		if (devices[i].name[0] && !strcmp(devices[i].name, name))
			return &devices[i];
	return NULL;
}

/* VFIO opens a device with bus mastering off, so the device could not do DMA. */
static int enable_bus_master(int fd)
{
	struct vfio_region_info config = {
		.argsz = sizeof(config),
		.index = VFIO_PCI_CONFIG_REGION_INDEX,
	};
	uint16_t command;
	off_t where;

	if (ioctl(fd, VFIO_DEVICE_GET_REGION_INFO, &config))
		return -errno;
	where = (off_t)config.offset + PCI_COMMAND;
	if (pread(fd, &command, sizeof(command), where) != sizeof(command))
		return -EIO;
	command |= PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	if (pwrite(fd, &command, sizeof(command), where) != sizeof(command))
		return -EIO;
	return 0;
}

static int map_bar0(struct device *device)
{
	struct vfio_region_info bar = {
		.argsz = sizeof(bar),
		.index = VFIO_PCI_BAR0_REGION_INDEX,
	};
	void *address;

	if (ioctl(device->fd, VFIO_DEVICE_GET_REGION_INFO, &bar))
		return -errno;
	if (bar.size < device->kind->bar_length || !(bar.flags & VFIO_REGION_INFO_FLAG_MMAP))
		return -ENXIO;
	address = mmap(NULL, device->kind->bar_length, PROT_READ | PROT_WRITE, MAP_SHARED,
		       device->fd, (off_t)bar.offset);
	if (address == MAP_FAILED)
		return -errno;
	device->bar = address;
	return 0;
}

int device_open(const char *name, const char *group_name, const char *address,
		const struct device_kind *kind)
{
	struct handle *group = handle_find(groups, group_name);
	struct device *device = NULL;
	int ret;

	if (!group)
		return -ENOENT;
	if (strlen(name) >= NAME_LEN)
		return -ENAMETOOLONG;
	if (device_find(name))
		return -EEXIST;
	for (int i = 0; i < MAX_OBJECTS && !device; i++)
		if (!devices[i].name[0])
			device = &devices[i];
	if (!device)
		return -ENOSPC;

	memset(device, 0, sizeof(*device));
	device->kind = kind;
	device->fd = ioctl(group->fd, VFIO_GROUP_GET_DEVICE_FD, address);
	if (device->fd < 0)
		return -errno;
	ret = map_bar0(device);
	if (!ret)
		ret = enable_bus_master(device->fd);
	if (ret) {
		if (device->bar)
			munmap((void *)device->bar, kind->bar_length);
		close(device->fd);
		return ret;
	}
	strcpy(device->name, name);
	return 0;
}

int device_close(const char *name)
{
	struct device *device = device_find(name);

	if (!device)
		return -ENOENT;
	munmap((void *)device->bar, device->kind->bar_length);
	device->name[0] = '\0';
	return close(device->fd) ? -errno : 0;
}

int device_reset(const char *name)
{
	struct device *device = device_find(name);

	if (!device)
		return -ENOENT;
	if (ioctl(device->fd, VFIO_DEVICE_RESET))
		return -errno;
	return enable_bus_master(device->fd);
}

int device_set_msi(struct device *device, int event)
{
	union {
		struct vfio_irq_set set;
		char bytes[sizeof(struct vfio_irq_set) + sizeof(int)];
	} request = {
		.set = {
			.argsz = sizeof(struct vfio_irq_set),
			.flags = VFIO_IRQ_SET_ACTION_TRIGGER | VFIO_IRQ_SET_DATA_NONE,
			.index = VFIO_PCI_MSI_IRQ_INDEX,
		},
	};

	if (event >= 0) {
		request.set.argsz = sizeof(request);
		request.set.flags = VFIO_IRQ_SET_ACTION_TRIGGER | VFIO_IRQ_SET_DATA_EVENTFD;
		request.set.count = 1;
		memcpy(request.set.data, &event, sizeof(event));
	}
	return ioctl(device->fd, VFIO_DEVICE_SET_IRQS, &request) ? -errno : 0;
}

int device_set_vectors(struct device *device, unsigned int count)
{
	struct vfio_irq_set *set;
	size_t size = sizeof(*set) + count * sizeof(int);
	int ret;

	set = calloc(1, size);
	if (!set)
		return -ENOMEM;
	set->argsz = (uint32_t)size;
	set->flags = VFIO_IRQ_SET_ACTION_TRIGGER |
		     (count ? VFIO_IRQ_SET_DATA_EVENTFD : VFIO_IRQ_SET_DATA_NONE);
	set->index = VFIO_PCI_MSIX_IRQ_INDEX;
	set->count = count;
	/* All ones: no eventfd. */
	memset(set->data, 0xff, count * sizeof(int));
	ret = ioctl(device->fd, VFIO_DEVICE_SET_IRQS, set);
	if (ret < 0)
		ret = -errno;
	free(set);
	/* The kernel says how many it could have. */
	return ret > 0 ? -ENOSPC : ret;
}
