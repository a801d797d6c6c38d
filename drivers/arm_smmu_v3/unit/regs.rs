// SPDX-License-Identifier: GPL-2.0

//! Registers of a unit (IHI 0070 6.3).
//!
//! Registers of 64 bits are declared as two halves, which the specification allows (6.2): the
//! kernel's register type knows its region to be aligned to 32 bits only.
//!
//! Those of page 1 are at their offset from the start of that page, see
//! [`Registers`](super::mmio::Registers).

#![forbid(unsafe_code)]

use kernel::io::register;

register! {
    /// Identification 0. `records/capability.rs` decodes the identification registers.
    pub IDR0(u32) @ 0x00 {
        31:0 value;
    }

    /// Identification 1.
    pub IDR1(u32) @ 0x04 {
        31:0 value;
    }

    /// Identification 3.
    pub IDR3(u32) @ 0x0c {
        31:0 value;
    }

    /// Identification 5.
    pub IDR5(u32) @ 0x14 {
        31:0 value;
    }

    /// Implementation identification.
    pub IIDR(u32) @ 0x18 {
        31:0 value;
    }

    /// Architecture identification.
    pub AIDR(u32) @ 0x1c {
        31:0 value;
    }

    /// Control 0. A write takes effect when [`CR0ACK`] reads the same.
    pub CR0(u32) @ 0x20 {
        /// ATSCHK: check the STE also for translated transactions.
        4:4 check_translated => bool;
        /// CMDQEN: take commands.
        3:3 commands => bool;
        /// EVENTQEN: record events.
        2:2 events => bool;
        /// PRIQEN: record page requests.
        1:1 requests => bool;
        /// SMMUEN: translate.
        0:0 translation => bool;
    }

    /// The bits of [`CR0`] that have taken effect.
    pub CR0ACK(u32) @ 0x24 {
        31:0 value;
    }

    /// Control 1: how the unit reads tables and queues.
    pub CR1(u32) @ 0x28 {
        /// TABLE_SH: 2 outer, 3 inner shareable.
        11:10 table_shareability;
        /// TABLE_OC: 1 write-back.
        9:8 table_outer;
        /// TABLE_IC.
        7:6 table_inner;
        /// QUEUE_SH.
        5:4 queue_shareability;
        /// QUEUE_OC.
        3:2 queue_outer;
        /// QUEUE_IC.
        1:0 queue_inner;
    }

    /// Control 2.
    pub CR2(u32) @ 0x2c {
        /// PTM: ignore broadcast TLB invalidations.
        2:2 private_maintenance => bool;
        /// RECINVSID: record an event for stream ids beyond the stream table.
        1:1 record_bad_streams => bool;
        /// E2H: stage 1 of EL2 has ASIDs.
        0:0 el2_host => bool;
    }

    /// Global bypass attributes: what happens to transactions while the unit does not translate.
    pub GBPA(u32) @ 0x44 {
        /// Update: software sets it with a new value, the unit clears it when it uses the value.
        31:31 update => bool;
        /// ABORT: terminate everything.
        20:20 abort => bool;
    }

    /// Which interrupts are sent. A write takes effect when [`IRQ_CTRLACK`] reads the same.
    pub IRQ_CTRL(u32) @ 0x50 {
        2:2 events => bool;
        1:1 requests => bool;
        0:0 errors => bool;
    }

    /// The bits of [`IRQ_CTRL`] that have taken effect.
    pub IRQ_CTRLACK(u32) @ 0x54 {
        31:0 value;
    }

    /// Global errors: an error is active where the bit differs from the one in [`GERRORN`].
    pub GERROR(u32) @ 0x60 {
        31:0 value;
    }

    /// The acknowledged errors.
    pub GERRORN(u32) @ 0x64 {
        31:0 value;
    }

    /// The error interrupt's message: address, lower half.
    pub GERROR_IRQ_CFG0_LOW(u32) @ 0x68 {
        31:0 value;
    }

    /// The upper half of [`GERROR_IRQ_CFG0_LOW`].
    pub GERROR_IRQ_CFG0_HIGH(u32) @ 0x6c {
        31:0 value;
    }

    /// The error interrupt's message: data.
    pub GERROR_IRQ_CFG1(u32) @ 0x70 {
        31:0 value;
    }

    /// The error interrupt's message: memory type.
    pub GERROR_IRQ_CFG2(u32) @ 0x74 {
        31:0 value;
    }

    /// Stream table, lower half; see `records/stream_table_layout.rs`.
    pub STRTAB_BASE_LOW(u32) @ 0x80 {
        31:0 value;
    }

    /// The upper half of [`STRTAB_BASE_LOW`].
    pub STRTAB_BASE_HIGH(u32) @ 0x84 {
        31:0 value;
    }

    /// Layout of the stream table.
    pub STRTAB_BASE_CFG(u32) @ 0x88 {
        31:0 value;
    }

    /// Command queue, lower half; see `records/queue_index.rs`.
    pub CMDQ_BASE_LOW(u32) @ 0x90 {
        31:0 value;
    }

    /// The upper half of [`CMDQ_BASE_LOW`].
    pub CMDQ_BASE_HIGH(u32) @ 0x94 {
        31:0 value;
    }

    /// Index of the next command that software will write.
    pub CMDQ_PROD(u32) @ 0x98 {
        31:0 value;
    }

    /// Index of the next command that the unit will execute, and why it stopped; see
    /// [`CommandConsumer`](super::super::records::queue_index::CommandConsumer).
    pub CMDQ_CONS(u32) @ 0x9c {
        31:0 value;
    }

    /// Event queue, lower half.
    pub EVENTQ_BASE_LOW(u32) @ 0xa0 {
        31:0 value;
    }

    /// The upper half of [`EVENTQ_BASE_LOW`].
    pub EVENTQ_BASE_HIGH(u32) @ 0xa4 {
        31:0 value;
    }

    /// Page 1: index of the next event that the unit records.
    pub EVENTQ_PROD(u32) @ 0xa8 {
        31:0 value;
    }

    /// Page 1: index of the next event to read.
    pub EVENTQ_CONS(u32) @ 0xac {
        31:0 value;
    }

    /// The event interrupt's message: address, lower half.
    pub EVENTQ_IRQ_CFG0_LOW(u32) @ 0xb0 {
        31:0 value;
    }

    /// The upper half of [`EVENTQ_IRQ_CFG0_LOW`].
    pub EVENTQ_IRQ_CFG0_HIGH(u32) @ 0xb4 {
        31:0 value;
    }

    /// The event interrupt's message: data.
    pub EVENTQ_IRQ_CFG1(u32) @ 0xb8 {
        31:0 value;
    }

    /// The event interrupt's message: memory type.
    pub EVENTQ_IRQ_CFG2(u32) @ 0xbc {
        31:0 value;
    }

    /// PRI queue, lower half.
    pub PRIQ_BASE_LOW(u32) @ 0xc0 {
        31:0 value;
    }

    /// The upper half of [`PRIQ_BASE_LOW`].
    pub PRIQ_BASE_HIGH(u32) @ 0xc4 {
        31:0 value;
    }

    /// Page 1: index of the next page request that the unit records.
    pub PRIQ_PROD(u32) @ 0xc8 {
        31:0 value;
    }

    /// Page 1: index of the next page request to read.
    pub PRIQ_CONS(u32) @ 0xcc {
        31:0 value;
    }

    /// The page request interrupt's message: address, lower half.
    pub PRIQ_IRQ_CFG0_LOW(u32) @ 0xd0 {
        31:0 value;
    }

    /// The upper half of [`PRIQ_IRQ_CFG0_LOW`].
    pub PRIQ_IRQ_CFG0_HIGH(u32) @ 0xd4 {
        31:0 value;
    }

    /// The page request interrupt's message: data.
    pub PRIQ_IRQ_CFG1(u32) @ 0xd8 {
        31:0 value;
    }

    /// The page request interrupt's message: memory type.
    pub PRIQ_IRQ_CFG2(u32) @ 0xdc {
        31:0 value;
    }
}
