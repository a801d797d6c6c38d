// SPDX-License-Identifier: GPL-2.0
/* The DMA API. */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/dma-mapping.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>

#include "path_bench.h"

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

int run_dma(struct device *dev)
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
