// SPDX-License-Identifier: GPL-2.0

//! Which pages a driver is asked for that maps pages of one size at a time.

#![forbid(unsafe_code)]

use crate::addr::PageSizes;

/// Pages of one size, one after the other.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// Bytes of a page.
    pub size: u64,
    /// How many.
    pub count: u64,
}

/// The next run of pages for `len` bytes at `iova` that lead to `phys`: the largest size that fits
/// and that both addresses are aligned to, as many as there are up to the place where a larger one
/// fits.
///
/// `None` if not even the smallest size does, or if `len` is 0.
#[inline]
pub fn next_run(sizes: PageSizes, iova: u64, phys: u64, len: u64) -> Option<Run> {
    // A size fits if its bit is not above the length's highest, and is aligned if it is not above
    // the lowest bit of either address.
    let fitting = sizes.raw() & up_to(len.checked_ilog2()?);
    let address = iova | phys;
    let aligned = match address {
        0 => fitting,
        _ => fitting & up_to(address.trailing_zeros()),
    };
    let shift = aligned.checked_ilog2()?;

    let larger = sizes.raw() & !up_to(shift);
    let mut bytes = len;
    if larger != 0 {
        let larger = 1 << larger.trailing_zeros();
        if (iova ^ phys) & (larger - 1) == 0 {
            // Here both addresses reach a multiple of the larger size at the same time.
            let before = larger - (iova & (larger - 1));
            if before.checked_add(larger).is_some_and(|end| end <= len) {
                bytes = before;
            }
        }
    }
    Some(Run {
        size: 1 << shift,
        count: bytes >> shift,
    })
}

/// The bits up to and including number `bit`.
const fn up_to(bit: u32) -> u64 {
    u64::MAX >> (u64::BITS - 1 - bit)
}
