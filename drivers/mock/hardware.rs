// SPDX-License-Identifier: GPL-2.0

//! A unit in software. It has entries by requester id, caches that keep their contents until they
//! are invalidated, DMA that goes through both, and counters of everything that real hardware would
//! see.

#![forbid(unsafe_code)]

use kernel::{prelude::*, sync::Arc};

use super::{
    checks::{violation, Countdown, Plans},
    interrupts::{MessageEntries, IDS},
    memory,
};
use crate::{
    addr::{Iova, PhysAddr},
    driver::Scope,
    ffi::compat::{new_spinlock_irq, SpinLockIrq},
    health::Health,
    label::Label,
    pasid::Selector,
    pgtable::Top,
    requester::RequesterId,
    reserved::Kind,
};

/// The number of cached translations; a new one replaces the oldest.
const CACHED: usize = 512;

const PAGE: u64 = 1 << 12;
const INDEX_BITS: u32 = 9;

/// How many PASIDs the entries of an id tell apart, 0 included.
pub const PASIDS: usize = 8;

/// The properties of a unit.
#[derive(Copy, Clone)]
pub struct Options {
    /// The number of domains that the unit can distinguish.
    pub tags: u16,
    /// Whether the unit also caches non-present entries.
    pub caches_absent: bool,
    /// Levels of its page tables; the maximum if they grow.
    pub levels: u8,
    /// Whether its page tables grow. Growing tables have the AMD-Vi version 1 format, others
    /// VT-d's.
    pub grows: bool,
    /// Whether the unit can force DMA to snoop.
    pub can_snoop: bool,
    /// The id of a device that firmware does DMA with, and the kind of its reserved region.
    pub firmware: Option<(u32, Kind)>,
    /// The id of an interrupt controller, whose messages must pass.
    pub controller: Option<u32>,
    /// How many PASIDs its devices use, 0 included, if they use any; at most [`PASIDS`].
    pub pasids: u32,
    /// Whether its caches tell translations apart by PASID.
    pub tags_by_pasid: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tags: 32,
            caches_absent: false,
            levels: 3,
            grows: false,
            can_snoop: true,
            firmware: None,
            controller: None,
            pasids: 0,
            tags_by_pasid: false,
        }
    }
}

/// What a unit does with the transactions of one requester id and selector.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// Refuses them.
    Blocked,
    /// Passes them.
    Identity {
        /// The domain's tag.
        tag: u16,
    },
    /// Translates them.
    Paging {
        /// The root table.
        root: PhysAddr,
        /// The number of levels.
        levels: u8,
        /// The domain's tag.
        tag: u16,
    },
}

impl Entry {
    fn tag(self) -> Option<u16> {
        match self {
            Self::Blocked => None,
            Self::Identity { tag } | Self::Paging { tag, .. } => Some(tag),
        }
    }
}

/// The result of a DMA.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Dma {
    /// The unit refused it.
    Refused,
    /// It reached memory.
    At(PhysAddr),
}

#[derive(Copy, Clone, PartialEq, Eq)]
enum What {
    Absent,
    Page {
        phys: u64,
        write: bool,
    },
    /// The table of level 0.
    Table {
        at: PhysAddr,
    },
}

#[derive(Copy, Clone)]
struct Cached {
    tag: u16,
    /// First address.
    iova: u64,
    what: What,
}

impl Cached {
    fn last(&self) -> u64 {
        match self.what {
            What::Table { .. } => self.iova + (PAGE << INDEX_BITS) - 1,
            _ => self.iova + PAGE - 1,
        }
    }
}

/// What hardware would see.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Entries written.
    pub entries: u64,
    /// Commits.
    pub commits: u64,
    /// Invalidations, batched or not.
    pub invalidations: u64,
    /// Waits for the unit's completion.
    pub waits: u64,
    /// Suspends.
    pub suspends: u64,
    /// Resumes.
    pub resumes: u64,
}

/// Whether a unit passes DMA.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Power {
    /// As firmware leaves it: all DMA passes.
    Off,
    /// Taken over: all DMA is refused.
    Blocking,
    /// Entries decide.
    On,
    /// Suspended: like `Off` until it is resumed. No device may do DMA.
    Asleep,
}

/// A device that does DMA after every step, and the results.
struct Witness {
    id: RequesterId,
    selector: Selector,
    iova: Iova,
    seen: [Option<Dma>; Hardware::SEEN],
}

struct State {
    power: Power,
    answers: bool,
    /// Whether the unit stops when it is released.
    stops: bool,
    /// By [`index`].
    entries: KVec<Entry>,
    /// The unit's cached copies of entries.
    cached_entries: KVec<Option<Entry>>,
    cached: KVec<Cached>,
    oldest: usize,
    /// The tags in use, and the selector that each is for.
    tags: KVec<Option<Selector>>,
    /// Tags whose cached translations the running commit must invalidate.
    stale: KVec<bool>,
    counts: Counts,
    witness: Option<Witness>,
}

/// Where the entry is.
fn index(id: RequesterId, selector: Selector) -> usize {
    selector.number() as usize * IDS + id.raw() as usize
}

/// A unit.
#[pin_data]
pub struct Hardware {
    /// The unit's name and whether the unit has failed.
    pub health: Health,
    options: Options,
    /// What it does with interrupt messages.
    pub messages: Arc<MessageEntries>,
    /// Counts the plans that exist.
    pub plans: Arc<Plans>,
    /// Makes the n-th [`prepare`](crate::driver::Attach::prepare) fail.
    pub fail_prepare: Countdown,
    /// Makes the n-th [`acquire_tag`](crate::driver::Attach::acquire_tag) fail.
    pub fail_tag: Countdown,
    /// Makes the n-th [`alloc_paging`](crate::driver::Translate::alloc_paging) fail.
    pub fail_alloc: Countdown,
    #[pin]
    state: SpinLockIrq<State>,
}

impl Hardware {
    /// How many different results a witness remembers.
    pub const SEEN: usize = 8;

    /// A unit as firmware leaves it.
    pub fn new(name: Label, options: Options) -> Result<Pin<KBox<Self>>> {
        let state = State {
            power: Power::Off,
            answers: true,
            stops: true,
            entries: KVec::from_elem(Entry::Blocked, IDS * PASIDS, GFP_KERNEL)?,
            cached_entries: KVec::from_elem(None, IDS * PASIDS, GFP_KERNEL)?,
            cached: KVec::with_capacity(CACHED, GFP_KERNEL)?,
            oldest: 0,
            tags: KVec::from_elem(None, usize::from(options.tags), GFP_KERNEL)?,
            stale: KVec::from_elem(false, usize::from(options.tags), GFP_KERNEL)?,
            counts: Counts::default(),
            witness: None,
        };
        let plans = Arc::new(Plans::new(), GFP_KERNEL)?;
        let messages = MessageEntries::new()?;
        KBox::pin_init(
            pin_init!(Self {
                health: Health::new(name),
                options,
                messages,
                plans,
                fail_prepare: Countdown::new(),
                fail_tag: Countdown::new(),
                fail_alloc: Countdown::new(),
                state <- new_spinlock_irq!(state),
            }),
            GFP_KERNEL,
        )
    }

    /// The unit's properties.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// What hardware has seen so far.
    pub fn counts(&self) -> Counts {
        self.state.lock().counts
    }

    /// Tags in use.
    pub fn tags_in_use(&self) -> usize {
        self.state.lock().tags.iter().flatten().count()
    }

    /// Whether a tag is in use.
    pub fn has_tag(&self, tag: u16) -> bool {
        self.state.lock().tags[usize::from(tag)].is_some()
    }

    /// The entry of a requester id, for requests without a PASID.
    pub fn entry(&self, id: RequesterId) -> Entry {
        self.state.lock().entries[index(id, Selector::NoPasid)]
    }

    /// All entries, copied to `to`.
    pub fn copy_entries(&self, to: &mut KVec<Entry>) -> Result {
        to.reserve(IDS * PASIDS, GFP_KERNEL)?;
        let state = self.state.lock();
        for entry in state.entries.iter() {
            let _ = to.push_within_capacity(*entry);
        }
        Ok(())
    }

    /// Whether every entry is blocked.
    pub fn is_blocked(&self) -> bool {
        let state = self.state.lock();
        state.entries.iter().all(|entry| *entry == Entry::Blocked)
    }

    /// From now on the unit does not respond.
    pub fn stop_answering(&self) {
        self.state.lock().answers = false;
    }

    /// From now on the unit does not stop when it is released, or stops again.
    pub fn set_stops(&self, stops: bool) {
        self.state.lock().stops = stops;
    }

    /// A device does DMA without a PASID.
    pub fn dma(&self, id: RequesterId, iova: Iova, write: bool) -> Dma {
        self.dma_with(id, Selector::NoPasid, iova, write)
    }

    /// A device does DMA.
    pub fn dma_with(&self, id: RequesterId, selector: Selector, iova: Iova, write: bool) -> Dma {
        let mut state = self.state.lock();
        state.dma(&self.options, id, selector, iova, write)
    }

    /// From now on a device does DMA without a PASID before and after every step that the unit
    /// sees.
    pub fn start_witness(&self, id: RequesterId, iova: Iova) {
        self.start_witness_with(id, Selector::NoPasid, iova);
    }

    /// From now on a device does DMA before and after every step that the unit sees.
    pub fn start_witness_with(&self, id: RequesterId, selector: Selector, iova: Iova) {
        let mut state = self.state.lock();
        state.witness = Some(Witness {
            id,
            selector,
            iova,
            seen: [None; Self::SEEN],
        });
        state.observe(&self.options);
    }

    /// The different results of the DMA since [`start_witness`](Self::start_witness), in order of
    /// appearance.
    pub fn stop_witness(&self) -> [Option<Dma>; Self::SEEN] {
        let mut state = self.state.lock();
        state.observe(&self.options);
        match state.witness.take() {
            Some(witness) => witness.seen,
            None => [None; Self::SEEN],
        }
    }

    pub(super) fn take_over(&self) -> Result {
        let mut state = self.state.lock();
        if state.power != Power::Off {
            return Err(EBUSY);
        }
        state.power = Power::Blocking;
        Ok(())
    }

    pub(super) fn enable(&self) {
        self.state.lock().power = Power::On;
    }

    pub(super) fn release(&self) -> Result {
        let mut state = self.state.lock();
        let state = &mut *state;
        if !state.stops {
            return Err(ETIMEDOUT);
        }
        state.power = Power::Blocking;
        state.entries.iter_mut().for_each(|e| *e = Entry::Blocked);
        state.cached_entries.iter_mut().for_each(|e| *e = None);
        state.cached.clear();
        state.observe(&self.options);
        state.power = Power::Off;
        Ok(())
    }

    pub(super) fn suspend(&self) -> Result {
        let mut state = self.state.lock();
        if state.power != Power::On {
            violation(format_args!("a unit that does not translate is suspended"));
        }
        state.counts.suspends += 1;
        if !state.answers {
            return Err(ETIMEDOUT);
        }
        state.power = Power::Asleep;
        Ok(())
    }

    /// A unit that does not respond, or that has `failed`, blocks everything.
    pub(super) fn resume(&self, failed: bool) -> Result {
        let mut state = self.state.lock();
        let state = &mut *state;
        state.counts.resumes += 1;
        if !state.answers || failed {
            state.entries.iter_mut().for_each(|e| *e = Entry::Blocked);
        }
        state.cached_entries.iter_mut().for_each(|e| *e = None);
        state.cached.clear();
        state.power = Power::On;
        match state.answers {
            true => Ok(()),
            false => Err(ETIMEDOUT),
        }
    }

    pub(super) fn acquire_tag(&self, selector: Selector) -> Result<u16> {
        let mut state = self.state.lock();
        // The lowest free tag, so that a tag that was released too early is soon reused by another
        // domain.
        let free = state.tags.iter().position(Option::is_none).ok_or(ENOSPC)?;
        state.tags[free] = Some(selector);
        Ok(free as u16)
    }

    pub(super) fn release_tag(&self, tag: u16) {
        let mut state = self.state.lock();
        if !matches!(state.tags.get(usize::from(tag)), Some(Some(_))) {
            violation(format_args!("tag {tag} is released, but was not allocated"));
            return;
        }
        let has_tag = |entry: &Entry| entry.tag() == Some(tag);
        let in_use =
            state.entries.iter().any(has_tag) || state.cached_entries.iter().flatten().any(has_tag);
        // The core gives tags back after the release, also if the unit goes on with its entries.
        let obeys = state.answers && state.stops;
        if in_use && obeys {
            violation(format_args!("tag {tag} is released, but an entry has it"));
        }
        // A unit that does not respond cannot invalidate its caches; it gets no new domains either.
        if state.cached.iter().any(|cached| cached.tag == tag) && obeys {
            violation(format_args!(
                "tag {tag} is released, but a translation is cached under it"
            ));
        }
        state.tags[usize::from(tag)] = None;
    }

    /// Runs `write`, which may write entries, then invalidates what was cached of the old entries,
    /// and waits. Returns whether the unit responded.
    pub(super) fn commit(&self, write: impl FnOnce(&mut Writer<'_>)) -> bool {
        let mut state = self.state.lock();
        let state = &mut *state;
        state.counts.commits += 1;
        write(&mut Writer {
            state,
            options: &self.options,
        });
        if !state.answers {
            return false;
        }
        state.counts.invalidations += 1;
        // Cached entries first: through a cached entry the unit could cache old translations again.
        state.cached_entries.iter_mut().for_each(|e| *e = None);
        state.observe(&self.options);
        for tag in 0..state.stale.len() {
            if core::mem::take(&mut state.stale[tag]) {
                state.cached.retain(|cached| usize::from(cached.tag) != tag);
            }
        }
        state.oldest = 0;
        state.counts.waits += 1;
        state.observe(&self.options);
        true
    }

    /// Makes the entries of `tag` use `top`, invalidates the cached copies of entries, and waits.
    /// Returns whether the unit responded.
    pub(super) fn update_top(&self, tag: u16, top: impl Fn() -> Top) -> bool {
        let mut state = self.state.lock();
        let state = &mut *state;
        let top = top();
        for entry in state.entries.iter_mut() {
            match entry {
                Entry::Paging {
                    root,
                    levels,
                    tag: found,
                } if *found == tag => {
                    if *levels > top.levels {
                        violation(format_args!("an entry changes to a lower top"));
                    }
                    (*root, *levels) = (top.root, top.levels);
                    state.counts.entries += 1;
                }
                _ => {}
            }
        }
        if !state.answers {
            return false;
        }
        state.cached_entries.iter_mut().for_each(|e| *e = None);
        state.counts.invalidations += 1;
        state.counts.waits += 1;
        state.observe(&self.options);
        true
    }

    pub(super) fn invalidate(&self, tag: u16, scope: Scope) {
        let mut state = self.state.lock();
        let state = &mut *state;
        if !state.answers {
            return;
        }
        state.counts.invalidations += 1;
        state.counts.waits += 1;
        state.cached.retain(|cached| match scope {
            _ if cached.tag != tag => true,
            Scope::All => false,
            Scope::Range {
                first,
                last,
                tables,
            } => {
                cached.last() < first.raw()
                    || cached.iova > last.raw()
                    || (matches!(cached.what, What::Table { .. }) && !tables)
            }
        });
        state.oldest = 0;
        state.observe(&self.options);
    }

    pub(super) fn mapped(&self, tag: u16, first: Iova, last: Iova) {
        let mut state = self.state.lock();
        state.counts.invalidations += 1;
        state.counts.waits += 1;
        state.cached.retain(|cached| {
            cached.tag != tag
                || cached.what != What::Absent
                || cached.last() < first.raw()
                || cached.iova > last.raw()
        });
        state.oldest = 0;
    }
}

/// Writes entries during a commit.
pub struct Writer<'a> {
    state: &'a mut State,
    options: &'a Options,
}

impl Writer<'_> {
    /// Writes the entry of `id` for requests of `selector`.
    pub fn write(&mut self, id: RequesterId, selector: Selector, entry: Entry) {
        let state = &mut *self.state;
        if let Some(tag) = entry.tag() {
            match state.tags.get(usize::from(tag)) {
                Some(Some(its)) if !self.options.tags_by_pasid || *its == selector => {}
                Some(Some(_)) => violation(format_args!(
                    "{id} gets tag {tag} for {selector:?}, which is that of other requests"
                )),
                _ => violation(format_args!("{id} gets tag {tag}, which was not allocated")),
            }
        }
        let slot = &mut state.entries[index(id, selector)];
        if let Some(old) = slot.tag() {
            state.stale[usize::from(old)] = true;
        }
        *slot = entry;
        state.counts.entries += 1;
        state.observe(self.options);
    }
}

impl State {
    fn observe(&mut self, options: &Options) {
        let Some(mut witness) = self.witness.take() else {
            return;
        };
        let came = self.dma(options, witness.id, witness.selector, witness.iova, false);
        let came = Some(came);
        if !witness.seen.contains(&came) {
            match witness.seen.iter_mut().find(|slot| slot.is_none()) {
                Some(slot) => *slot = came,
                None => violation(format_args!("a witness saw too much")),
            }
        }
        self.witness = Some(witness);
    }

    fn dma(
        &mut self,
        options: &Options,
        id: RequesterId,
        selector: Selector,
        iova: Iova,
        write: bool,
    ) -> Dma {
        match self.power {
            Power::Off => return Dma::At(PhysAddr::new(iova.raw())),
            Power::Blocking => return Dma::Refused,
            Power::On => {}
            Power::Asleep => {
                violation(format_args!("{id} does DMA while its unit sleeps"));
                return Dma::At(PhysAddr::new(iova.raw()));
            }
        }
        let at = index(id, selector);
        let entry = *self.cached_entries[at].get_or_insert(self.entries[at]);
        match entry {
            Entry::Blocked => Dma::Refused,
            Entry::Identity { .. } => Dma::At(PhysAddr::new(iova.raw())),
            Entry::Paging { root, levels, tag } => {
                match self.translate(options, root, levels, tag, iova.raw()) {
                    What::Page {
                        phys,
                        write: may_write,
                    } if may_write || !write => {
                        Dma::At(PhysAddr::new(phys | (iova.raw() & (PAGE - 1))))
                    }
                    _ => Dma::Refused,
                }
            }
        }
    }

    fn translate(
        &mut self,
        options: &Options,
        root: PhysAddr,
        levels: u8,
        tag: u16,
        iova: u64,
    ) -> What {
        let page = iova & !(PAGE - 1);
        let region = iova & !((PAGE << INDEX_BITS) - 1);
        let mut table = None;
        for cached in self.cached.iter().filter(|cached| cached.tag == tag) {
            match cached.what {
                What::Table { at } if cached.iova == region => table = Some(at),
                What::Table { .. } => {}
                what if cached.iova == page => return what,
                _ => {}
            }
        }

        let shift = |level: u8| 12 + INDEX_BITS * u32::from(level);
        let (mut at, mut level) = match table {
            Some(at) => (at, 0),
            None => (root, levels - 1),
        };
        if iova >> shift(levels) != 0 {
            return What::Absent;
        }
        // Decodes entries independently of the driver. VT-d: bits 0 and 1 are the permissions, bit
        // 7 ends the walk early. AMD-Vi: bit 0 is the present bit, bit 62 permits writes, and the
        // level in bits 11:9 is 0 where the walk ends. All mappings of the tests permit reads.
        let present = |entry: u64| entry & if options.grows { 1 } else { 3 } != 0;
        let is_page = |entry: u64| match options.grows {
            true => entry >> 9 & 7 == 0,
            false => entry & 0x80 != 0,
        };
        let may_write = |entry: u64| entry & if options.grows { 1 << 62 } else { 2 } != 0;
        let what = loop {
            let entry = memory::read(at, (iova >> shift(level)) as usize & 511);
            let next = entry & 0x000f_ffff_ffff_f000;
            if !present(entry) {
                break What::Absent;
            }
            if level == 0 || is_page(entry) {
                let inside = page & ((1 << shift(level)) - 1);
                break What::Page {
                    phys: next | inside,
                    write: may_write(entry),
                };
            }
            at = PhysAddr::new(next);
            level -= 1;
            if level == 0 {
                self.cache(Cached {
                    tag,
                    iova: region,
                    what: What::Table { at },
                });
            }
        };
        if what != What::Absent || options.caches_absent {
            self.cache(Cached {
                tag,
                iova: page,
                what,
            });
        }
        what
    }

    fn cache(&mut self, cached: Cached) {
        if self.cached.push_within_capacity(cached).is_err() {
            self.cached[self.oldest] = cached;
            self.oldest = (self.oldest + 1) % self.cached.len();
        }
    }
}
