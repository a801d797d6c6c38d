// SPDX-License-Identifier: GPL-2.0

//! Units and chipsets that are wrong in a known way, by processor and by the unit's PCI function.
//!
//! A unit has registers of its own in the configuration space of its function, behind pairs of an
//! index and a data register. Firmware has to set some of these registers, but does not always do
//! that.

#![forbid(unsafe_code)]

use super::capability::Features;

/// The configuration space of a PCI function, in units of 32 bits. A function that does not answer
/// reads as all ones.
pub trait ConfigSpace {
    /// Reads the register at byte offset `at`, a multiple of 4.
    fn read(&self, at: u16) -> u32;
    /// Writes the register at byte offset `at`, a multiple of 4.
    fn write(&self, at: u16, value: u32);
}

/// A processor, and the ids of the unit's function in it or beside it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Machine {
    /// The processor's family.
    pub family: u8,
    /// The processor's model.
    pub model: u8,
    /// The vendor of the unit's function.
    pub vendor: u16,
    /// The device id of the unit's function.
    pub device: u16,
}

/// A bit of an L2 register that firmware should have set.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct MissingBit {
    /// What is wrong without the bit.
    pub name: &'static str,
    family: u8,
    first_model: u8,
    last_model: u8,
    register: u8,
    bit: u32,
}

/// Bits that firmware may have forgotten, by processor.
const MISSING_BITS: &[MissingBit] = &[MissingBit {
    // L2_L2B_CK_GATE_CONTROL[CKGateL2BMiscDisable].
    name: "erratum 746 (translation may stall while the unit logs events)",
    family: 0x15,
    first_model: 0x10,
    last_model: 0x1f,
    register: 0x90,
    bit: 1 << 2,
}];

/// The unit in the RD890, SR5690 and 990FX chipsets.
const RD890: (u16, u16) = (0x1002, 0x5a23);

impl Machine {
    /// The bits that firmware should have set on this machine.
    pub fn missing_bits(self) -> impl Iterator<Item = &'static MissingBit> {
        MISSING_BITS.iter().filter(move |missing| {
            self.family == missing.family
                && (missing.first_model..=missing.last_model).contains(&self.model)
        })
    }

    /// Whether firmware does not restore the unit's registers in its configuration space after a
    /// sleep.
    pub fn loses_registers(self) -> bool {
        (self.vendor, self.device) == RD890
    }
}

/// Whether DMA of a device has to pass untranslated by default. Drivers of devices that work in the
/// address spaces of processes, such as AMD's graphics, rely on identity beside these.
///
/// A device that the kernel does not trust never gets it. With encrypted memory such a device may
/// not be able to address all memory by itself.
pub const fn needs_identity(
    features: &Features,
    has_pasids: bool,
    trusted: bool,
    encrypted: bool,
) -> bool {
    features.guest_translation
        && features.guest_io
        && features.page_requests
        && features.enhanced_page_requests
        && has_pasids
        && trusted
        && !encrypted
}

/// Index and data of the L2 registers, which all devices share.
const L2: (u16, u16) = (0xf0, 0xf4);
/// In the index: the data register may be written.
const L2_WRITE: u32 = 1 << 8;
/// Index and data of the L1 registers, of which each port group has its own.
const L1: (u16, u16) = (0xf8, 0xfc);
/// In the index: the data register may be written.
const L1_WRITE: u32 = 1 << 31;

/// How many L1 blocks an RD890 has.
const L1_BLOCKS: usize = 6;
/// Registers of each.
const L1_REGISTERS: usize = 0x12;
/// L2 registers of an RD890.
const L2_REGISTERS: usize = 0x83;

fn read_l2(space: &impl ConfigSpace, register: u8) -> u32 {
    space.write(L2.0, register.into());
    space.read(L2.1)
}

fn write_l2(space: &impl ConfigSpace, register: u8, value: u32) {
    space.write(L2.0, u32::from(register) | L2_WRITE);
    space.write(L2.1, value);
    space.write(L2.0, register.into());
}

fn read_l1(space: &impl ConfigSpace, index: u32) -> u32 {
    space.write(L1.0, index);
    space.read(L1.1)
}

fn write_l1(space: &impl ConfigSpace, index: u32, value: u32) {
    space.write(L1.0, index | L1_WRITE);
    space.write(L1.1, value);
    space.write(L1.0, index);
}

/// The index of register `register` in L1 block `block`.
const fn l1_index(block: usize, register: usize) -> u32 {
    (block as u32) << 16 | register as u32
}

impl MissingBit {
    /// Sets the bit in the unit with the configuration space `space`. Returns whether it was
    /// missing.
    ///
    /// Context: any; does not sleep.
    pub fn set(&self, space: &impl ConfigSpace) -> bool {
        let value = read_l2(space, self.register);
        // All ones: the function does not answer.
        let is_missing = value & self.bit == 0;
        if is_missing {
            write_l2(space, self.register, value | self.bit);
        }
        is_missing
    }
}

/// What a unit has in its configuration space, for after a sleep.
pub struct Saved {
    /// Offset of the unit's capability block.
    capability: u16,
    /// Base of the unit's registers, in the capability block (3.2).
    base: [u32; 2],
    l1: [[u32; L1_REGISTERS]; L1_BLOCKS],
    l2: [u32; L2_REGISTERS],
}

impl Saved {
    /// Offsets of the base in the capability block.
    const BASE: [u16; 2] = [4, 8];
    /// In the lower half of the base: the unit decodes its registers, and the base cannot be
    /// changed.
    const ENABLED: u32 = 1 << 0;

    /// Nothing saved yet of a unit whose capability block is at `capability`.
    pub const fn new(capability: u16) -> Self {
        Self {
            capability,
            base: [0; 2],
            l1: [[0; L1_REGISTERS]; L1_BLOCKS],
            l2: [0; L2_REGISTERS],
        }
    }

    /// Saves what the unit has in `space`.
    pub fn save(&mut self, space: &impl ConfigSpace) {
        self.base = Self::BASE.map(|at| space.read(self.capability + at));
        for (block, registers) in self.l1.iter_mut().enumerate() {
            for (register, value) in registers.iter_mut().enumerate() {
                *value = read_l1(space, l1_index(block, register));
            }
        }
        for (register, value) in self.l2.iter_mut().enumerate() {
            *value = read_l2(space, register as u8);
        }
    }

    /// Writes everything back. `root` is the northbridge, device 0, function 0 on the unit's bus,
    /// which enables the unit.
    ///
    /// Context: any; does not sleep.
    pub fn restore(&self, space: &impl ConfigSpace, root: &impl ConfigSpace) {
        /// Index and data of the northbridge's registers.
        const INDEX: u16 = 0x60;
        const DATA: u16 = 0x64;
        /// IOC_FEATURE_CNTL, and the bit in the index that lets the data register be written.
        const FEATURES: u32 = 0x75 | 1 << 7;
        const UNIT_ENABLED: u32 = 1 << 0;

        root.write(INDEX, FEATURES);
        let features = root.read(DATA);
        if features & UNIT_ENABLED == 0 {
            root.write(DATA, features | UNIT_ENABLED);
        }
        let [low, high] = self.base;
        let [low_at, high_at] = Self::BASE.map(|at| self.capability + at);
        space.write(low_at, low & !Self::ENABLED);
        space.write(high_at, high);
        for (block, registers) in self.l1.iter().enumerate() {
            for (register, value) in registers.iter().enumerate() {
                write_l1(space, l1_index(block, register), *value);
            }
        }
        for (register, value) in self.l2.iter().enumerate() {
            write_l2(space, register as u8, *value);
        }
        space.write(low_at, low | Self::ENABLED);
    }
}
