// SPDX-License-Identifier: GPL-2.0

//! What a group is attached to, by selector.

#![forbid(unsafe_code)]

use kernel::{prelude::*, sync::Arc};

use crate::{
    count::Count,
    domain::{Attachment, Domain},
    driver::Attach,
    label::Label,
    pasid::{Pasid, Selector},
};

/// The PASIDs that a group is attached for, in any order.
pub(super) struct PasidAttachments<D: Attach>(KVec<(Pasid, Attachment<D>)>);

impl<D: Attach> PasidAttachments<D> {
    pub(super) fn new() -> Self {
        Self(KVec::new())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(Pasid, Attachment<D>)> {
        self.0.iter()
    }

    pub(super) fn get(&self, pasid: Pasid) -> Option<&Attachment<D>> {
        let mut all = self.0.iter();
        all.find(|(its, _)| *its == pasid).map(|(_, at)| at)
    }

    /// Makes room for one more.
    pub(super) fn reserve(&mut self) -> Result {
        Ok(self.0.reserve(1, GFP_KERNEL)?)
    }

    /// Sets what is attached for `pasid`. There is room.
    pub(super) fn set(&mut self, pasid: Pasid, to: Attachment<D>) {
        match self.0.iter_mut().find(|(its, _)| *its == pasid) {
            Some((_, at)) => *at = to,
            None => {
                // `reserve` made room.
                let _ = self.0.push_within_capacity((pasid, to));
            }
        }
    }

    pub(super) fn remove(&mut self, pasid: Pasid) {
        self.0.retain(|(its, _)| *its != pasid);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// What is attached, for messages.
    pub(super) fn first(&self) -> Option<Label> {
        let (pasid, at) = self.0.first()?;
        Some(match self.0.len() {
            1 => Label::new(format_args!("{pasid} is attached to {}", &**at.domain())),
            count => Label::new(format_args!(
                "{} are attached",
                Count::new(count as i64, "PASID")
            )),
        })
    }
}

/// What a group is attached to for each selector.
pub(super) struct Attached<'a, D: Attach> {
    pub(super) current: &'a Attachment<D>,
    pub(super) pasids: &'a PasidAttachments<D>,
}

impl<'a, D: Attach> Attached<'a, D> {
    /// The domain for `selector`; `None` if the group is attached to none.
    pub(super) fn domain(&self, selector: Selector) -> Option<&'a Arc<Domain<D>>> {
        match selector {
            Selector::NoPasid => Some(self.current.domain()),
            Selector::Pasid(pasid) => self.pasids.get(pasid).map(Attachment::domain),
        }
    }
}
