// SPDX-License-Identifier: GPL-2.0

//! The hosted frontend: a module, and C's own IOMMU layer is its client.
//!
//! C's layer tells its providers to attach one device after the other, and nothing of claims,
//! drivers and resets. So what C means is inferred from its calls, and from what the driver core
//! and probes tell.
//!
//! | file | what |
//! |---|---|
//! | `layer` | what a [`provider`](super::provider) asks of the layer |
//! | `intent` | what C means by the attach of a device: a pure state machine |
//! | `attach` | carries out the steps of `intent` on groups |
//! | `pasid` | attaches for a PASID |
//! | `settle` | looks up what the calls leave open |
//! | `inferred` | what is known of C's use of a group |
//! | `refusal` | who was refused by C, and who holds the group |

mod attach;
mod inferred;
mod intent;
mod layer;
mod pasid;
mod refusal;
mod settle;

use kernel::prelude::*;

use super::provider::start::Provider;
use crate::log::log_err;

/// The frontend, from loading the module to unloading it.
pub(crate) struct Frontend {
    _provider: Provider,
}

impl Frontend {
    /// Looks for units and takes them.
    ///
    /// # Errors
    ///
    /// Those of [`Provider::start`].
    pub(crate) fn start(module: &'static ThisModule) -> Result<Self> {
        // Whoever loads the module wants a unit.
        let provider = Provider::start(module, |why| log_err!("no IOMMU to drive: {}", why))?;
        provider.follow_sleep()?;
        Ok(Self {
            _provider: provider,
        })
    }
}
