// SPDX-License-Identifier: GPL-2.0

//! Invalidation descriptors (VT-d 6.5.2).

#![forbid(unsafe_code)]

use crate::drivers::shell::blocks::Block;

/// Bits 63:12 of a 64-bit word: the address of a 4 KiB page.
const PAGE_ADDRESS: u64 = !0xfff;

/// One 128-bit entry of the invalidation queue, low half first.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Descriptor(pub [u64; 2]);

/// What a context-cache invalidation covers (6.5.2.1).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum ContextScope {
    /// Everything.
    Global,
    /// One requester id.
    Device {
        /// The domain id of the old entry. It is 0 if the old entry was not present, which a unit
        /// in caching mode caches (6.1).
        domain: u16,
        /// The requester id.
        source: u16,
    },
}

/// What a PASID-cache invalidation covers (6.5.2.2). Only units in scalable mode have this cache.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum PasidScope {
    /// Everything.
    Global,
    /// The PASID table entries for one PASID that name a domain.
    Pasid {
        /// The domain id. It is 0 if the old entry was not present, which a unit in caching mode
        /// caches (6.1).
        domain: u16,
        /// The PASID; 0 for requests without one.
        pasid: u32,
    },
}

/// What an invalidation of the interrupt entry cache covers (6.5.2.7).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum InterruptScope {
    /// Everything.
    Global,
    /// One entry of the interrupt table.
    Entry {
        /// The entry.
        index: u16,
    },
}

/// How the unit tags what it caches of a domain (6.2.1), which decides how that is invalidated
/// (6.5.3.3).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Tagged {
    /// With the domain id: translations of a second-stage table, and in legacy mode all.
    ByDomain,
    /// With domain id and PASID: translations of a first-stage table, and in scalable mode those
    /// that pass untranslated.
    ByPasid,
}

/// What an invalidation of translations covers (6.5.2.3, 6.5.2.4).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum TlbScope {
    /// Everything cached under a domain id.
    Domain {
        /// The domain id.
        domain: u16,
    },
    /// Pages of one domain.
    Pages {
        /// The domain id.
        domain: u16,
        /// The pages.
        block: Block,
        /// Whether cached page tables may stay, because only leaf entries have changed (IH).
        leaves_only: bool,
    },
}

/// The bits of an invalidation of translations that do not depend on what it covers.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct TlbKind(u64);

impl TlbKind {
    /// For translations that are `tagged`. An IOTLB invalidation waits for the requests in flight
    /// that `drain` names. When it invalidates by PASID the unit waits for them by itself.
    #[inline]
    pub const fn new(tagged: Tagged, drain: Drain) -> Self {
        Self(match tagged {
            Tagged::ByDomain => Descriptor::IOTLB | drain.bits(),
            Tagged::ByPasid => Descriptor::PASID_IOTLB,
        })
    }

    /// For translations of requests with `pasid`, which are tagged by PASID; 0 for those without
    /// one, and for translations that are not.
    #[inline]
    pub const fn with_pasid(self, pasid: u32) -> Self {
        Self(self.0 | (pasid as u64) << 32)
    }
}

/// Granularity of context-cache and IOTLB invalidations, bits 5:4.
mod granularity {
    pub(super) const GLOBAL: u64 = 1 << 4;
    pub(super) const DOMAIN: u64 = 2 << 4;
    pub(super) const SELECTIVE: u64 = 3 << 4;
}

impl Descriptor {
    const CONTEXT: u64 = 1;
    const IOTLB: u64 = 2;
    const INTERRUPTS: u64 = 4;
    const WAIT: u64 = 5;
    const PASID_IOTLB: u64 = 6;
    const PASID_CACHE: u64 = 7;

    /// No descriptor: a place for one.
    pub const NONE: Self = Self([0; 2]);

    /// Invalidates the context cache.
    ///
    /// | bits | field |
    /// |---|---|
    /// | 3:0 | type, 1 |
    /// | 5:4 | granularity: 1 global, 2 domain, 3 device |
    /// | 31:16 | domain id |
    /// | 47:32 | source id |
    /// | 49:48 | function mask |
    pub const fn context(scope: ContextScope) -> Self {
        let low = match scope {
            ContextScope::Global => granularity::GLOBAL,
            ContextScope::Device { domain, source } => {
                granularity::SELECTIVE | (domain as u64) << 16 | (source as u64) << 32
            }
        };
        Self([Self::CONTEXT | low, 0])
    }

    /// Invalidates the PASID cache.
    ///
    /// | bits | field |
    /// |---|---|
    /// | 3:0 | type, 7 |
    /// | 5:4 | granularity: 0 domain, 1 one PASID of a domain, 3 global |
    /// | 31:16 | domain id |
    /// | 51:32 | PASID |
    pub const fn pasid_cache(scope: PasidScope) -> Self {
        let low = match scope {
            PasidScope::Global => 3 << 4,
            PasidScope::Pasid { domain, pasid } => {
                1 << 4 | (domain as u64) << 16 | (pasid as u64) << 32
            }
        };
        Self([Self::PASID_CACHE | low, 0])
    }

    /// Invalidates the interrupt entry cache.
    ///
    /// | bits | field |
    /// |---|---|
    /// | 3:0 | type, 4 |
    /// | 4 | granularity: 0 global, 1 by index |
    /// | 31:27 | IM: 2^IM entries; 0 |
    /// | 47:32 | index of the entry |
    pub const fn interrupt_entries(scope: InterruptScope) -> Self {
        let low = match scope {
            InterruptScope::Global => 0,
            InterruptScope::Entry { index } => 1 << 4 | (index as u64) << 32,
        };
        Self([Self::INTERRUPTS | low, 0])
    }

    /// Invalidates all that the IOTLB holds, by whatever it is tagged, and waits for the requests
    /// in flight that `drain` names.
    pub const fn all_translations(drain: Drain) -> Self {
        Self([Self::IOTLB | granularity::GLOBAL | drain.bits(), 0])
    }

    /// Invalidates what the IOTLB holds of `scope`.
    ///
    /// | bits | field |
    /// |---|---|
    /// | 3:0 | type: 2 by domain id, 6 by domain id and PASID |
    /// | 5:4 | granularity: 1 global (not by PASID), 2 domain or PASID, 3 pages |
    /// | 6 | DW: drain writes (not by PASID) |
    /// | 7 | DR: drain reads (not by PASID) |
    /// | 31:16 | domain id |
    /// | 51:32 | PASID (not by domain id); 0 for requests without one |
    /// | 69:64 | AM: 2^AM pages |
    /// | 70 | IH: leaf entries only |
    /// | 127:76 | page address |
    #[inline]
    pub const fn translations(TlbKind(kind): TlbKind, scope: TlbScope) -> Self {
        match scope {
            TlbScope::Domain { domain } => {
                Self([kind | granularity::DOMAIN | (domain as u64) << 16, 0])
            }
            TlbScope::Pages {
                domain,
                block,
                leaves_only,
            } => Self([
                kind | granularity::SELECTIVE | (domain as u64) << 16,
                block.address & PAGE_ADDRESS
                    | (leaves_only as u64) << 6
                    | (block.order & 0x3f) as u64,
            ]),
        }
    }

    /// A global invalidation that covers this one; `None` if this is no invalidation.
    pub const fn widest(self, drain: Drain) -> Option<Self> {
        match self.0[0] & 0xf {
            Self::CONTEXT => Some(Self::context(ContextScope::Global)),
            Self::PASID_CACHE => Some(Self::pasid_cache(PasidScope::Global)),
            Self::INTERRUPTS => Some(Self::interrupt_entries(InterruptScope::Global)),
            Self::IOTLB | Self::PASID_IOTLB => Some(Self::all_translations(drain)),
            _ => None,
        }
    }

    /// Writes `data` to physical address `status` when all earlier descriptors are done (6.5.2.8).
    ///
    /// The fence bit keeps the unit from executing later descriptors before that.
    ///
    /// | bits | field |
    /// |---|---|
    /// | 3:0 | type, 5 |
    /// | 5 | SW: write the status |
    /// | 6 | FN: fence |
    /// | 63:32 | status data |
    /// | 127:66 | status address, 4-byte aligned |
    pub const fn wait(status: u64, data: u32) -> Self {
        Self([
            Self::WAIT | 1 << 5 | 1 << 6 | (data as u64) << 32,
            status & !3,
        ])
    }
}

/// Which requests in flight an IOTLB invalidation waits for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Drain {
    /// Writes, which needs CAP.DWD.
    pub writes: bool,
    /// Reads, which needs CAP.DRD.
    pub reads: bool,
}

impl Drain {
    /// Bits 7:6 of an IOTLB invalidation.
    const fn bits(self) -> u64 {
        (self.writes as u64) << 6 | (self.reads as u64) << 7
    }
}

/// Invalidations without the queue: values of registers (6.5.1, 11.4.5 and 11.4.7). They work only
/// while the queue is off.
pub mod by_register {
    use super::Drain;

    /// ICC or IVT: starts an invalidation. The unit clears the bit when it has done it.
    pub const PENDING: u64 = 1 << 63;

    /// Byte offset of the context command register (CCMD).
    pub const CONTEXT_AT: usize = 0x28;

    /// Invalidates the whole context cache: CIRG, bits 62:61, is 1.
    pub const CONTEXT: u64 = PENDING | 1 << 61;

    /// Byte offset of the IOTLB invalidation register, if the IOTLB registers are at byte offset
    /// `iotlb`.
    pub const fn iotlb_at(iotlb: u32) -> usize {
        iotlb as usize + 8
    }

    /// Invalidates the whole IOTLB.
    ///
    /// | bits | field |
    /// |---|---|
    /// | 48 | DW: drain writes |
    /// | 49 | DR: drain reads |
    /// | 61:60 | IIRG: 1 global |
    /// | 63 | IVT |
    pub const fn iotlb(drain: Drain) -> u64 {
        PENDING | 1 << 60 | (drain.reads as u64) << 49 | (drain.writes as u64) << 48
    }
}
