// SPDX-License-Identifier: GPL-2.0

//! The kernel's IOMMU layer, as far as a provider has to know which one it is.
//!
//! The layer decides who may have a group and what it is attached to. C's layer tells a provider no
//! more than which device is to be attached to which domain, and the hosted frontend infers the
//! rest. The native frontend is the layer itself: it attaches groups of the core's and tells the
//! provider when it needs C's structures.

use kernel::{prelude::*, sync::Arc};

use super::{
    device::ProviderDevice, domain::ProviderDomain, group::ProviderGroup, instance::Instance,
    slot::Callable,
};
use crate::{endpoint::Endpoint, ffi::device::Driver, pasid::Pasid};

/// C attaches a device to a domain; it holds the mutex of the device's group. The last argument is
/// whether the device was attached to nothing before.
pub type Attach<D> = fn(&Instance<D>, &ProviderDevice<D>, &ProviderDomain<D>, bool) -> Result;

/// C attaches a device to a domain for its requests with a PASID, or blocks them if the domain
/// does; it holds the mutex of the device's group.
pub type AttachPasid<D> = fn(&Instance<D>, &ProviderDevice<D>, &ProviderDomain<D>, Pasid) -> Result;

/// What the kernel's IOMMU layer does with a vendor driver's devices, and is told of them.
pub trait Layer: Callable {
    /// What an attach of a single device does. `None` if the layer never asks for one; then a
    /// device that leaves is attached to no other domain either.
    const ATTACH: Option<Attach<Self>>;

    /// What an attach of a single device for a PASID does. `None` if the layer never asks for one.
    const ATTACH_PASID: Option<AttachPasid<Self>>;

    /// A group was made, and is not used yet.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; the group is dropped.
    fn group_made(_instance: &Instance<Self>, _group: &ProviderGroup<Self>) -> Result {
        Ok(())
    }

    /// C has asked for the group of a device, and is going to make it a member.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; the device is not made a member, and if it is the first one the group is dropped.
    fn group_found(_group: &ProviderGroup<Self>, _device: &ProviderDevice<Self>) -> Result {
        Ok(())
    }

    /// Runs `f` while C attaches no device of the group. C's mutex of the group is not held.
    fn undisturbed<R>(
        instance: &Instance<Self>,
        group: &ProviderGroup<Self>,
        f: impl FnOnce() -> R,
    ) -> R;

    /// C has released a device of the group.
    fn device_left(_group: &ProviderGroup<Self>, _endpoint: &Arc<Endpoint<Self>>) {}

    /// The last device that C knew has left the group.
    fn group_left(_instance: &Instance<Self>, _group: &ProviderGroup<Self>) {}

    /// A driver is about to be bound to a device, and the layer has let it have the group if it
    /// uses the DMA API.
    fn driver_comes(_instance: &Instance<Self>, _device: &ProviderDevice<Self>, _driver: Driver) {}

    /// The driver of a device is about to be unbound.
    fn driver_leaves(_instance: &Instance<Self>, _device: &ProviderDevice<Self>) {}

    /// Somebody asks who holds the group. The caller holds no lock.
    fn look(_instance: &Instance<Self>, _group: &ProviderGroup<Self>) {}

    /// No driver is bound to a device any more.
    fn driver_is_gone(_instance: &Instance<Self>, _device: &ProviderDevice<Self>) {}
}
