// SPDX-License-Identifier: GPL-2.0

//! Records of the PRI queue (SMMUv3 IHI 0070, chapter 8).

#![forbid(unsafe_code)]

use core::fmt;

use super::bits::{bit, field, mask};

/// 64-bit words of a record.
pub const PAGE_REQUEST_WORDS: usize = 2;

/// A device's request to make a page present (chapter 8).
///
/// | word | bits | field |
/// |---|---|---|
/// | 0 | 31:0 | stream id |
/// | 0 | 51:32 | substream id |
/// | 0 | 58 | pX/uX: privileged |
/// | 0 | 59 | X: execute |
/// | 0 | 60 | R: read |
/// | 0 | 61 | W: write |
/// | 0 | 62 | L: last of its group |
/// | 0 | 63 | SSV: there is a substream id |
/// | 1 | 8:0 | index of the group |
/// | 1 | 63:12 | page |
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct PageRequest {
    /// The stream id.
    pub stream: u32,
    /// The substream id, if there is one.
    pub substream: Option<u32>,
    /// The page, 4 KiB aligned.
    pub page: u64,
    /// Index of the group, 0 to 511. A group gets one answer.
    pub group: u16,
    /// Whether it is the last of its group, which the answer is sent to.
    pub last: bool,
    /// The device wants to read.
    pub read: bool,
    /// The device wants to write.
    pub write: bool,
    /// The device wants to execute.
    pub execute: bool,
    /// The access is privileged.
    pub privileged: bool,
}

impl PageRequest {
    /// Decodes a record.
    pub const fn decode(words: [u64; PAGE_REQUEST_WORDS]) -> Self {
        let [first, second] = words;
        Self {
            stream: first as u32,
            substream: if bit(first, 63) {
                Some(field(first, 51, 32) as u32)
            } else {
                None
            },
            page: second & mask(63, 12),
            group: field(second, 8, 0) as u16,
            last: bit(first, 62),
            read: bit(first, 60),
            write: bit(first, 61),
            execute: bit(first, 59),
            privileged: bit(first, 58),
        }
    }

    /// Whether it is a Stop PASID marker: it requests nothing (chapter 8).
    pub const fn is_stop_marker(&self) -> bool {
        self.last && !self.read && !self.write
    }
}

/// For example `page 0x1000 to read and write, group 5`.
impl fmt::Display for PageRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "page {:#x} to", self.page)?;
        let mut word = " ";
        for (asked, what) in [
            (self.read, "read"),
            (self.write, "write"),
            (self.execute, "execute"),
        ] {
            if asked {
                write!(f, "{word}{what}")?;
                word = " and ";
            }
        }
        if !(self.read || self.write || self.execute) {
            f.write_str(" do nothing")?;
        }
        if let Some(substream) = self.substream {
            write!(f, ", substream {substream:#x}")?;
        }
        write!(f, ", group {:#x}", self.group)
    }
}
