// SPDX-License-Identifier: GPL-2.0

//! A reference model of an address space without page tables: a map from each mapped page to its
//! memory.

use std::collections::BTreeMap;

use crate::{addr::Prot, hardware::Leaf};

/// A range of addresses that is mapped to contiguous memory with one permission.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stretch {
    /// First address.
    pub iova: u64,
    /// Number of bytes.
    pub len: u64,
    /// The output address of `iova`.
    pub phys: u64,
    /// The permissions.
    pub prot: Prot,
}

/// The reference.
#[derive(Clone, PartialEq, Debug)]
pub struct Model {
    page: u64,
    pages: BTreeMap<u64, (u64, Prot)>,
}

impl Default for Model {
    fn default() -> Self {
        Self::new(4096)
    }
}

impl Model {
    /// Creates an empty reference with pages of this size.
    pub fn new(page: u64) -> Self {
        Self {
            page,
            pages: BTreeMap::new(),
        }
    }

    /// Returns how many bytes are mapped without a hole from `iova` on, at most `len`.
    pub fn mapped(&self, iova: u64, len: u64) -> u64 {
        (0..len / self.page)
            .find(|page| !self.pages.contains_key(&(iova + page * self.page)))
            .map_or(len, |page| page * self.page)
    }

    /// Returns how many bytes are not mapped from `iova` on, at most `len`.
    pub fn free(&self, iova: u64, len: u64) -> u64 {
        self.pages
            .range(iova..=iova + (len - 1))
            .next()
            .map_or(len, |(used, _)| used - iova)
    }

    /// Maps.
    pub fn map(&mut self, iova: u64, phys: u64, len: u64, prot: Prot) {
        for offset in (0..len).step_by(self.page as usize) {
            assert!(self
                .pages
                .insert(iova + offset, (phys + offset, prot))
                .is_none());
        }
    }

    /// Unmaps.
    pub fn unmap(&mut self, iova: u64, len: u64) {
        for offset in (0..len).step_by(self.page as usize) {
            assert!(self.pages.remove(&(iova + offset)).is_some());
        }
    }

    /// Returns the output address and permissions of an address.
    pub fn lookup(&self, iova: u64) -> Option<(u64, Prot)> {
        let (phys, prot) = self.pages.get(&(iova & !(self.page - 1)))?;

        Some((phys + iova % self.page, *prot))
    }

    /// Returns all mappings as the smallest number of stretches.
    pub fn stretches(&self) -> Vec<Stretch> {
        join(self.pages.iter().map(|(iova, (phys, prot))| Stretch {
            iova: *iova,
            len: self.page,
            phys: *phys,
            prot: *prot,
        }))
    }
}

/// Returns the mappings of leaves as the smallest number of stretches.
pub fn stretches(leaves: &[Leaf]) -> Vec<Stretch> {
    join(leaves.iter().map(|leaf| Stretch {
        iova: leaf.iova,
        len: leaf.size,
        phys: leaf.phys,
        prot: leaf.prot,
    }))
}

fn join(parts: impl Iterator<Item = Stretch>) -> Vec<Stretch> {
    let mut joined: Vec<Stretch> = Vec::new();

    for part in parts {
        match joined.last_mut() {
            Some(last)
                if last.iova.wrapping_add(last.len) == part.iova
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
