// SPDX-License-Identifier: GPL-2.0

//! Groups whose driver cannot prepare an attach and therefore attaches at once: what hardware sees,
//! and in which order.

#![forbid(unsafe_code)]

use kernel::{
    macros::kunit_tests,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
};

use crate::{
    domain::Domain,
    drivers::mock::{
        at_once::{probed, AtOnce, Hardware, Number, Seen, BLOCKS},
        machine::{ensure, owner},
    },
    endpoint::Endpoint,
    group::{Group, Reason},
    id_map::IdMap,
    label::Label,
    log::log_err,
    ownership::Ownership,
    registry::Registry,
    unit::Unit,
};

/// The default domain of a [`Stage`]'s group, if it has one.
const DEFAULT: u32 = 2;
/// Another domain.
const OTHER: u32 = 3;

/// A group of devices; their ids count from 0.
struct Stage {
    registry: Arc<Registry>,
    ids: Arc<IdMap<AtOnce>>,
    unit: Arc<Unit<AtOnce>>,
    blocked: Arc<Domain<AtOnce>>,
    group: Arc<Group<AtOnce>>,
    endpoints: KVec<Arc<Endpoint<AtOnce>>>,
    other: Arc<Domain<AtOnce>>,
}

impl Stage {
    /// A group of `size` members without a default domain.
    fn empty(size: u32) -> Result<Self> {
        let registry = Registry::new()?;
        let ids = IdMap::new()?;
        let blocked = Domain::blocked(&registry)?;
        let mut stage = Self {
            unit: Unit::new(Hardware::new()?)?,
            group: Group::new("group".into(), &blocked, ids.clone())?,
            endpoints: KVec::new(),
            other: domain(&registry, OTHER)?,
            registry,
            ids,
            blocked,
        };
        for id in 0..size {
            let endpoint = stage.endpoint(id)?;
            stage.group.join(&endpoint, Reason::Platform)?;
            stage.endpoints.push(endpoint, GFP_KERNEL)?;
        }
        Ok(stage)
    }

    /// A group of `size` members with the default domain [`DEFAULT`].
    fn new(size: u32) -> Result<Self> {
        let stage = Self::empty(size)?;
        stage
            .group
            .set_default(&domain(&stage.registry, DEFAULT)?)?;
        stage.saw_all(0..size, DEFAULT)?;
        Ok(stage)
    }

    fn endpoint(&self, id: u32) -> Result<Arc<Endpoint<AtOnce>>> {
        let name = Label::new(format_args!("device {id}"));
        Endpoint::from_probed(name, self.unit.clone(), probed(self.unit.data(), id)?)
    }

    fn fail_attach(&self, n: u32) {
        self.unit.data().wires.fail_attach.arm(i64::from(n));
    }

    /// Checks that since the last call hardware saw exactly `wanted`, in this order.
    fn saw(&self, wanted: &[Seen]) -> Result {
        let seen = self.unit.data().wires.seen();
        if seen[..] != *wanted {
            log_err!("hardware saw {seen:?} instead of {wanted:?}");
        }
        ensure!(seen[..] == *wanted);
        Ok(())
    }

    /// Like [`saw`](Self::saw): checks that the devices `ids` were attached to `to`, one after the
    /// other.
    fn saw_all(&self, ids: core::ops::Range<u32>, to: u32) -> Result {
        let mut wanted = KVec::new();
        for id in ids {
            wanted.push((id, to), GFP_KERNEL)?;
        }
        self.saw(&wanted)
    }

    /// Checks that the first `count` devices were attached to `to` and then back to `from`, and
    /// that all devices are attached to `from` now.
    fn saw_undone(&self, count: u32, to: u32, from: u32) -> Result {
        let mut wanted = KVec::new();
        for domain in [to, from] {
            for id in 0..count {
                wanted.push((id, domain), GFP_KERNEL)?;
            }
        }
        self.saw(&wanted)?;
        ensure!(self.endpoints.iter().all(|e| e.data().now() == from));
        Ok(())
    }

    fn end(self) {
        for endpoint in self.endpoints.iter() {
            self.group.leave(endpoint);
        }
    }
}

fn domain(registry: &Arc<Registry>, number: u32) -> Result<Arc<Domain<AtOnce>>> {
    let lives = Arc::new(Atomic::new(false), GFP_KERNEL)?;
    Domain::from_paging(registry, Number::new(number, &lives), "numbered")
}

#[kunit_tests(iommu_core_at_once)]
mod suite {
    use super::*;

    #[test]
    fn members_of_a_group_without_a_default_domain_are_not_touched() -> Result {
        let stage = Stage::empty(2)?;
        stage.saw(&[])?;
        let default = domain(&stage.registry, DEFAULT)?;
        stage.group.set_default(&default)?;
        stage.saw(&[(0, DEFAULT), (1, DEFAULT)])?;
        // Law 4: attaching the current domain again does nothing.
        stage.group.set_default(&default)?;
        stage.saw(&[])?;

        let late = stage.endpoint(7)?;
        stage.group.join(&late, Reason::Platform)?;
        stage.saw(&[(7, DEFAULT)])?;
        stage.group.leave(&late);
        stage.saw(&[(7, BLOCKS)])?;

        // An endpoint that joins a claimed group is blocked like the other members, and goes to the
        // default domain with them when the claim ends.
        let claim = stage.group.claim(owner(1, "tester"))?;
        stage.saw(&[(0, BLOCKS), (1, BLOCKS)])?;
        let late = stage.endpoint(8)?;
        stage.group.join(&late, Reason::Platform)?;
        stage.saw(&[(8, BLOCKS)])?;
        drop(claim);
        stage.saw(&[(0, DEFAULT), (1, DEFAULT), (8, DEFAULT)])?;
        stage.group.leave(&late);
        stage.end();
        Ok(())
    }

    #[test]
    fn law_3_a_failed_attach_at_once_is_undone() -> Result {
        for size in [1, 2, 8] {
            let stage = Stage::new(size)?;
            for n in 1..=size {
                stage.fail_attach(n);
                assert_eq!(stage.group.set_default(&stage.other), Err(ENOMEM));
                stage.saw_undone(n - 1, OTHER, DEFAULT)?;

                stage.fail_attach(n);
                let loan = stage.group.lend("driver".into(), &stage.other);
                assert_eq!(loan.err(), Some(ENOMEM));
                stage.saw_undone(n - 1, OTHER, DEFAULT)?;

                stage.fail_attach(n);
                let claim = stage.group.claim(owner(1, "tester"));
                assert_eq!(claim.err(), Some(ENOMEM));
                stage.saw_undone(n - 1, BLOCKS, DEFAULT)?;
                assert_eq!(stage.group.ownership(), Ownership::Free);
            }
            let claim = stage.group.claim(owner(1, "tester"))?;
            stage.saw_all(0..size, BLOCKS)?;
            for n in 1..=size {
                stage.fail_attach(n);
                assert_eq!(claim.attach(&stage.other), Err(ENOMEM));
                stage.saw_undone(n - 1, OTHER, BLOCKS)?;
            }
            drop(claim);
            stage.saw_all(0..size, DEFAULT)?;
            stage.end();
        }
        Ok(())
    }

    #[test]
    fn hardware_sees_a_plan_for_later_only_at_its_commit() -> Result {
        let stage = Stage::new(2)?;
        let claim = stage.group.claim(owner(1, "tester"))?;
        // The claim has prepared the return to the default domain; hardware does not see that.
        stage.saw_all(0..2, BLOCKS)?;
        claim.attach(&stage.other)?;
        stage.saw_all(0..2, OTHER)?;
        // The group returns to the domain that is its default when the claim ends.
        let next = domain(&stage.registry, 4)?;
        stage.group.set_default(&next)?;
        stage.saw(&[])?;

        // None of the following attaches may fail.
        stage.fail_attach(1);
        claim.detach();
        stage.saw_all(0..2, BLOCKS)?;
        drop(claim);
        stage.saw_all(0..2, 4)?;
        stage.fail_attach(0);

        let loan = stage.group.lend("driver".into(), &stage.other)?;
        stage.saw_all(0..2, OTHER)?;
        stage.fail_attach(1);
        drop(loan);
        stage.saw_all(0..2, 4)?;
        stage.fail_attach(0);
        stage.end();
        Ok(())
    }

    #[test]
    fn attaches_that_cannot_be_prepared_are_refused_during_a_reset() -> Result {
        let stage = Stage::new(2)?;
        let (group, device) = (&stage.group, &stage.endpoints[0]);
        stage.fail_attach(1);
        assert_eq!(group.suspend(device), Err(ENOMEM));
        stage.saw(&[])?;
        group.suspend(device)?;
        stage.saw(&[(0, BLOCKS)])?;

        // The core would have to attach the suspended member later, which could fail then.
        assert_eq!(group.set_default(&stage.other), Err(EBUSY));
        let loan = group.lend("driver".into(), &stage.other);
        assert_eq!(loan.err(), Some(EBUSY));
        assert_eq!(group.claim(owner(1, "tester")).err(), Some(EBUSY));
        assert_eq!(group.ownership(), Ownership::Free);
        stage.saw(&[])?;
        group.resume(device);
        stage.saw(&[(0, DEFAULT)])?;

        // The end of a claim cannot be refused. All members return to the domain that was prepared
        // when the claim began.
        let claim = group.claim(owner(1, "tester"))?;
        claim.attach(&stage.other)?;
        group.suspend(device)?;
        stage.saw(&[
            (0, BLOCKS),
            (1, BLOCKS),
            (0, OTHER),
            (1, OTHER),
            (0, BLOCKS),
        ])?;
        drop(claim);
        stage.saw(&[(1, BLOCKS), (1, DEFAULT)])?;
        group.resume(device);
        stage.saw(&[(0, DEFAULT)])?;
        stage.end();
        Ok(())
    }

    #[test]
    fn a_device_moves_to_another_group_in_one_step() -> Result {
        let stage = Stage::new(1)?;
        let to = Group::new("to".into(), &stage.blocked, stage.ids.clone())?;
        to.set_default(&stage.other)?;
        stage.fail_attach(1);
        let device = &stage.endpoints[0];
        assert_eq!(to.adopt(&stage.group), Err(ENOMEM));
        stage.saw(&[])?;
        assert!(stage.group.has(device) && !to.has(device));
        to.adopt(&stage.group)?;
        stage.saw(&[(0, OTHER)])?;
        to.leave(device);
        stage.end();
        Ok(())
    }

    #[test]
    fn law_2_a_foreign_domain_lives_while_a_group_is_attached() -> Result {
        let stage = Stage::new(1)?;
        let lives = Arc::new(Atomic::new(false), GFP_KERNEL)?;
        let own = Domain::from_paging(&stage.registry, Number::new(5, &lives), "nested")?;
        let name = Label::new(format_args!("{}", &*own));
        assert!(name.as_str().starts_with("nested domain "));
        let loan = stage.group.lend("driver".into(), &own)?;
        drop(own);
        assert!(lives.load(Relaxed));
        drop(loan);
        assert!(!lives.load(Relaxed));
        stage.end();
        Ok(())
    }
}
