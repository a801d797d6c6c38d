// SPDX-License-Identifier: GPL-2.0

//! Vendor drivers, whose units, devices and domains C knows by way of a [`provider`]: their groups
//! are attached and lent by the core, which asks for no attach of a single device.
//!
//! [`provider`]: crate::frontend::provider

use kernel::{bindings, prelude::*, sync::Arc};

use super::{
    backing::{BackedDevice, Native},
    group::IommuGroup,
};
use crate::{
    domain::Domain,
    driver::VendorDriver,
    endpoint::Endpoint,
    frontend::provider::{
        device::ProviderDevice,
        domain::ProviderDomain,
        group::ProviderGroup,
        instance::Instance,
        layer::{Attach, AttachPasid, Layer},
        served::Served,
        slot::Callable,
        stage::Stage,
    },
    group::Group,
    pgtable::kernel_memory::KernelMemory,
};

impl<D: VendorDriver<Memory = KernelMemory>> Served for D {
    type GroupData = ();
    type LayerData = ();

    fn group_data() -> impl PinInit<()> {}

    fn layer_data() -> Result {
        Ok(())
    }
}

impl<D: Callable> Layer for D {
    const ATTACH: Option<Attach<Self>> = None;
    const ATTACH_PASID: Option<AttachPasid<Self>> = None;

    fn group_found(group: &ProviderGroup<D>, _device: &ProviderDevice<D>) -> Result {
        // The core's group is known already: it may have devices in it that C does not know.
        //
        // SAFETY: C's group has a count for the device that it is looked for.
        unsafe { IommuGroup::from_c(group.as_c()) }.back_with(group.core())
    }

    fn undisturbed<R>(
        instance: &Instance<D>,
        group: &ProviderGroup<D>,
        f: impl FnOnce() -> R,
    ) -> R {
        // Without a count it has no device that could be attached.
        let kept = group.keep(instance);
        let group = kept.as_ref().map(|kept| {
            // SAFETY: The group is counted until `kept` is dropped, after the lock.
            unsafe { IommuGroup::from_c(kept.as_c()) }
        });
        let _locked = group.map(IommuGroup::lock);
        f()
    }
}

impl<D: Layer> Native for D {
    /// C's domain is a part of it.
    type Kept = Arc<ProviderDomain<D>>;

    unsafe fn domain(
        domain: *mut bindings::iommu_domain,
    ) -> Result<(Arc<Domain<Self>>, Self::Kept)> {
        // SAFETY: By the requirements; each domain of ours comes from an `Arc`.
        let kept = unsafe { ProviderDomain::<D>::counted(domain) };
        Ok((kept.core().clone(), kept))
    }

    unsafe fn endpoint(dev: *mut bindings::device) -> Result<Arc<Endpoint<Self>>> {
        // SAFETY: By the requirements.
        Ok(unsafe { ProviderDevice::<D>::of(dev) }?.endpoint().clone())
    }

    unsafe fn waits(dev: *mut bindings::device) -> bool {
        // SAFETY: By the requirements.
        unsafe { ProviderDevice::<D>::of(dev) }
            .is_ok_and(|device| matches!(device.stage(), Stage::HandedOver(_)))
    }

    unsafe fn join(
        _group: &Arc<Group<Self>>,
        dev: *mut bindings::device,
        _endpoint: &Arc<Endpoint<Self>>,
        _others: &[BackedDevice<Self>],
    ) -> Result {
        // SAFETY: By the requirements.
        let known = unsafe { ProviderDevice::<D>::of(dev) }?;
        let instance = D::slot().get().ok_or(ENODEV)?;
        known.group()?.join(&instance, known)
    }

    unsafe fn leave(
        _group: &Arc<Group<Self>>,
        _dev: *mut bindings::device,
        _endpoint: &Arc<Endpoint<Self>>,
    ) {
        // The release of the device, which follows, knows whether it stays attached.
    }
}
