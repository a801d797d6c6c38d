// SPDX-License-Identifier: GPL-2.0

//! Errata of AMD-Vi units, on configuration space in software.

mod amd;
#[allow(dead_code)]
#[path = "../../../requester.rs"]
mod requester;
mod drivers {
    pub use iommu_core_host::shell;
}

use std::{cell::RefCell, collections::BTreeMap};

use amd::{
    capability::Features,
    quirks::{needs_identity, ConfigSpace, Machine, Saved},
};

/// A function with registers behind index and data registers, and with a base that can be changed
/// while it is not enabled.
#[derive(Default)]
struct Space {
    plain: RefCell<BTreeMap<u16, u32>>,
    l1: RefCell<BTreeMap<u32, u32>>,
    l2: RefCell<BTreeMap<u32, u32>>,
    /// Writes that the unit has ignored.
    ignored: RefCell<u32>,
}

const CAPABILITY: u16 = 0x40;

impl Space {
    fn index(&self, at: u16) -> u32 {
        self.plain.borrow().get(&at).copied().unwrap_or(0)
    }

    fn filled() -> Self {
        let space = Self::default();
        for block in 0..6 {
            for register in 0..0x12 {
                let index = block << 16 | register;
                space.l1.borrow_mut().insert(index, 0x1100_0000 | index);
            }
        }
        for register in 0..0x83 {
            space
                .l2
                .borrow_mut()
                .insert(register, 0x2200_0000 | register);
        }
        space.plain.borrow_mut().insert(CAPABILITY + 4, 0xfeb8_0001);
        space.plain.borrow_mut().insert(CAPABILITY + 8, 0x12);
        space
    }

    fn contents(&self) -> (BTreeMap<u32, u32>, BTreeMap<u32, u32>, [u32; 2]) {
        (
            self.l1.borrow().clone(),
            self.l2.borrow().clone(),
            [4, 8].map(|at| self.index(CAPABILITY + at)),
        )
    }
}

impl ConfigSpace for Space {
    fn read(&self, at: u16) -> u32 {
        match at {
            0xf4 => self
                .l2
                .borrow()
                .get(&(self.index(0xf0) & 0xff))
                .copied()
                .unwrap_or(0),
            0xfc => self
                .l1
                .borrow()
                .get(&(self.index(0xf8) & 0x7fff_ffff))
                .copied()
                .unwrap_or(0),
            at => self.index(at),
        }
    }

    fn write(&self, at: u16, value: u32) {
        let locked = self.index(CAPABILITY + 4) & 1 != 0;
        let allowed = match at {
            0xf4 => self.index(0xf0) & 1 << 8 != 0,
            0xfc => self.index(0xf8) & 1 << 31 != 0,
            _ if at == CAPABILITY + 4 || at == CAPABILITY + 8 => !locked,
            _ => true,
        };
        if !allowed {
            *self.ignored.borrow_mut() += 1;
            return;
        }
        match at {
            0xf4 => self.l2.borrow_mut().insert(self.index(0xf0) & 0xff, value),
            0xfc => self
                .l1
                .borrow_mut()
                .insert(self.index(0xf8) & 0x7fff_ffff, value),
            at => self.plain.borrow_mut().insert(at, value),
        };
    }
}

const TRINITY: Machine = Machine {
    family: 0x15,
    model: 0x10,
    vendor: 0x1022,
    device: 0x1419,
};
const RD890: Machine = Machine {
    family: 0x10,
    model: 0x0a,
    vendor: 0x1002,
    device: 0x5a23,
};

#[test]
fn processors_with_erratum_746() {
    let count = |family, model| {
        Machine {
            family,
            model,
            ..TRINITY
        }
        .missing_bits()
        .count()
    };
    assert_eq!([0x10, 0x13, 0x1f].map(|model| count(0x15, model)), [1; 3]);
    assert_eq!([0x0f, 0x20, 0x30].map(|model| count(0x15, model)), [0; 3]);
    assert_eq!(
        [0x10, 0x14, 0x16, 0x17].map(|family| count(family, 0x10)),
        [0; 4]
    );
}

/// D0F2xF4_x90, bit 2.
#[test]
fn erratum_746_sets_its_bit_once() {
    let space = Space::default();
    space.l2.borrow_mut().insert(0x90, 0x8000_0011);
    let bit = TRINITY.missing_bits().next().unwrap();
    assert!(bit.set(&space));
    assert_eq!(space.l2.borrow()[&0x90], 0x8000_0015);
    // The register cannot be written by accident afterwards.
    assert_eq!(space.index(0xf0), 0x90);
    assert_eq!(*space.ignored.borrow(), 0);
    assert!(!bit.set(&space));
    assert_eq!(space.l2.borrow()[&0x90], 0x8000_0015);
}

#[test]
fn rd890_is_the_only_one_that_loses_registers() {
    assert!(RD890.loses_registers());
    assert!(!TRINITY.loses_registers());
    assert!(!Machine {
        vendor: 0x1022,
        ..RD890
    }
    .loses_registers());
}

#[test]
fn rd890_after_a_sleep() {
    let space = Space::filled();
    let before = space.contents();
    let mut saved = Saved::new(CAPABILITY);
    saved.save(&space);
    // To save changes nothing.
    assert_eq!(space.contents(), before);

    // The sleep: everything is lost, and the northbridge has the unit off.
    let space = Space::default();
    let root = Space::default();
    root.plain.borrow_mut().insert(0x64, 0x30);
    saved.restore(&space, &root);
    assert_eq!(space.contents(), before);
    assert_eq!(*space.ignored.borrow(), 0);
    assert_eq!(root.index(0x60), 0x75 | 1 << 7);
    assert_eq!(root.index(0x64), 0x31);
    // No index register is left open for writes.
    assert_eq!(space.index(0xf0) & 1 << 8, 0);
    assert_eq!(space.index(0xf8) & 1 << 31, 0);
}

/// PPRSup (bit 1), GTSup (4), GIOSup (48) and EPHSup (50) of the first feature register.
#[test]
fn devices_with_pasids_need_identity() {
    const ALL: u64 = 1 << 1 | 1 << 4 | 1 << 48 | 1 << 50;
    let features = |word| Features::decode([word, 0]);
    assert!(needs_identity(&features(ALL), true, true, false));
    for bit in [1, 4, 48, 50] {
        assert!(!needs_identity(
            &features(ALL & !(1 << bit)),
            true,
            true,
            false
        ));
    }
    assert!(!needs_identity(&features(ALL), false, true, false));
    // A device that is not trusted; encrypted memory.
    assert!(!needs_identity(&features(ALL), true, false, false));
    assert!(!needs_identity(&features(ALL), true, true, true));
}
