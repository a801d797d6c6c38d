/* SPDX-License-Identifier: GPL-2.0 */
/* Named buffers: memory of this program that it maps for devices. */
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

/* Buffers are aligned to 2 MiB, so that they can have large pages. */
int buffer_alloc(const char *name, size_t length);
int buffer_free(const char *name);
struct buffer *buffer_find(const char *name);

/* Writes the byte sequence of a seed. */
void pattern_fill(uint8_t *bytes, size_t length, uint32_t seed);
/* The offset of the first byte that differs from the sequence of a seed, or -1. */
long pattern_check(const uint8_t *bytes, size_t length, uint32_t seed);

/* The physical address of an address of this program, or 0. */
uint64_t physical_address(const void *address);

int dma_map(int container, uint64_t vaddr, uint64_t iova, uint64_t size, uint32_t flags);
/* @unmapped gets the number of unmapped bytes. */
int dma_unmap(int container, uint64_t iova, uint64_t size, uint32_t flags, uint64_t *unmapped);

#endif
