// SPDX-License-Identifier: GPL-2.0

//! One SMMU: what firmware says of it, and what it became when it was taken over.

#![forbid(unsafe_code)]

use kernel::{
    new_mutex,
    prelude::*,
    sync::{Arc, Mutex, SetOnce},
};

use super::super::records::capability::Stage;
use super::{firmware::Description, hardware::Hardware, irq::Interrupts};
use crate::{
    fault::FaultSink,
    health::Health,
    label::Label,
    log::{log_err, log_info, log_warn},
};

/// A unit as firmware describes it, and what it became when it was taken over.
pub struct SmmuUnit {
    pub description: Description,
    pub health: Arc<Health>,
    /// Stays after a release, for the next takeover, until the unit is dropped.
    hardware: SetOnce<Arc<Hardware>>,
    /// Ends before the hardware is stopped.
    interrupts: Pin<KBox<Mutex<Option<Interrupts>>>>,
}

impl SmmuUnit {
    /// A unit called `name`, which nobody has taken over yet.
    pub fn new(name: Label, description: Description) -> Result<Self> {
        let health = Arc::new(Health::new(name), GFP_KERNEL)?;
        Self::with(description, health)
    }

    fn with(description: Description, health: Arc<Health>) -> Result<Self> {
        Ok(Self {
            description,
            health,
            hardware: SetOnce::new(),
            interrupts: KBox::pin_init(new_mutex!(None), GFP_KERNEL)?,
        })
    }

    /// A unit that was taken over already, for suites.
    #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
    pub fn taken(description: Description, hardware: Arc<Hardware>) -> Result<Self> {
        let unit = Self::with(description, hardware.health.clone())?;
        unit.hardware.populate(hardware);
        Ok(unit)
    }

    /// The hardware, once it was taken over.
    #[inline]
    pub fn hardware(&self) -> Result<&Arc<Hardware>> {
        self.hardware.as_ref().ok_or(ENODEV)
    }

    /// Makes the unit ready: all streams blocked, nothing cached, queues running. Faults go to
    /// `faults`.
    ///
    /// # Errors
    ///
    /// Those of [`Hardware::new`], [`Hardware::start`] and [`Interrupts::new`]; all logged.
    pub fn take_over(&self, faults: Arc<dyn FaultSink>) -> Result {
        let name = self.health.name();
        let hardware = match self.hardware.as_ref() {
            Some(hardware) => hardware.clone(),
            None => {
                let hardware = Hardware::new(&self.health, &self.description)?;
                self.hardware.populate(hardware.clone());
                hardware
            }
        };

        hardware.start().inspect_err(|error| {
            // A unit that is somebody else's is left as it was.
            if *error != EBUSY {
                hardware.stop();
            }
        })?;
        let interrupts =
            Interrupts::new(&self.description, &hardware, faults).and_then(|interrupts| {
                *self.interrupts.lock() = Some(interrupts);
                hardware.enable_interrupts()
            });
        if let Err(error) = interrupts {
            log_err!(
                "{}: no interrupts for events and errors ({}), so the unit is not used",
                name,
                error.to_errno(),
            );
            self.release();
            return Err(error);
        }
        self.say_what_it_is(&hardware);
        Ok(())
    }

    fn say_what_it_is(&self, hardware: &Hardware) {
        let name = self.health.name();
        let capability = &hardware.capability;
        if capability.coherent_overridden {
            log_warn!(
                "{}: firmware says that walks {}, the unit says otherwise; firmware counts",
                name,
                if capability.coherent {
                    "snoop"
                } else {
                    "do not snoop"
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
            self.description.base,
            stage,
            input_bits,
            1u32 << capability.asid_bits,
            1u32 << capability.vmid_bits,
            if capability.coherent {
                ""
            } else {
                ", walks do not snoop"
            },
            if capability.range_invalidation {
                ", range invalidation"
            } else {
                ""
            },
        );
    }

    /// Gives the unit back: the interrupts end, then the hardware is stopped.
    pub fn release(&self) {
        // The interrupts' threads end when this is dropped.
        let interrupts = self.interrupts.lock().take();
        drop(interrupts);
        if let Ok(hardware) = self.hardware() {
            hardware.stop();
        }
    }
}
