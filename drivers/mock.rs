// SPDX-License-Identifier: GPL-2.0

//! A vendor driver without hardware, for the suites: see [`hardware`] for what plays the unit.
//!
//! It does what a driver should, so that what goes wrong is the core's. What no driver may ever see
//! (a walk through a freed table, a tag given back while it is in use, ...) is a violation: it is
//! logged and counted, and [`Machine::finish`] wants none.

#![forbid(unsafe_code)]

pub mod at_once;
mod hardware;
pub mod machine;
mod memory;

use core::fmt;

use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
};

pub use self::{
    hardware::{Counts, Dma, Entry, Hardware, Options},
    machine::Machine,
    memory::{live as live_tables, MockMemory, FAIL_TABLE},
};
use crate::{
    addr::{Iova, PageSizes, PhysAddr, Prot},
    driver::{Attach, Capability, Geometry, Probed, Scope, Target, Translate, VendorDriver, When},
    endpoint::{AcpiName, DeviceInfo, DeviceView, Endpoint, Place},
    group::Steps,
    log::log_err,
    pgtable::{
        amd_v1::AmdV1, kernel_memory::Gfp, vtd_ss::VtdSs, Config, Format, Gather, PageTable, Top,
    },
    requester::RequesterId,
    reserved::Reserved,
    unit::Unit,
};

static VIOLATIONS: Atomic<u64> = Atomic::new(0);

/// Something happened that no driver may let happen.
fn violation(what: fmt::Arguments<'_>) {
    VIOLATIONS.fetch_add(1, Relaxed);
    log_err!("mock: {what}");
}

/// How often that was.
pub fn violations() -> u64 {
    VIOLATIONS.load(Relaxed)
}

/// Lets one call fail.
pub struct Countdown(Atomic<i64>);

impl Countdown {
    const fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// The `n`-th call from now on fails, 1 is the next. 0: none.
    pub fn arm(&self, n: i64) {
        self.0.store(n, Relaxed);
    }

    /// Whether no failure is still to come.
    pub fn is_done(&self) -> bool {
        self.0.load(Relaxed) == 0
    }

    fn is_due(&self) -> bool {
        let left = self.0.load(Relaxed);
        if left > 0 {
            self.0.store(left - 1, Relaxed);
        }
        left == 1
    }
}

/// Plans that exist.
pub struct Plans(Atomic<i64>);

impl Plans {
    fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// How many.
    pub fn count(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// A prepared attach.
pub struct Plan {
    entry: Entry,
    plans: Arc<Plans>,
}

impl Plan {
    fn new(unit: &Unit<Mock>, entry: Entry) -> Self {
        let plans = unit.hardware().plans.clone();
        plans.0.fetch_add(1, Relaxed);
        Self { entry, plans }
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        self.plans.0.fetch_sub(1, Relaxed);
    }
}

/// A page table.
enum Tables {
    Fixed(PageTable<VtdSs, MockMemory>),
    Growing(PageTable<AmdV1, MockMemory>),
}

/// Does something with either kind of table.
macro_rules! with_table {
    ($paging:expr, $table:ident => $do:expr) => {
        match &$paging.tables {
            Tables::Fixed($table) => $do,
            Tables::Growing($table) => $do,
        }
    };
}

/// The driver's part of a paging domain.
pub struct Paging {
    tables: Tables,
    /// Levels that the table has at most.
    levels: u8,
    /// Lets the n-th map fail.
    pub fail_map: Countdown,
}

impl Paging {
    /// What an entry says that leads here.
    fn entry(&self, tag: u16) -> Entry {
        let Top { root, levels } = with_table!(self, table => table.top());
        Entry::Paging { root, levels, tag }
    }
}

/// The driver's state for an endpoint.
pub struct EndpointData {
    levels: u8,
    /// Lets the n-th prepare of this endpoint fail.
    pub fail_prepare: Countdown,
}

/// A device that the mock's firmware names by its path or by its ids in the ACPI namespace.
struct Named {
    path: &'static [u8],
    hid: &'static [u8],
    uid: &'static [u8],
    /// The ids that its requests have, behind unit 0.
    ids: &'static [u32],
}

impl Named {
    fn is(&self, name: &AcpiName) -> bool {
        self.path == &name.path[..]
            || (!self.hid.is_empty() && self.hid == &name.hid[..] && self.uid == &name.uid[..])
    }
}

/// All of them.
const NAMED: &[Named] = &[
    Named {
        path: b"\\_SB_.I2C0",
        hid: b"",
        uid: b"",
        ids: &[40, 41],
    },
    Named {
        path: b"",
        hid: b"MOCK0001",
        uid: b"7",
        ids: &[42],
    },
    Named {
        path: b"\\_SB_.NOID",
        hid: b"",
        uid: b"",
        ids: &[],
    },
];

/// Where firmware does DMA, with the device that a unit's options name.
const FIRMWARE: (Iova, Iova) = (Iova::new(0x9000), Iova::new(0x9fff));

/// The mock driver.
pub struct Mock;

impl Attach for Mock {
    const NAME: &'static str = "mock";

    type Unit = Hardware;
    type Endpoint = EndpointData;
    type Paging = Paging;
    type Tag = u16;
    type Plan = Plan;

    fn acquire_tag(unit: &Unit<Self>, _paging: Option<&Paging>) -> Result<u16> {
        if unit.hardware().fail_tag.is_due() {
            return Err(ENOSPC);
        }
        unit.hardware().acquire_tag()
    }

    fn release_tag(unit: &Unit<Self>, tag: u16) {
        unit.hardware().release_tag(tag);
    }

    fn prepare(endpoint: &Endpoint<Self>, target: Target<'_, Self>, _when: When) -> Result<Plan> {
        let unit = endpoint.unit();
        if endpoint.data().fail_prepare.is_due() || unit.hardware().fail_prepare.is_due() {
            return Err(ENOMEM);
        }
        let entry = match target {
            Target::Paging { paging, tag } => {
                if paging.levels != endpoint.data().levels {
                    return Err(EINVAL);
                }
                paging.entry(tag)
            }
            Target::Identity { tag } => Entry::Identity { tag },
        };
        Ok(Plan::new(unit, entry))
    }

    fn plan_blocked(endpoint: &Endpoint<Self>) -> Plan {
        Plan::new(endpoint.unit(), Entry::Blocked)
    }

    fn commit(unit: &Unit<Self>, steps: &mut Steps<'_, Self>) {
        let failed = unit.has_failed();
        let answered = unit.hardware().commit(|entries| {
            steps.for_each_target(|ids, plan, target| {
                let entry = match target {
                    _ if failed => Entry::Blocked,
                    // The table may have grown since. If it does so from here on, who tells the
                    // unit finds the entry.
                    Some(Target::Paging { paging, tag }) => paging.entry(tag),
                    _ => plan.entry,
                };
                ids.iter().for_each(|&id| entries.write(id, entry));
            });
        });
        if !answered && !failed {
            unit.fail(format_args!("its queue does not answer"));
            // It still reads its entries.
            unit.hardware().commit(|entries| {
                steps.for_each(|_, ids, _| {
                    ids.iter().for_each(|&id| entries.write(id, Entry::Blocked));
                });
            });
        }
    }

    fn needs_map_sync(unit: &Unit<Self>) -> bool {
        unit.hardware().options().caches_absent
    }

    fn capable(endpoint: &Endpoint<Self>, capability: Capability) -> bool {
        match capability {
            Capability::CoherentDma => true,
            Capability::EnforcedCoherency => endpoint.unit().hardware().options().can_snoop,
            _ => false,
        }
    }
}

impl Translate for Mock {
    type Memory = MockMemory;

    fn alloc_paging(device: &DeviceView<'_, Self>) -> Result<Paging> {
        let hardware = device.unit().hardware();
        if hardware.fail_alloc.is_due() {
            return Err(ENOMEM);
        }
        let levels = hardware.options().levels;
        let grows = hardware.options().grows;
        let config = Config {
            iova_bits: 12 + 9 * levels,
            levels: if grows { AmdV1::MIN_LEVELS } else { levels },
            page_sizes: PageSizes::SZ_4K | PageSizes::SZ_2M,
            oa_bits: 46,
            coherent: true,
            split: true,
        };
        let tables = match grows {
            true => Tables::Growing(PageTable::new(&config, MockMemory, Gfp::KERNEL)?),
            false => Tables::Fixed(PageTable::new(&config, MockMemory, Gfp::KERNEL)?),
        };
        Ok(Paging {
            tables,
            levels,
            fail_map: Countdown::new(),
        })
    }

    fn geometry(paging: &Paging) -> Geometry {
        Geometry {
            first: Iova::new(0),
            last: with_table!(paging, table => table.last_iova()),
            page_sizes: with_table!(paging, table => table.page_sizes()),
        }
    }

    fn map(
        paging: &Paging,
        iova: Iova,
        phys: PhysAddr,
        len: u64,
        prot: Prot,
        flags: Gfp,
        gather: &mut Gather<MockMemory>,
    ) -> (u64, Result) {
        if paging.fail_map.is_due() {
            return (0, Err(ENOMEM));
        }
        let (mapped, result) =
            with_table!(paging, table => table.map(iova, phys, len, prot, flags, gather));
        (mapped, result.map_err(Error::from))
    }

    fn unmap(paging: &Paging, iova: Iova, len: u64, gather: &mut Gather<MockMemory>) -> u64 {
        with_table!(paging, table => table.unmap(iova, len, gather))
    }

    fn iova_to_phys(paging: &Paging, iova: Iova) -> Option<PhysAddr> {
        with_table!(paging, table => table.iova_to_phys(iova))
    }

    fn new_top(paging: &Paging) -> Option<Top> {
        with_table!(paging, table => table.top_is_news().then(|| table.top()))
    }

    fn tell_top(unit: &Unit<Self>, tag: u16, paging: &Paging) -> Result {
        unit.check()?;
        let answered = unit
            .hardware()
            .tell_top(tag, || with_table!(paging, table => table.top()));
        if !answered {
            unit.fail(format_args!("its queue does not answer"));
            return Err(EIO);
        }
        Ok(())
    }

    fn top_is_told(paging: &Paging, top: Top) {
        with_table!(paging, table => table.top_is_told(top));
    }

    fn mapped(unit: &Unit<Self>, tag: u16, first: Iova, last: Iova) -> Result {
        unit.check()?;
        unit.hardware().mapped(tag, first, last);
        Ok(())
    }

    fn invalidate(unit: &Unit<Self>, tag: u16, scope: Scope) -> Result {
        unit.check()?;
        unit.hardware().invalidate(tag, scope);
        Ok(())
    }
}

impl VendorDriver for Mock {
    fn discover() -> Result<KVec<Arc<Unit<Self>>>> {
        let mut units = KVec::new();
        units.push(
            Unit::new("mock0".into(), Hardware::new(Options::default()))?,
            GFP_KERNEL,
        )?;
        Ok(units)
    }

    fn take_over(unit: &Arc<Unit<Self>>) -> Result {
        unit.hardware().take_over()
    }

    fn enable(unit: &Unit<Self>) -> Result {
        unit.hardware().enable();
        Ok(())
    }

    fn release(unit: &Unit<Self>) {
        unit.hardware().release();
    }

    fn suspend(unit: &Unit<Self>) -> Result {
        unit.hardware().suspend()
    }

    fn resume(unit: &Unit<Self>) -> Result {
        unit.hardware().resume(unit.has_failed())
    }

    fn probe(units: &[Arc<Unit<Self>>], device: DeviceInfo) -> Result<Probed<Self>> {
        let mut ids = device.ids;
        let segment = match &device.place {
            Place::Pci { segment, .. } => *segment,
            Place::Acpi(name) => {
                let named = NAMED.iter().find(|named| named.is(name)).ok_or(ENODEV)?;
                for &id in named.ids {
                    ids.push(RequesterId::new(id), GFP_KERNEL)?;
                }
                0
            }
            Place::Behind { .. } => return Err(ENODEV),
        };
        let unit = units.get(usize::from(segment)).ok_or(ENODEV)?.clone();
        let &Options {
            levels, firmware, ..
        } = unit.hardware().options();
        let mut reserved = KVec::new();
        if let Some((id, kind)) = firmware {
            if ids.contains(&RequesterId::new(id)) {
                let region = Reserved {
                    first: FIRMWARE.0,
                    last: FIRMWARE.1,
                    prot: Prot::READ | Prot::WRITE,
                    kind,
                };
                reserved.push(region, GFP_KERNEL)?;
            }
        }
        Ok(Probed {
            unit,
            ids,
            data: EndpointData {
                levels,
                fail_prepare: Countdown::new(),
            },
            reserved,
        })
    }

    fn show_unit(unit: &Unit<Self>, f: &mut dyn fmt::Write) -> fmt::Result {
        writeln!(f, "{:?}", unit.hardware().counts())
    }
}
