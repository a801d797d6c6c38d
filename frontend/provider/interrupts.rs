// SPDX-License-Identifier: GPL-2.0

//! What is known of a device's interrupts. How that changes is in [`remap`](super::remap).

use kernel::{
    new_mutex,
    prelude::*,
    sync::{lock::mutex::MutexGuard, Arc, Mutex},
};

#[cfg(CONFIG_X86_64)]
pub(super) use crate::ffi::msi::MessageDomain;
use crate::{interrupt::NotRemapped, remapping::InterruptTable};

/// Other architectures have interrupt controllers that isolate messages by themselves.
#[cfg(not(CONFIG_X86_64))]
pub(super) enum MessageDomain {}

/// The domain of a device's interrupts if the unit remaps them, or why it does not.
pub(super) type Remapped = Result<MessageDomain, NotRemapped>;

/// What is known of a device's interrupts.
#[pin_data]
pub struct DeviceInterrupts {
    #[pin]
    state: Mutex<Remapped>,
}

impl DeviceInterrupts {
    /// Those of a device that is in no group yet.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            state <- new_mutex!(Err(NotRemapped::Unsupported)),
        })
    }

    /// What they are, to change it.
    pub(super) fn lock(&self) -> MutexGuard<'_, Remapped> {
        self.state.lock()
    }

    /// Why they are not remapped; `None` if they are.
    pub fn not_remapped(&self) -> Option<NotRemapped> {
        self.state.lock().as_ref().err().copied()
    }

    /// The unit's table for them, if they are remapped.
    pub fn table(&self) -> Option<Arc<dyn InterruptTable>> {
        match &*self.state.lock() {
            #[cfg(CONFIG_X86_64)]
            Ok(domain) => Some(domain.table().clone()),
            #[cfg(not(CONFIG_X86_64))]
            Ok(domain) => match *domain {},
            Err(_) => None,
        }
    }
}
