// SPDX-License-Identifier: GPL-2.0

//! Entries of a unit's interrupt table (IRTE), which say where a message goes and whose it must be
//! (VT-d 9.9), and the messages that name them (5.1.2.2).

#![forbid(unsafe_code)]

use crate::{
    interrupt::{Delivery, Message, Target},
    requester::RequesterId,
};

/// Which requester ids an entry takes messages from.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// One id.
    Id(RequesterId),
    /// All ids of one bus: those of a PCI bus, whose devices share an id.
    Bus(u8),
}

impl Source {
    /// The check for a device that sends requests with `ids`; `None` if no entry can check them and
    /// no others.
    ///
    /// The bridge from PCI Express to PCI sends the requests of all devices behind it, some with
    /// their own id and others with that of device 0, function 0 on the secondary bus (PCI Express
    /// to PCI/PCI-X Bridge Specification 2.3). So all of them are in one group.
    pub fn of(ids: &[RequesterId]) -> Option<Self> {
        let (first, others) = ids.split_first()?;
        let bus = first.bus();
        let of_bridge = RequesterId::pci(bus, 0);
        if others.iter().all(|id| id == first) {
            Some(Self::Id(*first))
        } else if ids.iter().all(|id| id.bus() == bus) && others.contains(&of_bridge) {
            Some(Self::Bus(bus))
        } else {
            None
        }
    }

    /// Whether the entry takes messages of `id`.
    pub fn takes(self, id: RequesterId) -> bool {
        match self {
            Self::Id(own) => own == id,
            Self::Bus(bus) => id.bus() == bus,
        }
    }

    /// The upper half of an entry.
    ///
    /// | bits | field |
    /// |---|---|
    /// | 79:64 | SID: the id, or the first bus in its upper byte and the last one in its lower byte |
    /// | 81:80 | SQ: 0 compares the whole id |
    /// | 83:82 | SVT: 1 compares the id, 2 the bus |
    pub const fn upper(self) -> u64 {
        match self {
            Self::Id(id) => (id.raw() & 0xffff) as u64 | 1 << 18,
            Self::Bus(bus) => (bus as u64) << 8 | bus as u64 | 2 << 18,
        }
    }

    /// Reads the upper half of an entry that [`upper`](Self::upper) has made; `None` of any other.
    pub const fn decode(upper: u64) -> Option<Self> {
        match upper >> 18 & 3 {
            1 => Some(Self::Id(RequesterId::new((upper & 0xffff) as u32))),
            2 => Some(Self::Bus(upper as u8)),
            _ => None,
        }
    }
}

const PRESENT: u64 = 1 << 0;
const LOGICAL: u32 = 2;
const REDIRECTED: u32 = 3;
const DELIVERY: u32 = 5;
const VECTOR: u32 = 16;
const DESTINATION: u32 = 32;
/// A destination of 8 bits is in bits 47:40.
const SHORT_DESTINATION: u32 = 40;

/// The lower half of an entry; 0 refuses. With `x2apic` destinations have 32 bits (EIME), otherwise
/// 8.
///
/// | bits | field |
/// |---|---|
/// | 0 | P: 0 refuses |
/// | 1 | FPD: refusals are not reported; 0 |
/// | 2 | DM: the destination is a set |
/// | 3 | RH: one of the set gets it |
/// | 4 | TM: level-triggered; 0 |
/// | 7:5 | DLM: the delivery |
/// | 15 | IM: posted; 0 |
/// | 23:16 | vector |
/// | 63:32 | destination |
pub const fn lower(target: Option<Target>, x2apic: bool) -> u64 {
    let Some(target) = target else { return 0 };
    let redirected = matches!(target.delivery, Delivery::LowestPriority);
    PRESENT
        | (target.logical as u64) << LOGICAL
        | (redirected as u64) << REDIRECTED
        | target.delivery.code() << DELIVERY
        | (target.vector as u64) << VECTOR
        | match x2apic {
            true => (target.destination as u64) << DESTINATION,
            false => (target.destination as u64 & 0xff) << SHORT_DESTINATION,
        }
}

/// Where the lower half of an entry sends messages; `None` if it refuses them.
pub fn decode_lower(lower: u64, x2apic: bool) -> Option<Target> {
    let delivery = Delivery::from_code(lower >> DELIVERY & 7)?;
    (lower & PRESENT != 0).then_some(Target {
        vector: (lower >> VECTOR) as u8,
        delivery,
        logical: lower >> LOGICAL & 1 != 0,
        destination: match x2apic {
            true => (lower >> DESTINATION) as u32,
            false => (lower >> SHORT_DESTINATION) as u32 & 0xff,
        },
    })
}

/// Whether an entry can name `destination`.
pub const fn reaches(destination: u32, x2apic: bool) -> bool {
    x2apic || destination <= 0xff
}

/// The message for entry `index`. A device that has several entries in a row adds the number of the
/// entry to the data.
///
/// | bits of the address | field |
/// |---|---|
/// | 2 | bit 15 of the handle |
/// | 3 | SHV: the data is added to the handle |
/// | 4 | remappable format |
/// | 19:5 | bits 14:0 of the handle |
/// | 31:20 | 0xfee |
pub const fn message(index: u16) -> Message {
    let handle = index as u32;
    Message {
        address: 0xfee0_0000 | (handle & 0x7fff) << 5 | 1 << 4 | 1 << 3 | handle >> 15 << 2,
        data: 0,
    }
}
