// SPDX-License-Identifier: GPL-2.0

//! Armv8-A tables (VMSAv8-64, long descriptors) of stage 1 and stage 2, for each granule.
//!
//! Arm Architecture Reference Manual (DDI 0487), section D8.3 (translation table descriptor
//! formats). Levels are numbered from the bottom here, so Arm's level 3 is level 0.
//!
//! | bits | of an entry that points to a table | of a leaf, stage 1 | of a leaf, stage 2 |
//! |---|---|---|---|
//! | 1:0 | 3 | 3 in level 0 (page), 1 in others (block) | same |
//! | 5:2 | ignored | AttrIndx in 4:2: which part of MAIR | MemAttr |
//! | 6 | ignored | AP[1]: also for unprivileged accesses | S2AP[0]: read |
//! | 7 | ignored | AP[2]: read only; with DBM: not written yet | S2AP[1]: write |
//! | 9:8 | ignored | SH, shareability: 2 outer, 3 inner | SH |
//! | 10 | ignored | AF, accessed: 1, or the access faults | AF |
//! | 11 | ignored | nG, of one ASID | 0 |
//! | 47:12 | address of the table | address of the page or block | same |
//! | 51 | ignored | DBM: hardware clears AP[2] when it is written | 0 |
//! | 52 | ignored | contiguous: a run of entries may be cached as one | contiguous |
//! | 53 | ignored | PXN, no privileged instruction fetches | 0 |
//! | 54 | ignored | UXN, no unprivileged instruction fetches | XN[1], no instruction fetches |
//! | 58:55 | ignored | for software | for software |
//!
//! With the granule of 64 KiB bits 51:48 of an address are in bits 15:12.

#![forbid(unsafe_code)]

mod format;
mod shape;

pub use self::{
    format::{Granule16K, Granule4K, Granule64K, Stage1, Stage2},
    shape::{Control, GranuleSize, Shape, Stage, MAIR},
};
