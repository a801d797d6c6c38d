// SPDX-License-Identifier: GPL-2.0

//! Law 5: a driver constructs a loan without `Group::lend`.

#![allow(dead_code)]

use kernel::sync::Arc;

use crate::{
    driver::Attach,
    group::{Group, Loan},
    label::Label,
};

fn forge<D: Attach>(group: &Arc<Group<D>>, driver: Label) -> Loan<D> {
    let group = group.clone();
    Loan { group, driver } //~ E0451
}
