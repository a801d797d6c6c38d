// SPDX-License-Identifier: GPL-2.0

//! The formats, each with the hardware that reads it, for tests of all formats.

use crate::{
    addr::{PageSizes, Prot},
    hardware::{amd::Amd, arm::Arm, vtd::Vtd, x86::X86, Hardware, Walker},
    memory::HostMemory,
    pgtable::{
        amd_v1::AmdV1,
        armv8::{Granule16K, Granule4K, Granule64K, GranuleSize, Shape, Stage, Stage1, Stage2},
        vtd_ss::VtdSs,
        x86_64::X86_64,
        Config, Format, PageTable, Top,
    },
};

/// One format.
pub trait Case: 'static {
    /// The format.
    type Format: Format;
    /// The hardware that walks it.
    type Walker: Walker;

    /// Bits that hardware ignores: they may differ between memory and the CPU's caches.
    const IGNORED: u64;

    /// The shapes of page tables to test, with all page sizes, coherent and with splitting allowed.
    fn shapes() -> Vec<Config>;

    /// Returns a walker that is configured as a unit would be.
    fn walker(cfg: &Config, top: Top) -> Self::Walker;

    /// Permissions to request.
    fn prots() -> Vec<Prot>;

    /// Returns the permissions that hardware grants for a leaf requested with `prot`.
    fn granted(prot: Prot) -> Prot {
        prot
    }

    /// Creates a unit that walks the page table from its current top.
    fn hardware(
        memory: &HostMemory,
        cfg: &Config,
        table: &PageTable<Self::Format, HostMemory>,
    ) -> Hardware<Self::Walker> {
        let top = table.top();

        Hardware::with(memory, Self::walker(cfg, top), top.root.raw(), cfg.coherent)
    }
}

const R: Prot = Prot::READ;
const W: Prot = Prot::WRITE;

fn shape(levels: u8, iova_bits: u8) -> Config {
    Config {
        iova_bits,
        levels,
        page_sizes: PageSizes::new(u64::MAX),
        oa_bits: 46,
        coherent: true,
        split: true,
    }
}

/// VT-d second stage.
pub struct VtdCase;

impl Case for VtdCase {
    type Format = VtdSs;
    type Walker = Vtd;

    const IGNORED: u64 = 1 << 52;

    fn shapes() -> Vec<Config> {
        [(3, 39), (4, 48), (5, 57), (4, 46), (5, 52)]
            .map(|(levels, bits)| shape(levels, bits))
            .into()
    }

    fn walker(_cfg: &Config, top: Top) -> Vtd {
        Vtd::new(top.levels)
    }

    fn prots() -> Vec<Prot> {
        vec![R | W, R, W, R | W | Prot::FORCE_SNOOP]
    }
}

/// AMD-Vi, version 1.
pub struct AmdCase;

impl Case for AmdCase {
    type Format = AmdV1;
    type Walker = Amd;

    const IGNORED: u64 = 0xf << 1;

    fn shapes() -> Vec<Config> {
        [
            (2, 64),
            (3, 64),
            (3, 48),
            (3, 39),
            (4, 57),
            (6, 64),
            (2, 30),
            (3, 32),
        ]
        .map(|(levels, bits)| shape(levels, bits))
        .into()
    }

    fn walker(_cfg: &Config, top: Top) -> Amd {
        Amd::new(top.levels)
    }

    fn prots() -> Vec<Prot> {
        vec![R | W, R, W, R | W | Prot::FORCE_SNOOP]
    }
}

/// x86-64.
pub struct X86Case;

impl Case for X86Case {
    type Format = X86_64;
    type Walker = X86;

    const IGNORED: u64 = 1 << 52;

    fn shapes() -> Vec<Config> {
        [(4, 47), (5, 56), (4, 39), (5, 48)]
            .map(|(levels, bits)| shape(levels, bits))
            .into()
    }

    fn walker(_cfg: &Config, top: Top) -> X86 {
        X86::new(top.levels)
    }

    fn prots() -> Vec<Prot> {
        vec![R | W, R, W, R | W | Prot::NOEXEC]
    }

    fn granted(prot: Prot) -> Prot {
        writable_is_readable(prot)
    }
}

fn writable_is_readable(prot: Prot) -> Prot {
    match prot.has(W) {
        true => prot | R,
        false => prot,
    }
}

/// The widths of input and output addresses of Arm tables.
fn arm_shapes(stage: Stage, granule: GranuleSize) -> Vec<(u8, u8)> {
    match (stage, granule) {
        // The output addresses must cover the test's tables, whose addresses have 46 bits.
        (Stage::One, GranuleSize::K4) => vec![(48, 48), (39, 48), (36, 48), (32, 48)],
        (Stage::One, GranuleSize::K16) => vec![(48, 48), (47, 48), (36, 48)],
        (Stage::One, GranuleSize::K64) => vec![(48, 48), (52, 52), (42, 48)],
        (Stage::Two, GranuleSize::K4) => vec![(48, 48), (44, 48), (36, 48), (32, 48)],
        (Stage::Two, GranuleSize::K16) => vec![(48, 48), (44, 48), (40, 48)],
        (Stage::Two, GranuleSize::K64) => vec![(48, 48), (52, 52), (44, 48), (40, 48)],
    }
}

fn arm_configs(stage: Stage, granule: GranuleSize) -> Vec<Config> {
    arm_shapes(stage, granule)
        .into_iter()
        .map(|(ia, oa)| {
            Shape::new(stage, granule, ia, oa)
                .unwrap()
                .config(true, true)
        })
        .collect()
}

fn arm_walker(stage: Stage, granule: GranuleSize, cfg: &Config) -> Arm {
    let shape = Shape::new(stage, granule, cfg.iova_bits, cfg.oa_bits).unwrap();
    let control = shape.control(cfg.coherent);

    match stage {
        Stage::One => Arm::stage1(control.t0sz, control.tg, control.ps),
        Stage::Two => Arm::stage2(control.t0sz, control.sl0, control.tg, control.ps),
    }
}

macro_rules! arm {
    ($($(#[$meta:meta])* $name:ident: $format:ty, $stage:expr, $granule:expr;)*) => {
        $($(#[$meta])*
        pub struct $name;

        impl Case for $name {
            type Format = $format;
            type Walker = Arm;

            const IGNORED: u64 = 1 << 55;

            fn shapes() -> Vec<Config> {
                arm_configs($stage, $granule)
            }

            fn walker(cfg: &Config, _top: Top) -> Arm {
                arm_walker($stage, $granule, cfg)
            }

            fn prots() -> Vec<Prot> {
                vec![R | W | Prot::CACHE, R, W | Prot::NOEXEC, R | W | Prot::MMIO]
            }

            fn granted(prot: Prot) -> Prot {
                match $stage {
                    Stage::One => writable_is_readable(prot),
                    Stage::Two => prot,
                }
            }
        })*
    };
}

arm! {
    /// Armv8-A stage 1, 4 KiB.
    Arm1K4: Stage1<Granule4K>, Stage::One, GranuleSize::K4;
    /// Armv8-A stage 1, 16 KiB.
    Arm1K16: Stage1<Granule16K>, Stage::One, GranuleSize::K16;
    /// Armv8-A stage 1, 64 KiB.
    Arm1K64: Stage1<Granule64K>, Stage::One, GranuleSize::K64;
    /// Armv8-A stage 2, 4 KiB.
    Arm2K4: Stage2<Granule4K>, Stage::Two, GranuleSize::K4;
    /// Armv8-A stage 2, 16 KiB.
    Arm2K16: Stage2<Granule16K>, Stage::Two, GranuleSize::K16;
    /// Armv8-A stage 2, 64 KiB.
    Arm2K64: Stage2<Granule64K>, Stage::Two, GranuleSize::K64;
}
