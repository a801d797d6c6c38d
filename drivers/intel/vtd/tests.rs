// SPDX-License-Identifier: GPL-2.0

//! PASIDs through the core, on a unit in software that reads what this driver has written.
//!
//! The unit decodes by the bits in the specification (VT-d 3.4, 6.5.2, 9.1 to 9.6) and shares no
//! code with the driver's encoders. It caches all that it may: entries, and translations. It
//! forgets what an invalidation makes it forget, and no more.

#![forbid(unsafe_code)]

use kernel::{
    io::Io,
    macros::kunit_tests,
    sync::atomic::{Atomic, Relaxed},
};

use super::{
    super::{
        hardware::tests::{with, CAP, ECAP},
        machine::Machine,
        mmio::{Registers, MIN_BYTES},
        quirks::Present,
        regs::{FSTS, GCMD, GSTS, IQA_HIGH, IQA_LOW, IQH, IQT, RTADDR_HIGH, RTADDR_LOW},
        tables::CachedEntry,
    },
    *,
};
use crate::{
    domain::Domain,
    drivers::shell::registers::{Player, Window},
    endpoint::Endpoint,
    ffi::raw_spinlock::{new_raw_spinlock, RawSpinLock},
    group::{Group, Reason},
    id_map::IdMap,
    ownership::Owner,
    pasid::Pasid,
    pgtable::{Entry, Gather, Table, TableMemory},
    registry::Registry,
    unit::Unit,
};

/// SMTS, and PASIDs of 20 bits: PASID, PSS.
const WITH_PASIDS: u64 = 1 << 43 | 1 << 40 | 19 << 35;
/// SSTS.
const SECOND: u64 = 1 << 46;
/// FSTS.
const FIRST: u64 = 1 << 47;
/// CM.
const CACHING: u64 = 1 << 7;

const PAGE: u64 = 1 << 12;
/// Bits 63:12.
const ADDRESS: u64 = !(PAGE - 1);

/// A context entry as the unit reads it.
#[derive(Copy, Clone, PartialEq, Eq)]
struct Context {
    directory: u64,
    /// How many PASIDs there are; 0 if requests with one are refused.
    pasids: u32,
    rid_pasid: u32,
}

/// A PASID table entry as the unit reads it.
#[derive(Copy, Clone, PartialEq, Eq)]
struct TableEntry {
    domain: u64,
    /// PGTT.
    kind: u64,
    table: u64,
    levels: u32,
}

/// What translations are tagged with.
#[derive(Copy, Clone, PartialEq, Eq)]
struct Tagged {
    domain: u64,
    /// Of translations that are tagged by PASID as well.
    pasid: Option<u32>,
}

/// What the unit has cached. `None` is that an entry was not present.
struct Caches {
    contexts: KVec<(u64, Option<Context>)>,
    pasids: KVec<(u64, u32, Option<TableEntry>)>,
    translations: KVec<(Tagged, u64, u64)>,
    queue: u64,
}

/// The unit.
#[pin_data]
struct Reader {
    memory: KernelMemory,
    caches_absent: bool,
    #[pin]
    caches: RawSpinLock<Caches>,
}

impl Reader {
    /// How many items each cache holds: more than any test needs.
    const ROOM: usize = 256;

    fn new(caches_absent: bool) -> Result<Arc<Self>> {
        let caches = Caches {
            contexts: KVec::with_capacity(Self::ROOM, GFP_KERNEL)?,
            pasids: KVec::with_capacity(Self::ROOM, GFP_KERNEL)?,
            translations: KVec::with_capacity(Self::ROOM, GFP_KERNEL)?,
            queue: 0,
        };
        Arc::pin_init(
            pin_init!(Self {
                memory: KernelMemory::new(-1),
                caches_absent,
                caches <- new_raw_spinlock!(caches),
            }),
            GFP_KERNEL,
        )
    }

    fn word(&self, address: u64, index: u64) -> u64 {
        let table = Table::at(PhysAddr::new(address & ADDRESS));
        let index = ((address & !ADDRESS) / 8 + index) as usize;
        self.memory.entries(table, index + 1)[index].load()
    }

    /// The context entry of `source` below the root table at `root` (9.1, 9.2, 9.4).
    fn context(&self, root: u64, source: u64) -> Option<Context> {
        // TTM.
        assert_eq!(root >> 10 & 3, 1);
        let (bus, devfn) = (source >> 8, source & 0xff);
        let half = self.word(root & ADDRESS, bus * 2 + (devfn >> 7));
        if half & 1 == 0 {
            return None;
        }
        let entry = (half & ADDRESS) + (devfn & 0x7f) * 32;
        let (low, high) = (self.word(entry, 0), self.word(entry, 1));
        // Bits 8:5 and 2 and 1 are reserved or not used; as is all of the rest but RID_PASID.
        assert_eq!(low & 0x1f6, 0);
        assert_eq!(
            (high & !0xf_ffff, self.word(entry, 2), self.word(entry, 3)),
            (0, 0, 0)
        );
        (low & 1 != 0).then_some(Context {
            directory: low & ADDRESS,
            pasids: match low >> 3 & 1 {
                0 => 0,
                _ => 64 << (7 + (low >> 9 & 7)),
            },
            rid_pasid: high as u32 & 0xf_ffff,
        })
    }

    /// The PASID table entry of `pasid` (9.5, 9.6).
    fn table_entry(&self, directory: u64, pasid: u32) -> Option<TableEntry> {
        let pasid = u64::from(pasid);
        let table = self.word(directory + (pasid >> 6) * 8, 0);
        if table & 1 == 0 {
            return None;
        }
        let entry = (table & ADDRESS) + (pasid & 63) * 64;
        let words: [u64; 8] = core::array::from_fn(|index| self.word(entry, index as u64));
        if words[0] & 1 == 0 {
            return None;
        }
        let kind = words[0] >> 6 & 7;
        Some(TableEntry {
            domain: words[1] & 0xffff,
            kind,
            table: match kind {
                1 => words[2] & ADDRESS,
                _ => words[0] & ADDRESS,
            },
            levels: match kind {
                1 => 4 + (words[2] >> 2 & 3) as u32,
                _ => 2 + (words[0] >> 2 & 7) as u32,
            },
        })
    }

    /// The page that `iova` leads to (9.7, 9.8). All pages of the tests may be read.
    fn walk(&self, entry: TableEntry, iova: u64) -> Option<u64> {
        let mut at = entry.table;
        for level in (0..entry.levels).rev() {
            let shift = 12 + 9 * level;
            let word = self.word(at, iova >> shift & 511);
            if word & 1 == 0 {
                return None;
            }
            at = word & ADDRESS & 0xf_ffff_ffff_ffff;
            if word & 0x80 != 0 {
                return Some(at | iova & ((1 << shift) - 1) & ADDRESS);
            }
        }
        Some(at)
    }

    /// A device reads at `iova`. Returns the address that it reaches.
    fn request(&self, registers: &Registers, source: u64, pasid: u32, iova: u64) -> Option<u64> {
        let io = registers.io();
        let root = u64::from(u32::from(io.read(RTADDR_HIGH))) << 32
            | u64::from(u32::from(io.read(RTADDR_LOW)));
        let mut caches = self.caches.lock();
        let mut contexts = caches.contexts.iter();
        let context = match contexts.find(|cached| cached.0 == source) {
            Some(cached) => cached.1,
            None => {
                let context = self.context(root, source);
                if context.is_some() || self.caches_absent {
                    let done = caches.contexts.push_within_capacity((source, context));
                    assert!(done.is_ok());
                }
                context
            }
        }?;
        let number = match pasid {
            0 => context.rid_pasid,
            _ if pasid < context.pasids => pasid,
            _ => return None,
        };
        let mut pasids = caches.pasids.iter();
        let entry = match pasids.find(|cached| (cached.0, cached.1) == (source, number)) {
            Some(cached) => cached.2,
            None => {
                let entry = self.table_entry(context.directory, number);
                if entry.is_some() || self.caches_absent {
                    let done = caches.pasids.push_within_capacity((source, number, entry));
                    assert!(done.is_ok());
                }
                entry
            }
        }?;
        let tagged = Tagged {
            domain: entry.domain,
            pasid: (entry.kind != 2).then_some(number),
        };
        let page = iova & ADDRESS;
        let mut translations = caches.translations.iter();
        let found = translations.find(|cached| (cached.0, cached.1) == (tagged, page));
        if let Some(cached) = found {
            return Some(cached.2 | iova & !ADDRESS);
        }
        let reached = match entry.kind {
            4 => page,
            1 | 2 => self.walk(entry, iova)?,
            other => panic!("PGTT {other}"),
        };
        let done = caches
            .translations
            .push_within_capacity((tagged, page, reached));
        assert!(done.is_ok());
        Some(reached | iova & !ADDRESS)
    }

    /// Descriptors: 6.5.2.1 to 6.5.2.4, 6.5.2.8.
    fn execute(&self, caches: &mut Caches, [low, high]: [u64; 2]) {
        let domain = low >> 16 & 0xffff;
        let pasid = (low >> 32 & 0xf_ffff) as u32;
        let order = high & 0x3f;
        let covers = |page: u64| page >> (12 + order) == (high & ADDRESS) >> (12 + order);
        match (low & 0xf, low >> 4 & 3) {
            (1, 1) => caches.contexts.clear(),
            (1, 3) => caches
                .contexts
                .retain(|cached| cached.0 != low >> 32 & 0xffff),
            (7, 3) => caches.pasids.clear(),
            (7, 1) => caches.pasids.retain(|cached| {
                let its = cached.2.map_or(0, |entry| entry.domain);
                (its, cached.1) != (domain, pasid)
            }),
            (2, 1) => caches.translations.clear(),
            (2, granularity) => caches.translations.retain(|(tagged, page, _)| {
                let is_it = tagged.domain == domain && tagged.pasid.is_none();
                !is_it || granularity == 3 && !covers(*page)
            }),
            (6, granularity) => caches.translations.retain(|(tagged, page, _)| {
                let is_it = tagged.domain == domain && tagged.pasid == Some(pasid);
                !is_it || granularity == 3 && !covers(*page)
            }),
            (5, _) => {
                let table = Table::at(PhysAddr::new(high));
                self.memory.entries(table, 1)[0].store(low >> 32);
            }
            other => panic!("{other:x?}"),
        }
    }
}

impl Player<MIN_BYTES> for Reader {
    fn act(&self, window: &Window<MIN_BYTES>) {
        let io = window.io();
        let mut caches = self.caches.lock();
        let (command, status) = (io.read(GCMD), io.read(GSTS));
        io.write_reg(FSTS::from(0));
        let is_set = command.set_root_table() || status.root_table_set();
        if command.set_root_table() {
            io.write_reg(command.with_set_root_table(false));
        }
        let next = GSTS::from(u32::from(command) & !(1 << 30));
        io.write_reg(next.with_root_table_set(is_set));
        if !command.queue() {
            return io.write_reg(IQH::from(0));
        }
        caches.queue = window.read_halves::<IQA_LOW, IQA_HIGH>();
        // DW and QS: 256 bits and two pages.
        assert_eq!(caches.queue & 0xfff, 0x801);
        let tail = u32::from(io.read(IQT));
        let mut head = u32::from(io.read(IQH));
        while head != tail {
            let at = (caches.queue & ADDRESS) + u64::from(head);
            let descriptor = [self.word(at, 0), self.word(at, 1)];
            self.execute(&mut caches, descriptor);
            head = (head + 32) % (32 * 256);
        }
        io.write_reg(IQH::from(head));
    }
}

/// A DMAR table with one unit for all devices.
fn firmware() -> Result<Arc<Firmware>> {
    let mut bytes = KVec::new();
    bytes.extend_from_slice(b"DMAR", GFP_KERNEL)?;
    bytes.extend_from_slice(&64u32.to_le_bytes(), GFP_KERNEL)?;
    bytes.extend_from_slice(&[0; 28], GFP_KERNEL)?;
    // HAW 47, no flags.
    bytes.extend_from_slice(&[46, 0], GFP_KERNEL)?;
    bytes.extend_from_slice(&[0; 10], GFP_KERNEL)?;
    // DRHD of 16 bytes, INCLUDE_PCI_ALL, segment 0.
    bytes.extend_from_slice(&[0, 0, 16, 0, 1, 0, 0, 0], GFP_KERNEL)?;
    bytes.extend_from_slice(&0xfed9_0000u64.to_le_bytes(), GFP_KERNEL)?;
    let sum = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    bytes[9] = sum.wrapping_neg();
    Firmware::check(bytes)
}

/// A PASID capability.
struct Control {
    bits: u8,
    is_on: Arc<Atomic<bool>>,
}

impl PasidControl for Control {
    fn bits(&self) -> u8 {
        self.bits
    }

    fn enable(&self) -> Result {
        assert!(!self.is_on.load(Relaxed));
        self.is_on.store(true, Relaxed);
        Ok(())
    }

    fn disable(&self) {
        assert!(self.is_on.load(Relaxed));
        self.is_on.store(false, Relaxed);
    }
}

/// The unit, and the objects that a frontend makes for it.
struct Bench {
    reader: Arc<Reader>,
    hardware: Arc<Hardware>,
    units: [Arc<Unit<Vtd>>; 1],
    registry: Arc<Registry>,
    blocked: Arc<Domain<Vtd>>,
    ids: Arc<IdMap<Vtd>>,
    /// Whether the devices' PASIDs are enabled.
    is_on: Arc<Atomic<bool>>,
}

type Alone = (Arc<Group<Vtd>>, Arc<Endpoint<Vtd>>);

impl Bench {
    /// A unit that translates. `ecap` says with what.
    fn new(cap: u64, ecap: u64) -> Result<Self> {
        let reader = Reader::new(cap & CACHING != 0)?;
        let registers = Registers::played(reader.clone())?;
        let hardware = with(CAP | cap, ECAP | ecap, registers, false)?;
        hardware.start()?;
        hardware.enable()?;
        let firmware = firmware()?;
        let description = Description {
            machine: Machine::look(firmware.table())?,
            firmware,
            base: 0xfed9_0000,
            segment: 0,
            include_all: true,
            memory_node: -1,
            present: Present::default(),
        };
        let health = hardware.health.clone();
        let unit = VtdUnit::taken_over(health, description, hardware.clone())?;
        let registry = Registry::new()?;
        Ok(Self {
            reader,
            hardware,
            units: [Unit::new(unit)?],
            blocked: Domain::blocked(&registry)?,
            ids: IdMap::new()?,
            registry,
            is_on: Arc::new(Atomic::new(false), GFP_KERNEL)?,
        })
    }

    /// Function 0 of `bus`, with PASIDs of so many bits if it has any.
    fn endpoint(&self, bus: u8, bits: Option<u8>) -> Result<Arc<Endpoint<Vtd>>> {
        let id = RequesterId::pci(bus, 0);
        let mut ids = KVec::new();
        ids.push(id, GFP_KERNEL)?;
        let pasids: Option<KBox<dyn PasidControl>> = match bits {
            Some(bits) => {
                let is_on = self.is_on.clone();
                Some(KBox::new(Control { bits, is_on }, GFP_KERNEL)?)
            }
            None => None,
        };
        let device = DeviceInfo {
            name: Label::new(format_args!("device {bus}")),
            place: Place::Pci {
                segment: 0,
                id,
                upstream: KVec::new(),
                vendor: 0,
                device: 0,
                class: 0,
                physical: None,
                has_pasids: bits.is_some(),
                trusted: true,
            },
            ids,
            ids_kept: true,
            device_tlb: None,
            pasids,
        };
        Endpoint::new(&self.units, device)
    }

    /// A group of one endpoint.
    fn alone(&self, bus: u8, bits: Option<u8>) -> Result<Alone> {
        let endpoint = self.endpoint(bus, bits)?;
        let group = Group::new("group".into(), &self.blocked, self.ids.clone())?;
        group.join(&endpoint, Reason::Isolated)?;
        Ok((group, endpoint))
    }

    /// A domain that maps 0x1000 to `phys`.
    fn paging(&self, endpoint: &Endpoint<Vtd>, phys: u64) -> Result<Arc<Domain<Vtd>>> {
        let domain = Domain::paging(&self.registry, endpoint)?;
        let (iova, phys) = (Iova::new(0x1000), PhysAddr::new(phys));
        let prot = Prot::READ | Prot::WRITE;
        let (_, result) = domain.map(iova, phys, PAGE, prot, Gfp::KERNEL);
        result?;
        Ok(domain)
    }

    /// Where a read at 0x1008 by function 0 of `bus` leads; `pasid` is 0 for none.
    fn reads(&self, bus: u8, pasid: u32) -> Option<u64> {
        let (registers, source) = (&self.hardware.registers, u64::from(bus) << 8);
        self.reader.request(registers, source, pasid, 0x1008)
    }

    /// All has left; ends with the unit off.
    fn finish(self) -> Result {
        assert!(!self.is_on.load(Relaxed));
        self.hardware.stop()
    }
}

fn unmap(domain: &Domain<Vtd>) {
    let mut gather = Gather::new();
    assert_eq!(domain.unmap(Iova::new(0x1000), PAGE, &mut gather), PAGE);
    domain.sync(&mut gather);
}

fn pasid(number: u32) -> Result<Pasid> {
    Pasid::new(number).ok_or(EINVAL)
}

/// What units are tried: second and first stage, each with and without caching mode.
const KINDS: [(u64, u64); 4] = [(0, SECOND), (0, FIRST), (CACHING, SECOND), (CACHING, FIRST)];

#[kunit_tests(iommu_core_intel_pasids)]
mod suite {
    use super::*;

    #[test]
    fn the_unit_finds_the_table_of_each_pasid() -> Result {
        for (cap, ecap) in KINDS {
            let bench = Bench::new(cap, WITH_PASIDS | ecap)?;
            let (group, endpoint) = bench.alone(3, Some(20))?;
            assert!(bench.is_on.load(Relaxed));
            // The first and the last of a table, and of all.
            let numbers = [1, 63, 64, 0x7_ffff, 0xf_ffff];
            // A unit in caching mode remembers that they were not there.
            assert_eq!(bench.reads(3, 0), None);
            for number in numbers {
                assert_eq!(bench.reads(3, number), None);
            }
            let default = bench.paging(&endpoint, 0x10_0000)?;
            group.set_default(&default)?;
            for (number, place) in numbers.into_iter().zip(1..) {
                let domain = bench.paging(&endpoint, 0x10_0000 + place * PAGE)?;
                group.attach_pasid(pasid(number)?, &domain)?;
            }
            assert_eq!(bench.reads(3, 0), Some(0x10_0008));
            for (number, place) in numbers.into_iter().zip(1..) {
                assert_eq!(bench.reads(3, number), Some(0x10_0008 + place * PAGE));
            }
            assert_eq!(bench.reads(3, 2), None);
            assert_eq!(bench.reads(3, 128), None);
            assert_eq!(bench.reads(4, 1), None);
            let identity = Domain::identity(&bench.registry)?;
            // PT is a capability of the unit in the tests of hardware, or is not.
            if bench.hardware.capability.untranslated().is_some() {
                group.attach_pasid(pasid(2)?, &identity)?;
                assert_eq!(bench.reads(3, 2), Some(0x1008));
            }
            group.leave(&endpoint);
            assert_eq!(bench.reads(3, 0), None);
            for number in numbers {
                assert_eq!(bench.reads(3, number), None);
            }
            drop((default, identity, group, endpoint));
            bench.finish()?;
        }
        Ok(())
    }

    #[test]
    fn law_7_a_change_of_one_selector_leaves_the_others() -> Result {
        for (cap, ecap) in KINDS {
            let bench = Bench::new(cap, WITH_PASIDS | ecap)?;
            let (group, endpoint) = bench.alone(3, Some(20))?;
            let one = bench.paging(&endpoint, 0x10_0000)?;
            let two = bench.paging(&endpoint, 0x20_0000)?;
            let owner = Owner {
                token: 1,
                name: "tester".into(),
            };
            let claim = group.claim(owner)?;
            claim.attach_pasid(pasid(5)?, &one)?;
            claim.attach_pasid(pasid(70)?, &one)?;
            claim.attach(&one)?;
            for number in [0, 5, 70] {
                assert_eq!(bench.reads(3, number), Some(0x10_0008));
            }
            claim.attach_pasid(pasid(5)?, &two)?;
            assert_eq!(bench.reads(3, 5), Some(0x20_0008));
            assert_eq!(bench.reads(3, 70), Some(0x10_0008));
            claim.detach();
            assert_eq!(bench.reads(3, 0), None);
            assert_eq!(bench.reads(3, 5), Some(0x20_0008));
            claim.detach_pasid(pasid(70)?);
            assert_eq!(bench.reads(3, 70), None);
            assert_eq!(bench.reads(3, 5), Some(0x20_0008));
            drop(claim);
            assert_eq!(bench.reads(3, 5), None);
            group.leave(&endpoint);
            drop((one, two, group, endpoint));
            bench.finish()?;
        }
        Ok(())
    }

    #[test]
    fn law_8_an_unmap_is_forgotten_for_every_selector() -> Result {
        for (cap, ecap) in KINDS {
            let bench = Bench::new(cap, WITH_PASIDS | ecap)?;
            let (group, endpoint) = bench.alone(3, Some(20))?;
            let (other, neighbour) = bench.alone(4, None)?;
            let domain = bench.paging(&endpoint, 0x10_0000)?;
            group.set_default(&domain)?;
            other.set_default(&domain)?;
            for number in [1, 2, 300] {
                group.attach_pasid(pasid(number)?, &domain)?;
                assert_eq!(bench.reads(3, number), Some(0x10_0008));
            }
            assert_eq!(bench.reads(3, 0), Some(0x10_0008));
            assert_eq!(bench.reads(4, 0), Some(0x10_0008));
            unmap(&domain);
            for number in [0, 1, 2, 300] {
                assert_eq!(bench.reads(3, number), None);
            }
            assert_eq!(bench.reads(4, 0), None);
            other.leave(&neighbour);
            group.leave(&endpoint);
            drop((domain, other, neighbour, group, endpoint));
            bench.finish()?;
        }
        Ok(())
    }

    /// The unit has 20 bits.
    #[test]
    fn a_device_has_as_many_pasids_as_it_says() -> Result {
        let bench = Bench::new(0, WITH_PASIDS | SECOND)?;
        let (group, endpoint) = bench.alone(3, Some(8))?;
        let domain = bench.paging(&endpoint, 0x10_0000)?;
        group.attach_pasid(pasid(255)?, &domain)?;
        assert_eq!(group.attach_pasid(pasid(256)?, &domain), Err(EINVAL));
        assert_eq!(bench.reads(3, 255), Some(0x10_0008));
        assert_eq!(bench.reads(3, 256), None);

        let (plain, without) = bench.alone(4, None)?;
        plain.set_default(&domain)?;
        assert_eq!(plain.attach_pasid(pasid(1)?, &domain), Err(EINVAL));
        assert_eq!(bench.reads(4, 0), Some(0x10_0008));
        assert_eq!(bench.reads(4, 1), None);
        plain.leave(&without);
        group.leave(&endpoint);
        drop((domain, plain, without, group, endpoint));
        bench.finish()
    }

    #[test]
    fn a_unit_without_pasids_enables_none() -> Result {
        let bench = Bench::new(0, 1 << 43 | SECOND)?;
        let (group, endpoint) = bench.alone(3, Some(20))?;
        assert!(!bench.is_on.load(Relaxed));
        let domain = bench.paging(&endpoint, 0x10_0000)?;
        assert_eq!(group.attach_pasid(pasid(1)?, &domain), Err(EINVAL));
        group.leave(&endpoint);
        drop((domain, group, endpoint));
        bench.finish()
    }

    /// The tables of an id stay as they are made first.
    #[test]
    fn an_id_that_was_probed_without_pasids_stays_without() -> Result {
        let bench = Bench::new(0, WITH_PASIDS | SECOND)?;
        drop(bench.endpoint(3, None)?);
        let (group, endpoint) = bench.alone(3, Some(20))?;
        assert!(!bench.is_on.load(Relaxed));
        let domain = bench.paging(&endpoint, 0x10_0000)?;
        assert_eq!(group.attach_pasid(pasid(1)?, &domain), Err(EINVAL));
        group.set_default(&domain)?;
        assert_eq!(bench.reads(3, 0), Some(0x10_0008));
        assert_eq!(bench.reads(3, 1), None);
        group.leave(&endpoint);
        drop((domain, group, endpoint));
        bench.finish()
    }

    /// Law 7: what a device had is not there for the next one with its id, nor after a release.
    #[test]
    fn law_7_nothing_is_left_of_a_pasid() -> Result {
        let bench = Bench::new(0, WITH_PASIDS | SECOND)?;
        let (group, endpoint) = bench.alone(3, Some(20))?;
        let domain = bench.paging(&endpoint, 0x10_0000)?;
        group.attach_pasid(pasid(5)?, &domain)?;
        assert_eq!(bench.reads(3, 5), Some(0x10_0008));
        group.leave(&endpoint);
        drop((group, endpoint));
        let (group, endpoint) = bench.alone(3, Some(20))?;
        group.set_default(&domain)?;
        assert_eq!(bench.reads(3, 0), Some(0x10_0008));
        assert_eq!(bench.reads(3, 5), None);

        group.attach_pasid(pasid(6)?, &domain)?;
        bench.hardware.tables.clear_all();
        let id = RequesterId::pci(3, 0);
        assert_eq!(bench.hardware.tables.cached(id, 0), CachedEntry::Nothing);
        assert_eq!(bench.hardware.tables.cached(id, 6), CachedEntry::Nothing);
        group.leave(&endpoint);
        drop((domain, group, endpoint));
        bench.finish()
    }
}
