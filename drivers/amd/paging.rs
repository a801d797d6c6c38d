// SPDX-License-Identifier: GPL-2.0

//! Paging domains: page tables that a unit walks.
//!
//! A unit that walks host tables (v1) gets these. Others get guest tables (v2), which have the
//! processors' format; the unit finds them through a GCR3 table.
//!
//! # Growing
//!
//! A host table starts with three levels and gets another level on top when an address needs it.
//! Device table entries hold the address of the top. So before a mapping below a new top may be
//! used, the entries have to be written again, and the unit has to be told. The core does this for
//! all units where the domain lives, with [`Translate::update_top`](crate::driver::Translate). The
//! entries concerned are found by the root in them, see
//! [`DeviceTable::follow`](super::tables::DeviceTable::follow). No lock is needed.

#![forbid(unsafe_code)]

use kernel::prelude::*;

use super::{
    capability::{TableConfig, TableKind, GUEST_PAGE_SIZES, HOST_PAGE_SIZES},
    entries::{Gcr3Entry, Translation},
};
use crate::{
    addr::{Iova, PageSizes, PhysAddr, Prot},
    driver::{Geometry, KernelGather},
    pgtable::{
        amd_v1::AmdV1,
        encrypted::{self, Encrypted},
        kernel_memory::{Gfp, KernelMemory},
        x86_64::X86_64,
        Config, Entry, PageTable, Table, TableMemory, Top,
    },
};

/// Levels that a host table starts with.
const FIRST_LEVELS: u8 = 3;
/// Bits of an address in an entry if memory is not encrypted.
const OUTPUT_BITS: u32 = 52;
/// Bytes of a GCR3 table.
const GCR3_BYTES: usize = 4096;

/// Bits of a physical address that can be mapped.
fn output_bits() -> u8 {
    encrypted::mask().trailing_zeros().min(OUTPUT_BITS) as u8
}

/// A GCR3 table: the roots of guest tables by PASID. Only PASID 0 has an entry, which requests
/// without a PASID use.
struct Gcr3Table {
    memory: KernelMemory,
    table: Table,
}

impl Gcr3Table {
    fn new(node: i32, root: PhysAddr) -> Result<Self> {
        let memory = KernelMemory::new(node);
        let table = memory.alloc(GCR3_BYTES, Gfp::KERNEL).ok_or(ENOMEM)?;
        let entry = Gcr3Entry {
            table: Some(encrypted::seen(root).raw()),
        };
        memory.entries(table, 1)[0].store(entry.encode());
        Ok(Self { memory, table })
    }
}

impl Drop for Gcr3Table {
    fn drop(&mut self) {
        self.memory.free(self.table);
    }
}

/// The page table itself.
enum DomainTable {
    Host(PageTable<AmdV1, KernelMemory>),
    Guest {
        // Freed first, since it leads to the table.
        gcr3: Gcr3Table,
        table: PageTable<X86_64, KernelMemory>,
    },
    /// As `Host`, where memory is encrypted.
    EncryptedHost(PageTable<Encrypted<AmdV1>, KernelMemory>),
    /// As `Guest`, where memory is encrypted.
    EncryptedGuest {
        gcr3: Gcr3Table,
        table: PageTable<Encrypted<X86_64>, KernelMemory>,
    },
}

/// Evaluates `$do` with the table, of whichever type it is.
macro_rules! with_table {
    ($self:expr, $table:ident => $do:expr) => {
        match &$self.table {
            DomainTable::Host($table) => $do,
            DomainTable::Guest { table: $table, .. } => $do,
            DomainTable::EncryptedHost($table) => $do,
            DomainTable::EncryptedGuest { table: $table, .. } => $do,
        }
    };
}

/// A paging domain.
pub struct Paging {
    table: DomainTable,
    config: TableConfig,
}

impl Paging {
    /// An empty table as `config` says.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(config: TableConfig, node: i32) -> Result<Self> {
        let (levels, page_sizes) = match config.kind {
            TableKind::Host => (FIRST_LEVELS, HOST_PAGE_SIZES),
            TableKind::Guest => (config.levels, GUEST_PAGE_SIZES),
        };
        let format = Config {
            iova_bits: config.bits,
            levels,
            page_sizes: PageSizes::new(page_sizes),
            oa_bits: output_bits(),
            coherent: true,
            split: true,
        };
        let memory = KernelMemory::new(node);
        macro_rules! table {
            () => {
                PageTable::new(&format, memory, Gfp::KERNEL)?
            };
        }
        let table = match (config.kind, encrypted::mask()) {
            (TableKind::Host, 0) => DomainTable::Host(table!()),
            (TableKind::Host, _) => DomainTable::EncryptedHost(table!()),
            (TableKind::Guest, 0) => {
                let table: PageTable<X86_64, _> = table!();
                let gcr3 = Gcr3Table::new(node, table.root())?;
                DomainTable::Guest { gcr3, table }
            }
            (TableKind::Guest, _) => {
                let table: PageTable<Encrypted<X86_64>, _> = table!();
                let gcr3 = Gcr3Table::new(node, table.root())?;
                DomainTable::EncryptedGuest { gcr3, table }
            }
        };
        Ok(Self { table, config })
    }

    /// Whether a unit whose own domains have tables as `config` says can walk this table, however
    /// far it grows.
    pub(super) fn fits(&self, config: &TableConfig) -> bool {
        self.config.kind == config.kind
            && self.config.bits <= config.bits
            && self.config.levels <= config.levels
            && (config.no_execute || !self.config.no_execute)
    }

    /// What the domain can map.
    pub(super) fn geometry(&self) -> Geometry {
        Geometry {
            first: Iova::new(0),
            last: with_table!(self, table => table.last_iova()),
            page_sizes: with_table!(self, table => table.page_sizes()),
        }
    }

    /// What the device table entries of ids attached to this domain have to say, if the domain has
    /// id `domain`. A host table may grow at any time, so a caller that writes this to an entry
    /// asks again afterwards.
    pub(super) fn translation(&self, domain: u16) -> Translation {
        let (top, gcr3) = match &self.table {
            DomainTable::Host(table) => (table.top(), None),
            DomainTable::EncryptedHost(table) => (table.top(), None),
            DomainTable::Guest { gcr3, table } => (table.top(), Some(gcr3)),
            DomainTable::EncryptedGuest { gcr3, table } => (table.top(), Some(gcr3)),
        };
        match gcr3 {
            None => Translation::Host {
                domain,
                root: encrypted::seen(top.root).raw(),
                levels: top.levels,
                dirty: false,
            },
            Some(gcr3) => Translation::Guest {
                domain,
                gcr3: encrypted::seen(gcr3.table.addr()).raw(),
                gcr3_levels: 1,
                five_levels: top.levels == 5,
            },
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
        let prot = self.permitted(prot);
        let (mapped, result) = with_table!(
            self,
            table => table.map(iova, phys, len, prot, flags, gather)
        );
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
        let prot = self.permitted(prot);
        let (mapped, result) =
            with_table!(self, table => table.map_list(iova, pieces, prot, flags, gather));
        (mapped, result.map_err(Error::from))
    }

    /// What the page table can say of `prot`.
    #[inline(always)]
    fn permitted(&self, prot: Prot) -> Prot {
        match self.config.no_execute {
            true => prot,
            false => prot.without(Prot::NOEXEC),
        }
    }

    /// See [`Translate::new_top`](crate::driver::Translate::new_top).
    #[inline]
    pub(super) fn new_top(&self) -> Option<Top> {
        with_table!(self, table => table.has_new_top().then(|| table.top()))
    }

    /// See [`Translate::acknowledge_top`](crate::driver::Translate::acknowledge_top).
    pub(super) fn acknowledge_top(&self, top: Top) {
        with_table!(self, table => table.acknowledge_top(top));
    }

    /// The current top, if `root` is or was a top of this domain's table. Both addresses are as in
    /// entries.
    pub(super) fn top_over(&self, root: PhysAddr) -> Option<Top> {
        let root = encrypted::plain(root);
        let top = with_table!(self, table => table.top_over(root))?;
        Some(Top {
            root: encrypted::seen(top.root),
            ..top
        })
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
