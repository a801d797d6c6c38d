// SPDX-License-Identifier: GPL-2.0
/*
 * Measures whole paths through the kernel's IOMMU layer and the driver of the
 * unit, whichever driver that is, by the API that device drivers and VFIO use.
 * The guest counts instructions instead of time, see path_bench.py. Prints
 *
 *	path_bench: <operation>|<call>|<instructions for one call>
 *
 * The best of some rounds counts: a timer interrupt may fall into the others.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/dma-mapping.h>
#include <linux/iommu.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/scatterlist.h>
#include <linux/sizes.h>
#include <linux/slab.h>

#ifdef CONFIG_ARM64
#include <asm/arch_timer.h>
#endif

#define ROUNDS	4
#define BASE	(4ull * SZ_1G)

static char *device;
module_param(device, charp, 0);
MODULE_PARM_DESC(device, "the PCI address of a device that no driver is bound to");

static char *what = "domain";
module_param(what, charp, 0);
MODULE_PARM_DESC(what, "domain: the IOMMU API; dma: the DMA API");

static char *label = "";
module_param(label, charp, 0);
MODULE_PARM_DESC(label, "comes before the names of operations of the DMA API");

/* In nanoseconds of the guest, in each of which it executes one instruction. */
static u64 instructions(void)
{
#ifdef CONFIG_ARM64
	return __arch_counter_get_cntvct() * (NSEC_PER_SEC / arch_timer_get_cntfrq());
#else
	return rdtsc_ordered();
#endif
}

static void report(const char *operation, const char *call, u64 best, unsigned int count)
{
	pr_info("%s%s|%s|%llu\n", label, operation, call, DIV_ROUND_CLOSEST_ULL(best, count));
}

/* --- domains --------------------------------------------------------------- */

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

static int run_cell(struct iommu_domain *domain, const struct cell *cell, const char *where)
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
	snprintf(name, sizeof(name), "%s, %s", cell->name, where);
	for (call = 0; call < CALLS && !ret; call++)
		report(name, calls[call], best[call], cell->count);
	return ret;
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

static int run_lives(struct device *dev)
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
		report("domain", lives[i], best[i], 1);
	return 0;
}

static int run_domains(struct device *dev)
{
	struct iommu_domain *domain;
	int ret;

	ret = run_lives(dev);
	if (ret)
		return ret;
	domain = iommu_paging_domain_alloc(dev);
	if (IS_ERR(domain))
		return PTR_ERR(domain);
	ret = run_cells(domain, "unattached");
	if (!ret)
		ret = iommu_attach_device(domain, dev);
	if (!ret) {
		ret = run_cells(domain, "attached");
		iommu_detach_device(domain, dev);
	}
	iommu_domain_free(domain);
	return ret;
}

/* --- the DMA API ------------------------------------------------------------ */

/* More than a queue of lazy unmaps holds, so that its flushes are counted. */
#define PAGES	1024
#define LIST	64
#define LISTS	(PAGES / LIST)

struct pages {
	/* The first of two each, so that no two are next to each other. */
	struct page *page[PAGES];
	dma_addr_t dma[PAGES];
	struct scatterlist list[LISTS][LIST];
};

static int map_single(struct device *dev, struct pages *pages)
{
	int i, wrong = 0;

	for (i = 0; i < PAGES; i++) {
		pages->dma[i] = dma_map_page(dev, pages->page[i], 0, PAGE_SIZE, DMA_BIDIRECTIONAL);
		wrong += dma_mapping_error(dev, pages->dma[i]) != 0;
	}
	return wrong;
}

static int unmap_single(struct device *dev, struct pages *pages)
{
	int i;

	for (i = 0; i < PAGES; i++)
		dma_unmap_page(dev, pages->dma[i], PAGE_SIZE, DMA_BIDIRECTIONAL);
	return 0;
}

static int map_lists(struct device *dev, struct pages *pages)
{
	int i, wrong = 0;

	for (i = 0; i < LISTS; i++)
		wrong += dma_map_sg(dev, pages->list[i], LIST, DMA_BIDIRECTIONAL) == 0;
	return wrong;
}

static int unmap_lists(struct device *dev, struct pages *pages)
{
	int i;

	for (i = 0; i < LISTS; i++)
		dma_unmap_sg(dev, pages->list[i], LIST, DMA_BIDIRECTIONAL);
	return 0;
}

static const struct {
	const char *operation, *call;
	int (*run)(struct device *dev, struct pages *pages);
	unsigned int count;
} dma[] = {
	{ "dma page", "map", map_single, PAGES },
	{ "dma page", "unmap", unmap_single, PAGES },
	{ "dma list of 64", "map", map_lists, LISTS },
	{ "dma list of 64", "unmap", unmap_lists, LISTS },
};

static int run_dma(struct device *dev)
{
	u64 best[ARRAY_SIZE(dma)];
	struct pages *pages;
	int round, i, ret;

	ret = dma_set_mask_and_coherent(dev, DMA_BIT_MASK(64));
	if (ret)
		return ret;
	pages = kvzalloc(sizeof(*pages), GFP_KERNEL);
	if (!pages)
		return -ENOMEM;
	for (i = 0; i < LISTS; i++)
		sg_init_table(pages->list[i], LIST);
	for (i = 0; i < PAGES; i++) {
		pages->page[i] = alloc_pages(GFP_KERNEL, 1);
		if (!pages->page[i]) {
			ret = -ENOMEM;
			goto out;
		}
		sg_set_page(&pages->list[i / LIST][i % LIST], pages->page[i], PAGE_SIZE, 0);
	}
	memset(best, 0xff, sizeof(best));
	for (round = 0; round < ROUNDS; round++) {
		for (i = 0; i < ARRAY_SIZE(dma); i++) {
			unsigned long flags;
			int wrong;
			u64 took;

			local_irq_save(flags);
			took = instructions();
			wrong = dma[i].run(dev, pages);
			took = instructions() - took;
			local_irq_restore(flags);
			if (wrong) {
				pr_err("%s: %s: %d wrong answers\n", dma[i].operation,
				       dma[i].call, wrong);
				ret = -EINVAL;
				goto out;
			}
			best[i] = min(best[i], took);
			cond_resched();
		}
	}
	for (i = 0; i < ARRAY_SIZE(dma); i++)
		report(dma[i].operation, dma[i].call, best[i], dma[i].count);
out:
	for (i = 0; i < PAGES && pages->page[i]; i++)
		__free_pages(pages->page[i], 1);
	kvfree(pages);
	return ret;
}

static int __init path_bench_init(void)
{
	unsigned int domain, bus, slot, function;
	struct pci_dev *pdev;
	int ret;

	if (!device || sscanf(device, "%x:%x:%x.%x", &domain, &bus, &slot, &function) != 4)
		return -EINVAL;
	pdev = pci_get_domain_bus_and_slot(domain, bus, PCI_DEVFN(slot, function));
	if (!pdev)
		return -ENODEV;
	ret = strcmp(what, "dma") ? run_domains(&pdev->dev) : run_dma(&pdev->dev);
	pci_dev_put(pdev);
	return ret;
}
module_init(path_bench_init);

static void __exit path_bench_exit(void)
{
}
module_exit(path_bench_exit);

MODULE_DESCRIPTION("Whole paths through the IOMMU layer");
MODULE_LICENSE("GPL");
