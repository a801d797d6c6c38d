// SPDX-License-Identifier: GPL-2.0

//! Finds the reason why devices are in one group: what prevents isolating them from each other.
//!
//! C's IOMMU layer forms groups and does not give its reason. This file finds it again, from the
//! devices' buses.

use crate::{
    ffi::{device::Device, pci::Pci},
    group::Reason,
    requester::RequesterId,
};

/// A device of a group.
pub(super) trait Peer {
    /// The device.
    fn device(&self) -> Device<'_>;

    /// An id that both have to their unit, if there is one.
    fn shared_id(&self, other: &Self) -> Option<RequesterId>;
}

/// Why a device is in a group with `others`. If several reasons apply, the one that says most.
pub(super) fn of<'a, P: Peer + 'a>(
    peer: &P,
    others: impl Iterator<Item = &'a P> + Clone,
) -> Reason {
    let isolation = peer.device().pci().map(Pci::isolation);
    if others.clone().next().is_none() {
        return Reason::Isolated;
    }
    let shared_id = || {
        others.clone().find_map(|other| {
            Some(Reason::SharedId {
                id: peer.shared_id(other)?,
                with: other.device().name(),
            })
        })
    };
    let bridge = || {
        let function = peer.device().pci()?;
        let below = others.clone().find(|other| {
            let mut above = other.device().pci().into_iter().flat_map(Pci::bridges);
            above.any(|bridge| bridge == function)
        })?;
        Some(Reason::Bridge {
            below: below.device().name(),
        })
    };
    let sibling = || {
        let place = |peer: &P| {
            let id = peer.device().pci()?.id();
            Some((id.bus(), id.devfn() >> 3))
        };
        let here = place(peer)?;
        let sibling = others.clone().find(|other| place(other) == Some(here))?;
        Some(Reason::FunctionsWithoutAcs {
            with: sibling.device().name(),
        })
    };
    let above = || {
        let bridge = isolation.as_ref()?.shared_by?;
        Some(Reason::BridgeWithoutAcs {
            bridge: bridge.device().name(),
        })
    };
    // A port may have devices behind it in the group. What joins it with other ports is that the
    // functions of its device are not isolated.
    let function = isolation.as_ref().filter(|isolation| isolation.by_function);
    shared_id()
        .or_else(|| function.and_then(|_| sibling()))
        .or_else(bridge)
        .or_else(above)
        .or_else(sibling)
        .unwrap_or(Reason::Platform)
}
