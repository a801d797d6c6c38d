// SPDX-License-Identifier: GPL-2.0

//! What the IVRS table says of a unit, and how its hardware and interrupt are made of it.

#![forbid(unsafe_code)]

use kernel::{prelude::*, sync::Arc};

use super::{
    capability::TableKind, firmware::Firmware, hardware::Hardware, irq::EventInterrupt, ivrs::Ivhd,
    scope,
};
use crate::{
    drivers::shell::unit::{ShellUnit, UnitDescription},
    fault::FaultSink,
    health::Health,
    label::Label,
    log::log_info,
    requester::RequesterId,
};

/// A unit as the IVRS table describes it.
pub struct Description {
    pub(super) firmware: Arc<Firmware>,
    pub(super) base: u64,
    pub(super) segment: u16,
    /// The unit's own PCI function.
    pub(super) function: RequesterId,
}

/// An AMD-Vi unit.
pub type AmdViUnit = ShellUnit<Description>;

impl Description {
    /// The unit's block in the IVRS table.
    pub(super) fn ivhd(&self) -> Result<Ivhd<'_>> {
        let mut units = self.firmware.table().units();
        units.find(|unit| unit.base() == self.base).ok_or(EINVAL)
    }
}

impl UnitDescription for Description {
    type Hardware = Hardware;
    type Interrupt = EventInterrupt;

    fn hardware(&self, health: &Arc<Health>) -> Result<Arc<Hardware>> {
        let table = self.firmware.table();
        Hardware::new(
            health,
            self.ivhd()?,
            table.info(),
            scope::names_io_apic(table),
        )
    }

    fn interrupt(
        &self,
        hardware: &Arc<Hardware>,
        faults: Arc<dyn FaultSink>,
    ) -> Result<EventInterrupt> {
        EventInterrupt::new(hardware, faults)
    }

    fn announce(&self, name: Label, hardware: &Hardware) {
        let properties = &hardware.properties;
        let tables = properties.tables;
        log_info!(
            "{}: AMD-Vi unit at {:#x}, {} tables, up to {} levels, {} address bits, {} domain ids{}{}",
            name,
            self.base,
            match tables.kind {
                TableKind::Host => "v1",
                TableKind::Guest => "v2",
            },
            tables.levels,
            tables.bits,
            hardware.ids.capacity(),
            match properties.capability.caches_not_present {
                true => ", caches absent entries",
                false => "",
            },
            match properties.remapping {
                Ok(_) => ", remaps interrupts",
                Err(_) => "",
            },
        );
    }
}
