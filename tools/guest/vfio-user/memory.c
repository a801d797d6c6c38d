// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "memory.h"

#define MAX_BUFFERS	16
#define ALIGNMENT	(2UL << 20)

static struct buffer buffers[MAX_BUFFERS];

struct buffer *buffer_find(const char *name)
{
	for (int i = 0; i < MAX_BUFFERS; i++)
		if (buffers[i].name[0] && !strcmp(buffers[i].name, name))
			return &buffers[i];
	return NULL;
}

int buffer_alloc(const char *name, size_t length)
{
	struct buffer *buffer = NULL;
	uint8_t *window, *start;

	if (strlen(name) >= NAME_LEN)
		return -ENAMETOOLONG;
	if (!length || length > SIZE_MAX - ALIGNMENT)
		return -EINVAL;
	if (buffer_find(name))
		return -EEXIST;
	for (int i = 0; i < MAX_BUFFERS && !buffer; i++)
		if (!buffers[i].name[0])
			buffer = &buffers[i];
	if (!buffer)
		return -ENOSPC;

	/* Reserves enough addresses for an aligned start, and keeps only the aligned part. */
	window = mmap(NULL, length + ALIGNMENT, PROT_NONE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (window == MAP_FAILED)
		return -errno;
	start = (uint8_t *)(((uintptr_t)window + ALIGNMENT - 1) & ~(ALIGNMENT - 1));
	if (mmap(start, length, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) {
		int ret = -errno;

		munmap(window, length + ALIGNMENT);
		return ret;
	}
	if (start > window)
		munmap(window, (size_t)(start - window));
	/* The buffer also works without large pages. */
	madvise(start, length, MADV_HUGEPAGE);
	memset(start, 0, length);
	buffer->start = start;
	buffer->length = length;
	strcpy(buffer->name, name);
	return 0;
}

int buffer_free(const char *name)
{
	struct buffer *buffer = buffer_find(name);

	if (!buffer)
		return -ENOENT;
	munmap(buffer->start, buffer->length);
	buffer->name[0] = '\0';
	return 0;
}

/* xorshift: any two seeds give sequences that differ within a few bytes. */
static uint32_t next(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

void pattern_fill(uint8_t *bytes, size_t length, uint32_t seed)
{
	uint32_t state = seed * 2654435761u | 1;

	for (size_t i = 0; i < length; i++)
		bytes[i] = (uint8_t)next(&state);
}

long pattern_check(const uint8_t *bytes, size_t length, uint32_t seed)
{
	uint32_t state = seed * 2654435761u | 1;

	for (size_t i = 0; i < length; i++)
		if (bytes[i] != (uint8_t)next(&state))
			return (long)i;
	return -1;
}

uint64_t physical_address(const void *address)
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	const uint64_t virt = (uint64_t)(uintptr_t)address;
	uint64_t entry = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	if (pread(fd, &entry, sizeof(entry), (off_t)(virt / page * sizeof(entry))) != sizeof(entry))
		entry = 0;
	close(fd);
	/* Bit 63: present. Bits 54:0: page frame number. */
	if (!(entry >> 63))
		return 0;
	return (entry & ((1ULL << 55) - 1)) * page + virt % page;
}

int dma_map(int container, uint64_t vaddr, uint64_t iova, uint64_t size, uint32_t flags)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = flags,
		.vaddr = vaddr,
		.iova = iova,
		.size = size,
	};

	return ioctl(container, VFIO_IOMMU_MAP_DMA, &map) ? -errno : 0;
}

int dma_unmap(int container, uint64_t iova, uint64_t size, uint32_t flags, uint64_t *unmapped)
{
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap),
		.flags = flags,
		.iova = iova,
		.size = size,
	};

	if (ioctl(container, VFIO_IOMMU_UNMAP_DMA, &unmap))
		return -errno;
	*unmapped = unmap.size;
	return 0;
}
