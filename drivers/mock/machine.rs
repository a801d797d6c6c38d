// SPDX-License-Identifier: GPL-2.0

//! A machine of mock units, as the suites use it.

#![forbid(unsafe_code)]

use kernel::{prelude::*, sync::Arc};

use super::{
    checks::violations,
    driver::{Mock, Paging},
    hardware::{Counts, Dma, Entry, Hardware, Options},
    memory::{live as live_tables, FAIL_TABLE},
};
use crate::{
    addr::{Iova, PhysAddr, Prot},
    device::{AcpiName, DeviceInfo, Place},
    domain::{Domain, Kind},
    endpoint::Endpoint,
    fault::{Fault, FaultSink},
    group::{Group, Reason},
    id_map::{IdMap, UnitFaults},
    label::Label,
    log::log_err,
    ownership::Owner,
    pasid::{Pasid, Selector},
    pgtable::{kernel_memory::Gfp, Gather},
    registry::Registry,
    requester::RequesterId,
    unit::Unit,
};

/// Returns an error from the function unless the condition holds. For code that tests share; in a
/// test itself, KUnit's `assert!` is used.
macro_rules! ensure {
    ($condition:expr) => {
        if !$condition {
            $crate::log::log_err!(
                "{}:{}: condition does not hold: {}",
                ::core::file!(),
                ::core::line!(),
                ::core::stringify!($condition),
            );
            return Err(EINVAL);
        }
    };
}
pub(crate) use ensure;

/// Units that were taken over, and the objects that a frontend would create for them.
pub struct Machine {
    /// The list of domains.
    pub registry: Arc<Registry>,
    /// The domain that blocks groups.
    pub blocked: Arc<Domain<Mock>>,
    /// The ids of all members of groups.
    pub ids: Arc<IdMap<Mock>>,
    /// The units.
    pub units: KVec<Arc<Unit<Mock>>>,
    /// The fault sink of each unit.
    faults: KVec<Arc<UnitFaults<Mock>>>,
    tables: i64,
    violations: u64,
}

/// A group and its only member.
pub type Alone = (Arc<Group<Mock>>, Arc<Endpoint<Mock>>);

/// Everything that an attach could change, of all units.
#[derive(PartialEq, Debug)]
pub struct Snapshot {
    entries: KVec<Entry>,
    counts: KVec<Counts>,
    tags: KVec<usize>,
    plans: KVec<i64>,
    tables: i64,
    /// Each domain's number and how many groups are attached to it.
    domains: KVec<(u64, i64)>,
}

impl Machine {
    /// A machine with one unit for each of `options`, all of them translating.
    pub fn new(options: &[Options]) -> Result<Self> {
        let (tables, violations) = (live_tables(), violations());
        FAIL_TABLE.arm(0);
        let registry = Registry::new()?;
        let blocked = Domain::blocked(&registry)?;
        let ids = IdMap::new()?;
        let mut units = KVec::new();
        let mut faults = KVec::new();
        for (index, &options) in options.iter().enumerate() {
            let name = Label::new(format_args!("mock{index}"));
            let unit = Unit::new(Hardware::new(name, options)?)?;
            let sink = UnitFaults::new(&ids, &unit)?;
            unit.take_over(sink.clone())?;
            unit.enable()?;
            units.push(unit, GFP_KERNEL)?;
            faults.push(sink, GFP_KERNEL)?;
        }
        Ok(Self {
            registry,
            blocked,
            ids,
            units,
            faults,
            tables,
            violations,
        })
    }

    /// A frontend's description of a device behind unit number `unit` with `ids`.
    pub fn device(&self, unit: usize, ids: &[u32]) -> Result<DeviceInfo> {
        let unit_data = self.units.get(unit).map(|unit| unit.data());
        let has_pasids = unit_data.is_some_and(|unit| unit.options().pasids > 0);
        let mut device = DeviceInfo {
            name: Label::new(format_args!("device {unit}:{}", ids[0])),
            place: Place::Pci {
                segment: unit as u16,
                id: RequesterId::new(ids[0]),
                upstream: KVec::new(),
                vendor: 0,
                device: 0,
                class: 0,
                physical: None,
                has_pasids,
                trusted: true,
            },
            ids: KVec::new(),
            ids_kept: true,
            device_tlb: None,
            pasids: None,
        };
        for &id in ids {
            device.ids.push(RequesterId::new(id), GFP_KERNEL)?;
        }
        Ok(device)
    }

    /// A frontend's description of a device in the ACPI namespace, on a bus without ids.
    pub fn named(&self, path: &str, hid: &str, uid: &str) -> Result<DeviceInfo> {
        let copy = |text: &str| -> Result<KVec<u8>> {
            let mut bytes = KVec::new();
            bytes.extend_from_slice(text.as_bytes(), GFP_KERNEL)?;
            Ok(bytes)
        };
        Ok(DeviceInfo {
            name: Label::from(hid),
            place: Place::Acpi(AcpiName {
                path: copy(path)?,
                hid: copy(hid)?,
                uid: copy(uid)?,
            }),
            ids: KVec::new(),
            ids_kept: true,
            device_tlb: None,
            pasids: None,
        })
    }

    /// An endpoint behind unit number `unit` with `ids`.
    pub fn endpoint(&self, unit: usize, ids: &[u32]) -> Result<Arc<Endpoint<Mock>>> {
        Endpoint::new(&self.units, self.device(unit, ids)?)
    }

    /// As [`endpoint`](Self::endpoint), of a device that uses no PASIDs.
    pub fn plain_endpoint(&self, unit: usize, ids: &[u32]) -> Result<Arc<Endpoint<Mock>>> {
        let mut device = self.device(unit, ids)?;
        if let Place::Pci { has_pasids, .. } = &mut device.place {
            *has_pasids = false;
        }
        Endpoint::new(&self.units, device)
    }

    /// An empty group.
    pub fn group(&self, name: &str) -> Result<Arc<Group<Mock>>> {
        Group::new(name.into(), &self.blocked, self.ids.clone())
    }

    /// A group of one endpoint behind unit 0.
    pub fn alone(&self, id: u32) -> Result<Alone> {
        let group = self.group("group")?;
        let endpoint = self.endpoint(0, &[id])?;
        group.join(&endpoint, Reason::Isolated)?;
        Ok((group, endpoint))
    }

    /// A paging domain for devices like `endpoint` that maps `pages` (IOVA and physical address).
    pub fn paging(
        &self,
        endpoint: &Endpoint<Mock>,
        pages: &[(u64, u64)],
    ) -> Result<Arc<Domain<Mock>>> {
        let domain = Domain::paging(&self.registry, endpoint)?;
        for &(iova, phys) in pages {
            map(&domain, iova, phys, PAGE)?;
        }
        Ok(domain)
    }

    /// An identity domain.
    pub fn identity(&self) -> Result<Arc<Domain<Mock>>> {
        Domain::identity(&self.registry)
    }

    /// The hardware of unit number `unit`.
    pub fn hardware(&self, unit: usize) -> &Hardware {
        self.units[unit].data()
    }

    /// Takes unit number `unit` over again.
    pub fn take_over(&self, unit: usize) -> Result {
        self.units[unit].take_over(self.faults[unit].clone())
    }

    /// Reports a fault of unit number `unit`.
    pub fn report_fault(&self, unit: usize, fault: &Fault) {
        self.faults[unit].report(fault);
    }

    /// The endpoint to which a fault of unit number `unit` is attributed.
    pub fn endpoint_of(&self, unit: usize, fault: &Fault) -> Option<Arc<Endpoint<Mock>>> {
        self.faults[unit].endpoint_of(fault)
    }

    /// The number of faults of unit number `unit` with unknown ids.
    pub fn faults_of_unknown_ids(&self, unit: usize) -> u64 {
        self.faults[unit].unknown_ids()
    }

    /// The address that a read by the device with `id` behind unit number `unit` reaches; `None` if
    /// the unit refuses it.
    pub fn dma(&self, unit: usize, id: u32, iova: u64) -> Option<u64> {
        let dma = self
            .hardware(unit)
            .dma(RequesterId::new(id), Iova::new(iova), false);
        match dma {
            Dma::At(phys) => Some(phys.raw()),
            Dma::Refused => None,
        }
    }

    /// As [`dma`](Self::dma), by a read with the PASID `pasid`, behind unit 0.
    pub fn dma_with(&self, id: u32, pasid: Pasid, iova: u64) -> Option<u64> {
        let selector = Selector::Pasid(pasid);
        let hardware = self.hardware(0);
        match hardware.dma_with(RequesterId::new(id), selector, Iova::new(iova), false) {
            Dma::At(phys) => Some(phys.raw()),
            Dma::Refused => None,
        }
    }

    /// Everything that an attach could change.
    pub fn snapshot(&self) -> Result<Snapshot> {
        let mut snapshot = Snapshot {
            entries: KVec::new(),
            counts: KVec::new(),
            tags: KVec::new(),
            plans: KVec::new(),
            tables: live_tables(),
            domains: KVec::new(),
        };
        for unit in self.units.iter() {
            let hardware = unit.data();
            hardware.copy_entries(&mut snapshot.entries)?;
            snapshot.counts.push(hardware.counts(), GFP_KERNEL)?;
            snapshot.tags.push(hardware.tags_in_use(), GFP_KERNEL)?;
            snapshot.plans.push(hardware.plans.count(), GFP_KERNEL)?;
        }
        self.registry.for_each_domain(|record| {
            let domain = (record.id(), record.groups());
            snapshot.domains.push(domain, GFP_KERNEL)
        })?;
        Ok(snapshot)
    }

    /// The number of domains that exist.
    pub fn domains(&self) -> u64 {
        let (allocated, freed) = self.registry.counts();
        allocated - freed
    }

    /// How many page tables there were before the machine.
    pub fn tables(&self) -> i64 {
        self.tables
    }

    /// Releases the units. All members must have left their groups: whatever is left is an error.
    pub fn finish(self) -> Result {
        self.finish_with(0)
    }

    /// As [`finish`](Self::finish), where `kept` page tables are never freed because of a failure
    /// that has ended.
    pub fn finish_with(self, kept: i64) -> Result {
        let Self {
            registry,
            blocked,
            units,
            tables,
            violations: violations_before,
            ..
        } = self;
        let mut clean = true;
        let mut expect = |ok: bool, what: &str| {
            if !ok {
                log_err!("mock: at the end: {what}");
                clean = false;
            }
        };
        // Page tables that a failed unit may still read are never freed.
        let failed = units.iter().any(|unit| unit.has_failed());
        for unit in units.iter() {
            let hardware = unit.data();
            expect(hardware.is_blocked(), "an entry is not blocked");
            expect(hardware.tags_in_use() == 0, "a tag is in use");
            expect(hardware.plans.count() == 0, "a plan is left");
            expect(unit.release().is_ok(), "a unit does not stop");
        }
        drop(blocked);
        let (allocated, freed) = registry.counts();
        expect(allocated == freed, "a domain is left");
        let left = live_tables() - tables - kept;
        expect(left == 0 || (failed && left > 0), "a page table is left");
        expect(violations() == violations_before, "violations");
        if clean {
            Ok(())
        } else {
            Err(EINVAL)
        }
    }
}

/// Size of a page.
pub const PAGE: u64 = 1 << 12;

/// An owner called `name`, identified by `token`.
pub fn owner(token: usize, name: &str) -> Owner {
    Owner {
        token,
        name: name.into(),
    }
}

/// Maps `len` bytes and makes them usable by devices.
pub fn map(domain: &Domain<Mock>, iova: u64, phys: u64, len: u64) -> Result {
    let iova = Iova::new(iova);
    let prot = Prot::READ | Prot::WRITE;
    let (mapped, result) = domain.map(iova, PhysAddr::new(phys), len, prot, Gfp::KERNEL);
    if result.is_err() && mapped > 0 {
        unmap(domain, iova.raw(), mapped);
    }
    result?;
    domain.sync_map(iova, iova.last(len).ok_or(EINVAL)?)
}

/// Unmaps up to `len` bytes and invalidates them. Returns the number of bytes unmapped.
pub fn unmap(domain: &Domain<Mock>, iova: u64, len: u64) -> u64 {
    let mut gather = Gather::new();
    let unmapped = domain.unmap(Iova::new(iova), len, &mut gather);
    domain.sync(&mut gather);
    unmapped
}

/// The driver's part of a paging domain.
pub fn paging_of(domain: &Domain<Mock>) -> Result<&Paging> {
    match domain.kind() {
        Kind::Paging(tables) => tables.get(),
        _ => Err(EINVAL),
    }
}
