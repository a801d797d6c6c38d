// SPDX-License-Identifier: GPL-2.0

//! Devices get a unit and a group, and are released.
//!
//! ```text
//! a bus gets a device, or firmware's node is linked late -> probe
//! a unit is registered                                   -> probe_bus: all devices that are there
//! a bus loses a device, or a unit is unregistered        -> release
//! ```
//!
//! A device that is probed gets a record, a unit and a group, and is attached to the group's
//! domain. When a whole bus is probed default domains are chosen last, since the choice depends on
//! all members of a group.

use core::ptr;

use kernel::{
    bindings,
    error::{from_err_ptr, to_result},
    ffi::{c_int, c_ulong, c_void},
    prelude::*,
    sync::lock::{mutex::MutexBackend, Guard, Lock},
};

use super::{
    backing::Backed,
    default_domain, foreign,
    group::{iommu_group_put, Changing, GroupDevice, IommuGroup, Shape},
    record::{self, dev_iommu_free},
    units,
};
use crate::{ffi::device::Device, log::log_err};

/// Groups that have got their first member while a bus is probed. Each is counted: its members may
/// be gone before it is looked at.
struct NewGroups(KVec<*mut bindings::iommu_group>);

impl Drop for NewGroups {
    fn drop(&mut self) {
        for &group in self.0.iter() {
            // SAFETY: `note` has counted it.
            unsafe { iommu_group_put(group) };
        }
    }
}

/// Locks the mutex that all probing is done with.
pub(super) fn lock() -> Guard<'static, (), MutexBackend> {
    // SAFETY: C has initialised it before any code ran.
    let mutex: &'static Lock<(), MutexBackend> =
        unsafe { Lock::from_raw(&raw mut bindings::iommu_probe_device_lock) };
    mutex.lock()
}

/// Probes a device.
#[export]
pub unsafe extern "C" fn iommu_probe_device(dev: *mut bindings::device) -> c_int {
    // SAFETY: The caller's promise.
    let result = unsafe {
        let mut guard = lock();
        probe(&mut guard, dev, None)
    };
    match result {
        Ok(()) => {
            // SAFETY: As above. Drivers may call back, so no lock is held.
            unsafe { finalize(dev) };
            0
        }
        Err(error) => error.to_errno(),
    }
}

/// # Safety
///
/// `dev` was probed.
unsafe fn finalize(dev: *mut bindings::device) {
    // SAFETY: By the requirements.
    unsafe {
        if let Some(finalize) = record::ops(dev).and_then(|ops| ops.probe_finalize) {
            finalize(dev);
        }
    }
}

/// Probes a device. If there is a `later`, a new group goes there, and the caller chooses its
/// default domain.
///
/// # Safety
///
/// `dev` is valid.
unsafe fn probe(
    guard: &mut Guard<'static, (), MutexBackend>,
    dev: *mut bindings::device,
    later: Option<&mut NewGroups>,
) -> Result {
    // SAFETY: By the requirements; with the mutex held nobody else sets the group.
    unsafe {
        if !(*dev).iommu_group.is_null() {
            return Ok(());
        }
        find_unit(guard, dev)?;
        if !(*dev).driver.is_null() {
            // The DMA addresses that its driver uses become invalid.
            kernel::warn_on!(true);
            log_err!(
                "{}: gets to its unit only when its driver is there already",
                Device::from_raw(dev).map_or("?".into(), Device::name)
            );
        }
        let group = (*dev).iommu_group;
        let result = join(IommuGroup::from_c(group), dev, later);
        if result.is_err() {
            iommu_group_put(group);
        }
        result
    }
}

/// Gives the device a record with a unit, and a group. If it fails the device has none of them.
///
/// # Safety
///
/// As those of [`probe`].
unsafe fn find_unit(
    guard: &mut Guard<'static, (), MutexBackend>,
    dev: *mut bindings::device,
) -> Result {
    // SAFETY: By the requirements, and as the comments say.
    unsafe {
        let record = record::get_or_make(dev)?;
        if (*record).fwspec.is_null() && (*dev).driver.is_null() {
            if let Some(configure) = (*(*dev).bus).dma_configure {
                // It reads what firmware says of the device, and takes the mutex meanwhile.
                relock(guard, || {
                    configure(dev);
                });
                if (*dev).iommu.is_null() || !(*dev).iommu_group.is_null() {
                    // Somebody else has done it meanwhile.
                    return Err(ENODEV);
                }
            }
        }
        let result = find_unit_with_record(dev);
        if result.is_err() {
            (*(*dev).iommu).iommu_dev = ptr::null_mut();
            dev_iommu_free(dev);
        }
        result
    }
}

/// Calls `f` with the mutex of probing unlocked.
fn relock(_guard: &mut Guard<'static, (), MutexBackend>, f: impl FnOnce()) {
    // SAFETY: The guard holds the mutex, and it is held again when this returns. Nothing of what it
    // protects is borrowed by the guard.
    unsafe {
        let mutex = &raw mut bindings::iommu_probe_device_lock;
        bindings::mutex_unlock(mutex);
        f();
        bindings::mutex_lock(mutex);
    }
}

/// # Safety
///
/// As those of [`probe`]; the device has a record.
unsafe fn find_unit_with_record(dev: *mut bindings::device) -> Result {
    // SAFETY: By the requirements. The driver's module is counted for as long as the device has one
    // of its units.
    unsafe {
        let record = (*dev).iommu;
        let node = match (*record).fwspec.as_ref() {
            Some(spec) => spec.iommu_fwnode.cast_const(),
            None => ptr::null(),
        };
        let ops = units::find(node).ok_or(ENODEV)?.ops;
        if !bindings::iommu_core_get_module(ops.owner) {
            return Err(EINVAL);
        }
        let result = ask_driver(dev, ops);
        if result.is_err() {
            bindings::iommu_core_put_module(ops.owner);
        }
        result
    }
}

/// # Safety
///
/// As those of [`find_unit_with_record`].
unsafe fn ask_driver(dev: *mut bindings::device, ops: &'static bindings::iommu_ops) -> Result {
    // SAFETY: By the requirements. The order is the one that drivers are used to.
    unsafe {
        let unit = from_err_ptr((ops.probe_device.ok_or(ENODEV)?)(dev))?;
        let record = (*dev).iommu;
        (*record).iommu_dev = unit;
        let undo = || {
            if let Some(release) = ops.release_device {
                release(dev);
            }
        };
        to_result(bindings::iommu_device_link(unit, dev)).inspect_err(|_| undo())?;
        let group = match ops.device_group {
            Some(choose) => from_err_ptr(choose(dev)),
            None => Err(EINVAL),
        };
        let group = group.and_then(|group| match group.is_null() {
            true => Err(EINVAL),
            false => Ok(group),
        });
        let group = group.inspect_err(|_| {
            bindings::iommu_device_unlink(unit, dev);
            undo();
        })?;
        (*dev).iommu_group = group;
        (*record).max_pasids = bindings::iommu_core_max_pasids(dev).min((*unit).max_pasids);
        if let Some(is_deferred) = ops.is_attach_deferred {
            (*record).set_attach_deferred(u32::from(is_deferred(dev)));
        }
        Ok(())
    }
}

/// Makes the device a member of its group.
///
/// # Safety
///
/// `dev` is valid, and has a unit and this group. The mutex of probing is held.
unsafe fn join(
    group: &IommuGroup,
    dev: *mut bindings::device,
    later: Option<&mut NewGroups>,
) -> Result {
    let member = group.link(dev);
    let mut shape = group.shape();
    let result = member.and_then(|member| {
        // SAFETY: By the requirements.
        unsafe { add(&mut shape, dev, member, later) }
    });
    result.inspect_err(|_| {
        let mut changing = shape.lock();
        changing.state().is_promised = false;
        // SAFETY: By the requirements.
        unsafe {
            part(&mut changing, dev);
            forget(changing, dev);
        }
    })
}

/// The second part of [`join`]. If it fails the device may be a member or not.
///
/// # Safety
///
/// As those of [`join`].
unsafe fn add(
    shape: &mut Shape<'_>,
    dev: *mut bindings::device,
    member: GroupDevice,
    later: Option<&mut NewGroups>,
) -> Result {
    let group = shape.group();
    let mut changing = shape.lock();
    let members = &mut changing.state().members;
    if let Err(error) = members.reserve(1, GFP_KERNEL) {
        group.unlink(member);
        return Err(error.into());
    }
    // There is room.
    let _ = members.push_within_capacity(member);
    changing.state().is_promised = false;
    let default = group.default_domain();
    if !default.is_null() {
        // SAFETY: By the requirements. A failure costs the device the region and is no reason to
        // let it do nothing at all.
        let _ = unsafe { default_domain::map_direct_regions(default, dev) };
    }
    back(&mut changing)?;
    // SAFETY: By the requirements.
    unsafe { changing.core()?.join(dev, group.blocking()) }?;
    match later {
        _ if !default.is_null() => {
            drop(changing);
            // SAFETY: The device is attached to the group's default domain, or is going to be; with
            // the shape held nobody changes that.
            unsafe { bindings::iommu_core_set_up_dma(dev, default) };
            Ok(())
        }
        None => default_domain::set_up(changing, 0),
        Some(groups) => note(groups, dev),
    }
}

/// Notes the device's group, once.
fn note(groups: &mut NewGroups, dev: *mut bindings::device) -> Result {
    // SAFETY: The callers' promise.
    let group = unsafe { (*dev).iommu_group };
    if !groups.0.contains(&group) {
        groups.0.push(group, GFP_KERNEL)?;
        // SAFETY: The device has a count of it.
        unsafe { IommuGroup::from_c(group) }.count();
    }
    Ok(())
}

/// Makes the core's group for the first device. For vendor drivers there is one already.
fn back(changing: &mut Changing<'_, '_>) -> Result {
    if changing.core().is_ok() {
        return Ok(());
    }
    let core = foreign::new_group(changing.group().id())?;
    changing.state().core = Some(Backed::new(&core)?);
    Ok(())
}

/// Removes a device from the members.
fn take(changing: &mut Changing<'_, '_>, dev: *mut bindings::device) -> Option<GroupDevice> {
    let members = &mut changing.state().members;
    let index = members
        .iter()
        .position(|member| ptr::eq(member.as_raw(), dev))?;
    members.remove(index).ok()
}

/// Takes the device out of the core's group and out of sysfs. Returns whether it was a member.
///
/// # Safety
///
/// `dev` is valid.
unsafe fn part(changing: &mut Changing<'_, '_>, dev: *mut bindings::device) -> bool {
    let Some(member) = take(changing, dev) else {
        return false;
    };
    if let Ok(core) = changing.core() {
        // SAFETY: By the requirements.
        unsafe { core.leave(dev) };
    }
    changing.group().unlink(member);
    true
}

/// Undoes [`find_unit`] for a device that is no longer a member. The caller drops the count of its
/// group.
///
/// # Safety
///
/// `dev` is valid, and has a unit.
unsafe fn forget(mut changing: Changing<'_, '_>, dev: *mut bindings::device) {
    let group = changing.group();
    // SAFETY: By the requirements. The order is the one that drivers are used to.
    unsafe {
        let Some(ops) = record::ops(dev) else {
            return;
        };
        let record = (*dev).iommu;
        bindings::iommu_device_unlink((*record).iommu_dev, dev);
        let domain = release_domain(ops, (*record).require_direct() != 0);
        if let Some(domain) = domain.filter(|_| (*record).attach_deferred() == 0) {
            if let Some(attach) = (*(*domain).ops).attach_dev {
                // The group's domain is still there.
                attach(domain, dev, group.current());
            }
        }
        if let Some(release) = ops.release_device {
            release(dev);
        }
        let mut unused = [ptr::null_mut(); 2];
        if changing.members.is_empty() && !changing.is_promised {
            changing.state().core = None;
            unused = [group.default_domain(), group.blocking()];
            group.set_default_domain(ptr::null_mut());
            group.set_blocking(ptr::null_mut());
            group.set_current(ptr::null_mut());
        }
        drop(changing);
        // The driver's module may go with its last device, so its domains are freed before.
        for domain in unused.into_iter().filter(|domain| !domain.is_null()) {
            foreign::iommu_domain_free(domain);
        }
        (*dev).iommu_group = ptr::null_mut();
        bindings::iommu_core_put_module(ops.owner);
        dev_iommu_free(dev);
        bindings::iommu_core_clear_dma(dev);
    }
}

/// The domain that a driver wants its devices attached to when they leave. A device that firmware
/// needs at all times must not be blocked.
fn release_domain(
    ops: &bindings::iommu_ops,
    is_pinned: bool,
) -> Option<*mut bindings::iommu_domain> {
    let domain = match is_pinned
        && !ops.identity_domain.is_null()
        && ops.release_domain == ops.blocked_domain
    {
        true => ops.identity_domain,
        false => ops.release_domain,
    };
    (!domain.is_null()).then_some(domain)
}

/// Takes a device out of its group.
///
/// # Safety
///
/// `dev` is valid, and in a group.
pub(super) unsafe fn leave(dev: *mut bindings::device) {
    // SAFETY: By the requirements; the device's count of the group is given back last.
    unsafe {
        let raw = (*dev).iommu_group;
        let group = IommuGroup::from_c(raw);
        {
            let mut shape = group.shape();
            let mut changing = shape.lock();
            if part(&mut changing, dev) {
                match record::ops(dev) {
                    Some(_) => forget(changing, dev),
                    None => (*dev).iommu_group = ptr::null_mut(),
                }
            }
        }
        iommu_group_put(raw);
    }
}

/// Releases a device: it was removed, or its unit was unregistered.
///
/// # Safety
///
/// `dev` is valid.
pub(super) unsafe fn release(dev: *mut bindings::device) {
    // SAFETY: By the requirements.
    unsafe {
        if !(*dev).iommu_group.is_null() {
            leave(dev);
        }
        if !(*dev).iommu.is_null() {
            // The device has a record, and no unit was found.
            dev_iommu_free(dev);
        }
    }
}

/// Takes a device that is behind no unit out of its group.
#[export]
pub unsafe extern "C" fn iommu_group_remove_device(dev: *mut bindings::device) {
    // SAFETY: The caller's promise.
    unsafe {
        if !(*dev).iommu_group.is_null() {
            leave(dev);
        }
    }
}

/// A bus has got or lost a device.
#[export]
pub unsafe extern "C" fn iommu_core_bus_event(
    _block: *mut bindings::notifier_block,
    event: c_ulong,
    data: *mut c_void,
) -> c_int {
    let dev = data.cast();
    let answer = match event as bindings::bus_notifier_event {
        // SAFETY: The driver core keeps the device.
        bindings::bus_notifier_event_BUS_NOTIFY_ADD_DEVICE => unsafe {
            match iommu_probe_device(dev) {
                0 => bindings::NOTIFY_OK,
                _ => bindings::NOTIFY_DONE,
            }
        },
        bindings::bus_notifier_event_BUS_NOTIFY_REMOVED_DEVICE => {
            // SAFETY: As above.
            unsafe { release(dev) };
            bindings::NOTIFY_OK
        }
        _ => bindings::NOTIFY_DONE,
    };
    answer as c_int
}

/// Probes all devices of a bus.
///
/// # Errors
///
/// The error of a driver that has a unit for a device. Some devices may have been probed then.
///
/// # Safety
///
/// `bus` is registered.
pub(super) unsafe fn probe_bus(bus: *const bindings::bus_type) -> Result {
    unsafe extern "C" fn visit(dev: *mut bindings::device, groups: *mut c_void) -> c_int {
        // SAFETY: Called back with a device that is kept, and with the vector.
        let result = unsafe {
            let mut guard = lock();
            probe(&mut guard, dev, Some(&mut *groups.cast::<NewGroups>()))
        };
        match result {
            Err(error) if error != ENODEV => error.to_errno(),
            _ => 0,
        }
    }

    let mut groups = NewGroups(KVec::new());
    // SAFETY: By the requirements; the vector outlives the call.
    to_result(unsafe {
        bindings::bus_for_each_dev(bus, ptr::null_mut(), (&raw mut groups).cast(), Some(visit))
    })?;
    for &group in groups.0.iter() {
        // SAFETY: `note` has counted the group.
        let group = unsafe { IommuGroup::from_c(group) };
        let mut shape = group.shape();
        let changing = shape.lock();
        if changing.members.is_empty() {
            // They were removed again.
            continue;
        }
        default_domain::set_up(changing, 0)?;
        // A driver may call back, and then takes the group's mutex; so the mutex is free here. With
        // the shape held no member goes.
        for member in shape.members() {
            // SAFETY: A member is valid, and was probed.
            unsafe { finalize(member.as_raw()) };
        }
    }
    Ok(())
}
