// SPDX-License-Identifier: GPL-2.0

//! A unit that this driver has taken over: registers, tables, queue, event log, domain ids.
//!
//! # Off and on
//!
//! A unit that is off takes no commands and logs no events (3.4, Control). So between takeover and
//! [`enable`](UnitHardware::enable) batches are done at once, and `enable` invalidates everything
//! right after it has switched the unit on. An earlier user of the unit has to invalidate what the
//! unit cached for it before it switches the unit off.
//!
//! # Units that were left on
//!
//! A unit that was left on stays on: off, it would let all DMA pass. First its command buffer and
//! its logs end, which may lie in memory of another kernel. Then it gets the new device table, in
//! one write of 64 bits for each segment: the unit reads the register for each entry that it has
//! not cached. With the next number of segments each id has an entry that blocks, or none, which
//! blocks as well. Then it gets the new command buffer, and everything is invalidated.

#![forbid(unsafe_code)]

#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
pub(super) mod tests;

use kernel::{
    io::Io,
    prelude::*,
    sync::{atomic::Atomic, Arc},
    time::Delta,
};

use super::{
    capability::{table_config, Capability, Encryption, Features, Refusal, TableConfig, TableKind},
    commands::{Command, Pages, Space},
    event_log::EventLog,
    function::{encryption, Function},
    irte::Format,
    ivrs::{Flags, Info, Ivhd},
    mmio::Registers,
    queue::{Batch, Failure, Queue},
    quirks::Saved,
    regs::{
        CONTROL_HIGH, CONTROL_LOW, EXCLUSION_BASE_HIGH, EXCLUSION_BASE_LOW, EXCLUSION_LIMIT_HIGH,
        EXCLUSION_LIMIT_LOW, STATUS,
    },
    remapping::Remapping,
    scope,
    tables::DeviceTable,
};
use crate::{
    drivers::shell::{
        domain_ids::DomainIds,
        unit::{log_claim_error, unfit, Found, UnitHardware},
        unit_memory::Off,
        wait::wait_until,
    },
    ffi::{
        compat::{new_spinlock_irq, SpinLockIrq},
        irq_domain::is_x2apic,
    },
    health::Health,
    label::Label,
    log::{log_err, log_info, log_warn},
    pgtable::encrypted,
    requester::RequesterId,
};

/// How long a unit may take to stop.
const TIMEOUT: Delta = Delta::from_secs(1);
/// How many commands of a long sequence are in one batch.
const COMMANDS_AT_ONCE: usize = 256;
/// How long a device may take to invalidate, in the control register's coding: one second.
const DEVICE_TIMEOUT: u32 = 4;
/// Domain ids of a unit. Id 0 is reserved (2.2.2).
const DOMAINS: u32 = 1 << 16;

/// What is known of a unit before it is driven.
pub(super) struct Properties {
    pub(super) capability: Capability,
    pub(super) features: Features,
    pub(super) tables: TableConfig,
    /// How the unit remaps interrupts, or why it does not.
    pub(super) remapping: Result<Remapping, &'static str>,
    /// What firmware wants in the control register.
    pub(super) flags: Flags,
}

/// What firmware does not restore after a sleep, on some chipsets.
pub(super) struct Lost {
    saved: Saved,
    /// The northbridge.
    root: Function,
}

impl Lost {
    /// Saves it, if `function` is a unit that loses it.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the northbridge is not there; `ENOMEM`.
    fn of(function: &Function, ivhd: Ivhd<'_>) -> Result<Option<KBox<Self>>> {
        if !function.machine().loses_registers() {
            return Ok(None);
        }
        let mut lost = KBox::new(
            Self {
                saved: Saved::new(ivhd.capability()),
                root: function.root(ivhd.segment())?,
            },
            GFP_KERNEL,
        )?;
        lost.saved.save(function);
        Ok(Some(lost))
    }
}

/// A unit that this driver has taken over.
#[pin_data]
pub struct Hardware {
    pub(super) health: Arc<Health>,
    pub(super) registers: Registers,
    /// The unit's PCI function; `None` in tests.
    pub(super) function: Option<Function>,
    pub(super) properties: Properties,
    lost: Option<KBox<Lost>>,
    /// The memory node that the unit is close to, negative for none.
    pub(super) node: i32,
    pub(super) tables: DeviceTable,
    pub(super) events: EventLog,
    #[pin]
    queue: Queue,
    #[pin]
    pub(super) ids: DomainIds,
    #[pin]
    in_use: SpinLockIrq<bool>,
    /// How often events were lost because the log was full.
    pub(super) overflows: Atomic<u64>,
    /// Events that are about no device.
    pub(super) own_events: Atomic<u64>,
}

impl Hardware {
    /// Looks at the unit that `ivhd` describes and allocates all that is needed to drive it.
    /// Changes nothing.
    ///
    /// # Errors
    ///
    /// `EBUSY` if somebody else uses it, `EOPNOTSUPP` if it lacks what is needed, `ENODEV` if its
    /// PCI function is not there (all logged); `ENOMEM`.
    ///
    /// `names_io_apic` is whether the IVRS table says which requester ids the I/O APICs have.
    pub(super) fn new(
        health: &Arc<Health>,
        ivhd: Ivhd<'_>,
        info: Info,
        names_io_apic: bool,
    ) -> Result<Arc<Self>> {
        let name = health.name();
        match encryption() {
            Encryption::None => {}
            Encryption::CBit(bit) => encrypted::set_mask(bit),
            Encryption::Erratum { microcode } => {
                return Err(unfit(name, Refusal::Encryption { microcode }));
            }
            Encryption::Guest => return Err(unfit(name, Refusal::EncryptedGuest)),
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
        let properties = properties(name, &function, &look, ivhd, info, names_io_apic)?;
        if function.has_driver() {
            log_err!(
                "{}: the unit's PCI function {} has a driver already; unbind it",
                name,
                id
            );
            return Err(EBUSY);
        }
        drop(look);
        let registers = Registers::claim(ivhd.base())
            .inspect_err(|error| log_claim_error(name, ivhd.base(), *error, HOW_TO_FREE))?;
        let last = ivhd
            .entries()
            .map(|entry| entry.last_id())
            .max()
            .unwrap_or(0);
        let node = function.node();
        let tables = DeviceTable::new(node, last, properties.features.table_segments, |id| {
            scope::settings_of(ivhd, id)
        })?;

        let lost = Lost::of(&function, ivhd).unwrap_or_else(|error| {
            log_warn!(
                "{}: the unit cannot be used after a sleep: its registers are not saved: error {}",
                name,
                error.to_errno(),
            );
            None
        });

        Self::with(
            health,
            registers,
            Some((function, lost)),
            properties,
            tables,
            node,
        )
    }

    /// Allocates what is needed to drive the unit with `registers`. Changes nothing.
    fn with(
        health: &Arc<Health>,
        registers: Registers,
        function: Option<(Function, Option<KBox<Lost>>)>,
        properties: Properties,
        tables: DeviceTable,
        node: i32,
    ) -> Result<Arc<Self>> {
        let (function, lost) = function.unzip();
        let lost = lost.flatten();
        let ids = DomainIds::new(DOMAINS, 1)?;
        let events = EventLog::new(node)?;
        let queue = Queue::new(node, properties.features.invalidate_all)?;

        Arc::pin_init(
            pin_init!(Self {
                health: health.clone(),
                registers,
                function,
                properties,
                lost,
                node,
                tables,
                events,
                queue <- queue,
                ids <- ids,
                in_use <- new_spinlock_irq!(false),
                overflows: Atomic::new(0),
                own_events: Atomic::new(0),
            }),
            GFP_KERNEL,
        )
    }

    /// Ends the command buffer, the logs and the interrupts of whoever had the unit before.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` if the unit does not answer.
    fn end_earlier_queues(&self) -> Result {
        self.registers.control(|control| {
            control
                .with_commands(false)
                .with_wait_interrupt(false)
                .with_event_log(false)
                .with_event_interrupt(false)
                .with_page_requests(false)
                .with_page_request_log(false)
                .with_page_request_interrupt(false)
                .with_guest_log(false)
                .with_guest_interrupt(false)
        });
        wait_until(TIMEOUT, || {
            let status: STATUS = self.registers.read();
            !status.commands()
                && !status.event_log()
                && !status.page_request_log()
                && !status.guest_log()
        })
    }

    /// Sets what firmware should have set in the unit's function.
    fn set_missing_bits(&self) {
        let Some(function) = &self.function else {
            return;
        };
        for missing in function.machine().missing_bits() {
            if missing.set(function) {
                log_info!(
                    "{}: firmware has not worked around {}; done",
                    self.health.name(),
                    missing.name,
                );
            }
        }
    }

    /// The invalidations of every entry of the device table, by its id.
    fn of_entries(&self) -> impl Iterator<Item = Command> {
        (0..self.tables.count()).map(|id| Command::device_entry(id as u16))
    }

    /// The invalidations of all that the unit has cached: every entry by its id, then everything.
    /// Emulated units read an entry only when they are told that it has changed, and translate
    /// nothing for an id that they were never told of. Translations go after the entries that they
    /// were made with.
    fn of_everything(&self) -> impl Iterator<Item = Command> {
        let (all, domains) = match self.properties.features.invalidate_all {
            true => (Some(Command::all()), 0..0),
            false => (None, 0..DOMAINS),
        };
        let space = self.space();
        let pages =
            domains.map(move |domain| Command::pages(domain as u16, space, Pages::All, false));
        let entries = Iterator::chain(self.of_entries(), [Command::fence()]);
        Iterator::chain(entries, Iterator::chain(all.into_iter(), pages))
    }

    /// Runs many commands.
    fn run_all(&self, commands: impl Iterator<Item = Command>) -> Result<(), Failure> {
        let mut commands = commands.peekable();
        while commands.peek().is_some() {
            let mut batch = self.batch();
            for command in commands.by_ref().take(COMMANDS_AT_ONCE) {
                batch.push(command);
            }
            batch.run()?;
        }
        Ok(())
    }

    /// Invalidates every entry of the device table.
    pub(super) fn invalidate_entries(&self) -> Result<(), Failure> {
        self.run_all(self.of_entries())
    }

    /// The address space in which the unit caches translations.
    pub(super) fn space(&self) -> Space {
        match self.properties.tables.kind {
            TableKind::Host => Space::Host,
            TableKind::Guest => Space::Guest { pasid: 0 },
        }
    }

    /// A batch of commands. The queue is locked, and interrupts are off, until the batch is run.
    #[inline]
    pub(super) fn batch(&self) -> Batch<'_> {
        self.queue.batch(&self.registers)
    }

    /// Executes `commands`, of which there are a few. When this returns `Ok`, they are done.
    ///
    /// # Errors
    ///
    /// Why the unit did not execute them.
    #[inline]
    pub(super) fn execute(&self, commands: &[Command]) -> Result<(), Failure> {
        self.queue.execute(&self.registers, commands)
    }

    /// The queue, to look at.
    pub(super) fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Invalidates all that the unit has cached.
    fn invalidate_everything(&self) -> Result<(), Failure> {
        self.run_all(self.of_everything())
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
        if let Some(function) = &self.function {
            function.reserve(true)?;
        }
        let control = self.registers.io().read(CONTROL_LOW);
        Ok(if control.enable() {
            Found::Translating
        } else if control.commands() || control.event_log() {
            Found::Queues
        } else {
            Found::Off(Off::observed())
        })
    }

    fn relinquish(&self) {
        if let Some(function) = &self.function {
            if function.reserve(false).is_err() {
                log_warn!(
                    "{}: the unit's PCI function keeps its driver_override",
                    self.health.name(),
                );
            }
        }
    }

    fn set_up(&self, found: Found) -> Result {
        let name = self.health.name();
        let io = self.registers.io();
        let flags = self.properties.flags;
        let translates = matches!(found, Found::Translating);
        let remapping = self.properties.remapping.ok();
        let format = remapping.map(|remapping| remapping.format());
        let many = remapping.is_some_and(|remapping| remapping.many());
        self.set_missing_bits();

        if !matches!(found, Found::Off(_)) {
            self.end_earlier_queues().inspect_err(|_| {
                log_err!("{}: the queues that were left on do not stop", name);
            })?;
        }
        // Before the control register: entries of before may need what it had there.
        self.tables.hand_over(&self.registers);
        self.registers.reset_control(
            CONTROL_LOW::zeroed()
                .with_enable(translates)
                .with_long_interrupt_entries(matches!(format, Some(Format::Long { .. })))
                .with_tunnel(flags.ht_tunnel())
                .with_requests_pass(flags.pass_posted_writes())
                .with_responses_pass(flags.responses_pass_posted_writes())
                .with_isochronous(flags.isochronous())
                // This driver does not flush the caches after it has written table or buffers.
                .with_coherent(true)
                .with_const_device_timeout::<DEVICE_TIMEOUT>()
                .with_guest_translation(self.properties.tables.kind == TableKind::Guest),
            CONTROL_HIGH::zeroed()
                .with_x2apic(matches!(format, Some(Format::Long { x2apic: true })))
                .with_many_interrupts(many),
        );
        // No exclusion range: regions that firmware wants untranslated are mapped, in the domains
        // of the devices that they are for.
        io.write_reg(EXCLUSION_BASE_LOW::zeroed());
        io.write_reg(EXCLUSION_BASE_HIGH::zeroed());
        io.write_reg(EXCLUSION_LIMIT_LOW::zeroed());
        io.write_reg(EXCLUSION_LIMIT_HIGH::zeroed());
        // Interrupts from before the takeover. The event log's interrupt has to be cleared before
        // the log's base is set.
        io.write_reg(
            STATUS::zeroed()
                .with_event_overflow(true)
                .with_event_interrupt(true)
                .with_wait_interrupt(true),
        );
        self.queue.hand_over(&self.registers);
        self.events.hand_over(&self.registers);
        if translates {
            self.queue.run(&self.registers);
            self.invalidate_everything().map_err(|failure| {
                log_err!("{}: the unit cannot be used: {}", name, failure);
                ETIMEDOUT
            })?;
        }
        Ok(())
    }

    fn enable(&self) -> Result {
        self.queue.run(&self.registers);
        self.registers.control(|control| {
            control
                .with_enable(true)
                .with_event_log(true)
                .with_event_interrupt(true)
        });
        self.invalidate_everything().map_err(|failure| {
            log_err!(
                "{}: the unit cannot be used: {}",
                self.health.name(),
                failure,
            );
            ETIMEDOUT
        })
    }

    fn switch_off(&self) -> Result<Off> {
        // Commands that the unit does not finish now end with translation.
        let _ = self.queue.sleep(&self.registers);
        self.registers.control(|control| {
            control
                .with_event_interrupt(false)
                .with_event_log(false)
                .with_commands(false)
                .with_enable(false)
        });
        let io = self.registers.io();
        wait_until(TIMEOUT, || {
            let status: STATUS = self.registers.read();
            !io.read(CONTROL_LOW).enable() && !status.commands() && !status.event_log()
        })
        // It may still use what it has cached, and was told to take no commands.
        .inspect_err(|_| self.give_up())?;
        Ok(Off::observed())
    }

    fn wake(&self) -> Result {
        // Before the first look at the unit's registers, which may not be there.
        if let (Some(lost), Some(function)) = (&self.lost, &self.function) {
            lost.saved.restore(function, &lost.root);
        }
        self.set_up_anew()
    }

    fn take_back(&self, off: &Off) {
        self.queue.take_back(off);
        self.events.take_back(off);
        self.tables.take_back(off);
    }

    /// The kernel restores the function's interrupt as well, but later: an event before that would
    /// raise none.
    fn restore_interrupts(&self) -> Result {
        if let Some(function) = &self.function {
            function.restore_interrupt();
        }
        Ok(())
    }

    /// A unit has no way to invalidate anything but its command buffer. So the buffer starts anew,
    /// with the invalidations only.
    fn refuse_all(&self) -> Result {
        // The unit may have lost the table's address, or have another kernel's.
        self.tables.hand_over(&self.registers);
        self.registers.control(|control| control.with_enable(true));
        self.queue.restart(&self.registers, self.of_everything())
    }

    fn give_up(&self) {
        let _ = self.queue.give_up(Failure::Earlier);
    }

    fn block_entries(&self) {
        self.tables.block_all();
    }
}

/// Finds out what a unit can do.
fn properties(
    name: Label,
    function: &Function,
    registers: &Registers,
    ivhd: Ivhd<'_>,
    info: Info,
    names_io_apic: bool,
) -> Result<Properties> {
    /// Offset of the miscellaneous information in the capability block (3.2).
    const MISC: u16 = 0x10;

    let at = ivhd.capability();
    let capability = Capability::decode(
        function.read_config(at)?,
        function.read_config(at.saturating_add(MISC))?,
    )
    .map_err(|refusal| unfit(name, refusal))?;
    let words = match capability.feature_registers {
        true => registers.features(),
        false => [0; 2],
    };
    let words = ivhd.features(info, words);
    let virtual_bits = match info.virtual_bits() {
        0 => capability.virtual_bits,
        bits => bits,
    };
    let (features, tables) = table_config(words, ivhd.host_translation_disabled(), virtual_bits)
        .map_err(|refusal| unfit(name, refusal))?;
    let remapping = match names_io_apic {
        true => Ok(Remapping::new(
            features.guest_apic,
            features.x2apic,
            features.many_interrupts,
            is_x2apic(),
        )),
        false => Err("the IVRS table names no I/O APIC: firmware has interrupt remapping off"),
    };
    Ok(Properties {
        capability,
        features,
        tables,
        remapping,
        flags: ivhd.flags(),
    })
}

const HOW_TO_FREE: &str =
    "boot with amd_iommu=off, so that the kernel's own driver leaves it alone";
