// SPDX-License-Identifier: GPL-2.0

//! What is odd in an IVRS table that can be used all the same.

#![forbid(unsafe_code)]

use super::{
    device_entries::{DeviceEntry, Devices},
    error::Warning,
    memory::Ivmd,
    table::Table,
};

impl<'a> Table<'a> {
    /// What is odd, but does not keep the table from being used.
    pub fn warnings(self) -> impl Iterator<Item = Warning> + 'a {
        let bases = self.units().filter_map(move |unit| {
            self.hardware()
                .find(|other| other.is_same_unit(unit) && other.base() != unit.base())
                .map(|other| Warning::BasesDiffer {
                    offset: unit.offset(),
                    other: other.offset(),
                })
        });
        let entries = self.units().flat_map(|unit| unit.entries().warnings());
        let regions = self.regions().filter_map(Ivmd::warning);

        bases.chain(entries).chain(regions).chain(self.contests())
    }

    /// For each segment, the first device that two units claim.
    fn contests(self) -> impl Iterator<Item = Warning> + 'a {
        // The first unit of each segment that has more than one.
        self.units()
            .filter(move |unit| {
                let mut peers = self
                    .units()
                    .filter(|other| other.segment() == unit.segment());
                peers
                    .next()
                    .is_some_and(|first| first.offset() == unit.offset())
                    && peers.next().is_some()
            })
            .filter_map(move |unit| {
                (0..=u8::MAX)
                    .find_map(|bus| self.contest_on(unit.segment(), bus, false))
                    .or_else(|| self.contest_on(unit.segment(), 0, true))
            })
    }

    /// The first device on `bus` that two units of `segment` claim, both by listing it or both by
    /// claiming every device (`all`).
    fn contest_on(self, segment: u16, bus: u8, all: bool) -> Option<Warning> {
        let units = || self.units().filter(move |unit| unit.segment() == segment);
        let mut claimed = Functions::NONE;

        for unit in units() {
            let mut mine = Functions::NONE;
            for entry in unit.entries() {
                match entry {
                    DeviceEntry::Devices(devices) if devices.all == all => mine.add(bus, devices),
                    _ => {}
                }
            }
            if let Some(devfn) = mine.first_common(&claimed) {
                let device = u16::from_be_bytes([bus, devfn]);
                let first = units().find(|other| other.lists(device, all))?;
                return Some(Warning::Contested {
                    segment,
                    device,
                    first: first.offset(),
                    second: unit.offset(),
                });
            }
            claimed.join(&mine);
        }
        None
    }
}

/// A set of the 256 functions of one bus: function n is bit n % 64 of word n / 64.
struct Functions([u64; 4]);

impl Functions {
    const NONE: Self = Self([0; 4]);

    /// Adds those of `devices` that are on `bus`.
    fn add(&mut self, bus: u8, devices: Devices) {
        let [first_bus, first] = devices.first.to_be_bytes();
        let [last_bus, last] = devices.last.to_be_bytes();
        if bus < first_bus || last_bus < bus {
            return;
        }
        let first = if bus == first_bus { first } else { 0 };
        let last = if bus == last_bus { last } else { u8::MAX };

        for (word, start) in self.0.iter_mut().zip([0, 64, 128, 192]) {
            let (low, high) = (first.max(start), last.min(start + 63));
            if low <= high {
                *word |= u64::MAX >> (63 - (high - low)) << (low - start);
            }
        }
    }

    fn join(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(other.0) {
            *word |= other;
        }
    }

    fn first_common(&self, other: &Self) -> Option<u8> {
        let common = self.0.iter().zip(other.0).map(|(word, other)| word & other);
        common
            .zip([0, 64, 128, 192])
            .find(|(word, _)| *word != 0)
            .map(|(word, start)| start + word.trailing_zeros() as u8)
    }
}
