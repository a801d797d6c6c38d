// SPDX-License-Identifier: GPL-2.0

//! When tables that wait for a flush are freed.

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use kernel::{alloc::flags::GFP_KERNEL, macros::kunit_tests, prelude::*, sync::Arc};

use super::Deferred;
use crate::pgtable::{Table, TableList};

/// How many were freed.
static FREED: AtomicUsize = AtomicUsize::new(0);

/// A list that counts.
#[derive(Default)]
struct Counted(usize);

impl TableList for Counted {
    fn push(&mut self, _table: Table) {
        self.0 += 1;
    }

    fn append(&mut self, other: &mut Self) {
        self.0 += core::mem::take(&mut other.0);
    }

    fn is_empty(&self) -> bool {
        self.0 == 0
    }

    fn free(&mut self) {
        FREED.fetch_add(core::mem::take(&mut self.0), Relaxed);
    }
}

fn freed() -> usize {
    FREED.swap(0, Relaxed)
}

#[kunit_tests(iommu_core_provider_deferred)]
mod suite {
    use super::*;

    #[test]
    fn law_8_deferred_tables_are_freed_after_the_flush() -> Result {
        let deferred = Arc::pin_init(Deferred::new(), GFP_KERNEL)?;
        freed();
        deferred.add(Counted(2));
        deferred.add(Counted(0));
        deferred.add(Counted(3));
        assert_eq!(freed(), 0);
        deferred.flush(|| {
            assert_eq!(freed(), 0);
            // Another processor unmaps while the units invalidate.
            deferred.add(Counted(4));
            Ok(())
        });
        assert_eq!(freed(), 5);
        deferred.flush(|| Ok(()));
        assert_eq!(freed(), 4);
        deferred.flush(|| Ok(()));
        assert_eq!(freed(), 0);
        Ok(())
    }

    #[test]
    fn law_8_deferred_tables_are_never_freed_if_the_flush_fails() -> Result {
        let deferred = Arc::pin_init(Deferred::new(), GFP_KERNEL)?;
        freed();
        deferred.add(Counted(2));
        deferred.flush(|| Err(EIO));
        assert_eq!(freed(), 0);
        deferred.flush(|| Ok(()));
        assert_eq!(freed(), 0);
        Ok(())
    }
}
