// SPDX-License-Identifier: GPL-2.0

//! A small set, ordered by key, that never allocates while a spinlock is held.
//!
//! 1. The caller allocates room without its lock.
//! 2. It takes the lock and checks again whether the room is sufficient.
//! 3. It passes the room to [`OrderedSet::insert`] with the item.

#![forbid(unsafe_code)]

#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
mod tests;

use kernel::{alloc::kvec::InsertError, prelude::*};

/// An item of an [`OrderedSet`].
pub trait Keyed {
    /// Orders and identifies items.
    type Key: Copy + Ord;

    /// The item's key. It does not change while the item is in a set.
    fn key(&self) -> Self::Key;
}

/// Items in the order of their keys.
///
/// # Invariants
///
/// The keys in `items` ascend strictly.
pub struct OrderedSet<T: Keyed> {
    items: KVec<T>,
}

impl<T: Keyed> OrderedSet<T> {
    /// An empty set.
    pub const fn new() -> Self {
        Self { items: KVec::new() }
    }

    // Attaches look up, several times each; these sets have few items.
    #[inline(always)]
    fn search(&self, key: T::Key) -> Result<usize, usize> {
        self.items.binary_search_by_key(&key, Keyed::key)
    }

    /// The number of items.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// All items in the order of their keys.
    pub fn iter(&self) -> core::slice::Iter<'_, T> {
        self.items.iter()
    }

    /// The items whose keys are greater than `key`, in order; all items for `None`.
    pub fn after(&self, key: Option<T::Key>) -> core::slice::Iter<'_, T> {
        let first = match key.map(|key| self.search(key)) {
            None => 0,
            Some(Ok(index)) => index + 1,
            Some(Err(index)) => index,
        };
        self.items[first..].iter()
    }

    /// The item with `key`, to read.
    // The hosted frontend needs it.
    #[cfg_attr(not(CONFIG_IOMMU_CORE_HOSTED), allow(dead_code))]
    pub fn get(&self, key: T::Key) -> Option<&T> {
        self.items.get(self.search(key).ok()?)
    }

    /// The item with `key`.
    #[inline(always)]
    pub fn get_mut(&mut self, key: T::Key) -> Option<&mut T> {
        let index = self.search(key).ok()?;
        self.items.get_mut(index)
    }

    /// Inserts `item` in order. If the set's own memory is full, the items move to the memory of
    /// `room`, and `room` gets the set's old memory.
    ///
    /// Does not allocate.
    ///
    /// # Errors
    ///
    /// Returns the item if there is no room for it, or if the set has an item with its key.
    pub fn insert(&mut self, item: T, room: &mut KVec<T>) -> Result<(), T> {
        let Err(index) = self.search(item.key()) else {
            return Err(item);
        };
        if self.items.len() == self.items.capacity() {
            if room.capacity() <= self.items.len() {
                return Err(item);
            }
            room.clear();
            for old in self.items.drain_all() {
                // `room` has capacity for all of them.
                let _ = room.push_within_capacity(old);
            }
            core::mem::swap(&mut self.items, room);
        }
        // INVARIANT: `search` returned the index that keeps the keys in order.
        match self.items.insert_within_capacity(index, item) {
            Ok(()) => Ok(()),
            Err(InsertError::OutOfCapacity(item) | InsertError::IndexOutOfBounds(item)) => {
                Err(item)
            }
        }
    }

    /// Removes and returns the item with `key`.
    pub fn remove(&mut self, key: T::Key) -> Option<T> {
        let index = self.search(key).ok()?;
        self.items.remove(index).ok()
    }
}
