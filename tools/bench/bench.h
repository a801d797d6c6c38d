/* SPDX-License-Identifier: GPL-2.0 */
/* The operations that the benchmark measures. */

#ifndef BENCH_H
#define BENCH_H

#include <linux/types.h>

/**
 * struct bench_ops - page tables of one format
 * @new: makes an empty table; NULL if out of memory
 * @free: frees it
 * @map: maps a range; returns the number of bytes
 * @unmap: unmaps a range and frees the tables in it; returns the number of bytes
 * @phys: the physical address that an address translates to; 0 if unmapped
 */
struct bench_ops {
	void *(*new)(void);
	void (*free)(void *table);
	u64 (*map)(void *table, u64 iova, u64 phys, u64 len);
	u64 (*unmap)(void *table, u64 iova, u64 len);
	u64 (*phys)(void *table, u64 iova);
};

/* bench_tables.rs */
extern const struct bench_ops bench_vtd_ss;
extern const struct bench_ops bench_amd_v1;
extern const struct bench_ops bench_x86_64;

#endif
