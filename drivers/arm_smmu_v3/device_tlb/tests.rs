// SPDX-License-Identifier: GPL-2.0

//! Attaches and invalidations with TLBs in devices, on an emulated unit: which commands it gets, in
//! which order, and what is in its stream table afterwards.

#![forbid(unsafe_code)]

use kernel::{
    impl_has_work,
    macros::kunit_tests,
    new_work,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc, Completion,
    },
    time::{delay::fsleep, Delta},
    workqueue::{self, Work, WorkItem},
};

use super::super::{
    records::command::Command,
    smmu::SmmuV3,
    tests::fake_unit::{self, FakeUnit},
    unit::{command_queue::Failure, hardware::Hardware},
};
use crate::{
    addr::{Iova, PhysAddr, Prot},
    device::{DeviceInfo, DeviceTlb, Place},
    domain::Domain,
    driver::VendorDriver,
    drivers::shell::unit::UnitHardware,
    endpoint::Endpoint,
    group::{Group, IdOwners, Reason},
    id_map::IdMap,
    label::Label,
    pgtable::{kernel_memory::Gfp, Gather},
    registry::Registry,
    requester::RequesterId,
    unit::Unit,
};

/// The unit has ATS.
const ATS: u32 = 1 << 10;
const IDR0: u32 = fake_unit::IDR0 | ATS;

/// EATS, full use, in word 1 of an entry (5.2).
const FULL: u64 = 1 << 28;
const EATS: u64 = 3 << 28;

/// What the switch records between commands.
const OFF: u64 = 0xf0;
const ON: u64 = 0xf1;
/// CMD_CFGI_STE and CMD_SYNC; CMD_TLBI_NH_VA; CMD_TLBI_NH_ASID; CMD_ATC_INV (4.1.1).
const ENTRY: [u64; 2] = [0x03, 0x46];
const PAGE: [u64; 2] = [0x12, 0x46];
const DOMAIN: [u64; 2] = [0x11, 0x46];
const DEVICE: [u64; 2] = [0x40, 0x46];
/// The CMD_SYNC that is repeated because a device has not answered.
const AGAIN: [u64; 1] = [0x46];

/// A switch of a device's TLB. The emulated unit records when it is turned.
struct Switch {
    fake: Arc<FakeUnit>,
    stream: u32,
    breaks: bool,
    is_on: Atomic<bool>,
}

impl DeviceTlb for Switch {
    fn prepare(&self, lg2: u32) -> Result {
        assert_eq!(lg2, 12);
        Ok(())
    }

    fn enable(&self, lg2: u32) -> Result {
        assert_eq!(lg2, 12);
        if self.breaks {
            return Err(EINVAL);
        }
        assert!(!self.is_on.xchg(true, Relaxed));
        self.fake.record([ON, self.stream.into()]);
        Ok(())
    }

    fn disable(&self) {
        if self.is_on.xchg(false, Relaxed) {
            self.fake.record([OFF, self.stream.into()]);
        }
    }

    fn is_present(&self) -> bool {
        true
    }
}

/// An emulated unit, and what is behind it.
struct Bench {
    fake: Arc<FakeUnit>,
    units: KVec<Arc<Unit<SmmuV3>>>,
    registry: Arc<Registry>,
    blocked: Arc<Domain<SmmuV3>>,
    ids: Arc<dyn IdOwners<SmmuV3>>,
}

type Device = (Arc<Endpoint<SmmuV3>>, Arc<Group<SmmuV3>>);

impl Bench {
    fn new(idr0: u32) -> Result<Self> {
        let fake = FakeUnit::new()?;
        let mut units = KVec::new();
        units.push(fake.unit(idr0)?, GFP_KERNEL)?;
        let registry = Registry::new()?;
        Ok(Self {
            fake,
            units,
            blocked: Domain::blocked(&registry)?,
            ids: IdMap::new()?,
            registry,
        })
    }

    fn hardware(&self) -> Result<&Arc<Hardware>> {
        self.units[0].data().hardware()
    }

    /// A device with a TLB, which is in no group.
    fn endpoint(&self, stream: u32, breaks: bool) -> Result<Arc<Endpoint<SmmuV3>>> {
        let name = Label::new(format_args!("device {stream}"));
        let mut ids = KVec::new();
        ids.push(RequesterId::new(stream), GFP_KERNEL)?;
        let switch = Switch {
            fake: self.fake.clone(),
            stream,
            breaks,
            is_on: Atomic::new(false),
        };
        Endpoint::new(
            &self.units,
            DeviceInfo {
                name,
                place: Place::Behind {
                    unit: fake_unit::NODE,
                },
                ids,
                ids_kept: true,
                device_tlb: Some(KBox::new(switch, GFP_KERNEL)?),
                pasids: None,
            },
        )
    }

    /// A device with a TLB in a group of its own, which is blocked.
    fn device_with(&self, stream: u32, breaks: bool) -> Result<Device> {
        let name = Label::new(format_args!("device {stream}"));
        let endpoint = self.endpoint(stream, breaks)?;
        let group = Group::new(name, &self.blocked, self.ids.clone())?;
        group.join(&endpoint, Reason::Isolated)?;
        assert!(self.saw(&[])?);
        Ok((endpoint, group))
    }

    fn device(&self, stream: u32) -> Result<Device> {
        self.device_with(stream, false)
    }

    /// A domain where the pages from 0x1000 to 0x8fff are mapped.
    fn domain(&self, endpoint: &Endpoint<SmmuV3>) -> Result<Arc<Domain<SmmuV3>>> {
        let domain = Domain::paging(&self.registry, endpoint)?;
        let (_, result) = domain.map(
            Iova::new(0x1000),
            PhysAddr::new(0x10_0000),
            0x8000,
            Prot::READ | Prot::WRITE,
            Gfp::KERNEL,
        );
        result.map(|()| domain)
    }

    /// Unmaps a page as the DMA API does.
    fn unmap(&self, domain: &Domain<SmmuV3>, address: u64) {
        let mut gather = Gather::new();
        assert_eq!(
            domain.unmap(Iova::new(address), 0x1000, &mut gather),
            0x1000
        );
        domain.sync(&mut gather);
    }

    /// Whether the unit got the operations in `parts` since the last call, and no others.
    fn saw(&self, parts: &[&[u64]]) -> Result<bool> {
        let seen = self.fake.take_seen()?;
        let expected = || parts.iter().copied().flatten().copied();
        let is_it = seen.iter().map(|[low, _]| low & 0xff).eq(expected());
        if !is_it {
            pr_err!("was told {:x?}\n", &seen[..]);
        }
        Ok(is_it)
    }

    fn eats(&self, stream: u32) -> Result<u64> {
        Ok(self.hardware()?.stream_table.read(RequesterId::new(stream))[1] & EATS)
    }
}

/// A thread that unmaps a page.
#[pin_data]
struct Unmapper {
    domain: Arc<Domain<SmmuV3>>,
    address: u64,
    is_done: Atomic<bool>,
    #[pin]
    done: Completion,
    #[pin]
    work: Work<Unmapper>,
}

impl_has_work! {
    impl HasWork<Self> for Unmapper { self.work }
}

impl Unmapper {
    /// Starts it, and gives it time to reach the unit.
    fn start(domain: &Arc<Domain<SmmuV3>>, address: u64) -> Result<Arc<Self>> {
        let this = Arc::pin_init(
            pin_init!(Self {
                domain: domain.clone(),
                address,
                is_done: Atomic::new(false),
                done <- Completion::new(),
                work <- new_work!("iommu_core::tests::unmapper"),
            }),
            GFP_KERNEL,
        )?;
        let _ = workqueue::system_unbound().enqueue(this.clone());
        fsleep(Delta::from_millis(300));
        Ok(this)
    }

    fn is_done(&self) -> bool {
        self.is_done.load(Relaxed)
    }

    fn wait(&self) {
        self.done.wait_for_completion();
    }
}

impl WorkItem for Unmapper {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let mut gather = Gather::new();
        let _ = this
            .domain
            .unmap(Iova::new(this.address), 0x1000, &mut gather);
        this.domain.sync(&mut gather);
        this.is_done.store(true, Relaxed);
        this.done.complete_all();
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // Otherwise the unit might still use its tables, and they would leak.
        let _ = SmmuV3::release(self.units[0].data());
    }
}

#[kunit_tests(iommu_core_arm_smmu_v3_device_tlb)]
mod suite {
    use super::*;

    /// Each step comes in the order of `change::Action`.
    #[test]
    fn attach_change_and_leave() -> Result {
        let bench = Bench::new(IDR0)?;
        let (endpoint, group) = bench.device(5)?;
        let first = bench.domain(&endpoint)?;
        let second = bench.domain(&endpoint)?;

        // The words that the unit ignores, then the valid bit; the device's TLB; then ATS is
        // enabled.
        group.set_default(&first)?;
        assert!(bench.saw(&[&ENTRY, &ENTRY, &DEVICE, &[ON]])?);
        assert_eq!(bench.eats(5)?, FULL);
        // One word points to the other domain. ATS stays enabled.
        group.set_default(&second)?;
        assert!(bench.saw(&[&ENTRY, &DOMAIN, &DEVICE])?);
        assert_eq!(bench.eats(5)?, FULL);
        // Identity: STEs that bypass allow no ATS (5.2). It is disabled first.
        group.set_default(&Domain::identity(&bench.registry)?)?;
        let seen = bench.fake.take_seen()?;
        assert_eq!(seen.first(), Some(&[OFF, 5]));
        assert_eq!(seen[seen.len() - 2..], [[0x5_0000_0040, 52], [0x46, 0]]);
        assert_eq!(bench.eats(5)?, 0);
        // The default domain again, and out of the group.
        group.set_default(&first)?;
        bench.fake.take_seen()?;
        group.leave(&endpoint);
        assert!(bench.saw(&[&[OFF], &ENTRY, &ENTRY, &DOMAIN, &DEVICE])?);
        assert_eq!(bench.eats(5)?, 0);
        assert!(bench
            .hardware()?
            .with_ats_streams(|streams| streams.is_empty()));
        Ok(())
    }

    /// Law 8: the unit first, then each device of the domain, and no other.
    #[test]
    fn invalidation_reaches_the_devices_of_the_domain() -> Result {
        let bench = Bench::new(IDR0)?;
        let (one, group_of_one) = bench.device(5)?;
        let (other, group_of_other) = bench.device(0x105)?;
        let (stranger, group_of_stranger) = bench.device(7)?;
        let domain = bench.domain(&one)?;
        group_of_one.set_default(&domain)?;
        group_of_other.set_default(&domain)?;
        group_of_stranger.set_default(&bench.domain(&stranger)?)?;
        bench.fake.take_seen()?;

        bench.unmap(&domain, 0x3000);
        let seen = bench.fake.take_seen()?;
        let operations = seen.iter().map(|[low, _]| low & 0xff);
        assert!(operations.eq([0x12, 0x46, 0x40, 0x40, 0x46]));
        // Stream id in bits 63:32; the page in bits 127:76, of 2^0 pages.
        assert_eq!(
            seen[2..4],
            [[0x5_0000_0040, 0x3000], [0x105_0000_0040, 0x3000]]
        );

        // One device has left the domain.
        group_of_one.leave(&one);
        bench.fake.take_seen()?;
        bench.unmap(&domain, 0x4000);
        assert!(bench.saw(&[&PAGE, &DEVICE])?);
        group_of_other.leave(&other);
        bench.fake.take_seen()?;
        bench.unmap(&domain, 0x5000);
        // No device is attached any more.
        assert!(bench.saw(&[])?);
        group_of_stranger.leave(&stranger);
        Ok(())
    }

    /// Law 8: if a device does not answer, its STE forbids ATS before the invalidation ends.
    #[test]
    fn silent_device_is_cut_off() -> Result {
        let bench = Bench::new(IDR0)?;
        let (good, group_of_good) = bench.device(5)?;
        let (bad, group_of_bad) = bench.device(6)?;
        let domain = bench.domain(&good)?;
        group_of_good.set_default(&domain)?;
        group_of_bad.set_default(&domain)?;
        bench.fake.take_seen()?;
        bench.fake.set_unresponsive(Some(6));

        // Both at once; one after the other, to find out which; and its STE.
        bench.unmap(&domain, 0x3000);
        assert!(bench.saw(&[
            &PAGE,
            &[0x40],
            &DEVICE,
            &AGAIN,
            &DEVICE,
            &DEVICE,
            &AGAIN,
            &ENTRY,
        ])?);
        assert_eq!((bench.eats(5)?, bench.eats(6)?), (FULL, 0));
        // Valid, and still stage 1: its other DMA passes.
        let entry = bench.hardware()?.stream_table.read(RequesterId::new(6));
        assert_eq!(entry[0] & 0xf, 0xb);

        // It gets no further CMD_ATC_INV, so nothing waits for it.
        bench.unmap(&domain, 0x4000);
        assert!(bench.saw(&[&PAGE, &DEVICE])?);
        // It is attached to another domain, with ATS disabled.
        group_of_bad.set_default(&bench.domain(&bad)?)?;
        assert!(bench.saw(&[&[OFF], &ENTRY, &DOMAIN])?);
        assert_eq!(bench.eats(6)?, 0);
        // Also if it would answer again.
        bench.fake.set_unresponsive(None);
        group_of_bad.set_default(&domain)?;
        assert!(bench.saw(&[&ENTRY, &DOMAIN])?);
        assert_eq!(bench.eats(6)?, 0);

        group_of_bad.leave(&bad);
        group_of_good.leave(&good);
        assert!(!bench.units[0].has_failed());
        let counts = bench.hardware()?.commands.counts();
        assert_eq!(counts.device_timeouts, 2);
        Ok(())
    }

    /// Law 8: the unit reports at any moment, between any two reads of the driver. An error that is
    /// judged by the reason of an earlier one would be lost.
    #[test]
    fn law_8_no_silent_device_is_missed() -> Result {
        for pause in 0..16 {
            let bench = Bench::new(IDR0)?;
            let (endpoint, group) = bench.device(6)?;
            let domain = bench.domain(&endpoint)?;
            group.set_default(&domain)?;
            bench.fake.set_unresponsive(Some(6));
            bench.fake.set_pause(pause);
            bench.unmap(&domain, 0x3000);
            assert_eq!(bench.eats(6)?, 0);
            group.leave(&endpoint);
            assert!(!bench.units[0].has_failed());
        }
        Ok(())
    }

    /// The unit waits for a device for as long as it likes. Nobody holds the lock meanwhile, all
    /// others wait, and the unit lives.
    #[test]
    fn silent_device_costs_time_only() -> Result {
        let bench = Bench::new(IDR0)?;
        let (bad, group_of_bad) = bench.device(6)?;
        let (good, group_of_good) = bench.device(5)?;
        let domain = bench.domain(&bad)?;
        let other = bench.domain(&good)?;
        group_of_bad.set_default(&domain)?;
        group_of_good.set_default(&other)?;
        bench.fake.set_unresponsive(Some(6));
        bench.fake.set_patience(usize::MAX);

        let first = Unmapper::start(&domain, 0x3000)?;
        let hardware = bench.hardware()?;
        let batches = || hardware.commands.counts().batches;
        let before = batches();
        let second = Unmapper::start(&other, 0x3000)?;
        // Longer than a batch without a device may take.
        fsleep(Delta::from_millis(1500));
        assert_eq!(batches(), before);
        assert!(!first.is_done() && !second.is_done());
        // The unit gives up on the device.
        bench.fake.set_patience(0);
        first.wait();
        second.wait();
        assert_eq!((bench.eats(5)?, bench.eats(6)?), (FULL, 0));
        assert!(!bench.units[0].has_failed());
        group_of_bad.leave(&bad);
        group_of_good.leave(&good);
        Ok(())
    }

    /// A processor that waits may be away for long. Another one, which may have interrupted it,
    /// sees the end for it.
    #[test]
    fn silent_device_is_found_by_any_processor() -> Result {
        let bench = Bench::new(IDR0)?;
        let (endpoint, group) = bench.device(6)?;
        let domain = bench.domain(&endpoint)?;
        group.set_default(&domain)?;
        bench.fake.set_unresponsive(Some(6));
        bench.fake.set_patience(50);
        let hardware = bench.hardware()?;
        let mut batch = hardware.batch();
        batch.push(Command::invalidate_whole_atc(6));
        batch.go_away();
        bench.fake.take_seen()?;
        // Returns when the unit has given up on the device.
        assert!(hardware.batch().run().is_ok());
        assert!(bench.saw(&[&DEVICE, &AGAIN])?);
        assert!(hardware.with_ats_streams(|streams| streams.is_silent(6, 1)));
        bench.unmap(&domain, 0x3000);
        assert_eq!(bench.eats(6)?, 0);
        group.leave(&endpoint);
        Ok(())
    }

    /// A unit that does not give up on a device, as it must, has failed.
    #[test]
    fn unit_that_waits_for_ever() -> Result {
        let bench = Bench::new(IDR0)?;
        let hardware = bench.hardware()?;
        hardware.commands.set_device_timeout(Delta::from_millis(20));
        bench.fake.set_unresponsive(Some(6));
        bench.fake.set_patience(usize::MAX);
        let mut batch = hardware.batch();
        batch.push(Command::invalidate_whole_atc(6));
        assert!(matches!(batch.run(), Err(Failure::Timeout { .. })));
        // If another processor sees it first, that one declares the unit failed.
        assert!(hardware.commands.has_failed());
        let mut batch = hardware.batch();
        batch.push(Command::invalidate_el1());
        assert_eq!(batch.run(), Err(Failure::Earlier));
        Ok(())
    }

    #[test]
    fn failure_that_another_processor_sees() -> Result {
        let bench = Bench::new(IDR0)?;
        let hardware = bench.hardware()?;
        hardware.commands.set_device_timeout(Delta::from_millis(20));
        bench.fake.set_unresponsive(Some(6));
        bench.fake.set_patience(usize::MAX);
        let mut batch = hardware.batch();
        batch.push(Command::invalidate_whole_atc(6));
        batch.go_away();
        let mut batch = hardware.batch();
        batch.push(Command::invalidate_el1());
        assert_eq!(hardware.answered(batch.run()), Err(EIO));
        assert!(bench.units[0].has_failed());
        Ok(())
    }

    /// Law 8: on a unit that has failed nothing counts as done, whatever comes between two syncs.
    #[test]
    fn law_8_sync_on_a_failed_unit_is_no_success() -> Result {
        let bench = Bench::new(IDR0)?;
        let hardware = bench.hardware()?;
        hardware.give_up();
        let mut batch = hardware.batch();
        batch.push(Command::invalidate_el1());
        assert!(batch.sync().is_none());
        assert_eq!(batch.run(), Err(Failure::Earlier));
        Ok(())
    }

    /// The attach cannot fail; ATS stays disabled.
    #[test]
    fn silent_device_is_attached() -> Result {
        let bench = Bench::new(IDR0)?;
        let (endpoint, group) = bench.device(6)?;
        let domain = bench.domain(&endpoint)?;
        bench.fake.set_unresponsive(Some(6));
        group.set_default(&domain)?;
        assert!(bench.saw(&[&ENTRY, &ENTRY, &DEVICE, &AGAIN, &ENTRY])?);
        assert_eq!(bench.eats(6)?, 0);
        bench.unmap(&domain, 0x3000);
        assert!(bench.saw(&[&PAGE])?);
        group.leave(&endpoint);
        Ok(())
    }

    /// ATS is enabled, and the device does not answer when it changes domains: ATS is disabled.
    #[test]
    fn device_falls_silent_on_the_way() -> Result {
        let bench = Bench::new(IDR0)?;
        let (endpoint, group) = bench.device(6)?;
        group.set_default(&bench.domain(&endpoint)?)?;
        bench.fake.take_seen()?;
        bench.fake.set_unresponsive(Some(6));
        let domain = bench.domain(&endpoint)?;
        group.set_default(&domain)?;
        assert!(bench.saw(&[&ENTRY, &DOMAIN, &DEVICE, &AGAIN, &ENTRY, &[OFF]])?);
        assert_eq!(bench.eats(6)?, 0);
        assert!(bench
            .hardware()?
            .with_ats_streams(|streams| streams.is_empty()));
        bench.unmap(&domain, 0x3000);
        assert!(bench.saw(&[&PAGE])?);
        group.leave(&endpoint);
        Ok(())
    }

    #[test]
    fn switch_that_does_not_turn() -> Result {
        let bench = Bench::new(IDR0)?;
        let (endpoint, group) = bench.device_with(6, true)?;
        group.set_default(&bench.domain(&endpoint)?)?;
        assert!(bench.saw(&[&ENTRY, &ENTRY, &DEVICE, &ENTRY])?);
        assert_eq!(bench.eats(6)?, 0);
        assert!(bench
            .hardware()?
            .with_ats_streams(|streams| streams.is_empty()));
        group.leave(&endpoint);
        Ok(())
    }

    /// PCIe 10.3.1: a device that is being reset must get no CMD_ATC_INV.
    #[test]
    fn device_is_off_during_a_reset() -> Result {
        let bench = Bench::new(IDR0)?;
        let (endpoint, group) = bench.device(5)?;
        let domain = bench.domain(&endpoint)?;
        group.set_default(&domain)?;
        bench.fake.take_seen()?;
        group.suspend(&endpoint)?;
        assert!(bench.saw(&[&[OFF], &ENTRY, &ENTRY, &DOMAIN, &DEVICE])?);
        bench.unmap(&domain, 0x3000);
        let seen = bench.fake.take_seen()?;
        assert!(seen.iter().all(|[low, _]| low & 0xff != 0x40));
        group.resume(&endpoint);
        assert!(bench.saw(&[&ENTRY, &ENTRY, &DEVICE, &[ON]])?);
        bench.unmap(&domain, 0x4000);
        assert!(bench.saw(&[&PAGE, &DEVICE])?);
        group.leave(&endpoint);
        Ok(())
    }

    /// The unit is released first: ATS is disabled when the endpoint is dropped.
    #[test]
    fn endpoint_goes_after_its_unit() -> Result {
        let bench = Bench::new(IDR0)?;
        let (endpoint, group) = bench.device(5)?;
        group.set_default(&bench.domain(&endpoint)?)?;
        bench.units[0].release()?;
        group.leave(&endpoint);
        bench.fake.take_seen()?;
        drop((endpoint, group));
        assert!(bench.saw(&[&[OFF]])?);
        assert!(bench
            .hardware()?
            .with_ats_streams(|streams| streams.is_empty()));
        assert_eq!(
            bench
                .hardware()?
                .with_ats_streams(|streams| streams.devices()),
            0
        );
        Ok(())
    }

    #[test]
    fn stage_2() -> Result {
        let bench = Bench::new(IDR0 & !2)?;
        let (endpoint, group) = bench.device(5)?;
        let domain = bench.domain(&endpoint)?;
        group.set_default(&domain)?;
        assert!(bench.saw(&[&ENTRY, &ENTRY, &DEVICE, &[ON]])?);
        assert_eq!(bench.eats(5)?, FULL);
        // CMD_TLBI_S2_IPA, CMD_TLBI_S12_VMALL.
        bench.unmap(&domain, 0x3000);
        assert!(bench.saw(&[&[0x2a, 0x46], &DEVICE])?);
        group.leave(&endpoint);
        assert!(bench.saw(&[&[OFF], &ENTRY, &ENTRY, &[0x28, 0x46], &DEVICE])?);
        Ok(())
    }

    /// One batch, and one wait, for each step, however many devices there are.
    #[test]
    fn group_of_64_devices() -> Result {
        for (idr0, more) in [(IDR0 & !ATS, 0), (IDR0, 1)] {
            let bench = Bench::new(idr0)?;
            let (first, group) = bench.device(0x100)?;
            let mut others = KVec::new();
            for stream in 0x101..0x140 {
                let endpoint = bench.endpoint(stream, false)?;
                group.join(&endpoint, Reason::Platform)?;
                others.push(endpoint, GFP_KERNEL)?;
            }
            let hardware = bench.hardware()?;
            let (one, two) = (bench.domain(&first)?, bench.domain(&first)?);
            let batches_of = |f: &dyn Fn() -> Result| {
                let before = hardware.commands.counts().batches;
                f()?;
                Ok::<_, Error>(hardware.commands.counts().batches - before)
            };
            // The words that the unit ignores, then the valid bits; the devices' TLBs.
            assert_eq!(batches_of(&|| group.set_default(&one))?, 2 + more);
            // The words that point to the other domain, and the old tag; the devices' TLBs.
            assert_eq!(batches_of(&|| group.set_default(&two))?, 2 + more);
            let unmap = || {
                bench.unmap(&two, 0x3000);
                Ok(())
            };
            assert_eq!(batches_of(&unmap)?, 1 + more);
            for endpoint in others.iter() {
                group.leave(endpoint);
            }
            group.leave(&first);
        }
        Ok(())
    }

    #[test]
    fn unit_without_it() -> Result {
        let bench = Bench::new(IDR0 & !ATS)?;
        let (endpoint, group) = bench.device(5)?;
        let domain = bench.domain(&endpoint)?;
        group.set_default(&domain)?;
        assert!(bench.saw(&[&ENTRY, &ENTRY])?);
        assert_eq!(bench.eats(5)?, 0);
        bench.unmap(&domain, 0x3000);
        assert!(bench.saw(&[&PAGE])?);
        group.leave(&endpoint);
        Ok(())
    }
}
