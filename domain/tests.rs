// SPDX-License-Identifier: GPL-2.0

//! KUnit suites of domains, on the mock driver: laws 1, 2 and 8, and the errors for bad arguments.

#![forbid(unsafe_code)]

use kernel::{macros::kunit_tests, prelude::*, sync::Arc};

use super::Domain;
use crate::{
    addr::{Iova, PageSizes, PhysAddr, Prot},
    driver::Scope,
    drivers::mock::{
        live_tables,
        machine::{map, paging_of, unmap, Machine, PAGE},
        Mock, Options, FAIL_TABLE,
    },
    pgtable::{self, kernel_memory::Gfp, Gather, TableList},
    requester::RequesterId,
};

const RW: Prot = Prot::READ.union(Prot::WRITE);
const LARGE: u64 = 2 << 20;

fn raw_map(domain: &Domain<Mock>, iova: u64, phys: u64, len: u64) -> (u64, Result) {
    domain.map(Iova::new(iova), PhysAddr::new(phys), len, RW, Gfp::KERNEL)
}

fn is_static<T: 'static>(_: &T) -> bool {
    true
}

#[kunit_tests(iommu_core_domain)]
mod suite {
    use super::*;

    #[test]
    fn law_1_a_domain_keeps_no_reference_to_the_device() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let endpoint = machine.endpoint(0, &[1])?;
        // The view returns the unit.
        assert!(core::ptr::eq(
            endpoint.view().unit(),
            machine.units[0].data()
        ));
        let domain = machine.paging(&endpoint, &[(0x1000, 0xa000)])?;
        assert!(is_static(&*domain));
        // Only the test holds a reference to the endpoint: the endpoint is freed, and the domain
        // stays usable.
        assert!(Arc::into_unique_or_drop(endpoint).is_some());
        assert_eq!(
            domain.iova_to_phys(Iova::new(0x1234)),
            Some(PhysAddr::new(0xa234))
        );
        map(&domain, 0x2000, 0xb000, PAGE)?;
        drop(domain);
        machine.finish()
    }

    #[test]
    fn law_1_an_allocation_that_fails_leaves_nothing() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let endpoint = machine.endpoint(0, &[1])?;
        let (tables, domains) = (live_tables(), machine.domains());
        machine.hardware(0).fail_alloc.arm(1);
        assert_eq!(
            Domain::paging(&machine.registry, &endpoint).err(),
            Some(ENOMEM)
        );
        FAIL_TABLE.arm(1);
        assert_eq!(
            Domain::paging(&machine.registry, &endpoint).err(),
            Some(ENOMEM)
        );
        assert_eq!(live_tables(), tables);
        assert_eq!(machine.domains(), domains);
        drop(endpoint);
        machine.finish()
    }

    #[test]
    fn law_2_a_domain_that_nobody_uses_is_freed() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let endpoint = machine.endpoint(0, &[1])?;
        let domains = machine.domains();
        let tables = live_tables();
        let domain = machine.paging(&endpoint, &[(0x1000, 0xa000), (0x4000_0000, 0xb000)])?;
        assert_eq!(machine.domains(), domains + 1);
        assert_eq!(domain.record().mapped(), 2 * PAGE as i64);
        let other = domain.clone();
        drop(domain);
        assert_eq!(machine.domains(), domains + 1);
        drop(other);
        assert_eq!(machine.domains(), domains);
        assert_eq!(live_tables(), tables);
        drop(endpoint);
        machine.finish()
    }

    /// Every attached endpoint reaches the last mapping when `map` returns, also if the page table
    /// got a new top for it. Each unit is updated exactly once, and entries of other domains do not
    /// change.
    #[test]
    fn every_residence_uses_a_new_top() -> Result {
        let grows = Options {
            levels: 4,
            grows: true,
            ..Options::default()
        };
        let machine = Machine::new(&[grows, grows])?;
        let (group, endpoint) = machine.alone(1)?;
        let elsewhere = machine.endpoint(1, &[2])?;
        group.join(&elsewhere, crate::group::Reason::Platform)?;
        let (stranger, third) = machine.alone(3)?;
        // Two levels translate 30 bits.
        let domain = machine.paging(&endpoint, &[(0x1000, 0xa000)])?;
        let other = machine.paging(&endpoint, &[(0x1000, 0xb000)])?;
        group.set_default(&domain)?;
        stranger.set_default(&other)?;
        let untouched = machine.hardware(0).entry(RequesterId::new(3));

        let mut waits = [0, 1].map(|unit| machine.hardware(unit).counts().waits);
        for (iova, news) in [(1 << 30, 1), ((1 << 30) + PAGE, 0), (1 << 39, 1)] {
            assert_eq!(raw_map(&domain, iova, 0xc000, PAGE), (PAGE, Ok(())));
            for (unit, id) in [(0, 1), (1, 2)] {
                assert_eq!(machine.dma(unit, id, iova), Some(0xc000));
                assert_eq!(machine.dma(unit, id, 0x1000), Some(0xa000));
                waits[unit] += news;
                assert_eq!(machine.hardware(unit).counts().waits, waits[unit]);
            }
        }
        let entry = machine.hardware(0).entry(RequesterId::new(3));
        assert_eq!(entry, untouched);
        assert_eq!(machine.dma(0, 3, 0x1000), Some(0xb000));
        assert_eq!(machine.dma(0, 3, 1 << 30), None);

        // No endpoint is attached, so no unit is updated; a later attach uses the new top.
        stranger.set_default(&domain)?;
        assert_eq!(machine.dma(0, 3, 1 << 39), Some(0xc000));
        let before = machine.hardware(0).counts();
        map(&other, 1 << 39, 0xd000, PAGE)?;
        assert_eq!(machine.hardware(0).counts(), before);
        stranger.set_default(&other)?;
        assert_eq!(machine.dma(0, 3, 1 << 39), Some(0xd000));

        group.leave(&endpoint);
        group.leave(&elsewhere);
        stranger.leave(&third);
        drop((domain, other, group, stranger, endpoint, elsewhere, third));
        machine.finish()
    }

    /// A unit that cannot be updated to the new top has failed, and the caller of `map` gets an
    /// error.
    #[test]
    fn a_unit_that_cannot_be_updated_to_a_new_top_has_failed() -> Result {
        let machine = Machine::new(&[Options {
            levels: 4,
            grows: true,
            ..Options::default()
        }])?;
        let (group, endpoint) = machine.alone(1)?;
        let domain = machine.paging(&endpoint, &[(0x1000, 0xa000)])?;
        group.set_default(&domain)?;
        machine.hardware(0).stop_answering();
        assert_eq!(raw_map(&domain, 1 << 30, 0xb000, PAGE), (PAGE, Err(EIO)));
        assert!(machine.units[0].has_failed());
        group.leave(&endpoint);
        drop((domain, group, endpoint));
        machine.finish()
    }

    #[test]
    fn law_8_unmapped_memory_is_unreachable_after_the_sync() -> Result {
        let machine = Machine::new(&[Options::default(), Options::default()])?;
        let (group, endpoint) = machine.alone(1)?;
        let elsewhere = machine.endpoint(1, &[2])?;
        group.join(&elsewhere, crate::group::Reason::Platform)?;
        let domain = machine.paging(&endpoint, &[(0x1000, 0xa000), (0x2000, 0xb000)])?;
        group.set_default(&domain)?;
        assert_eq!(machine.dma(0, 1, 0x1000), Some(0xa000));
        assert_eq!(machine.dma(1, 2, 0x1000), Some(0xa000));

        let mut gather = Gather::new();
        assert_eq!(domain.unmap(Iova::new(0x1000), PAGE, &mut gather), PAGE);
        // The mock unit's caches are real: until the invalidation the device still reaches the
        // page.
        assert_eq!(machine.dma(0, 1, 0x1000), Some(0xa000));
        let counts = [machine.hardware(0).counts(), machine.hardware(1).counts()];
        domain.sync(&mut gather);
        assert!(gather.is_empty());
        for (unit, before) in counts.iter().enumerate() {
            // One batch and one wait for each unit.
            let now = machine.hardware(unit).counts();
            assert_eq!(now.waits, before.waits + 1);
            assert_eq!(now.invalidations, before.invalidations + 1);
        }
        assert_eq!(machine.dma(0, 1, 0x1000), None);
        assert_eq!(machine.dma(1, 2, 0x1000), None);
        assert_eq!(machine.dma(1, 2, 0x2000), Some(0xb000));
        group.leave(&endpoint);
        group.leave(&elsewhere);
        drop((domain, endpoint, elsewhere, group));
        machine.finish()
    }

    #[test]
    fn law_8_tables_are_freed_after_the_invalidation() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let (group, endpoint) = machine.alone(1)?;
        let domain = Domain::paging(&machine.registry, &endpoint)?;
        group.set_default(&domain)?;
        let empty = live_tables();
        for at in [0, 3 * LARGE] {
            map(&domain, at, 0x10_0000, PAGE)?;
            map(&domain, at + PAGE, 0x20_0000, LARGE - PAGE)?;
        }
        let full = live_tables();
        assert!(full > empty);
        // The unit caches translations and the page-table entries above them.
        assert_eq!(machine.dma(0, 1, 0), Some(0x10_0000));
        assert_eq!(machine.dma(0, 1, 0x1000), Some(0x20_0000));
        let mut gather = Gather::new();
        assert_eq!(domain.unmap(Iova::new(0), LARGE, &mut gather), LARGE);
        assert!(gather.tables_changed());
        assert_eq!(live_tables(), full);
        // The device still walks through the cached page-table page, which must not be freed yet.
        assert_eq!(machine.dma(0, 1, 0x1000), Some(0x20_0000));
        domain.sync(&mut gather);
        assert_eq!(live_tables(), full - 1);
        assert_eq!(machine.dma(0, 1, 0), None);
        assert_eq!(machine.dma(0, 1, 0x5000), None);
        assert_eq!(machine.dma(0, 1, 3 * LARGE), Some(0x10_0000));
        group.leave(&endpoint);
        drop((domain, endpoint, group));
        machine.finish()
    }

    #[test]
    fn law_8_a_large_page_replaces_tables() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let (group, endpoint) = machine.alone(1)?;
        let domain = Domain::paging(&machine.registry, &endpoint)?;
        group.set_default(&domain)?;
        map(&domain, 0, 0x10_0000, 4 * PAGE)?;
        assert_eq!(machine.dma(0, 1, 0x1000), Some(0x10_1000));
        // This is not all that the page-table page translates, so the page stays, empty.
        assert_eq!(unmap(&domain, 0, 4 * PAGE), 4 * PAGE);
        assert_eq!(machine.dma(0, 1, 0x1000), None);
        map(&domain, 0, 0x4000_0000, LARGE)?;
        assert_eq!(machine.dma(0, 1, 0x1000), Some(0x4000_1000));
        // Part of a large page.
        assert_eq!(unmap(&domain, 0x1000, PAGE), PAGE);
        assert_eq!(machine.dma(0, 1, 0x1000), None);
        assert_eq!(machine.dma(0, 1, 0x2000), Some(0x4000_2000));
        group.leave(&endpoint);
        drop((domain, endpoint, group));
        machine.finish()
    }

    /// What is invalidated if the page at `iova` is unmapped.
    fn invalidated(domain: &Domain<Mock>, iova: u64) -> Option<(Iova, Iova)> {
        let mut gather = Gather::new();
        domain.unmap(Iova::new(iova), PAGE, &mut gather);
        let range = gather.range();
        domain.sync(&mut gather);
        range
    }

    fn page(iova: u64) -> Option<(Iova, Iova)> {
        Some((Iova::new(iova), Iova::new(iova + PAGE - 1)))
    }

    #[test]
    fn after_a_split_the_next_unmap_invalidates_no_more_than_its_page() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let (group, endpoint) = machine.alone(1)?;
        let small = 4 * LARGE;
        let domain = machine.paging(&endpoint, &[(small, 0xa000), (small + LARGE, 0xb000)])?;
        group.set_default(&domain)?;
        map(&domain, 0, 0x4000_0000, LARGE)?;
        assert_eq!(machine.dma(0, 1, 0x1000), Some(0x4000_1000));
        let waits = machine.hardware(0).counts().waits;

        // The split is invalidated at once, so nothing is left to invalidate.
        let mut gather = Gather::new();
        assert_eq!(domain.unmap(Iova::new(0x1000), PAGE, &mut gather), PAGE);
        assert_eq!(machine.hardware(0).counts().waits, waits + 1);
        assert_eq!(machine.dma(0, 1, 0x1000), None);
        assert_eq!(machine.dma(0, 1, 0x2000), Some(0x4000_2000));
        assert!(gather.is_empty());
        assert_eq!(invalidated(&domain, small), page(small));

        // One that could not be invalidated is pending for ever.
        machine.units[0].fail(format_args!("a test says so"));
        map(&domain, 2 * LARGE, 0x4000_0000, LARGE)?;
        domain.unmap(Iova::new(2 * LARGE), PAGE, &mut gather);
        let block = (Iova::new(small + LARGE), Iova::new(small + 2 * LARGE - 1));
        assert_eq!(invalidated(&domain, small + LARGE), Some(block));
        group.leave(&endpoint);
        drop((group, domain));
        Ok(())
    }

    #[test]
    fn law_8_a_detach_leaves_nothing_in_the_caches() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let (group, endpoint) = machine.alone(1)?;
        let old = machine.paging(&endpoint, &[(0x1000, 0xa000)])?;
        group.set_default(&old)?;
        assert_eq!(machine.dma(0, 1, 0x1000), Some(0xa000));
        group.set_default(&machine.blocked)?;
        // No endpoint is attached, so the unmap does not call the unit.
        let counts = machine.hardware(0).counts();
        assert_eq!(unmap(&old, 0x1000, PAGE), PAGE);
        assert_eq!(machine.hardware(0).counts(), counts);
        // The next domain gets the same tag, and must not see the old translations.
        let new = machine.paging(&endpoint, &[])?;
        group.set_default(&new)?;
        assert!(machine.hardware(0).has_tag(0));
        assert_eq!(machine.dma(0, 1, 0x1000), None);
        group.leave(&endpoint);
        drop((old, new, endpoint, group));
        machine.finish()
    }

    #[test]
    fn an_invalidation_visits_a_unit_once_however_many_endpoints() -> Result {
        let machine = Machine::new(&[Options::default(), Options::default()])?;
        let group = machine.group("group")?;
        let mut endpoints = KVec::new();
        for id in 0..8 {
            let endpoint = machine.endpoint(0, &[id])?;
            group.join(&endpoint, crate::group::Reason::Platform)?;
            endpoints.push(endpoint, GFP_KERNEL)?;
        }
        let domain = machine.paging(&endpoints[0], &[(0x1000, 0xa000)])?;
        group.set_default(&domain)?;
        let counts = machine.hardware(0).counts();
        domain.invalidate(Scope::All)?;
        assert_eq!(
            machine.hardware(0).counts().invalidations,
            counts.invalidations + 1
        );
        assert_eq!(machine.hardware(0).counts().waits, counts.waits + 1);
        assert_eq!(machine.hardware(1).counts().invalidations, 0);
        for endpoint in endpoints.iter() {
            group.leave(endpoint);
        }
        drop((domain, endpoints, group));
        machine.finish()
    }

    #[test]
    fn a_unit_that_caches_non_present_entries_is_invalidated_after_a_map() -> Result {
        let caching = Options {
            caches_absent: true,
            ..Options::default()
        };
        let machine = Machine::new(&[Options::default(), caching])?;
        let (group, endpoint) = machine.alone(1)?;
        let domain = machine.paging(&endpoint, &[])?;
        group.set_default(&domain)?;
        let counts = machine.hardware(0).counts();
        map(&domain, 0x1000, 0xa000, PAGE)?;
        assert_eq!(machine.hardware(0).counts(), counts);

        let elsewhere = machine.endpoint(1, &[2])?;
        group.join(&elsewhere, crate::group::Reason::Platform)?;
        assert_eq!(machine.dma(1, 2, 0x2000), None);
        let (mapped, result) = raw_map(&domain, 0x2000, 0xb000, PAGE);
        assert_eq!(mapped, PAGE);
        result?;
        assert_eq!(machine.dma(1, 2, 0x2000), None);
        let (quiet, caching) = (machine.hardware(0).counts(), machine.hardware(1).counts());
        domain.sync_map(Iova::new(0x2000), Iova::new(0x2fff))?;
        assert_eq!(machine.dma(1, 2, 0x2000), Some(0xb000));
        assert_eq!(machine.hardware(0).counts(), quiet);
        assert_eq!(machine.hardware(1).counts().waits, caching.waits + 1);
        group.leave(&elsewhere);
        group.leave(&endpoint);
        drop((domain, elsewhere, endpoint, group));
        machine.finish()
    }

    #[test]
    fn law_8_tables_that_a_failed_unit_may_use_are_never_freed() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let (group, endpoint) = machine.alone(1)?;
        let domain = machine.paging(&endpoint, &[])?;
        // The two addresses are not equally aligned, so the mapping needs a table of small pages.
        map(&domain, LARGE, PAGE, LARGE)?;
        group.set_default(&domain)?;
        let tables = live_tables();

        machine.units[0].fail(format_args!("a test says so"));
        assert_eq!(unmap(&domain, LARGE, LARGE), LARGE);
        assert_eq!(live_tables(), tables);

        group.leave(&endpoint);
        drop((group, domain));
        assert_eq!(live_tables(), tables);
        Ok(())
    }

    #[test]
    fn after_a_failed_unit_the_others_still_see_new_mappings() -> Result {
        for failing in 0..2 {
            let caching = Options {
                caches_absent: true,
                ..Options::default()
            };
            let machine = Machine::new(&[caching, caching])?;
            let (group, endpoint) = machine.alone(1)?;
            let elsewhere = machine.endpoint(1, &[2])?;
            group.join(&elsewhere, crate::group::Reason::Platform)?;
            let domain = machine.paging(&endpoint, &[])?;
            group.set_default(&domain)?;
            assert_eq!(machine.dma(0, 1, 0x1000), None);
            assert_eq!(machine.dma(1, 2, 0x1000), None);
            machine.units[failing].fail(format_args!("a test wants it"));
            raw_map(&domain, 0x1000, 0xa000, PAGE).1?;
            let synced = domain.sync_map(Iova::new(0x1000), Iova::new(0x1fff));
            assert_eq!(synced, Err(EIO));
            let good = [machine.dma(0, 1, 0x1000), machine.dma(1, 2, 0x1000)];
            assert_eq!(good[1 - failing], Some(0xa000));
            group.leave(&elsewhere);
            group.leave(&endpoint);
            drop((domain, elsewhere, endpoint, group));
            machine.finish()?;
        }
        Ok(())
    }

    #[test]
    fn bad_arguments_get_their_errno_and_leave_no_trace() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let (group, endpoint) = machine.alone(1)?;
        let domain = machine.paging(&endpoint, &[(0x1000, 0xa000)])?;
        group.set_default(&domain)?;
        let before = machine.snapshot()?;
        let end = 1 << 39;
        assert_eq!(raw_map(&domain, 0x2001, 0xb000, PAGE), (0, Err(EINVAL)));
        assert_eq!(raw_map(&domain, 0x2000, 0xb001, PAGE), (0, Err(EINVAL)));
        assert_eq!(raw_map(&domain, 0x2000, 0xb000, PAGE - 1), (0, Err(EINVAL)));
        assert_eq!(raw_map(&domain, 0x2000, 0xb000, 0), (0, Err(EINVAL)));
        assert_eq!(raw_map(&domain, end, 0xb000, PAGE), (0, Err(ERANGE)));
        assert_eq!(
            raw_map(&domain, end - PAGE, 0xb000, 2 * PAGE),
            (0, Err(ERANGE))
        );
        assert!(raw_map(&domain, !0xfff, 0xb000, 2 * PAGE).1.is_err());
        assert_eq!(
            raw_map(&domain, 0x1000, 0xb000, PAGE),
            (0, Err(pgtable::Error::InUse.into()))
        );
        for (iova, len) in [
            (0x1001, PAGE),
            (0x1000, 0),
            (0x1000, 5),
            (end, PAGE),
            (!0xfff, PAGE),
        ] {
            assert_eq!(unmap(&domain, iova, len), 0);
        }
        assert_eq!(unmap(&domain, 0x8000, PAGE), 0);
        assert!(machine.snapshot()? == before);
        assert_eq!(domain.record().mapped(), PAGE as i64);
        assert_eq!(machine.dma(0, 1, 0x1000), Some(0xa000));
        group.leave(&endpoint);
        drop((domain, endpoint, group));
        machine.finish()
    }

    #[test]
    fn a_map_that_runs_out_of_memory_returns_the_bytes_mapped() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let (group, endpoint) = machine.alone(1)?;
        // Below the root the mapping needs one page-table page, and one more for each of two
        // regions.
        for (n, expected) in [(1, 0), (2, 0), (3, LARGE - PAGE)] {
            let domain = machine.paging(&endpoint, &[])?;
            group.set_default(&domain)?;
            FAIL_TABLE.arm(n);
            let (mapped, result) = raw_map(&domain, 0x1000, 0xa000, LARGE);
            assert_eq!(result, Err(ENOMEM));
            assert_eq!(mapped, expected);
            assert_eq!(domain.record().mapped(), mapped as i64);
            assert_eq!(unmap(&domain, 0x1000, mapped), mapped);
            assert_eq!(domain.record().mapped(), 0);
            raw_map(&domain, 0x1000, 0xa000, LARGE).1?;
            assert_eq!(machine.dma(0, 1, LARGE), Some(0xa000 + LARGE - PAGE));
        }
        let domain = machine.paging(&endpoint, &[])?;
        paging_of(&domain)?.fail_map.arm(1);
        assert_eq!(raw_map(&domain, 0x1000, 0xa000, PAGE), (0, Err(ENOMEM)));
        assert_eq!(domain.record().mapped(), 0);
        group.leave(&endpoint);
        drop((domain, endpoint, group));
        machine.finish()
    }

    #[test]
    fn identity_and_blocked_map_nothing() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let (group, endpoint) = machine.alone(1)?;
        let identity = machine.identity()?;
        for domain in [&identity, &machine.blocked] {
            assert_eq!(raw_map(domain, 0x1000, 0xa000, PAGE), (0, Err(EINVAL)));
            assert_eq!(unmap(domain, 0x1000, PAGE), 0);
            assert_eq!(domain.geometry().err(), Some(EINVAL));
        }
        assert_eq!(
            identity.iova_to_phys(Iova::new(0x1234)),
            Some(PhysAddr::new(0x1234))
        );
        assert_eq!(machine.blocked.iova_to_phys(Iova::new(0x1234)), None);
        group.set_default(&identity)?;
        assert_eq!(machine.dma(0, 1, 0x1234), Some(0x1234));
        group.leave(&endpoint);
        drop((identity, endpoint, group));
        machine.finish()
    }

    #[test]
    fn a_domain_reports_its_geometry() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let endpoint = machine.endpoint(0, &[1])?;
        let domain = machine.paging(&endpoint, &[])?;
        let geometry = domain.geometry()?;
        assert_eq!(geometry.first, Iova::new(0));
        assert_eq!(geometry.last, Iova::new((1 << 39) - 1));
        assert_eq!(geometry.page_sizes, PageSizes::SZ_4K | PageSizes::SZ_2M);
        let record = domain.record();
        assert_eq!(record.kind(), "paging");
        assert_eq!(record.driver(), "mock");
        drop((domain, endpoint));
        machine.finish()
    }

    #[test]
    fn a_domain_that_enforces_coherency() -> Result {
        let cannot = Options {
            can_snoop: false,
            ..Options::default()
        };
        let machine = Machine::new(&[Options::default(), cannot])?;
        let (group, endpoint) = machine.alone(1)?;
        let other = machine.group("other")?;
        let elsewhere = machine.endpoint(1, &[2])?;
        other.join(&elsewhere, crate::group::Reason::Isolated)?;

        let snooping = machine.paging(&endpoint, &[])?;
        group.set_default(&snooping)?;
        assert!(snooping.enforce_coherency());
        map(&snooping, 0x1000, 0xa000, PAGE)?;
        assert!(snooping.enforce_coherency());
        let before = machine.snapshot()?;
        assert_eq!(other.set_default(&snooping), Err(EINVAL));
        assert!(machine.snapshot()? == before);

        // An attached endpoint's unit cannot enforce snooping. A failed attach does not count
        // against the domain.
        let plain = machine.paging(&endpoint, &[])?;
        elsewhere.data().fail_prepare.arm(1);
        assert_eq!(other.set_default(&plain), Err(ENOMEM));
        other.set_default(&plain)?;
        assert!(!plain.enforce_coherency());
        other.set_default(&machine.blocked)?;
        map(&plain, 0x1000, 0xa000, PAGE)?;
        assert!(!plain.enforce_coherency());
        assert_eq!(unmap(&plain, 0x1000, PAGE), PAGE);
        assert!(plain.enforce_coherency());
        assert!(!machine.identity()?.enforce_coherency());
        group.leave(&endpoint);
        other.leave(&elsewhere);
        drop((snooping, plain, endpoint, elsewhere, group, other));
        machine.finish()
    }

    #[test]
    fn law_8_tables_are_kept_after_the_last_endpoint_left_a_failed_unit() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let (group, endpoint) = machine.alone(1)?;
        let domain = machine.paging(&endpoint, &[])?;
        group.set_default(&domain)?;
        map(&domain, 0, 0x10_0000, LARGE / 2)?;
        map(&domain, LARGE / 2, 0x90_0000, LARGE / 2)?;
        assert_eq!(machine.dma(0, 1, 0x1000), Some(0x10_1000));
        let tables = live_tables();
        machine.hardware(0).stop_answering();
        group.set_default(&machine.blocked)?;
        assert!(machine.units[0].has_failed());
        // The failed unit was not invalidated: it may still read any old page-table page.
        assert_eq!(unmap(&domain, 0, LARGE), LARGE);
        assert_eq!(live_tables(), tables);
        machine.dma(0, 1, 0x2000);
        group.leave(&endpoint);
        drop((domain, endpoint, group));
        assert_eq!(live_tables(), tables);
        machine.dma(0, 1, 0x3000);
        machine.finish()
    }

    /// A caller that frees tables itself, such as a flush queue, frees them also after the
    /// invalidation has failed.
    #[test]
    fn law_8_after_a_failed_invalidation_no_caller_gets_tables() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let (group, endpoint) = machine.alone(1)?;
        let domain = machine.paging(&endpoint, &[])?;
        group.set_default(&domain)?;
        for at in [0, 2 * LARGE] {
            map(&domain, at, 0x10_0000, LARGE / 2)?;
            map(&domain, at + LARGE / 2, 0x90_0000, LARGE / 2)?;
        }
        let tables = live_tables();
        // As long as no invalidation has failed, the caller gets the tables.
        let mut gather = Gather::new();
        assert_eq!(domain.unmap(Iova::new(0), LARGE, &mut gather), LARGE);
        let mut taken = domain.take_tables(&mut gather);
        domain.invalidate(Scope::All)?;
        taken.free();
        assert_eq!(live_tables(), tables - 1);

        machine.units[0].fail(format_args!("a test says so"));
        assert_eq!(domain.invalidate(Scope::All), Err(EIO));
        let mut gather = Gather::new();
        let at = Iova::new(2 * LARGE);
        assert_eq!(domain.unmap(at, LARGE, &mut gather), LARGE);
        domain.take_tables(&mut gather).free();
        assert_eq!(live_tables(), tables - 1);
        group.leave(&endpoint);
        drop((domain, endpoint, group));
        assert_eq!(live_tables(), tables - 1);
        Ok(())
    }

    /// More units than the domain copies per turn of its lock, and a multiple of that.
    #[test]
    fn law_8_every_unit_of_a_domain_is_invalidated() -> Result {
        for count in [1, 4, 5, 8, 9, 13] {
            let options = Options {
                caches_absent: true,
                ..Options::default()
            };
            let all = KVec::from_elem(options, count, GFP_KERNEL)?;
            let machine = Machine::new(&all)?;
            let group = machine.group("group")?;
            let mut endpoints = KVec::new();
            for unit in 0..count {
                let endpoint = machine.endpoint(unit, &[1])?;
                group.join(&endpoint, crate::group::Reason::Platform)?;
                endpoints.push(endpoint, GFP_KERNEL)?;
            }
            let domain = machine.paging(&endpoints[0], &[(0x1000, 0xa000)])?;
            group.set_default(&domain)?;
            for unit in 0..count {
                assert_eq!(machine.dma(unit, 1, 0x1000), Some(0xa000));
                // These units cache that nothing is mapped here.
                assert_eq!(machine.dma(unit, 1, 0x2000), None);
            }
            raw_map(&domain, 0x2000, 0xb000, PAGE).1?;
            domain.sync_map(Iova::new(0x2000), Iova::new(0x2fff))?;
            assert_eq!(unmap(&domain, 0x1000, PAGE), PAGE);
            for unit in 0..count {
                assert_eq!(machine.dma(unit, 1, 0x1000), None);
                assert_eq!(machine.dma(unit, 1, 0x2000), Some(0xb000));
            }
            endpoints.iter().for_each(|endpoint| group.leave(endpoint));
            drop((domain, endpoints, group));
            machine.finish()?;
        }
        Ok(())
    }
}
