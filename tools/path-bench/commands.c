// SPDX-License-Identifier: GPL-2.0
/*
 * What a unit gets into its queue of commands (VT-d: descriptors) for one call,
 * and how many of them wait for the others. Read from the unit's registers and
 * from the queue itself, so it is the same for each driver.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/io.h>
#include <linux/module.h>

#include "path_bench.h"

static unsigned long registers;
module_param(registers, ulong, 0);
MODULE_PARM_DESC(registers, "the physical address of the unit's registers");

static char *kind = "";
module_param(kind, charp, 0);
MODULE_PARM_DESC(kind, "the kind of the unit: vtd, amdvi or smmuv3");

/**
 * struct queue - the queue of a unit
 * @size: bytes of the queue
 * @entry: bytes of an entry
 * @tail: where the driver writes next, in bytes
 * @memory: its physical address
 */
struct queue {
	u64 memory;
	u32 size, entry, tail;
};

/* Intel VT-d 4.1, 11.4.9.2 and 11.4.9.3 (IQT_REG, IQA_REG); 6.5.2.8: a wait has type 5. */
static void read_vtd(void __iomem *unit, struct queue *queue)
{
	u64 base = readq(unit + 0x90);

	queue->memory = base & GENMASK_ULL(63, 12);
	queue->size = SZ_4K << (base & 7);
	queue->entry = base & BIT(11) ? 32 : 16;
	queue->tail = readq(unit + 0x88) & GENMASK(18, 4);
}

static bool waits_vtd(const __le64 *entry)
{
	return (le64_to_cpu(entry[0]) & 0xf) == 5;
}

/* AMD IOMMU 48882, 3.4.1 (0008h), 3.4.13 (2008h); 2.4.1: COMPLETION_WAIT. */
static void read_amdvi(void __iomem *unit, struct queue *queue)
{
	u64 base = readq(unit + 0x8);

	queue->memory = base & GENMASK_ULL(51, 12);
	queue->entry = 16;
	queue->size = queue->entry << (base >> 56 & 0xf);
	queue->tail = readq(unit + 0x2008) & GENMASK(18, 4);
}

static bool waits_amdvi(const __le64 *entry)
{
	return le64_to_cpu(entry[0]) >> 60 == 1;
}

/* SMMUv3 IHI 0070, 6.3.26 and 6.3.27 (CMDQ_BASE, CMDQ_PROD); 4.7.3: CMD_SYNC. */
static void read_smmuv3(void __iomem *unit, struct queue *queue)
{
	u64 base = readq(unit + 0x90);

	queue->memory = base & GENMASK_ULL(51, 5);
	queue->entry = 16;
	queue->size = queue->entry << (base & 0x1f);
	/* The bit above the index says how often the queue went around. */
	queue->tail = (readl(unit + 0x98) * queue->entry) & (queue->size - 1);
}

static bool waits_smmuv3(const __le64 *entry)
{
	return (le64_to_cpu(entry[0]) & 0xff) == 0x46;
}

static const struct {
	const char *name;
	void (*read)(void __iomem *unit, struct queue *queue);
	bool (*waits)(const __le64 *entry);
	size_t registers;
} kinds[] = {
	{ "vtd", read_vtd, waits_vtd, SZ_4K },
	{ "amdvi", read_amdvi, waits_amdvi, SZ_16K },
	{ "smmuv3", read_smmuv3, waits_smmuv3, SZ_4K },
};

static unsigned int of_kind;
static void __iomem *unit;

/* Reports what came into the queue since its tail was @before. */
static int report_since(u32 before, const char *operation)
{
	unsigned int commands = 0, waits = 0;
	struct queue queue;
	void *memory;
	u32 at;

	kinds[of_kind].read(unit, &queue);
	memory = memremap(queue.memory, queue.size, MEMREMAP_WB);
	if (!memory)
		return -ENOMEM;
	for (at = before; at != queue.tail; at = (at + queue.entry) & (queue.size - 1)) {
		if (kinds[of_kind].waits(memory + at))
			waits++;
		else
			commands++;
	}
	memunmap(memory);
	report(operation, "commands", commands, 1);
	report(operation, "waits", waits, 1);
	return 0;
}

static u32 tail(void)
{
	struct queue queue;

	kinds[of_kind].read(unit, &queue);
	return queue.tail;
}

static const struct {
	const char *name;
	u64 phys, len;
} unmaps[] = {
	{ "unmap 4K", SZ_1G, SZ_4K },
	{ "unmap 2M of 4K", SZ_1G + SZ_4K, SZ_2M },
	{ "unmap 64M of 4K", SZ_1G + SZ_4K, SZ_64M },
};

static int unmap_all(struct iommu_domain *domain, unsigned int endpoints)
{
	char name[48];
	int i, ret = 0;
	u32 before;

	for (i = 0; i < ARRAY_SIZE(unmaps) && !ret; i++) {
		ret = iommu_map(domain, BASE, unmaps[i].phys, unmaps[i].len,
				IOMMU_READ | IOMMU_WRITE, GFP_KERNEL);
		if (ret)
			break;
		before = tail();
		if (iommu_unmap(domain, BASE, unmaps[i].len) != unmaps[i].len)
			ret = -EINVAL;
		snprintf(name, sizeof(name), "%s, %u endpoints", unmaps[i].name, endpoints);
		ret = ret ?: report_since(before, name);
	}
	return ret;
}

static int attach_all(struct iommu_domain *domain, const struct endpoints *endpoints)
{
	static const unsigned int counts[] = { 1, 8, 64 };
	unsigned int attached = 0, i;
	char name[48];
	int ret = 0;
	u32 before;

	for (i = 0; i < ARRAY_SIZE(counts) && !ret; i++) {
		if (counts[i] > endpoints->count) {
			ret = -ENODEV;
			break;
		}
		while (attached < counts[i]) {
			before = tail();
			ret = iommu_attach_device(domain, endpoints->device[attached]);
			if (ret)
				goto out;
			attached++;
		}
		snprintf(name, sizeof(name), "attach, %u endpoints", attached);
		ret = report_since(before, name) ?: unmap_all(domain, attached);
	}
out:
	while (attached--) {
		before = tail();
		iommu_detach_device(domain, endpoints->device[attached]);
		if (!attached && !ret)
			ret = report_since(before, "detach");
	}
	return ret;
}

int run_commands(const struct endpoints *endpoints)
{
	struct iommu_domain *domain;
	int ret;

	while (strcmp(kinds[of_kind].name, kind))
		if (++of_kind == ARRAY_SIZE(kinds))
			return -EINVAL;
	unit = ioremap(registers, kinds[of_kind].registers);
	if (!unit)
		return -ENOMEM;
	domain = iommu_paging_domain_alloc(endpoints->device[0]);
	if (IS_ERR(domain)) {
		ret = PTR_ERR(domain);
	} else {
		ret = attach_all(domain, endpoints);
		iommu_domain_free(domain);
	}
	iounmap(unit);
	return ret;
}
