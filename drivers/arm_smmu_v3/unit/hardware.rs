// SPDX-License-Identifier: GPL-2.0

//! A unit that this driver has taken over: registers, tables, queues, ASIDs and VMIDs.

#![forbid(unsafe_code)]

#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
mod tests;

use kernel::{
    io::Io,
    new_mutex,
    prelude::*,
    sync::{
        atomic::{Atomic, Full, Relaxed},
        barrier::smp_mb,
        new_spinlock_irq, Arc, Mutex, SpinLockIrq,
    },
    time::{Delta, Instant, Monotonic},
};

use super::super::records::{
    capability::{Capability, Stage},
    event::GlobalErrors,
};
use super::{
    asids::Contexts,
    ats_streams::{Roster, Seat},
    command_queue::{take_errors, Batch, Failure, Queue},
    firmware::Description,
    mmio::{Line, Message, Registers},
    output_queue::Records,
    regs::{
        CR0, CR0ACK, CR1, CR2, EVENTQ_CONS, EVENTQ_PROD, GBPA, IRQ_CTRL, IRQ_CTRLACK, PRIQ_CONS,
        PRIQ_PROD, STRTAB_BASE_CFG,
    },
    stream_table::Tables,
};
use crate::{
    health::Health,
    label::Label,
    log::{log_err, log_info},
    pgtable::armv8::GranuleSize,
};

/// How long a unit may take to carry out a command.
const TIMEOUT: Delta = Delta::from_secs(1);

/// A unit that this driver has taken over.
#[pin_data]
pub struct Hardware {
    pub health: Arc<Health>,
    pub registers: Registers,
    pub capability: Capability,
    /// What new domains translate with.
    pub stage: Stage,
    pub granule: GranuleSize,
    pub tables: Tables,
    #[pin]
    queue: SpinLockIrq<Queue>,
    #[pin]
    pub(super) events: SpinLockIrq<Records>,
    /// Page requests, if the unit has such a queue.
    #[pin]
    pub(super) requests: SpinLockIrq<Option<Records>>,
    #[pin]
    pub contexts: Mutex<Contexts>,
    /// Orders the writes of registers that are acknowledged. Nests inside the queue's lock.
    #[pin]
    commands: SpinLockIrq<()>,
    /// GBPA as it was found: what devices may do while the unit does not translate.
    bypass: Atomic<u32>,
    /// The numbers of the interrupts that are no wires, and what the unit sends for each.
    #[pin]
    messages: SpinLockIrq<[(u32, Option<Message>); Line::COUNT]>,
    /// How often event records were lost because the queue was full.
    pub overflows: Atomic<u64>,
    /// Page requests that were refused.
    pub refused_requests: Atomic<u64>,
    /// How often page requests were lost because the queue was full.
    pub lost_requests: Atomic<u64>,
    /// Global errors, each time some were active.
    pub errors: Atomic<u64>,
}

impl Hardware {
    /// Looks at the unit and allocates all it takes to drive it. Changes nothing.
    ///
    /// # Errors
    ///
    /// `EBUSY` if somebody else has it, `EOPNOTSUPP` if it lacks what is needed (both logged),
    /// `ENOMEM`.
    pub(super) fn new(health: &Arc<Health>, unit: &Description) -> Result<Arc<Self>> {
        let name = health.name();
        let look = Registers::look(unit.base)?;
        let capability =
            Capability::judge(&look.identification(), &unit.firmware).map_err(|refusal| {
                log_err!("{}: the unit cannot be driven: {}", name, refusal);
                EOPNOTSUPP
            })?;
        check_free(name, &look)?;
        drop(look);
        let registers =
            Registers::claim(unit.base, unit.firmware.page0_only).inspect_err(|error| {
                if *error == EBUSY {
                    log_err!(
                        "{}: the registers at {:#x} belong to somebody else, see /proc/iomem; {}",
                        name,
                        unit.base,
                        HOW_TO_FREE,
                    );
                }
            })?;

        Self::with(health, registers, capability, unit.memory_node)
    }

    /// What it takes to drive the unit with `registers`. Changes nothing.
    pub fn with(
        health: &Arc<Health>,
        registers: Registers,
        capability: Capability,
        node: i32,
    ) -> Result<Arc<Self>> {
        let granule = capability
            .granules
            .for_pages_of(kernel::page::PAGE_SIZE as u64)
            .ok_or(EOPNOTSUPP)?;
        let tables = Tables::new(node, &capability)?;
        let contexts = Contexts::new(node, &capability)?;
        let queue = Queue::new(node, &capability)?;
        let events = Records::events(node, &capability)?;
        let requests = Records::page_requests(node, &capability)?;

        Arc::pin_init(
            pin_init!(Self {
                health: health.clone(),
                registers,
                stage: capability.stage(),
                capability,
                granule,
                tables,
                queue <- new_spinlock_irq!(queue),
                events <- new_spinlock_irq!(events),
                requests <- new_spinlock_irq!(requests),
                contexts <- new_mutex!(contexts),
                commands <- new_spinlock_irq!(()),
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

    /// Makes the unit ready: stream table set, queues running, nothing cached.
    ///
    /// # Errors
    ///
    /// `EBUSY` if somebody else has started it meanwhile, `ETIMEDOUT` or `EIO` if it does not
    /// answer; both logged.
    pub fn start(&self) -> Result {
        check_free(self.health.name(), &self.registers)?;
        let found = self.registers.io().read(GBPA).with_update(false);
        self.bypass.store(found.into(), Relaxed);
        self.contexts.lock().set_in_use(true);
        self.events.lock().set_in_use(true);
        if let Some(requests) = &mut *self.requests.lock() {
            requests.set_in_use(true);
        }
        self.set_up()
    }

    /// Stream table, queues, empty caches: for a unit that does not translate and has no queue
    /// (6.3.9).
    ///
    /// Context: any; does not sleep.
    fn set_up(&self) -> Result {
        let name = self.health.name();
        let io = self.registers.io();

        self.interrupt_control(|_| IRQ_CTRL::zeroed())?;
        let (shareability, cacheability) = match self.capability.coherent {
            true => (3, 1),
            // What is written back to memory has to be read from there.
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
        self.tables.set_in_use(true);
        self.registers.set_stream_table(self.tables.base());
        io.write_reg(STRTAB_BASE_CFG::from(self.tables.layout().base_config()));

        self.queue.lock().hand_over(&self.registers);
        self.control(|cr0| cr0.with_commands(true))
            .inspect_err(|_| log_err!("{}: the unit does not start its command queue", name))?;
        self.forget_everything().map_err(|failure| {
            log_err!("{}: the unit cannot be used: {}", name, failure);
            EIO
        })?;

        let page1 = self.registers.page1();
        {
            let mut events = self.events.lock();
            events.rewind();
            self.registers.set_event_queue(events.base());
            page1.write_reg(EVENTQ_PROD::from(0));
            page1.write_reg(EVENTQ_CONS::from(0));
        }
        let has_requests = match &mut *self.requests.lock() {
            Some(requests) => {
                requests.rewind();
                self.registers.set_request_queue(requests.base());
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

    /// Interrupt `irq` of the kernel's is going to be a message for `line`.
    pub(super) fn expect(&self, line: Line, irq: u32) {
        self.messages.lock()[line as usize] = (irq, None);
    }

    /// Has the unit send `message` as interrupt `irq`.
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

    /// Has the unit send no message any more.
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

    /// Starts translation.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` if the unit does not answer.
    pub fn enable(&self) -> Result {
        let name = self.health.name();
        self.control(|cr0| cr0.with_translation(true))
            .inspect_err(|_| log_err!("{}: the unit does not start to translate", name))?;
        // Should something end translation behind our back nothing passes. Before, there were
        // devices that relied on it that everything does.
        self.set_bypass(GBPA::from(self.bypass.load(Relaxed)).with_abort(true))
            .inspect_err(|_| log_err!("{}: GBPA does not change", name))
    }

    /// Puts the unit into the state that it was found in. Entries are not touched before
    /// translation is off, so endpoints that go on untranslated do not notice. A unit that does not
    /// answer is left as it is, and what it may still read is never freed.
    pub fn stop(&self) {
        let name = self.health.name();
        match self.switch_off() {
            Ok(()) => {
                self.let_go();
                log_info!("{}: the unit is free again", name);
            }
            Err(_) => log_err!(
                "{}: the unit does not stop; its devices stay as they are until the machine is \
                 reset",
                name,
            ),
        }
    }

    /// The unit is off, and does not access memory any more.
    fn let_go(&self) {
        self.registers.set_stream_table(0);
        self.queue.lock().take_back();
        self.events.lock().set_in_use(false);
        if let Some(requests) = &mut *self.requests.lock() {
            requests.set_in_use(false);
        }
        self.contexts.lock().set_in_use(false);
        self.tables.set_in_use(false);
        self.tables.clear_all();
    }

    /// Switches the unit off until [`resume`](Self::resume), or for the next kernel.
    ///
    /// Context: any; does not sleep. Takes spinlocks only.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` if the unit does not answer (logged); it is as it was then, or has its queues
    /// left.
    pub fn suspend(&self) -> Result {
        self.switch_off().inspect_err(|_| {
            log_err!(
                "{}: the unit does not stop; it is left as it is",
                self.health.name(),
            );
        })
    }

    /// Switches the unit on after [`suspend`](Self::suspend). If it cannot be used any more
    /// everything is blocked, as far as it listens.
    ///
    /// Context: as that of `suspend`.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` or `EIO` if the unit does not answer; both logged.
    pub fn resume(&self) -> Result {
        // The kernel that wakes another one up from disk may have used the unit.
        let result = self.switch_off().and_then(|()| self.set_up());
        if result.is_err() {
            self.queue.lock().give_up();
            self.tables.clear_all();
        }
        // Also a unit that cannot be used: it should refuse DMA rather than let it pass.
        let result = self.enable().and(result);
        self.enable_interrupts().and(result)
    }

    /// Ends translation, then the queues. Batches are done at once from then on.
    fn switch_off(&self) -> Result {
        self.interrupt_control(|_| IRQ_CTRL::zeroed())?;
        self.set_bypass(GBPA::from(self.bypass.load(Relaxed)))?;
        self.control(|cr0| cr0.with_translation(false))?;
        // With its lock, so that the unit has taken all that was put in.
        let mut queue = self.queue.lock();
        self.control(|_| CR0::zeroed())?;
        queue.sleep();
        Ok(())
    }

    /// Declares the unit failed, and blocks everything behind it.
    ///
    /// Context: any; does not sleep.
    #[cold]
    pub fn fail(&self, failure: Failure) {
        if failure != Failure::Earlier {
            self.health.fail(format_args!("{failure}"));
            self.block_all();
        }
    }

    /// Blocks every stream, as far as the unit still listens. It has been declared failed.
    pub(super) fn block_all(&self) {
        smp_mb(Full);
        self.tables.clear_all();
        // It may be because of the queue that everything is blocked.
        let _ = self.forget_everything();
    }

    fn forget_everything(&self) -> Result<(), Failure> {
        let mut batch = self.batch();
        batch.forget_everything();
        batch.run()
    }

    /// A batch of commands. The queue is locked, and interrupts are off, until it is run.
    #[inline]
    pub fn batch(&self) -> Batch<'_> {
        Batch::new(self.queue.lock(), &self.registers)
    }

    /// Looks at the queue.
    pub fn with_queue<R>(&self, f: impl FnOnce(&Queue) -> R) -> R {
        f(&self.queue.lock())
    }

    /// Looks at which devices have TLBs of their own, or changes it.
    pub fn with_roster<R>(&self, f: impl FnOnce(&mut Roster<KVec<Seat>>) -> R) -> R {
        f(self.queue.lock().roster())
    }

    /// Makes room on the roster for one more device.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn promise_seats(&self) -> Result {
        while let Err(needed) = self.with_roster(|roster| roster.promise()) {
            let larger = KVec::from_elem(Seat::FREE, needed.next_power_of_two(), GFP_KERNEL)?;
            // Dropped without the lock.
            let _old = self.with_roster(|roster| roster.grow(larger));
        }
        Ok(())
    }

    /// The unit's own errors that are active, but for those of the command queue. They are seen
    /// then.
    pub(super) fn take_errors(&self) -> GlobalErrors {
        self.with_queue(|queue| take_errors(queue, &self.registers))
    }

    /// Changes CR0 and waits until that has taken effect.
    fn control(&self, change: impl FnOnce(CR0) -> CR0) -> Result {
        let io = self.registers.io();
        let _order = self.commands.lock();

        let new = change(io.read(CR0));
        io.write_reg(new);
        self.wait(|| u32::from(io.read(CR0ACK)) == u32::from(new))
    }

    /// Changes IRQ_CTRL and waits until that has taken effect.
    fn interrupt_control(&self, change: impl FnOnce(IRQ_CTRL) -> IRQ_CTRL) -> Result {
        let io = self.registers.io();
        let _order = self.commands.lock();

        let new = change(io.read(IRQ_CTRL));
        io.write_reg(new);
        self.wait(|| u32::from(io.read(IRQ_CTRLACK)) == u32::from(new))
    }

    /// Changes what happens while the unit does not translate (6.3.14: when no update is under way,
    /// and with the Update bit).
    fn set_bypass(&self, value: GBPA) -> Result {
        let io = self.registers.io();
        let _order = self.commands.lock();
        let done = || !io.read(GBPA).update();

        self.wait(done)?;
        io.write_reg(value.with_update(true));
        self.wait(done)
    }

    /// Waits for `done`, not longer than [`TIMEOUT`].
    fn wait(&self, done: impl Fn() -> bool) -> Result {
        let start = Instant::<Monotonic>::now();
        loop {
            // Before the look, so that being away for long in between blames nobody.
            let late = start.elapsed() >= TIMEOUT;
            if done() {
                return Ok(());
            }
            if late {
                return Err(ETIMEDOUT);
            }
            self.registers.relax();
        }
    }
}

const HOW_TO_FREE: &str =
    "boot with initcall_blacklist=arm_smmu_driver_init, so that the kernel's own driver leaves it \
     alone";

/// Whether the unit can be had: firmware or another driver that uses it keeps it (law 7).
fn check_free(name: Label, registers: &Registers) -> Result {
    let control = registers.io().read(CR0);
    let what = if control.translation() {
        "translates already"
    } else if control.commands() || control.events() || control.requests() {
        "has its queues in use already"
    } else {
        return Ok(());
    };
    log_err!(
        "{}: the unit {}, so it is left alone; {}",
        name,
        what,
        HOW_TO_FREE,
    );
    Err(EBUSY)
}
