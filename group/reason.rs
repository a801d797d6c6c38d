// SPDX-License-Identifier: GPL-2.0

//! Why an endpoint is in its group.

#![forbid(unsafe_code)]

use core::fmt;

use crate::{label::Label, requester::RequesterId};

/// Why an endpoint is in its group: what prevents hardware from isolating it from the other
/// members.
#[derive(Copy, Clone, PartialEq, Debug)]
pub enum Reason {
    /// No such reason: the endpoint is isolated and alone in its group.
    Isolated,
    /// Its transactions appear under an id that the device `with` also has.
    SharedId {
        /// The id.
        id: RequesterId,
        /// The other device.
        with: Label,
    },
    /// The bridge above it can route transactions between devices past the unit (no ACS
    /// redirection, PCIe 6.12).
    BridgeWithoutAcs {
        /// The bridge.
        bridge: Label,
    },
    /// It is a bridge that can route transactions of `below` past the unit.
    Bridge {
        /// A device behind it.
        below: Label,
    },
    /// It is a function of a multi-function device whose functions may reach each other inside the
    /// device (no ACS).
    FunctionsWithoutAcs {
        /// Another function of the device.
        with: Label,
    },
    /// The bus or the platform puts them in one group.
    Platform,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Isolated => write!(f, "isolated"),
            Self::SharedId { id, with } => {
                write!(f, "shares requester id {id} with {with}, an alias")
            }
            Self::BridgeWithoutAcs { bridge } => {
                write!(
                    f,
                    "bridge {bridge} above does not isolate its devices (no ACS)"
                )
            }
            Self::Bridge { below } => {
                write!(f, "is the bridge above {below} and does not isolate it")
            }
            Self::FunctionsWithoutAcs { with } => {
                write!(
                    f,
                    "not isolated from function {with} of the same device (no ACS)"
                )
            }
            Self::Platform => write!(f, "grouped by the platform"),
        }
    }
}
