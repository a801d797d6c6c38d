// SPDX-License-Identifier: GPL-2.0

//! Device table entries (DTE), which say what a device id is attached to (AMD-Vi 2.2.2), and
//! entries of GCR3 tables (2.2.6).

#![forbid(unsafe_code)]

use super::ivrs::Settings;

/// 64-bit words of a device table entry.
pub const WORDS: usize = 4;
/// How many device ids there are. A device table with an entry for each of them has 2 MiB.
pub const DEVICES: usize = 1 << 16;

/// A device table entry as the unit reads it, lowest word first.
pub type Words = [u64; WORDS];

/// Bits 51:12 of a 64-bit word: the address of a 4 KiB page.
const PAGE_ADDRESS: u64 = 0xf_ffff_ffff_f000;

/// What happens to the requests of a device id.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Translation {
    /// The unit refuses them.
    ///
    /// V is 1 and TV is 0: the unit ends every table walk at the DTE, without any permission. V = 0
    /// would pass all DMA.
    Blocked,
    /// Addresses pass untranslated: no table (Mode 0), but permissions.
    Identity {
        /// The name of the domain in the unit's caches.
        domain: u16,
    },
    /// Addresses go through a host table.
    Host {
        /// The name of the domain in the unit's caches.
        domain: u16,
        /// Address of the top table, a 4 KiB page.
        root: u64,
        /// Levels of the table (Mode): 1 to 6.
        levels: u8,
        /// The unit sets accessed and dirty bits in the tables.
        dirty: bool,
    },
    /// Addresses go through the guest table of PASID 0.
    Guest {
        /// The name of the domain in the unit's caches.
        domain: u16,
        /// Address of the top GCR3 table, a 4 KiB page.
        gcr3: u64,
        /// Levels of GCR3 tables: 1 to 3.
        gcr3_levels: u8,
        /// Guest tables have five levels, not four.
        five_levels: bool,
    },
}

impl Translation {
    /// The name of the domain in the unit's caches; `None` for [`Blocked`](Self::Blocked).
    pub const fn domain(self) -> Option<u16> {
        match self {
            Self::Blocked => None,
            Self::Identity { domain } | Self::Host { domain, .. } | Self::Guest { domain, .. } => {
                Some(domain)
            }
        }
    }
}

/// What happens to the interrupt messages of a device id: those with fixed or lowest-priority
/// delivery. What happens to the others is among the [`Settings`].
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Interrupts {
    /// They pass unchanged (IV is 0): the device can raise any interrupt.
    Pass,
    /// The unit refuses them (IV is 1, IntCtl 0).
    Refused,
    /// They name entries of an interrupt table (IV is 1, IntCtl 2).
    Remapped {
        /// Address of the table; a multiple of 128.
        table: u64,
        /// Number of entries, as a power of 2: up to 11.
        length_lg2: u8,
    },
}

/// A device table entry (2.2.2).
///
/// | bits | field |
/// |---|---|
/// | 0 | V: the entry is valid; 0 passes all DMA |
/// | 1 | TV: the fields up to bit 79, IR and IW included, are valid |
/// | 8:7 | HAD: the unit sets accessed (1) and dirty bits (3) |
/// | 11:9 | Mode: levels of the host table |
/// | 51:12 | host page table root |
/// | 52 | PPR: page requests |
/// | 54 | GIoV: requests without a PASID go through the guest table |
/// | 55 | GV: guest translation |
/// | 57:56 | GLX: levels of GCR3 tables, minus 1 |
/// | 60:58 | GCR3 table root, bits 14:12 |
/// | 61 | IR: reads are allowed |
/// | 62 | IW: writes are allowed |
/// | 79:64 | domain id |
/// | 95:80 | GCR3 table root, bits 30:15 |
/// | 96 | I: the device may use ATS |
/// | 97 | SE: the unit reports only the first page fault |
/// | 98 | SA: the unit reports no page fault |
/// | 100:99 | IoCtl: what happens to port I/O |
/// | 101 | Cache |
/// | 102 | SD |
/// | 103 | EX: the exclusion range is valid for the device |
/// | 105:104 | SysMgt: what happens to system management messages |
/// | 127:107 | GCR3 table root, bits 51:31 |
/// | 128 | IV: the fields below are valid; 0 passes all interrupts unchanged |
/// | 132:129 | IntTabLen |
/// | 133 | IG |
/// | 179:134 | interrupt table root |
/// | 183:182 | levels of guest tables: 0 four, 1 five |
/// | 184 | INITPass |
/// | 185 | EIntPass |
/// | 186 | NMIPass |
/// | 189:188 | IntCtl: 0 refuses messages, 1 lets them pass, 2 remaps them |
/// | 190 | Lint0Pass |
/// | 191 | Lint1Pass |
/// | 255:192 | attributes, 0 |
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct DeviceEntry {
    /// What happens to requests.
    pub translation: Translation,
    /// The device may use ATS.
    pub device_tlb: bool,
    /// What happens to interrupt messages.
    pub interrupts: Interrupts,
    /// Which interrupt and system management messages firmware wants to pass.
    pub settings: Settings,
}

impl DeviceEntry {
    /// V.
    const VALID: u64 = 1 << 0;
    /// TV.
    const TRANSLATION_VALID: u64 = 1 << 1;
    /// HAD: accessed and dirty bits.
    const DIRTY: u64 = 3 << 7;
    const MODE: u32 = 9;
    const GIOV: u64 = 1 << 54;
    const GV: u64 = 1 << 55;
    const GLX: u32 = 56;
    /// IR and IW.
    const READ_WRITE: u64 = 3 << 61;
    /// IW.
    const WRITE: u64 = 1 << 62;
    /// In the second word: I.
    const DEVICE_TLB: u64 = 1 << 32;
    /// In the third word: the shift of the field with the levels of guest tables.
    const GUEST_LEVELS: u32 = 54;
    /// In the third word: IV.
    const INTERRUPTS_VALID: u64 = 1 << 0;
    /// In the third word: the shift of IntTabLen.
    const INTERRUPTS_LENGTH: u32 = 1;
    /// In the third word, bits 51:6: the interrupt table's address, without its lowest 6 bits.
    const INTERRUPTS_ROOT: u64 = 0xf_ffff_ffff_ffc0;
    /// In the third word: IntCtl 2.
    const INTERRUPTS_REMAPPED: u64 = 2 << 60;
    /// In the third word: all that says what happens to interrupt messages.
    const INTERRUPTS: u64 =
        Self::INTERRUPTS_VALID | 0xf << Self::INTERRUPTS_LENGTH | Self::INTERRUPTS_ROOT | 3 << 60;

    /// An entry that blocks, for an id that firmware wants nothing for.
    pub const BLOCKED: Self = Self {
        translation: Translation::Blocked,
        device_tlb: false,
        interrupts: Interrupts::Pass,
        settings: Settings::NONE,
    };

    /// The first word of an entry that blocks, for an entry with this second word.
    ///
    /// Without TV the permissions mean nothing for DMA. But where SysMgt is 1, so that system
    /// management messages pass as writes, units with erratum 63 refuse these messages without IW.
    pub const fn blocked(second: u64) -> u64 {
        match second >> 40 & 3 {
            1 => Self::VALID | Self::WRITE,
            _ => Self::VALID,
        }
    }

    /// The entry as the unit reads it.
    ///
    /// Bits 11:0 and 63:52 of addresses are dropped, since tables are pages.
    pub const fn encode(self) -> Words {
        let settings = self.settings;
        let second = (settings.system_management() as u64) << 40;
        let mut words = [
            Self::blocked(second),
            second,
            Self::interrupts(self.interrupts)
                | (settings.init() as u64) << 56
                | (settings.external_interrupt() as u64) << 57
                | (settings.nmi() as u64) << 58
                | (settings.lint0() as u64) << 62
                | (settings.lint1() as u64) << 63,
            0,
        ];
        match self.translation {
            Translation::Blocked => return words,
            Translation::Identity { domain } => words[1] |= domain as u64,
            Translation::Host {
                domain,
                root,
                levels,
                dirty,
            } => {
                words[0] |= root & PAGE_ADDRESS | ((levels & 7) as u64) << Self::MODE;
                if dirty {
                    words[0] |= Self::DIRTY;
                }
                words[1] |= domain as u64;
            }
            Translation::Guest {
                domain,
                gcr3,
                gcr3_levels,
                five_levels,
            } => {
                let glx = (gcr3_levels as u64).saturating_sub(1) & 3;
                words[0] |= Self::GV | Self::GIOV | glx << Self::GLX | (gcr3 >> 12 & 7) << 58;
                words[1] |=
                    domain as u64 | (gcr3 >> 15 & 0xffff) << 16 | (gcr3 >> 31 & 0x1f_ffff) << 43;
                words[2] |= (five_levels as u64) << Self::GUEST_LEVELS;
            }
        }
        words[0] |= Self::TRANSLATION_VALID | Self::READ_WRITE;
        if self.device_tlb {
            words[1] |= Self::DEVICE_TLB;
        }
        words
    }

    /// The bits of the third word that say what happens to interrupt messages.
    const fn interrupts(interrupts: Interrupts) -> u64 {
        match interrupts {
            Interrupts::Pass => 0,
            Interrupts::Refused => Self::INTERRUPTS_VALID,
            Interrupts::Remapped { table, length_lg2 } => {
                Self::INTERRUPTS_VALID
                    | ((length_lg2 & 0xf) as u64) << Self::INTERRUPTS_LENGTH
                    | table & Self::INTERRUPTS_ROOT
                    | Self::INTERRUPTS_REMAPPED
            }
        }
    }

    /// The third word of an entry, changed so that it says `interrupts`. No other word says
    /// anything about them, so the unit sees either all of the old or all of the new.
    pub const fn with_interrupts(third: u64, interrupts: Interrupts) -> u64 {
        third & !Self::INTERRUPTS | Self::interrupts(interrupts)
    }

    /// What the third word of an entry says about interrupt messages; `None` if this driver writes
    /// no such word.
    pub const fn interrupts_of(third: u64) -> Option<Interrupts> {
        match (third & Self::INTERRUPTS_VALID, third >> 60 & 3) {
            (0, _) => Some(Interrupts::Pass),
            (_, 0) => Some(Interrupts::Refused),
            (_, 2) => Some(Interrupts::Remapped {
                table: third & Self::INTERRUPTS_ROOT,
                length_lg2: (third >> Self::INTERRUPTS_LENGTH & 0xf) as u8,
            }),
            _ => None,
        }
    }

    /// The address of the host table in the first word of an entry; `None` if it has none.
    pub const fn host_root(first: u64) -> Option<u64> {
        let both = Self::VALID | Self::TRANSLATION_VALID;
        let translates = first & both == both && first & Self::GV == 0;
        match first >> Self::MODE & 7 {
            1..=6 if translates => Some(first & PAGE_ADDRESS),
            _ => None,
        }
    }

    /// The first word of an entry with a host table, changed to another table at `root` that has
    /// `levels` levels. No other word depends on the table.
    pub const fn with_host_root(first: u64, root: u64, levels: u8) -> u64 {
        first & !(PAGE_ADDRESS | 7 << Self::MODE)
            | root & PAGE_ADDRESS
            | ((levels & 7) as u64) << Self::MODE
    }

    /// What `words` mean to the unit; `None` if V is 0, or if this driver writes no such entry.
    pub const fn decode(words: Words) -> Option<Self> {
        let [first, second, third, _] = words;
        if first & Self::VALID == 0 {
            return None;
        }
        let settings = Settings(
            (third >> 56 & 7) as u8
                | ((second >> 40 & 3) as u8) << 4
                | ((third >> 62 & 3) as u8) << 6,
        );
        let Some(interrupts) = Self::interrupts_of(third) else {
            return None;
        };
        let domain = second as u16;
        let levels = (first >> Self::MODE & 7) as u8;
        let translation = if first & Self::TRANSLATION_VALID == 0 {
            Translation::Blocked
        } else if first & Self::READ_WRITE != Self::READ_WRITE {
            return None;
        } else if first & Self::GV != 0 {
            Translation::Guest {
                domain,
                gcr3: (first >> 58 & 7) << 12
                    | (second >> 16 & 0xffff) << 15
                    | (second >> 43) << 31,
                gcr3_levels: (first >> Self::GLX & 3) as u8 + 1,
                five_levels: third >> Self::GUEST_LEVELS & 3 == 1,
            }
        } else {
            match levels {
                0 => Translation::Identity { domain },
                1..=6 => Translation::Host {
                    domain,
                    root: first & PAGE_ADDRESS,
                    levels,
                    dirty: first & Self::DIRTY == Self::DIRTY,
                },
                _ => return None,
            }
        };

        Some(Self {
            translation,
            device_tlb: second & Self::DEVICE_TLB != 0,
            interrupts,
            settings,
        })
    }
}

/// An entry of a GCR3 table: the next GCR3 table, or at the last level a guest table (2.2.6).
///
/// | bits | field |
/// |---|---|
/// | 0 | V: valid |
/// | 51:12 | address of the table |
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Gcr3Entry {
    /// Address of the table, a 4 KiB page; `None` blocks.
    pub table: Option<u64>,
}

impl Gcr3Entry {
    /// The entry as the unit reads it.
    pub const fn encode(self) -> u64 {
        match self.table {
            Some(address) => address & PAGE_ADDRESS | 1,
            None => 0,
        }
    }
}
