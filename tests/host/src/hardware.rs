// SPDX-License-Identifier: GPL-2.0

//! A unit that walks VT-d second-stage tables, written from the specification alone (sections 3.7,
//! 6.2 and 9.8) and sharing no code with the format under test.
//!
//! It caches all it can, leaves and intermediate entries, for ever: only an invalidation takes
//! something out. And it notices when it is sent into memory that was freed.

use crate::memory::HostMemory;

/// Why an access was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// No entry, or not the permission.
    Refused,
    /// A bit is set that has to be 0.
    Reserved,
    /// An entry, or a cached one, led to a table that was freed.
    FreedTable,
}

/// A translation, as found in a table or cached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaf {
    /// First address that it translates.
    pub iova: u64,
    /// Number of bytes that it translates.
    pub size: u64,
    /// What `iova` is translated to.
    pub phys: u64,
    /// Whether reading is permitted.
    pub read: bool,
    /// Whether writing is permitted.
    pub write: bool,
    /// Whether the dirty bit is set.
    pub dirty: bool,
    /// Whether the snoop bit is set.
    pub snoop: bool,
}

struct CachedTable {
    level: u32,
    first: u64,
    last: u64,
    table: u64,
}

/// One unit, with its caches.
pub struct Hardware {
    memory: HostMemory,
    root: u64,
    levels: u32,
    /// Whether it snoops the CPU's caches.
    coherent: bool,
    /// Whether it sets accessed and dirty bits.
    record: bool,
    leaves: Vec<Leaf>,
    tables: Vec<CachedTable>,
}

fn bit(value: u64, n: u32) -> bool {
    value >> n & 1 == 1
}

fn bits(value: u64, high: u32, low: u32) -> u64 {
    value >> low & (u64::MAX >> (63 - (high - low)))
}

impl Hardware {
    /// Makes a unit that walks from `root`.
    pub fn new(memory: &HostMemory, root: u64, levels: u8, coherent: bool) -> Self {
        Self {
            memory: memory.clone(),
            root,
            levels: u32::from(levels),
            coherent,
            record: false,
            leaves: Vec::new(),
            tables: Vec::new(),
        }
    }

    /// Lets it set accessed and dirty bits (SSADS).
    pub fn record(mut self) -> Self {
        self.record = true;
        self
    }

    /// Decodes an entry of level 1 (the lowest, as the specification counts) to 5.
    ///
    /// `Ok(None)` if it is not present, else whether it is a leaf and the address in it.
    fn decode(level: u32, entry: u64) -> Result<Option<(bool, u64)>, Fault> {
        let present = bit(entry, 0) || bit(entry, 1);

        if !present {
            return Ok(None);
        }
        // Bits 6:2 are EMT, IPAT and reserved: nobody asked for these.
        if bits(entry, 6, 2) != 0 {
            return Err(Fault::Reserved);
        }

        let frame = bits(entry, 51, 12);
        let large = bit(entry, 7);
        match level {
            1 => Ok(Some((true, frame << 12))),
            2 if large && bits(entry, 20, 12) != 0 => Err(Fault::Reserved),
            3 if large && bits(entry, 29, 12) != 0 => Err(Fault::Reserved),
            2 | 3 if large => Ok(Some((true, frame << 12))),
            4 | 5 if large => Err(Fault::Reserved),
            _ => Ok(Some((false, frame << 12))),
        }
    }

    /// Makes an access, and returns the memory that it goes to.
    pub fn access(&mut self, iova: u64, write: bool) -> Result<u64, Fault> {
        let cached = self.leaves.iter().find(|leaf| {
            (leaf.iova..=leaf.iova + (leaf.size - 1)).contains(&iova)
                && (!write || !self.record || leaf.dirty)
        });
        let leaf = match cached {
            Some(leaf) => *leaf,
            None => self.walk(iova, write)?,
        };

        match if write { leaf.write } else { leaf.read } {
            true => Ok(leaf.phys + (iova - leaf.iova)),
            false => Err(Fault::Refused),
        }
    }

    fn walk(&mut self, iova: u64, write: bool) -> Result<Leaf, Fault> {
        // It starts as low as its cached intermediate entries allow.
        let (mut level, mut table) = self
            .tables
            .iter()
            .filter(|cached| (cached.first..=cached.last).contains(&iova))
            .min_by_key(|cached| cached.level)
            .map_or((self.levels, self.root), |cached| {
                (cached.level, cached.table)
            });

        loop {
            let shift = 12 + 9 * (level - 1);
            let index = bits(iova, shift + 8, shift) as usize;
            let entry = self
                .memory
                .hardware_read(table, index, self.coherent)
                .ok_or(Fault::FreedTable)?;
            let size = 1u64 << shift;
            let first = iova & !(size - 1);

            match Self::decode(level, entry)? {
                None => return Err(Fault::Refused),
                Some((true, phys)) => {
                    let mut dirty = bit(entry, 9);

                    if self.record {
                        let set = 1 << 8 | u64::from(write && bit(entry, 1)) << 9;
                        if entry | set != entry
                            && !self.memory.hardware_set(table, index, entry, set)
                        {
                            continue;
                        }
                        dirty |= set >> 9 & 1 == 1;
                    }
                    let leaf = Leaf {
                        iova: first,
                        size,
                        phys,
                        read: bit(entry, 0),
                        write: bit(entry, 1),
                        dirty,
                        snoop: bit(entry, 11),
                    };
                    self.leaves.push(leaf);
                    return Ok(leaf);
                }
                Some((false, lower)) => {
                    level -= 1;
                    table = lower;
                    self.tables.push(CachedTable {
                        level,
                        first,
                        last: first + (size - 1),
                        table,
                    });
                }
            }
        }
    }

    /// Takes out what is cached for `first..=last`; with `tables` also intermediate entries.
    pub fn invalidate(&mut self, first: u64, last: u64, tables: bool) {
        self.leaves
            .retain(|leaf| leaf.iova > last || leaf.iova + (leaf.size - 1) < first);
        if tables {
            self.tables
                .retain(|cached| cached.first > last || cached.last < first);
        }
    }

    /// Takes out everything.
    pub fn invalidate_all(&mut self) {
        self.leaves.clear();
        self.tables.clear();
    }

    /// Reads all tables, past the caches, and returns every leaf in order.
    pub fn leaves(&self) -> Vec<Leaf> {
        let mut found = Vec::new();

        self.collect(self.root, self.levels, 0, &mut found);
        found
    }

    fn collect(&self, table: u64, level: u32, base: u64, found: &mut Vec<Leaf>) {
        let shift = 12 + 9 * (level - 1);

        for index in 0..512 {
            let entry = self
                .memory
                .hardware_read(table, index, self.coherent)
                .expect("an entry points to a table that was freed");
            let iova = base + ((index as u64) << shift);

            match Self::decode(level, entry).expect("an entry has a reserved bit") {
                None => assert_eq!(entry, 0, "an entry that is not present, and yet not empty"),
                Some((true, phys)) => found.push(Leaf {
                    iova,
                    size: 1 << shift,
                    phys,
                    read: bit(entry, 0),
                    write: bit(entry, 1),
                    dirty: bit(entry, 9),
                    snoop: bit(entry, 11),
                }),
                Some((false, lower)) => self.collect(lower, level - 1, iova, found),
            }
        }
    }
}
