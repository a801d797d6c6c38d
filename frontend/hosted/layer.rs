// SPDX-License-Identifier: GPL-2.0

//! What a provider has to know of C's IOMMU layer.
//!
//! C counts the drivers of a group that use the DMA API, and does not tell its providers. This file
//! counts them again, from notifications of the driver core: C has admitted a driver when it is
//! *bound*, and has stopped counting it when it is *unbound*.

use kernel::{prelude::*, sync::Arc};

use super::{attach, inferred::Hosted, intent::Tracked};
use crate::{
    endpoint::Endpoint,
    ffi::device::Driver,
    frontend::provider::{
        device::ProviderDevice,
        group::ProviderGroup,
        instance::Instance,
        layer::{Attach, Layer},
    },
    log::log_warn,
};

impl<D: Hosted> Layer for D {
    const ATTACH: Option<Attach<Self>> = Some(attach::attach);

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
            let inferred = group.data().lock();
            group
                .core()
                .start_dma_api(device.endpoint(), driver.name())?;
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

    fn driver_is_gone(instance: &Instance<D>, device: &ProviderDevice<D>) {
        if let Ok(group) = device.group() {
            let inferred = group.data().lock();
            group.core().end_dma_api(device.endpoint());
            attach::post(instance, group, &inferred);
        }
    }
}
