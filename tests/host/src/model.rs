// SPDX-License-Identifier: GPL-2.0

//! What an address space is, without page tables: each page that is mapped, and to what.

use std::collections::BTreeMap;

use crate::{addr::Prot, hardware::Leaf};

const PAGE: u64 = 4096;

/// A stretch of addresses that is mapped to memory in one piece with one permission.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stretch {
    /// First address.
    pub iova: u64,
    /// Number of bytes.
    pub len: u64,
    /// What `iova` is mapped to.
    pub phys: u64,
    /// What is permitted.
    pub prot: Prot,
}

/// The reference.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Model(BTreeMap<u64, (u64, Prot)>);

impl Model {
    /// Returns how many bytes are mapped without a hole from `iova` on, but not more than `len`.
    pub fn mapped(&self, iova: u64, len: u64) -> u64 {
        (0..len / PAGE)
            .find(|page| !self.0.contains_key(&(iova + page * PAGE)))
            .map_or(len, |page| page * PAGE)
    }

    /// Returns how many bytes are free from `iova` on, but not more than `len`.
    pub fn free(&self, iova: u64, len: u64) -> u64 {
        self.0
            .range(iova..=iova + (len - 1))
            .next()
            .map_or(len, |(used, _)| used - iova)
    }

    /// Maps.
    pub fn map(&mut self, iova: u64, phys: u64, len: u64, prot: Prot) {
        for offset in (0..len).step_by(PAGE as usize) {
            assert!(self
                .0
                .insert(iova + offset, (phys + offset, prot))
                .is_none());
        }
    }

    /// Unmaps.
    pub fn unmap(&mut self, iova: u64, len: u64) {
        for offset in (0..len).step_by(PAGE as usize) {
            assert!(self.0.remove(&(iova + offset)).is_some());
        }
    }

    /// Returns what an address is mapped to.
    pub fn lookup(&self, iova: u64) -> Option<(u64, Prot)> {
        let (phys, prot) = self.0.get(&(iova & !(PAGE - 1)))?;

        Some((phys + iova % PAGE, *prot))
    }

    /// Returns all that is mapped, in as few stretches as possible.
    pub fn stretches(&self) -> Vec<Stretch> {
        join(self.0.iter().map(|(iova, (phys, prot))| Stretch {
            iova: *iova,
            len: PAGE,
            phys: *phys,
            prot: *prot,
        }))
    }
}

/// Returns what leaves map, in as few stretches as possible.
pub fn stretches(leaves: &[Leaf]) -> Vec<Stretch> {
    join(leaves.iter().map(|leaf| {
        let mut prot = Prot::NONE;

        if leaf.read {
            prot = prot | Prot::READ;
        }
        if leaf.write {
            prot = prot | Prot::WRITE;
        }
        if leaf.snoop {
            prot = prot | Prot::FORCE_SNOOP;
        }
        Stretch {
            iova: leaf.iova,
            len: leaf.size,
            phys: leaf.phys,
            prot,
        }
    }))
}

fn join(parts: impl Iterator<Item = Stretch>) -> Vec<Stretch> {
    let mut joined: Vec<Stretch> = Vec::new();

    for part in parts {
        match joined.last_mut() {
            Some(last)
                if last.iova + last.len == part.iova
                    && last.phys + last.len == part.phys
                    && last.prot == part.prot =>
            {
                last.len += part.len;
            }
            _ => joined.push(part),
        }
    }
    joined
}
