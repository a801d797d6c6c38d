// SPDX-License-Identifier: GPL-2.0

//! The life of a unit, the same for every vendor.
//!
//! ```text
//!            take_over          enable               suspend
//! described -----------> ready --------> translating ---------> off, tables kept
//!     ^                    |                  |  ^                     |
//!     +------ release -----+------------------+  +------ resume -------+
//! ```
//!
//! # Units that were left on
//!
//! Firmware may have left a unit on, and so may an earlier kernel, which has crashed or has started
//! this one (kexec). Nobody in this kernel uses a unit whose registers the driver can claim. The
//! driver takes over such a unit without switching translation off, since the devices that did DMA
//! before would reach all memory then (law 7). A unit that goes from *described* to *ready* in this
//! way translates with tables that block everything, or aborts all DMA. If it is released before it
//! was enabled, it stays like that.
//!
//! - [`UnitHardware`]: the vendor's steps on registers, tables and queues, and in which order the
//!   shell takes them.
//! - [`UnitDescription`]: what firmware says of a unit, and how the vendor makes hardware and
//!   interrupt of it.
//! - [`ShellUnit`]: both, from `discover` to the end of the module. It is the vendor driver's
//!   [`Attach::Unit`](crate::driver::Attach::Unit).
//!
//! # A failure while entries are written
//!
//! One processor may declare a unit failed while another one writes entries:
//!
//! | [`UnitHardware::fail`] | a commit |
//! |---|---|
//! | sets the failure in [`Health`] | writes entries |
//! | full barrier | full barrier, in [`UnitHardware::has_failed_meanwhile`] |
//! | blocks all entries | if the failure is set: blocks its entries |
//!
//! At least one of the two sees what the other one wrote, so no entry stays open.

#![forbid(unsafe_code)]

use core::fmt;

use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{Atomic, Full, Relaxed},
        Arc, Mutex, SetOnce,
    },
};

use super::unit_memory::Off;
use crate::{
    fault::FaultSink,
    ffi::compat::{eopnotsupp, smp_mb, SpinLockIrq},
    health::Health,
    label::Label,
    log::{log_err, log_info, log_warn},
};

/// How a unit is found that nobody in this kernel uses.
pub enum Found {
    /// The unit is off.
    Off(Off),
    /// Queues of firmware or of an earlier kernel are on. The unit does not translate, so DMA
    /// passes.
    Queues,
    /// The unit translates, with tables of firmware or of an earlier kernel.
    Translating,
}

/// How a unit is while it is not used.
pub enum Rest {
    /// The unit is off: it neither translates nor accesses memory.
    Off(Off),
    /// The unit goes on translating, since it might never answer if translation ended. It refuses
    /// all DMA, reads its tables to do so, and takes nothing from its queues.
    Refusing,
}

/// A unit's registers, tables and queues: what a driver needs to run it.
///
/// A vendor implements the steps. The functions after them are the life that the steps are for, and
/// are not overridden.
pub trait UnitHardware: Send + Sync + 'static {
    /// Why the unit's queue cannot be used any more.
    type Failure: fmt::Display + PartialEq;

    /// The failure that says only that the queue has failed before.
    const EARLIER: Self::Failure;

    /// The unit's name, and whether it has failed.
    fn health(&self) -> &Health;

    /// Whether the driver uses the unit: from [`start`](Self::start) to [`stop`](Self::stop), but
    /// not while it is suspended. Held while a unit that has failed is made to refuse all DMA,
    /// which may switch it on, so that nobody switches it off meanwhile. The outermost of the
    /// driver's spinlocks.
    fn in_use(&self) -> &SpinLockIrq<bool>;

    /// Keeps others off the unit until [`relinquish`](Self::relinquish), and finds out what is on.
    ///
    /// # Errors
    ///
    /// `EBUSY` if the unit does what only switching it off would end (logged); others. The unit is
    /// left as it was.
    fn acquire(&self) -> Result<Found>;

    /// Undoes [`acquire`](Self::acquire).
    fn relinquish(&self) {}

    /// Sets the registers of a unit. Afterwards its queue runs, every id is blocked and nothing is
    /// cached. A unit that takes no commands while it is off gets the last two from
    /// [`enable`](Self::enable).
    ///
    /// A unit that is found translating never stops to refuse what its old tables refuse: it goes
    /// on translating with them, then with tables that block everything, or aborts all DMA. What
    /// was left on of its queues, logs and interrupts ends first.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` or `EIO` if the unit does not answer (logged).
    fn set_up(&self, found: Found) -> Result;

    /// Starts translation.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` if the unit does not answer (logged).
    fn enable(&self) -> Result;

    /// Ends translation, then the queues. From then on batches are done at once.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` if the unit does not answer. It is left as it was, or with its queues on.
    fn switch_off(&self) -> Result<Off>;

    /// Whether the unit translates and must go on to: it might never answer if translation ended.
    fn must_go_on(&self) -> bool {
        false
    }

    /// Starts, in a unit that is not used, what other units need before they are set up. Does
    /// nothing if it has been started, or if the unit is used.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` if the unit does not answer.
    fn start_early(&self) -> Result {
        Ok(())
    }

    /// Ends what [`start_early`](Self::start_early) has started, if the unit was not set up since.
    fn end_early(&self) {}

    /// Puts the unit to rest until [`wake`](Self::wake), or for the next kernel. Entries stay as
    /// they are in memory. Batches are done at once from then on.
    ///
    /// # Errors
    ///
    /// Those of [`switch_off`](Self::switch_off); `EIO` if a unit that must go on does not
    /// invalidate.
    fn rest(&self) -> Result<Rest> {
        self.switch_off().map(Rest::Off)
    }

    /// Sets up the registers of a unit after a [`rest`](Self::rest), whatever used the unit in
    /// between.
    ///
    /// # Errors
    ///
    /// Those of [`switch_off`](Self::switch_off) and [`set_up`](Self::set_up).
    fn wake(&self) -> Result {
        self.set_up_anew()
    }

    /// Takes back all memory that the unit could access.
    fn take_back(&self, off: &Off);

    /// Restores what firmware relies on once translation is off. Comes before
    /// [`switch_off`](Self::switch_off) at a release, not at a suspend.
    fn before_release(&self) {}

    /// Saves what [`set_up`](Self::set_up) cannot know of the registers, and ends interrupts.
    fn before_suspend(&self) {}

    /// Has the unit send its interrupts again as it did before
    /// [`before_suspend`](Self::before_suspend).
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` if the unit does not answer.
    fn restore_interrupts(&self) -> Result {
        Ok(())
    }

    /// Has the unit refuse all DMA, whatever it has cached, without its queue, which has failed.
    /// Every id is blocked in memory. The unit may be translating or not, and it may have lost its
    /// registers: a unit that does not translate lets all DMA pass.
    ///
    /// Context: any; does not sleep.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` if the unit does not answer. What it has cached is unknown then.
    fn refuse_all(&self) -> Result;

    /// Fails all batches from now on without asking the unit.
    fn give_up(&self);

    /// Blocks every id in memory.
    fn block_entries(&self);

    /// Switches the unit off, and sets it up: the kernel that loads a hibernation image may have
    /// used the unit since it was put to rest.
    ///
    /// # Errors
    ///
    /// Those of [`switch_off`](Self::switch_off) and [`set_up`](Self::set_up).
    fn set_up_anew(&self) -> Result {
        let off = self.switch_off()?;
        self.set_up(Found::Off(off))
    }

    /// Makes the unit ready. If that fails, the unit is given back. Returns whether the unit was
    /// left translating.
    ///
    /// # Errors
    ///
    /// Those of [`acquire`](Self::acquire) and [`set_up`](Self::set_up).
    fn start(&self) -> Result<bool> {
        let name = self.health().name();
        let found = self.acquire()?;
        let blocks = matches!(found, Found::Translating);
        match found {
            Found::Off(_) => {}
            Found::Queues => log_warn!(
                "{}: the unit's queues were left on by firmware or an earlier kernel; they are set \
                 up anew; until now DMA was not translated",
                name,
            ),
            Found::Translating => log_warn!(
                "{}: the unit was left on by firmware or an earlier kernel; all DMA that goes on \
                 from then is blocked until a driver resets its device",
                name,
            ),
        }
        *self.in_use().lock() = true;
        // A unit that went on after its last release kept its entries.
        self.block_entries();
        match self.set_up(found) {
            Ok(()) => Ok(blocks),
            Err(error) => {
                match blocks {
                    true => self.leave_blocking(),
                    // If it does not stop either, its memory is never freed.
                    false => drop(self.stop()),
                }
                Err(error)
            }
        }
    }

    /// Gives back a unit that was left translating and was not enabled since. It is not switched
    /// off, so the memory that it may still access is never freed.
    fn leave_blocking(&self) {
        self.give_up();
        self.block_all();
        *self.in_use().lock() = false;
        log_err!(
            "{}: the unit stays on and blocks all devices: off, it would let DMA pass that goes on \
             from before",
            self.health().name(),
        );
        self.relinquish();
    }

    /// Gives the unit back. Entries stay as they are until translation is off, so endpoints that go
    /// on untranslated do not notice.
    ///
    /// # Errors
    ///
    /// Those of [`switch_off`](Self::switch_off): the unit has not stopped (logged). It is left as
    /// it is, and the memory that it may still access is never freed. `EBUSY` if the unit must go
    /// on.
    fn stop(&self) -> Result {
        let name = self.health().name();
        *self.in_use().lock() = false;
        if self.must_go_on() {
            // What held devices do goes on, and all others have left their groups.
            log_warn!(
                "{}: the unit goes on translating until the machine is reset, since it may never \
                 answer otherwise; it refuses DMA of devices that get a driver from now on; load the \
                 module again for them",
                name,
            );
            self.relinquish();
            return Err(EBUSY);
        }
        self.before_release();
        let off = self.switch_off();
        match &off {
            Ok(off) => {
                self.take_back(off);
                self.block_entries();
                log_info!("{}: the unit is free again", name);
            }
            Err(_) => log_err!(
                "{}: the unit does not stop; its devices stay as they are until the machine is \
                 reset",
                name,
            ),
        }
        self.relinquish();
        off.map(drop)
    }

    /// Switches the unit off until [`resume`](Self::resume), or for the next kernel.
    ///
    /// Context: any; does not sleep. Takes spinlocks only.
    ///
    /// # Errors
    ///
    /// Those of [`switch_off`](Self::switch_off) (logged).
    fn suspend(&self) -> Result {
        *self.in_use().lock() = false;
        self.before_suspend();
        match self.rest() {
            Ok(Rest::Off(_) | Rest::Refusing) => Ok(()),
            Err(error) => {
                log_err!(
                    "{}: the unit does not stop; it is left as it is",
                    self.health().name(),
                );
                Err(error)
            }
        }
    }

    /// Switches the unit on after [`suspend`](Self::suspend). If that fails, everything is blocked
    /// as far as the unit still listens.
    ///
    /// Context: as that of `suspend`.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` or `EIO` if the unit does not answer (logged).
    fn resume(&self) -> Result {
        *self.in_use().lock() = true;
        let ready = self.wake();
        let restored = self.restore_interrupts();
        let result = ready.and(restored).and_then(|()| self.enable());
        if result.is_err() {
            self.give_up();
            self.block_entries();
            self.refuse_all_or_say();
        }
        result
    }

    /// Declares the unit failed, and blocks everything behind it. Does nothing if the queue had
    /// failed before.
    ///
    /// Context: any; does not sleep.
    #[cold]
    fn fail(&self, failure: Self::Failure) {
        if failure != Self::EARLIER {
            self.health().fail(format_args!("{failure}"));
            // The failure may be another one than the queue's. Nobody must wait for the queue then.
            self.give_up();
            self.block_all();
        }
    }

    /// Blocks everything behind a unit that was declared failed, as far as it still listens.
    fn block_all(&self) {
        // Pairs with the barrier in `has_failed_meanwhile`.
        smp_mb(Full);
        self.block_entries();
        // The unit goes on with what it has cached until something else than the queue ends that.
        self.refuse_all_or_say();
    }

    /// As [`refuse_all`](Self::refuse_all), unless the unit is off or about to be switched off.
    /// Logs if the unit does not answer.
    fn refuse_all_or_say(&self) {
        let in_use = self.in_use().lock();
        if *in_use && self.refuse_all().is_err() {
            log_err!(
                "{}: the unit takes no orders any more: its devices may still reach the memory \
                 that it has cached translations of; reset the machine",
                self.health().name(),
            );
        }
    }

    /// Declares the unit failed if `result`, that of a batch, is a failure.
    ///
    /// # Errors
    ///
    /// `EIO` then.
    #[inline]
    fn answered(&self, result: Result<(), Self::Failure>) -> Result {
        result.map_err(|failure| {
            self.fail(failure);
            EIO
        })
    }

    /// Whether the unit was declared failed before a commit had written all its entries. If so, the
    /// commit has to block them; if not, a later failure blocks them.
    fn has_failed_meanwhile(&self) -> bool {
        // Pairs with the barrier in `block_all`.
        smp_mb(Full);
        self.health().has_failed()
    }
}

/// What firmware says of a unit.
pub trait UnitDescription: Send + Sync + 'static {
    /// The unit's hardware.
    type Hardware: UnitHardware;

    /// The unit's interrupts. They end when the value is dropped.
    type Interrupt: Send + Unpin + 'static;

    /// Looks at the unit and allocates all that is needed to drive it. Changes nothing.
    ///
    /// # Errors
    ///
    /// `EBUSY` if somebody else uses it, `EOPNOTSUPP` if it lacks what is needed (both logged);
    /// `ENOMEM`.
    fn hardware(&self, health: &Arc<Health>) -> Result<Arc<Self::Hardware>>;

    /// Sets the unit's interrupts up. Faults go to `faults`.
    fn interrupt(
        &self,
        hardware: &Arc<Self::Hardware>,
        faults: Arc<dyn FaultSink>,
    ) -> Result<Self::Interrupt>;

    /// Logs what kind of unit it is.
    fn announce(&self, name: Label, hardware: &Self::Hardware);
}

/// A unit as firmware describes it, and its hardware once it was taken over.
pub struct ShellUnit<D: UnitDescription> {
    pub description: D,
    pub health: Arc<Health>,
    /// Stays after a release, for the next takeover, until the unit is dropped.
    hardware: SetOnce<Arc<D::Hardware>>,
    /// Ends before the hardware is stopped.
    interrupt: Pin<KBox<Mutex<Option<D::Interrupt>>>>,
    /// Whether the unit was left translating and is not enabled yet.
    left_on: Atomic<bool>,
}

impl<D: UnitDescription> ShellUnit<D> {
    /// A unit called `name`, which was not taken over yet.
    pub(crate) fn new(name: Label, description: D) -> Result<Self> {
        Self::with(Arc::new(Health::new(name), GFP_KERNEL)?, description)
    }

    fn with(health: Arc<Health>, description: D) -> Result<Self> {
        Ok(Self {
            description,
            health,
            hardware: SetOnce::new(),
            interrupt: KBox::pin_init(new_mutex!(None), GFP_KERNEL)?,
            left_on: Atomic::new(false),
        })
    }

    /// A unit that was taken over with `hardware` and has no interrupt.
    #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
    pub(crate) fn taken_over(
        health: Arc<Health>,
        description: D,
        hardware: Arc<D::Hardware>,
    ) -> Result<Self> {
        let unit = Self::with(health, description)?;
        unit.hardware.populate(hardware);
        Ok(unit)
    }

    /// The hardware, once it was taken over.
    ///
    /// # Errors
    ///
    /// `ENODEV` before that.
    #[inline]
    pub(crate) fn hardware(&self) -> Result<&Arc<D::Hardware>> {
        self.hardware.as_ref().ok_or(ENODEV)
    }

    /// The hardware, which is made if the unit was not taken over yet.
    fn hardware_or_new(&self) -> Result<Arc<D::Hardware>> {
        match self.hardware.as_ref() {
            Some(hardware) => Ok(hardware.clone()),
            None => {
                let hardware = self.description.hardware(&self.health)?;
                self.hardware.populate(hardware.clone());
                Ok(hardware)
            }
        }
    }

    /// See [`UnitHardware::start_early`].
    pub(crate) fn start_early(&self) -> Result {
        self.hardware_or_new()?.start_early()
    }

    /// See [`VendorDriver::take_over`](crate::driver::VendorDriver::take_over).
    pub(crate) fn take_over(&self, faults: Arc<dyn FaultSink>) -> Result {
        let name = self.health.name();
        let hardware = self.hardware_or_new()?;
        self.left_on.store(hardware.start()?, Relaxed);
        match self.description.interrupt(&hardware, faults) {
            Ok(interrupt) => *self.interrupt.lock() = Some(interrupt),
            Err(error) => {
                log_err!(
                    "{}: no interrupt for faults ({}), so the unit is not used",
                    name,
                    error.to_errno(),
                );
                // If it does not stop, its memory is never freed.
                let _ = self.give_back(&hardware);
                return Err(error);
            }
        }
        self.description.announce(name, &hardware);
        Ok(())
    }

    /// See [`VendorDriver::enable`](crate::driver::VendorDriver::enable).
    pub(crate) fn enable(&self) -> Result {
        self.hardware()?.enable()?;
        self.left_on.store(false, Relaxed);
        Ok(())
    }

    /// Gives the unit back.
    ///
    /// # Errors
    ///
    /// Those of [`UnitHardware::stop`]; `EBUSY` if the unit has to go on, blocking.
    fn give_back(&self, hardware: &D::Hardware) -> Result {
        match self.left_on.load(Relaxed) {
            true => {
                hardware.leave_blocking();
                Err(EBUSY)
            }
            false => hardware.stop(),
        }
    }

    /// See [`VendorDriver::release`](crate::driver::VendorDriver::release).
    pub(crate) fn release(&self) -> Result {
        // The interrupt's thread ends when the interrupt is dropped, which needs no lock.
        let interrupt = self.interrupt.lock().take();
        drop(interrupt);
        match self.hardware() {
            Ok(hardware) => self.give_back(hardware),
            // It was never taken over.
            Err(_) => Ok(()),
        }
    }

    /// See [`VendorDriver::suspend`](crate::driver::VendorDriver::suspend).
    pub(crate) fn suspend(&self) -> Result {
        self.hardware()?.suspend()
    }

    /// See [`VendorDriver::resume`](crate::driver::VendorDriver::resume).
    pub(crate) fn resume(&self) -> Result {
        self.hardware()?.resume()
    }
}

impl<D: UnitDescription> Drop for ShellUnit<D> {
    fn drop(&mut self) {
        if let Ok(hardware) = self.hardware() {
            hardware.end_early();
        }
    }
}

/// Logs that the unit called `name` lacks what the driver needs; returns the error for that.
pub(crate) fn unfit(name: Label, why: impl fmt::Display) -> Error {
    log_err!(
        "{}: the unit cannot be driven: {}; DMA of its devices is not translated, so it reaches all \
         memory",
        name,
        why,
    );
    eopnotsupp()
}

/// Logs what a unit was left doing that only switching it off would end, and how to have it
/// switched off; returns the error for that (law 7).
pub(crate) fn busy(name: Label, what: &str, how_to_free: &str) -> Error {
    log_err!(
        "{}: the unit was left on by firmware or an earlier kernel and {}, so it is left alone; {}",
        name,
        what,
        how_to_free,
    );
    EBUSY
}

/// Logs, if `error` says so, that another driver has requested the unit's registers at `base`.
pub(crate) fn log_claim_error(name: Label, base: u64, error: Error, how_to_free: &str) {
    if error == EBUSY {
        log_err!(
            "{}: the registers at {:#x} belong to somebody else, see /proc/iomem; {}",
            name,
            base,
            how_to_free,
        );
    }
}
