// SPDX-License-Identifier: GPL-2.0

//! Faults: DMA that a unit refused.

#![forbid(unsafe_code)]

use core::fmt;

use crate::{addr::Iova, requester::RequesterId};

/// What the device tried.
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
    /// Who.
    pub requester: RequesterId,
    /// Where; hardware reports the page, not the byte.
    pub address: Option<Iova>,
    /// What; `None` if the unit does not say.
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

/// Where a vendor driver reports the faults of one unit.
pub trait FaultSink: Send + Sync {
    /// Reports a fault: finds out which device caused it, logs it rate limited and counts it.
    ///
    /// Context: may sleep; the thread of the unit's fault interrupt.
    fn report(&self, fault: &Fault);
}

/// What is known: `write at 0x1000: the page is not mapped (reason 0x10)`.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.access, self.address) {
            (Some(access), Some(address)) => write!(f, "{access} at {:#x}: ", address.raw())?,
            (Some(access), None) => write!(f, "{access}: ")?,
            (None, Some(address)) => write!(f, "at {:#x}: ", address.raw())?,
            (None, None) => {}
        }
        write!(f, "{} (reason {:#04x})", self.reason, self.code)
    }
}

/// Lets so many messages through in a window of time and counts the rest.
///
/// Pure: the caller brings the time. Ten in five seconds is the kernel's own default.
#[derive(Default)]
pub struct RateLimit {
    window_start_ms: u64,
    printed: u32,
    suppressed: u64,
}

/// What to do with one message.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Print it, and say first that so many were not.
    Print {
        /// Messages suppressed since the last one that was printed.
        suppressed: u64,
    },
    /// Count it only.
    Suppress,
}

impl RateLimit {
    const WINDOW_MS: u64 = 5000;
    const BURST: u32 = 10;

    /// Decides about a message at `now_ms` on a monotonic clock.
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
