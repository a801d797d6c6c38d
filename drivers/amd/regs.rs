// SPDX-License-Identifier: GPL-2.0

//! Registers of a unit (3.4).
//!
//! Registers of 64 bits are declared as two halves, since the kernel's register type requires a
//! region aligned to 32 bits only. The specification allows such accesses (3.4). The lower half is
//! written first. No write tears: the unit is off meanwhile, or one half holds all that it uses.
//! Where neither is so, for the device table of a unit that was left on, the driver writes 64 bits.

#![forbid(unsafe_code)]

use kernel::io::register;

register! {
    /// Device table base, lower half: the address, and in bits 8:0 its size in pages, less one.
    pub DEVICE_TABLE_LOW(u32) @ 0x00 {
        31:0 value;
    }

    /// The upper half of [`DEVICE_TABLE_LOW`].
    pub DEVICE_TABLE_HIGH(u32) @ 0x04 {
        31:0 value;
    }

    /// Command buffer base, lower half.
    pub COMMAND_BASE_LOW(u32) @ 0x08 {
        31:0 value;
    }

    /// The upper half of [`COMMAND_BASE_LOW`].
    pub COMMAND_BASE_HIGH(u32) @ 0x0c {
        /// ComLen: number of entries, as a power of 2.
        27:24 length_lg2;
        19:0 address;
    }

    /// Event log base, lower half.
    pub EVENT_BASE_LOW(u32) @ 0x10 {
        31:0 value;
    }

    /// The upper half of [`EVENT_BASE_LOW`].
    pub EVENT_BASE_HIGH(u32) @ 0x14 {
        /// EventLen: number of entries, as a power of 2.
        27:24 length_lg2;
        19:0 address;
    }

    /// Control, lower half.
    pub CONTROL_LOW(u32) @ 0x18 {
        /// GAIntEn: an interrupt for the log of guests' virtual interrupts.
        29:29 guest_interrupt => bool;
        /// GALogEn: log guests' virtual interrupts.
        28:28 guest_log => bool;
        /// GAEn: entries of interrupt tables have 128 bits.
        17:17 long_interrupt_entries => bool;
        /// GTEn: guest tables.
        16:16 guest_translation => bool;
        /// PPREn: take page requests of devices.
        15:15 page_requests => bool;
        /// PPRIntEn: an interrupt for page requests.
        14:14 page_request_interrupt => bool;
        /// PPRLogEn: log page requests.
        13:13 page_request_log => bool;
        /// CmdBufEn: take commands from the buffer.
        12:12 commands => bool;
        /// Isoc: the unit's own reads are isochronous.
        11:11 isochronous => bool;
        /// Coherent: the unit's reads of the device table snoop the processors' caches.
        10:10 coherent => bool;
        /// ResPassPW: responses pass posted writes.
        9:9 responses_pass => bool;
        /// PassPW: the unit's requests pass posted writes.
        8:8 requests_pass => bool;
        /// InvTimeOut: how long a device may take to invalidate.
        7:5 device_timeout;
        /// ComWaitIntEn: an interrupt for completion waits.
        4:4 wait_interrupt => bool;
        /// EventIntEn: an interrupt for events.
        3:3 event_interrupt => bool;
        /// EventLogEn: log events.
        2:2 event_log => bool;
        /// HtTunEn: translate HyperTransport tunnel traffic.
        1:1 tunnel => bool;
        /// IommuEn: translate. While it is 0, all DMA passes, and the unit takes no commands and
        /// logs no events.
        0:0 enable => bool;
    }

    /// The upper half of [`CONTROL_LOW`]. Among others it has IntCapXTEn (the unit's own interrupts
    /// in x2APIC form) and SNPAVICEn, which this driver leaves off.
    pub CONTROL_HIGH(u32) @ 0x1c {
        /// XTEn: entries of interrupt tables name processors by 32 bits.
        18:18 x2apic => bool;
        /// The lower bit of NumIntRemapMode: up to 2048 interrupts of a device id, not 512.
        11:11 many_interrupts => bool;
        /// DevTblSegEn: the number of segments of the device table, as a power of 2.
        4:2 segments_lg2;
    }

    /// Exclusion base, lower half. The unit does not translate addresses in the exclusion range.
    pub EXCLUSION_BASE_LOW(u32) @ 0x20 {
        /// Allow: for all devices, not only for those whose entries say so.
        1:1 all_devices => bool;
        /// ExEn: the range is valid.
        0:0 enable => bool;
    }

    /// The upper half of [`EXCLUSION_BASE_LOW`].
    pub EXCLUSION_BASE_HIGH(u32) @ 0x24 {
        31:0 value;
    }

    /// Exclusion limit, lower half.
    pub EXCLUSION_LIMIT_LOW(u32) @ 0x28 {
        31:0 value;
    }

    /// The upper half of [`EXCLUSION_LIMIT_LOW`].
    pub EXCLUSION_LIMIT_HIGH(u32) @ 0x2c {
        31:0 value;
    }

    /// Extended features, lower half; see [`Capability`](super::capability::Capability).
    pub FEATURES_LOW(u32) @ 0x30 {
        31:0 value;
    }

    /// The upper half of [`FEATURES_LOW`].
    pub FEATURES_HIGH(u32) @ 0x34 {
        31:0 value;
    }

    /// Bases of all segments of the device table except the first, lower halves; as
    /// [`DEVICE_TABLE_LOW`].
    pub SEGMENT_LOW(u32)[7, stride = 8] @ 0x100 {
        31:0 value;
    }

    /// The upper halves of [`SEGMENT_LOW`].
    pub SEGMENT_HIGH(u32)[7, stride = 8] @ 0x104 {
        31:0 value;
    }

    /// Extended features, second register, lower half.
    pub FEATURES2_LOW(u32) @ 0x1a0 {
        31:0 value;
    }

    /// The upper half of [`FEATURES2_LOW`].
    pub FEATURES2_HIGH(u32) @ 0x1a4 {
        31:0 value;
    }

    /// Command buffer head: byte offset of the next command that the unit takes.
    pub COMMAND_HEAD(u32) @ 0x2000 {
        31:0 value;
    }

    /// Command buffer tail: byte offset of the next free slot.
    pub COMMAND_TAIL(u32) @ 0x2008 {
        31:0 value;
    }

    /// Event log head: byte offset of the next event to be read.
    pub EVENT_HEAD(u32) @ 0x2010 {
        31:0 value;
    }

    /// Event log tail: byte offset of the slot that the unit writes next.
    pub EVENT_TAIL(u32) @ 0x2018 {
        31:0 value;
    }

    /// Status. The interrupt and overflow bits are cleared by writing 1.
    pub STATUS(u32) @ 0x2020 {
        /// GALogRun: the unit logs guests' virtual interrupts.
        8:8 guest_log => bool;
        /// PPRLogRun: the unit logs page requests.
        7:7 page_request_log => bool;
        /// CmdBufRun: the unit takes commands.
        4:4 commands => bool;
        /// EventLogRun: the unit logs events.
        3:3 event_log => bool;
        /// ComWaitInt: a command asked for an interrupt.
        2:2 wait_interrupt => bool;
        /// EventLogInt: the unit has logged events. It raises no further interrupt until this is
        /// cleared.
        1:1 event_interrupt => bool;
        /// EventOverflow: the log had no room for an event. The unit logs none until the log is
        /// restarted.
        0:0 event_overflow => bool;
    }
}
