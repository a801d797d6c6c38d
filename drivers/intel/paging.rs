// SPDX-License-Identifier: GPL-2.0

//! Paging domains: page tables of the second stage, or of the first where a unit in scalable mode
//! has no second stage.

#![forbid(unsafe_code)]

use kernel::prelude::*;

use super::{
    capability::{AddressSpace, Capability, Mode, Stage, Width},
    entries::{ContextEntry, Translation},
    pasid::{PasidEntry, PasidTranslation},
    tables::IdEntry,
};
use crate::{
    addr::{Iova, PageSizes, PhysAddr, Prot},
    driver::{Geometry, KernelGather},
    pgtable::{
        kernel_memory::{Gfp, KernelMemory},
        vtd_ss::VtdSs,
        x86_64::X86_64,
        Config, PageTable,
    },
};

/// The width of addresses in entries (9.7, 9.8).
const OUTPUT_BITS: u8 = 52;

/// The page table itself.
enum DomainTable {
    Second(PageTable<VtdSs, KernelMemory>),
    First(PageTable<X86_64, KernelMemory>),
}

/// Evaluates `$do` with the table, of whichever type it is.
macro_rules! with_table {
    ($self:expr, $table:ident => $do:expr) => {
        match &$self.table {
            DomainTable::Second($table) => $do,
            DomainTable::First($table) => $do,
        }
    };
}

/// A paging domain.
pub struct Paging {
    table: DomainTable,
    width: Width,
    bits: u8,
    coherent: bool,
}

impl Paging {
    /// An empty table for a unit with `capability` and `space`.
    ///
    /// The table takes all addresses that its entries can hold. If one is beyond the width that
    /// firmware gives, reserved bits are set in the entry, and the unit refuses DMA there with a
    /// fault (9.7, 9.8, 7.1.3).
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(capability: &Capability, space: AddressSpace, node: i32) -> Result<Self> {
        let coherent = capability.walks_snoop();
        let config = Config {
            iova_bits: space.bits,
            levels: space.width.levels(),
            page_sizes: PageSizes::new(capability.page_sizes()),
            oa_bits: OUTPUT_BITS,
            coherent,
            split: true,
        };
        let memory = KernelMemory::new(node);
        let table = match capability.mode().stage() {
            Stage::Second => DomainTable::Second(PageTable::new(&config, memory, Gfp::KERNEL)?),
            Stage::First => DomainTable::First(PageTable::new(&config, memory, Gfp::KERNEL)?),
        };
        Ok(Self {
            table,
            width: space.width,
            bits: space.bits,
            coherent,
        })
    }

    const fn stage(&self) -> Stage {
        match self.table {
            DomainTable::Second(_) => Stage::Second,
            DomainTable::First(_) => Stage::First,
        }
    }

    /// Whether a unit with `capability` can walk the table and translates all addresses in it.
    pub(super) fn fits(&self, capability: &Capability) -> bool {
        let sizes = PageSizes::new(capability.page_sizes());
        let used = with_table!(self, table => table.page_sizes());

        capability.mode().stage() == self.stage()
            && capability.walks(self.width)
            && capability.max_address_bits >= self.bits
            && used.intersection(sizes) == used
            // A table made for coherent walks is never flushed from the processors' caches.
            && (capability.walks_snoop() || !self.coherent)
    }

    /// The entry of an id that is attached to this domain on a unit with `mode`, which the domain
    /// [fits](Self::fits) and where it has id `domain`.
    pub(super) fn entry(&self, mode: Mode, domain: u16) -> IdEntry {
        let root = with_table!(self, table => table.root().raw());
        let (width, coherent) = (self.width, self.coherent);
        let translation = match (mode, self.stage()) {
            (Mode::Legacy, _) => {
                return IdEntry::Context(ContextEntry {
                    translation: Translation::SecondStage { root, width },
                    domain,
                })
            }
            (Mode::Scalable(_), Stage::Second) => PasidTranslation::SecondStage {
                root,
                width,
                coherent,
            },
            (Mode::Scalable(_), Stage::First) => PasidTranslation::FirstStage {
                root,
                width,
                coherent,
            },
        };
        IdEntry::Pasid(PasidEntry {
            translation,
            domain,
        })
    }

    /// What the domain can map.
    pub(super) fn geometry(&self) -> Geometry {
        Geometry {
            first: Iova::new(0),
            last: with_table!(self, table => table.last_iova()),
            page_sizes: with_table!(self, table => table.page_sizes()),
        }
    }

    /// See [`Translate::map`](crate::driver::Translate::map).
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
        let (mapped, result) = match &self.table {
            DomainTable::Second(table) => table.map(iova, phys, len, prot, flags, gather),
            // XD is reserved for requests without a PASID.
            DomainTable::First(table) => {
                let prot = prot.without(Prot::NOEXEC);
                table.map(iova, phys, len, prot, flags, gather)
            }
        };
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
            with_table!(self, table => table.map_list(iova, pieces, prot, flags, gather));
        (mapped, result.map_err(Error::from))
    }

    /// See [`Translate::unmap`](crate::driver::Translate::unmap).
    #[inline]
    pub(super) fn unmap(&self, iova: Iova, len: u64, gather: &mut KernelGather) -> u64 {
        with_table!(self, table => table.unmap(iova, len, gather))
    }

    /// See [`Translate::splits_are_invalidated`](crate::driver::Translate::splits_are_invalidated).
    pub(super) fn splits_are_invalidated(&self, count: u32) {
        with_table!(self, table => table.splits_are_invalidated(count))
    }

    /// Where `iova` leads, if it is mapped.
    #[inline]
    pub(super) fn iova_to_phys(&self, iova: Iova) -> Option<PhysAddr> {
        with_table!(self, table => table.iova_to_phys(iova))
    }
}
