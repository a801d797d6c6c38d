// SPDX-License-Identifier: GPL-2.0

//! What the DMAR table says of a unit, and how its hardware and interrupt are made of it.

#![forbid(unsafe_code)]

use kernel::{prelude::*, sync::Arc};

use super::{
    firmware::Firmware, hardware::Hardware, irq::FaultInterrupt, machine::Machine, quirks::Present,
};
use crate::{
    drivers::shell::unit::{ShellUnit, UnitDescription},
    fault::FaultSink,
    health::Health,
    label::Label,
    log::log_info,
};

/// A unit as the DMAR table describes it.
pub struct Description {
    pub(super) firmware: Arc<Firmware>,
    pub(super) base: u64,
    pub(super) segment: u16,
    /// Whether the unit is for all devices of its segment that no other unit lists.
    pub(super) include_all: bool,
    pub(super) memory_node: i32,
    pub(super) machine: Arc<Machine>,
    /// The devices behind the unit that were present when the driver looked for units.
    pub(super) present: Present,
}

/// A VT-d unit.
pub type VtdUnit = ShellUnit<Description>;

impl UnitDescription for Description {
    type Hardware = Hardware;
    type Interrupt = FaultInterrupt;

    fn hardware(&self, health: &Arc<Health>) -> Result<Arc<Hardware>> {
        let quirks = self.machine.quirks;
        Hardware::new(health, self.base, self.memory_node, quirks, self.present)
    }

    fn interrupt(
        &self,
        hardware: &Arc<Hardware>,
        faults: Arc<dyn FaultSink>,
    ) -> Result<FaultInterrupt> {
        FaultInterrupt::new(hardware, faults)
    }

    fn announce(&self, name: Label, hardware: &Hardware) {
        let capability = &hardware.capability;
        log_info!(
            "{}: VT-d unit at {:#x}, {}, {} levels, {} address bits, {} domain ids{}{}{}",
            name,
            self.base,
            hardware.mode(),
            hardware.space.width.levels(),
            hardware.space.bits,
            capability.usable_domains(),
            match capability.coherent && capability.walks_snoop() {
                true => "",
                false => ", walks do not snoop",
            },
            match capability.caching_mode {
                true => ", caching mode",
                false => "",
            },
            match capability.pasids() {
                Some(bits) => Label::new(format_args!(", PASIDs of {bits} bits")),
                None => Label::EMPTY,
            },
        );
    }
}
