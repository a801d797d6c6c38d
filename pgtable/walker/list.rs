// SPDX-License-Identifier: GPL-2.0

//! Mapping lists of pieces of memory.

#![forbid(unsafe_code)]

use super::{top::from_top, PageTable};
use crate::{
    addr::{Iova, PhysAddr, Prot},
    pgtable::{
        error::Error,
        format::{At, Format, Root},
        gather::Gather,
        memory::{Entry, Table, TableMemory},
    },
};

impl<F: Format, M: TableMemory> PageTable<F, M> {
    /// Maps `pieces` of memory, each with its length in bytes, one after the other from `iova` on.
    /// Like a [`map`](Self::map) of each, but pages that follow each other in one table of leaves
    /// take one walk.
    ///
    /// Returns how many bytes, from `iova` on, are mapped when the call returns.
    ///
    /// # Errors
    ///
    /// Those of `map`, for the first piece that cannot be mapped.
    // The kernel's own layer, on which the hosted frontend runs, maps piece by piece.
    #[cfg_attr(CONFIG_IOMMU_CORE_HOSTED, allow(dead_code))]
    pub fn map_list(
        &self,
        iova: Iova,
        mut pieces: impl Iterator<Item = (PhysAddr, u64)>,
        prot: Prot,
        flags: M::Flags,
        gather: &mut Gather<M>,
    ) -> (u64, Result<(), Error>) {
        let mut mapped = 0;
        let mut next = pieces.next();

        while let Some((paddr, len)) = next {
            let at = match iova.raw().checked_add(mapped) {
                Some(at) => Iova::new(at),
                None => return (mapped, Err(Error::OutOfRange)),
            };
            let (done, result) = self.map_piece(at, paddr, len, prot, flags, gather);
            mapped += done;
            if result.is_err() {
                return (mapped, result);
            }
            next = pieces.next();
            mapped += self.map_pages_behind(at.raw() + (len - 1), prot, &mut next, &mut pieces);
        }
        (mapped, Ok(()))
    }

    /// [`map`](Self::map), as a call.
    #[inline(never)]
    fn map_piece(
        &self,
        iova: Iova,
        paddr: PhysAddr,
        len: u64,
        prot: Prot,
        flags: M::Flags,
        gather: &mut Gather<M>,
    ) -> (u64, Result<(), Error>) {
        self.map(iova, paddr, len, prot, flags, gather)
    }

    /// Maps pieces that are one page each, as long as the table of leaves has room that translates
    /// the address behind `last`. `next` is the first of them, and then the first that is left.
    /// Returns the number of bytes.
    #[inline(always)]
    fn map_pages_behind(
        &self,
        last: u64,
        prot: Prot,
        next: &mut Option<(PhysAddr, u64)>,
        pieces: &mut impl Iterator<Item = (PhysAddr, u64)>,
    ) -> u64 {
        // The address behind `last` is in the same table unless it is the first of a table.
        let at = match last.checked_add(1) {
            Some(at) if at <= self.iova_last && at & (Self::span_of_a_table() - 1) != 0 => at,
            _ => return 0,
        };
        let (Some((_, len)), Ok(attrs)) = (*next, F::attrs(prot)) else {
            return 0;
        };
        if len != Self::GRANULE || self.align_mask >= Self::GRANULE {
            return 0;
        }
        let top = self.top();
        let Some((entries, index)) = from_top!(self, top, lowest_entries, at) else {
            return 0;
        };
        let entries = &entries[index..];
        let mut count = 0;

        for entry in entries {
            let paddr = match *next {
                Some((paddr, len)) if len == Self::GRANULE => paddr.raw(),
                _ => break,
            };
            // What is wrong with a piece is for `map` to say.
            if entry.load() != 0
                || paddr & self.align_mask != 0
                || paddr > self.oa_last & !self.align_mask
            {
                break;
            }
            entry.store(F::leaf(0, paddr, attrs));
            count += 1;
            *next = pieces.next();
        }
        self.flush(entries, 0..count);
        count as u64 * Self::GRANULE
    }

    /// How many bytes a table of leaves translates.
    const fn span_of_a_table() -> u64 {
        1 << (F::GRANULE_LG2 + F::INDEX_LG2)
    }
}
