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

#include <linux/module.h>
#include <linux/pci.h>

#ifdef CONFIG_ARM64
#include <asm/arch_timer.h>
#endif

#include "path_bench.h"

static char *device;
module_param(device, charp, 0);
MODULE_PARM_DESC(device, "the PCI address of a device that no driver is bound to");

static char *what = "domain";
module_param(what, charp, 0);
MODULE_PARM_DESC(what, "domain: the IOMMU API; dma: the DMA API; growth: with more of something; commands: what the unit gets; once: nothing, until the parameter once is set");

static char *label = "";
module_param(label, charp, 0);
MODULE_PARM_DESC(label, "comes before the names of operations of the DMA API");

u64 instructions(void)
{
#ifdef CONFIG_ARM64
	return __arch_counter_get_cntvct() * (NSEC_PER_SEC / arch_timer_get_cntfrq());
#else
	return rdtsc_ordered();
#endif
}

void report(const char *operation, const char *call, u64 best, unsigned int count)
{
	pr_info("%s%s|%s|%llu\n", label, operation, call, DIV_ROUND_CLOSEST_ULL(best, count));
}

static void put(struct endpoints *endpoints)
{
	while (endpoints->count--)
		put_device(endpoints->device[endpoints->count]);
}

/* Finds the device that the user has named, and those that are like it. */
static int find(struct endpoints *endpoints)
{
	unsigned int domain, bus, slot, function;
	struct pci_dev *first, *other = NULL;

	if (!device || sscanf(device, "%x:%x:%x.%x", &domain, &bus, &slot, &function) != 4)
		return -EINVAL;
	first = pci_get_domain_bus_and_slot(domain, bus, PCI_DEVFN(slot, function));
	if (!first)
		return -ENODEV;
	endpoints->device[endpoints->count++] = &first->dev;
	while ((other = pci_get_device(first->vendor, first->device, other))) {
		if (other == first)
			continue;
		if (endpoints->count == ARRAY_SIZE(endpoints->device)) {
			pci_dev_put(other);
			break;
		}
		endpoints->device[endpoints->count++] = get_device(&other->dev);
	}
	return 0;
}

static int __init path_bench_init(void)
{
	struct endpoints endpoints = {};
	int ret = find(&endpoints);

	if (ret)
		return ret;
	if (!strcmp(what, "domain"))
		ret = run_domains(endpoints.device[0]);
	else if (!strcmp(what, "dma"))
		ret = run_dma(endpoints.device[0]);
	else if (!strcmp(what, "growth"))
		ret = run_growth(&endpoints);
	else if (!strcmp(what, "commands"))
		ret = run_commands(&endpoints);
	else if (!strcmp(what, "once"))
		ret = prepare_once(endpoints.device[0]);
	else
		ret = -EINVAL;
	put(&endpoints);
	return ret;
}
module_init(path_bench_init);

static void __exit path_bench_exit(void)
{
}
module_exit(path_bench_exit);

MODULE_DESCRIPTION("Whole paths through the IOMMU layer");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS("IOMMUFD_INTERNAL");
