// SPDX-License-Identifier: GPL-2.0

//! One SMMU, from takeover to release.
//!
//! | file | what |
//! |---|---|
//! | `firmware` | the SMMUs that the kernel has found in the device tree or in IORT |
//! | `regs`, `mmio` | registers |
//! | `stream_table` | the stream table in memory |
//! | `domain_tags` | VMIDs, and ASIDs with a context descriptor each |
//! | `ats_streams` | the streams whose devices may hold translations of a domain (ATS), pure |
//! | `positions` | which commands are in the command queue, and how far the unit is, pure |
//! | `command_queue` | the command queue: completion, command errors |
//! | `batch` | commands that are executed together |
//! | `output_queue` | the event queue and the PRI queue in memory |
//! | `hardware` | all of the above, and the steps of a unit's life |
//! | `faults` | reports events and global errors |
//! | `pri_queue` | refuses page requests |
//! | `irq` | interrupts |
//! | `smmu_unit` | how hardware and interrupts are made from what firmware says |

pub(super) mod ats_streams;
pub(super) mod batch;
pub(super) mod command_queue;
pub(super) mod domain_tags;
mod faults;
pub(super) mod firmware;
pub(super) mod hardware;
pub(super) mod irq;
pub(super) mod mmio;
mod output_queue;
mod positions;
mod pri_queue;
pub(super) mod regs;
pub(super) mod smmu_unit;
pub(super) mod stream_table;
