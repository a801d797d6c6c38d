/* SPDX-License-Identifier: GPL-2.0 */
#ifndef PATH_BENCH_H
#define PATH_BENCH_H

#include <linux/iommu.h>
#include <linux/sizes.h>

#define ROUNDS	4
#define BASE	(4ull * SZ_1G)

/**
 * struct endpoints - the devices that the measurements use
 * @device: the first is the one that the user has named, the others are alike
 * @count: how many there are
 */
struct endpoints {
	struct device *device[64];
	unsigned int count;
};

/* In nanoseconds of the guest, in each of which it executes one instruction. */
u64 instructions(void);

/* Prints a figure: @best is that of @count calls. */
void report(const char *operation, const char *call, u64 best, unsigned int count);

/* The costs of one page of 4 KiB in @domain. */
int run_pages(struct iommu_domain *domain, const char *what);

/* What it takes to allocate a domain, to attach @dev to it and back, and to free it. */
int run_lives(struct device *dev, const char *name);

int run_domains(struct device *dev);
int run_dma(struct device *dev);
int run_growth(const struct endpoints *endpoints);
int run_commands(const struct endpoints *endpoints);

/* The module parameter `once` makes calls with @device, which stays as long as the module. */
int prepare_once(struct device *device);

#endif
