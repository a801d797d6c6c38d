// SPDX-License-Identifier: GPL-2.0

//! Units that walk page tables, written from the specifications alone. They share no code with the
//! formats under test.
//!
//! A unit caches everything that it may, leaves and intermediate entries, without limit: only an
//! invalidation removes something. It detects a walk into freed memory.

pub mod amd;
pub mod arm;
pub mod vtd;
pub mod x86;

use crate::{addr::Prot, memory::HostMemory};

pub use vtd::Vtd;

/// Why an access was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// No entry, or no permission.
    Refused,
    /// A reserved bit is set.
    Reserved,
    /// An entry, or a cached one, points to a freed table.
    FreedTable,
}

/// A translation, read from a table or cached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaf {
    /// First address that it translates.
    pub iova: u64,
    /// Number of bytes that it translates.
    pub size: u64,
    /// The output address of `iova`.
    pub phys: u64,
    /// Permissions and memory attributes.
    pub prot: Prot,
    /// Whether the dirty bit is set.
    pub dirty: bool,
}

impl Leaf {
    fn covers(&self, iova: u64) -> bool {
        (self.iova..=self.iova + (self.size - 1)).contains(&iova)
    }
}

/// The meaning of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// Not present.
    Absent,
    /// Points to the table of the next lower level; with the permissions that it grants.
    Table(u64, Prot),
    /// A page, or a part of a run.
    Page {
        /// Size of the whole page.
        size: u64,
        /// Address of the whole page.
        phys: u64,
        /// Permissions and memory attributes.
        prot: Prot,
        /// Whether the dirty bit is set.
        dirty: bool,
    },
}

/// One kind of unit.
pub trait Walker: Clone + Send {
    /// Size of the smallest page, as a power of 2.
    fn granule_lg2(&self) -> u32;

    /// Number of entries of a table, as a power of 2.
    fn index_lg2(&self) -> u32;

    /// Number of levels.
    fn levels(&self) -> u32;

    /// Number of bits of its input addresses.
    fn iova_bits(&self) -> u32;

    /// Decodes an entry of `level` for `iova`; level 1 is the lowest.
    fn decode(&self, level: u32, iova: u64, entry: u64) -> Result<Found, Fault>;

    /// Whether an invalidation of a part of a page removes the page from the cache.
    fn forgets_page_of_part(&self) -> bool;

    /// Returns the entry of a page after the unit has recorded an access in it.
    fn record(&self, entry: u64, write: bool) -> u64;
}

#[derive(Clone)]
struct CachedTable {
    level: u32,
    first: u64,
    last: u64,
    table: u64,
    prot: Prot,
}

/// One unit, with its caches.
#[derive(Clone)]
pub struct Hardware<W: Walker = Vtd> {
    memory: HostMemory,
    walker: W,
    root: u64,
    /// Whether it snoops CPU caches.
    coherent: bool,
    /// Whether it sets accessed and dirty bits.
    record: bool,
    leaves: Vec<Leaf>,
    tables: Vec<CachedTable>,
}

/// The permissions that an access needs in all entries of its walk.
const PERMISSIONS: Prot = Prot::READ.union(Prot::WRITE);

fn restrict(prot: Prot, by: Prot) -> Prot {
    let lost = PERMISSIONS.raw() & !by.raw();
    let kept = prot.raw() & !lost;
    let mut result = Prot::NONE;

    for bit in [
        Prot::READ,
        Prot::WRITE,
        Prot::CACHE,
        Prot::NOEXEC,
        Prot::MMIO,
        Prot::PRIV,
        Prot::FORCE_SNOOP,
        Prot::TRACK_DIRTY,
    ] {
        if kept & bit.raw() != 0 {
            result = result | bit;
        }
    }
    result
}

/// Bit `n`.
pub fn bit(value: u64, n: u32) -> bool {
    value >> n & 1 == 1
}

/// Bits `high` down to `low`, in the notation of the specifications.
pub fn bits(value: u64, high: u32, low: u32) -> u64 {
    value >> low & (u64::MAX >> (63 - (high - low)))
}

impl Hardware {
    /// Creates a VT-d unit that walks from `root`.
    pub fn new(memory: &HostMemory, root: u64, levels: u8, coherent: bool) -> Self {
        Self::with(memory, Vtd::new(levels), root, coherent)
    }
}

impl<W: Walker> Hardware<W> {
    /// Creates a unit that walks from `root`.
    pub fn with(memory: &HostMemory, walker: W, root: u64, coherent: bool) -> Self {
        Self {
            memory: memory.clone(),
            walker,
            root,
            coherent,
            record: false,
            leaves: Vec::new(),
            tables: Vec::new(),
        }
    }

    /// Makes it set accessed and dirty bits.
    pub fn record(mut self) -> Self {
        self.record = true;
        self
    }

    /// Makes it walk from another root, with another walker. What it has cached stays.
    pub fn set_top(&mut self, walker: W, root: u64) {
        self.walker = walker;
        self.root = root;
    }

    /// Makes an access; returns the memory address that it reaches.
    pub fn access(&mut self, iova: u64, write: bool) -> Result<u64, Fault> {
        if u64::MAX >> (64 - self.walker.iova_bits()) < iova {
            return Err(Fault::Refused);
        }

        let cached = self
            .leaves
            .iter()
            .find(|leaf| leaf.covers(iova) && (!write || !self.record || leaf.dirty));
        let leaf = match cached {
            Some(leaf) => *leaf,
            None => self.walk(iova, write)?,
        };
        let needed = if write { Prot::WRITE } else { Prot::READ };

        match leaf.prot.has(needed) {
            true => Ok(leaf.phys + (iova - leaf.iova)),
            false => Err(Fault::Refused),
        }
    }

    /// Number of bytes that an entry of `level` translates, as a power of 2.
    fn size_lg2(&self, level: u32) -> u32 {
        self.walker.granule_lg2() + self.walker.index_lg2() * (level - 1)
    }

    /// Index of the entry for `iova`. The width of the addresses determines the number of entries
    /// of the root.
    fn index(&self, level: u32, iova: u64) -> usize {
        let index = (iova >> self.size_lg2(level)) as usize;

        match level == self.walker.levels() {
            true => index,
            false => index % (1 << self.walker.index_lg2()),
        }
    }

    fn walk(&mut self, iova: u64, write: bool) -> Result<Leaf, Fault> {
        // The walk starts at the lowest cached intermediate entry.
        let (mut level, mut table, mut permitted) = self
            .tables
            .iter()
            .filter(|cached| (cached.first..=cached.last).contains(&iova))
            .min_by_key(|cached| cached.level)
            .map_or((self.walker.levels(), self.root, PERMISSIONS), |cached| {
                (cached.level, cached.table, cached.prot)
            });

        loop {
            let index = self.index(level, iova);
            let entry = self
                .memory
                .hardware_read(table, index, self.coherent)
                .ok_or(Fault::FreedTable)?;
            let entry_size = 1u64 << self.size_lg2(level);

            match self.walker.decode(level, iova, entry)? {
                Found::Absent => return Err(Fault::Refused),
                Found::Page {
                    size,
                    phys,
                    prot,
                    mut dirty,
                } => {
                    let prot = restrict(prot, permitted);

                    if self.record {
                        let write = write && prot.has(Prot::WRITE);
                        let new = self.walker.record(entry, write);

                        if new != entry && !self.memory.hardware_exchange(table, index, entry, new)
                        {
                            continue;
                        }
                        dirty |= write;
                    }
                    let leaf = Leaf {
                        iova: iova & !(size - 1),
                        size,
                        phys,
                        prot,
                        dirty,
                    };
                    self.leaves.push(leaf);
                    return Ok(leaf);
                }
                Found::Table(lower, prot) => {
                    let first = iova & !(entry_size - 1);

                    level -= 1;
                    table = lower;
                    permitted = restrict(permitted, prot);
                    self.tables.push(CachedTable {
                        level,
                        first,
                        last: first + (entry_size - 1),
                        table,
                        prot: permitted,
                    });
                }
            }
        }
    }

    /// Removes what is cached for `first..=last`, but no more than it must; with `tables` also
    /// intermediate entries.
    pub fn invalidate(&mut self, first: u64, last: u64, tables: bool) {
        let parts = self.walker.forgets_page_of_part();

        self.leaves.retain(|leaf| {
            let (start, end) = (leaf.iova, leaf.iova + (leaf.size - 1));

            match parts {
                true => start > last || end < first,
                false => start < first || end > last,
            }
        });
        if tables {
            self.tables
                .retain(|cached| cached.first > last || cached.last < first);
        }
    }

    /// Removes everything from the caches.
    pub fn invalidate_all(&mut self) {
        self.leaves.clear();
        self.tables.clear();
    }

    /// Reads all tables without using the caches, and returns every page in order.
    pub fn leaves(&self) -> Vec<Leaf> {
        let mut found = Vec::new();

        self.collect(self.root, self.walker.levels(), 0, PERMISSIONS, &mut found);
        found
    }

    fn collect(&self, table: u64, level: u32, base: u64, permitted: Prot, found: &mut Vec<Leaf>) {
        let size_lg2 = self.size_lg2(level);
        let count = match level == self.walker.levels() {
            true => 1 << self.walker.iova_bits().saturating_sub(size_lg2),
            false => 1 << self.walker.index_lg2(),
        };
        let read = |index: usize| {
            let iova = base + ((index as u64) << size_lg2);
            let entry = self
                .memory
                .hardware_read(table, index, self.coherent)
                .expect("an entry points to a table that was freed");
            let decoded = self.walker.decode(level, iova, entry);

            (entry, decoded.expect("an entry has a reserved bit"))
        };
        let mut index = 0;

        while index < count {
            let iova = base + ((index as u64) << size_lg2);
            let (entry, decoded) = read(index);

            index += 1;
            match decoded {
                Found::Absent => {
                    assert_eq!(entry, 0, "an entry that is not present, and yet not empty");
                }
                Found::Table(lower, prot) => {
                    let permitted = restrict(permitted, prot);

                    self.collect(lower, level - 1, iova, permitted, found);
                }
                Found::Page {
                    size,
                    phys,
                    prot,
                    mut dirty,
                } => {
                    assert_eq!(iova % size, 0, "a run does not start where it has to");
                    // Skips the other entries of the run.
                    for _ in 1..size >> size_lg2 {
                        let (_, other) = read(index);
                        let Found::Page {
                            size: other_size,
                            phys: other_phys,
                            prot: other_prot,
                            dirty: other_dirty,
                        } = other
                        else {
                            panic!("a run has an entry that is no page");
                        };

                        assert_eq!(
                            (other_size, other_phys, other_prot),
                            (size, phys, prot),
                            "the entries of a run do not agree"
                        );
                        dirty |= other_dirty;
                        index += 1;
                    }
                    found.push(Leaf {
                        iova,
                        size,
                        phys,
                        prot: restrict(prot, permitted),
                        dirty,
                    });
                }
            }
        }
    }
}
