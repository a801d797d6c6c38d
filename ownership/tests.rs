// SPDX-License-Identifier: GPL-2.0

//! Every transition of the state machine, including each refusal. The claims suite tests what
//! groups do on these transitions.

#![forbid(unsafe_code)]

use kernel::{macros::kunit_tests, prelude::*};

use super::{Change, Owner, Ownership, Refusal};
use crate::{drivers::mock::machine::owner, label::Label};

const FREE: Ownership = Ownership::Free;

fn kernel(users: usize) -> Ownership {
    Ownership::Kernel { users }
}

fn lent(users: usize) -> Ownership {
    Ownership::Lent {
        users,
        to: "driver".into(),
    }
}

fn is_lent() -> Refusal {
    Refusal::Lent {
        to: "driver".into(),
    }
}

fn claimed(owner: Owner, claims: usize, attached: bool) -> Ownership {
    Ownership::Claimed {
        owner,
        claims,
        attached,
    }
}

/// The state that a transition leads to, and the transition's return value.
fn after<T>(
    mut state: Ownership,
    transition: impl FnOnce(&mut Ownership) -> Result<T, Refusal>,
) -> (Ownership, Result<T, Refusal>) {
    let result = transition(&mut state);
    (state, result)
}

fn says(what: impl core::fmt::Display, text: &str) -> bool {
    Label::new(format_args!("{what}")).as_str() == text
}

#[kunit_tests(iommu_core_ownership)]
mod suite {
    use super::*;

    #[test]
    fn law_5_start_of_use() {
        let one = owner(1, "one");
        let held = claimed(one, 2, true);
        assert_eq!(after(FREE, Ownership::start_use), (kernel(1), Ok(())));
        assert_eq!(after(kernel(1), Ownership::start_use), (kernel(2), Ok(())));
        assert_eq!(
            after(held, Ownership::start_use),
            (held, Err(Refusal::Claimed { by: one }))
        );
        assert_eq!(
            after(lent(1), Ownership::start_use),
            (lent(1), Err(is_lent()))
        );
    }

    #[test]
    fn law_5_a_driver_that_the_kernel_has_admitted() {
        let held = claimed(owner(1, "one"), 1, false);
        assert_eq!(after(FREE, Ownership::count_use), (kernel(1), Ok(())));
        assert_eq!(after(kernel(1), Ownership::count_use), (kernel(2), Ok(())));
        assert_eq!(after(lent(0), Ownership::count_use), (lent(1), Ok(())));
        assert_eq!(
            after(held, Ownership::count_use).1,
            Err(Refusal::Claimed {
                by: owner(1, "one")
            })
        );
    }

    #[test]
    fn law_5_end_of_use() {
        let held = claimed(owner(1, "one"), 1, false);
        assert_eq!(after(kernel(2), Ownership::end_use), (kernel(1), Ok(())));
        assert_eq!(after(kernel(1), Ownership::end_use), (FREE, Ok(())));
        assert_eq!(
            after(FREE, Ownership::end_use),
            (FREE, Err(Refusal::NotHeld))
        );
        assert_eq!(
            after(held, Ownership::end_use),
            (held, Err(Refusal::NotHeld))
        );
        assert_eq!(after(lent(2), Ownership::end_use), (lent(1), Ok(())));
        assert_eq!(
            after(lent(0), Ownership::end_use),
            (lent(0), Err(Refusal::NotHeld))
        );
    }

    #[test]
    fn law_5_loan() {
        let one = owner(1, "one");
        let held = claimed(one, 1, false);
        let lend = |state| after(state, |state| state.lend("driver".into()));
        assert_eq!(lend(FREE), (lent(0), Ok(())));
        assert_eq!(lend(kernel(2)), (lent(2), Ok(())));
        assert_eq!(lend(lent(1)), (lent(1), Err(is_lent())));
        assert_eq!(lend(held), (held, Err(Refusal::Claimed { by: one })));
        assert_eq!(lent(2).users(), 2);
        assert!(lent(0).is_exclusive() && held.is_exclusive());
        assert!(!FREE.is_exclusive() && !kernel(1).is_exclusive());
    }

    #[test]
    fn law_5_end_of_loan() {
        let held = claimed(owner(1, "one"), 1, true);
        let end = |state| after(state, Ownership::end_loan);
        assert_eq!(end(lent(0)), (FREE, Ok(())));
        assert_eq!(end(lent(2)), (kernel(2), Ok(())));
        for state in [FREE, kernel(1), held] {
            assert_eq!(end(state), (state, Err(Refusal::NotHeld)));
        }
    }

    #[test]
    fn law_5_claim() {
        let (one, two) = (owner(1, "one"), owner(2, "two"));
        let held = claimed(one, 1, true);
        let claim = |state| after(state, |state| state.claim(one));
        assert_eq!(claim(FREE), (claimed(one, 1, false), Ok(Change::Taken)));
        assert_eq!(claim(held), (claimed(one, 2, true), Ok(Change::None)));
        assert_eq!(
            claim(kernel(3)),
            (kernel(3), Err(Refusal::InUseByKernel { users: 3 }))
        );
        assert_eq!(
            after(held, |state| state.claim(two)),
            (held, Err(Refusal::Claimed { by: one }))
        );
        assert_eq!(claim(lent(0)), (lent(0), Err(is_lent())));
        // `may_claim` changes nothing and returns what `claim` returns.
        for state in [FREE, held, kernel(3), lent(1)] {
            assert_eq!(state.may_claim(one), claim(state).1);
        }
        // The token alone identifies an owner; the name does not matter.
        assert_eq!(held.may_claim(owner(1, "other")), Ok(Change::None));
        assert_eq!(held.owner(), Some(one));
        assert_eq!(kernel(1).owner(), None);
        assert_eq!(lent(1).owner(), None);
    }

    #[test]
    fn law_5_release() {
        let (one, two) = (owner(1, "one"), owner(2, "two"));
        let release = |state| after(state, |state| state.release(one));
        let held = claimed(two, 1, false);
        let attached = claimed(one, 1, true);
        assert_eq!(release(claimed(one, 1, false)), (FREE, Ok(Change::Freed)));
        assert_eq!(
            release(claimed(one, 2, true)),
            (claimed(one, 1, true), Ok(Change::None))
        );
        assert_eq!(
            release(attached),
            (attached, Err(Refusal::StillAttached { owner: one }))
        );
        assert_eq!(release(held), (held, Err(Refusal::Claimed { by: two })));
        assert_eq!(release(FREE), (FREE, Err(Refusal::NotHeld)));
        assert_eq!(release(kernel(1)), (kernel(1), Err(Refusal::NotHeld)));
        assert_eq!(release(lent(1)), (lent(1), Err(Refusal::NotHeld)));
    }

    #[test]
    fn law_5_attach_and_detach() {
        let (one, two) = (owner(1, "one"), owner(2, "two"));
        let attach = |state| after(state, |state| state.set_attached(one, true));
        let held = claimed(two, 1, false);
        assert_eq!(
            attach(claimed(one, 2, false)),
            (claimed(one, 2, true), Ok(()))
        );
        assert_eq!(
            after(claimed(one, 2, true), |state| state
                .set_attached(one, false)),
            (claimed(one, 2, false), Ok(()))
        );
        assert_eq!(attach(held), (held, Err(Refusal::Claimed { by: two })));
        assert_eq!(attach(FREE), (FREE, Err(Refusal::NotHeld)));
        assert_eq!(
            attach(kernel(2)),
            (kernel(2), Err(Refusal::InUseByKernel { users: 2 }))
        );
        assert_eq!(attach(lent(0)), (lent(0), Err(is_lent())));
    }

    #[test]
    fn law_5_a_refusal_says_who_holds_the_group() {
        let one = owner(1, "vfio of qemu[7]");
        assert!(says(
            Refusal::InUseByKernel { users: 1 },
            "a kernel driver uses it"
        ));
        assert!(says(
            Refusal::InUseByKernel { users: 2 },
            "2 kernel drivers use it"
        ));
        assert!(says(
            Refusal::Claimed { by: one },
            "it is held by vfio of qemu[7]"
        ));
        assert!(says(
            Refusal::StillAttached { owner: one },
            "a domain of vfio of qemu[7] is still attached"
        ));
        assert!(says(is_lent(), "driver has a domain of its own attached"));
        assert!(says(Refusal::NotHeld, "nobody holds it"));
        assert!(says(FREE, "nobody"));
        assert!(says(kernel(1), "kernel (1 driver)"));
        assert!(says(kernel(2), "kernel (2 drivers)"));
        assert!(says(lent(1), "driver (a domain of its own)"));
        assert!(says(claimed(one, 1, true), "vfio of qemu[7]"));
        assert!(says(
            claimed(one, 1, false),
            "vfio of qemu[7] (no domain attached)"
        ));
    }
}
