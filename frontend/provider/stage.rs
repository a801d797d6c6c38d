// SPDX-License-Identifier: GPL-2.0

//! Where a device is between its unit's takeover and its unit's release: a state machine without
//! side effects.
//!
//! # Words
//!
//! | word | our view | C's view |
//! |---|---|---|
//! | outside | the device is blocked and in no group | not known |
//! | held | attached, for a [`HoldReason`] | not known |
//! | handed over | no longer held, still attached as it was held | probed |
//! | new | blocked, not yet in the core's group | probed |
//! | member | in the core's group, attached to the group's domain | attached |
//! | suspended | a member, blocked alone while it is reset | `gdev->blocked` |
//! | dropped | outside: the hold has ended, or C has released the device | not known |
//!
//! # A device
//!
//! ```text
//!              unit taken over, or probe: a driver is bound
//!   Outside --------------------------------------------------> Held(DriverWasBound)
//!    |  |     unit taken over: direct regions, no driver          |
//!    |  +------------------------------------> Held(DirectRegions)|
//!    |                                                |           |
//!    | probe                                          +-----------+
//!    v                                                | probe: no driver is bound
//!   New                                               v
//!    |                                           HandedOver
//!    | first attach: Join                             | first attach: Adopt
//!    +------------------> Member <--------------------+
//!                          |  ^
//!      a reset of it alone:|  | Resume: any other attach of it, or the whole group is blocked
//!                  Suspend v  |
//!                        suspended
//!
//!   Held(DirectRegions) -- probe: a driver is bound --> Held(DriverWasBound)
//!   Held -- removed, or its unit was given back --> Outside
//!   New, HandedOver, Member -- release --> Outside
//!   HandedOver -- release, direct regions --> Held, as before
//!   Member -- release, C loses its unit, direct regions --> Held(DirectRegions)
//! ```

#![forbid(unsafe_code)]

/// Why a device is held, that is attached though C does not know it.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum HoldReason {
    /// A driver was bound before its unit was taken over, or at least before C probed the device.
    /// It goes on with the physical addresses that it has handed out, so the device stays on
    /// identity.
    DriverWasBound {
        /// Whether the driver uses the DMA API. It is then a user of the group.
        dma_api: bool,
    },
    /// Firmware does DMA with the device. It must not be blocked before C has attached it to a
    /// domain, nor while its unit is given back.
    DirectRegions,
}

impl HoldReason {
    /// The reason of a device that is held again, and has no driver any more.
    fn without_driver(self) -> Self {
        match self {
            Self::DriverWasBound { .. } => Self::DriverWasBound { dma_api: false },
            Self::DirectRegions => self,
        }
    }
}

/// Where a device is.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Stage {
    /// Blocked; C does not know it.
    Outside,
    /// Attached; C does not know it.
    Held(HoldReason),
    /// Known to C, which has not attached it yet; still attached as it was held, for this reason.
    HandedOver(HoldReason),
    /// Known to C, and blocked.
    New,
    /// In the core's group.
    Member,
}

/// What is seen of a device, apart from attaches.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Seen {
    /// Its unit has been taken over and is about to translate.
    UnitTaken {
        /// The driver that is bound: whether it uses the DMA API.
        driver: Option<bool>,
        /// Whether firmware does DMA with the device.
        direct: bool,
    },
    /// C probes it.
    Probe {
        /// The driver that is bound: whether it uses the DMA API.
        driver: Option<bool>,
    },
    /// It has been removed from the system.
    Removed,
    /// Its unit no longer translates.
    UnitGivenBack,
    /// C releases it.
    Released {
        /// Whether C loses the unit: it is being given back, or C has not accepted it.
        unit_leaves: bool,
        /// Whether firmware does DMA with the device, and the device is still there.
        direct: bool,
    },
}

/// What to do about a device.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Move {
    /// Nothing.
    Nothing,
    /// Hold it. A bound driver's device joins those like it that it cannot be isolated from, and
    /// every device those with the same id; a released device stays where it is; every other gets a
    /// group of its own.
    Hold(HoldReason),
    /// C may have it: it is blocked.
    Offer,
    /// C may have it: it stays attached where it is until C attaches it. Its driver is gone.
    HandOver,
    /// Take it out of the group that it is in, which blocks it.
    Drop,
}

impl Stage {
    /// What to do about a device, and where it is when that has been done.
    pub fn see(self, seen: Seen) -> (Move, Self) {
        let hold = |reason| (Move::Hold(reason), Self::Held(reason));
        match (self, seen) {
            (Self::Outside, Seen::UnitTaken { driver, direct }) => match driver {
                Some(dma_api) => hold(HoldReason::DriverWasBound { dma_api }),
                None if direct => hold(HoldReason::DirectRegions),
                None => (Move::Nothing, self),
            },
            (
                Self::Outside,
                Seen::Probe {
                    driver: Some(dma_api),
                },
            ) => hold(HoldReason::DriverWasBound { dma_api }),
            (Self::Outside, Seen::Probe { driver: None }) => (Move::Offer, Self::New),
            (Self::Held(reason), Seen::Probe { driver: None }) => {
                (Move::HandOver, Self::HandedOver(reason))
            }
            (
                Self::Held(HoldReason::DirectRegions),
                Seen::Probe {
                    driver: Some(dma_api),
                },
            ) => hold(HoldReason::DriverWasBound { dma_api }),
            (Self::Held(_), Seen::Removed | Seen::UnitGivenBack) => (Move::Drop, Self::Outside),
            (Self::HandedOver(reason), Seen::Released { direct: true, .. }) => {
                hold(reason.without_driver())
            }
            (
                Self::Member,
                Seen::Released {
                    unit_leaves: true,
                    direct: true,
                },
            ) => hold(HoldReason::DirectRegions),
            (Self::New | Self::HandedOver(_) | Self::Member, Seen::Released { .. }) => {
                (Move::Drop, Self::Outside)
            }
            _ => (Move::Nothing, self),
        }
    }
}
