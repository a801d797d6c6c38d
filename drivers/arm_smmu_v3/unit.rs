// SPDX-License-Identifier: GPL-2.0

//! One SMMU, from takeover to release.
//!
//! | file | what |
//! |---|---|
//! | `firmware` | the SMMUs that the kernel has found in the device tree or in IORT |
//! | `regs`, `mmio` | registers |
//! | `stream_table` | the stream table in memory |
//! | `asids` | ASIDs, VMIDs, and the context descriptor of each ASID |
//! | `ats_streams` | which streams may hold translations of a domain in a TLB of their own, pure |
//! | `command_queue` | the command queue |
//! | `output_queue` | the queues that the SMMU fills, in memory |
//! | `hardware` | all of the above: start, stop, suspend, resume |
//! | `faults` | reads the event queue and the SMMU's own errors |
//! | `pri_queue` | reads the PRI queue, and refuses page requests |
//! | `irq` | interrupts |
//! | `smmu_unit` | the SMMU: what firmware says of it, its hardware and its interrupts |

pub(super) mod asids;
pub(super) mod ats_streams;
pub(super) mod command_queue;
mod faults;
pub(super) mod firmware;
pub(super) mod hardware;
pub(super) mod irq;
pub(super) mod mmio;
mod output_queue;
mod pri_queue;
pub(super) mod regs;
pub(super) mod smmu_unit;
pub(super) mod stream_table;
