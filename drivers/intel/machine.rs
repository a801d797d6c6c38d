// SPDX-License-Identifier: GPL-2.0

//! This machine's PCI functions, and what they say about its units; see `quirks`.

#![forbid(unsafe_code)]

use kernel::{prelude::*, sync::Arc};

use super::{
    dmar::{Drhd, Table},
    quirks::{self, Function, IsochronousUnit, LeftAlone, Present, Quirks},
    scope::{self, Device, Location},
};
use crate::{
    device::Place,
    ffi::{
        firmware,
        pci::{for_each_function, Pci},
    },
    log::{log_info, log_warn},
    requester::RequesterId,
};

/// This machine, as it was when the driver looked for units.
pub struct Machine {
    pub(super) quirks: Quirks,
    /// The present devices of each unit of the table, in its order.
    present: KVec<Present>,
    /// Segment and id of the functions whose unit firmware names wrongly.
    misplaced: KVec<(u16, RequesterId)>,
}

impl Machine {
    /// Looks at all PCI functions.
    pub(super) fn look(table: Table<'_>) -> Result<Arc<Self>> {
        let mut machine = Self {
            quirks: Quirks::default(),
            present: KVec::new(),
            misplaced: KVec::new(),
        };
        for unit in table.units() {
            let present = Present {
                // Devices that only ACPI names may appear later, and so may those that nobody
                // lists.
                others: !scope::lists_functions_only(table, unit),
                ..Present::default()
            };
            machine.present.push(present, GFP_KERNEL)?;
        }
        for_each_function(|function| machine.see(table, function))?;
        match machine.quirks.isochronous_unit() {
            IsochronousUnit::Fine => {}
            IsochronousUnit::NoEntries => log_warn!(
                "intel: firmware has put the sound device (8086:3a3e) behind a unit without room for \
                 translations; its DMA passes untranslated"
            ),
            IsochronousUnit::Few { entries } => log_warn!(
                "intel: firmware has given the unit of the sound device room for {} translations; 16 \
                 are recommended",
                entries,
            ),
        }
        Ok(Arc::new(machine, GFP_KERNEL)?)
    }

    fn see(&mut self, table: Table<'_>, pci: Pci<'_>) -> Result {
        let Place::Pci {
            segment,
            id,
            upstream,
            vendor,
            device,
            class,
            trusted,
            ..
        } = firmware::describe(pci)?.place
        else {
            return Ok(());
        };
        let function = Function {
            vendor,
            device,
            class,
            on_root_bus: upstream.is_empty(),
            trusted,
        };
        if let Some(note) = self.quirks.see(function, |at| pci.read_config(at)) {
            log_info!("{}: {}", pci.device().name(), note);
        }
        let device = Device::Function(Location {
            segment,
            function: id,
            upstream: &upstream,
        });
        for (unit, present) in table.units().zip(self.present.iter_mut()) {
            if scope::is_listed(table, unit, device) {
                present.add(function);
            }
        }
        if quirks::is_dma_engine(function) {
            let unit = scope::unit_for(table, device).map(Drhd::base);
            // Without an answer nothing is known to be wrong.
            let vt_base = pci.read_config_of_first_on_bus(quirks::VT_BASE);
            if vt_base.is_some_and(|vt_base| unit != Some(quirks::dma_engine_unit(vt_base))) {
                log_warn!(
                    "{}: firmware puts the DMA engine behind a unit that is not its own, so its DMA \
                     is left alone",
                    pci.device().name(),
                );
                self.misplaced.push((segment, id), GFP_KERNEL)?;
            }
        }
        Ok(())
    }

    /// The present devices of the unit at place `number` in the table.
    pub(super) fn present(&self, number: usize) -> Present {
        self.present.get(number).copied().unwrap_or_default()
    }

    /// Whether and why the unit at place `number` in the table has to be left alone.
    pub(super) fn leaves_alone(&self, number: usize) -> Option<LeftAlone> {
        self.quirks.leaves_alone(self.present(number))
    }

    /// Whether firmware names the wrong unit for a function.
    pub(super) fn is_misplaced(&self, segment: u16, id: RequesterId) -> bool {
        self.misplaced.contains(&(segment, id))
    }
}
