// SPDX-License-Identifier: GPL-2.0

//! The control: code that uses the interfaces as intended compiles.

#![allow(dead_code)]

use kernel::{prelude::*, sync::Arc};

use crate::{
    domain::Domain,
    driver::{DeviceView, VendorDriver},
    endpoint::Endpoint,
    group::{Claim, Group, Loan},
    label::Label,
    ownership::Owner,
    registry::Registry,
};

/// Like `Translate::alloc_paging`: the driver gets the unit from the view.
fn alloc_paging<D: VendorDriver>(device: &DeviceView<'_, D>) -> Result {
    D::health(device.unit()).check()
}

fn allocate<D: VendorDriver>(
    registry: &Arc<Registry>,
    endpoint: Arc<Endpoint<D>>,
) -> Result<Arc<Domain<D>>> {
    alloc_paging(&endpoint.view())?;
    let domain = Domain::paging(registry, &endpoint)?;
    drop(endpoint);
    Ok(domain)
}

fn own<D: VendorDriver>(
    group: &Arc<Group<D>>,
    owner: Owner,
    domain: &Arc<Domain<D>>,
) -> Result<(), (Claim<D>, Error)> {
    let Ok(claim) = group.claim(owner) else {
        return Ok(());
    };
    if let Err(error) = claim.attach(domain) {
        return Err((claim, error));
    }
    claim.detach();
    claim.release()
}

fn borrow<D: VendorDriver>(
    group: &Arc<Group<D>>,
    driver: Label,
    domains: [&Arc<Domain<D>>; 2],
) -> Result<Loan<D>> {
    let loan = group.lend(driver, domains[0])?;
    loan.attach(domains[1])?;
    Ok(loan)
}
