// SPDX-License-Identifier: GPL-2.0

//! A unit that this driver has taken over: registers, tables, queue, event log, domain ids.
//!
//! # Off and on
//!
//! A unit that is off takes no commands and logs no events (3.4, Control). So between takeover and
//! [`enable`](Hardware::enable) batches are done at once, and everything is invalidated right after
//! the unit was switched on. What it may have cached before that somebody has used it for who
//! switched it off, as must all who let go of it.

#![forbid(unsafe_code)]

#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
pub(super) mod tests;

use kernel::{
    io::Io,
    new_mutex,
    prelude::*,
    processor::cpu_relax,
    sync::{
        atomic::{Atomic, Full},
        barrier::smp_mb,
        Arc, Mutex,
    },
    time::{Delta, Instant, Monotonic},
};

use super::{
    capability::{self, Capability, Encryption, Features, Refusal},
    commands::{Pages, Space},
    event_log::EventLog,
    function::{encryption, Function},
    ivrs::{Flags, Info, Ivhd},
    mmio::Registers,
    queue::{Batch, Failure, Queue},
    regs::{
        CONTROL_LOW, EXCLUSION_BASE_HIGH, EXCLUSION_BASE_LOW, EXCLUSION_LIMIT_HIGH,
        EXCLUSION_LIMIT_LOW, STATUS,
    },
    scope,
    tables::Tables,
};
use crate::{
    drivers::shell::tags::Tags,
    health::Health,
    label::Label,
    log::{log_err, log_info, log_warn},
    pgtable::encrypted,
    requester::RequesterId,
};

/// How long a unit may take to stop.
const TIMEOUT: Delta = Delta::from_secs(1);
/// Entries that are invalidated in one batch.
const ENTRIES_AT_ONCE: usize = 256;
/// How long a device may take to invalidate, in the control register's coding: one second.
const DEVICE_TIMEOUT: u32 = 4;
/// Domain ids of a unit; 0 is none's (2.2.2).
const DOMAINS: u32 = 1 << 16;

/// Which tables a unit's paging domains have.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Host tables, version 1.
    Host,
    /// Guest tables, version 2.
    Guest,
}

/// What addresses a unit's paging domains have.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct AddressSpace {
    pub(super) kind: Kind,
    /// Levels of tables that the unit walks at most, or walks always if they are a guest's.
    pub(super) levels: u8,
    /// Bits of an address that can be mapped.
    pub(super) bits: u8,
    /// Whether the tables can forbid instruction fetches. Host tables have no bit for that, and in
    /// a guest's it is reserved if the unit does not know it (NXSup).
    pub(super) no_execute: bool,
}

/// What is known of a unit before it is driven.
pub(super) struct Description {
    pub(super) capability: Capability,
    pub(super) features: Features,
    pub(super) space: AddressSpace,
    /// What firmware wants in the control register.
    pub(super) flags: Flags,
}

/// Decides which tables a unit with these features gets: host tables if it has them.
fn space(
    words: [u64; 2],
    no_host_tables: bool,
    virtual_bits: u8,
) -> Result<(Features, AddressSpace), Refusal> {
    match capability::judge(words, no_host_tables, virtual_bits) {
        Ok((features, space)) => {
            let space = AddressSpace {
                kind: Kind::Host,
                levels: space.levels,
                bits: space.bits,
                no_execute: false,
            };
            Ok((features, space))
        }
        Err(Refusal::NoHostTables) => {
            let features = Features::decode(words);
            if !(features.guest_translation && features.guest_io) {
                return Err(Refusal::NoHostTables);
            }
            // The lower half of what a processor has: the upper one begins with all ones.
            let (levels, bits) = match features.guest_levels {
                4 => (4, 47),
                _ => (5, 56),
            };
            let space = AddressSpace {
                kind: Kind::Guest,
                levels,
                bits,
                no_execute: features.no_execute,
            };
            Ok((features, space))
        }
        Err(refusal) => Err(refusal),
    }
}

/// A unit that this driver has taken over.
#[pin_data]
pub(super) struct Hardware {
    pub(super) health: Arc<Health>,
    pub(super) registers: Registers,
    /// The unit's PCI function; tests have none.
    pub(super) function: Option<Function>,
    pub(super) description: Description,
    /// The memory node that the unit is close to, negative for none.
    pub(super) node: i32,
    pub(super) tables: Tables,
    pub(super) events: EventLog,
    #[pin]
    queue: Queue,
    #[pin]
    pub(super) ids: Mutex<Tags<KVec<u64>>>,
    /// How often events were lost because the log was full.
    pub(super) overflows: Atomic<u64>,
    /// Events that are about no device.
    pub(super) own_events: Atomic<u64>,
}

impl Hardware {
    /// Looks at the unit that `ivhd` describes and allocates all it takes to drive it. Changes
    /// nothing.
    ///
    /// # Errors
    ///
    /// `EBUSY` if somebody else has it, `EOPNOTSUPP` if it lacks what is needed, `ENODEV` if its
    /// PCI function is not there (all logged), `ENOMEM`.
    pub(super) fn new(health: &Arc<Health>, ivhd: Ivhd<'_>, info: Info) -> Result<Arc<Self>> {
        let name = health.name();
        match encryption() {
            Encryption::None => {}
            Encryption::CBit(bit) => encrypted::set_mask(bit),
            Encryption::Erratum { microcode } => {
                return Err(refuse(name, Refusal::Encryption { microcode }));
            }
            Encryption::Guest => return Err(refuse(name, Refusal::EncryptedGuest)),
        }
        let id = RequesterId::new(u32::from(ivhd.device()));
        let function = Function::find(ivhd.segment(), id).inspect_err(|_| {
            log_err!(
                "{}: the unit's PCI function {:04x}:{} is not there",
                name,
                ivhd.segment(),
                id,
            );
        })?;
        let look = Registers::look(ivhd.base())?;
        let description = describe(name, &function, &look, ivhd, info)?;
        check_free(name, &look)?;
        if function.has_driver() {
            log_err!(
                "{}: the unit's PCI function {} has a driver already; unbind it",
                name,
                id
            );
            return Err(EBUSY);
        }
        drop(look);
        let registers = Registers::claim(ivhd.base()).inspect_err(|error| {
            if *error == EBUSY {
                log_err!(
                    "{}: the registers at {:#x} belong to somebody else, see /proc/iomem; {}",
                    name,
                    ivhd.base(),
                    HOW_TO_FREE,
                );
            }
        })?;
        let last = ivhd
            .entries()
            .map(|entry| entry.last_id())
            .max()
            .unwrap_or(0);
        let node = function.node();
        let tables = Tables::new(node, last, description.features.table_segments, |id| {
            scope::settings_of(ivhd, id)
        })?;

        Self::with(health, registers, Some(function), description, tables, node)
    }

    /// What it takes to drive the unit with `registers`. Changes nothing.
    fn with(
        health: &Arc<Health>,
        registers: Registers,
        function: Option<Function>,
        description: Description,
        tables: Tables,
        node: i32,
    ) -> Result<Arc<Self>> {
        let words = KVec::from_elem(0, Tags::<KVec<u64>>::words_for(DOMAINS), GFP_KERNEL)?;
        let ids = Tags::new(words, DOMAINS, 1).ok_or(EINVAL)?;
        let events = EventLog::new(node)?;
        let queue = Queue::new(node, description.features.invalidate_all)?;

        Arc::pin_init(
            pin_init!(Self {
                health: health.clone(),
                registers,
                function,
                description,
                node,
                tables,
                events,
                queue <- queue,
                ids <- new_mutex!(ids),
                overflows: Atomic::new(0),
                own_events: Atomic::new(0),
            }),
            GFP_KERNEL,
        )
    }

    /// Makes the unit ready: device table, command buffer and event log set, old events forgotten.
    ///
    /// # Errors
    ///
    /// `EBUSY` if somebody else has started it meanwhile (logged).
    pub(super) fn start(&self) -> Result {
        check_free(self.health.name(), &self.registers)?;
        if let Some(function) = &self.function {
            function.reserve(true)?;
        }
        self.set_up();
        Ok(())
    }

    /// Sets all registers of a unit that is off.
    fn set_up(&self) {
        let io = self.registers.io();
        let flags = self.description.flags;

        self.registers.control(|_| {
            CONTROL_LOW::zeroed()
                .with_tunnel(flags.ht_tunnel())
                .with_requests_pass(flags.pass_posted_writes())
                .with_responses_pass(flags.responses_pass_posted_writes())
                .with_isochronous(flags.isochronous())
                // Device table and buffers are not written back from the caches.
                .with_coherent(true)
                .with_const_device_timeout::<DEVICE_TIMEOUT>()
                .with_guest_translation(self.description.space.kind == Kind::Guest)
        });
        // What firmware wants untranslated is mapped, for those devices that it is meant for.
        io.write_reg(EXCLUSION_BASE_LOW::zeroed());
        io.write_reg(EXCLUSION_BASE_HIGH::zeroed());
        io.write_reg(EXCLUSION_LIMIT_LOW::zeroed());
        io.write_reg(EXCLUSION_LIMIT_HIGH::zeroed());
        // Interrupts from before the takeover. The event log's has to be gone before its base is
        // set.
        io.write_reg(
            STATUS::zeroed()
                .with_event_overflow(true)
                .with_event_interrupt(true)
                .with_wait_interrupt(true),
        );
        self.tables.hand_over(&self.registers);
        self.queue.hand_over(&self.registers);
        self.events.hand_over(&self.registers);
    }

    /// Starts translation.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` if the unit does not answer (logged).
    pub(super) fn enable(&self) -> Result {
        let name = self.health.name();
        self.queue.run(&self.registers);
        self.registers.control(|control| {
            control
                .with_enable(true)
                .with_event_log(true)
                .with_event_interrupt(true)
        });
        self.invalidate_everything().map_err(|failure| {
            log_err!("{}: the unit cannot be used: {}", name, failure);
            ETIMEDOUT
        })
    }

    /// Puts the unit into the state that it was found in. Entries are not touched before
    /// translation is off, so endpoints that go on untranslated do not notice. A unit that does not
    /// answer is left as it is, and what it may still read is never freed.
    pub(super) fn stop(&self) {
        let name = self.health.name();
        match self.switch_off() {
            Ok(()) => {
                self.queue.take_back();
                self.events.take_back();
                self.tables.take_back();
                self.tables.block_all();
                log_info!("{}: the unit is free again", name);
            }
            Err(_) => log_err!(
                "{}: the unit does not stop; its devices stay as they are until the machine is \
                 reset",
                name,
            ),
        }
        if let Some(function) = &self.function {
            if function.reserve(false).is_err() {
                log_warn!(
                    "{}: the unit's PCI function keeps its driver_override",
                    name
                );
            }
        }
    }

    /// Switches the unit off until [`resume`](Self::resume), or for the next kernel.
    ///
    /// Context: any; does not sleep. Takes the queue's lock, not the interrupt's.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` if the unit does not answer (logged); it is as it was then, or takes no
    /// commands.
    pub(super) fn suspend(&self) -> Result {
        let name = self.health.name();
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
    /// `ETIMEDOUT` if the unit does not answer (logged).
    pub(super) fn resume(&self) -> Result {
        // The kernel that wakes another one up from disk may have used the unit.
        let stopped = self.switch_off();
        self.set_up();
        if let Some(function) = &self.function {
            // The kernel does so as well, but an event before that would never be heard of.
            function.restore_interrupt();
        }
        let result = stopped.and(self.enable());
        if result.is_err() {
            // That it cannot is known, and why was said.
            let _ = self.queue.give_up(Failure::Earlier);
            self.tables.block_all();
            // It should refuse DMA rather than let it pass.
            self.registers.control(|control| control.with_enable(true));
        }
        result
    }

    /// Ends translation. What was put into the queue is done before, if the unit takes it, and
    /// batches are done at once from then on.
    fn switch_off(&self) -> Result {
        // What does not come to an end now ends with translation.
        let _ = self.queue.sleep(&self.registers);
        self.registers.control(|control| {
            control
                .with_event_interrupt(false)
                .with_event_log(false)
                .with_commands(false)
                .with_enable(false)
        });
        let io = self.registers.io();
        let is_off = || {
            let status = io.read(STATUS);
            !io.read(CONTROL_LOW).enable() && !status.commands() && !status.event_log()
        };
        match wait(is_off) {
            true => Ok(()),
            false => Err(ETIMEDOUT),
        }
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
        self.tables.block_all();
        // It may be because of the queue that everything is blocked.
        let _ = self.invalidate_everything();
    }

    /// Invalidates everything, and before that every entry by its name: emulated units look at an
    /// entry when they are told that it has changed, and translate nothing for those that they were
    /// never told of. What was translated with an entry goes after the entry.
    fn invalidate_everything(&self) -> Result<(), Failure> {
        self.invalidate_entries()?;
        if self.description.features.invalidate_all {
            let mut batch = self.batch();
            batch.all();
            return batch.run();
        }
        for first in (0..DOMAINS).step_by(ENTRIES_AT_ONCE) {
            let mut batch = self.batch();
            for domain in first..first + ENTRIES_AT_ONCE as u32 {
                batch.pages(domain as u16, self.space(), Pages::All, false);
            }
            batch.run()?;
        }
        Ok(())
    }

    /// Invalidates every entry of the device table by its name.
    pub(super) fn invalidate_entries(&self) -> Result<(), Failure> {
        for first in (0..self.tables.count()).step_by(ENTRIES_AT_ONCE) {
            let mut batch = self.batch();
            for id in first..(first + ENTRIES_AT_ONCE).min(self.tables.count()) {
                batch.entry(RequesterId::new(id as u32));
            }
            batch.run()?;
        }
        Ok(())
    }

    /// In whose addresses translations are cached.
    pub(super) fn space(&self) -> Space {
        match self.description.space.kind {
            Kind::Host => Space::Host,
            Kind::Guest => Space::Guest { pasid: 0 },
        }
    }

    /// A batch of commands. The queue is locked, and interrupts are off, until it is run.
    #[inline]
    pub(super) fn batch(&self) -> Batch<'_> {
        self.queue.batch(&self.registers)
    }

    /// Looks at the queue.
    pub(super) fn queue(&self) -> &Queue {
        &self.queue
    }
}

/// Waits for `done`, not longer than [`TIMEOUT`]; returns what it said last.
fn wait(done: impl Fn() -> bool) -> bool {
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

/// Says why a unit cannot be driven; the error for that.
fn refuse(name: Label, refusal: Refusal) -> Error {
    log_err!("{}: the unit cannot be driven: {}", name, refusal);
    EOPNOTSUPP
}

/// Finds out what a unit can do.
fn describe(
    name: Label,
    function: &Function,
    registers: &Registers,
    ivhd: Ivhd<'_>,
    info: Info,
) -> Result<Description> {
    /// Offset of the miscellaneous information in the capability block (3.2).
    const MISC: u16 = 0x10;

    let refuse = |refusal| refuse(name, refusal);
    let at = ivhd.capability();
    let capability = Capability::decode(
        function.read_config(at)?,
        function.read_config(at.saturating_add(MISC))?,
    )
    .map_err(refuse)?;
    let words = match capability.feature_registers {
        true => registers.features(),
        false => [0; 2],
    };
    let words = ivhd.features(info, words);
    let virtual_bits = match info.virtual_bits() {
        0 => capability.virtual_bits,
        bits => bits,
    };
    let (features, space) =
        space(words, ivhd.host_translation_disabled(), virtual_bits).map_err(refuse)?;
    Ok(Description {
        capability,
        features,
        space,
        flags: ivhd.flags(),
    })
}

const HOW_TO_FREE: &str = "boot with amd_iommu=off, so that the kernel's own driver leaves it \
                           alone; if that is so already, firmware has left it on: switch its DMA \
                           protection off in the set-up";

/// Whether the unit can be had: firmware or another driver that uses it keeps it (law 7).
fn check_free(name: Label, registers: &Registers) -> Result {
    let control = registers.io().read(CONTROL_LOW);
    let what = if control.enable() {
        "translates already"
    } else if control.commands() {
        "has its command buffer in use already"
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
