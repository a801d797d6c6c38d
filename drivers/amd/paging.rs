// SPDX-License-Identifier: GPL-2.0

//! Paging domains: page tables in a shape that a unit walks.
//!
//! A unit has host tables (v1), which are what it is asked for if it can, or guest tables (v2), in
//! the processors' format, which are found through a table of their roots.
//!
//! # Growing
//!
//! A host table starts with three levels and gets another one on top when an address needs it. The
//! entries of the device table say where the top is, so they have to be written again, and the unit
//! told, before a mapping below the new top may be used. That this is done on all units where a
//! domain lives is the core's business; which entries it is about, their roots say (see
//! [`Tables::follow`](super::tables::Tables::follow)). No lock is needed.

#![forbid(unsafe_code)]

use kernel::prelude::*;

use super::{
    capability::{GUEST_PAGE_SIZES, HOST_PAGE_SIZES},
    entries::{Gcr3Entry, Translation},
    hardware::{AddressSpace, Kind},
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
/// Bits of an address in an entry, if none of them is for encryption.
const OUTPUT_BITS: u32 = 52;
/// Bytes of a table of roots.
const ROOTS_BYTES: usize = 4096;

/// Bits of an address that can be mapped.
fn output_bits() -> u8 {
    encrypted::mask().trailing_zeros().min(OUTPUT_BITS) as u8
}

/// A table of the roots of guest tables; only that for requests without a process id is in it.
struct Roots {
    memory: KernelMemory,
    table: Table,
}

impl Roots {
    fn new(node: i32, root: PhysAddr) -> Result<Self> {
        let memory = KernelMemory::new(node);
        let table = memory.alloc(ROOTS_BYTES, Gfp::KERNEL).ok_or(ENOMEM)?;
        let entry = Gcr3Entry {
            table: Some(encrypted::seen(root).raw()),
        };
        memory.entries(table, 1)[0].store(entry.encode());
        Ok(Self { memory, table })
    }
}

impl Drop for Roots {
    fn drop(&mut self) {
        self.memory.free(self.table);
    }
}

/// The page table itself.
enum Tables {
    Host(PageTable<AmdV1, KernelMemory>),
    Guest {
        // Freed first: it leads to the table.
        roots: Roots,
        table: PageTable<X86_64, KernelMemory>,
    },
    /// Of a machine whose memory is encrypted, as the next.
    EncryptedHost(PageTable<Encrypted<AmdV1>, KernelMemory>),
    EncryptedGuest {
        roots: Roots,
        table: PageTable<Encrypted<X86_64>, KernelMemory>,
    },
}

/// Does something with either kind of table.
macro_rules! with_table {
    ($self:expr, $table:ident => $do:expr) => {
        match &$self.tables {
            Tables::Host($table) => $do,
            Tables::Guest { table: $table, .. } => $do,
            Tables::EncryptedHost($table) => $do,
            Tables::EncryptedGuest { table: $table, .. } => $do,
        }
    };
}

/// A paging domain.
pub struct Paging {
    tables: Tables,
    space: AddressSpace,
}

impl Paging {
    /// Empty tables for units like the one that `space` describes.
    pub(super) fn new(space: AddressSpace, node: i32) -> Result<Self> {
        let (levels, page_sizes) = match space.kind {
            Kind::Host => (FIRST_LEVELS, HOST_PAGE_SIZES),
            Kind::Guest => (space.levels, GUEST_PAGE_SIZES),
        };
        let config = Config {
            iova_bits: space.bits,
            levels,
            page_sizes: PageSizes::new(page_sizes),
            oa_bits: output_bits(),
            coherent: true,
            split: true,
        };
        let memory = KernelMemory::new(node);
        macro_rules! table {
            () => {
                PageTable::new(&config, memory, Gfp::KERNEL)?
            };
        }
        let tables = match (space.kind, encrypted::mask()) {
            (Kind::Host, 0) => Tables::Host(table!()),
            (Kind::Host, _) => Tables::EncryptedHost(table!()),
            (Kind::Guest, 0) => {
                let table: PageTable<X86_64, _> = table!();
                let roots = Roots::new(node, table.root())?;
                Tables::Guest { roots, table }
            }
            (Kind::Guest, _) => {
                let table: PageTable<Encrypted<X86_64>, _> = table!();
                let roots = Roots::new(node, table.root())?;
                Tables::EncryptedGuest { roots, table }
            }
        };
        Ok(Self { tables, space })
    }

    /// Whether a unit with `space` can walk the tables, however far they grow.
    pub(super) fn fits(&self, space: &AddressSpace) -> bool {
        self.space.kind == space.kind
            && self.space.bits <= space.bits
            && self.space.levels <= space.levels
            && (space.no_execute || !self.space.no_execute)
    }

    /// What the domain can map.
    pub(super) fn geometry(&self) -> Geometry {
        Geometry {
            first: Iova::new(0),
            last: with_table!(self, table => table.last_iova()),
            page_sizes: with_table!(self, table => table.page_sizes()),
        }
    }

    /// What the entries of ids have to say that are to go through the tables as `domain`. A host
    /// table may grow at any time, so who writes that looks again afterwards.
    pub(super) fn translation(&self, domain: u16) -> Translation {
        let (top, roots) = match &self.tables {
            Tables::Host(table) => (table.top(), None),
            Tables::EncryptedHost(table) => (table.top(), None),
            Tables::Guest { roots, table } => (table.top(), Some(roots)),
            Tables::EncryptedGuest { roots, table } => (table.top(), Some(roots)),
        };
        match roots {
            None => Translation::Host {
                domain,
                root: encrypted::seen(top.root).raw(),
                levels: top.levels,
                dirty: false,
            },
            Some(roots) => Translation::Guest {
                domain,
                gcr3: encrypted::seen(roots.table.addr()).raw(),
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
        let prot = match self.space.no_execute {
            true => prot,
            false => prot.without(Prot::NOEXEC),
        };
        let (mapped, result) = with_table!(
            self,
            table => table.map(iova, phys, len, prot, flags, gather)
        );
        (mapped, result.map_err(Error::from))
    }

    /// The top, if not all units may walk from it yet.
    #[inline]
    pub(super) fn new_top(&self) -> Option<Top> {
        with_table!(self, table => table.top_is_news().then(|| table.top()))
    }

    /// All units walk from `top`, or from a later one.
    pub(super) fn top_is_told(&self, top: Top) {
        with_table!(self, table => table.top_is_told(top));
    }

    /// The top above `root`, if that is one of the domain's; both as entries have them.
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

    /// Where `iova` leads, if it is mapped.
    #[inline]
    pub(super) fn iova_to_phys(&self, iova: Iova) -> Option<PhysAddr> {
        with_table!(self, table => table.iova_to_phys(iova))
    }
}
