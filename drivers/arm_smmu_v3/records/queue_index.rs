// SPDX-License-Identifier: GPL-2.0

//! Producer and consumer indexes of a circular queue (SMMUv3 IHI 0070, 3.5.1).
//!
//! An index has as many bits as are needed to name an entry, and above them a bit that changes
//! each time the index wraps around: it tells a full queue from an empty one. In the queues that
//! the unit fills, bit 31 of the producer index changes when records were lost because the queue
//! was full, and software answers by making bit 31 of the consumer index the same (7.4).

#![forbid(unsafe_code)]

/// Bit 31: the overflow flag (OVFLG) of a producer index, and its acknowledgement (OVACKFLG) in the
/// consumer index.
const OVERFLOW: u32 = 1 << 31;

/// The size of a queue: what its indexes mean.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Ring {
    shift: u8,
}

impl Ring {
    /// A queue with 2^`shift` entries; no queue has more than 2^19 (SMMU_IDR1).
    pub const fn new(shift: u8) -> Self {
        Self {
            shift: if shift > 19 { 19 } else { shift },
        }
    }

    /// Binary logarithm of the number of entries, as the base registers want it (LOG2SIZE).
    pub const fn shift(self) -> u8 {
        self.shift
    }

    /// How many entries there are.
    pub const fn entries(self) -> u32 {
        1 << self.shift
    }

    const fn wrap_mask(self) -> u32 {
        self.entries() << 1
    }

    /// The entry and the wrap bit: what an index counts with.
    const fn counter(self, index: u32) -> u32 {
        index & (self.wrap_mask() - 1)
    }

    /// The entry that an index names.
    pub const fn entry(self, index: u32) -> usize {
        (index & (self.entries() - 1)) as usize
    }

    /// Entries between the consumer and the producer: those that wait. Never more than there are:
    /// `None` if the two cannot both be true.
    pub const fn used(self, producer: u32, consumer: u32) -> Option<u32> {
        let used = self.counter(self.counter(producer).wrapping_sub(self.counter(consumer)));
        if used > self.entries() {
            None
        } else {
            Some(used)
        }
    }

    /// Entries that are free; 0 if the two indexes cannot both be true.
    pub const fn space(self, producer: u32, consumer: u32) -> u32 {
        match self.used(producer, consumer) {
            Some(used) => self.entries() - used,
            None => 0,
        }
    }

    /// Whether nothing waits.
    pub const fn is_empty(self, producer: u32, consumer: u32) -> bool {
        self.counter(producer) == self.counter(consumer)
    }

    /// The index `count` entries further on, with the same overflow flag.
    pub const fn advance(self, index: u32, count: u32) -> u32 {
        index & OVERFLOW | self.counter(self.counter(index).wrapping_add(count))
    }

    /// Whether the consumer has passed the entry at `position`, which was produced before
    /// `producer`, the index of the next entry.
    pub const fn consumed(self, producer: u32, consumer: u32, position: u32) -> bool {
        let since = self.counter(self.counter(producer).wrapping_sub(self.counter(position)));
        match self.used(producer, consumer) {
            Some(used) => since > used,
            None => false,
        }
    }

    /// Whether records were lost since software answered for the last time.
    pub const fn overflowed(self, producer: u32, consumer: u32) -> bool {
        (producer ^ consumer) & OVERFLOW != 0
    }

    /// The consumer index that answers an overflow: the flag of the producer.
    pub const fn acknowledge(self, producer: u32, consumer: u32) -> u32 {
        producer & OVERFLOW | self.counter(consumer)
    }

    /// The value of a queue's base register for entries at physical address `base`.
    ///
    /// | bits | field |
    /// |---|---|
    /// | 4:0 | LOG2SIZE |
    /// | 51:5 | address, aligned to the size of the queue |
    /// | 62 | RA or WA: allocate in caches |
    pub const fn base(self, base: u64) -> u64 {
        base & 0xf_ffff_ffff_ffe0 | self.shift as u64 | 1 << 62
    }
}

/// A reading of SMMU_CMDQ_CONS, the command queue's consumer register.
///
/// | bits | field |
/// |---|---|
/// | 19:0 | RD: index of the next command |
/// | 30:24 | ERR: why the unit stopped there |
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct CommandConsumer(pub u32);

impl CommandConsumer {
    /// The index without the reason.
    pub const fn index(self) -> u32 {
        self.0 & 0xf_ffff
    }

    /// Why the unit stopped; counts only while GERROR says that it did.
    pub const fn error(self) -> u8 {
        (self.0 >> 24 & 0x7f) as u8
    }
}
