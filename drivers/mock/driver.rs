// SPDX-License-Identifier: GPL-2.0

//! The driver of the unit in software.

#![forbid(unsafe_code)]

use core::fmt;

use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
};

use super::{
    checks::{violation, Countdown, Plans},
    hardware::{Entry, Hardware, Options},
    memory::MockMemory,
};
use crate::{
    addr::{Iova, PageSizes, PhysAddr, Prot},
    device::{AcpiName, DeviceInfo, Place},
    driver::{
        Attach, Capability, DeviceView, Geometry, Probed, Scope, Step, Steps, Tag, Target,
        Translate, VendorDriver, When,
    },
    fault::FaultSink,
    health::Health,
    interrupt::NotRemapped,
    pasid::Selector,
    pgtable::{
        amd_v1::AmdV1, kernel_memory::Gfp, vtd_ss::VtdSs, Config, Format, Gather, PageTable, Top,
    },
    remapping::InterruptTable,
    requester::RequesterId,
    reserved::Reserved,
};

/// A prepared attach.
pub struct Plan {
    entry: Entry,
    /// If the plan is for [`When::Now`]: the endpoint's `uses` when it was made.
    now: Option<u64>,
    plans: Arc<Plans>,
}

impl Plan {
    fn new(unit: &Hardware, entry: Entry, now: Option<u64>) -> Self {
        let plans = unit.plans.clone();
        plans.0.fetch_add(1, Relaxed);
        Self { entry, now, plans }
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

/// Evaluates an expression with a page table of either format.
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
    /// The maximum number of levels of the page table.
    levels: u8,
    /// Makes the n-th map fail.
    pub fail_map: Countdown,
}

impl Paging {
    /// The entry for this page table.
    fn entry(&self, tag: u16) -> Entry {
        let Top { root, levels } = with_table!(self, table => table.top());
        Entry::Paging { root, levels, tag }
    }
}

/// The driver's state for an endpoint.
pub struct EndpointData {
    levels: u8,
    /// How many PASIDs it uses, 0 included.
    pasids: u32,
    /// The number of plans and commits of this endpoint.
    uses: Atomic<u64>,
    /// Makes the n-th `prepare` of this endpoint fail.
    pub fail_prepare: Countdown,
}

/// A device that the mock's firmware names by its path or its ids in the ACPI namespace.
struct Named {
    path: &'static [u8],
    hid: &'static [u8],
    uid: &'static [u8],
    /// The ids of its requests behind unit 0.
    ids: &'static [u32],
}

impl Named {
    fn is(&self, name: &AcpiName) -> bool {
        self.path == &name.path[..]
            || (!self.hid.is_empty() && self.hid == &name.hid[..] && self.uid == &name.uid[..])
    }
}

/// All devices that the mock's firmware names.
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

/// The region where firmware does DMA with the device that a unit's options name.
const FIRMWARE: (Iova, Iova) = (Iova::new(0x9000), Iova::new(0x9fff));

/// The mock driver.
pub struct Mock;

impl Tag for u16 {
    fn pack(self) -> u64 {
        self.into()
    }

    fn unpack(number: u64) -> Self {
        number as Self
    }
}

impl Attach for Mock {
    const NAME: &'static str = "mock";

    type Unit = Pin<KBox<Hardware>>;
    type Endpoint = EndpointData;
    type Paging = Paging;
    type Tag = u16;
    type Plan = Plan;

    fn health(unit: &Self::Unit) -> &Health {
        &unit.health
    }

    fn pasids(_unit: &Self::Unit, endpoint: &EndpointData) -> u32 {
        endpoint.pasids
    }

    fn tags_by_pasid(unit: &Self::Unit, _paging: Option<&Paging>) -> bool {
        unit.options().tags_by_pasid
    }

    fn acquire_tag(unit: &Self::Unit, _paging: Option<&Paging>, selector: Selector) -> Result<u16> {
        if unit.fail_tag.is_due() {
            return Err(ENOSPC);
        }
        unit.acquire_tag(selector)
    }

    fn release_tag(unit: &Self::Unit, tag: u16) {
        unit.release_tag(tag);
    }

    fn prepare(
        unit: &Self::Unit,
        endpoint: &EndpointData,
        selector: Selector,
        target: Target<'_, Self>,
        when: When,
    ) -> Result<Plan> {
        if selector.number() >= endpoint.pasids.max(1) {
            violation(format_args!(
                "an endpoint is attached for a PASID that it does not use"
            ));
        }
        if endpoint.fail_prepare.is_due() || unit.fail_prepare.is_due() {
            return Err(ENOMEM);
        }
        let entry = match target {
            Target::Paging { paging, tag } => {
                if paging.levels != endpoint.levels {
                    return Err(EINVAL);
                }
                paging.entry(tag)
            }
            Target::Identity { tag } => Entry::Identity { tag },
        };
        let uses = endpoint.uses.fetch_add(1, Relaxed) + 1;
        Ok(Plan::new(unit, entry, (when == When::Now).then_some(uses)))
    }

    fn plan_blocked(unit: &Self::Unit, endpoint: &EndpointData, _selector: Selector) -> Plan {
        endpoint.uses.fetch_add(1, Relaxed);
        Plan::new(unit, Entry::Blocked, None)
    }

    fn commit(unit: &Self::Unit, steps: &mut impl Steps<Self>) {
        let failed = unit.health.has_failed();
        let answered = unit.commit(|entries| {
            steps.for_each(|step| {
                let entry = match step.target {
                    _ if failed => Entry::Blocked,
                    // Use the current top: the page table may have grown since `prepare`. If it
                    // grows after this read, the caller that updates the unit's top finds this
                    // entry.
                    Some(Target::Paging { paging, tag }) => paging.entry(tag),
                    _ => step.plan.entry,
                };
                let uses = step.endpoint.uses.fetch_add(1, Relaxed);
                if step.plan.now.is_some_and(|made| made != uses) {
                    violation(format_args!(
                        "the core did something else before a plan for now"
                    ));
                }
                let selector = step.selector;
                step.ids
                    .iter()
                    .for_each(|&id| entries.write(id, selector, entry));
            });
        });
        if !answered && !failed {
            unit.health.fail(format_args!("its queue does not answer"));
            // The failed unit still reads its entries.
            unit.commit(|entries| {
                steps.for_each(|Step { ids, selector, .. }| {
                    ids.iter()
                        .for_each(|&id| entries.write(id, selector, Entry::Blocked));
                });
            });
        }
    }

    fn needs_map_sync(unit: &Self::Unit) -> bool {
        unit.options().caches_absent
    }

    fn capable(unit: &Self::Unit, _endpoint: &EndpointData, capability: Capability) -> bool {
        match capability {
            Capability::CoherentDma => true,
            Capability::EnforcedCoherency => unit.options().can_snoop,
            _ => false,
        }
    }
}

impl Translate for Mock {
    type Memory = MockMemory;

    fn alloc_paging(device: &DeviceView<'_, Self>) -> Result<Paging> {
        let hardware = device.unit();
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

    fn map_list(
        paging: &Paging,
        iova: Iova,
        pieces: impl Iterator<Item = (PhysAddr, u64)>,
        prot: Prot,
        flags: Gfp,
        gather: &mut Gather<MockMemory>,
    ) -> (u64, Result) {
        let (mapped, result) =
            with_table!(paging, table => table.map_list(iova, pieces, prot, flags, gather));
        (mapped, result.map_err(Error::from))
    }

    fn unmap(paging: &Paging, iova: Iova, len: u64, gather: &mut Gather<MockMemory>) -> u64 {
        with_table!(paging, table => table.unmap(iova, len, gather))
    }

    fn splits_are_invalidated(paging: &Paging, count: u32) {
        with_table!(paging, table => table.splits_are_invalidated(count))
    }

    fn iova_to_phys(paging: &Paging, iova: Iova) -> Option<PhysAddr> {
        with_table!(paging, table => table.iova_to_phys(iova))
    }

    fn new_top(paging: &Paging) -> Option<Top> {
        with_table!(paging, table => table.has_new_top().then(|| table.top()))
    }

    fn update_top(unit: &Self::Unit, tag: u16, paging: &Paging) -> Result {
        unit.health.check()?;
        let answered = unit.update_top(tag, || with_table!(paging, table => table.top()));
        if !answered {
            unit.health.fail(format_args!("its queue does not answer"));
            return Err(EIO);
        }
        Ok(())
    }

    fn acknowledge_top(paging: &Paging, top: Top) {
        with_table!(paging, table => table.acknowledge_top(top));
    }

    fn mapped(unit: &Self::Unit, tag: u16, first: Iova, last: Iova) -> Result {
        unit.health.check()?;
        unit.mapped(tag, first, last);
        Ok(())
    }

    fn invalidate(unit: &Self::Unit, tag: u16, scope: Scope) -> Result {
        unit.health.check()?;
        unit.invalidate(tag, scope);
        Ok(())
    }
}

impl VendorDriver for Mock {
    fn discover() -> Result<KVec<Self::Unit>> {
        let mut units = KVec::new();
        units.push(
            Hardware::new("mock0".into(), Options::default())?,
            GFP_KERNEL,
        )?;
        Ok(units)
    }

    fn take_over(unit: &Self::Unit, _faults: Arc<dyn FaultSink>) -> Result {
        unit.take_over()
    }

    fn enable(unit: &Self::Unit) -> Result {
        unit.enable();
        Ok(())
    }

    fn release(unit: &Self::Unit) -> Result {
        unit.release()
    }

    fn suspend(unit: &Self::Unit) -> Result {
        unit.suspend()
    }

    fn resume(unit: &Self::Unit) -> Result {
        unit.resume(unit.health.has_failed())
    }

    fn probe<'a>(
        mut units: impl Iterator<Item = &'a Self::Unit> + Clone,
        device: DeviceInfo,
    ) -> Result<(&'a Self::Unit, Probed<Self>)> {
        let mut ids = device.ids;
        let mut uses_pasids = false;
        let segment = match &device.place {
            Place::Pci {
                segment,
                has_pasids,
                ..
            } => {
                uses_pasids = *has_pasids;
                *segment
            }
            Place::Acpi(name) => {
                let named = NAMED.iter().find(|named| named.is(name)).ok_or(ENODEV)?;
                for &id in named.ids {
                    ids.push(RequesterId::new(id), GFP_KERNEL)?;
                }
                0
            }
            Place::Behind { .. } => return Err(ENODEV),
        };
        let unit = units.nth(usize::from(segment)).ok_or(ENODEV)?;
        let &Options {
            levels,
            firmware,
            pasids,
            ..
        } = unit.options();
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
        let probed = Probed {
            ids,
            data: EndpointData {
                levels,
                pasids: if uses_pasids { pasids } else { 0 },
                uses: Atomic::new(0),
                fail_prepare: Countdown::new(),
            },
            reserved,
        };
        Ok((unit, probed))
    }

    fn remaps(unit: &Self::Unit, ids: &[RequesterId]) -> Result<(), NotRemapped> {
        let is_controller = |id: &&RequesterId| Some(id.raw()) == unit.options().controller;
        match ids.iter().find(is_controller) {
            Some(&id) => Err(NotRemapped::SharedWithController(id)),
            None => Ok(()),
        }
    }

    fn stop_refusing(unit: &Self::Unit, ids: &[RequesterId]) {
        unit.messages.pass_refused(ids);
    }

    fn interrupt_table(unit: &Self::Unit) -> Result<Arc<dyn InterruptTable>> {
        unit.messages.table()
    }

    fn show_unit(unit: &Self::Unit, f: &mut dyn fmt::Write) -> fmt::Result {
        writeln!(f, "{:?}", unit.counts())
    }
}
