// SPDX-License-Identifier: GPL-2.0
/*
 * One call, between two calls of path_bench_mark(), for a trace of all
 * instructions (see path_profile.py).
 */

#include <linux/module.h>

#include "path_bench.h"

static struct device *dev;
static struct iommu_domain *domain;

noinline void path_bench_mark(void)
{
	asm volatile("");
}

static int allocate(void)
{
	domain = iommu_paging_domain_alloc(dev);
	return PTR_ERR_OR_ZERO(domain);
}

static int attach(void)
{
	return iommu_attach_device(domain, dev);
}

static int detach(void)
{
	iommu_detach_device(domain, dev);
	return 0;
}

static int release(void)
{
	iommu_domain_free(domain);
	return 0;
}

static int map(void)
{
	return iommu_map(domain, BASE, SZ_1G, SZ_4K, IOMMU_READ | IOMMU_WRITE, GFP_ATOMIC);
}

static int unmap(void)
{
	return iommu_unmap(domain, BASE, SZ_4K) == SZ_4K ? 0 : -EINVAL;
}

/* The next page, so that the tables stay. */
static int keep_tables(void)
{
	return iommu_map(domain, BASE + SZ_4K, SZ_1G, SZ_4K, IOMMU_READ, GFP_KERNEL);
}

typedef int (*step_fn)(void);

/* Each ends as it has begun. */
static const struct {
	const char *name;
	step_fn steps[8];
	unsigned int traced;
} calls[] = {
	{ "alloc", { allocate, release }, 0 },
	{ "attach", { allocate, attach, detach, release }, 1 },
	{ "detach", { allocate, attach, detach, release }, 2 },
	{ "free", { allocate, attach, detach, release }, 3 },
	{ "map", { allocate, attach, keep_tables, map, unmap, detach, release }, 3 },
	{ "unmap", { allocate, attach, keep_tables, map, unmap, detach, release }, 4 },
};

static int run_call(unsigned int call, bool is_traced)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; calls[call].steps[i] && !ret; i++) {
		bool mark = is_traced && i == calls[call].traced;

		if (mark)
			path_bench_mark();
		ret = calls[call].steps[i]();
		if (mark)
			path_bench_mark();
	}
	return ret;
}

static int once_set(const char *name, const struct kernel_param *param)
{
	unsigned int call, round;
	int ret = 0;

	if (!dev)
		return -ENODEV;
	for (call = 0; call < ARRAY_SIZE(calls); call++) {
		if (!sysfs_streq(calls[call].name, name))
			continue;
		/* As it is in use: the allocator has memory of each size at hand. */
		for (round = 0; round < ROUNDS && !ret; round++)
			ret = run_call(call, round == ROUNDS - 1);
		return ret;
	}
	return -EINVAL;
}

static const struct kernel_param_ops once_ops = { .set = once_set };
module_param_cb(once, &once_ops, NULL, 0200);
MODULE_PARM_DESC(once, "makes a call some times: alloc, attach, detach, free, map or unmap");

int prepare_once(struct device *device)
{
	dev = device;
	return 0;
}
