// SPDX-License-Identifier: GPL-2.0
/* Domains: their life, and what is mapped in them. */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/scatterlist.h>

#include "path_bench.h"

/**
 * struct cell - mappings of one kind
 * @name: its name in the output
 * @len: bytes of one mapping
 * @phys: physical address of the first mapping; its alignment decides which
 *	page sizes fit
 * @stride: distance of two mappings, in both address spaces
 * @count: number of mappings
 * @kept: the last page of every 2 MiB stays mapped, so that the tables exist
 *	before and after
 */
struct cell {
	const char *name;
	u64 len;
	u64 phys;
	u64 stride;
	unsigned int count;
	bool kept;
};

static const struct cell cells[] = {
	{ "4K", SZ_4K, SZ_1G, SZ_4K, 500, true },
	{ "64K", SZ_64K, SZ_1G, SZ_64K, 31, true },
	{ "1M of 4K", SZ_1M, SZ_1G + SZ_4K, SZ_2M, 32, true },
	{ "2M of 4K", SZ_2M, SZ_1G + SZ_4K, SZ_2M, 32, false },
	{ "2M page", SZ_2M, SZ_1G, SZ_2M, 400, false },
	{ "64M of 4K", SZ_64M, SZ_1G + SZ_4K, SZ_64M, 4, false },
	{ "64M of 2M", SZ_64M, SZ_1G, SZ_64M, 15, false },
	{ "1G page", SZ_1G, SZ_1G, SZ_1G, 64, false },
	{ "1G of 4K", SZ_1G, SZ_1G + SZ_4K, SZ_1G, 1, false },
};

enum call { MAP, PHYS, UNMAP, CALLS };

static const char *const calls[] = { "map", "iova_to_phys", "unmap" };

static bool right(struct iommu_domain *domain, const struct cell *cell,
		  enum call call, unsigned int i)
{
	u64 iova = BASE + i * cell->stride, phys = cell->phys + i * cell->stride;

	switch (call) {
	case MAP:
		return !iommu_map(domain, iova, phys, cell->len,
				  IOMMU_READ | IOMMU_WRITE, GFP_ATOMIC);
	case PHYS:
		return iommu_iova_to_phys(domain, iova) == phys;
	default:
		return iommu_unmap(domain, iova, cell->len) == cell->len;
	}
}

/* Returns instructions, or 0 after a wrong answer. */
static u64 measure(struct iommu_domain *domain, const struct cell *cell, enum call call)
{
	unsigned int wrong = 0, i;
	unsigned long flags;
	u64 start;

	local_irq_save(flags);
	start = instructions();
	for (i = 0; i < cell->count; i++)
		wrong += !right(domain, cell, call, i);
	start = instructions() - start;
	local_irq_restore(flags);
	cond_resched();
	return wrong ? 0 : start;
}

static int run_cell(struct iommu_domain *domain, const struct cell *cell, const char *what)
{
	u64 end = BASE + cell->count * cell->stride, best[CALLS], iova;
	char name[40];
	int round, call, ret = 0;

	memset(best, 0xff, sizeof(best));
	for (iova = BASE; cell->kept && !ret && iova < end; iova += SZ_2M)
		ret = iommu_map(domain, iova + SZ_2M - SZ_4K, SZ_1G, SZ_4K, IOMMU_READ, GFP_KERNEL);
	for (round = 0; round < ROUNDS && !ret; round++) {
		for (call = 0; call < CALLS; call++) {
			u64 took = measure(domain, cell, call);

			if (!took) {
				pr_err("%s: %s: a wrong answer\n", cell->name, calls[call]);
				ret = -EINVAL;
				break;
			}
			best[call] = min(best[call], took);
		}
	}
	for (iova = BASE; cell->kept && !ret && iova < end; iova += SZ_2M)
		iommu_unmap(domain, iova + SZ_2M - SZ_4K, SZ_4K);
	snprintf(name, sizeof(name), "%s, %s", cell->name, what);
	for (call = 0; call < CALLS && !ret; call++)
		report(name, calls[call], best[call], cell->count);
	return ret;
}

int run_pages(struct iommu_domain *domain, const char *what)
{
	return run_cell(domain, &cells[0], what);
}

static int run_cells(struct iommu_domain *domain, const char *where)
{
	int i, ret;

	/* As it is in use: the upper levels are there. */
	ret = iommu_map(domain, BASE - SZ_2M, SZ_1G, SZ_4K, IOMMU_READ, GFP_KERNEL);
	for (i = 0; i < ARRAY_SIZE(cells) && !ret; i++)
		ret = run_cell(domain, &cells[i], where);
	iommu_unmap(domain, BASE - SZ_2M, SZ_4K);
	return ret;
}

enum life { ALLOC, ATTACH, DETACH, FREE, LIVES };

static const char *const lives[] = { "alloc", "attach", "detach", "free" };

int run_lives(struct device *dev, const char *name)
{
	u64 best[LIVES], took[LIVES];
	int round, i, ret;

	memset(best, 0xff, sizeof(best));
	for (round = 0; round < 8 * ROUNDS; round++) {
		u64 start = instructions();
		struct iommu_domain *domain = iommu_paging_domain_alloc(dev);

		took[ALLOC] = instructions() - start;
		if (IS_ERR(domain))
			return PTR_ERR(domain);
		start = instructions();
		ret = iommu_attach_device(domain, dev);
		took[ATTACH] = instructions() - start;
		if (ret) {
			iommu_domain_free(domain);
			return ret;
		}
		start = instructions();
		iommu_detach_device(domain, dev);
		took[DETACH] = instructions() - start;
		start = instructions();
		iommu_domain_free(domain);
		took[FREE] = instructions() - start;
		for (i = 0; i < LIVES; i++)
			best[i] = min(best[i], took[i]);
		cond_resched();
	}
	for (i = 0; i < LIVES; i++)
		report(name, lives[i], best[i], 1);
	return 0;
}

/* What iommufd calls; drivers/iommu/iommu-priv.h declares them. */
int iommu_attach_group_handle(struct iommu_domain *domain, struct iommu_group *group,
			      struct iommu_attach_handle *handle);
void iommu_detach_group_handle(struct iommu_domain *domain, struct iommu_group *group);
int iommu_replace_group_handle(struct iommu_group *group, struct iommu_domain *new_domain,
			       struct iommu_attach_handle *handle);

/* A group goes from one domain to another and back. */
static int replace(struct iommu_group *group, struct iommu_domain **domain)
{
	struct iommu_attach_handle handle[2] = {{ .domain = domain[0] }, { .domain = domain[1] }};
	u64 best = U64_MAX;
	int round, ret;

	ret = iommu_attach_group_handle(domain[0], group, &handle[0]);
	if (ret)
		return ret;
	for (round = 1; round <= 8 * ROUNDS && !ret; round++) {
		u64 took = instructions();

		ret = iommu_replace_group_handle(group, domain[round & 1], &handle[round & 1]);
		took = instructions() - took;
		best = min(best, took);
		cond_resched();
	}
	if (!ret)
		report("domain", "replace", best, 1);
	/* The number of rounds is even. */
	iommu_detach_group_handle(domain[0], group);
	return ret;
}

static int run_replace(struct device *dev)
{
	struct iommu_group *group = iommu_group_get(dev);
	struct iommu_domain *domain[2];
	int ret = -ENOMEM;

	if (!group)
		return -ENODEV;
	domain[0] = iommu_paging_domain_alloc(dev);
	domain[1] = iommu_paging_domain_alloc(dev);
	if (!IS_ERR(domain[0]) && !IS_ERR(domain[1]))
		ret = replace(group, domain);
	if (!IS_ERR(domain[0]))
		iommu_domain_free(domain[0]);
	if (!IS_ERR(domain[1]))
		iommu_domain_free(domain[1]);
	iommu_group_put(group);
	return ret;
}

#define LIST	64

/* A list of pages, no two of which are next to each other. */
static int map_list(struct iommu_domain *domain, struct scatterlist *list, const char *where)
{
	u64 best[2] = { U64_MAX, U64_MAX }, took;
	size_t len = LIST * PAGE_SIZE;
	unsigned long flags;
	char name[40];
	int round;

	for (round = 0; round < ROUNDS; round++) {
		ssize_t mapped;
		size_t unmapped;

		local_irq_save(flags);
		took = instructions();
		mapped = iommu_map_sg(domain, BASE, list, LIST, IOMMU_READ | IOMMU_WRITE, GFP_ATOMIC);
		took = instructions() - took;
		best[0] = min(best[0], took);
		took = instructions();
		unmapped = iommu_unmap(domain, BASE, len);
		took = instructions() - took;
		best[1] = min(best[1], took);
		local_irq_restore(flags);
		cond_resched();
		if (mapped != len || unmapped != len) {
			pr_err("a list of pages: a wrong answer\n");
			return -EINVAL;
		}
	}
	snprintf(name, sizeof(name), "list of %d, %s", LIST, where);
	report(name, "map_sg", best[0], 1);
	report(name, "unmap", best[1], 1);
	return 0;
}

static int run_list(struct iommu_domain *domain, const char *where)
{
	/* The first of two each. */
	struct page *page[LIST] = {};
	struct scatterlist list[LIST];
	int i, ret = 0;

	sg_init_table(list, LIST);
	for (i = 0; i < LIST && !ret; i++) {
		page[i] = alloc_pages(GFP_KERNEL, 1);
		if (page[i])
			sg_set_page(&list[i], page[i], PAGE_SIZE, 0);
		else
			ret = -ENOMEM;
	}
	/* The tables are there, before and after. */
	ret = ret ?: iommu_map(domain, BASE + SZ_2M - SZ_4K, SZ_1G, SZ_4K, IOMMU_READ, GFP_KERNEL);
	if (!ret) {
		ret = map_list(domain, list, where);
		iommu_unmap(domain, BASE + SZ_2M - SZ_4K, SZ_4K);
	}
	for (i = 0; i < LIST && page[i]; i++)
		__free_pages(page[i], 1);
	return ret;
}

int run_domains(struct device *dev)
{
	struct iommu_domain *domain;
	int ret;

	ret = run_lives(dev, "domain");
	if (!ret)
		ret = run_replace(dev);
	if (ret)
		return ret;
	domain = iommu_paging_domain_alloc(dev);
	if (IS_ERR(domain))
		return PTR_ERR(domain);
	ret = run_cells(domain, "unattached");
	if (!ret)
		ret = iommu_attach_device(domain, dev);
	if (!ret) {
		ret = run_cells(domain, "attached") ?: run_list(domain, "attached");
		iommu_detach_device(domain, dev);
	}
	iommu_domain_free(domain);
	return ret;
}
