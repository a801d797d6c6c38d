// SPDX-License-Identifier: GPL-2.0

//! What the hosted frontend has inferred of C's use of a group.

use kernel::{
    new_mutex,
    prelude::*,
    sync::{Arc, Mutex},
};

use super::{
    intent::{Intent, Tracked},
    refusal::Refusals,
};
use crate::{
    driver::{Attach, VendorDriver},
    endpoint::Endpoint,
    frontend::provider::{served::Served, slot::Callable},
    group::{Claim, Loan},
    ownership::{Owner, Ownership},
    pgtable::kernel_memory::KernelMemory,
};

/// How C uses a group, inferred from its calls.
pub struct Inferred<D: Attach> {
    /// What C means.
    pub intent: Intent<KVec<Tracked<Arc<Endpoint<D>>>>>,
    /// What the core gave for it.
    pub proofs: Proofs<D>,
    /// How many attaches C has asked for. It may wrap.
    pub calls: usize,
    /// The number of calls, and who held the group, when an owner was last refused. Nothing is
    /// tried again until one of them changes: any user may ask who holds the group, and must not
    /// fill the log with it.
    pub refused_at: Option<(usize, Ownership)>,
    /// C's pointer of the default domain, for comparisons only.
    pub default: usize,
}

/// What proves to the core that C may attach its own domains to a group.
pub struct Proofs<D: Attach> {
    /// While an owner holds the group.
    pub claim: Option<Claim<D>>,
    /// While a driver that uses the DMA API has a domain of its own attached.
    pub loan: Option<Loan<D>>,
    /// Who has made C block the group, or a device of it, if nothing has followed.
    pub blocked_by: Option<Owner>,
}

impl<D: VendorDriver<Memory = KernelMemory>> Served for D {
    type GroupData = Mutex<Inferred<D>>;
    type LayerData = Refusals;

    fn group_data() -> impl PinInit<Self::GroupData> {
        new_mutex!(Inferred {
            intent: Intent::new(KVec::new()),
            proofs: Proofs {
                claim: None,
                loan: None,
                blocked_by: None,
            },
            calls: 0,
            refused_at: None,
            default: 0,
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
