// SPDX-License-Identifier: GPL-2.0

//! A unit that this driver has taken over: registers, tables, queue, domain ids.

#![forbid(unsafe_code)]

#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
mod tests;

use kernel::{
    io::Io,
    new_mutex,
    prelude::*,
    processor::cpu_relax,
    sync::{
        atomic::{Atomic, Full, Relaxed},
        barrier::smp_mb,
        new_spinlock_irq, Arc, Mutex, SpinLockIrq,
    },
    time::{Delta, Instant, Monotonic},
};

use super::{
    capability::{AddressSpace, Capability},
    fault_record::FaultStatus,
    invalidation::{ContextScope, Drain, TlbScope},
    mmio::Registers,
    queue::{Batch, Failure, Queue},
    regs::{FEADDR, FECTL, FEDATA, FEUADDR, FSTS, GCMD, GSTS, PMEN},
    tables::Tables,
};
use crate::{
    addr::PhysAddr,
    drivers::shell::tags::Tags,
    health::Health,
    label::Label,
    log::{log_err, log_info, log_warn},
};

/// How long a unit may take to carry out a command.
const TIMEOUT: Delta = Delta::from_secs(1);

/// What a unit sends as its fault interrupt, and whether it does.
///
/// It is kept while the machine sleeps. The interrupt itself cannot be asked: it is behind a lock
/// that sleeps, and the kernel's interrupt layer takes it for set up all the time.
#[derive(Copy, Clone)]
struct FaultMessage {
    control: FECTL,
    data: FEDATA,
    address: FEADDR,
    upper_address: FEUADDR,
}

/// A unit that this driver has taken over.
#[pin_data]
pub(super) struct Hardware {
    pub(super) health: Arc<Health>,
    pub(super) registers: Registers,
    pub(super) capability: Capability,
    pub(super) space: AddressSpace,
    pub(super) tables: Tables,
    #[pin]
    queue: Queue,
    #[pin]
    pub(super) ids: Mutex<Tags<KVec<u64>>>,
    /// Orders the commands: each repeats the state that the one before left. Nests inside the
    /// queue's lock.
    #[pin]
    commands: SpinLockIrq<()>,
    /// The registers of the interrupt while the unit is suspended.
    #[pin]
    message: SpinLockIrq<Option<FaultMessage>>,
    /// Whether firmware had memory protected from DMA when the unit was taken over, or resumed.
    protected: Atomic<bool>,
    /// How often fault records were lost because there was no free register.
    pub(super) overflows: Atomic<u64>,
}

impl Hardware {
    /// Looks at the unit with registers at `base` and allocates all it takes to drive it. Changes
    /// nothing.
    ///
    /// # Errors
    ///
    /// `EBUSY` if somebody else has it, `EOPNOTSUPP` if it lacks what is needed (both logged),
    /// `ENOMEM`.
    pub(super) fn new(health: &Arc<Health>, base: u64, node: i32) -> Result<Arc<Self>> {
        let name = health.name();
        let look = Registers::look(base)?;
        let (cap, ecap) = look.capabilities();
        let (capability, space) = Capability::judge(cap, ecap).map_err(|refusal| {
            log_err!("{}: the unit cannot be driven: {}", name, refusal);
            EOPNOTSUPP
        })?;
        check_free(name, &look)?;
        drop(look);
        let registers =
            Registers::claim(base, capability.register_bytes()).inspect_err(|error| {
                if *error == EBUSY {
                    log_err!(
                        "{}: the registers at {:#x} belong to somebody else, see /proc/iomem; {}",
                        name,
                        base,
                        HOW_TO_FREE,
                    );
                }
            })?;

        Self::with(health, registers, capability, space, node)
    }

    /// What it takes to drive the unit with `registers`. Changes nothing.
    fn with(
        health: &Arc<Health>,
        registers: Registers,
        capability: Capability,
        space: AddressSpace,
        node: i32,
    ) -> Result<Arc<Self>> {
        let limit = capability.usable_domains();
        // Entries that are not present are cached under id 0 (6.1).
        let reserved = u32::from(capability.caching_mode);
        let words = KVec::from_elem(0, Tags::<KVec<u64>>::words_for(limit), GFP_KERNEL)?;
        let ids = Tags::new(words, limit, reserved).ok_or(EINVAL)?;
        let tables = Tables::new(node, capability.coherent)?;
        let queue = Queue::new(
            node,
            Drain {
                writes: capability.drain_writes,
                reads: capability.drain_reads,
            },
        )?;

        Arc::pin_init(
            pin_init!(Self {
                health: health.clone(),
                registers,
                capability,
                space,
                tables,
                queue <- queue,
                ids <- new_mutex!(ids),
                commands <- new_spinlock_irq!(()),
                message <- new_spinlock_irq!(None),
                protected: Atomic::new(false),
                overflows: Atomic::new(0),
            }),
            GFP_KERNEL,
        )
    }

    /// Makes the unit ready: root table set, queue running, nothing cached, old faults forgotten.
    ///
    /// # Errors
    ///
    /// `EBUSY` if somebody else has started it meanwhile, `ETIMEDOUT` or `EIO` if it does not
    /// answer; both logged.
    pub(super) fn start(&self) -> Result {
        check_free(self.health.name(), &self.registers)?;
        self.set_up()
    }

    /// Root table, queue, empty caches: for a unit that does not translate and has no queue.
    fn set_up(&self) -> Result {
        let name = self.health.name();
        self.clear_faults();
        self.tables.set_in_use(true);
        // Legacy mode, since the address is that of a page.
        self.registers.set_root_table(self.tables.root());
        self.flush_write_buffer();
        self.command(
            |gcmd| gcmd.with_set_root_table(true),
            |gsts| gsts.root_table_set(),
        )
        .inspect_err(|_| log_err!("{}: the unit does not take its root table", name))?;

        self.queue.hand_over(&self.registers);
        self.command(|gcmd| gcmd.with_queue(true), |gsts| gsts.queue())
            .inspect_err(|_| {
                log_err!("{}: the unit does not start its invalidation queue", name)
            })?;

        self.invalidate_everything().map_err(|failure| {
            log_err!("{}: the unit cannot be used: {}", name, failure);
            EIO
        })
    }

    /// Starts translation.
    pub(super) fn enable(&self) -> Result {
        let name = self.health.name();
        let io = self.registers.io();

        self.command(
            |gcmd| gcmd.with_translation(true),
            |gsts| gsts.translation(),
        )
        .inspect_err(|_| log_err!("{}: the unit does not start to translate", name))?;

        // What firmware protected is protected by the tables now, so there was no gap.
        if self.has_protected_regions() && io.read(PMEN).active() {
            self.protected.store(true, Relaxed);
            io.write_reg(PMEN::zeroed());
            if !self.wait(|| !io.read(PMEN).active()) {
                log_warn!("{}: memory stays protected from DMA by firmware", name);
            }
        }
        Ok(())
    }

    /// Puts the unit into the state that it was found in. Entries are not touched before
    /// translation is off, so endpoints that go on untranslated do not notice. A unit that does not
    /// answer is left as it is, and what it may still read is never freed.
    pub(super) fn stop(&self) {
        let name = self.health.name();
        let io = self.registers.io();

        if self.protected.load(Relaxed) {
            // Before translation ends: what firmware protected never lies open.
            io.write_reg(PMEN::zeroed().with_enable(true));
            if !self.wait(|| io.read(PMEN).active()) {
                log_warn!("{}: memory is not protected from DMA again", name);
            }
            self.protected.store(false, Relaxed);
        }

        let stopped = self
            .command(
                |gcmd| gcmd.with_translation(false),
                |gsts| !gsts.translation(),
            )
            .and_then(|()| self.command(|gcmd| gcmd.with_queue(false), |gsts| !gsts.queue()));
        match stopped {
            Ok(()) => {
                self.registers.set_root_table(PhysAddr::new(0));
                self.queue.take_back();
                self.tables.set_in_use(false);
                self.tables.clear_all();
                log_info!("{}: the unit is free again", name);
            }
            Err(_) => log_err!(
                "{}: the unit does not stop; its devices stay as they are until the machine is \
                 reset",
                name,
            ),
        }
    }

    /// Switches the unit off until [`resume`](Self::resume), or for the next kernel. Memory that
    /// firmware had protected is not protected again: the next kernel would not expect that.
    ///
    /// Context: any; does not sleep. Takes the queue's lock and that of commands, not the
    /// interrupt's.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` if the unit does not answer (logged); it is as it was then, or has its queue
    /// left.
    pub(super) fn suspend(&self) -> Result {
        let name = self.health.name();
        let io = self.registers.io();

        *self.message.lock() = Some(FaultMessage {
            control: io.read(FECTL),
            data: io.read(FEDATA),
            address: io.read(FEADDR),
            upper_address: io.read(FEUADDR),
        });
        io.write_reg(FECTL::zeroed().with_masked(true));
        self.switch_off().inspect_err(|_| {
            log_err!("{}: the unit does not stop; it is left as it is", name);
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
    pub(super) fn resume(&self) -> Result {
        let io = self.registers.io();

        // Firmware decides anew what it protects; `enable` looks.
        self.protected.store(false, Relaxed);
        // The kernel that wakes another one up from disk may have used the unit.
        let result = self.switch_off().and_then(|()| self.set_up());
        if result.is_err() {
            // That it cannot is known, and why was said.
            let _ = self.queue.give_up(Failure::Earlier);
            self.tables.clear_all();
        }
        if let Some(message) = self.message.lock().take() {
            io.write_reg(message.data);
            io.write_reg(message.address);
            io.write_reg(message.upper_address);
            io.write_reg(message.control);
        }
        // Also a unit that cannot be used: it should refuse DMA rather than let it pass.
        self.enable().and(result)
    }

    /// Ends translation, then the queue, if they are on. Batches are done at once from then on.
    fn switch_off(&self) -> Result {
        if self.registers.io().read(GSTS).translation() {
            self.command(
                |gcmd| gcmd.with_translation(false),
                |gsts| !gsts.translation(),
            )?;
        }
        self.queue
            .sleep(|| match self.registers.io().read(GSTS).queue() {
                true => self.command(|gcmd| gcmd.with_queue(false), |gsts| !gsts.queue()),
                false => Ok(()),
            })
    }

    /// Declares the unit failed, and blocks everything behind it.
    ///
    /// Context: any; does not sleep.
    #[cold]
    pub(super) fn fail(&self, failure: Failure) {
        if failure != Failure::Earlier {
            self.health.fail(format_args!("{failure}"));
            self.block_all();
        }
    }

    /// Blocks every requester id, as far as the unit still listens. It has been declared failed.
    fn block_all(&self) {
        smp_mb(Full);
        self.tables.clear_all();
        // It may be because of the queue that everything is blocked.
        let _ = self.invalidate_everything();
    }

    fn invalidate_everything(&self) -> Result<(), Failure> {
        let mut batch = self.batch();
        batch.context(ContextScope::Global);
        batch.fence();
        batch.iotlb(TlbScope::Global);
        batch.run()
    }

    /// A batch of invalidations.
    #[inline]
    pub(super) fn batch(&self) -> Batch<'_> {
        Batch::new(&self.queue, &self.registers)
    }

    /// The queue, to look at.
    pub(super) fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Makes the unit see all that was written to tables before, if that is a thing of its own to
    /// do (6.8).
    ///
    /// Context: any; does not sleep.
    pub(super) fn flush_write_buffer(&self) {
        if self.capability.write_buffer_flush {
            // A unit that does not answer shows in the next invalidation.
            let _ = self.command(
                |gcmd| gcmd.with_flush_write_buffer(true),
                |gsts| !gsts.flushing_write_buffer(),
            );
        }
    }

    fn has_protected_regions(&self) -> bool {
        self.capability.protected_low || self.capability.protected_high
    }

    /// Changes one bit of the global command and waits until the unit says that it is done
    /// (11.4.4: one bit at a time).
    fn command(&self, change: impl FnOnce(GCMD) -> GCMD, done: impl Fn(GSTS) -> bool) -> Result {
        let io = self.registers.io();
        let _order = self.commands.lock();

        io.write_reg(change(io.read(GSTS).repeat()));
        match self.wait(|| done(io.read(GSTS))) {
            true => Ok(()),
            false => Err(ETIMEDOUT),
        }
    }

    /// Waits for `done`, not longer than [`TIMEOUT`]; returns what it said last.
    fn wait(&self, done: impl Fn() -> bool) -> bool {
        let start = Instant::<Monotonic>::now();
        loop {
            // Before the look, so that being away for long in between blames nobody.
            let late = start.elapsed() >= TIMEOUT;
            if done() {
                return true;
            }
            if late {
                return false;
            }
            cpu_relax();
        }
    }

    /// Forgets faults and queue errors from before the takeover.
    fn clear_faults(&self) {
        let io = self.registers.io();
        for index in 0..usize::from(self.capability.fault_records) {
            // The mapping covers all of them.
            let _ = self
                .registers
                .clear_fault_record(self.fault_record_offset(index));
        }
        io.write_reg(FSTS::from(
            FaultStatus::OVERFLOW
                | FaultStatus::QUEUE_ERROR
                | FaultStatus::COMPLETION_ERROR
                | FaultStatus::TIMEOUT_ERROR,
        ));
    }

    /// Byte offset of fault recording register `index`.
    pub(super) fn fault_record_offset(&self, index: usize) -> usize {
        self.capability.fault_offset as usize + index * 16
    }
}

const HOW_TO_FREE: &str =
    "boot with intel_iommu=off intremap=off, so that the kernel's own driver \
                           leaves it alone (interrupt remapping alone enables the queue)";

/// Whether the unit can be had: firmware or another driver that uses it keeps it (law 7).
fn check_free(name: Label, registers: &Registers) -> Result {
    let status = registers.io().read(GSTS);
    let what = if status.translation() {
        "translates already"
    } else if status.interrupt_remapping() {
        "remaps interrupts already"
    } else if status.queue() {
        "has its invalidation queue in use already"
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
