// SPDX-License-Identifier: GPL-2.0

//! Numbers of batches, slots, and giving up.

#![forbid(unsafe_code)]

use kernel::macros::kunit_tests;

use super::*;

#[kunit_tests(iommu_core_shell_queue)]
mod suite {
    use super::*;

    #[test]
    fn numbers_wrap_around() -> Result {
        let is_reached = u32::is_reached;
        assert!(is_reached(7, 7));
        assert!(is_reached(7, 8));
        assert!(!is_reached(8, 7));
        assert!(is_reached(u32::MAX, 0));
        assert!(is_reached(u32::MAX, u32::MAX));
        assert!(!is_reached(0, u32::MAX));
        assert_eq!(u32::MAX.next(), 0);

        let is_reached = u64::is_reached;
        assert!(is_reached(7, 7));
        assert!(is_reached(u64::MAX, 0));
        assert!(!is_reached(0, u64::MAX));
        assert!(!is_reached(1 << 32, 0));
        assert_eq!(u64::MAX.next(), 0);
        Ok(())
    }

    #[test]
    fn nothing_is_done_before_the_unit_says_so() -> Result {
        let completions = Completions::<u32>::new(-1)?;
        assert_eq!(completions.last(), 0);
        assert!(!completions.is_done(1));
        completions.play(2);
        assert!(completions.is_done(1));
        assert!(completions.is_done(2));
        assert!(!completions.is_done(3));
        // The unit writes 32 bits only.
        completions.play(7 << 32 | 3);
        assert!(completions.is_done(3));
        assert!(!completions.is_done(4));
        Ok(())
    }

    #[test]
    fn slots_do_not_overlap() -> Result {
        let slots = Slots::<4>::new(-1, 8)?;
        let record = |index: usize| [0, 1, 2, 3].map(|word| (index * 4 + word) as u64 + 1);
        for index in 0..8 {
            assert_eq!(slots.read(index), [0; 4]);
            slots.write(index, record(index));
        }
        for index in 0..8 {
            assert_eq!(slots.read(index), record(index));
        }
        // Records are next to each other in memory, the lowest word first.
        let words = slots.pages.words();
        assert!((1..=32).all(|word| words[word - 1].load() == word as u64));
        Ok(())
    }

    #[test]
    fn the_first_reason_to_give_up_is_the_one() -> Result {
        let given_up = GivenUp::new();
        assert!(!given_up.is_set());
        assert_eq!(given_up.set(1, 0), 1);
        assert!(given_up.is_set());
        assert_eq!(given_up.set(2, 0), 0);
        given_up.clear();
        assert!(!given_up.is_set());
        assert_eq!(given_up.set(3, 0), 3);
        Ok(())
    }
}
