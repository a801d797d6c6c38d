// SPDX-License-Identifier: GPL-2.0

//! A group's state as debugfs and sysfs show it.

#![forbid(unsafe_code)]

use core::fmt::{Result, Write};

use super::state::Group;
use crate::{count::Count, driver::Attach, endpoint::Endpoint, ownership::Ownership};

impl<D: Attach> Group<D> {
    /// Writes the group's domain, owner, faults and members, with the reason why each member is in
    /// the group.
    pub fn show(&self, f: &mut dyn Write) -> Result {
        let state = self.state.lock();
        writeln!(f, "{}", self.name())?;
        writeln!(f, "  domain   {}", &**state.current.domain())?;
        for (pasid, attachment) in state.pasids.iter() {
            writeln!(f, "  {pasid} {}", &**attachment.domain())?;
        }
        if let Some(default) = &state.default {
            writeln!(f, "  default  {}", &**default)?;
        }
        writeln!(f, "  owner    {}", state.ownership)?;
        {
            let faults = self.faults.lock();
            write!(f, "  faults   {}", faults.count)?;
            match &faults.last {
                Some(last) => writeln!(f, ", last: {} {last}", last.requester)?,
                None => writeln!(f)?,
            }
        }
        for member in state.members.iter() {
            let endpoint = member.endpoint();
            write!(
                f,
                "  member   {} behind {}",
                endpoint.name(),
                endpoint.unit().name()
            )?;
            if let Some(tag) = member.tag() {
                write!(f, ", tag {tag}")?;
            }
            if let Some(driver) = member.driver() {
                write!(f, ", driver {driver}")?;
            }
            // In a blocked group it makes no difference.
            if member.is_suspended() && !state.current.domain().is_blocked() {
                write!(f, ", suspended for a reset")?;
            }
            write!(f, ", ids")?;
            for id in endpoint.ids() {
                write!(f, " {id}")?;
            }
            writeln!(f, ": {}", member.reason())?;
            for region in endpoint.reserved() {
                writeln!(f, "    reserved {region}")?;
            }
        }
        Ok(())
    }

    /// Writes one line with the holder of the group; if kernel drivers use it, the line names them.
    pub fn show_owner(&self, f: &mut dyn Write) -> Result {
        let state = self.state.lock();
        write!(f, "{}", state.ownership)?;
        if matches!(state.ownership, Ownership::Kernel { .. }) {
            let users = state.members.iter().filter_map(|m| Some((m.driver()?, m)));
            for (number, (driver, member)) in users.enumerate() {
                let between = if number == 0 { ":" } else { "," };
                write!(f, "{between} {driver} of {}", member.endpoint().name())?;
            }
        }
        writeln!(f)
    }

    /// Writes one line with the domain that the group is attached to.
    pub fn show_domain(&self, f: &mut dyn Write) -> Result {
        writeln!(f, "{}", &**self.state.lock().current.domain())
    }

    /// Writes one line for each member with the reason why it is in the group.
    // A file in sysfs, which only the native frontend can add.
    #[cfg_attr(not(CONFIG_IOMMU_CORE_NATIVE), allow(dead_code))]
    pub fn show_reasons(&self, f: &mut dyn Write) -> Result {
        let state = self.state.lock();
        let mut members = state.members.iter();
        members.try_for_each(|m| writeln!(f, "{}: {}", m.endpoint().name(), m.reason()))
    }

    /// Writes one line with the reason why a member is in the group.
    pub fn show_reason(&self, endpoint: &Endpoint<D>, f: &mut dyn Write) -> Result {
        let state = self.state.lock();
        match state.members.iter().find(|member| member.is(endpoint)) {
            Some(member) => writeln!(f, "{}", member.reason()),
            None => Ok(()),
        }
    }

    /// Writes one line with the number of the group's faults.
    pub fn show_fault_count(&self, f: &mut dyn Write) -> Result {
        writeln!(f, "{}", self.faults.lock().count)
    }

    /// Writes one line with the group's last fault, without its address: `none` if there was none.
    pub fn show_last_fault(&self, f: &mut dyn Write) -> Result {
        match self.faults.lock().last {
            Some(last) => writeln!(f, "{} {}", last.requester, last.without_address()),
            None => writeln!(f, "none"),
        }
    }

    /// Writes one line about the group's faults, if there were any.
    pub fn show_faults(&self, f: &mut dyn Write) -> Result {
        let faults = self.faults.lock();
        match &faults.last {
            Some(last) => writeln!(
                f,
                "{}: {}, last: {} {last}",
                self.name(),
                Count::new(faults.count, "fault"),
                last.requester
            ),
            None => Ok(()),
        }
    }
}
