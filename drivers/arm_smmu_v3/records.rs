// SPDX-License-Identifier: GPL-2.0

//! Records that the specification defines, as plain values. Pure: host tests check them.
//!
//! | file | what | IHI 0070 |
//! |---|---|---|
//! | `bits` | fields of 64-bit words | |
//! | `capability` | identification registers, and whether the driver can use such a unit | 6.3 |
//! | `stream_table_layout` | where the STE of a stream id is | 3.3.1, 5.1 |
//! | `ste` | stream table entries (STE) | 5.2 |
//! | `cd` | context descriptors (CD) | 5.4 |
//! | `update` | the order in which the words of an STE are written | 3.21.3 |
//! | `queue_index` | producer and consumer indexes of queues | 3.5.1 |
//! | `command` | commands | 4 |
//! | `invalidation` | the commands that invalidate a range of addresses | 4.4.1 |
//! | `table_needs` | what a page table needs of a unit | 3.21.1 |
//! | `event` | event records, global errors | 7 |
//! | `page_request` | records of the PRI queue | 8 |

#![forbid(unsafe_code)]

pub mod bits;
pub mod capability;
pub mod cd;
pub mod command;
pub mod event;
pub mod invalidation;
pub mod page_request;
pub mod queue_index;
pub mod ste;
pub mod stream_table_layout;
pub mod table_needs;
pub mod update;
