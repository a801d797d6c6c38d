// SPDX-License-Identifier: GPL-2.0

//! A driver that cannot prepare an attach: it attaches at once, device by device, and may fail.
//!
//! It represents C drivers with a single attach function. A plan for [`When::Now`] is an attach
//! that was already made, and dropping the plan undoes it. A plan for [`When::Later`] is an attach
//! that commit makes. The mock records, in order, everything that hardware sees.

#![forbid(unsafe_code)]

use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        new_mutex, Arc, Mutex,
    },
};

use super::checks::{violation, Countdown};
use crate::{
    driver::{Attach, Capability, Probed, Steps, Tag, Target, When},
    health::Health,
    pasid::Selector,
    requester::RequesterId,
};

/// What a device is attached to before the first attach.
pub const NOTHING: u32 = 0;
/// The number of the blocked domain.
pub const BLOCKS: u32 = 1;

/// An attach that hardware saw: the device and the number of the domain.
pub type Seen = (u32, u32);

/// Records what hardware sees of all devices. Its lock is the innermost.
#[pin_data]
pub struct Wires {
    #[pin]
    seen: Mutex<KVec<Seen>>,
    /// Makes the n-th attach fail that is allowed to fail.
    pub fail_attach: Countdown,
}

impl Wires {
    fn attach(&self, device: &Device, to: u32) {
        let mut seen = self.seen.lock();
        device.now.store(to, Relaxed);
        if seen.push((device.id, to), GFP_KERNEL).is_err() {
            violation(format_args!("no memory to record an attach"));
        }
    }

    /// Returns what hardware saw since the last call.
    pub fn seen(&self) -> KVec<Seen> {
        core::mem::take(&mut *self.seen.lock())
    }
}

/// One device.
pub struct Device {
    id: u32,
    now: Atomic<u32>,
    wires: Arc<Wires>,
}

impl Device {
    /// What the device is attached to.
    pub fn now(&self) -> u32 {
        self.now.load(Relaxed)
    }

    fn try_attach(self: &Arc<Self>, to: u32) -> Result<Plan> {
        if self.wires.fail_attach.is_due() {
            return Err(ENOMEM);
        }
        let from = self.now();
        self.wires.attach(self, to);
        Ok(Plan {
            device: self.clone(),
            step: Step::Made { from },
        })
    }
}

enum Step {
    Made { from: u32 },
    Later { to: u32 },
    Done,
}

/// An attach that was made, or that commit will make.
pub struct Plan {
    device: Arc<Device>,
    step: Step,
}

impl Drop for Plan {
    fn drop(&mut self) {
        if let Step::Made { from } = self.step {
            self.device.wires.attach(&self.device, from);
        }
    }
}

/// A domain that other code has created: its number, and whether it still exists.
pub struct Number {
    number: u32,
    lives: Arc<Atomic<bool>>,
}

impl Number {
    /// Domain `number`. `lives` is true while it exists.
    pub fn new(number: u32, lives: &Arc<Atomic<bool>>) -> Self {
        lives.store(true, Relaxed);
        Self {
            number,
            lives: lives.clone(),
        }
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        self.lives.store(false, Relaxed);
    }
}

/// The driver.
pub struct AtOnce;

/// The hardware of its only unit.
pub struct Hardware {
    health: Health,
    /// What hardware sees.
    pub wires: Arc<Wires>,
}

impl Hardware {
    /// A unit without devices.
    pub fn new() -> Result<Self> {
        let wires = pin_init!(Wires {
            seen <- new_mutex!(KVec::new()),
            fail_attach: Countdown::new(),
        });
        Ok(Self {
            health: Health::new("at once".into()),
            wires: Arc::pin_init(wires, GFP_KERNEL)?,
        })
    }
}

/// The result of probing a device with `id`.
pub fn probed(unit: &Hardware, id: u32) -> Result<Probed<AtOnce>> {
    let mut ids = KVec::new();
    ids.push(RequesterId::new(id), GFP_KERNEL)?;
    let device = Device {
        id,
        now: Atomic::new(NOTHING),
        wires: unit.wires.clone(),
    };
    Ok(Probed {
        ids,
        data: Arc::new(device, GFP_KERNEL)?,
        reserved: KVec::new(),
    })
}

impl Tag for u32 {
    fn pack(self) -> u64 {
        self.into()
    }

    fn unpack(number: u64) -> Self {
        number as Self
    }
}

impl Attach for AtOnce {
    const NAME: &'static str = "at once";
    const PREPARES: bool = false;

    type Unit = Hardware;
    type Endpoint = Arc<Device>;
    type Paging = Number;
    type Tag = u32;
    type Plan = Plan;

    fn health(unit: &Hardware) -> &Health {
        &unit.health
    }

    fn acquire_tag(_unit: &Hardware, paging: Option<&Number>, _selector: Selector) -> Result<u32> {
        Ok(paging.map_or(BLOCKS, |paging| paging.number))
    }

    fn release_tag(_unit: &Hardware, _tag: u32) {}

    fn prepare(
        _unit: &Hardware,
        endpoint: &Arc<Device>,
        _selector: Selector,
        target: Target<'_, Self>,
        when: When,
    ) -> Result<Plan> {
        let (Target::Paging { tag: to, .. } | Target::Identity { tag: to }) = target;
        match when {
            When::Now => endpoint.try_attach(to),
            When::Later => Ok(Plan {
                device: endpoint.clone(),
                step: Step::Later { to },
            }),
        }
    }

    fn plan_blocked(_unit: &Hardware, endpoint: &Arc<Device>, _selector: Selector) -> Plan {
        Plan {
            device: endpoint.clone(),
            step: Step::Later { to: BLOCKS },
        }
    }

    fn prepare_blocked(
        _unit: &Hardware,
        endpoint: &Arc<Device>,
        _selector: Selector,
    ) -> Result<Plan> {
        endpoint.try_attach(BLOCKS)
    }

    fn commit(_unit: &Hardware, steps: &mut impl Steps<Self>) {
        steps.for_each(|step| {
            let plan = step.plan;
            if let Step::Later { to } = core::mem::replace(&mut plan.step, Step::Done) {
                plan.device.wires.attach(&plan.device, to);
            }
        });
    }

    fn needs_map_sync(_unit: &Hardware) -> bool {
        false
    }

    fn capable(_unit: &Hardware, _endpoint: &Arc<Device>, _capability: Capability) -> bool {
        false
    }
}
