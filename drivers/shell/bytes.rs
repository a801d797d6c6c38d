// SPDX-License-Identifier: GPL-2.0

//! Little-endian numbers in the bytes of a firmware table.
//!
//! A read past the end returns 0. Parsers check lengths before they read; if a check is missing,
//! the result is wrong, but nothing panics.

#![forbid(unsafe_code)]

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.get(..N)?.try_into().ok()
}

/// The byte at offset `at`.
pub fn u8_at(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

/// The 16-bit number at offset `at`.
pub fn u16_at(bytes: &[u8], at: usize) -> u16 {
    array(bytes, at).map_or(0, u16::from_le_bytes)
}

/// The 32-bit number at offset `at`.
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    array(bytes, at).map_or(0, u32::from_le_bytes)
}

/// The 64-bit number at offset `at`.
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    array(bytes, at).map_or(0, u64::from_le_bytes)
}
