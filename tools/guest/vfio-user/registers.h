/* SPDX-License-Identifier: GPL-2.0 */
/* Little-endian device registers in a mapped BAR (this program is for x86 and Arm LE). */
#ifndef VFIO_USER_REGISTERS_H
#define VFIO_USER_REGISTERS_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "vfio.h"

static inline uint32_t read32(const struct device *device, unsigned int offset)
{
	return *(volatile uint32_t *)(device->bar + offset);
}

static inline void write32(const struct device *device, unsigned int offset, uint32_t value)
{
	*(volatile uint32_t *)(device->bar + offset) = value;
}

static inline uint64_t read64(const struct device *device, unsigned int offset)
{
	return *(volatile uint64_t *)(device->bar + offset);
}

static inline void write64(const struct device *device, unsigned int offset, uint64_t value)
{
	*(volatile uint64_t *)(device->bar + offset) = value;
}

/* One step of a polling loop: sleeps for a millisecond. Returns false after @tries calls. */
static inline bool poll_again(unsigned int *tries)
{
	const struct timespec pause = { .tv_nsec = 1000000 };

	if (!*tries)
		return false;
	--*tries;
	nanosleep(&pause, NULL);
	return true;
}

#endif
