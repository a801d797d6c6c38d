// SPDX-License-Identifier: GPL-2.0

//! An answer is valid, however late the processor looks.

#![forbid(unsafe_code)]

use kernel::macros::kunit_tests;

use super::*;

const NO_TIME: Delta = Delta::from_millis(0);
const LIMIT: Delta = Delta::from_millis(5);
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

    /// The clock was read before the look, so time that passes during the look does not count.
    #[test]
    fn a_look_that_takes_long_blames_nobody() -> Result {
        let wait = Wait::begin(LIMIT);
        let mut at_look = LONG;
        let look = wait.look(1, || {
            at_look = wait.start.elapsed();
            while wait.start.elapsed() < LIMIT {
                cpu_relax();
            }
            false
        });
        let Err(in_vain) = look else {
            return Err(EINVAL);
        };
        assert!(in_vain.waited <= at_look);
        assert_eq!(in_vain.is_late(), in_vain.waited >= LIMIT);
        let Err(in_vain) = wait.look(1, || false) else {
            return Err(EINVAL);
        };
        assert!(in_vain.is_late());
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
