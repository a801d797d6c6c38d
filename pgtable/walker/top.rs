// SPDX-License-Identifier: GPL-2.0

//! The top of a page table, where a walk starts: the root, and the number of levels.

#![forbid(unsafe_code)]

use crate::{addr::PhysAddr, pgtable::format::MIN_ROOT_LG2};

/// The root of a page table and the number of its levels, as a unit's entries contain them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Top {
    /// Address of the root.
    pub root: PhysAddr,
    /// Number of levels, including the root's.
    pub levels: u8,
}

impl Top {
    /// The address bits that are 0 in the address of every root.
    const LEVELS: u64 = (1 << MIN_ROOT_LG2) - 1;

    /// Packs both into one value, which can be exchanged atomically.
    #[inline(always)]
    pub(super) fn pack(self) -> u64 {
        self.root.raw() | u64::from(self.levels)
    }

    #[inline(always)]
    pub(super) fn unpack(value: u64) -> Self {
        Self {
            root: PhysAddr::new(value & !Self::LEVELS),
            levels: (value & Self::LEVELS) as u8,
        }
    }
}

/// Calls a method for the level of a top: `from_top!(self, top, method, arguments...)`.
macro_rules! from_top {
    ($self:ident, $top:expr, $method:ident $(, $arg:expr)*) => {{
        let top = $top;
        let root = Table::at(top.root);

        // INVARIANT: The number of levels is within the format's limits, so arms outside of them
        // are never taken, and the compiler drops them.
        if F::FULL_ROOT {
            from_top!(@ At, $self, top.levels, $method, root $(, $arg)*)
        } else {
            from_top!(@ Root, $self, top.levels, $method, root $(, $arg)*)
        }
    }};
    (@ $at:ident, $self:ident, $levels:expr, $method:ident $(, $arg:expr)*) => {
        match $levels {
            2 if F::MIN_LEVELS <= 2 && F::MAX_LEVELS > 2 => $self.$method::<$at<1>>($($arg),*),
            3 if F::MIN_LEVELS <= 3 && F::MAX_LEVELS > 3 => $self.$method::<$at<2>>($($arg),*),
            4 if F::MIN_LEVELS <= 4 && F::MAX_LEVELS > 4 => $self.$method::<$at<3>>($($arg),*),
            5 if F::MIN_LEVELS <= 5 && F::MAX_LEVELS > 5 => $self.$method::<$at<4>>($($arg),*),
            _ if F::MAX_LEVELS == 3 => $self.$method::<$at<2>>($($arg),*),
            _ if F::MAX_LEVELS == 4 => $self.$method::<$at<3>>($($arg),*),
            _ if F::MAX_LEVELS == 5 => $self.$method::<$at<4>>($($arg),*),
            _ => $self.$method::<$at<5>>($($arg),*),
        }
    };
}
pub(super) use from_top;
