// SPDX-License-Identifier: GPL-2.0

//! Groups and domains for the native frontend: it attaches and lends the core's, and asks for no
//! attach of a single device.

use kernel::{bindings, prelude::*, sync::Arc};

use crate::frontend::provider::{
    device::HostedDevice, domain::HostedDomain, group::HostedGroup, instance::Hosted,
};
use crate::{
    domain::Domain,
    endpoint::Endpoint,
    frontend::native::{
        backing::{Native, Seat},
        group::Group as NativeGroup,
    },
    group::Group,
};

/// Gives C's group the core's, which is known already: it may have devices in it that C does not
/// know.
pub(super) fn bring<D: Hosted>(group: &HostedGroup<D>) -> Result {
    // SAFETY: C's group has a count for the device that it is looked for.
    unsafe { NativeGroup::from_c(group.as_c()) }.back_with(group.core())
}

impl<D: Hosted> Native for D {
    /// C's domain is a part of it.
    type Kept = Arc<HostedDomain<D>>;

    unsafe fn domain(
        domain: *mut bindings::iommu_domain,
    ) -> Result<(Arc<Domain<Self>>, Self::Kept)> {
        // SAFETY: By the requirements; each domain of ours comes from an `Arc`.
        let kept = unsafe { HostedDomain::<D>::counted(domain) };
        Ok((kept.core().clone(), kept))
    }

    unsafe fn endpoint(dev: *mut bindings::device) -> Result<Arc<Endpoint<Self>>> {
        // SAFETY: By the requirements.
        Ok(unsafe { HostedDevice::<D>::of(dev) }?.endpoint().clone())
    }

    unsafe fn waits(dev: *mut bindings::device) -> bool {
        // SAFETY: By the requirements.
        unsafe { HostedDevice::<D>::of(dev) }.is_ok_and(HostedDevice::is_parked)
    }

    unsafe fn join(
        _group: &Arc<Group<Self>>,
        dev: *mut bindings::device,
        _endpoint: &Arc<Endpoint<Self>>,
        _others: &[Seat<Self>],
    ) -> Result {
        // SAFETY: By the requirements.
        let known = unsafe { HostedDevice::<D>::of(dev) }?;
        known.group()?.join(known)
    }

    unsafe fn leave(
        _group: &Arc<Group<Self>>,
        _dev: *mut bindings::device,
        _endpoint: &Arc<Endpoint<Self>>,
    ) {
        // The release of the device, which follows, knows whether it stays attached.
    }
}
