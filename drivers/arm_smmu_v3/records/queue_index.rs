// SPDX-License-Identifier: GPL-2.0

//! Producer and consumer indexes of a circular queue (SMMUv3 IHI 0070, 3.5.1).
//!
//! The bit above those that name an entry changes each time the index wraps around. It tells a full
//! queue from an empty one. In the queues that the unit fills, bit 31 of the producer index changes
//! when records were lost because the queue was full. Software acknowledges that by making bit 31
//! of the consumer index the same (7.4).

#![forbid(unsafe_code)]

/// Bit 31: the overflow flag (OVFLG) of a producer index, and its acknowledgement (OVACKFLG) in the
/// consumer index.
const OVERFLOW: u32 = 1 << 31;

/// The size of a queue, which says what its indexes mean.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Ring {
    shift: u8,
}

impl Ring {
    /// A queue with 2^`shift` entries, 2^19 at most (SMMU_IDR1).
    pub const fn new(shift: u8) -> Self {
        Self {
            shift: if shift > 19 { 19 } else { shift },
        }
    }

    /// How many entries there are.
    pub const fn entries(self) -> u32 {
        1 << self.shift
    }

    const fn wrap_mask(self) -> u32 {
        self.entries() << 1
    }

    /// An index without its overflow flag: the entry and the wrap bit.
    const fn counter(self, index: u32) -> u32 {
        index & (self.wrap_mask() - 1)
    }

    /// The entry that an index names.
    pub const fn entry(self, index: u32) -> usize {
        (index & (self.entries() - 1)) as usize
    }

    /// How many entries are between consumer and producer; `None` if that is more than the queue
    /// has, so that one of the indexes is wrong.
    pub const fn used(self, producer: u32, consumer: u32) -> Option<u32> {
        let used = self.counter(self.counter(producer).wrapping_sub(self.counter(consumer)));
        if used > self.entries() {
            None
        } else {
            Some(used)
        }
    }

    /// Whether the queue is empty.
    pub const fn is_empty(self, producer: u32, consumer: u32) -> bool {
        self.counter(producer) == self.counter(consumer)
    }

    /// The index `count` entries further on, with the same overflow flag.
    pub const fn advance(self, index: u32, count: u32) -> u32 {
        index & OVERFLOW | self.counter(self.counter(index).wrapping_add(count))
    }

    /// Whether the consumer has passed the entry at `position`, which is before `producer`.
    pub const fn consumed(self, producer: u32, consumer: u32, position: u32) -> bool {
        let since = self.counter(self.counter(producer).wrapping_sub(self.counter(position)));
        match self.used(producer, consumer) {
            Some(used) => since > used,
            None => false,
        }
    }

    /// The index of the entry at `position`, where entries are counted from the first one on.
    pub const fn index(self, position: u64) -> u32 {
        self.counter(position as u32)
    }

    /// Whether the consumer of a command queue had passed `position` when it was read, or does not
    /// matter any more.
    ///
    /// `head` is a position that the consumer has passed, `submitted` one that it has not, and both
    /// only grow; `submitted - head` is never more than the queue has. Other processors may change
    /// both meanwhile. So they must be read after `consumer`, first `submitted`, then `head`. Then
    /// the index, which comes again and again, has only one meaning: if `head` has not passed
    /// `position`, it had not when the other two were read, so that they are less than twice the
    /// queue apart.
    pub const fn has_passed(
        self,
        head: u64,
        submitted: u64,
        consumer: CommandConsumer,
        position: u64,
    ) -> bool {
        head > position
            || !consumer.is_gone()
                && self.consumed(
                    self.index(submitted),
                    consumer.index(),
                    self.index(position),
                )
    }

    /// The position of the command at which the consumer is; `None` if it is not one that was
    /// submitted. `head` and `submitted` are as for [`has_passed`](Self::has_passed), and do not
    /// change meanwhile.
    pub const fn position(
        self,
        head: u64,
        submitted: u64,
        consumer: CommandConsumer,
    ) -> Option<u64> {
        let ahead = self.counter(consumer.index().wrapping_sub(self.index(head)));
        let position = head + ahead as u64;
        if consumer.is_gone() || position >= submitted {
            None
        } else {
            Some(position)
        }
    }

    /// Whether records were lost since software last acknowledged that.
    pub const fn overflowed(self, producer: u32, consumer: u32) -> bool {
        (producer ^ consumer) & OVERFLOW != 0
    }

    /// The consumer index that acknowledges an overflow: it has the producer's flag.
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
    /// Whether the register reads as all ones, because the unit is not there.
    pub const fn is_gone(self) -> bool {
        self.0 == u32::MAX
    }

    /// The index without the reason.
    pub const fn index(self) -> u32 {
        self.0 & 0xf_ffff
    }

    /// Why the unit stopped. Valid only while CMDQ_ERR is active in GERROR.
    pub const fn error(self) -> u8 {
        (self.0 >> 24 & 0x7f) as u8
    }
}
