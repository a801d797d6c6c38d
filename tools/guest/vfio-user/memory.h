/* SPDX-License-Identifier: GPL-2.0 */
/* Named buffers: memory that this program owns and lets devices reach. */
#ifndef VFIO_USER_MEMORY_H
#define VFIO_USER_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "vfio.h"

struct buffer {
	char name[NAME_LEN];
	uint8_t *start;
	size_t length;
};

/* Buffers are aligned to 2 MiB, so that large pages can be tried. */
int buffer_alloc(const char *name, size_t length);
int buffer_free(const char *name);
struct buffer *buffer_find(const char *name);

/* Writes, or compares with, the byte sequence that belongs to a seed. */
void pattern_fill(uint8_t *bytes, size_t length, uint32_t seed);
/* Offset of the first byte that differs, or -1. */
long pattern_check(const uint8_t *bytes, size_t length, uint32_t seed);

/* Guest physical address behind one of our own addresses, or 0. */
uint64_t physical_address(const void *address);

int dma_map(int container, uint64_t vaddr, uint64_t iova, uint64_t size, uint32_t flags);
/* Bytes unmapped go to @unmapped. */
int dma_unmap(int container, uint64_t iova, uint64_t size, uint32_t flags, uint64_t *unmapped);

#endif
