// SPDX-License-Identifier: GPL-2.0

//! Mapping for units where no leaf may replace a table (Arm below BBML 2).

#![forbid(unsafe_code)]

use super::{map::Work, PageTable};
use crate::pgtable::{
    error::Error,
    format::{Decoded, Format, Level},
    memory::{Entry, Table, TableMemory},
};

impl<F: Format, M: TableMemory> PageTable<F, M> {
    /// Maps in one table until the range or the table ends. Tables stay, even those that map
    /// nothing: the unit requires that an entry which points to a table is cleared and invalidated
    /// before a leaf takes its place, and a map cannot wait for that. So these tables get the
    /// smaller pages. There are no runs: see [`Config::split`](super::super::Config::split).
    pub(super) fn map_keeping_tables<L: Level>(
        &self,
        table: Table,
        work: &mut Work,
        flags: M::Flags,
    ) -> Result<(), Error> {
        let entries = self.entries::<L>(table);
        let mut index = Self::index::<L>(work.iova);
        // The leaves that were written and not flushed.
        let mut written = index..index;
        let mut result = Ok(());

        while work.len != 0 && index < entries.len() && result.is_ok() {
            let entry = &entries[index];
            let old = entry.load();
            let is_table = L::N > 0 && matches!(F::decode(L::N, old), Decoded::Link(_));

            if !is_table && self.fits::<L>(work, 1).is_some() {
                if old != 0 {
                    result = Err(Error::InUse);
                    break;
                }
                entry.store(F::leaf(L::N, work.paddr, work.attrs));
                work.advance(Self::size::<L>());
                index += 1;
                written.end = index;
            } else if L::N == 0 {
                // The arguments are multiples of the smallest page size, so a page size of some
                // level fits.
                result = Err(Error::Invalid);
            } else {
                self.flush(entries, written);
                let whole = work.covers(Self::size::<L>());

                result = self
                    .lower_table::<L>(&entries[index..=index], whole, flags)
                    .and_then(|lower| self.map_keeping_tables::<L::Lower>(lower, work, flags));
                index += 1;
                written = index..index;
            }
        }
        self.flush(entries, written);
        result
    }
}
