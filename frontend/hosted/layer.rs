// SPDX-License-Identifier: GPL-2.0

//! What a provider has to know of C's IOMMU layer.
//!
//! C counts the drivers of a group that use the DMA API, and does not tell its providers. This file
//! counts them again, from notifications of the driver core: C has admitted a driver when it is
//! *bound*, and has stopped counting it when it is *unbound*. C stops counting between the two
//! notifications of an unbind. If C lets somebody else have the group before the second one, it has
//! stopped.

use kernel::{prelude::*, sync::Arc};

use super::{
    attach,
    inferred::{Hosted, Inferred},
    intent::Tracked,
    pasid, settle,
};
use crate::{
    endpoint::Endpoint,
    ffi::device::Driver,
    frontend::provider::{
        device::ProviderDevice,
        group::ProviderGroup,
        instance::Instance,
        layer::{Attach, AttachPasid, Layer},
    },
    log::log_warn,
};

impl<D: Hosted> Layer for D {
    const ATTACH: Option<Attach<Self>> = Some(attach::attach);
    const ATTACH_PASID: Option<AttachPasid<Self>> = Some(pasid::attach);

    fn group_made(instance: &Instance<D>, group: &ProviderGroup<D>) -> Result {
        let board = instance.layer.board();
        board.add(group.as_c() as usize, group.core().name())
    }

    fn group_found(group: &ProviderGroup<D>, device: &ProviderDevice<D>) -> Result {
        let tracked = Tracked::new(device.endpoint().clone(), device.stage());
        let mut inferred = group.data().lock();
        inferred.intent.devices_mut().push(tracked, GFP_KERNEL)?;
        Ok(())
    }

    fn undisturbed<R>(
        _instance: &Instance<D>,
        group: &ProviderGroup<D>,
        f: impl FnOnce() -> R,
    ) -> R {
        // `attach` holds it for each call of C's.
        let _inferred = group.data().lock();
        f()
    }

    fn device_left(group: &ProviderGroup<D>, endpoint: &Arc<Endpoint<D>>) {
        let mut inferred = group.data().lock();
        let devices = inferred.intent.devices_mut();
        devices.retain(|other| !Arc::ptr_eq(other.key(), endpoint));
    }

    fn group_left(instance: &Instance<D>, group: &ProviderGroup<D>) {
        // C does not know the group any more, so its claim and its loan are over.
        let held = {
            let mut inferred = group.data().lock();
            (inferred.proofs.claim.take(), inferred.proofs.loan.take())
        };
        drop(held);
        instance.layer.board().remove(group.as_c() as usize);
    }

    fn driver_comes(instance: &Instance<D>, device: &ProviderDevice<D>, driver: Driver) {
        if driver.manages_dma() {
            return;
        }
        let result = device.group().and_then(|group| {
            // C has admitted the driver, so whoever held the group before does not any more.
            settle::settle(instance, group);
            let mut inferred = group.data().lock();
            set_driver_leaves(&mut inferred, device, false);
            group
                .core()
                .count_dma_api(device.endpoint(), driver.name())?;
            attach::post(instance, group, &inferred);
            Ok(())
        });
        if let Err(error) = result {
            log_warn!(
                "{}: driver {} is not counted as a user of its group: error {}",
                device.device().name(),
                driver.name(),
                error.to_errno()
            );
        }
    }

    fn driver_leaves(_instance: &Instance<D>, device: &ProviderDevice<D>) {
        if let Ok(group) = device.group() {
            set_driver_leaves(&mut group.data().lock(), device, true);
        }
    }

    fn look(instance: &Instance<D>, group: &ProviderGroup<D>) {
        settle::settle(instance, group);
    }

    fn driver_is_gone(instance: &Instance<D>, device: &ProviderDevice<D>) {
        if let Ok(group) = device.group() {
            let mut inferred = group.data().lock();
            set_driver_leaves(&mut inferred, device, false);
            group.core().end_dma_api(device.endpoint());
            attach::post(instance, group, &inferred);
        }
    }
}

/// Notes whether the device's driver is about to be unbound.
fn set_driver_leaves<D: Hosted>(
    inferred: &mut Inferred<D>,
    device: &ProviderDevice<D>,
    leaves: bool,
) {
    let mut devices = inferred.intent.devices_mut().iter_mut();
    if let Some(tracked) = devices.find(|other| Arc::ptr_eq(other.key(), device.endpoint())) {
        tracked.set_driver_leaves(leaves);
    }
}
