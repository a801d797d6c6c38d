// SPDX-License-Identifier: GPL-2.0

//! Fields of 64-bit words, named by their highest and lowest bit as the specification does.

#![forbid(unsafe_code)]

/// The mask of bits `high` to `low`.
pub const fn mask(high: u32, low: u32) -> u64 {
    (u64::MAX >> (63 - (high - low))) << low
}

/// Bits `high` to `low` of `value`.
pub const fn field(value: u64, high: u32, low: u32) -> u64 {
    (value & mask(high, low)) >> low
}

/// Bit `at` of `value`.
pub const fn bit(value: u64, at: u32) -> bool {
    value >> at & 1 != 0
}

/// `value` as bits `high` to `low`. Bits that do not fit are dropped.
pub const fn put(value: u64, high: u32, low: u32) -> u64 {
    (value << low) & mask(high, low)
}

/// Bit `at`, if `set`.
pub const fn flag(set: bool, at: u32) -> u64 {
    (set as u64) << at
}
