// SPDX-License-Identifier: GPL-2.0
/* What the costs are with more mappings, domains, and endpoints, and how much memory it takes. */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/vmstat.h>

#include "path_bench.h"

/* Where mappings lie that are only there. */
#define FILL	(16ull * SZ_1G)
/* Not aligned to more than a page, so that pages of 4 KiB are needed. */
#define ODD	(SZ_1G + SZ_4K)

static const unsigned int mappings[] = { 1, 1000, 1000000 };
static const unsigned int domains[] = { 1, 10, 100, 1000 };
static const unsigned int attached_endpoints[] = { 1, 8, 64 };

static int map(struct iommu_domain *domain, u64 iova, u64 phys, u64 len)
{
	return iommu_map(domain, iova, phys, len, IOMMU_READ | IOMMU_WRITE, GFP_KERNEL);
}

static int with_mappings(struct device *dev)
{
	struct iommu_domain *domain = iommu_paging_domain_alloc(dev);
	u64 done = 0;
	char name[32];
	int i, ret;

	if (IS_ERR(domain))
		return PTR_ERR(domain);
	ret = iommu_attach_device(domain, dev);
	if (ret)
		goto free;
	for (i = 0; i < ARRAY_SIZE(mappings) && !ret; i++) {
		u64 end = mappings[i] * (u64)SZ_4K;

		ret = map(domain, FILL + done, ODD + done, end - done);
		if (ret)
			break;
		done = end;
		snprintf(name, sizeof(name), "%u mappings", mappings[i]);
		ret = run_pages(domain, name);
	}
	if (done)
		iommu_unmap(domain, FILL, done);
	iommu_detach_device(domain, dev);
free:
	iommu_domain_free(domain);
	return ret;
}

static int with_endpoints(const struct endpoints *all)
{
	struct iommu_domain *domain = iommu_paging_domain_alloc(all->device[0]);
	unsigned int attached = 0;
	char name[32];
	int i, ret = 0;

	if (IS_ERR(domain))
		return PTR_ERR(domain);
	for (i = 0; i < ARRAY_SIZE(attached_endpoints) && !ret; i++) {
		if (attached_endpoints[i] > all->count) {
			ret = -ENODEV;
			break;
		}
		while (attached < attached_endpoints[i]) {
			ret = iommu_attach_device(domain, all->device[attached]);
			if (ret)
				break;
			attached++;
		}
		snprintf(name, sizeof(name), "%u endpoints", attached_endpoints[i]);
		ret = ret ?: run_pages(domain, name);
	}
	while (attached--)
		iommu_detach_device(domain, all->device[attached]);
	iommu_domain_free(domain);
	return ret;
}

/* What page tables take now. Both kinds of driver allocate them as the kernel's IOMMU layer does. */
static u64 tables(void)
{
	return global_node_page_state_pages(NR_IOMMU_PAGES) * PAGE_SIZE;
}

/* What the kernel's other objects take now. */
static u64 objects(void)
{
	return global_node_page_state_pages(NR_SLAB_UNRECLAIMABLE_B) * PAGE_SIZE;
}

static int with_domains(struct device *dev)
{
	unsigned int most = domains[ARRAY_SIZE(domains) - 1], count = 0;
	struct iommu_domain **domain = kcalloc(most, sizeof(*domain), GFP_KERNEL);
	u64 before = tables() + objects();
	char name[32];
	int i, ret = 0;

	if (!domain)
		return -ENOMEM;
	for (i = 0; i < ARRAY_SIZE(domains) && !ret; i++) {
		/* One more is allocated by what follows. */
		while (count < domains[i] - 1) {
			domain[count] = iommu_paging_domain_alloc(dev);
			if (IS_ERR(domain[count])) {
				ret = PTR_ERR(domain[count]);
				goto out;
			}
			count++;
		}
		snprintf(name, sizeof(name), "life, %u domains", domains[i]);
		ret = run_lives(dev, name);
	}
	if (!ret)
		report("memory", "bytes for a domain", tables() + objects() - before, count);
out:
	while (count--)
		iommu_domain_free(domain[count]);
	kfree(domain);
	return ret;
}

/**
 * struct fill - what is mapped to see how much memory it takes
 * @name: its name in the output
 * @phys: the alignment decides which page sizes fit
 * @chunk: bytes that one call maps
 * @chunks: how many of them a domain gets
 * @domains: how many domains; the more, the less other allocations matter
 */
struct fill {
	const char *name;
	u64 phys, chunk;
	unsigned int chunks, domains;
};

static const struct fill fills[] = {
	{ "bytes for 1G of 4K", ODD, SZ_1G, 4, 4 },
	{ "bytes for 1G of 2M", SZ_1G + SZ_2M, 32ull * SZ_1G, 12, 16 },
};

/* Sets @best to what it takes, if that is less. The counts of the first round lag behind. */
static int fill(struct device *dev, const struct fill *fill, u64 *best)
{
	unsigned int i, chunk, count = 0;
	struct iommu_domain *domain[16];
	u64 before;
	int ret = 0;

	while (count < fill->domains) {
		domain[count] = iommu_paging_domain_alloc(dev);
		if (IS_ERR(domain[count])) {
			ret = PTR_ERR(domain[count]);
			goto out;
		}
		count++;
	}
	before = tables();
	for (i = 0; i < count; i++)
		for (chunk = 0; chunk < fill->chunks && !ret; chunk++)
			ret = map(domain[i], FILL + chunk * fill->chunk, fill->phys, fill->chunk);
	if (!ret)
		*best = min(*best, tables() - before);
	for (i = 0; i < count; i++)
		iommu_unmap(domain[i], FILL, fill->chunks * fill->chunk);
out:
	while (count--)
		iommu_domain_free(domain[count]);
	return ret;
}

static int with_fill(struct device *dev, const struct fill *what)
{
	u64 best = U64_MAX, chunks = what->domains * what->chunks;
	int round, ret = 0;

	for (round = 0; round < ROUNDS && !ret; round++)
		ret = fill(dev, what, &best);
	if (!ret)
		report("memory", what->name, best, chunks * (what->chunk / SZ_1G));
	return ret;
}

int run_growth(const struct endpoints *endpoints)
{
	struct device *dev = endpoints->device[0];
	int i, ret = with_mappings(dev);

	if (!ret)
		ret = with_domains(dev);
	for (i = 0; i < ARRAY_SIZE(fills) && !ret; i++)
		ret = with_fill(dev, &fills[i]);
	if (!ret)
		ret = with_endpoints(endpoints);
	return ret;
}
