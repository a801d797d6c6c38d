// SPDX-License-Identifier: GPL-2.0

//! Registers of a unit (VT-d 11.4; 10.4 in revisions before 4.0).
//!
//! Registers of 64 bits are declared as two halves, since the kernel's register type requires a
//! region aligned to 32 bits only. The specification allows such accesses (11.2).
//!
//! The offset of the fault recording registers is in CAP.FRO, see
//! [`Registers`](super::mmio::Registers).

#![forbid(unsafe_code)]

use kernel::io::register;

register! {
    /// Version.
    pub VER(u32) @ 0x00 {
        7:4 major;
        3:0 minor;
    }

    /// Capability, lower half; see [`Capability`](super::capability::Capability).
    pub CAP_LOW(u32) @ 0x08 {
        31:0 value;
    }

    /// The upper half of [`CAP_LOW`].
    pub CAP_HIGH(u32) @ 0x0c {
        31:0 value;
    }

    /// Extended capability, lower half; see [`Capability`](super::capability::Capability).
    pub ECAP_LOW(u32) @ 0x10 {
        31:0 value;
    }

    /// The upper half of [`ECAP_LOW`].
    pub ECAP_HIGH(u32) @ 0x14 {
        31:0 value;
    }

    /// Global command. A write sets all bits, so it has to repeat those that are to stay; see
    /// [`GSTS::repeat`].
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
        /// SIRTP: take the interrupt table from [`IRTA`](IRTA_LOW).
        24:24 set_interrupt_table => bool;
        /// CFI: let interrupts in compatibility format pass.
        23:23 compatibility_interrupts => bool;
    }

    /// Global status: the answers to [`GCMD`], bit by bit.
    pub GSTS(u32) @ 0x1c {
        31:31 translation => bool;
        30:30 root_table_set => bool;
        27:27 flushing_write_buffer => bool;
        26:26 queue => bool;
        25:25 interrupt_remapping => bool;
        24:24 interrupt_table_set => bool;
        /// CFIS: interrupts in compatibility format pass.
        23:23 compatibility_interrupts => bool;
    }

    /// Root table address, lower half: bits 11:10 are the mode (TTM), 0 for legacy, 1 for scalable.
    pub RTADDR_LOW(u32) @ 0x20 {
        31:0 value;
    }

    /// The upper half of [`RTADDR_LOW`].
    pub RTADDR_HIGH(u32) @ 0x24 {
        31:0 value;
    }

    /// Fault status; see [`FaultStatus`](super::fault_record::FaultStatus).
    pub FSTS(u32) @ 0x34 {
        31:0 value;
    }

    /// Fault event control.
    pub FECTL(u32) @ 0x38 {
        /// IM: the unit does not send the interrupt.
        31:31 masked => bool;
        /// IP: the unit will send the interrupt when it is unmasked.
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
        /// EPM: protect the regions.
        31:31 enable => bool;
        /// PRS: the regions are protected.
        0:0 active => bool;
    }

    /// Invalidation queue head, lower half: byte offset of the next descriptor that the unit takes.
    pub IQH(u32) @ 0x80 {
        31:0 value;
    }

    /// Invalidation queue tail, lower half: byte offset of the next free slot.
    pub IQT(u32) @ 0x88 {
        31:0 value;
    }

    /// Invalidation queue address, lower half: bit 11 is the width of a descriptor (0 for 128
    /// bits, 1 for 256), bits 2:0 the size (2^n pages).
    pub IQA_LOW(u32) @ 0x90 {
        31:0 value;
    }

    /// The upper half of [`IQA_LOW`].
    pub IQA_HIGH(u32) @ 0x94 {
        31:0 value;
    }

    /// Interrupt table address, lower half: bit 11 is EIME (destinations have 32 bits), bits 3:0
    /// are the size (2^(n+1) entries).
    pub IRTA_LOW(u32) @ 0xb8 {
        31:0 value;
    }

    /// The upper half of [`IRTA_LOW`].
    pub IRTA_HIGH(u32) @ 0xbc {
        31:0 value;
    }

    /// Invalidation queue error record, upper half.
    pub IQERCD_HIGH(u32) @ 0xb4 {
        /// The device that did not answer in time, if the unit says.
        15:0 timeout_source;
    }
}

/// The commands that start something when written as 1: root and interrupt table, fault log, write
/// buffer.
const ONE_SHOT: u32 = 1 << 30 | 1 << 29 | 1 << 27 | 1 << 24;

impl GCMD {
    /// The bits that later commands repeat.
    pub fn lasting(self) -> u32 {
        u32::from(self) & !ONE_SHOT
    }
}

impl GSTS {
    /// The command that changes nothing.
    pub fn repeat(self) -> GCMD {
        GCMD::from(u32::from(self) & !ONE_SHOT)
    }
}
