// SPDX-License-Identifier: GPL-2.0
/*
 * Measures the page tables of the kernel's generic_pt and of this tree in one
 * boot: the same calls in turn, and the best of some rounds. Prints lines from
 * which bench.py makes a table:
 *
 *	pgtable_bench: <format>|<cell>|<what>|<ticks in C>|<ticks in Rust>
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/generic_pt/common.h>
#include <linux/generic_pt/iommu.h>
#include <linux/iommu.h>
#include <linux/module.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

#include "bench.h"

#define ROUNDS		4
#define PHYS_BITS	52

/* Exported by the kernel; the header is private to its IOMMU code. */
void iommu_put_pages_list(struct iommu_pages_list *list);

/* --- generic_pt ---------------------------------------------------------- */

static u64 c_map(struct pt_iommu *pt, u64 iova, u64 phys, u64 len)
{
	size_t mapped = 0;

	pt->ops->map_range(pt, iova, phys, len, IOMMU_READ | IOMMU_WRITE,
			   GFP_KERNEL, &mapped);
	return mapped;
}

static u64 c_unmap(struct pt_iommu *pt, u64 iova, u64 len)
{
	struct iommu_iotlb_gather gather;
	u64 unmapped;

	iommu_iotlb_gather_init(&gather);
	unmapped = pt->ops->unmap_range(pt, iova, len, &gather);
	iommu_put_pages_list(&gather.freelist);
	return unmapped;
}

/* Tables that grow need these; no table here grows. */
static DEFINE_SPINLOCK(top_lock);

static spinlock_t *get_top_lock(struct pt_iommu *pt)
{
	return &top_lock;
}

static void change_top(struct pt_iommu *pt, phys_addr_t top, unsigned int level)
{
}

static const struct pt_iommu_driver_ops driver_ops = {
	.get_top_lock = get_top_lock,
	.change_top = change_top,
};

/* With the features that the kernel's own drivers request. */
#define GENERIC_PT(fmt, iova_bits, level, feature_bits)				\
static const struct iommu_domain_ops fmt##_domain_ops = {			\
	IOMMU_PT_DOMAIN_OPS(fmt)						\
};										\
										\
static void *fmt##_new(void)							\
{										\
	struct pt_iommu_##fmt##_cfg cfg = {					\
		.common.features = feature_bits,				\
		.common.hw_max_vasz_lg2 = iova_bits,				\
		.common.hw_max_oasz_lg2 = PHYS_BITS,				\
		level								\
	};									\
	struct pt_iommu_##fmt *table = kzalloc(sizeof(*table), GFP_KERNEL);	\
										\
	if (!table)								\
		return NULL;							\
	table->iommu.nid = NUMA_NO_NODE;					\
	table->iommu.domain.ops = &fmt##_domain_ops;				\
	table->iommu.driver_ops = &driver_ops;					\
	if (pt_iommu_##fmt##_init(table, &cfg, GFP_KERNEL)) {			\
		kfree(table);							\
		return NULL;							\
	}									\
	return table;								\
}										\
										\
static void fmt##_free(void *table)						\
{										\
	pt_iommu_deinit(&((struct pt_iommu_##fmt *)table)->iommu);		\
	kfree(table);								\
}										\
										\
static u64 fmt##_map(void *table, u64 iova, u64 phys, u64 len)			\
{										\
	return c_map(&((struct pt_iommu_##fmt *)table)->iommu, iova, phys, len);\
}										\
										\
static u64 fmt##_unmap(void *table, u64 iova, u64 len)				\
{										\
	return c_unmap(&((struct pt_iommu_##fmt *)table)->iommu, iova, len);	\
}										\
										\
static u64 fmt##_phys(void *table, u64 iova)					\
{										\
	struct pt_iommu_##fmt *typed = table;					\
										\
	return typed->iommu.domain.ops->iova_to_phys(&typed->iommu.domain, iova);\
}										\
										\
static const struct bench_ops c_##fmt = {					\
	.new = fmt##_new,							\
	.free = fmt##_free,							\
	.map = fmt##_map,							\
	.unmap = fmt##_unmap,							\
	.phys = fmt##_phys,							\
}

GENERIC_PT(vtdss, 48, .top_level = 3, BIT(PT_FEAT_FLUSH_RANGE));
GENERIC_PT(amdv1, 64, .starting_level = 2,
	   BIT(PT_FEAT_DYNAMIC_TOP) | BIT(PT_FEAT_AMDV1_ENCRYPT_TABLES) |
	   BIT(PT_FEAT_AMDV1_FORCE_COHERENCE) | BIT(PT_FEAT_FLUSH_RANGE));
GENERIC_PT(x86_64, 48, .top_level = 3,
	   BIT(PT_FEAT_SIGN_EXTEND) | BIT(PT_FEAT_FLUSH_RANGE));

/* --- ours, with as many indirect calls ------------------------------------ */

#define OURS(fmt, ops)								\
static const struct bench_ops *fmt##_ours = &(ops);				\
										\
static u64 fmt##_ours_map(void *table, u64 iova, u64 phys, u64 len)		\
{										\
	return READ_ONCE(fmt##_ours)->map(table, iova, phys, len);		\
}										\
										\
static u64 fmt##_ours_unmap(void *table, u64 iova, u64 len)			\
{										\
	return READ_ONCE(fmt##_ours)->unmap(table, iova, len);			\
}										\
										\
static u64 fmt##_ours_phys(void *table, u64 iova)				\
{										\
	return READ_ONCE(fmt##_ours)->phys(table, iova);			\
}										\
										\
static void *fmt##_ours_new(void)						\
{										\
	return fmt##_ours->new();						\
}										\
										\
static void fmt##_ours_free(void *table)					\
{										\
	fmt##_ours->free(table);						\
}										\
										\
static const struct bench_ops rust_##fmt = {					\
	.new = fmt##_ours_new,							\
	.free = fmt##_ours_free,						\
	.map = fmt##_ours_map,							\
	.unmap = fmt##_ours_unmap,						\
	.phys = fmt##_ours_phys,						\
}

OURS(vtdss, bench_vtd_ss);
OURS(amdv1, bench_amd_v1);
OURS(x86_64, bench_x86_64);

/* --- the measurements ----------------------------------------------------- */

/**
 * struct cell - a row of the table
 * @name: its name in the output
 * @len: bytes of one mapping
 * @phys: physical address of the first mapping; its alignment decides which
 *	page sizes fit
 * @stride: distance of two mappings, in both address spaces
 * @count: number of mappings
 * @kept: the last page of every table of leaves stays mapped, so that the
 *	tables exist before and after
 */
struct cell {
	const char *name;
	u64 len;
	u64 phys;
	u64 stride;
	unsigned int count;
	bool kept;
};

#define BASE	(4ull * SZ_1G)

static const struct cell cells[] = {
	{ "4K, tables exist", SZ_4K, SZ_1G, SZ_4K, 500, true },
	{ "64K, tables exist", SZ_64K, SZ_1G, SZ_64K, 31, true },
	{ "64K of 4K, tables exist", SZ_64K, SZ_1G + SZ_4K, SZ_64K, 31, true },
	{ "1M of 4K, tables exist", SZ_1M, SZ_1G + SZ_4K, SZ_2M, 64, true },
	{ "2M of 4K", SZ_2M, SZ_1G + SZ_4K, SZ_2M, 64, false },
	{ "2M page", SZ_2M, SZ_1G, SZ_2M, 400, false },
	{ "64M of 2M", SZ_64M, SZ_1G, SZ_64M, 30, false },
	{ "1G page", SZ_1G, SZ_1G, SZ_1G, 200, false },
	{ "1G of 2M", SZ_1G, SZ_1G + SZ_2M, SZ_1G, 4, false },
	{ "1G of 4K", SZ_1G, SZ_1G + SZ_4K, SZ_1G, 1, false },
};

enum what { MAP, PHYS, UNMAP, WHATS };

static const char *const names[] = { "map", "iova_to_phys", "unmap" };

static u64 ticks(void)
{
	return rdtsc_ordered();
}

/* Runs the call for each mapping of the cell. Returns ticks, or 0 on a wrong result. */
static u64 measure(const struct bench_ops *ops, void *table,
		   const struct cell *cell, enum what what)
{
	unsigned int wrong = 0, i;
	u64 start = ticks();

	for (i = 0; i < cell->count; i++) {
		u64 iova = BASE + i * cell->stride;
		u64 phys = cell->phys + i * cell->stride;

		switch (what) {
		case MAP:
			wrong += ops->map(table, iova, phys, cell->len) != cell->len;
			break;
		case PHYS:
			wrong += ops->phys(table, iova) != phys;
			break;
		default:
			wrong += ops->unmap(table, iova, cell->len) != cell->len;
		}
	}
	return wrong ? 0 : ticks() - start;
}

static int keep_tables(const struct bench_ops *ops, void *table,
		       const struct cell *cell)
{
	u64 end = BASE + cell->count * cell->stride;
	u64 iova;

	for (iova = BASE; iova < end; iova += SZ_2M) {
		if (ops->map(table, iova + SZ_2M - SZ_4K, SZ_1G, SZ_4K) != SZ_4K)
			return -ENOMEM;
	}
	return 0;
}

static int run_cell(const char *format, const struct bench_ops *const who[2],
		    const struct cell *cell)
{
	u64 best[WHATS][2];
	void *tables[2];
	int round, what, i, ret = -ENOMEM;

	memset(best, 0xff, sizeof(best));
	for (i = 0; i < 2; i++)
		tables[i] = who[i]->new();
	if (!tables[0] || !tables[1])
		goto out;
	/* As it is in use: the upper levels are there. */
	for (i = 0; i < 2; i++) {
		if (who[i]->map(tables[i], BASE - SZ_2M, SZ_1G, SZ_4K) != SZ_4K)
			goto out;
		if (cell->kept && keep_tables(who[i], tables[i], cell))
			goto out;
	}
	ret = -EINVAL;
	for (round = 0; round < ROUNDS; round++) {
		for (what = 0; what < WHATS; what++) {
			for (i = 0; i < 2; i++) {
				u64 took = measure(who[i], tables[i], cell, what);

				if (!took) {
					pr_err("%s: %s: %s: wrong answers of %s\n",
					       format, cell->name, names[what],
					       i ? "Rust" : "C");
					goto out;
				}
				best[what][i] = min(best[what][i], took);
			}
		}
		cond_resched();
	}
	for (what = 0; what < WHATS; what++)
		pr_info("%s|%s|%s|%llu|%llu\n", format, cell->name, names[what],
			best[what][0] / cell->count, best[what][1] / cell->count);
	ret = 0;
out:
	for (i = 0; i < 2; i++) {
		if (tables[i])
			who[i]->free(tables[i]);
	}
	return ret;
}

static const struct {
	const char *name;
	const struct bench_ops *who[2];
} formats[] = {
	{ "VT-d second stage", { &c_vtdss, &rust_vtdss } },
	{ "AMD-Vi version 1", { &c_amdv1, &rust_amdv1 } },
	{ "x86-64", { &c_x86_64, &rust_x86_64 } },
};

static int __init bench_init(void)
{
	int f, i, ret;

	for (f = 0; f < ARRAY_SIZE(formats); f++) {
		for (i = 0; i < ARRAY_SIZE(cells); i++) {
			ret = run_cell(formats[f].name, formats[f].who, &cells[i]);
			if (ret)
				return ret;
		}
	}
	return 0;
}
module_init(bench_init);

static void __exit bench_exit(void)
{
}
module_exit(bench_exit);

MODULE_DESCRIPTION("Page tables in C and in Rust, side by side");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS("GENERIC_PT_IOMMU");
