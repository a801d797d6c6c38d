// SPDX-License-Identifier: GPL-2.0

//! Long random sequences of all operations of groups and domains, compared with a reference model.
//!
//! The reference consists of sets and maps. It has no plans, tags, page tables, residences or order
//! of operations. After each step the test compares everything that is visible: what DMA of every
//! requester id reaches, the ownership of each group, which domains exist, how many groups are
//! attached to each, and the tags in use.
//!
//! The test prints its seed. To repeat a run, add the seed to `SEEDS`.

#![forbid(unsafe_code)]

use kernel::{macros::kunit_tests, prelude::*, sync::Arc};

use crate::{
    domain::Domain,
    drivers::mock::{
        machine::{ensure, map, owner, unmap, Machine, PAGE},
        Mock, Options, FAIL_TABLE,
    },
    endpoint::Endpoint,
    group::{Claim, Group, Loan, Reason},
    log::{log_err, log_info},
    ownership::Ownership,
    pgtable,
};

/// Initial states of the random generator.
const SEEDS: [u64; 4] = [
    0x9e37_79b9_7f4a_7c15,
    0xd1b5_4a32_d192_ed03,
    0x2545_f491_4f6c_dd1d,
    0x0123_4567_89ab_cdef,
];
const STEPS: u32 = 2000;

const GROUPS: usize = 3;
const SLOTS: usize = 5;
const OWNERS: usize = 2;
const CLAIMS: usize = 4;
/// The number of pages that the test maps and accesses.
const PAGES: usize = 6;

/// Group, unit and ids of each endpoint. The members of the first group share ids, the second spans
/// units, and the third has many members behind a unit that caches non-present entries.
const ENDPOINTS: [(usize, usize, &[u32]); 8] = [
    (0, 0, &[1, 9]),
    (0, 0, &[2, 9]),
    (0, 0, &[3, 9, 2]),
    (1, 0, &[16]),
    (1, 1, &[16]),
    (2, 1, &[1]),
    (2, 1, &[2, 1]),
    (2, 1, &[3]),
];

/// The address of page `page`: some pages are at the ends of page-table pages, and some far from
/// each other.
fn iova(page: usize) -> u64 {
    const AT: [u64; PAGES] = [
        0,
        0x1f_f000,
        0x20_0000,
        0x3fff_f000,
        0x4000_0000,
        0x7f_ffff_f000,
    ];
    AT[page]
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // Marsaglia's xorshift.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        ((self.next() >> 16) % end as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// What a domain does, in the reference.
#[derive(Copy, Clone)]
enum Does {
    Blocks,
    Passes,
    Maps([Option<u64>; PAGES]),
}

impl Does {
    fn leads(&self, page: usize) -> Option<u64> {
        match self {
            Self::Blocks => None,
            Self::Passes => Some(iova(page)),
            Self::Maps(pages) => pages[page],
        }
    }
}

/// A domain of the reference, identified by its number in the registry. It is freed when nothing
/// refers to it.
struct RefDomain {
    id: u64,
    does: Does,
}

#[derive(Copy, Clone, PartialEq)]
enum Holder {
    Nobody,
    Kernel,
    Lent,
    Owner { which: usize, attached: bool },
}

impl Holder {
    /// Whether a claim or a loan keeps the group from its default domain.
    fn is_exclusive(self) -> bool {
        matches!(self, Self::Lent | Self::Owner { .. })
    }
}

struct RefGroup {
    current: u64,
    default: Option<u64>,
    holder: Holder,
}

#[derive(Copy, Clone, Default)]
struct RefEndpoint {
    member: bool,
    suspended: bool,
    driver: bool,
}

/// The core's objects and the reference, side by side.
struct Test {
    machine: Machine,
    groups: KVec<Arc<Group<Mock>>>,
    endpoints: KVec<Arc<Endpoint<Mock>>>,
    /// Domain handles that an allocator would hold.
    slots: [Option<Arc<Domain<Mock>>>; SLOTS],
    claims: [Option<Claim<Mock>>; CLAIMS],
    /// The loan of each group, if it is lent.
    loans: [Option<Loan<Mock>>; GROUPS],
    random: Random,

    /// How often DMA reached mapped memory behind each unit; shows that the test exercises
    /// translations.
    reached: [u64; 2],

    ref_domains: KVec<RefDomain>,
    ref_groups: [RefGroup; GROUPS],
    ref_endpoints: [RefEndpoint; ENDPOINTS.len()],
    /// Group and owner of each claim.
    ref_claims: [Option<(usize, usize)>; CLAIMS],
}

impl Test {
    fn new(seed: u64) -> Result<Self> {
        let caching = Options {
            caches_absent: true,
            ..Options::default()
        };
        let machine = Machine::new(&[Options::default(), caching])?;
        let mut groups = KVec::new();
        for name in ["sharing", "spanning", "crowd"] {
            groups.push(machine.group(name)?, GFP_KERNEL)?;
        }
        let mut endpoints = KVec::new();
        for (_, unit, ids) in ENDPOINTS {
            endpoints.push(machine.endpoint(unit, ids)?, GFP_KERNEL)?;
        }
        let blocked = machine.blocked.record().id();
        let mut ref_domains = KVec::new();
        let does = Does::Blocks;
        ref_domains.push(RefDomain { id: blocked, does }, GFP_KERNEL)?;
        Ok(Self {
            machine,
            groups,
            endpoints,
            slots: [const { None }; SLOTS],
            claims: [const { None }; CLAIMS],
            loans: [const { None }; GROUPS],
            random: Random(seed),
            reached: [0; 2],
            ref_domains,
            ref_groups: [const {
                RefGroup {
                    current: 0,
                    default: None,
                    holder: Holder::Nobody,
                }
            }; GROUPS]
                .map(|group| RefGroup {
                    current: blocked,
                    ..group
                }),
            ref_endpoints: [RefEndpoint::default(); ENDPOINTS.len()],
            ref_claims: [None; CLAIMS],
        })
    }

    fn blocked(&self) -> u64 {
        self.machine.blocked.record().id()
    }

    fn does(&self, id: u64) -> Does {
        let domain = self.ref_domains.iter().find(|domain| domain.id == id);
        domain.map_or(Does::Blocks, |domain| domain.does)
    }

    fn is_blocked(&self, id: u64) -> bool {
        matches!(self.does(id), Does::Blocks)
    }

    /// Makes one random step. Returns its name.
    fn step(&mut self) -> Result<&'static str> {
        // At times a failure is injected. Afterwards the test checks whether it occurred.
        let spoiled = self.random.one_in(6);
        if spoiled {
            let n = self.random.below(4) as i64 + 1;
            let unit = self.random.below(2);
            let hardware = self.machine.hardware(unit);
            match self.random.0 % 4 {
                0 => hardware.fail_prepare.arm(n),
                1 => hardware.fail_tag.arm(n),
                2 => hardware.fail_alloc.arm(1),
                _ => FAIL_TABLE.arm(n),
            }
        }
        let did = match self.random.below(34) {
            0..=2 => self.allocate()?,
            3 => self.free(),
            4..=6 => self.join()?,
            7 => self.leave(),
            8..=9 => self.set_default()?,
            10..=11 => self.claim()?,
            12..=14 => self.attach()?,
            15 => self.detach(),
            16 => self.release()?,
            17 => self.drop_claim(),
            18..=22 => self.map()?,
            23..=24 => self.unmap()?,
            25 => self.suspend()?,
            26..=27 => self.resume(),
            28..=29 => self.start_driver()?,
            30 => self.end_driver(),
            31..=32 => self.lend()?,
            _ => self.end_loan(),
        };
        self.disarm();
        Ok(did)
    }

    fn disarm(&self) -> bool {
        let mut failed = true;
        for unit in 0..2 {
            let hardware = self.machine.hardware(unit);
            for countdown in [
                &hardware.fail_prepare,
                &hardware.fail_tag,
                &hardware.fail_alloc,
            ] {
                failed &= countdown.is_done();
                countdown.arm(0);
            }
        }
        failed &= FAIL_TABLE.is_done();
        FAIL_TABLE.arm(0);
        failed
    }

    /// Whether the core's result is the one that the reference expects. An injected failure is
    /// accepted as well: then this returns `false`, and nothing may have changed.
    fn agree(&self, result: Result, wanted: Result) -> Result<bool> {
        let ordered = self.disarm();
        if result == wanted {
            return Ok(wanted.is_ok());
        }
        let spoiled = ordered && matches!(result, Err(error) if error == ENOMEM || error == ENOSPC);
        if !spoiled {
            log_err!("the result is {result:?}, the reference says {wanted:?}");
        }
        ensure!(spoiled);
        Ok(false)
    }

    fn allocate(&mut self) -> Result<&'static str> {
        let slot = self.random.below(SLOTS);
        if self.slots[slot].is_some() {
            return Ok("allocate nothing");
        }
        let (domain, does) = match self.random.below(6) {
            0 => (self.machine.identity(), Does::Passes),
            1 => (Domain::blocked(&self.machine.registry), Does::Blocks),
            _ => {
                let endpoint = &self.endpoints[self.random.below(ENDPOINTS.len())];
                let domain = self.machine.paging(endpoint, &[]);
                (domain, Does::Maps([None; PAGES]))
            }
        };
        let result = domain.as_ref().map(|_| ()).map_err(|&error| error);
        if self.agree(result, Ok(()))? {
            let domain = domain?;
            let id = domain.record().id();
            self.ref_domains.push(RefDomain { id, does }, GFP_KERNEL)?;
            self.slots[slot] = Some(domain);
        }
        Ok("allocate")
    }

    fn free(&mut self) -> &'static str {
        let slot = self.random.below(SLOTS);
        self.slots[slot] = None;
        "free"
    }

    /// A random domain that the test has a handle to, or the blocked domain.
    fn some_domain(&mut self) -> Arc<Domain<Mock>> {
        let slot = self.random.below(SLOTS + 1);
        let domain = self.slots.get(slot).and_then(Option::as_ref);
        domain.unwrap_or(&self.machine.blocked).clone()
    }

    fn some_endpoint(&mut self) -> (usize, usize) {
        let index = self.random.below(ENDPOINTS.len());
        (index, ENDPOINTS[index].0)
    }

    fn join(&mut self) -> Result<&'static str> {
        let (index, group) = self.some_endpoint();
        let result = self.groups[group].join(&self.endpoints[index], Reason::Platform);
        let wanted = match self.ref_endpoints[index].member {
            true => Err(EEXIST),
            false => Ok(()),
        };
        if self.agree(result, wanted)? {
            self.ref_endpoints[index].member = true;
        }
        Ok("join")
    }

    fn leave(&mut self) -> &'static str {
        let (index, group) = self.some_endpoint();
        self.groups[group].leave(&self.endpoints[index]);
        self.ref_endpoints[index] = RefEndpoint::default();
        self.update_holder(group);
        "leave"
    }

    /// Kernel drivers hold the group as long as there is one.
    fn update_holder(&mut self, group: usize) {
        let used = self.drivers(group) > 0;
        let holder = &mut self.ref_groups[group].holder;
        match (*holder, used) {
            (Holder::Nobody, true) => *holder = Holder::Kernel,
            (Holder::Kernel, false) => *holder = Holder::Nobody,
            _ => {}
        }
    }

    fn members(&self, group: usize) -> impl Iterator<Item = (usize, RefEndpoint)> + '_ {
        let endpoints = self.ref_endpoints.iter().copied().enumerate();
        endpoints.filter(move |(index, endpoint)| ENDPOINTS[*index].0 == group && endpoint.member)
    }

    fn drivers(&self, group: usize) -> usize {
        self.members(group).filter(|(_, e)| e.driver).count()
    }

    fn set_default(&mut self) -> Result<&'static str> {
        let domain = self.some_domain();
        let group = self.random.below(GROUPS);
        let result = self.groups[group].set_default(&domain);
        let id = domain.record().id();
        let state = &self.ref_groups[group];
        let wanted = match state.holder {
            Holder::Kernel if state.current != id => Err(EBUSY),
            Holder::Lent if state.default != Some(id) && self.drivers(group) > 0 => Err(EBUSY),
            _ => Ok(()),
        };
        if self.agree(result, wanted)? {
            let state = &mut self.ref_groups[group];
            state.default = Some(id);
            if !state.holder.is_exclusive() {
                state.current = id;
            }
        }
        Ok("set the default domain")
    }

    fn claim(&mut self) -> Result<&'static str> {
        let (claim, group) = (self.random.below(CLAIMS), self.random.below(GROUPS));
        let which = self.random.below(OWNERS);
        if self.claims[claim].is_some() {
            return Ok("claim nothing");
        }
        let result = self.groups[group].claim(owner(which + 1, "model"));
        let wanted = match self.ref_groups[group].holder {
            Holder::Kernel | Holder::Lent => Err(EBUSY),
            Holder::Owner { which: holder, .. } if holder != which => Err(EBUSY),
            _ => Ok(()),
        };
        let summary = result.as_ref().map(|_| ()).map_err(|&error| error);
        if self.agree(summary, wanted)? {
            self.claims[claim] = Some(result?);
            self.ref_claims[claim] = Some((group, which));
            let blocked = self.blocked();
            let was_blocked = self.is_blocked(self.ref_groups[group].current);
            let state = &mut self.ref_groups[group];
            if state.holder == Holder::Nobody {
                let attached = false;
                state.holder = Holder::Owner { which, attached };
                // If the default domain blocks, the group may be attached to it instead.
                if !was_blocked || state.current != blocked {
                    state.current = blocked;
                }
            }
        }
        Ok("claim")
    }

    /// A random claim that exists.
    fn some_claim(&mut self) -> Option<(usize, usize)> {
        let claim = self.random.below(CLAIMS);
        Some((claim, self.ref_claims[claim]?.0))
    }

    fn attach(&mut self) -> Result<&'static str> {
        let domain = self.some_domain();
        let Some((claim, group)) = self.some_claim() else {
            return Ok("attach nothing");
        };
        let result = self.claims[claim]
            .as_ref()
            .map_or(Err(EINVAL), |c| c.attach(&domain));
        if self.agree(result, Ok(()))? {
            let id = domain.record().id();
            let now = !self.is_blocked(id);
            let state = &mut self.ref_groups[group];
            state.current = id;
            if let Holder::Owner { attached, .. } = &mut state.holder {
                *attached = now;
            }
        }
        Ok("attach")
    }

    fn detach(&mut self) -> &'static str {
        let Some((claim, group)) = self.some_claim() else {
            return "detach nothing";
        };
        if let Some(claim) = &self.claims[claim] {
            claim.detach();
        }
        self.ref_detach(group);
        "detach"
    }

    fn ref_detach(&mut self, group: usize) {
        let blocked = self.blocked();
        let state = &mut self.ref_groups[group];
        state.current = blocked;
        if let Holder::Owner { attached, .. } = &mut state.holder {
            *attached = false;
        }
    }

    /// The number of claims on a group.
    fn claims_on(&self, group: usize) -> usize {
        let claims = self.ref_claims.iter().flatten();
        claims.filter(|(on, _)| *on == group).count()
    }

    fn release(&mut self) -> Result<&'static str> {
        let Some((index, group)) = self.some_claim() else {
            return Ok("release nothing");
        };
        let Some(claim) = self.claims[index].take() else {
            return Err(EINVAL);
        };
        let attached = matches!(
            self.ref_groups[group].holder,
            Holder::Owner { attached: true, .. }
        );
        let wanted = match attached && self.claims_on(group) == 1 {
            true => Err(EBUSY),
            false => Ok(()),
        };
        let result = match claim.release() {
            Ok(()) => Ok(()),
            Err((claim, error)) => {
                self.claims[index] = Some(claim);
                Err(error)
            }
        };
        if self.agree(result, wanted)? {
            self.ref_end_claim(index, group);
        }
        Ok("release")
    }

    fn drop_claim(&mut self) -> &'static str {
        let Some((index, group)) = self.some_claim() else {
            return "drop nothing";
        };
        self.claims[index] = None;
        self.ref_end_claim(index, group);
        "drop a claim"
    }

    fn ref_end_claim(&mut self, index: usize, group: usize) {
        self.ref_claims[index] = None;
        if self.claims_on(group) == 0 {
            self.ref_detach(group);
            let state = &mut self.ref_groups[group];
            state.holder = Holder::Nobody;
            state.current = state.default.unwrap_or(state.current);
        }
    }

    /// Lends a group, or attaches a lent group to another domain of the driver.
    fn lend(&mut self) -> Result<&'static str> {
        let domain = self.some_domain();
        let group = self.random.below(GROUPS);
        let result = match &self.loans[group] {
            Some(loan) => loan.attach(&domain),
            None => self.groups[group]
                .lend("model".into(), &domain)
                .map(|loan| self.loans[group] = Some(loan)),
        };
        let wanted = match self.ref_groups[group].holder {
            Holder::Owner { .. } => Err(EBUSY),
            _ => Ok(()),
        };
        if self.agree(result, wanted)? {
            let state = &mut self.ref_groups[group];
            state.holder = Holder::Lent;
            state.current = domain.record().id();
        }
        Ok("lend")
    }

    fn end_loan(&mut self) -> &'static str {
        let group = self.random.below(GROUPS);
        if self.loans[group].take().is_none() {
            return "end no loan";
        }
        let blocked = self.blocked();
        let state = &mut self.ref_groups[group];
        state.holder = Holder::Nobody;
        state.current = state.default.unwrap_or(blocked);
        self.update_holder(group);
        "end a loan"
    }

    /// A random paging domain, with its pages.
    fn some_pages(&mut self) -> Option<(Arc<Domain<Mock>>, usize)> {
        let domain = self.slots[self.random.below(SLOTS)].as_ref()?;
        let id = domain.record().id();
        let index = self.ref_domains.iter().position(|domain| domain.id == id)?;
        matches!(self.ref_domains[index].does, Does::Maps(_)).then(|| (domain.clone(), index))
    }

    fn map(&mut self) -> Result<&'static str> {
        let page = self.random.below(PAGES);
        let phys = (self.random.next() & 0xf_ffff) * PAGE;
        let Some((domain, index)) = self.some_pages() else {
            return Ok("map nothing");
        };
        let Does::Maps(pages) = self.ref_domains[index].does else {
            return Err(EINVAL);
        };
        let result = map(&domain, iova(page), phys, PAGE);
        let wanted = match pages[page] {
            Some(_) => Err(pgtable::Error::InUse.into()),
            None => Ok(()),
        };
        if self.agree(result, wanted)? {
            if let Does::Maps(pages) = &mut self.ref_domains[index].does {
                pages[page] = Some(phys);
            }
        }
        Ok("map")
    }

    fn unmap(&mut self) -> Result<&'static str> {
        let page = self.random.below(PAGES);
        let Some((domain, index)) = self.some_pages() else {
            return Ok("unmap nothing");
        };
        let unmapped = unmap(&domain, iova(page), PAGE);
        if let Does::Maps(pages) = &mut self.ref_domains[index].does {
            let wanted = pages[page].take().map_or(0, |_| PAGE);
            ensure!(unmapped == wanted);
        }
        Ok("unmap")
    }

    fn suspend(&mut self) -> Result<&'static str> {
        let (index, group) = self.some_endpoint();
        let result = self.groups[group].suspend(&self.endpoints[index]);
        let wanted = match self.ref_endpoints[index].member {
            true => Ok(()),
            false => Err(ENODEV),
        };
        if self.agree(result, wanted)? {
            self.ref_endpoints[index].suspended = true;
        }
        Ok("suspend")
    }

    fn resume(&mut self) -> &'static str {
        let (index, group) = self.some_endpoint();
        self.groups[group].resume(&self.endpoints[index]);
        self.ref_endpoints[index].suspended = false;
        "resume"
    }

    fn start_driver(&mut self) -> Result<&'static str> {
        let (index, group) = self.some_endpoint();
        let result = self.groups[group].start_dma_api(&self.endpoints[index], "driver".into());
        let held = self.ref_groups[group].holder.is_exclusive();
        let endpoint = self.ref_endpoints[index];
        let wanted = match endpoint.member {
            false => Err(ENODEV),
            true if held && !endpoint.driver => Err(EBUSY),
            true => Ok(()),
        };
        if self.agree(result, wanted)? {
            self.ref_endpoints[index].driver = true;
            self.update_holder(group);
        }
        Ok("start a driver")
    }

    fn end_driver(&mut self) -> &'static str {
        let (index, group) = self.some_endpoint();
        self.groups[group].end_dma_api(&self.endpoints[index]);
        self.ref_endpoints[index].driver = false;
        self.update_holder(group);
        "end a driver"
    }

    /// Whether anything refers to a domain.
    fn is_used(&self, id: u64) -> bool {
        id == self.blocked()
            || self.slots.iter().flatten().any(|d| d.record().id() == id)
            || self
                .ref_groups
                .iter()
                .any(|group| group.current == id || group.default == Some(id))
    }

    /// Whether a domain has a tag on `unit`: a member there is attached to it, or has a prepared
    /// return to it.
    fn resides(&self, id: u64, unit: usize) -> bool {
        !self.is_blocked(id)
            && (0..GROUPS).any(|group| {
                let state = &self.ref_groups[group];
                let held = state.holder.is_exclusive();
                (state.current == id || (held && state.default == Some(id)))
                    && self
                        .members(group)
                        .any(|(index, _)| ENDPOINTS[index].1 == unit)
            })
    }

    /// Compares everything that is visible.
    fn check(&mut self) -> Result {
        // Domains: exactly those that something refers to exist.
        let mut index = 0;
        while index < self.ref_domains.len() {
            match self.is_used(self.ref_domains[index].id) {
                true => index += 1,
                false => {
                    self.ref_domains.remove(index)?;
                }
            }
        }
        ensure!(self.machine.domains() == self.ref_domains.len() as u64);
        self.machine.registry.for_each_domain(|record| {
            let id = record.id();
            let on_it = self.ref_groups.iter().filter(|group| group.current == id);
            ensure!(record.groups() == on_it.count() as i64);
            let mapped = match self.does(id) {
                Does::Maps(pages) => pages.iter().flatten().count(),
                _ => 0,
            };
            ensure!(record.mapped() == (mapped as u64 * PAGE) as i64);
            Ok(())
        })?;

        for unit in 0..2 {
            let tags = self.ref_domains.iter().filter(|d| self.resides(d.id, unit));
            ensure!(self.machine.hardware(unit).tags_in_use() == tags.count());
        }

        for (group, state) in self.ref_groups.iter().enumerate() {
            let wanted = match state.holder {
                Holder::Nobody => Ownership::Free,
                Holder::Kernel => Ownership::Kernel {
                    users: self.drivers(group),
                },
                Holder::Lent => Ownership::Lent {
                    users: self.drivers(group),
                    to: "model".into(),
                },
                Holder::Owner { which, attached } => Ownership::Claimed {
                    owner: owner(which + 1, "model"),
                    claims: self.claims_on(group),
                    attached,
                },
            };
            ensure!(self.groups[group].ownership() == wanted);
        }

        // DMA under an id: it passes if a member that has the id is not suspended.
        for (_, unit, ids) in ENDPOINTS {
            for &id in ids {
                let open = (0..GROUPS).find(|&group| {
                    self.members(group).any(|(index, endpoint)| {
                        !endpoint.suspended
                            && ENDPOINTS[index].1 == unit
                            && ENDPOINTS[index].2.contains(&id)
                    })
                });
                let does = match open {
                    Some(group) => self.does(self.ref_groups[group].current),
                    None => Does::Blocks,
                };
                for page in 0..PAGES {
                    ensure!(self.machine.dma(unit, id, iova(page)) == does.leads(page));
                    if matches!(does, Does::Maps(pages) if pages[page].is_some()) {
                        self.reached[unit] += 1;
                    }
                }
            }
        }
        Ok(())
    }

    /// Ends all claims and loans, removes all members, and checks that nothing is left.
    fn finish(mut self) -> Result {
        self.claims = [const { None }; CLAIMS];
        self.loans = [const { None }; GROUPS];
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            self.groups[ENDPOINTS[index].0].leave(endpoint);
        }
        let Self {
            machine,
            groups,
            endpoints,
            slots,
            ..
        } = self;
        drop((groups, endpoints, slots));
        machine.finish()
    }
}

fn run(seed: u64) -> Result {
    log_info!("model: seed {seed:#x}, {STEPS} steps");
    // Not on the stack, because a kernel stack is small.
    let mut test = KBox::new(Test::new(seed)?, GFP_KERNEL)?;
    for step in 0..STEPS {
        let did = match test.step() {
            Ok(did) => did,
            Err(error) => {
                log_err!("model: seed {seed:#x}: step {step} failed");
                return Err(error);
            }
        };
        if let Err(error) = test.check() {
            log_err!("model: seed {seed:#x}: after step {step}, {did}");
            return Err(error);
        }
    }
    log_info!("model: DMA reached mapped memory {:?} times", test.reached);
    ensure!(test.reached.iter().all(|&times| times > u64::from(STEPS)));
    KBox::into_inner(test).finish()
}

#[kunit_tests(iommu_core_model)]
mod suite {
    use super::*;

    #[test]
    fn random_sequences_match_the_reference_model() -> Result {
        SEEDS.iter().try_for_each(|&seed| run(seed))
    }
}
