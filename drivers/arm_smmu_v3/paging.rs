// SPDX-License-Identifier: GPL-2.0

//! Paging domains: a page table of one stage, in a format that the unit walks.

#![forbid(unsafe_code)]

use kernel::prelude::*;

use super::{
    records::{
        capability::{Capability, FlagUpdates, Stage, Stalls},
        cd::ContextDescriptor,
        ste::{DeviceTlb, Sharing, Stage2, Ste, Walk},
        table_needs::TableNeeds,
    },
    unit::hardware::Hardware,
};
use crate::{
    addr::{Iova, PageSizes, PhysAddr, Prot},
    driver::KernelGather,
    pgtable::{
        armv8::{self, Granule16K, Granule4K, Granule64K, GranuleSize, Shape},
        kernel_memory::{Gfp, KernelMemory},
        PageTable,
    },
};

/// A page table of one stage and granule.
type Table<F> = PageTable<F, KernelMemory>;

/// A page table of any stage and granule.
enum AnyTable {
    One4K(Table<armv8::Stage1<Granule4K>>),
    One16K(Table<armv8::Stage1<Granule16K>>),
    One64K(Table<armv8::Stage1<Granule64K>>),
    Two4K(Table<armv8::Stage2<Granule4K>>),
    Two16K(Table<armv8::Stage2<Granule16K>>),
    Two64K(Table<armv8::Stage2<Granule64K>>),
}

/// Calls a method of the page table: one branch, then code for its stage and granule.
macro_rules! of_table {
    ($paging:expr, $table:ident => $call:expr) => {
        match &$paging.table {
            AnyTable::One4K($table) => $call,
            AnyTable::One16K($table) => $call,
            AnyTable::One64K($table) => $call,
            AnyTable::Two4K($table) => $call,
            AnyTable::Two16K($table) => $call,
            AnyTable::Two64K($table) => $call,
        }
    };
}

/// The page table of a paging domain.
pub struct Paging {
    table: AnyTable,
    shape: Shape,
    pub(super) needs: TableNeeds,
}

impl Paging {
    /// An empty page table for units like `hardware`.
    pub(super) fn new(hardware: &Hardware, node: i32) -> Result<Self> {
        let capability = &hardware.capability;
        let (stage, granule) = (hardware.stage, hardware.granule);
        let (of_format, input_bits) = match stage {
            Stage::One => (armv8::Stage::One, capability.stage1_input_bits(granule)),
            Stage::Two => (armv8::Stage::Two, capability.stage2_input_bits(granule)),
        };
        let output_bits = capability.table_output_bits(granule);
        let shape = Shape::new(of_format, granule, input_bits, output_bits)?;
        let needs = TableNeeds {
            stage,
            granule,
            input_bits: shape.ia_bits,
            output_bits: shape.oa_bits,
            snoops: capability.coherent,
            splits: TableNeeds::may_split(capability),
        };
        let config = shape.config(needs.snoops, needs.splits);
        let memory = KernelMemory::new(node);
        macro_rules! table {
            ($kind:ident) => {
                AnyTable::$kind(PageTable::new(&config, memory, Gfp::KERNEL)?)
            };
        }
        let table = match (stage, granule) {
            (Stage::One, GranuleSize::K4) => table!(One4K),
            (Stage::One, GranuleSize::K16) => table!(One16K),
            (Stage::One, GranuleSize::K64) => table!(One64K),
            (Stage::Two, GranuleSize::K4) => table!(Two4K),
            (Stage::Two, GranuleSize::K16) => table!(Two16K),
            (Stage::Two, GranuleSize::K64) => table!(Two64K),
        };
        Ok(Self {
            table,
            shape,
            needs,
        })
    }

    fn root(&self) -> u64 {
        of_table!(self, table => table.root()).raw()
    }

    /// The CD of a domain with this table and ASID.
    pub(super) fn context_descriptor(
        &self,
        capability: &Capability,
        asid: u16,
    ) -> ContextDescriptor {
        ContextDescriptor {
            table: self.root(),
            input_bits: self.shape.ia_bits,
            output_bits: self.shape.oa_bits,
            granule: self.needs.granule,
            walk: Walk::of(capability),
            memory_types: armv8::MAIR,
            asid,
            updates: FlagUpdates::None,
            stall: capability.stalls == Stalls::Always,
        }
    }

    /// The STE of a stage 2 domain with this table and VMID.
    pub(super) fn ste(&self, capability: &Capability, vmid: u16, device_tlb: DeviceTlb) -> Ste {
        Ste::Stage2(Stage2 {
            table: self.root(),
            vmid,
            input_bits: self.shape.ia_bits,
            output_bits: self.shape.oa_bits,
            granule: self.needs.granule,
            start_level: self.shape.start_level(),
            walk: Walk::of(capability),
            updates: FlagUpdates::None,
            stall: capability.stalls == Stalls::Always,
            device_tlb,
            sharing: Sharing::of(capability),
        })
    }

    pub(super) fn last_iova(&self) -> Iova {
        of_table!(self, table => table.last_iova())
    }

    pub(super) fn page_sizes(&self) -> PageSizes {
        of_table!(self, table => table.page_sizes())
    }

    #[inline]
    pub(super) fn map(
        &self,
        iova: Iova,
        phys: PhysAddr,
        len: u64,
        prot: Prot,
        flags: Gfp,
        gather: &mut KernelGather,
    ) -> (u64, Result) {
        let (mapped, result) =
            of_table!(self, table => table.map(iova, phys, len, prot, flags, gather));
        (mapped, result.map_err(Error::from))
    }

    /// See [`Translate::map_list`](crate::driver::Translate::map_list).
    #[cfg_attr(CONFIG_IOMMU_CORE_HOSTED, allow(dead_code))]
    pub(super) fn map_list(
        &self,
        iova: Iova,
        pieces: impl Iterator<Item = (PhysAddr, u64)>,
        prot: Prot,
        flags: Gfp,
        gather: &mut KernelGather,
    ) -> (u64, Result) {
        let (mapped, result) =
            of_table!(self, table => table.map_list(iova, pieces, prot, flags, gather));
        (mapped, result.map_err(Error::from))
    }

    #[inline]
    pub(super) fn unmap(&self, iova: Iova, len: u64, gather: &mut KernelGather) -> u64 {
        of_table!(self, table => table.unmap(iova, len, gather))
    }

    #[inline]
    pub(super) fn iova_to_phys(&self, iova: Iova) -> Option<PhysAddr> {
        of_table!(self, table => table.iova_to_phys(iova))
    }
}
