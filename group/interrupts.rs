// SPDX-License-Identifier: GPL-2.0

//! Interrupt messages of the members (law 9).
//!
//! The members of a group that are behind one unit have one interrupt table. A requester id is
//! either remapped or not. So a member cannot have its messages remapped while another one that
//! shares an id with it has a driver whose messages are not.

#![forbid(unsafe_code)]

use kernel::{prelude::*, sync::Arc};

use super::{member::Member, messages::Messages, state::Group};
use crate::{
    driver::{Attach, VendorDriver},
    endpoint::Endpoint,
    interrupt::NotRemapped,
    log::log_err,
    remapping::InterruptTable,
    requester::RequesterId,
};

impl<D: VendorDriver> Group<D> {
    /// Has the unit remap the messages of a member that has no driver, or whose driver has no
    /// interrupt yet. When this returns, the device can raise no interrupt but those of entries in
    /// the table that are then reserved for it or for other members. Does nothing if they are
    /// remapped already.
    ///
    /// # Errors
    ///
    /// Why they are not. Then they pass unchanged, as before.
    pub fn remap(&self, endpoint: &Endpoint<D>) -> Result<Arc<dyn InterruptTable>, NotRemapped> {
        let mut state = self.state.lock();
        let members = &mut state.members;
        let index = members.iter().position(|m| m.is(endpoint)).ok_or(ENODEV)?;
        if let Some(table) = members[index].messages().table() {
            return Ok(table.clone());
        }
        D::remaps(endpoint.unit().data(), endpoint.ids())?;
        let relies = |m: &&Member<D>| {
            matches!(m.messages(), Messages::Plain) && m.endpoint().shared_id(endpoint).is_some()
        };
        if let Some(other) = members.iter().filter(|m| !m.is(endpoint)).find(relies) {
            return Err(NotRemapped::SharedWithDevice(other.endpoint().name()));
        }
        let behind = members
            .iter()
            .filter(|m| Arc::ptr_eq(m.endpoint().unit(), endpoint.unit()));
        let table = match behind.map(Member::messages).find_map(Messages::table) {
            Some(table) => table.clone(),
            None => D::interrupt_table(endpoint.unit().data())?,
        };
        table.admit(endpoint.ids())?;
        members[index].set_messages(Messages::Remapped(table.clone()));
        Ok(table)
    }

    /// Undoes [`remap`](Self::remap): the member's messages pass unchanged again, but for those
    /// with ids that it shares with other members whose messages are remapped.
    pub fn end_remapping(&self, endpoint: &Endpoint<D>) {
        let mut state = self.state.lock();
        let members = &mut state.members;
        let Some(index) = members.iter().position(|m| m.is(endpoint)) else {
            return;
        };
        let Some(table) = members[index].messages().table().cloned() else {
            return;
        };
        members[index].set_messages(Messages::Unused);
        let remapped = |id: &RequesterId| {
            let mut remapped = members.iter().filter(|m| m.messages().table().is_some());
            remapped.any(|m| m.endpoint().has_id(endpoint.unit(), *id))
        };
        for id in endpoint.ids().iter().filter(|id| !remapped(id)) {
            table.dismiss(core::slice::from_ref(id));
        }
    }

    /// The driver of a member is bound and has interrupts that are not remapped, or may get them:
    /// its messages pass unchanged. Does nothing for members whose messages are remapped.
    pub fn rely_on_messages(&self, endpoint: &Endpoint<D>) {
        let mut state = self.state.lock();
        let members = &mut state.members;
        let Some(index) = members.iter().position(|m| m.is(endpoint)) else {
            return;
        };
        if members[index].messages().table().is_some() {
            return;
        }
        members[index].set_messages(Messages::Plain);
        D::stop_refusing(endpoint.unit().data(), endpoint.ids());
        let is_remapped = |m: &&Member<D>| m.messages().table().is_some();
        let mut remapped = members.iter().filter(is_remapped);
        if let Some(other) = remapped.find(|m| m.endpoint().shared_id(endpoint).is_some()) {
            log_err!(
                "{}: its interrupts are refused: it shares a requester id with {}, whose interrupts \
                 are remapped; unbind its driver and bind it again",
                endpoint.name(),
                other.endpoint().name(),
            );
        }
    }

    /// No driver of a member relies on messages that are not remapped any more.
    pub fn forgo_messages(&self, endpoint: &Endpoint<D>) {
        let mut state = self.state.lock();
        let mut plain = state.members.iter_mut().filter(|m| m.is(endpoint));
        if let Some(member) = plain.find(|m| matches!(m.messages(), Messages::Plain)) {
            member.set_messages(Messages::Unused);
        }
    }
}

impl<D: Attach> Group<D> {
    /// Has the unit refuse all messages of `member`, which has left, but for those with ids that
    /// other members have.
    pub(super) fn refuse_messages(member: &Member<D>, others: &[Member<D>]) {
        let Some(table) = member.messages().table() else {
            return;
        };
        let unit = member.endpoint().unit();
        let is_shared = |id: &RequesterId| others.iter().any(|m| m.endpoint().has_id(unit, *id));
        for id in member.endpoint().ids().iter().filter(|id| !is_shared(id)) {
            table.expel(core::slice::from_ref(id));
        }
    }
}
