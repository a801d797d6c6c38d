// SPDX-License-Identifier: GPL-2.0

//! ASIDs and VMIDs, and the context descriptor that goes with each ASID.
//!
//! A stage 1 domain has one context descriptor on each unit where it has an ASID, and all stream
//! table entries that are attached to it point there. So an entry depends on the domain and on
//! nothing else: streams that several devices share can change hands without being written. A
//! descriptor is written before any entry points to it, and never changes while one does.

#![forbid(unsafe_code)]

use kernel::{
    prelude::*,
    sync::barrier::{dma_mb, Write},
};

use super::super::records::{
    capability::Capability,
    cd::{Context, CONTEXT_BYTES},
    ste::Words,
};
use crate::{
    addr::PhysAddr,
    drivers::shell::tags::Tags,
    pgtable::{
        kernel_memory::{Gfp, KernelEntry, KernelMemory},
        Entry, Table, TableMemory,
    },
};

/// Bytes that are allocated at once.
const CHUNK_BYTES: usize = 4096;
/// Descriptors in a chunk.
const CHUNK: usize = CHUNK_BYTES / CONTEXT_BYTES;
/// 64-bit words of a descriptor.
const WORDS: usize = CONTEXT_BYTES / 8;

/// The descriptor with this ASID is at `asid % CHUNK` of chunk `asid / CHUNK`.
///
/// # Invariants
///
/// `chunks` are tables of `memory`.
pub struct Contexts {
    memory: KernelMemory,
    asids: Tags<KVec<u64>>,
    vmids: Tags<KVec<u64>>,
    chunks: KVec<Option<Table>>,
    coherent: bool,
    /// Whether the unit may read descriptors. They are not freed then.
    in_use: bool,
}

impl Contexts {
    /// No descriptor, and all names free.
    pub(super) fn new(node: i32, capability: &Capability) -> Result<Self> {
        let tags = |bits: u8| {
            let limit = 1 << bits;
            let words = KVec::from_elem(0, Tags::<KVec<u64>>::words_for(limit), GFP_KERNEL)?;
            // VMID 0 marks what stage 1 caches; ASID 0 is what forgotten descriptors have.
            Tags::new(words, limit, 1).ok_or(EINVAL)
        };
        let mut chunks = KVec::new();
        for _ in 0..(1usize << capability.asid_bits).div_ceil(CHUNK) {
            chunks.push(None, GFP_KERNEL)?;
        }
        Ok(Self {
            memory: KernelMemory::new(node),
            asids: tags(capability.asid_bits)?,
            vmids: tags(capability.vmid_bits)?,
            chunks,
            coherent: capability.coherent,
            in_use: false,
        })
    }

    /// Takes an ASID, and writes the descriptor that `context` makes of it.
    ///
    /// # Errors
    ///
    /// `ENOSPC`, `ENOMEM`.
    pub fn take_asid(&mut self, context: impl FnOnce(u16) -> Context) -> Result<u16> {
        let asid = self.asids.take().ok_or(ENOSPC)?;
        let result = self.write(asid, context(asid).encode());
        if result.is_err() {
            let was_taken = self.asids.give_back(asid);
            debug_assert!(was_taken);
        }
        result.map(|()| asid)
    }

    /// Gives an ASID back that no entry uses any more.
    pub fn give_asid_back(&mut self, asid: u16) {
        // There is a descriptor, so this cannot fail.
        let _ = self.write(asid, Context::INVALID);
        let was_taken = self.asids.give_back(asid);
        debug_assert!(was_taken);
    }

    /// Takes a VMID.
    ///
    /// # Errors
    ///
    /// `ENOSPC`.
    pub fn take_vmid(&mut self) -> Result<u16> {
        self.vmids.take().ok_or(ENOSPC)
    }

    /// Gives a VMID back that no entry uses any more.
    pub fn give_vmid_back(&mut self, vmid: u16) {
        let was_taken = self.vmids.give_back(vmid);
        debug_assert!(was_taken);
    }

    /// Where the descriptor of `asid` is.
    pub fn address(&self, asid: u16) -> Option<u64> {
        let chunk = (*self.chunks.get(usize::from(asid) / CHUNK)?)?;
        let offset = usize::from(asid) % CHUNK * CONTEXT_BYTES;
        Some(chunk.addr().raw() + offset as u64)
    }

    /// The ASID whose descriptor is at `address`.
    pub fn asid_at(&self, address: u64) -> Option<u16> {
        let page = PhysAddr::new(address).align_down(CHUNK_BYTES as u64);
        let chunk = self
            .chunks
            .iter()
            .position(|chunk| chunk.is_some_and(|chunk| chunk.addr() == page))?;
        let slot = (address - page.raw()) as usize / CONTEXT_BYTES;
        u16::try_from(chunk * CHUNK + slot).ok()
    }

    /// Writes a descriptor that no entry points to.
    fn write(&mut self, asid: u16, words: Words) -> Result {
        let chunk = self
            .chunks
            .get_mut(usize::from(asid) / CHUNK)
            .ok_or(EINVAL)?;
        let table = match chunk {
            Some(table) => *table,
            None => {
                let table = self.memory.alloc(CHUNK_BYTES, Gfp::KERNEL).ok_or(ENOMEM)?;
                // INVARIANT: Just allocated.
                *chunk.insert(table)
            }
        };
        let at = usize::from(asid) % CHUNK * WORDS;
        let entry: &[KernelEntry] = &self.memory.entries(table, CHUNK * WORDS)[at..at + WORDS];
        for (to, word) in entry.iter().zip(words) {
            to.store(word);
        }
        if !self.coherent {
            self.memory.flush(entry);
        }
        // Before any entry that points here.
        dma_mb(Write);
        Ok(())
    }

    /// ASIDs in use and how many there can be, and the same of VMIDs.
    pub fn usage(&self) -> [(u32, u32); 2] {
        [&self.asids, &self.vmids].map(|tags| (tags.used(), tags.capacity()))
    }

    /// Says whether the unit may read descriptors from now on.
    pub(super) fn set_in_use(&mut self, in_use: bool) {
        self.in_use = in_use;
    }
}

impl Drop for Contexts {
    fn drop(&mut self) {
        if self.in_use {
            // The stream table, which is leaked as well, has said so.
            return;
        }
        for chunk in self.chunks.iter().flatten() {
            self.memory.free(*chunk);
        }
    }
}
