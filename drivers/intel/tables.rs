// SPDX-License-Identifier: GPL-2.0

//! A unit's tables in memory that say what a requester id is attached to.
//!
//! | | legacy mode | scalable mode |
//! |---|---|---|
//! | root entry, for a bus | leads to a context table | leads to two, each for half of the bus |
//! | context entry, for an id | says it | leads to a PASID directory |
//! | directory entry, for 64 PASIDs | | leads to a PASID table |
//! | PASID table entry | | says it, for one PASID |
//!
//! In scalable mode each id has a PASID directory and PASID tables of its own: the directory and
//! the first table from when a device with the id was probed, the others from when one of their
//! PASIDs is prepared. Entry 0 of the first table is for requests without a PASID. Endpoints may
//! share ids, and a group can change which of its members' steps has an id, so the tables belong to
//! the id and not to an endpoint. The context entry of an id leads to them also while it is not
//! present.
//!
//! `change` says in which order the words of an entry are stored.

#![forbid(unsafe_code)]

use kernel::prelude::*;

use super::{
    change::{groups, present_words, CacheTag, Kind, Word, PRESENT},
    entries::{ContextEntry, RootEntry, ENTRIES},
    pasid::{
        ContextWord, Directory, DirectoryEntry, PasidEntry, PasidWidth, CONTEXT_ENTRIES,
        CONTEXT_WORDS, NO_PASID, PASID_WORDS, TABLE_BITS,
    },
};
use crate::{
    addr::PhysAddr,
    ffi::compat::{dma_mb, Write},
    pgtable::{
        kernel_memory::{Gfp, KernelEntry, KernelMemory},
        Entry, Table, TableMemory,
    },
    requester::RequesterId,
};

/// Bytes of every table.
const BYTES: usize = 4096;
/// 64-bit words of a table.
const WORDS: usize = BYTES / size_of::<u64>();
/// 64-bit words of a root entry, and of a context entry of legacy mode.
const PAIR: usize = WORDS / ENTRIES;

const _: () = assert!(PAIR == 2 && CONTEXT_ENTRIES * CONTEXT_WORDS == WORDS);

/// What an id is attached to, as its entry says it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum IdEntry {
    /// Legacy mode.
    Context(ContextEntry),
    /// Scalable mode.
    Pasid(PasidEntry),
}

impl IdEntry {
    const fn is_scalable(self) -> bool {
        matches!(self, Self::Pasid(_))
    }

    /// The tag of what the unit caches through the entry, which is that of `pasid`.
    pub(super) const fn tag(self, pasid: u32) -> CacheTag {
        match self {
            Self::Context(entry) => entry.tag(),
            Self::Pasid(entry) => entry.tag(pasid),
        }
    }
}

/// The root table and all tables that it leads to.
///
/// # Invariants
///
/// 1. `root` is a table of `memory`, and so is every table that an entry has the address of. The
///    context entries of scalable mode have it also while they are not present.
/// 2. Such an address does not change as long as the value lives.
/// 3. A PASID directory has as many entries as its context entry says.
pub(super) struct Tables {
    memory: KernelMemory,
    root: Table,
    /// Whether the unit's reads of these tables snoop the CPUs' caches.
    coherent: bool,
    scalable: bool,
}

/// What the unit may have cached of an entry and of what it leads to.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum CachedEntry {
    /// The entry blocks.
    Nothing,
    /// Translations with this tag.
    Under(CacheTag),
    /// This driver has not written the entry.
    Unknown,
}

/// The entries of an id and a PASID in memory.
struct Entries<'a> {
    kind: Kind,
    /// Two words in legacy mode, and [`CONTEXT_WORDS`] in scalable mode.
    context: &'a [KernelEntry],
    /// None in legacy mode, and [`PASID_WORDS`] in scalable mode.
    pasid: &'a [KernelEntry],
}

impl Entries<'_> {
    fn word(&self, word: Word) -> &KernelEntry {
        match word {
            Word::Context(index) => &self.context[index],
            Word::Pasid(index) => &self.pasid[index],
        }
    }
}

impl Tables {
    /// An empty root table: everything is blocked.
    pub(super) fn new(node: i32, coherent: bool, scalable: bool) -> Result<Self> {
        let memory = KernelMemory::new(node);
        let root = memory.alloc(BYTES, Gfp::KERNEL).ok_or(ENOMEM)?;
        let this = Self {
            memory,
            root,
            coherent,
            scalable,
        };
        this.flush(this.words(root));
        Ok(this)
    }

    /// Where the root table is.
    pub(super) fn root(&self) -> PhysAddr {
        self.root.addr()
    }

    fn words(&self, table: Table) -> &[KernelEntry] {
        self.memory.entries(table, WORDS)
    }

    fn flush(&self, words: &[KernelEntry]) {
        if !self.coherent {
            self.memory.flush(words);
        }
    }

    /// Entry `index` of `table`, whose entries have `words` words.
    fn entry(&self, table: Table, index: usize, words: usize) -> &[KernelEntry] {
        &self.words(table)[index * words..][..words]
    }

    /// The word of the root table that leads to the context entry of `id`.
    fn root_word(&self, id: RequesterId) -> &KernelEntry {
        let upper = self.scalable && usize::from(id.devfn()) >= CONTEXT_ENTRIES;
        &self.entry(self.root, id.bus().into(), PAIR)[usize::from(upper)]
    }

    /// The context table that `word` of the root table leads to. The halves of a root entry of
    /// scalable mode are as the lower half in legacy mode.
    fn context_table(word: &KernelEntry) -> Option<Table> {
        let entry = RootEntry::decode([word.load(), 0]);
        entry.context_table.map(|at| Table::at(PhysAddr::new(at)))
    }

    fn context_entry(&self, id: RequesterId) -> Option<&[KernelEntry]> {
        let table = Self::context_table(self.root_word(id))?;
        let devfn = usize::from(id.devfn());
        Some(match self.scalable {
            false => self.entry(table, devfn, PAIR),
            true => self.entry(table, devfn % CONTEXT_ENTRIES, CONTEXT_WORDS),
        })
    }

    /// The PASID directory that the first word of a context entry leads to.
    fn directory(&self, context: &KernelEntry) -> Option<(&[KernelEntry], PasidWidth)> {
        let Directory { address, width } = ContextWord::decode(context.load()).directory?;
        let table = Table::at(PhysAddr::new(address));
        let entries = self.memory.entries(table, width.directory_entries());
        Some((entries, width))
    }

    /// The PASID table that a directory entry leads to.
    fn pasid_table(entry: &KernelEntry) -> Option<Table> {
        let entry = DirectoryEntry::decode(entry.load())?;
        Some(Table::at(PhysAddr::new(entry.table)))
    }

    /// The entries of `id` for requests with `pasid`, if their tables are there.
    #[inline]
    fn entries(&self, id: RequesterId, pasid: u32) -> Option<Entries<'_>> {
        let context = self.context_entry(id)?;
        if !self.scalable {
            return Some(Entries {
                kind: Kind::Legacy,
                context,
                pasid: &[],
            });
        }
        let (directory, width) = self.directory(&context[0])?;
        let table = Self::pasid_table(directory.get((pasid >> TABLE_BITS) as usize)?)?;
        let index = pasid as usize % (1 << TABLE_BITS);
        Some(Entries {
            kind: match width {
                PasidWidth::None => Kind::Scalable,
                PasidWidth::Bits(_) => Kind::WithPasids,
            },
            context,
            pasid: self.entry(table, index, PASID_WORDS),
        })
    }

    /// How many PASIDs `id` has, 0 included; 0 if it uses none.
    pub(super) fn pasids(&self, id: RequesterId) -> u32 {
        let context = self.context_entry(id).filter(|_| self.scalable);
        let directory = context.and_then(|context| self.directory(&context[0]));
        directory.map_or(0, |(_, width)| width.count())
    }

    /// A table whose entries are all not present.
    fn new_table(&self) -> Result<Table> {
        let table = self.memory.alloc(BYTES, Gfp::KERNEL).ok_or(ENOMEM)?;
        self.flush(self.words(table));
        Ok(table)
    }

    /// Allocates the tables that lead to the entry of `id` for requests without a PASID, unless it
    /// has them, so that writing that entry cannot fail. The id stays blocked. Its PASIDs have
    /// `width`, or as it had them before; in legacy mode it has none.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn add(&self, id: RequesterId, width: PasidWidth) -> Result {
        let root = self.root_word(id);
        if Self::context_table(root).is_none() {
            let table = self.new_table()?;
            dma_mb(Write);
            let entry = RootEntry {
                context_table: Some(table.addr().raw()),
            };
            // INVARIANT: The exchange succeeds only if the entry has no address. If another thread
            // was first, this one frees its table.
            let done = root.compare_exchange(RootEntry::EMPTY[0], entry.encode()[0]);
            if done.is_err() {
                self.memory.free(table);
            }
            // Also if another thread was first: it may not have flushed yet.
            self.flush(core::slice::from_ref(root));
        }
        if self.scalable {
            self.add_directory(&self.context_entry(id).ok_or(EINVAL)?[0], width)?;
            self.add_pasid(id, NO_PASID)?;
        }
        Ok(())
    }

    /// Gives `context`, the first word of a context entry, a PASID directory.
    fn add_directory(&self, context: &KernelEntry, width: PasidWidth) -> Result {
        if self.directory(context).is_some() {
            return Ok(());
        }
        let entries = width.directory_entries();
        let bytes = (entries * size_of::<u64>()).max(BYTES);
        let directory = self.memory.alloc(bytes, Gfp::KERNEL).ok_or(ENOMEM)?;
        self.flush(self.memory.entries(directory, entries));
        dma_mb(Write);

        let word = ContextWord {
            present: false,
            directory: Some(Directory {
                address: directory.addr().raw(),
                width,
            }),
        };
        // INVARIANT: As in `add`. The entry is not present, so the unit ignores the address.
        let done = context.compare_exchange(ContextWord::EMPTY, word.encode());
        if done.is_err() {
            self.memory.free(directory);
        }
        Ok(())
    }

    /// Allocates the table that has the entry of `id` for requests with `pasid`, unless it is
    /// there, so that writing that entry cannot fail. They stay blocked.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EINVAL` if the id was not [added](Self::add), or has not so many PASIDs.
    pub(super) fn add_pasid(&self, id: RequesterId, pasid: u32) -> Result {
        let context = self.context_entry(id).ok_or(EINVAL)?;
        let (directory, _) = self.directory(&context[0]).ok_or(EINVAL)?;
        let index = (pasid >> TABLE_BITS) as usize;
        let entry = directory.get(index).ok_or(EINVAL)?;
        if Self::pasid_table(entry).is_some() {
            return Ok(());
        }
        let table = self.new_table()?;
        dma_mb(Write);
        let word = DirectoryEntry {
            table: table.addr().raw(),
        };
        // INVARIANT: As in `add`. The entries of the table are not present, so they block as the
        // directory entry did.
        if entry.compare_exchange(0, word.encode()).is_err() {
            self.memory.free(table);
        }
        // Also if another thread was first: it may not have flushed yet.
        self.flush(core::slice::from_ref(entry));
        Ok(())
    }

    /// What the unit may have cached of `id`'s entry for requests with `pasid`.
    pub(super) fn cached(&self, id: RequesterId, pasid: u32) -> CachedEntry {
        let Some(entries) = self.entries(id, pasid) else {
            return CachedEntry::Nothing;
        };
        let entry = match self.scalable {
            false => entries.context,
            true => entries.pasid,
        };
        let words = [entry[0].load(), entry[1].load()];
        if words[0] & PRESENT == 0 {
            return CachedEntry::Nothing;
        }
        let tag = match self.scalable {
            false => ContextEntry::decode(words).map(ContextEntry::tag),
            true => PasidEntry::tag_of(words, pasid),
        };
        tag.map_or(CachedEntry::Unknown, CachedEntry::Under)
    }

    /// Blocks requests of `id` with `pasid`. An invalidation has to follow. Returns whether that of
    /// the context entry is among it.
    pub(super) fn clear(&self, id: RequesterId, pasid: u32) -> bool {
        let Some(entries) = self.entries(id, pasid) else {
            return false;
        };
        self.clear_entries(&entries);
        entries.kind != Kind::WithPasids
    }

    fn clear_entries(&self, entries: &Entries<'_>) {
        for &word in present_words(entries.kind) {
            let word = entries.word(word);
            word.store(word.load() & !PRESENT);
            dma_mb(Write);
        }
        self.flush(entries.context);
        self.flush(entries.pasid);
    }

    /// Writes the entry of `id` for requests with `pasid`. They are blocked now, and the
    /// invalidation for that has completed. An entry of the other mode leaves them blocked.
    pub(super) fn write(&self, id: RequesterId, pasid: u32, entry: IdEntry) {
        let Some(entries) = self
            .entries(id, pasid)
            .filter(|_| entry.is_scalable() == self.scalable)
        else {
            return;
        };
        for group in groups(self.scalable) {
            for &word in *group {
                let to = entries.word(word);
                to.store(match (entry, word) {
                    (IdEntry::Context(entry), Word::Context(index)) => entry.encode()[index],
                    (IdEntry::Pasid(entry), Word::Pasid(index)) => entry.encode()[index],
                    // The address of the directory stays.
                    (IdEntry::Pasid(_), Word::Context(_)) => to.load() | PRESENT,
                    (IdEntry::Context(_), Word::Pasid(_)) => 0,
                });
            }
            // The unit must not see the words of the next group without these.
            dma_mb(Write);
            if let Some(Word::Pasid(_)) = group.first() {
                self.flush(entries.pasid);
            }
        }
        self.flush(entries.context);
    }

    /// The context tables.
    fn context_tables(&self) -> impl Iterator<Item = Table> + '_ {
        let root = self.words(self.root).iter();
        root.filter_map(Self::context_table)
    }

    /// Blocks every id of every bus. An invalidation has to follow.
    pub(super) fn clear_all(&self) {
        for table in self.context_tables() {
            for context in self.context_entries(table) {
                if context[0].load() & PRESENT == 0 {
                    continue;
                }
                context[0].store(context[0].load() & !PRESENT);
                dma_mb(Write);
                self.flush(context);
                for table in self.pasid_tables(&context[0]) {
                    self.clear_pasids(table);
                }
            }
        }
    }

    /// The PASID tables of the id with `context`, the first word of its context entry.
    fn pasid_tables(&self, context: &KernelEntry) -> impl Iterator<Item = Table> + '_ {
        let directory = self.directory(context).filter(|_| self.scalable);
        let entries = directory.map(|(entries, _)| entries).unwrap_or_default();
        entries.iter().filter_map(Self::pasid_table)
    }

    /// Blocks every PASID of a table.
    fn clear_pasids(&self, table: Table) {
        for entry in self.words(table).chunks_exact(PASID_WORDS) {
            entry[0].store(entry[0].load() & !PRESENT);
        }
        dma_mb(Write);
        self.flush(self.words(table));
    }

    /// The context entries in `table`.
    fn context_entries(&self, table: Table) -> impl Iterator<Item = &[KernelEntry]> {
        let words = match self.scalable {
            false => PAIR,
            true => CONTEXT_WORDS,
        };
        self.words(table).chunks_exact(words)
    }

    /// How many context tables there are.
    pub(super) fn count(&self) -> usize {
        self.context_tables().count()
    }
}

impl Drop for Tables {
    fn drop(&mut self) {
        for table in self.context_tables() {
            if self.scalable {
                for context in self.context_entries(table) {
                    for pasids in self.pasid_tables(&context[0]) {
                        self.memory.free(pasids);
                    }
                    let word = ContextWord::decode(context[0].load());
                    if let Some(Directory { address, .. }) = word.directory {
                        self.memory.free(Table::at(PhysAddr::new(address)));
                    }
                }
            }
            self.memory.free(table);
        }
        self.memory.free(self.root);
    }
}
