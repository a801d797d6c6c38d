// SPDX-License-Identifier: GPL-2.0

//! The streams whose devices may hold translations of a domain in a TLB of their own (ATS).
//!
//! An invalidation of a domain must reach the TLBs of these devices. The list finds them by the
//! domain's tag, so an invalidation looks at no other device. A device is listed for the domain
//! that it is attached to. During an attach it is listed for the old domain and the new one, until
//! its TLB holds nothing of the old one; invalidations of either reach it.
//!
//! Pure: the caller brings the storage, so that kernel and host tests run the same code.

#![forbid(unsafe_code)]

use core::{cmp::Ordering, ops::DerefMut};

use super::super::records::command::Tag;

/// How often a device can be listed at a time.
const PER_DEVICE: usize = 2;

/// A stream whose device may hold translations of a domain.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct AtsStream {
    /// The domain.
    pub tag: Tag,
    /// The stream id.
    pub stream: u32,
    /// The device did not answer an invalidation. Since then its STE forbids ATS, so invalidations
    /// leave it out.
    pub unresponsive: bool,
    /// The number of the last invalidation that the device, which was asked alone, did not answer;
    /// 0 if there was none.
    pub silent: u64,
}

impl AtsStream {
    /// What unused storage is filled with.
    pub const FREE: Self = Self {
        tag: Tag::Stage2 { vmid: 0 },
        stream: 0,
        unresponsive: false,
        silent: 0,
    };

    fn order(&self, tag: Tag, stream: u32) -> Ordering {
        (self.tag, self.stream).cmp(&(tag, stream))
    }
}

/// The list of one unit.
///
/// # Invariants
///
/// 1. The first `used` of `storage` are listed, in the order of tag and stream id, none twice.
/// 2. `storage` has room for [`PER_DEVICE`] of each of `devices`.
pub struct AtsStreams<S> {
    storage: S,
    used: usize,
    devices: usize,
}

impl<S: DerefMut<Target = [AtsStream]>> AtsStreams<S> {
    /// An empty list.
    pub fn new(storage: S) -> Self {
        Self {
            storage,
            used: 0,
            devices: 0,
        }
    }

    /// Whether no stream is listed.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// For how many devices room is reserved.
    pub fn devices(&self) -> usize {
        self.devices
    }

    /// Reserves room for a device, so that [`insert`](Self::insert) never fails for it.
    ///
    /// # Errors
    ///
    /// The length of the storage that this takes, see [`grow`](Self::grow).
    pub fn reserve(&mut self) -> Result<(), usize> {
        let needed = (self.devices + 1) * PER_DEVICE;
        if needed > self.storage.len() {
            return Err(needed);
        }
        // INVARIANT: There is room.
        self.devices += 1;
        Ok(())
    }

    /// Gives the room of a device back, which is not listed any more.
    pub fn unreserve(&mut self) {
        self.devices = self.devices.saturating_sub(1);
    }

    /// Moves the list to `storage` if that is larger. Returns the storage that is not needed any
    /// more.
    pub fn grow(&mut self, mut storage: S) -> S {
        if storage.len() <= self.storage.len() {
            return storage;
        }
        for (to, from) in storage.iter_mut().zip(self.listed()) {
            *to = *from;
        }
        // INVARIANT: What is listed was copied, and there is more room than before.
        core::mem::replace(&mut self.storage, storage)
    }

    fn listed(&self) -> &[AtsStream] {
        self.storage.get(..self.used).unwrap_or_default()
    }

    fn find(&self, tag: Tag, stream: u32) -> Result<usize, usize> {
        self.listed()
            .binary_search_by(|listed| listed.order(tag, stream))
    }

    /// Lists a stream for `tag`, if it is not yet. Returns whether it is listed now, which is true
    /// if room is reserved for its device.
    #[must_use]
    pub fn insert(&mut self, tag: Tag, stream: u32) -> bool {
        let Err(at) = self.find(tag, stream) else {
            return true;
        };
        if self.used >= self.storage.len() {
            return false;
        }
        // INVARIANT: `find` returned the place where it belongs.
        self.storage.copy_within(at..self.used, at + 1);
        self.storage[at] = AtsStream {
            tag,
            stream,
            unresponsive: false,
            silent: 0,
        };
        self.used += 1;
        true
    }

    /// Takes a stream off the list for `tag`, if it is there.
    pub fn remove(&mut self, tag: Tag, stream: u32) {
        if let Ok(at) = self.find(tag, stream) {
            // INVARIANT: The others stay in order.
            self.storage.copy_within(at + 1..self.used, at);
            self.used -= 1;
        }
    }

    /// Takes a stream off the list, for whatever tags it is there.
    pub fn remove_all(&mut self, stream: u32) {
        let mut kept = 0;
        for at in 0..self.used {
            let listed = self.storage[at];
            if listed.stream != stream {
                self.storage[kept] = listed;
                kept += 1;
            }
        }
        // INVARIANT: The others stay in order.
        self.used = kept;
    }

    /// The streams that are listed for `tag`.
    #[inline]
    pub fn of(&self, tag: Tag) -> &[AtsStream] {
        let listed = self.listed();
        let start = listed.partition_point(|listed| listed.tag < tag);
        let rest = listed.get(start..).unwrap_or_default();
        let count = rest.partition_point(|listed| listed.tag == tag);
        rest.get(..count).unwrap_or_default()
    }

    /// The first stream behind `after`, or the first of all, that is listed for `tag`. The list may
    /// change between two calls.
    pub fn next_of(&self, tag: Tag, after: Option<u32>) -> Option<AtsStream> {
        let listed = self.of(tag);
        let at = listed.partition_point(|listed| Some(listed.stream) <= after);
        listed.get(at).copied()
    }

    /// Notes that the device of a stream, which was asked alone, did not answer invalidation
    /// `number`.
    pub fn set_silent(&mut self, stream: u32, number: u64) {
        for listed in self.storage.iter_mut().take(self.used) {
            if listed.stream == stream {
                listed.silent = number;
            }
        }
    }

    /// Whether the device of a stream did not answer an invalidation from `number` on.
    pub fn is_silent(&self, stream: u32, number: u64) -> bool {
        self.listed()
            .iter()
            .any(|listed| listed.stream == stream && listed.silent >= number)
    }

    /// Notes that the device of a stream is left out of invalidations.
    pub fn set_unresponsive(&mut self, stream: u32) {
        for listed in self.storage.iter_mut().take(self.used) {
            listed.unresponsive |= listed.stream == stream;
        }
    }

    /// Whether the stream is listed for `tag`, and its device does not answer.
    pub fn is_unresponsive(&self, tag: Tag, stream: u32) -> bool {
        self.find(tag, stream)
            .is_ok_and(|at| self.listed()[at].unresponsive)
    }
}
