// SPDX-License-Identifier: GPL-2.0

//! Memory that a unit may access is not freed.

#![forbid(unsafe_code)]

use kernel::macros::kunit_tests;

use super::*;
use crate::pgtable::Entry;

/// How often a [`Counted`] was dropped. Static, because the one that is leaked must not keep memory
/// that kmemleak would report.
static DROPS: Atomic<u64> = Atomic::new(0);

/// A value that counts how often it is dropped.
struct Counted;

impl Drop for Counted {
    fn drop(&mut self) {
        DROPS.add(1, Relaxed);
    }
}

#[kunit_tests(iommu_core_shell_unit_memory)]
mod suite {
    use super::*;

    /// Laws 7 and 8.
    #[test]
    fn what_a_unit_may_access_is_dropped_only_after_it_was_taken_back() -> Result {
        let before = DROPS.load(Relaxed);
        let drops = || DROPS.load(Relaxed) - before;
        let new = || Exposed::new("a test's memory", Counted);

        drop(new());
        assert_eq!(drops(), 1);

        let exposed = new();
        exposed.hand_over();
        assert!(exposed.is_in_use());
        drop(exposed);
        assert_eq!(drops(), 1);

        let exposed = new();
        exposed.hand_over();
        exposed.take_back(&Off::observed());
        assert!(!exposed.is_in_use());
        drop(exposed);
        assert_eq!(drops(), 2);
        Ok(())
    }

    #[test]
    fn pages_are_zero_and_aligned_to_their_size() -> Result {
        for bytes in [4096, 8192, 64 << 10] {
            let pages = Pages::new(-1, bytes)?;
            assert_eq!(pages.addr().raw() % bytes as u64, 0);
            assert_eq!(pages.words().len(), bytes / 8);
            assert!(pages.words().iter().all(|word| word.load() == 0));
        }
        Ok(())
    }
}
