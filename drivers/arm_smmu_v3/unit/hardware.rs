// SPDX-License-Identifier: GPL-2.0

//! A unit that this driver has taken over: registers, tables, queues, tags.

#![forbid(unsafe_code)]

#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
mod tests;

use kernel::{
    io::Io,
    new_mutex,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc, Mutex,
    },
    time::Delta,
};

use super::super::records::{
    capability::{Capability, Stage},
    event::GlobalErrors,
};
use super::{
    ats_streams::{AtsStream, AtsStreams},
    batch::Batch,
    command_queue::{CommandQueue, Failure},
    domain_tags::DomainTags,
    firmware::Description,
    mmio::{Line, Message, Registers},
    output_queue::{EventQueue, PriQueue},
    regs::{
        CR0, CR0ACK, CR1, CR2, EVENTQ_CONS, EVENTQ_PROD, GBPA, IRQ_CTRL, IRQ_CTRLACK, PRIQ_CONS,
        PRIQ_PROD, STRTAB_BASE_CFG,
    },
    stream_table::StreamTable,
};
use crate::{
    drivers::shell::{
        unit::{log_claim_error, unfit, Found, UnitHardware},
        unit_memory::{Exposed, Off},
        wait::wait_until,
    },
    ffi::compat::{eopnotsupp, new_spinlock_irq, SpinLockIrq},
    health::Health,
    log::log_err,
    pgtable::armv8::GranuleSize,
};

/// How long a unit may take to acknowledge a register write.
const TIMEOUT: Delta = Delta::from_secs(1);

/// A unit that this driver has taken over.
#[pin_data]
pub struct Hardware {
    pub health: Arc<Health>,
    pub registers: Registers,
    pub capability: Capability,
    /// The stage that new domains translate with.
    pub stage: Stage,
    /// The granule of the page tables of new domains.
    pub granule: GranuleSize,
    pub stream_table: Exposed<StreamTable>,
    #[pin]
    pub commands: CommandQueue,
    #[pin]
    pub(super) events: SpinLockIrq<EventQueue>,
    /// `None` if the unit has no PRI queue.
    #[pin]
    pub(super) page_requests: SpinLockIrq<Option<PriQueue>>,
    #[pin]
    pub tags: Mutex<DomainTags>,
    /// Held while a register changes that the unit acknowledges. Nests inside the lock in
    /// `commands`.
    #[pin]
    control: SpinLockIrq<()>,
    #[pin]
    in_use: SpinLockIrq<bool>,
    /// GBPA as it was found: what devices may do while the unit does not translate.
    bypass: Atomic<u32>,
    /// For each line that is a message: the kernel's number of the interrupt, and what the unit
    /// sends for it.
    #[pin]
    messages: SpinLockIrq<[(u32, Option<Message>); Line::COUNT]>,
    /// How often event records were lost because the queue was full.
    pub overflows: Atomic<u64>,
    /// Page requests that were refused.
    pub refused_requests: Atomic<u64>,
    /// How often page requests were lost because the queue was full.
    pub lost_requests: Atomic<u64>,
    /// How often global errors were active.
    pub errors: Atomic<u64>,
}

impl Hardware {
    /// Looks at the unit, and allocates what it takes to drive it. Changes nothing.
    ///
    /// # Errors
    ///
    /// `EBUSY` if somebody else uses it, `EOPNOTSUPP` if it lacks what is needed (both logged),
    /// `ENOMEM`.
    pub(super) fn new(health: &Arc<Health>, unit: &Description) -> Result<Arc<Self>> {
        let name = health.name();
        let look = Registers::look(unit.base)?;
        let capability = Capability::judge(&look.identification(), &unit.firmware)
            .map_err(|refusal| unfit(name, refusal))?;
        drop(look);
        let registers = Registers::claim(unit.base, unit.firmware.page0_only)
            .inspect_err(|error| log_claim_error(name, unit.base, *error, HOW_TO_FREE))?;

        Self::with(health, registers, capability, unit.memory_node)
    }

    /// As [`new`](Self::new), with these registers.
    pub fn with(
        health: &Arc<Health>,
        registers: Registers,
        capability: Capability,
        node: i32,
    ) -> Result<Arc<Self>> {
        let granule = capability
            .granules
            .for_pages_of(kernel::page::PAGE_SIZE as u64)
            .ok_or(eopnotsupp())?;
        let stream_table = StreamTable::new(node, &capability)?;
        let tags = DomainTags::new(node, &capability)?;
        let commands = CommandQueue::new(node, &capability)?;
        let events = EventQueue::events(node, &capability)?;
        let page_requests = PriQueue::page_requests(node, &capability)?;

        Arc::pin_init(
            pin_init!(Self {
                health: health.clone(),
                registers,
                stage: capability.stage(),
                capability,
                granule,
                stream_table: Exposed::new("a stream table", stream_table),
                commands <- commands,
                events <- new_spinlock_irq!(events),
                page_requests <- new_spinlock_irq!(page_requests),
                tags <- new_mutex!(tags),
                control <- new_spinlock_irq!(()),
                in_use <- new_spinlock_irq!(false),
                bypass: Atomic::new(0),
                messages <- new_spinlock_irq!([(0, None); Line::COUNT]),
                overflows: Atomic::new(0),
                refused_requests: Atomic::new(0),
                lost_requests: Atomic::new(0),
                errors: Atomic::new(0),
            }),
            GFP_KERNEL,
        )
    }

    /// Tells the unit where the stream table is.
    fn hand_over_stream_table(&self) {
        self.stream_table.hand_over();
        self.registers.set_stream_table(self.stream_table.base());
        self.registers.io().write_reg(STRTAB_BASE_CFG::from(
            self.stream_table.layout().base_config(),
        ));
    }

    /// Notes that the unit's message for `line` is the kernel's interrupt `irq`. The message
    /// follows with [`route`](Self::route).
    pub(super) fn expect(&self, line: Line, irq: u32) {
        self.messages.lock()[line as usize] = (irq, None);
    }

    /// Has the unit send `message` for the kernel's interrupt `irq`.
    ///
    /// Context: any; does not sleep.
    pub(super) fn route(&self, irq: u32, message: Message) {
        let mut messages = self.messages.lock();
        for line in Line::ALL {
            let (expected, now) = &mut messages[line as usize];
            if *expected == irq {
                *now = Some(message);
                self.registers.set_message(line, &message);
            }
        }
    }

    /// Has the unit send no messages any more.
    pub(super) fn end_messages(&self) {
        let mut messages = self.messages.lock();
        for line in Line::ALL {
            messages[line as usize] = (0, None);
            self.registers.set_message(line, &Message::default());
        }
    }

    /// Lets the unit send its interrupts.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` if it does not answer.
    pub fn enable_interrupts(&self) -> Result {
        let has_requests = self.capability.queues.page_requests.is_some();
        self.interrupt_control(|control| {
            control
                .with_events(true)
                .with_errors(true)
                .with_requests(has_requests)
        })
    }

    /// A batch of commands. The command queue is locked, and interrupts are off, until the commands
    /// are executed. Nobody holds the lock while the unit works.
    #[inline]
    pub fn batch(&self) -> Batch<'_> {
        Batch::new(&self.commands, &self.registers)
    }

    /// Calls `f` with the list of ATS streams. The command queue is locked meanwhile.
    pub fn with_ats_streams<R>(&self, f: impl FnOnce(&mut AtsStreams<KVec<AtsStream>>) -> R) -> R {
        self.commands.with_ats_streams(f)
    }

    /// Whether an invalidation may have to reach devices. To be asked when what the unit has cached
    /// was invalidated, see [`CommandQueue::has_ats_streams`].
    #[inline]
    pub fn has_ats_streams(&self) -> bool {
        self.capability.device_tlb && self.commands.has_ats_streams()
    }

    /// Reserves room for one more device in the list of ATS streams.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn reserve_ats_stream(&self) -> Result {
        while let Err(needed) = self.with_ats_streams(|streams| streams.reserve()) {
            let larger = KVec::from_elem(AtsStream::FREE, needed.next_power_of_two(), GFP_KERNEL)?;
            // Dropped without the lock.
            let _old = self.with_ats_streams(|streams| streams.grow(larger));
        }
        Ok(())
    }

    /// Takes and acknowledges the active global errors, but for those of the command queue.
    pub(super) fn take_errors(&self) -> GlobalErrors {
        self.commands.take_errors(&self.registers)
    }

    /// Changes CR0 and waits until the unit acknowledges that.
    fn control(&self, change: impl FnOnce(CR0) -> CR0) -> Result {
        let io = self.registers.io();
        let _order = self.control.lock();

        let new = change(io.read(CR0));
        io.write_reg(new);
        self.wait(|| u32::from(self.registers.read::<CR0ACK>()) == u32::from(new))
    }

    /// Changes IRQ_CTRL and waits until the unit acknowledges that.
    fn interrupt_control(&self, change: impl FnOnce(IRQ_CTRL) -> IRQ_CTRL) -> Result {
        let io = self.registers.io();
        let _order = self.control.lock();

        let new = change(io.read(IRQ_CTRL));
        io.write_reg(new);
        self.wait(|| u32::from(self.registers.read::<IRQ_CTRLACK>()) == u32::from(new))
    }

    /// Ends what somebody had on before. With `abort`, all DMA is aborted from then on.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` if the unit does not answer.
    fn end_earlier(&self, abort: bool) -> Result {
        self.interrupt_control(|_| IRQ_CTRL::zeroed())?;
        if abort {
            self.set_bypass(GBPA::from(self.bypass.load(Relaxed)).with_abort(true))?;
        }
        self.control(|_| CR0::zeroed())
    }

    /// Changes what happens to DMA while the unit does not translate. GBPA may be written while its
    /// Update bit is 0, and must be written with the bit set (6.3.14).
    fn set_bypass(&self, value: GBPA) -> Result {
        let io = self.registers.io();
        let _order = self.control.lock();
        let done = || !self.registers.read::<GBPA>().update();

        self.wait(done)?;
        io.write_reg(value.with_update(true));
        self.wait(done)
    }

    /// Waits until `done`, for [`TIMEOUT`] at most.
    fn wait(&self, done: impl Fn() -> bool) -> Result {
        wait_until(TIMEOUT, done)
    }

    /// Has the unit refuse all DMA from now on while it does not translate.
    fn refuse_untranslated(&self) -> Result {
        self.set_bypass(GBPA::from(self.bypass.load(Relaxed)).with_abort(true))
    }

    /// Invalidates all that the unit has cached.
    fn invalidate_everything(&self) -> Result<(), Failure> {
        let mut batch = self.batch();
        batch.invalidate_everything();
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
        let io = self.registers.io();
        self.bypass
            .store(io.read(GBPA).with_update(false).into(), Relaxed);
        // `set_up` may not sleep, so it cannot take this lock.
        self.tags.lock().set_in_use(true);
        let control = io.read(CR0);
        Ok(if control.translation() {
            Found::Translating
        } else if control.commands() || control.events() || control.requests() {
            Found::Queues
        } else {
            Found::Off(Off::observed())
        })
    }

    /// In the order of 6.3.9. A unit that was left on first gets GBPA to abort, which counts from
    /// when it does not translate any more.
    fn set_up(&self, found: Found) -> Result {
        let name = self.health.name();
        let io = self.registers.io();

        if !matches!(found, Found::Off(_)) {
            self.end_earlier(matches!(found, Found::Translating))
                .inspect_err(|_| log_err!("{}: the unit that was left on does not stop", name))?;
        }
        self.interrupt_control(|_| IRQ_CTRL::zeroed())?;
        let (shareability, cacheability) = match self.capability.coherent {
            true => (3, 1),
            // The driver writes tables and queues back to memory, so the unit must read them there.
            false => (2, 0),
        };
        io.write_reg(
            CR1::zeroed()
                .try_with_table_shareability(shareability)?
                .try_with_table_outer(cacheability)?
                .try_with_table_inner(cacheability)?
                .try_with_queue_shareability(shareability)?
                .try_with_queue_outer(cacheability)?
                .try_with_queue_inner(cacheability)?,
        );
        io.write_reg(
            CR2::zeroed()
                .with_private_maintenance(true)
                .with_record_bad_streams(true),
        );
        self.hand_over_stream_table();

        self.commands.hand_over(&self.registers);
        self.control(|cr0| cr0.with_commands(true))
            .inspect_err(|_| log_err!("{}: the unit does not start its command queue", name))?;
        self.invalidate_everything().map_err(|failure| {
            log_err!("{}: the unit cannot be used: {}", name, failure);
            EIO
        })?;

        let page1 = self.registers.page1();
        {
            let mut events = self.events.lock();
            events.hand_over();
            self.registers.set_event_queue(events.base());
            page1.write_reg(EVENTQ_PROD::from(0));
            page1.write_reg(EVENTQ_CONS::from(0));
        }
        let has_requests = match &mut *self.page_requests.lock() {
            Some(requests) => {
                requests.hand_over();
                self.registers.set_pri_queue(requests.base());
                page1.write_reg(PRIQ_PROD::from(0));
                page1.write_reg(PRIQ_CONS::from(0));
                true
            }
            None => false,
        };
        let messages = self.messages.lock();
        for line in Line::ALL {
            // Without an address nothing is sent.
            let (_, message) = messages[line as usize];
            self.registers
                .set_message(line, &message.unwrap_or_default());
        }
        drop(messages);
        let has_device_tlb = self.capability.device_tlb;
        self.control(|cr0| {
            cr0.with_events(true)
                .with_requests(has_requests)
                .with_check_translated(has_device_tlb)
        })
        .inspect_err(|_| log_err!("{}: the unit does not start its event queue", name))
    }

    fn enable(&self) -> Result {
        let name = self.health.name();
        self.control(|cr0| cr0.with_translation(true))
            .inspect_err(|_| log_err!("{}: the unit does not start to translate", name))?;
        // From now on DMA is refused even if something else ends translation. Until now it had to
        // pass: devices that firmware uses relied on that.
        self.refuse_untranslated()
            .inspect_err(|_| log_err!("{}: GBPA does not change", name))
    }

    fn switch_off(&self) -> Result<Off> {
        self.interrupt_control(|_| IRQ_CTRL::zeroed())?;
        self.set_bypass(GBPA::from(self.bypass.load(Relaxed)))?;
        self.control(|cr0| cr0.with_translation(false))?;
        self.commands.sleep(|| self.control(|_| CR0::zeroed()))?;
        Ok(Off::observed())
    }

    fn take_back(&self, off: &Off) {
        self.registers.set_stream_table(0);
        self.commands.take_back(off);
        self.events.lock().take_back(off);
        if let Some(requests) = &*self.page_requests.lock() {
            requests.take_back(off);
        }
        self.tags.lock().set_in_use(false);
        self.stream_table.take_back(off);
    }

    fn restore_interrupts(&self) -> Result {
        self.enable_interrupts()
    }

    /// GBPA refuses what is not translated, and the unit stops to translate: then it uses nothing
    /// that it has cached. If GBPA does not change, the unit translates with the table that blocks.
    fn refuse_all(&self) -> Result {
        if self.refuse_untranslated().is_ok() {
            return self.control(|cr0| cr0.with_translation(false));
        }
        // The unit may have lost the table's address, or have another kernel's. It must not change
        // while the unit translates (6.3.24).
        let acknowledged = CR0::from(u32::from(self.registers.read::<CR0ACK>()));
        if !acknowledged.translation() {
            self.hand_over_stream_table();
            self.control(|cr0| cr0.with_translation(true))?;
        }
        // What it has cached is not known.
        Err(ETIMEDOUT)
    }

    fn give_up(&self) {
        self.commands.give_up();
    }

    fn block_entries(&self) {
        self.stream_table.clear_all();
    }
}

const HOW_TO_FREE: &str =
    "boot with initcall_blacklist=arm_smmu_driver_init, so that the kernel's own driver leaves it \
     alone";
