// SPDX-License-Identifier: GPL-2.0

//! Virtualization information: a field of an IVRS table's header (AMD-Vi 5.2).

#![forbid(unsafe_code)]

/// What the header says about the machine: virtualization information (IVinfo).
///
/// | bits | field |
/// |---|---|
/// | 0 | EFRSup: images of the extended feature registers are valid |
/// | 1 | DMA was remapped before the system started |
/// | 7:5 | width of guest virtual addresses |
/// | 14:8 | width of physical addresses |
/// | 21:15 | width of device addresses |
/// | 22 | the address range of HyperTransport's ATS responses is reserved |
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Info(pub u32);

impl Info {
    /// Whether the images of the extended feature registers are valid, and count instead of the
    /// registers.
    pub const fn feature_images(self) -> bool {
        self.0 & 1 << 0 != 0
    }

    /// Whether DMA was remapped before the system started.
    pub const fn preboot_protection(self) -> bool {
        self.0 & 1 << 1 != 0
    }

    /// Bits of a physical address; 0 if firmware does not say.
    pub const fn physical_bits(self) -> u8 {
        (self.0 >> 8 & 0x7f) as u8
    }

    /// Bits of an address that a device may use; 0 if firmware does not say.
    pub const fn virtual_bits(self) -> u8 {
        (self.0 >> 15 & 0x7f) as u8
    }

    /// Whether HyperTransport's address range for ATS responses must not be used.
    pub const fn ht_ats_reserved(self) -> bool {
        self.0 & 1 << 22 != 0
    }
}
