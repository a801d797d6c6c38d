// SPDX-License-Identifier: GPL-2.0

//! The tags of domains on one unit: VMIDs, and ASIDs with a context descriptor (CD) each.
//!
//! All STEs of endpoints that are attached to a stage 1 domain point to the CD of the domain's
//! ASID. So such an STE depends on the domain only: if several devices share a stream, any of them
//! can take it over without a write. A CD is written before an STE points to it, and does not
//! change while one does.

#![forbid(unsafe_code)]

use core::mem;

use kernel::prelude::*;

use super::super::records::{
    capability::Capability,
    cd::{ContextDescriptor, CD_BYTES},
    ste::Words,
};
use crate::{
    addr::PhysAddr,
    drivers::shell::{tags::Tags, unit_memory::Pages},
    ffi::compat::{dma_mb, Write},
    pgtable::{kernel_memory::KernelEntry, Entry},
};

/// Bytes of memory that is allocated for CDs at a time.
const CHUNK_BYTES: usize = 4096;
/// CDs in a chunk.
const CHUNK_CDS: usize = CHUNK_BYTES / CD_BYTES;
/// 64-bit words of a CD.
const CD_WORDS: usize = CD_BYTES / 8;

/// Free and used ASIDs and VMIDs, and the CDs.
///
/// The CD of an ASID is number `asid % CHUNK_CDS` of chunk `asid / CHUNK_CDS`.
pub struct DomainTags {
    asids: Tags<KVec<u64>>,
    vmids: Tags<KVec<u64>>,
    chunks: KVec<Option<Pages>>,
    /// The memory node for chunks, negative for any.
    node: i32,
    /// Whether the unit's reads snoop the CPUs' caches.
    coherent: bool,
    /// Whether the unit may read CDs.
    in_use: bool,
}

impl DomainTags {
    /// All tags are free, and there is no CD.
    pub(super) fn new(node: i32, capability: &Capability) -> Result<Self> {
        let tags = |bits: u8| {
            let limit = 1 << bits;
            let words = KVec::from_elem(0, Tags::<KVec<u64>>::words_for(limit), GFP_KERNEL)?;
            // VMID 0 is that of all stage 1 domains, ASID 0 that of CDs that are not valid.
            Tags::new(words, limit, 1).ok_or(EINVAL)
        };
        let mut chunks = KVec::new();
        for _ in 0..(1usize << capability.asid_bits).div_ceil(CHUNK_CDS) {
            chunks.push(None, GFP_KERNEL)?;
        }
        Ok(Self {
            asids: tags(capability.asid_bits)?,
            vmids: tags(capability.vmid_bits)?,
            chunks,
            node,
            coherent: capability.coherent,
            in_use: false,
        })
    }

    /// Takes an ASID, and writes the CD that `describe` makes for it.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if none is free; `ENOMEM`.
    pub fn take_asid(&mut self, describe: impl FnOnce(u16) -> ContextDescriptor) -> Result<u16> {
        let asid = self.asids.take().ok_or(ENOSPC)?;
        let result = self.write_cd(asid, describe(asid).encode());
        if result.is_err() {
            let was_taken = self.asids.give_back(asid);
            debug_assert!(was_taken);
        }
        result.map(|()| asid)
    }

    /// Gives an ASID back. No STE points to its CD any more.
    pub fn give_asid_back(&mut self, asid: u16) {
        // The chunk is there, so this cannot fail.
        let _ = self.write_cd(asid, ContextDescriptor::INVALID);
        let was_taken = self.asids.give_back(asid);
        debug_assert!(was_taken);
    }

    /// Takes a VMID.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if none is free.
    pub fn take_vmid(&mut self) -> Result<u16> {
        self.vmids.take().ok_or(ENOSPC)
    }

    /// Gives a VMID back. No STE has it any more.
    pub fn give_vmid_back(&mut self, vmid: u16) {
        let was_taken = self.vmids.give_back(vmid);
        debug_assert!(was_taken);
    }

    /// The physical address of the CD of `asid`.
    pub fn address(&self, asid: u16) -> Option<u64> {
        let chunk = self.chunks.get(usize::from(asid) / CHUNK_CDS)?.as_ref()?;
        let offset = usize::from(asid) % CHUNK_CDS * CD_BYTES;
        Some(chunk.addr().raw() + offset as u64)
    }

    /// The ASID whose CD is at physical address `address`.
    pub fn asid_at(&self, address: u64) -> Option<u16> {
        let page = PhysAddr::new(address).align_down(CHUNK_BYTES as u64);
        let chunk = self
            .chunks
            .iter()
            .position(|chunk| chunk.as_ref().is_some_and(|chunk| chunk.addr() == page))?;
        let index = (address - page.raw()) as usize / CD_BYTES;
        u16::try_from(chunk * CHUNK_CDS + index).ok()
    }

    /// Writes a CD that no STE points to.
    fn write_cd(&mut self, asid: u16, words: Words) -> Result {
        let chunk = self
            .chunks
            .get_mut(usize::from(asid) / CHUNK_CDS)
            .ok_or(EINVAL)?;
        let chunk = match chunk {
            Some(chunk) => chunk,
            None => chunk.insert(Pages::new(self.node, CHUNK_BYTES)?),
        };
        let first = usize::from(asid) % CHUNK_CDS * CD_WORDS;
        let cd: &[KernelEntry] = &chunk.words()[first..first + CD_WORDS];
        for (to, word) in cd.iter().zip(words) {
            to.store(word);
        }
        if !self.coherent {
            chunk.flush(cd);
        }
        // The CD is complete before any STE points to it.
        dma_mb(Write);
        Ok(())
    }

    /// ASIDs in use and how many there can be, and the same of VMIDs.
    pub fn usage(&self) -> [(u32, u32); 2] {
        [&self.asids, &self.vmids].map(|tags| (tags.used(), tags.capacity()))
    }

    /// Says whether the unit may read CDs from now on.
    pub(super) fn set_in_use(&mut self, in_use: bool) {
        self.in_use = in_use;
    }
}

impl Drop for DomainTags {
    fn drop(&mut self) {
        if self.in_use {
            // The CDs leak, as the stream table does, whose message stands for both.
            mem::forget(mem::replace(&mut self.chunks, KVec::new()));
        }
    }
}
