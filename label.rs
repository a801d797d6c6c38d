// SPDX-License-Identifier: GPL-2.0

//! Short names, stored by value.
//!
//! Messages and debugfs name devices, drivers and owners that may no longer exist when the text is
//! read. A [`Label`] is a copy that needs no allocation, so a refusal or a fault can always be
//! explained.

#![forbid(unsafe_code)]

use core::fmt;

const CAPACITY: usize = 55;

/// A name of at most 55 bytes; a longer name is cut at a character boundary.
#[derive(Copy, Clone, PartialEq, Eq)]
pub struct Label {
    len: u8,
    bytes: [u8; CAPACITY],
}

impl Label {
    /// The empty label.
    pub const EMPTY: Self = Self {
        len: 0,
        bytes: [0; CAPACITY],
    };

    /// Formats `args` into a label.
    pub fn new(args: fmt::Arguments<'_>) -> Self {
        let mut label = Self::EMPTY;
        // A full label returns an error. The text that fits is kept, so the error is ignored.
        let _ = fmt::write(&mut label, args);
        label
    }

    /// The name of a process: `name (pid 12)`. `name` ends at its first zero.
    ///
    /// Every attach makes one, so this does without the formatting of the core library.
    pub fn process(name: &[u8; 16], pid: u32) -> Self {
        let end = name.iter().position(|&byte| byte == 0);
        let name = &name[..end.unwrap_or(name.len())];
        let is_text = name.is_ascii() || core::str::from_utf8(name).is_ok();

        let mut digits = [b'0'; 10];
        let mut first = digits.len();
        let mut rest = pid;
        while rest > 0 || first == digits.len() {
            first -= 1;
            digits[first] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }

        let mut label = Self::EMPTY;
        label.push(if is_text { name } else { b"?" });
        label.push(b" (pid ");
        label.push(&digits[first..]);
        label.push(b")");
        label
    }

    /// Appends text for which there is room.
    fn push(&mut self, text: &[u8]) {
        let start = usize::from(self.len);
        let end = start + text.len();
        self.bytes[start..end].copy_from_slice(text);
        self.len = end as u8;
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or("?")
    }

    /// Whether there is no text.
    // Asked by host tests.
    #[allow(dead_code)]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl From<&str> for Label {
    fn from(text: &str) -> Self {
        Self::new(format_args!("{text}"))
    }
}

impl fmt::Write for Label {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let start = usize::from(self.len);
        let mut take = text.len().min(CAPACITY - start);
        while !text.is_char_boundary(take) {
            take -= 1;
        }
        self.bytes[start..start + take].copy_from_slice(&text.as_bytes()[..take]);
        self.len += take as u8;
        if take == text.len() {
            Ok(())
        } else {
            Err(fmt::Error)
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
