// SPDX-License-Identifier: GPL-2.0

//! Faults: DMA that a unit refused.

#![forbid(unsafe_code)]

use core::fmt;

use crate::{addr::Iova, pasid::Pasid, requester::RequesterId};

/// The kind of access that the unit refused.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Access {
    /// Memory read, or an atomic operation's read.
    Read,
    /// Memory write.
    Write,
    /// Instruction fetch.
    Execute,
    /// An interrupt message.
    Interrupt,
}

/// One fault, decoded by the vendor driver.
#[derive(Copy, Clone, Debug)]
pub struct Fault {
    /// The id of the device.
    pub requester: RequesterId,
    /// The PASID, if the request had one.
    pub pasid: Option<Pasid>,
    /// The address. Hardware reports the page, not the byte.
    pub address: Option<Iova>,
    /// The kind of access; `None` if the unit does not report it.
    pub access: Option<Access>,
    /// The unit's reason code.
    pub code: u32,
    /// The reason in words.
    pub reason: &'static str,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Execute => "execute",
            Self::Interrupt => "interrupt",
        })
    }
}

impl Fault {
    /// The same fault without its address, for readers who must not learn addresses.
    pub fn without_address(&self) -> Self {
        Self {
            address: None,
            ..*self
        }
    }
}

/// Receives the faults of one unit from the vendor driver.
pub trait FaultSink: Send + Sync {
    /// Reports a fault: finds the device that caused it, logs the fault rate-limited and counts it.
    ///
    /// Context: may sleep; called from the thread of the unit's fault interrupt.
    fn report(&self, fault: &Fault);
}

/// Everything that is known, for example `write at 0x1000: the page is not mapped (reason 0x10)`.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.access, self.address) {
            (Some(access), Some(address)) => write!(f, "{access} at {:#x}", address.raw())?,
            (Some(access), None) => write!(f, "{access}")?,
            (None, Some(address)) => write!(f, "at {:#x}", address.raw())?,
            (None, None) => {}
        }
        match (self.pasid, self.access.is_some() || self.address.is_some()) {
            (Some(pasid), true) => write!(f, " with {pasid}: ")?,
            (Some(pasid), false) => write!(f, "with {pasid}: ")?,
            (None, true) => f.write_str(": ")?,
            (None, false) => {}
        }
        write!(f, "{} (reason {:#04x})", self.reason, self.code)
    }
}

/// A rate limit: lets at most [`BURST`](Self::BURST) messages through per window of time and counts
/// the others.
///
/// Pure: the caller passes the time. Ten messages in five seconds is the kernel's own default.
#[derive(Default)]
pub struct RateLimit {
    window_start_ms: u64,
    printed: u32,
    suppressed: u64,
}

/// What to do with one message.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Print the message, and before it the number of suppressed messages.
    Print {
        /// Messages suppressed since the last printed one.
        suppressed: u64,
    },
    /// Only count the message.
    Suppress,
}

impl RateLimit {
    const WINDOW_MS: u64 = 5000;
    const BURST: u32 = 10;

    /// Decides whether to print a message at `now_ms` on a monotonic clock.
    pub fn check(&mut self, now_ms: u64) -> Verdict {
        if now_ms.saturating_sub(self.window_start_ms) >= Self::WINDOW_MS {
            self.window_start_ms = now_ms;
            self.printed = 0;
        }
        if self.printed == Self::BURST {
            self.suppressed += 1;
            return Verdict::Suppress;
        }
        self.printed += 1;
        Verdict::Print {
            suppressed: core::mem::take(&mut self.suppressed),
        }
    }
}
