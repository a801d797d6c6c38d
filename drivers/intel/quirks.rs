// SPDX-License-Identifier: GPL-2.0

//! Machines whose units, or whose firmware's description of them, are wrong in a known way.
//!
//! The PCI functions of a machine tell which machine it is. [`QUIRKS`] is a table from functions to
//! what is wrong; [`Quirks`] is the sum of it for one machine. Some quirks also depend on a
//! register in the function's configuration space.
//!
//! A function that the kernel does not trust, behind an external port, might claim any ids. It
//! changes nothing.

#![forbid(unsafe_code)]

use core::fmt;

/// A PCI function, as far as quirks tell one from another.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Function {
    /// The vendor's id.
    pub vendor: u16,
    /// The device's id.
    pub device: u16,
    /// The class code: base class in bits 23:16.
    pub class: u32,
    /// Whether the function is on a root bus: it is a part of the chipset or of the processor.
    pub on_root_bus: bool,
    /// Whether the kernel trusts the function.
    pub trusted: bool,
}

/// Intel's vendor id.
const INTEL: u16 = 0x8086;

impl Function {
    /// Whether the function is a display controller.
    pub const fn is_display(self) -> bool {
        self.class >> 16 == 0x03
    }

    /// Whether the function is the display controller in an Intel processor or chipset.
    const fn is_integrated_graphics(self) -> bool {
        self.is_display() && self.vendor == INTEL && self.on_root_bus
    }

    /// Whether the function is Intel's device `device`.
    const fn is_intel(self, device: u16) -> bool {
        self.vendor == INTEL && self.device == device
    }
}

/// What a function says about its machine.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Quirk {
    /// The unit of the integrated graphics does not work.
    GraphicsUnitBroken,
    /// The unit of the integrated graphics works only if firmware has set memory aside for a shadow
    /// of the graphics' own table, and if the graphics is idle when the unit invalidates.
    ShadowTable,
    /// The units need write-buffer flushes and do not say so.
    WriteBuffer,
    /// All units must have their queues on before any gets its root table.
    QueuesFirst,
    /// Interrupts may be lost when the units remap them: revisions of the chipset that do not drain
    /// interrupts.
    RemappingBroken,
    /// The sound device of [`AZALIA`] may have a unit of its own, without room for translations.
    IsochronousUnit,
}

/// Functions by id, and what each says.
const QUIRKS: &[(Quirk, &[u16])] = &[
    // Q35.
    (Quirk::GraphicsUnitBroken, &[0x29b2]),
    // GM45 and the desktop chipsets of its generation (G4x).
    (Quirk::GraphicsUnitBroken, G4X),
    (Quirk::WriteBuffer, G4X),
    // Ironlake with QM57 or QS57.
    (Quirk::GraphicsUnitBroken, &[0x0044]),
    // Broadwell.
    (Quirk::GraphicsUnitBroken, BROADWELL),
    // Ironlake.
    (Quirk::ShadowTable, &[0x0040, 0x0062, 0x006a]),
    // X58, 5500 and 5520 (Tylersburg).
    (
        Quirk::QueuesFirst,
        &[
            0x3400, 0x3401, 0x3402, 0x3403, 0x3404, 0x3405, 0x3406, 0x3407,
        ],
    ),
    (Quirk::RemappingBroken, &[0x3403, 0x3405, 0x3406]),
    (Quirk::IsochronousUnit, &[0x342e]),
];

const G4X: &[u16] = &[0x2a40, 0x2e00, 0x2e10, 0x2e20, 0x2e30, 0x2e40, 0x2e90];

const BROADWELL: &[u16] = &[
    0x1602, 0x1606, 0x160a, 0x160b, 0x160d, 0x160e, 0x1612, 0x1616, 0x161a, 0x161b, 0x161d, 0x161e,
    0x1622, 0x1626, 0x162a, 0x162b, 0x162d, 0x162e, 0x1632, 0x1636, 0x163a, 0x163b, 0x163d, 0x163e,
];

/// Upper bytes of the ids of integrated graphics whose requests may never be done after a change of
/// their power state: Ice Lake (8a), Elkhart Lake (45), Jasper Lake (4e), Lakefield (98), Tiger
/// Lake (9a), Rocket Lake (4c), Alder Lake (46), Raptor Lake (a7) and Meteor Lake (7d). When
/// translation ends, their unit waits for requests in flight (11.4.4), and so it never answers.
const GRAPHICS_THAT_NEVER_FINISH: &[u8] = &[0x45, 0x46, 0x4c, 0x4e, 0x7d, 0x8a, 0x98, 0x9a, 0xa7];

/// The sound device of X58 (Azalia).
const AZALIA: u16 = 0x3a3e;
/// The DMA engine (QuickData) of Sandy Bridge servers.
const DMA_ENGINE: u16 = 0x402f;

/// The base of the VT-d registers of a Sandy Bridge processor, in the configuration space of device
/// 0, function 0.
pub const VT_BASE: u16 = 0xb0;

/// The configuration register with the revision in its lowest byte (PCI 6.2.1).
const REVISION_REGISTER: u16 = 0x08;

/// Whether revision `revision` of device `device` of [`Quirk::RemappingBroken`] loses interrupts.
const fn loses_interrupts(device: u16, revision: u8) -> bool {
    revision <= 0x13 || device == 0x3405 && revision == 0x22
}

/// Whether `function` is a DMA engine that must be behind the unit at [`dma_engine_unit`].
pub const fn is_dma_engine(function: Function) -> bool {
    function.is_intel(DMA_ENGINE)
}

/// The register base of the unit of a Sandy Bridge DMA engine. `vt_base` is the value of
/// [`VT_BASE`] on its bus.
pub const fn dma_engine_unit(vt_base: u32) -> u64 {
    (vt_base & 0xffff_0000) as u64 + 0xa000
}

/// The unit of the sound device, as firmware has set it up (IOH register VTISOCHCTRL).
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum IsochronousUnit {
    /// There is none, or it is in order.
    #[default]
    Fine,
    /// It has no room for any translation: requests through it never end.
    NoEntries,
    /// It has room for fewer translations than it should have, 16.
    Few {
        /// For how many.
        entries: u32,
    },
}

impl IsochronousUnit {
    /// Offset in the configuration space of 8086:342e.
    const REGISTER: u16 = 0x188;

    const fn decode(register: u32) -> Self {
        // Bit 0: the sound device is behind the unit of all other devices.
        match register & 0x1c {
            _ if register & 1 != 0 => Self::Fine,
            0x10 => Self::Fine,
            0 => Self::NoEntries,
            entries => Self::Few { entries },
        }
    }
}

/// Graphics control of Ironlake's host bridge (GGC, a word at 0x52): firmware has set memory aside
/// for a shadow of the graphics' table.
const SHADOW_REGISTER: u16 = 0x50;
const SHADOW_PRESENT: u32 = 0x800 << 16;

/// What is wrong with a machine.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Quirks {
    /// Units that have only graphics behind them must be left alone.
    pub graphics_unit_broken: bool,
    /// Translation must not end on a unit that has only graphics behind it.
    pub graphics_never_finish: bool,
    /// An unmap must invalidate before it returns.
    pub strict: bool,
    /// The units need write-buffer flushes, whatever their capability says.
    pub write_buffer: bool,
    /// All units must have their queues on before any gets its root table.
    pub queues_first: bool,
    /// The units must not remap interrupts.
    pub remapping_broken: bool,
    /// The unit that the sound device may have.
    isochronous: IsochronousUnit,
    has_azalia: bool,
}

impl Quirks {
    /// Notes what a function says. `read` reads 32 bits of its configuration space at a multiple of
    /// 4; `None` if that fails. Returns what to tell a person.
    pub fn see(
        &mut self,
        function: Function,
        mut read: impl FnMut(u16) -> Option<u32>,
    ) -> Option<Note> {
        if function.vendor != INTEL || !function.trusted {
            return None;
        }
        let before = *self;
        self.has_azalia |= function.is_intel(AZALIA);
        let [upper, _] = function.device.to_be_bytes();
        self.graphics_never_finish |=
            function.is_display() && GRAPHICS_THAT_NEVER_FINISH.contains(&upper);
        let mut shadow_missing = false;
        for (quirk, devices) in QUIRKS {
            if !devices.contains(&function.device) {
                continue;
            }
            match quirk {
                Quirk::GraphicsUnitBroken => self.graphics_unit_broken = true,
                Quirk::ShadowTable => match read(SHADOW_REGISTER) {
                    Some(word) if word & SHADOW_PRESENT != 0 => self.strict = true,
                    Some(_) => {
                        self.graphics_unit_broken = true;
                        shadow_missing = true;
                    }
                    None => {}
                },
                Quirk::WriteBuffer => self.write_buffer = true,
                Quirk::QueuesFirst => self.queues_first = true,
                Quirk::RemappingBroken => {
                    self.remapping_broken |= read(REVISION_REGISTER)
                        .is_none_or(|word| loses_interrupts(function.device, word as u8));
                }
                Quirk::IsochronousUnit => {
                    if let Some(word) = read(IsochronousUnit::REGISTER) {
                        self.isochronous = IsochronousUnit::decode(word);
                    }
                }
            }
        }
        if shadow_missing {
            Some(Note::ShadowMissing)
        } else if self.graphics_unit_broken && !before.graphics_unit_broken {
            Some(Note::GraphicsUnitBroken)
        } else if self.strict && !before.strict {
            Some(Note::Strict)
        } else if self.graphics_never_finish && !before.graphics_never_finish {
            Some(Note::GraphicsNeverFinish)
        } else {
            None
        }
    }

    /// The unit of the sound device, if the machine has that device.
    pub fn isochronous_unit(&self) -> IsochronousUnit {
        match self.has_azalia {
            true => self.isochronous,
            false => IsochronousUnit::Fine,
        }
    }

    /// Whether unmaps may invalidate later. The graphics that strict mode is for are left alone if
    /// their unit is.
    pub fn allows_deferred_flush(&self) -> bool {
        !self.strict || self.graphics_unit_broken
    }

    /// Whether DMA of `function` has to pass untranslated. `graphics_untranslated` is whether the
    /// kernel is configured to leave integrated graphics untranslated.
    pub fn needs_identity(&self, function: Function, graphics_untranslated: bool) -> bool {
        let dead_end = self.isochronous_unit() == IsochronousUnit::NoEntries;
        function.trusted
            && (dead_end && function.is_intel(AZALIA)
                || graphics_untranslated && function.is_integrated_graphics())
    }
}

/// What to tell a person about a function.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Note {
    /// [`Quirks::graphics_unit_broken`].
    GraphicsUnitBroken,
    /// [`Quirks::graphics_unit_broken`], by firmware's fault.
    ShadowMissing,
    /// [`Quirks::strict`].
    Strict,
    /// [`Quirks::graphics_never_finish`].
    GraphicsNeverFinish,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GraphicsUnitBroken => {
                "the unit of the graphics does not work on this chipset; it is left alone, and DMA \
                 of the graphics is not translated"
            }
            Self::ShadowMissing => {
                "firmware has set no memory aside for a shadow of the graphics' table (GGC); the \
                 unit of the graphics is left alone, and DMA of the graphics is not translated"
            }
            Self::Strict => {
                "the graphics must be idle when a unit invalidates; unmaps invalidate at once \
                 (strict mode)"
            }
            Self::GraphicsNeverFinish => {
                "the unit of these graphics may never answer when translation ends; it goes on \
                 translating until the machine is reset"
            }
        })
    }
}

/// The devices behind a unit that are present.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Present {
    /// Display controllers.
    pub displays: bool,
    /// Other devices.
    pub others: bool,
}

impl Present {
    /// Adds a function that the unit's structures list.
    pub fn add(&mut self, function: Function) {
        match function.is_display() {
            true => self.displays = true,
            false => self.others = true,
        }
    }

    /// Whether only display controllers are behind the unit.
    pub fn only_displays(self) -> bool {
        self.displays && !self.others
    }
}

/// Why a unit is left alone.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum LeftAlone {
    /// None of the devices that the unit lists is present. Firmware lists units of devices that it
    /// has switched off, and their registers may not answer.
    NoDevices,
    /// See [`Quirks::graphics_unit_broken`].
    Graphics,
}

impl fmt::Display for LeftAlone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoDevices => "none of the devices that it is for is present",
            Self::Graphics => "it is for graphics only, and does not work with those",
        })
    }
}

impl Quirks {
    /// Whether and why a unit has to be left alone that lists the devices it is for. `present` are
    /// those of them that are present.
    pub fn leaves_alone(&self, present: Present) -> Option<LeftAlone> {
        match present {
            Present {
                displays: false,
                others: false,
            } => Some(LeftAlone::NoDevices),
            present if self.graphics_unit_broken && present.only_displays() => {
                Some(LeftAlone::Graphics)
            }
            _ => None,
        }
    }

    /// Whether translation must not end on a unit with `present` behind it. `drains` is whether the
    /// unit waits for requests in flight when translation ends.
    pub fn must_not_end(&self, present: Present, drains: bool) -> bool {
        self.graphics_never_finish && present.only_displays() && drains
    }
}
