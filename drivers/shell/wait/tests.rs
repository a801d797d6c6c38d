// SPDX-License-Identifier: GPL-2.0

//! Who waits finds what is there, however late it looks.

#![forbid(unsafe_code)]

use kernel::macros::kunit_tests;

use super::*;

const NO_TIME: Delta = Delta::from_millis(0);
/// Longer than a processor is away between two statements.
const LIMIT: Delta = Delta::from_millis(200);
const LONG: Delta = Delta::from_secs(3600);

#[kunit_tests(iommu_core_shell_wait)]
mod suite {
    use super::*;

    /// The processor was away for longer than the limit, and the unit has answered meanwhile.
    #[test]
    fn an_answer_is_taken_when_the_time_is_over() -> Result {
        let wait = Wait::begin(NO_TIME);
        assert!(wait.look(1, || true).is_ok());
        assert_eq!(wait_until(NO_TIME, || true), Ok(()));
        Ok(())
    }

    /// The clock before the look counts, not the one after it.
    #[test]
    fn a_look_that_takes_long_blames_nobody() -> Result {
        let wait = Wait::begin(LIMIT);
        let look = wait.look(1, || {
            while wait.start.elapsed() < LIMIT {
                cpu_relax();
            }
            false
        });
        let Err(first) = look else {
            return Err(EINVAL);
        };
        assert!(!first.is_late());
        let Err(second) = wait.look(1, || false) else {
            return Err(EINVAL);
        };
        assert!(second.is_late());
        Ok(())
    }

    #[test]
    fn looks_are_counted() -> Result {
        let wait = Wait::begin(LONG);
        let mut looks = 0;
        let look = wait.look(7, || {
            looks += 1;
            false
        });
        assert_eq!(looks, 7);
        let Err(in_vain) = look else {
            return Err(EINVAL);
        };
        assert!(!in_vain.is_late());
        assert!(in_vain.has_lasted(NO_TIME));
        let mut looks = 0;
        assert!(wait
            .look(7, || {
                looks += 1;
                looks == 3
            })
            .is_ok());
        assert_eq!(looks, 3);
        Ok(())
    }

    #[test]
    fn what_never_comes_is_waited_for_as_long_as_it_may_take() -> Result {
        let start = Instant::<Monotonic>::now();
        assert_eq!(wait_until(LIMIT, || false), Err(ETIMEDOUT));
        assert!(start.elapsed() >= LIMIT);
        Ok(())
    }
}
