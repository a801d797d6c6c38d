// SPDX-License-Identifier: GPL-2.0

//! Registers of a unit (VT-d 11.4; 10.4 in revisions before 4.0).
//!
//! The fault recording registers are where CAP.FRO says, see [`Registers`](super::mmio::Registers).

#![forbid(unsafe_code)]

use kernel::io::register;

register! {
    /// Version.
    pub VER(u32) @ 0x00 {
        7:4 major;
        3:0 minor;
    }

    /// Capability; see [`Capability`](super::capability::Capability).
    pub CAP(u64) @ 0x08 {
        63:0 value;
    }

    /// Extended capability; see [`Capability`](super::capability::Capability).
    pub ECAP(u64) @ 0x10 {
        63:0 value;
    }

    /// Global command. Every write gives the value of all bits, so what is to stay as it is has to
    /// be repeated; see [`GSTS::repeat`].
    pub GCMD(u32) @ 0x18 {
        /// TE: translate.
        31:31 translation => bool;
        /// SRTP: take the root table from [`RTADDR`].
        30:30 set_root_table => bool;
        /// WBF: flush the write buffer.
        27:27 flush_write_buffer => bool;
        /// QIE: take invalidations from the queue.
        26:26 queue => bool;
        /// IRE: remap interrupts.
        25:25 interrupt_remapping => bool;
    }

    /// Global status: the answers to [`GCMD`], bit by bit.
    pub GSTS(u32) @ 0x1c {
        31:31 translation => bool;
        30:30 root_table_set => bool;
        27:27 flushing_write_buffer => bool;
        26:26 queue => bool;
        25:25 interrupt_remapping => bool;
        /// CFIS: interrupts in compatibility format pass.
        23:23 compatibility_interrupts => bool;
    }

    /// Root table address: bits 11:10 are the mode, 0 for legacy.
    pub RTADDR(u64) @ 0x20 {
        63:0 value;
    }

    /// Fault status; see [`FaultStatus`](super::fault_record::FaultStatus).
    pub FSTS(u32) @ 0x34 {
        31:0 value;
    }

    /// Fault event control.
    pub FECTL(u32) @ 0x38 {
        /// IM: hold the interrupt back.
        31:31 masked => bool;
        /// IP: an interrupt is held back.
        30:30 pending => bool;
    }

    /// Fault event data: the data of the interrupt message.
    pub FEDATA(u32) @ 0x3c {
        31:0 value;
    }

    /// Fault event address: the address of the interrupt message.
    pub FEADDR(u32) @ 0x40 {
        31:0 value;
    }

    /// Fault event upper address.
    pub FEUADDR(u32) @ 0x44 {
        31:0 value;
    }

    /// Protected memory enable.
    pub PMEN(u32) @ 0x64 {
        /// EPM: protect.
        31:31 enable => bool;
        /// PRS: it is protected.
        0:0 active => bool;
    }

    /// Invalidation queue head: byte offset of the next descriptor that the unit will take.
    pub IQH(u64) @ 0x80 {
        63:0 value;
    }

    /// Invalidation queue tail: byte offset of where the next descriptor will be put.
    pub IQT(u64) @ 0x88 {
        63:0 value;
    }

    /// Invalidation queue address: bit 11 is the width of a descriptor (0 for 128 bits), bits 2:0
    /// the size (2^n pages).
    pub IQA(u64) @ 0x90 {
        63:0 value;
    }

    /// Invalidation queue error record.
    pub IQERCD(u64) @ 0xb0 {
        /// The device that did not answer in time, if the unit says.
        47:32 timeout_source;
    }
}

impl GSTS {
    /// The command that leaves everything as it is.
    ///
    /// Bits that start something when written as 1 (root and interrupt table, fault log, write
    /// buffer) are left out.
    pub fn repeat(self) -> GCMD {
        const STARTERS: u32 = 1 << 30 | 1 << 29 | 1 << 27 | 1 << 24;
        GCMD::from(u32::from(self) & !STARTERS)
    }
}
