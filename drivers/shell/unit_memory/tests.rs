// SPDX-License-Identifier: GPL-2.0

//! Memory that a unit may access is not freed.

#![forbid(unsafe_code)]

use kernel::{macros::kunit_tests, sync::Arc};

use super::*;
use crate::pgtable::Entry;

/// A value that counts how often it is dropped.
struct Counted(Arc<Atomic<u64>>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.add(1, Relaxed);
    }
}

#[kunit_tests(iommu_core_shell_unit_memory)]
mod suite {
    use super::*;

    /// Laws 7 and 8.
    #[test]
    fn what_a_unit_may_access_is_dropped_only_after_it_was_taken_back() -> Result {
        let drops = Arc::new(Atomic::new(0), GFP_KERNEL)?;
        let new = || Exposed::new("a test's memory", Counted(drops.clone()));

        drop(new());
        assert_eq!(drops.load(Relaxed), 1);

        let exposed = new();
        exposed.hand_over();
        assert!(exposed.is_in_use());
        drop(exposed);
        assert_eq!(drops.load(Relaxed), 1);

        let exposed = new();
        exposed.hand_over();
        exposed.take_back(&Off::observed());
        assert!(!exposed.is_in_use());
        drop(exposed);
        assert_eq!(drops.load(Relaxed), 2);
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
