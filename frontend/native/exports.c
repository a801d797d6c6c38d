// SPDX-License-Identifier: GPL-2.0
/*
 * What only C can say for the native frontend: which of its functions modules may call, data that is
 * there before any code runs, the hooks of the boot, and inline functions for Rust to call. Nothing
 * is decided here.
 */

#include <linux/amba/bus.h>
#include <linux/cc_platform.h>
#include <linux/cdx/cdx_bus.h>
#include <linux/fsl/mc.h>
#include <linux/host1x_context_bus.h>
#include <linux/idr.h>
#include <linux/init.h>
#include <linux/iommu.h>
#include <linux/kstrtox.h>
#include <linux/lockdep.h>
#include <linux/module.h>
#include <linux/msi.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/pci-ats.h>
#include <linux/platform_device.h>
#include <linux/property.h>
#include <linux/scatterlist.h>
#include <linux/sched/mm.h>
#include <linux/spinlock.h>

#include "../../../dma-iommu.h"
#include "../../../iommu-priv.h"
#include "helpers.h"

/* --- data ---------------------------------------------------------------------------------- */

DEFINE_MUTEX(iommu_probe_device_lock);

DEFINE_SPINLOCK(iommu_core_units_lock);
LIST_HEAD(iommu_core_units);

/* The buses that may have devices behind units. */
static const struct bus_type * const buses[] = {
	&platform_bus_type,
#ifdef CONFIG_PCI
	&pci_bus_type,
#endif
#ifdef CONFIG_ARM_AMBA
	&amba_bustype,
#endif
#ifdef CONFIG_FSL_MC_BUS
	&fsl_mc_bus_type,
#endif
#ifdef CONFIG_TEGRA_HOST1X_CONTEXT_BUS
	&host1x_context_device_bus_type,
#endif
#ifdef CONFIG_CDX_BUS
	&cdx_bus_type,
#endif
};
static struct notifier_block notifiers[ARRAY_SIZE(buses)];

static DEFINE_IDA(group_ids);
static DEFINE_IDA(global_pasids);

/* --- boot ---------------------------------------------------------------------------------- */

static int __init parse_passthrough(char *text)
{
	bool on;
	int error = kstrtobool(text, &on);

	if (error)
		return error;
	if (on)
		iommu_set_default_passthrough(true);
	else
		iommu_set_default_translated(true);
	return 0;
}
early_param("iommu.passthrough", parse_passthrough);

static int __init parse_strict(char *text)
{
	bool on;
	int error = kstrtobool(text, &on);

	if (!error)
		iommu_core_set_strict(on);
	return error;
}
early_param("iommu.strict", parse_strict);

/* Before any driver of units is initialised, as they make groups. */
static int __init add_folder(void)
{
	int error = iommu_core_add_folder();

	if (!error)
		iommu_debugfs_setup();
	return error;
}
core_initcall(add_folder);

/* After the command line was read, before any device is probed. */
static int __init choose_default(void)
{
	iommu_core_choose_default();
	iommu_debug_init();
	for (int i = 0; i < ARRAY_SIZE(buses); i++) {
		notifiers[i].notifier_call = iommu_core_bus_event;
		bus_register_notifier(buses[i], &notifiers[i]);
	}
	return 0;
}
subsys_initcall(choose_default);

#ifdef CONFIG_IOMMU_CORE_PROVIDER
/* After the kernel's own drivers of units had a chance, before drivers of devices are bound. */
static int __init start_drivers(void)
{
	return iommu_core_start_drivers();
}
rootfs_initcall(start_drivers);

/* After the clock's device_initcall(), and before a task can put the machine to sleep. */
static int __init follow_sleep(void)
{
	return iommu_core_follow_sleep();
}
late_initcall(follow_sleep);
#endif

/* --- inline functions and macros ------------------------------------------------------------ */

void iommu_core_init_record(struct dev_iommu *record)
{
	mutex_init(&record->lock);
}

void iommu_core_init_mutex(struct mutex *mutex)
{
	mutex_init(mutex);
}

void iommu_core_init_spinlock(spinlock_t *lock)
{
	spin_lock_init(lock);
}

int iommu_core_alloc_group_id(void)
{
	return ida_alloc(&group_ids, GFP_KERNEL);
}

void iommu_core_free_group_id(int id)
{
	ida_free(&group_ids, id);
}

int iommu_core_alloc_pasid(u32 first, u32 last)
{
	return ida_alloc_range(&global_pasids, first, last, GFP_KERNEL);
}

void iommu_core_free_pasid(u32 pasid)
{
	ida_free(&global_pasids, pasid);
}

/*
 * The next piece of memory in a list whose @left entries begin at @sg, which it advances. Entries
 * that continue each other are one piece. An entry that is no memory of the system's is left out.
 * False at the end of the list.
 */
bool iommu_core_next_piece(struct scatterlist **sg, u32 *left, phys_addr_t *phys, size_t *len)
{
	struct scatterlist *at = *sg;
	phys_addr_t start = 0;
	size_t bytes = 0;
	u32 n = *left;

	for (; n; n--, at = sg_next(at)) {
		if (sg_dma_is_bus_address(at) || !at->length)
			continue;
		if (!bytes)
			start = sg_phys(at);
		else if (start + bytes != sg_phys(at))
			break;
		bytes += at->length;
	}
	*sg = at;
	*left = n;
	*phys = start;
	*len = bytes;
	return bytes;
}

bool iommu_core_has_isolated_msi(struct device *dev)
{
	return msi_device_has_isolated_msi(dev);
}

/* A bus that may have devices behind units; NULL behind the last one. */
const struct bus_type *iommu_core_bus(unsigned int index)
{
	return index < ARRAY_SIZE(buses) ? buses[index] : NULL;
}

bool iommu_core_is_in_module(const void *address)
{
	return is_module_address((unsigned long)address);
}

bool iommu_core_supports_ats(struct pci_dev *function)
{
	return pci_ats_supported(function);
}

/* How many PASIDs a device can use, whatever its unit can. */
u32 iommu_core_max_pasids(struct device *dev)
{
	u32 bits;
	int count;

	if (dev_is_pci(dev)) {
		count = pci_max_pasids(to_pci_dev(dev));
		return count > 0 ? count : 0;
	}
	if (device_property_read_u32(dev, "pasid-num-bits", &bits) || bits > 31)
		return 0;
	return 1U << bits;
}

bool iommu_core_get_module(struct module *module)
{
	return try_module_get(module);
}

void iommu_core_put_module(struct module *module)
{
	module_put(module);
}

int iommu_core_get_dma_cookie(struct iommu_domain *domain)
{
	return iommu_get_dma_cookie(domain);
}

int iommu_core_init_flush_queue(struct iommu_domain *domain)
{
	return iommu_dma_init_fq(domain);
}

void iommu_core_set_up_dma(struct device *dev, struct iommu_domain *domain)
{
	iommu_setup_dma_ops(dev, domain);
}

void iommu_core_clear_dma(struct device *dev)
{
	if (IS_ENABLED(CONFIG_IOMMU_DMA))
		dev_clear_dma_iommu(dev);
}

/* What a domain's user has kept with it goes with the user. */
void iommu_core_put_cookie(struct iommu_domain *domain)
{
	switch (domain->cookie_type) {
	case IOMMU_COOKIE_DMA_IOVA:
		iommu_put_dma_cookie(domain);
		break;
	case IOMMU_COOKIE_DMA_MSI:
		iommu_put_msi_cookie(domain);
		break;
	case IOMMU_COOKIE_SVA:
		mmdrop(domain->mm);
		break;
	default:
		break;
	}
}

/* The layer that the domain serves maps the messages. */
int iommu_core_map_msi(struct iommu_domain *domain, struct msi_desc *desc, phys_addr_t phys)
{
	switch (domain->cookie_type) {
	case IOMMU_COOKIE_DMA_IOVA:
	case IOMMU_COOKIE_DMA_MSI:
		return iommu_dma_sw_msi(domain, desc, phys);
	case IOMMU_COOKIE_IOMMUFD:
		return iommufd_sw_msi(domain, desc, phys);
	default:
		return -EOPNOTSUPP;
	}
}

bool iommu_core_memory_is_encrypted(void)
{
	return cc_platform_has(CC_ATTR_MEM_ENCRYPT);
}

struct iommu_group *iommu_core_fsl_mc_container_group(struct device *dev)
{
	return iommu_group_get(fsl_mc_cont_dev(dev));
}

void iommu_core_assert_held(struct mutex *mutex)
{
	lockdep_assert_held(mutex);
}

void iommu_core_assert_not_held(struct mutex *mutex)
{
	lockdep_assert_not_held(mutex);
}

void iommu_core_debug_map(struct iommu_domain *domain, phys_addr_t phys, size_t size)
{
	iommu_debug_map(domain, phys, size);
}

void iommu_core_debug_unmap_begin(struct iommu_domain *domain, unsigned long iova, size_t size)
{
	iommu_debug_unmap_begin(domain, iova, size);
}

void iommu_core_debug_unmap_end(struct iommu_domain *domain, unsigned long iova, size_t size,
				size_t unmapped)
{
	iommu_debug_unmap_end(domain, iova, size, unmapped);
}

/* --- what modules may call ------------------------------------------------------------------ */

/* units and devices */
EXPORT_SYMBOL_GPL(iommu_device_register);
EXPORT_SYMBOL_GPL(iommu_device_unregister);
#if IS_ENABLED(CONFIG_IOMMUFD_TEST)
EXPORT_SYMBOL_GPL(iommu_device_register_bus);
EXPORT_SYMBOL_GPL(iommu_device_unregister_bus);
EXPORT_SYMBOL_GPL(iommu_mock_device_add);
#endif
EXPORT_SYMBOL_GPL(dev_iommu_priv_set);
EXPORT_SYMBOL_GPL(device_iommu_capable);
EXPORT_SYMBOL_GPL(iommu_fwspec_init);
EXPORT_SYMBOL_GPL(iommu_fwspec_add_ids);
EXPORT_SYMBOL_GPL(iommu_default_passthrough);

/* groups */
EXPORT_SYMBOL_GPL(iommu_group_alloc);
EXPORT_SYMBOL_GPL(iommu_group_get_iommudata);
EXPORT_SYMBOL_GPL(iommu_group_set_iommudata);
EXPORT_SYMBOL_GPL(iommu_group_set_name);
EXPORT_SYMBOL_GPL(iommu_group_add_device);
EXPORT_SYMBOL_GPL(iommu_group_remove_device);
#ifdef CONFIG_LOCKDEP
EXPORT_SYMBOL_GPL(iommu_group_mutex_assert);
#endif
EXPORT_SYMBOL_GPL(iommu_group_for_each_dev);
EXPORT_SYMBOL_GPL(iommu_group_get);
EXPORT_SYMBOL_GPL(iommu_group_ref_get);
EXPORT_SYMBOL_GPL(iommu_group_put);
EXPORT_SYMBOL_GPL(iommu_group_id);
EXPORT_SYMBOL_GPL(iommu_group_has_isolated_msi);
EXPORT_SYMBOL_GPL(generic_device_group);
EXPORT_SYMBOL_GPL(generic_single_device_group);
EXPORT_SYMBOL_GPL(pci_device_group);
EXPORT_SYMBOL_GPL(fsl_mc_device_group);

/* reserved regions */
EXPORT_SYMBOL_GPL(iommu_get_group_resv_regions);
EXPORT_SYMBOL_GPL(iommu_get_resv_regions);
EXPORT_SYMBOL(iommu_put_resv_regions);
EXPORT_SYMBOL_GPL(iommu_alloc_resv_region);

/* domains */
EXPORT_SYMBOL_GPL(iommu_paging_domain_alloc_flags);
EXPORT_SYMBOL_GPL(iommu_domain_free);
EXPORT_SYMBOL_GPL(iommu_set_fault_handler);
EXPORT_SYMBOL_GPL(report_iommu_fault);
EXPORT_SYMBOL_GPL(iommu_set_pgtable_quirks);
EXPORT_SYMBOL_GPL(iommu_get_domain_for_dev);
EXPORT_SYMBOL_GPL(iommu_driver_get_domain_for_dev);
EXPORT_SYMBOL_GPL(iommu_attach_device);
EXPORT_SYMBOL_GPL(iommu_detach_device);
EXPORT_SYMBOL_GPL(iommu_attach_group);
EXPORT_SYMBOL_GPL(iommu_detach_group);
EXPORT_SYMBOL_GPL(iommu_iova_to_phys);
EXPORT_SYMBOL_GPL(iommu_map);
EXPORT_SYMBOL_GPL(iommu_map_sg);
EXPORT_SYMBOL_GPL(iommu_unmap);
EXPORT_SYMBOL_GPL(iommu_unmap_fast);

/* ownership */
EXPORT_SYMBOL_GPL(iommu_group_claim_dma_owner);
EXPORT_SYMBOL_GPL(iommu_group_release_dma_owner);
EXPORT_SYMBOL_GPL(iommu_group_dma_owner_claimed);
EXPORT_SYMBOL_GPL(iommu_device_claim_dma_owner);
EXPORT_SYMBOL_GPL(iommu_device_release_dma_owner);

/* PASIDs and handles */
EXPORT_SYMBOL_GPL(iommu_attach_device_pasid);
EXPORT_SYMBOL_GPL(iommu_detach_device_pasid);
EXPORT_SYMBOL_GPL(iommu_alloc_global_pasid);
EXPORT_SYMBOL_GPL(iommu_free_global_pasid);
EXPORT_SYMBOL_NS_GPL(iommu_replace_device_pasid, "IOMMUFD_INTERNAL");
EXPORT_SYMBOL_NS_GPL(iommu_attach_handle_get, "IOMMUFD_INTERNAL");
EXPORT_SYMBOL_NS_GPL(iommu_attach_group_handle, "IOMMUFD_INTERNAL");
EXPORT_SYMBOL_NS_GPL(iommu_detach_group_handle, "IOMMUFD_INTERNAL");
EXPORT_SYMBOL_NS_GPL(iommu_replace_group_handle, "IOMMUFD_INTERNAL");

/* reset */
EXPORT_SYMBOL_GPL(pci_dev_reset_iommu_prepare);
EXPORT_SYMBOL_GPL(pci_dev_reset_iommu_done);
