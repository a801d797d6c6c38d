// SPDX-License-Identifier: GPL-2.0

//! Parts of a queue between software and a unit that do not depend on what is in the queue.
//!
//! - [`Slots`]: the ring of records in memory. The vendor knows how its indexes count.
//! - [`Index`]: the index of a slot in a ring, for vendors who count from 0 again after the last.
//! - [`Completions`]: the word in memory to which the unit writes the number of the last batch that
//!   it has done.
//! - [`QueueMemory`]: the memory of a queue that has both.
//! - [`GivenUp`]: whether the queue never gets another batch.

#![forbid(unsafe_code)]

#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
mod tests;

use core::marker::PhantomData;

use kernel::{
    prelude::*,
    sync::atomic::{Acquire, Atomic, Full, Relaxed},
};

use super::unit_memory::Pages;
use crate::{
    addr::PhysAddr,
    pgtable::{kernel_memory::KernelEntry, Entry},
};

/// The ring of a queue: records of `WORDS` 64-bit words, next to each other. Initially they are 0.
pub(crate) struct Slots<const WORDS: usize> {
    pages: Pages,
}

impl<const WORDS: usize> Slots<WORDS> {
    /// A ring of `count` records, preferably on memory node `node`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(node: i32, count: usize) -> Result<Self> {
        Ok(Self {
            pages: Pages::new(node, count * WORDS * size_of::<u64>())?,
        })
    }

    /// Where the ring is.
    pub(crate) fn addr(&self) -> PhysAddr {
        self.pages.addr()
    }

    #[inline(always)]
    fn slot(&self, index: usize) -> &[KernelEntry] {
        &self.pages.words()[index * WORDS..][..WORDS]
    }

    /// The record in slot `index`. Its lowest word is read first.
    #[inline]
    pub(crate) fn read(&self, index: usize) -> [u64; WORDS] {
        let slot = self.slot(index);
        core::array::from_fn(|word| slot[word].load())
    }

    /// Writes slot `index`, its lowest word first. The kernel orders a later write of a register,
    /// which tells the unit, after this.
    #[inline]
    pub(crate) fn write(&self, index: usize, words: [u64; WORDS]) {
        for (to, word) in self.slot(index).iter().zip(words) {
            to.store(word);
        }
    }

    /// Makes memory and the processors' caches agree on slot `index`, for a unit whose accesses do
    /// not snoop them. To be called after a write, and before a read of what the unit has written.
    #[inline]
    pub(crate) fn flush(&self, index: usize) {
        self.pages.flush(self.slot(index));
    }

    /// As [`flush`](Self::flush), for all slots.
    pub(crate) fn flush_all(&self) {
        self.pages.flush(self.pages.words());
    }
}

/// The index of a slot in a ring of `COUNT` slots, a power of two.
///
/// # Invariants
///
/// The index is below `COUNT`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Index<const COUNT: usize>(usize);

impl<const COUNT: usize> Index<COUNT> {
    const MASK: usize = {
        assert!(COUNT.is_power_of_two());
        COUNT - 1
    };

    /// The first slot.
    pub(crate) const FIRST: Self = Self(0);

    /// The slot that is `count` slots after the first, if the ring begins again after its end.
    #[inline(always)]
    pub(crate) const fn new(count: usize) -> Self {
        // INVARIANT: The mask leaves less than `COUNT`.
        Self(count & Self::MASK)
    }

    /// The index. The mask, which changes nothing, shows the compiler the invariant.
    #[inline(always)]
    pub(crate) const fn get(self) -> usize {
        self.0 & Self::MASK
    }

    /// The next slot.
    #[inline(always)]
    pub(crate) const fn next(self) -> Self {
        Self::new(self.0.wrapping_add(1))
    }

    /// How many slots there are from this one up to, not including, `end`.
    #[inline(always)]
    pub(crate) const fn up_to(self, end: Self) -> usize {
        end.0.wrapping_sub(self.0) & Self::MASK
    }
}

/// The number of a batch. Batches are numbered in order, and the numbers wrap around.
pub(crate) trait Number: Copy {
    /// The number in a word that the unit has written.
    fn in_word(word: u64) -> Self;

    /// The number of the next batch.
    fn next(self) -> Self;

    /// Whether `number` is `wanted` or later. The two are less than half of all numbers apart.
    fn is_reached(wanted: Self, number: Self) -> bool;
}

impl Number for u32 {
    #[inline]
    fn in_word(word: u64) -> Self {
        word as u32
    }

    #[inline]
    fn next(self) -> Self {
        self.wrapping_add(1)
    }

    #[inline]
    fn is_reached(wanted: Self, number: Self) -> bool {
        number.wrapping_sub(wanted) as i32 >= 0
    }
}

impl Number for u64 {
    #[inline]
    fn in_word(word: u64) -> Self {
        word
    }

    #[inline]
    fn next(self) -> Self {
        self.wrapping_add(1)
    }

    #[inline]
    fn is_reached(wanted: Self, number: Self) -> bool {
        number.wrapping_sub(wanted) as i64 >= 0
    }
}

/// Which batches a unit has done. The unit does them in order, and writes the number of each to
/// memory when it is done. The first batch has number 1.
pub(crate) struct Completions<N> {
    pages: Pages,
    _number: PhantomData<fn() -> N>,
}

impl<N: Number> Completions<N> {
    /// The unit gets a page of its own to write to. It writes the first word.
    const BYTES: usize = 4096;

    /// No batch is done. The memory is preferably on node `node`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(node: i32) -> Result<Self> {
        Ok(Self {
            pages: Pages::new(node, Self::BYTES)?,
            _number: PhantomData,
        })
    }

    /// The address that the unit has to write to.
    #[inline]
    pub(crate) fn addr(&self) -> PhysAddr {
        self.pages.addr()
    }

    /// The number that the unit wrote last.
    #[inline]
    pub(crate) fn last(&self) -> N {
        N::in_word(self.pages.words()[0].load())
    }

    /// Whether the unit has done batch `number` and all before it.
    #[inline]
    pub(crate) fn is_done(&self, number: N) -> bool {
        N::is_reached(number, self.last())
    }

    /// As [`is_done`](Self::is_done), and the unit has dropped nothing since `drops` was noted. If
    /// it has, another processor's batch, which was submitted later, may have a number that says
    /// nothing of batch `number`.
    #[cfg_attr(not(CONFIG_IOMMU_CORE_INTEL), allow(dead_code))]
    #[inline]
    pub(crate) fn is_done_since(&self, drops: u32, number: N) -> bool {
        let words = &self.pages.words()[..2];
        N::is_reached(number, N::in_word(words[0].load())) && words[1].load() == drops.into()
    }

    /// How often the unit has dropped batches, as was noted.
    #[cfg_attr(not(CONFIG_IOMMU_CORE_INTEL), allow(dead_code))]
    pub(crate) fn drops(&self) -> u32 {
        self.pages.words()[1].load() as u32
    }

    /// Notes how often the unit has dropped batches. The kernel orders a later write of a register,
    /// by which the unit gets another batch, after this.
    #[cfg_attr(not(CONFIG_IOMMU_CORE_INTEL), allow(dead_code))]
    pub(crate) fn note_drops(&self, drops: u32) {
        self.pages.words()[1].store(drops.into());
    }

    /// Writes in place of the unit that batch `number` is done.
    #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
    pub(crate) fn play(&self, number: u64) {
        self.pages.words()[0].store(number);
    }
}

/// The memory of a queue whose unit writes the numbers of batches: the ring, and the number.
pub(crate) struct QueueMemory<const WORDS: usize, N> {
    pub(crate) slots: Slots<WORDS>,
    pub(crate) completions: Completions<N>,
}

impl<const WORDS: usize, N: Number> QueueMemory<WORDS, N> {
    /// A ring of `count` records, and no batch done. The memory is preferably on node `node`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(node: i32, count: usize) -> Result<Self> {
        Ok(Self {
            slots: Slots::new(node, count)?,
            completions: Completions::new(node)?,
        })
    }
}

/// Whether a queue cannot be used any more, and never gets another batch.
pub(crate) struct GivenUp(Atomic<bool>);

impl GivenUp {
    /// The queue works.
    pub(crate) const fn new() -> Self {
        Self(Atomic::new(false))
    }

    /// Whether it cannot be used any more.
    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Acquire)
    }

    /// Says that the queue cannot be used any more, for `reason`. Returns `reason` to the first
    /// caller, which has to block everything behind the unit, and `earlier` to every later one.
    pub(crate) fn set<F>(&self, reason: F, earlier: F) -> F {
        match self.0.xchg(true, Full) {
            false => reason,
            true => earlier,
        }
    }

    /// Says that the queue works, because the unit starts again.
    pub(crate) fn clear(&self) {
        self.0.store(false, Relaxed);
    }
}
