// SPDX-License-Identifier: GPL-2.0

//! One SMMU: how its hardware and interrupts are made from what firmware says.

#![forbid(unsafe_code)]

use kernel::{prelude::*, sync::Arc};

use super::super::records::capability::Stage;
use super::{firmware::Description, hardware::Hardware, irq::Interrupts};
use crate::{
    drivers::shell::unit::{ShellUnit, UnitDescription},
    fault::FaultSink,
    health::Health,
    label::Label,
    log::{log_info, log_warn},
};

/// An SMMU.
pub type SmmuUnit = ShellUnit<Description>;

impl UnitDescription for Description {
    type Hardware = Hardware;
    type Interrupt = Interrupts;

    fn hardware(&self, health: &Arc<Health>) -> Result<Arc<Hardware>> {
        Hardware::new(health, self)
    }

    fn interrupt(
        &self,
        hardware: &Arc<Hardware>,
        faults: Arc<dyn FaultSink>,
    ) -> Result<Interrupts> {
        let interrupts = Interrupts::new(self, hardware, faults)?;
        hardware.enable_interrupts()?;
        Ok(interrupts)
    }

    fn announce(&self, name: Label, hardware: &Hardware) {
        let capability = &hardware.capability;
        if capability.coherent_overridden {
            log_warn!(
                "{}: firmware says that walks {}, the unit says otherwise; firmware counts",
                name,
                match capability.coherent {
                    true => "snoop",
                    false => "do not snoop",
                },
            );
        }
        let (stage, input_bits) = match hardware.stage {
            Stage::One => (1, capability.stage1_input_bits(hardware.granule)),
            Stage::Two => (2, capability.stage2_input_bits(hardware.granule)),
        };
        log_info!(
            "{}: SMMUv3 at {:#x}, stage {}, {} address bits, {} ASIDs, {} VMIDs{}{}",
            name,
            self.base,
            stage,
            input_bits,
            1u32 << capability.asid_bits,
            1u32 << capability.vmid_bits,
            match capability.coherent {
                true => "",
                false => ", walks do not snoop",
            },
            match capability.range_invalidation {
                true => ", range invalidation",
                false => "",
            },
        );
    }
}
