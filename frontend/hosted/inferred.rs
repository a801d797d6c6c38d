// SPDX-License-Identifier: GPL-2.0

//! What the hosted frontend has inferred of C's use of a group.

use kernel::{
    new_mutex,
    prelude::*,
    sync::{Arc, Mutex},
};

use super::refusal::Refusals;
use crate::{
    driver::{Attach, VendorDriver},
    endpoint::Endpoint,
    frontend::provider::{served::Served, slot::Callable},
    group::{Claim, Loan},
    pgtable::kernel_memory::KernelMemory,
};

/// How C uses a group, inferred from its calls.
pub struct Inferred<D: Attach> {
    /// C's claim. It has no function for one: it attaches the blocked domain.
    pub claim: Option<Claim<D>>,
    /// While a driver that uses the DMA API has a domain of its own attached.
    pub loan: Option<Loan<D>>,
    /// Devices that C has blocked alone.
    pub alone: KVec<Arc<Endpoint<D>>>,
}

impl<D: VendorDriver<Memory = KernelMemory>> Served for D {
    type GroupData = Mutex<Inferred<D>>;
    type LayerData = Refusals;

    fn group_data() -> impl PinInit<Self::GroupData> {
        new_mutex!(Inferred {
            claim: None,
            loan: None,
            alone: KVec::new(),
        })
    }

    fn layer_data() -> Result<Refusals> {
        Refusals::new()
    }
}

/// A vendor driver that C's IOMMU layer uses.
pub trait Hosted:
    Callable + Served<GroupData = Mutex<Inferred<Self>>, LayerData = Refusals>
{
}

impl<D> Hosted for D where D: Callable + Served<GroupData = Mutex<Inferred<D>>, LayerData = Refusals>
{}
