// SPDX-License-Identifier: GPL-2.0

//! Says in the log whom C refuses a group, and who holds it.
//!
//! C's IOMMU layer refuses drivers and owners without a message, and its providers do not hear of
//! it. So kprobes are placed on the two functions that refuse. What such a function is going to
//! answer follows from the last known state of the group: C refuses a driver while the group is
//! claimed, and an owner while drivers use the group. Without kprobes there are no messages;
//! debugfs still says who holds a group.

use core::ffi::{c_void, CStr};

use kernel::{
    bindings, new_spinlock,
    prelude::*,
    processor::cpu_relax,
    sync::{Arc, SpinLock},
};

use crate::{
    ffi::{
        device::{Device, Process},
        kprobe::{Handler, Probe},
    },
    label::Label,
    log::{log_info, log_warn},
    ordered_set::{Keyed, OrderedSet},
};

/// Who holds a group. The entry neither counts the group nor locks it.
struct Entry {
    /// C's group.
    c: usize,
    name: Label,
    holders: Holders,
}

/// Who holds a group, as far as is known.
#[derive(Default)]
pub struct Holders {
    /// Who has claimed or borrowed it.
    pub claimed_by: Option<Label>,
    /// Who has claimed the group if C has it attached to this domain, or else resets a device of
    /// it.
    pub perhaps: Option<(Label, usize)>,
    /// Which drivers use the DMA API with it.
    pub used_by: Option<Label>,
}

impl Keyed for Entry {
    type Key = usize;

    fn key(&self) -> usize {
        self.c
    }
}

/// How often a kprobe tries to read the list while another processor changes it. A change is a few
/// stores, so the second attempt usually succeeds.
const ATTEMPTS: usize = 100;

impl Entry {
    /// Who has claimed the group of `device`.
    fn claimed_by(&self, device: Device<'_>) -> Option<Label> {
        self.holders.claimed_by.or_else(|| {
            let (name, domain) = self.holders.perhaps?;
            // SAFETY: C has been asked to let the device's driver have its group, so the device is
            // in the group.
            let now = unsafe { device.domain_of_group() };
            (now as usize == domain).then_some(name)
        })
    }
}

/// Who holds which group. The kprobes read it, which cannot sleep.
#[pin_data]
pub struct Board {
    #[pin]
    entries: SpinLock<OrderedSet<Entry>>,
}

impl Board {
    /// A board without groups.
    fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                entries <- new_spinlock!(OrderedSet::new()),
            }),
            GFP_KERNEL,
        )
    }

    /// Adds a group of C's that nobody holds, in place of one that had its address.
    pub fn add(&self, c: usize, name: Label) -> Result {
        let mut room = KVec::new();
        let mut entry = Entry {
            c,
            name,
            holders: Holders::default(),
        };
        loop {
            let wanted = {
                let mut entries = self.entries.lock();
                entries.remove(c);
                entry = match entries.insert(entry, &mut room) {
                    Ok(()) => return Ok(()),
                    // There was no room.
                    Err(entry) => entry,
                };
                entries.len() + 1
            };
            room = KVec::with_capacity(wanted, GFP_KERNEL)?;
        }
    }

    /// Has `set` say who holds a group now. It must not sleep.
    pub fn set(&self, c: usize, set: impl FnOnce(&mut Holders)) {
        if let Some(entry) = self.entries.lock().get_mut(c) {
            set(&mut entry.holders);
        }
    }

    /// Removes a group.
    pub fn remove(&self, c: usize) {
        self.entries.lock().remove(c);
    }

    /// The group's name, and what `f` says of its entry.
    ///
    /// Context: any. On a PREEMPT_RT kernel `lock` may sleep, which the handler of a kprobe must
    /// not. If another processor holds the lock through all attempts, there is no message.
    fn find(
        &self,
        c: *mut c_void,
        f: impl FnOnce(&Entry) -> Option<Label>,
    ) -> Option<(Label, Label)> {
        let mut attempts = core::iter::repeat_with(|| self.entries.try_lock()).take(ATTEMPTS);
        let entries = attempts.find_map(|entries| {
            if entries.is_none() {
                cpu_relax();
            }
            entries
        })?;
        let entry = entries.get(c as usize)?;
        Some((entry.name, f(entry)?))
    }
}

/// C is asked to let a driver use the DMA API.
struct DriverAsks(Arc<Board>);

impl Handler for DriverAsks {
    const FUNCTION: &'static CStr = c"iommu_device_use_default_domain";

    fn called(&self, first: *mut c_void) {
        // SAFETY: The function's argument is a device that its caller keeps.
        let Some(device) = (unsafe { Device::from_raw(first.cast()) }) else {
            return;
        };
        let group: *mut bindings::iommu_group = device.iommu_group();
        let found = self.0.find(group.cast(), |entry| entry.claimed_by(device));
        if let (Some((group, holder)), Some(driver)) = (found, device.driver()) {
            log_warn!(
                "{}: refused to driver {} of {}: it is held by {}",
                group,
                driver.name(),
                device.name(),
                holder,
            );
        }
    }
}

/// C is asked to let an owner have a group.
struct OwnerAsks(Arc<Board>);

impl Handler for OwnerAsks {
    const FUNCTION: &'static CStr = c"iommu_group_claim_dma_owner";

    fn called(&self, first: *mut c_void) {
        let holder = |Entry { holders, .. }: &Entry| match (
            holders.claimed_by,
            holders.perhaps,
            holders.used_by,
        ) {
            (Some(owner), ..) => Some(Label::new(format_args!("it is held by {owner}"))),
            (None, Some((owner, _)), None) => Some(Label::new(format_args!(
                "{owner} holds it or resets a device of it"
            ))),
            (None, _, user) => user,
        };
        if let Some((group, holder)) = self.0.find(first, holder) {
            log_warn!(
                "{}: refused to {}: {}",
                group,
                Process::current().label,
                holder
            );
        }
    }
}

/// The board, and the kprobes that read it. Dropping this removes the kprobes.
pub struct Refusals {
    board: Arc<Board>,
    _driver: Option<Pin<KBox<Probe<DriverAsks>>>>,
    _owner: Option<Pin<KBox<Probe<OwnerAsks>>>>,
}

impl Refusals {
    /// Places the kprobes. If the kernel has none, a message says that refusals are not logged.
    pub fn new() -> Result<Self> {
        let board = Board::new()?;
        Ok(Self {
            _driver: probe(DriverAsks(board.clone())),
            _owner: probe(OwnerAsks(board.clone())),
            board,
        })
    }

    /// Who holds which group.
    pub fn board(&self) -> &Board {
        &self.board
    }
}

fn probe<H: Handler>(handler: H) -> Option<Pin<KBox<Probe<H>>>> {
    Probe::new(handler)
        .inspect_err(|error| {
            log_info!(
                "refusals of {} are not logged: error {}",
                H::FUNCTION.to_str().unwrap_or_default(),
                error.to_errno()
            )
        })
        .ok()
}
