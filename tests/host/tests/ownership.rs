// SPDX-License-Identifier: GPL-2.0

//! DMA ownership: all transitions in every order, compared with a reference that keeps lists.

use iommu_core_host::{
    label::Label,
    ownership::{Change, Owner, Ownership, Refusal},
};

/// The reference: the users of the group and its claims, one list entry each.
#[derive(Clone, Default, Debug)]
struct Reference {
    users: usize,
    claims: Vec<usize>,
    lent_to: Option<usize>,
    attached: bool,
}

#[derive(Copy, Clone, Debug)]
enum Event {
    StartUse,
    CountUse,
    EndUse,
    Claim(usize),
    Release(usize),
    Attach(usize),
    Detach(usize),
    Lend(usize),
    EndLoan,
}

const EVENTS: [Event; 13] = [
    Event::StartUse,
    Event::CountUse,
    Event::EndUse,
    Event::Claim(1),
    Event::Claim(2),
    Event::Release(1),
    Event::Release(2),
    Event::Attach(1),
    Event::Attach(2),
    Event::Detach(1),
    Event::Detach(2),
    Event::Lend(3),
    Event::EndLoan,
];

fn owner(token: usize) -> Owner {
    Owner {
        token,
        name: name(token),
    }
}

fn name(token: usize) -> Label {
    ["nobody", "one", "two", "driver"][token].into()
}

impl Reference {
    fn holder(&self) -> Option<usize> {
        self.claims.first().copied()
    }

    /// The refusal of other users if the group is lent.
    fn lent(&self) -> Result<(), Refusal> {
        match self.lent_to {
            Some(driver) => Err(Refusal::Lent { to: name(driver) }),
            None => Ok(()),
        }
    }

    /// The refusal if `token` does not hold the group.
    fn refusal(&self, token: usize) -> Option<Refusal> {
        match self.holder() {
            Some(holder) if holder == token => None,
            Some(holder) => Some(Refusal::Claimed { by: owner(holder) }),
            None => Some(Refusal::NotHeld),
        }
    }

    fn step(&mut self, event: Event) -> Result<Option<Change>, Refusal> {
        match event {
            Event::StartUse | Event::CountUse => {
                if matches!(event, Event::StartUse) {
                    self.lent()?;
                }
                match self.holder() {
                    Some(holder) => Err(Refusal::Claimed { by: owner(holder) }),
                    None => {
                        self.users += 1;
                        Ok(None)
                    }
                }
            }
            Event::Lend(driver) => {
                self.lent()?;
                match self.holder() {
                    Some(holder) => Err(Refusal::Claimed { by: owner(holder) }),
                    None => {
                        self.lent_to = Some(driver);
                        Ok(None)
                    }
                }
            }
            Event::EndLoan => match self.lent_to.take() {
                Some(_) => Ok(None),
                None => Err(Refusal::NotHeld),
            },
            Event::EndUse => {
                self.users = self.users.checked_sub(1).ok_or(Refusal::NotHeld)?;
                Ok(None)
            }
            Event::Claim(token) => {
                self.lent()?;
                if self.users > 0 {
                    return Err(Refusal::InUseByKernel { users: self.users });
                }
                match self.refusal(token) {
                    Some(refusal @ Refusal::Claimed { .. }) => Err(refusal),
                    _ => {
                        self.claims.push(token);
                        match self.claims.len() {
                            1 => Ok(Some(Change::Taken)),
                            _ => Ok(Some(Change::None)),
                        }
                    }
                }
            }
            Event::Release(token) => match self.refusal(token) {
                Some(refusal) => Err(refusal),
                None if self.claims.len() == 1 && self.attached => Err(Refusal::StillAttached {
                    owner: owner(token),
                }),
                None => {
                    self.claims.pop();
                    match self.claims.len() {
                        0 => Ok(Some(Change::Freed)),
                        _ => Ok(Some(Change::None)),
                    }
                }
            },
            Event::Attach(token) | Event::Detach(token) => {
                self.lent()?;
                if self.users > 0 {
                    return Err(Refusal::InUseByKernel { users: self.users });
                }
                match self.refusal(token) {
                    Some(refusal) => Err(refusal),
                    None => {
                        self.attached = matches!(event, Event::Attach(_));
                        Ok(None)
                    }
                }
            }
        }
    }

    fn state(&self) -> Ownership {
        if let Some(driver) = self.lent_to {
            return Ownership::Lent {
                users: self.users,
                to: name(driver),
            };
        }
        match (self.users, self.holder()) {
            (0, None) => Ownership::Free,
            (users, None) => Ownership::Kernel { users },
            (_, Some(holder)) => Ownership::Claimed {
                owner: owner(holder),
                claims: self.claims.len(),
                attached: self.attached,
            },
        }
    }
}

fn step(state: &mut Ownership, event: Event) -> Result<Option<Change>, Refusal> {
    match event {
        Event::StartUse => state.start_use().map(|()| None),
        Event::CountUse => state.count_use().map(|()| None),
        Event::EndUse => state.end_use().map(|()| None),
        Event::Claim(token) => {
            let may = state.may_claim(owner(token));
            let did = state.claim(owner(token));
            assert_eq!(may, did);
            did.map(Some)
        }
        Event::Release(token) => state.release(owner(token)).map(Some),
        Event::Attach(token) => state.set_attached(owner(token), true).map(|()| None),
        Event::Detach(token) => state.set_attached(owner(token), false).map(|()| None),
        Event::Lend(driver) => state.lend(name(driver)).map(|()| None),
        Event::EndLoan => state.end_loan().map(|()| None),
    }
}

fn explore(state: Ownership, reference: &Reference, depth: u32, seen: &mut usize) {
    if depth == 0 {
        return;
    }
    for event in EVENTS {
        let (mut next, mut wanted) = (state, reference.clone());
        let result = step(&mut next, event);
        assert_eq!(result, wanted.step(event), "{event:?} in {state:?}");
        assert_eq!(next, wanted.state(), "{event:?} in {state:?}");
        if result.is_err() {
            assert_eq!(next, state, "a refusal changes nothing");
        }
        assert_eq!(next.owner(), wanted.holder().map(owner));
        assert_eq!(next.users(), wanted.users);
        assert_eq!(
            next.is_exclusive(),
            wanted.lent_to.is_some() || wanted.holder().is_some()
        );
        *seen += 1;
        explore(next, &wanted, depth - 1, seen);
    }
}

#[test]
fn law_5_every_sequence_of_six_events() {
    let mut seen = 0;
    explore(Ownership::Free, &Reference::default(), 6, &mut seen);
    assert_eq!(seen, (1..=6).map(|depth| 13_usize.pow(depth)).sum());
}

#[test]
fn law_5_a_refusal_says_who_holds_the_group() {
    let said = |refusal: Refusal| refusal.to_string();
    assert_eq!(
        said(Refusal::InUseByKernel { users: 1 }),
        "a kernel driver uses it"
    );
    assert_eq!(
        said(Refusal::InUseByKernel { users: 3 }),
        "3 kernel drivers use it"
    );
    assert_eq!(said(Refusal::Claimed { by: owner(1) }), "it is held by one");
    assert_eq!(
        said(Refusal::StillAttached { owner: owner(2) }),
        "a domain of two is still attached"
    );
    assert_eq!(
        said(Refusal::Lent { to: name(3) }),
        "driver has a domain of its own attached"
    );
    assert_eq!(said(Refusal::NotHeld), "nobody holds it");
}

#[test]
fn a_token_identifies_an_owner() {
    let renamed = Owner {
        token: 1,
        name: "renamed".into(),
    };
    assert_eq!(owner(1), renamed);
    assert_ne!(owner(1), owner(2));
}
