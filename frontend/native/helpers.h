/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What exports.c and the Rust code of the native frontend have of each other.
 */
#ifndef IOMMU_CORE_NATIVE_HELPERS_H
#define IOMMU_CORE_NATIVE_HELPERS_H

#include <linux/iommu.h>
#include <linux/list.h>
#include <linux/spinlock_types.h>
#include <linux/types.h>

struct module;
struct msi_desc;
struct notifier_block;
struct pci_dev;
struct scatterlist;

/* Data that has to be there before any code has run. */
extern spinlock_t iommu_core_units_lock;
extern struct list_head iommu_core_units;

/* C for Rust: inline functions and macros. */
void iommu_core_init_record(struct dev_iommu *record);
void iommu_core_init_mutex(struct mutex *mutex);
void iommu_core_init_spinlock(spinlock_t *lock);
int iommu_core_alloc_group_id(void);
void iommu_core_free_group_id(int id);
int iommu_core_alloc_pasid(u32 first, u32 last);
void iommu_core_free_pasid(u32 pasid);
bool iommu_core_next_piece(struct scatterlist **sg, u32 *left, phys_addr_t *phys, size_t *len);
bool iommu_core_has_isolated_msi(struct device *dev);
const struct bus_type *iommu_core_bus(unsigned int index);
bool iommu_core_is_in_module(const void *address);
bool iommu_core_supports_ats(struct pci_dev *function);
u32 iommu_core_max_pasids(struct device *dev);
bool iommu_core_get_module(struct module *module);
void iommu_core_put_module(struct module *module);
int iommu_core_get_dma_cookie(struct iommu_domain *domain);
int iommu_core_init_flush_queue(struct iommu_domain *domain);
void iommu_core_set_up_dma(struct device *dev, struct iommu_domain *domain);
void iommu_core_clear_dma(struct device *dev);
void iommu_core_put_cookie(struct iommu_domain *domain);
int iommu_core_map_msi(struct iommu_domain *domain, struct msi_desc *desc, phys_addr_t phys);
bool iommu_core_memory_is_encrypted(void);
struct iommu_group *iommu_core_fsl_mc_container_group(struct device *dev);
void iommu_core_assert_held(struct mutex *mutex);
void iommu_core_assert_not_held(struct mutex *mutex);
void iommu_core_debug_map(struct iommu_domain *domain, phys_addr_t phys, size_t size);
void iommu_core_debug_unmap_begin(struct iommu_domain *domain, unsigned long iova, size_t size);
void iommu_core_debug_unmap_end(struct iommu_domain *domain, unsigned long iova, size_t size,
				size_t unmapped);

/* Rust for C: what the kernel calls while it boots. */
void iommu_core_set_strict(bool strict);
void iommu_core_choose_default(void);
int iommu_core_add_folder(void);
int iommu_core_start_drivers(void);
int iommu_core_follow_sleep(void);
int iommu_core_bus_event(struct notifier_block *block, unsigned long event, void *data);

#endif /* IOMMU_CORE_NATIVE_HELPERS_H */
