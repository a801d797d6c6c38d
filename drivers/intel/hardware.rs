// SPDX-License-Identifier: GPL-2.0

//! A unit that this driver has taken over: registers, tables, queue, domain ids.
//!
//! # Units that were left on
//!
//! A unit takes a new root table while it translates (11.4.4, SRTP): from then on it walks from the
//! new one, and it forgets what it has cached of the old one when it is told to invalidate all
//! context entries, then all of the IOTLB. That takes the invalidation queue, which has to be
//! switched off before it can be elsewhere. So the queue of before goes first, then the root table
//! changes, then this driver's queue starts. TE stays set all the time. Interrupt remapping ends
//! before all that: the interrupts of this kernel have no entries in the table of before.
//!
//! The mode (legacy or scalable) must not change while a unit translates (11.4.5). So a unit that
//! was left translating in legacy mode is driven in legacy mode, whatever else it can do.
//!
//! # Units that are shared
//!
//! In a kernel that has the core as its IOMMU layer, the kernel's own code for interrupts has each
//! unit since early in the boot; see [`dmar`](crate::ffi::dmar). This driver then neither starts
//! nor ends the queue, and submits to the kernel's. It takes the fault interrupt over, and reports
//! faults of interrupt messages as well.

#![forbid(unsafe_code)]

#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
pub(super) mod tests;

use kernel::{
    io::Io,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
    time::Delta,
};

use super::{
    capability::{AddressSpace, Capability, Mode, Stage},
    fault_record::FaultStatus,
    invalidation::{
        by_register, ContextScope, Descriptor, Drain, InterruptScope, PasidScope, Tagged, TlbKind,
        TlbScope,
    },
    mmio::Registers,
    queue::{Batch, Failure, Queue},
    quirks::{Present, Quirks},
    regs::{FEADDR, FECTL, FEDATA, FEUADDR, FSTS, GCMD, GSTS, IQH, IQT, PMEN},
    remapping::{EntryTable, Remapping},
    tables::Tables,
};
use crate::{
    addr::PhysAddr,
    drivers::shell::{
        domain_ids::DomainIds,
        unit::{busy, log_claim_error, unfit, Found, Rest, UnitHardware},
        unit_memory::{Exposed, Off, Pages},
        wait::wait_until,
    },
    ffi::{
        compat::{new_spinlock_irq, SpinLockIrq},
        raw_spinlock::{new_raw_spinlock, RawSpinLock},
    },
    health::Health,
    log::{log_err, log_warn},
};

/// How long a unit may take to carry out a command.
const TIMEOUT: Delta = Delta::from_secs(1);

/// Modes of translation (TTM).
const LEGACY: u32 = 0;
const SCALABLE: u32 = 1;

/// Bytes of a root table.
const ROOT_TABLE_BYTES: usize = 4096;

/// The registers of the fault interrupt, while the unit is suspended.
///
/// They are saved because they cannot be made again with interrupts off: the interrupt's own state
/// is behind a lock that sleeps, and the kernel's interrupt layer takes the interrupt for set up
/// all the time.
#[derive(Copy, Clone)]
struct FaultInterruptRegisters {
    control: FECTL,
    data: FEDATA,
    address: FEADDR,
    upper_address: FEUADDR,
}

/// A unit that this driver has taken over.
#[pin_data]
pub struct Hardware {
    pub(super) health: Arc<Health>,
    pub(super) registers: Registers,
    pub(super) capability: Capability,
    mode: Mode,
    /// See [`Capability::largest_block`].
    pub(super) largest_block: Option<u8>,
    /// See [`Capability::caches_absent_pages`].
    pub(super) caches_absent_pages: bool,
    /// How translations of paging domains are invalidated.
    tlb_kind: TlbKind,
    pub(super) space: AddressSpace,
    pub(super) tables: Exposed<Tables>,
    #[pin]
    queue: Queue,
    #[pin]
    pub(super) ids: DomainIds,
    /// Orders the global commands: each repeats the state that the one before has left. Nests
    /// inside the queue's lock.
    #[pin]
    commands: RawSpinLock<()>,
    #[pin]
    in_use: SpinLockIrq<bool>,
    #[pin]
    suspended_interrupt: SpinLockIrq<Option<FaultInterruptRegisters>>,
    /// Whether firmware protected memory from DMA when this driver enabled translation.
    was_protected: Atomic<bool>,
    /// For a unit on which translation must not end: the root table that it has while it rests.
    empty_root: Option<Exposed<Pages>>,
    /// Whether the queue was started before the unit is set up; see [`Quirks::queues_first`].
    early: Atomic<bool>,
    #[pin]
    pub(super) remapping: Remapping,
    node: i32,
    /// How often fault records were lost because no register was free.
    pub(super) overflows: Atomic<u64>,
    /// How often the unit has announced faults that it did not have.
    pub(super) false_alarms: Atomic<u64>,
}

impl Hardware {
    /// Looks at the unit with registers at `base` and allocates all that is needed to drive it.
    /// Changes nothing.
    ///
    /// # Errors
    ///
    /// `EBUSY` if somebody in this kernel uses it, `EOPNOTSUPP` if it lacks what is needed (both
    /// logged); `ENOMEM`.
    pub(super) fn new(
        health: &Arc<Health>,
        base: u64,
        node: i32,
        quirks: Quirks,
        present: Present,
    ) -> Result<Arc<Self>> {
        let name = health.name();
        let look = Registers::look(base)?;
        let (cap, mut ecap) = look.capabilities();
        if look.read::<GSTS>().translation() && look.table_mode() == LEGACY {
            ecap = Capability::legacy_only(ecap);
        }
        let (mut capability, space) =
            Capability::judge(cap, ecap).map_err(|refusal| unfit(name, refusal))?;
        capability.write_buffer_flush |= quirks.write_buffer;
        let drains = capability.drain_writes || capability.drain_reads;
        let never_ends = quirks.must_not_end(present, drains);
        drop(look);
        let registers = Registers::claim(base, capability.register_bytes())
            .inspect_err(|error| log_claim_error(name, base, *error, HOW_TO_FREE))?;

        Self::with(health, registers, capability, space, node, never_ends)
    }

    /// Allocates what is needed to drive the unit with `registers`. Changes nothing.
    pub(super) fn with(
        health: &Arc<Health>,
        registers: Registers,
        capability: Capability,
        space: AddressSpace,
        node: i32,
        never_ends: bool,
    ) -> Result<Arc<Self>> {
        // The unit caches entries that are not present under id 0 (6.1).
        let reserved = u32::from(capability.caching_mode);
        let ids = DomainIds::new(capability.usable_domains(), reserved)?;
        let mode = capability.mode();
        let tables = Tables::new(node, capability.coherent, mode.is_scalable())?;
        let drain = Drain {
            writes: capability.drain_writes,
            reads: capability.drain_reads,
        };
        let tagged = match mode {
            Mode::Scalable(Stage::First) => Tagged::ByPasid,
            Mode::Scalable(Stage::Second) | Mode::Legacy => Tagged::ByDomain,
        };
        let queue = Queue::new(node, drain, mode.is_scalable())?;

        let empty_root = match never_ends {
            true => {
                let pages = Pages::new(node, ROOT_TABLE_BYTES)?;
                // The unit's walks may not snoop.
                pages.flush(pages.words());
                Some(Exposed::new("an empty root table", pages))
            }
            false => None,
        };

        Arc::pin_init(
            pin_init!(Self {
                health: health.clone(),
                registers,
                capability,
                mode,
                largest_block: capability.largest_block(),
                caches_absent_pages: capability.caches_absent_pages(),
                tlb_kind: TlbKind::new(tagged, drain),
                space,
                tables: Exposed::new("a root table with the tables below it", tables),
                queue <- queue,
                ids <- ids,
                commands <- new_raw_spinlock!(()),
                in_use <- new_spinlock_irq!(false),
                suspended_interrupt <- new_spinlock_irq!(None),
                was_protected: Atomic::new(false),
                empty_root,
                early: Atomic::new(false),
                remapping <- Remapping::new(),
                node,
                overflows: Atomic::new(0),
                false_alarms: Atomic::new(0),
            }),
            GFP_KERNEL,
        )
    }

    /// A batch of invalidations.
    #[inline]
    pub(super) fn batch(&self) -> Batch<'_> {
        Batch::new(&self.queue, &self.registers)
    }

    /// The invalidation of what the IOTLB holds of `scope`, of paging domains: for requests with
    /// `pasid` if the IOTLB tells them apart, else 0.
    #[inline]
    pub(super) fn iotlb(&self, pasid: u32, scope: TlbScope) -> Descriptor {
        Descriptor::translations(self.tlb_kind.with_pasid(pasid), scope)
    }

    /// How the unit finds out what the requests of an id are attached to.
    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    /// Executes a few invalidations, see [`Queue::execute`].
    #[inline]
    pub(super) fn execute(&self, descriptors: &[Descriptor]) -> Result<(), Failure> {
        self.queue.execute(&self.registers, descriptors)
    }

    /// The queue, to look at.
    pub(super) fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Makes the unit see all earlier writes to tables, if it needs to be told (6.8).
    ///
    /// Context: any; does not sleep.
    pub(super) fn flush_write_buffer(&self) {
        if self.capability.write_buffer_flush {
            // If the unit does not answer, the next invalidation finds out.
            let _ = self.command(
                |gcmd| gcmd.with_flush_write_buffer(true),
                |gsts| !gsts.flushing_write_buffer(),
            );
        }
    }

    fn has_protected_regions(&self) -> bool {
        self.capability.protected_low || self.capability.protected_high
    }

    /// Changes one bit of the global command register, and waits until the unit says that it is
    /// done (11.4.4: one bit at a time).
    fn command(&self, change: impl FnOnce(GCMD) -> GCMD, done: impl Fn(GSTS) -> bool) -> Result {
        let _order = self.commands.lock();

        self.registers.command(change, || {
            wait_until(TIMEOUT, || done(self.registers.read()))
        })
    }

    /// Whether the kernel's own code has the queue, and remaps interrupts with the unit.
    pub(super) fn is_shared(&self) -> bool {
        self.registers.shared().is_some()
    }

    /// Has the unit remap interrupt messages from now on and refuse all others, with a table in
    /// which every entry refuses.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `ETIMEDOUT` or `EIO` if the unit does not answer (logged). It remaps none then.
    pub(super) fn remap_messages(&self, x2apic: bool) -> Result {
        let coherent = self.capability.coherent;
        let table = self.remapping.make_table(self.node, x2apic, coherent)?;
        self.start_remapping(table).inspect_err(|_| {
            log_err!(
                "{}: the unit does not start to remap interrupts",
                self.health.name()
            );
            let _ = self.end_remapping();
        })
    }

    /// Starts interrupt remapping. The unit may have cached entries of an earlier table, so it
    /// forgets them before (11.4.4, SIRTP).
    fn start_remapping(&self, table: &EntryTable) -> Result {
        table.hand_over();
        self.registers
            .set_interrupt_table(table.address(), table.is_x2apic());
        self.command(
            |gcmd| gcmd.with_set_interrupt_table(true),
            |gsts| gsts.interrupt_table_set(),
        )?;
        let forget = Descriptor::interrupt_entries(InterruptScope::Global);
        self.answered(self.execute(&[forget]))?;
        if self.registers.read::<GSTS>().compatibility_interrupts() {
            self.command(
                |gcmd| gcmd.with_compatibility_interrupts(false),
                |gsts| !gsts.compatibility_interrupts(),
            )?;
        }
        self.command(
            |gcmd| gcmd.with_interrupt_remapping(true),
            |gsts| gsts.interrupt_remapping(),
        )
    }

    /// Ends interrupt remapping of this driver or of whoever had the unit before.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT`.
    fn end_remapping(&self) -> Result {
        if self.is_shared() || !self.registers.read::<GSTS>().interrupt_remapping() {
            return Ok(());
        }
        self.command(
            |gcmd| gcmd.with_interrupt_remapping(false),
            |gsts| !gsts.interrupt_remapping(),
        )
    }

    /// Invalidates everything without the queue that has failed.
    ///
    /// # Errors
    ///
    /// `EBUSY` if the kernel's own code needs the queue; `ETIMEDOUT`.
    fn invalidate_without_queue(&self) -> Result {
        if self.is_shared() {
            return Err(EBUSY);
        }
        if self.registers.read::<GSTS>().queue() {
            self.command(|gcmd| gcmd.with_queue(false), |gsts| !gsts.queue())?;
        }
        match self.mode {
            Mode::Legacy => self.invalidate_by_registers(),
            // No register invalidates the PASID cache.
            Mode::Scalable(_) => self.invalidate_by_new_queue(),
        }
    }

    /// Invalidates everything with a queue that starts from the beginning. The queue is off, was
    /// given up, and stays given up.
    fn invalidate_by_new_queue(&self) -> Result {
        let everything = [
            Descriptor::context(ContextScope::Global),
            Descriptor::pasid_cache(PasidScope::Global),
            Descriptor::all_translations(self.queue.drain()),
        ];
        self.queue.execute_anew(&self.registers, &everything, || {
            self.command(|gcmd| gcmd.with_queue(true), |gsts| gsts.queue())
        })
    }

    /// Invalidates everything with registers, for which the queue has to be off (6.5.1).
    fn invalidate_by_registers(&self) -> Result {
        let iotlb = by_register::iotlb(self.queue.drain());
        // Entries before translations, as in `removal`.
        for (offset, command) in [
            (by_register::CONTEXT_AT, by_register::CONTEXT),
            (by_register::iotlb_at(self.capability.iotlb_offset), iotlb),
        ] {
            self.registers.start_invalidation(offset, command)?;
            wait_until(TIMEOUT, || !self.registers.is_invalidating(offset))?;
        }
        Ok(())
    }

    /// Ends the queue and the fault interrupt of whoever had the unit before.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` if the unit does not answer (logged).
    fn end_earlier_queue(&self) -> Result {
        if self.is_shared() {
            return Ok(());
        }
        let name = self.health.name();
        let io = self.registers.io();

        // Its message would go to an interrupt of another kernel.
        io.write_reg(FECTL::zeroed().with_masked(true));
        if !self.registers.read::<GSTS>().queue() {
            return Ok(());
        }
        // A queue that stands still, after an error, never becomes empty. The unit takes no
        // descriptor from it once it is off (6.5.2).
        let is_empty = || u32::from(self.registers.read::<IQH>()) == u32::from(io.read(IQT));
        if wait_until(TIMEOUT, is_empty).is_err() {
            log_warn!("{}: the queue that was left on stands still", name);
        }
        self.command(|gcmd| gcmd.with_queue(false), |gsts| !gsts.queue())
            .inspect_err(|_| log_err!("{}: the queue that was left on does not stop", name))
    }

    /// Has the unit walk from the root table at `address`.
    ///
    /// # Errors
    ///
    /// `EBUSY` if the unit translates in another mode (logged); `ETIMEDOUT`.
    fn set_root_table(&self, address: PhysAddr) -> Result {
        if self.registers.read::<GSTS>().translation() {
            self.check_mode()?;
        }
        self.registers
            .set_root_table(address, self.mode.is_scalable());
        self.flush_write_buffer();
        self.command(
            |gcmd| gcmd.with_set_root_table(true),
            |gsts| gsts.root_table_set(),
        )
        .inspect_err(|_| {
            log_err!(
                "{}: the unit does not take its root table",
                self.health.name(),
            );
        })
    }

    fn invalidate_everything_or_say(&self) -> Result {
        self.invalidate_everything().map_err(|failure| {
            log_err!(
                "{}: the unit cannot be used: {}",
                self.health.name(),
                failure
            );
            EIO
        })
    }

    /// Checks that a unit which translates does so in this driver's mode. TTM must not change while
    /// TE is set (11.4.5).
    ///
    /// # Errors
    ///
    /// `EBUSY` (logged).
    fn check_mode(&self) -> Result {
        let what = match (self.registers.table_mode(), self.mode) {
            (LEGACY, Mode::Legacy) | (SCALABLE, Mode::Scalable(_)) => return Ok(()),
            (LEGACY, Mode::Scalable(_)) => {
                "translates in legacy mode, which only ends when it is switched off"
            }
            (SCALABLE, Mode::Legacy) => {
                "translates in scalable mode, which only ends when it is switched off"
            }
            _ => "translates in no mode of this driver, which only ends when it is switched off",
        };
        Err(busy(self.health.name(), what, HOW_TO_FREE))
    }

    /// Ends the queue, after what was submitted.
    fn end_queue(&self) -> Result {
        if self.early.load(Relaxed) && self.registers.read::<GSTS>().queue() {
            // Nothing was submitted yet, and a queue may end only after a wait descriptor (6.5.2).
            let _ = self.invalidate_everything();
        }
        self.queue.sleep(
            || match !self.is_shared() && self.registers.read::<GSTS>().queue() {
                true => self.command(|gcmd| gcmd.with_queue(false), |gsts| !gsts.queue()),
                false => Ok(()),
            },
        )
    }

    /// Sets the registers of a unit whose queue is off. On some chipsets the queues of all units
    /// must be on before any unit gets its root table, so the queue is first; see
    /// [`Quirks::queues_first`].
    fn set_registers(&self) -> Result {
        // Firmware decides anew what it protects when the machine resumes; `enable` looks.
        self.was_protected.store(false, Relaxed);
        self.early.store(false, Relaxed);
        self.clear_faults();
        self.start_queue()?;
        self.tables.hand_over();
        self.set_root_table(self.tables.root())?;
        self.invalidate_everything_or_say()?;
        match self.remapping.wanted() {
            Some(table) => self.start_remapping(table),
            None => Ok(()),
        }
    }

    /// Starts the queue of a unit whose queue is off, or joins the kernel's own.
    fn start_queue(&self) -> Result {
        if self.is_shared() {
            self.queue.join();
            return Ok(());
        }
        self.queue.hand_over(&self.registers);
        self.command(|gcmd| gcmd.with_queue(true), |gsts| gsts.queue())
            .inspect_err(|_| {
                log_err!(
                    "{}: the unit does not start its invalidation queue",
                    self.health.name(),
                );
            })
    }

    /// Clears the faults and queue errors from before the takeover.
    fn clear_faults(&self) {
        let io = self.registers.io();
        for index in 0..usize::from(self.capability.fault_records) {
            // The mapping covers all of them.
            let _ = self
                .registers
                .clear_fault_record(self.fault_record_offset(index));
        }
        let of_queue =
            FaultStatus::QUEUE_ERROR | FaultStatus::COMPLETION_ERROR | FaultStatus::TIMEOUT_ERROR;
        io.write_reg(FSTS::from(match self.is_shared() {
            true => FaultStatus::OVERFLOW,
            false => FaultStatus::OVERFLOW | of_queue,
        }));
    }

    /// Byte offset of fault recording register `index`.
    pub(super) fn fault_record_offset(&self, index: usize) -> usize {
        self.capability.fault_offset as usize + index * 16
    }

    /// Invalidates all that the unit has cached.
    fn invalidate_everything(&self) -> Result<(), Failure> {
        let mut batch = self.batch();
        batch.context(ContextScope::Global);
        if self.mode.is_scalable() {
            batch.pasid_cache(PasidScope::Global);
        }
        batch.fence();
        batch.all_translations();
        batch.run()
    }
}

impl UnitHardware for Hardware {
    type Failure = Failure;

    const EARLIER: Failure = Failure::Earlier;

    fn health(&self) -> &Health {
        &self.health
    }

    fn in_use(&self) -> &SpinLockIrq<bool> {
        &self.in_use
    }

    fn acquire(&self) -> Result<Found> {
        // `set_up` starts the queue again, before the unit gets its root table.
        self.end_early();
        let io = self.registers.io();
        let status = io.read(GSTS);
        if status.translation() {
            return self.check_mode().map(|()| Found::Translating);
        }
        if status.queue() && !self.is_shared() {
            return Ok(Found::Queues);
        }
        Ok(Found::Off(Off::observed()))
    }

    fn set_up(&self, found: Found) -> Result {
        self.end_remapping()?;
        match found {
            Found::Off(_) => {}
            Found::Queues | Found::Translating => self.end_earlier_queue()?,
        }
        self.set_registers()
    }

    fn enable(&self) -> Result {
        let name = self.health.name();
        let io = self.registers.io();

        self.command(
            |gcmd| gcmd.with_translation(true),
            |gsts| gsts.translation(),
        )
        .inspect_err(|_| log_err!("{}: the unit does not start to translate", name))?;

        // From here on the tables protect what firmware protected, so there was no gap.
        if self.has_protected_regions() && io.read(PMEN).active() {
            self.was_protected.store(true, Relaxed);
            io.write_reg(PMEN::zeroed());
            if wait_until(TIMEOUT, || !io.read(PMEN).active()).is_err() {
                log_warn!("{}: memory stays protected from DMA by firmware", name);
            }
        }
        Ok(())
    }

    fn switch_off(&self) -> Result<Off> {
        let io = self.registers.io();
        if io.read(GSTS).translation() {
            self.command(
                |gcmd| gcmd.with_translation(false),
                |gsts| !gsts.translation(),
            )?;
        }
        self.end_remapping()?;
        self.end_queue()?;
        Ok(Off::observed())
    }

    fn start_early(&self) -> Result {
        let status = self.registers.io().read(GSTS);
        if status.translation() || status.queue() || status.interrupt_remapping() {
            return Ok(());
        }
        self.clear_faults();
        self.early.store(true, Relaxed);
        self.start_queue()
    }

    fn end_early(&self) {
        if self.early.load(Relaxed) && self.end_queue().is_ok() {
            self.early.store(false, Relaxed);
            // The unit does not translate either: it was not set up.
            self.queue.take_back(&Off::observed());
        }
    }

    fn must_go_on(&self) -> bool {
        self.empty_root.is_some() && self.registers.read::<GSTS>().translation()
    }

    /// A unit that must go on gets an empty root table. With it the unit refuses everything, caches
    /// nothing, and reads a single page, which the next kernel may use for something else.
    fn rest(&self) -> Result<Rest> {
        let Some(empty) = self.empty_root.as_ref().filter(|_| self.must_go_on()) else {
            return self.switch_off().map(Rest::Off);
        };
        empty.hand_over();
        self.set_root_table(empty.addr())?;
        self.invalidate_everything_or_say()?;
        self.end_remapping()?;
        self.end_queue()?;
        Ok(Rest::Refusing)
    }

    fn wake(&self) -> Result {
        match self.must_go_on() {
            // Nothing is lost, or the kernel that loads a hibernation image has left the unit on.
            true => {
                self.end_remapping()?;
                self.end_queue()?;
                self.set_registers()
            }
            false => self.set_up_anew(),
        }
    }

    fn take_back(&self, off: &Off) {
        self.registers.set_root_table(PhysAddr::new(0), false);
        self.queue.take_back(off);
        self.tables.take_back(off);
        self.remapping.take_back(off);
        if let Some(empty) = &self.empty_root {
            empty.take_back(off);
        }
    }

    /// Protects memory as firmware did, before translation ends: it never lies open. A suspend does
    /// not do this, since the next kernel would not expect it.
    fn before_release(&self) {
        if self.was_protected.load(Relaxed) {
            let io = self.registers.io();
            io.write_reg(PMEN::zeroed().with_enable(true));
            if wait_until(TIMEOUT, || io.read(PMEN).active()).is_err() {
                log_warn!(
                    "{}: memory is not protected from DMA again",
                    self.health.name(),
                );
            }
            self.was_protected.store(false, Relaxed);
        }
    }

    fn before_suspend(&self) {
        let io = self.registers.io();
        *self.suspended_interrupt.lock() = Some(FaultInterruptRegisters {
            control: io.read(FECTL),
            data: io.read(FEDATA),
            address: io.read(FEADDR),
            upper_address: io.read(FEUADDR),
        });
        io.write_reg(FECTL::zeroed().with_masked(true));
    }

    fn restore_interrupts(&self) -> Result {
        let io = self.registers.io();
        if let Some(saved) = self.suspended_interrupt.lock().take() {
            io.write_reg(saved.data);
            io.write_reg(saved.address);
            io.write_reg(saved.upper_address);
            io.write_reg(saved.control);
        }
        Ok(())
    }

    /// Sets the root table again. A unit with ESRTPS then invalidates everything by itself (6.6);
    /// another one is told to, with registers or with a queue that starts again.
    fn refuse_all(&self) -> Result {
        // The unit may have lost the table's address, or have another kernel's.
        let invalidated = self.set_root_table(self.tables.root()).and_then(|()| {
            match self.capability.root_pointer_flushes {
                true => Ok(()),
                false => self.invalidate_without_queue(),
            }
        });
        let translates = match self.registers.read::<GSTS>().translation() {
            true => Ok(()),
            false => self.enable(),
        };
        invalidated.and(translates)
    }

    fn give_up(&self) {
        let _ = self.queue.give_up(Failure::Earlier);
    }

    fn block_entries(&self) {
        self.tables.clear_all();
    }
}

const HOW_TO_FREE: &str = match cfg!(CONFIG_IOMMU_CORE_NATIVE) {
    true => {
        "boot with intel_iommu=off: the kernel's own driver then switches translation off and \
         leaves the unit alone"
    }
    false => {
        "boot with intel_iommu=off intremap=off: the kernel's own driver then switches translation \
         off and leaves the unit alone (interrupt remapping alone takes it)"
    }
};
