// SPDX-License-Identifier: GPL-2.0

//! Groups: C's `struct iommu_group`.
//!
//! C does not look into a group, so the structure is defined here: a kobject, since sysfs shows
//! groups, and a reference to the core's group. C's users count the kobject of the folder `devices`
//! below the group. That folder has a count of the group itself, so the group lasts as long as its
//! folder can be looked at.
//!
//! There are two locks, outermost first:
//!
//! 1. The shape ([`Shape`]), held to change members or the default domain.
//! 2. The mutex, which `iommu_group_mutex_assert()` asks for. It is held during calls of C's
//!    drivers. Members do not change in these calls, so a driver may look at them.
//!
//! The DMA API is told of a default domain with the shape held and the mutex free. It takes the
//! lock of CPU hot-plug when it gets a domain and when it gives one up. Some device drivers look up
//! their interrupts under that lock, and if messages are translated, allocating an interrupt takes
//! the group's mutex.

use core::{cell::UnsafeCell, mem, ops::Deref, ptr};

use kernel::{
    bindings,
    error::to_result,
    ffi::{c_char, c_int, c_void},
    new_mutex,
    prelude::*,
    str::CString,
    sync::{
        atomic::{Acquire, Atomic, Relaxed, Release},
        lock::{mutex::MutexBackend, Guard, Lock},
        Arc, Mutex, SetOnce,
    },
    types::Opaque,
};

use super::{
    backing::{Backed, Backing, Native},
    group_domains::GroupDomains,
    handles::Handles,
    record, sysfs, trace,
};
use crate::{
    ffi::device::Device,
    frontend::answer,
    log::{log_err, log_info},
};

/// A device in a group.
///
/// # Invariants
///
/// `device` is valid as long as it is a member, and `name` is its link in the group's folder.
pub(super) struct GroupDevice {
    device: *mut bindings::device,
    name: CString,
    /// Whether its driver of units has blocked the device; known from its first reset on.
    blocked: SetOnce<Arc<Atomic<bool>>>,
    /// How many resets of the device have begun and not ended.
    pub(super) resets: Atomic<u32>,
}

impl GroupDevice {
    /// The pointer that C knows the device by.
    pub(super) fn as_raw(&self) -> *mut bindings::device {
        self.device
    }

    /// Learns where its driver of units notes that it has blocked the device.
    pub(super) fn watch(&self, blocked: Option<Arc<Atomic<bool>>>) {
        if let Some(blocked) = blocked {
            self.blocked.populate(blocked);
        }
    }

    /// Whether the device alone is blocked, since it is being reset.
    fn is_blocked(&self) -> bool {
        let blocked = self.blocked.as_ref();
        blocked.is_some_and(|blocked| blocked.load(Relaxed))
    }
}

/// What the mutex protects.
pub(super) struct GroupState {
    pub(super) members: KVec<GroupDevice>,
    /// The core's group; `None` if no member is behind a unit.
    // There is one count. It is an `Arc` since a pinned box cannot hold a `dyn Backing`.
    pub(super) core: Option<Arc<dyn Backing>>,
    /// A device that is being probed has been told of `core`, and is not a member yet: the last
    /// member that leaves meanwhile must not take `core` along.
    pub(super) is_promised: bool,
}

/// A group: C's `struct iommu_group`.
///
/// The domains are the first part, so that C's pointer leads to them.
#[pin_data]
#[repr(C)]
pub(super) struct IommuGroup {
    domains: GroupDomains,
    kobject: Opaque<bindings::kobject>,
    /// The folder `devices`, once it is there.
    folder: *mut bindings::kobject,
    id: c_int,
    /// Held by a [`Shape`].
    #[pin]
    shape: Mutex<()>,
    mutex: Opaque<bindings::mutex>,
    state: UnsafeCell<GroupState>,
    /// The name that the group was given: a C string of `kstrdup()`, or null.
    name: Atomic<*mut c_char>,
    /// A driver's data of the group, and the function that frees it.
    data: Atomic<*mut c_void>,
    free_data: UnsafeCell<FreeFn>,
    handles: Handles,
}

type FreeFn = Option<unsafe extern "C" fn(*mut c_void)>;

/// The exclusive right to change a group's members and default domain, and to tell the DMA API of
/// that domain.
pub(super) struct Shape<'a> {
    group: &'a IommuGroup,
    _guard: Guard<'a, (), MutexBackend>,
}

impl<'a> Shape<'a> {
    /// The group.
    pub(super) fn group(&self) -> &'a IommuGroup {
        self.group
    }

    /// Takes the group's mutex as well.
    pub(super) fn lock(&mut self) -> Changing<'_, 'a> {
        Changing {
            locked: self.group.lock(),
            shape: self,
        }
    }

    /// The devices, with the mutex free.
    pub(super) fn members(&self) -> &KVec<GroupDevice> {
        // SAFETY: Only `Changing::state` makes a reference that is not shared. It has borrowed the
        // group's only `Shape`, so there is none while this one is borrowed.
        unsafe { &(*self.group.state.get()).members }
    }
}

/// A group with its shape and its mutex held.
pub(super) struct Changing<'s, 'a> {
    locked: Locked<'a>,
    shape: &'s mut Shape<'a>,
}

impl<'a> Deref for Changing<'_, 'a> {
    type Target = Locked<'a>;

    fn deref(&self) -> &Locked<'a> {
        &self.locked
    }
}

impl<'s, 'a> Changing<'s, 'a> {
    /// What the mutex protects, to be changed. The caller calls no driver meanwhile.
    pub(super) fn state(&mut self) -> &mut GroupState {
        // SAFETY: Both locks are held, and what is shared of the state borrows one of them.
        unsafe { &mut *self.locked.group.state.get() }
    }

    /// Unlocks the mutex and keeps the shape.
    pub(super) fn unlock(self) -> &'s mut Shape<'a> {
        self.shape
    }
}

/// A group with its mutex held.
pub(super) struct Locked<'a> {
    group: &'a IommuGroup,
    _guard: Guard<'a, (), MutexBackend>,
}

impl Deref for Locked<'_> {
    type Target = GroupState;

    fn deref(&self) -> &GroupState {
        // SAFETY: The mutex is held, and only `Changing::state` makes a reference that is not
        // shared, which borrows the only `Locked`.
        unsafe { &*self.group.state.get() }
    }
}

impl<'a> Locked<'a> {
    /// The group.
    pub(super) fn group(&self) -> &'a IommuGroup {
        self.group
    }

    /// The core's group.
    ///
    /// # Errors
    ///
    /// `ENODEV` if there is none: no device of the group is behind a unit.
    pub(super) fn core(&self) -> Result<&dyn Backing> {
        self.core.as_deref().ok_or(ENODEV)
    }

    /// The record of a member.
    pub(super) fn member(&self, dev: *mut bindings::device) -> Option<&GroupDevice> {
        self.members
            .iter()
            .find(|member| ptr::eq(member.device, dev))
    }

    /// The functions of the driver whose unit the first device is behind.
    ///
    /// # Errors
    ///
    /// `ENODEV` if there is no device, or it is behind no unit.
    pub(super) fn ops(&self) -> Result<&'static bindings::iommu_ops> {
        let first = self.members.first().ok_or(ENODEV)?;
        // SAFETY: A member is valid, and keeps its record.
        unsafe { record::ops(first.device) }.ok_or(ENODEV)
    }
}

impl Deref for IommuGroup {
    type Target = GroupDomains;

    fn deref(&self) -> &GroupDomains {
        &self.domains
    }
}

impl IommuGroup {
    /// A new group, which is in sysfs as a kobject of `kind`. The caller owns one count.
    pub(super) fn make(kind: &'static bindings::kobj_type) -> Result<*mut bindings::iommu_group> {
        // SAFETY: Always safe.
        let id = unsafe { bindings::iommu_core_alloc_group_id() };
        to_result(id)?;
        let group = KBox::pin_init(
            pin_init!(Self {
                domains: GroupDomains::new(),
                kobject: Opaque::zeroed(),
                folder: ptr::null_mut(),
                id,
                shape <- new_mutex!((), "iommu_group.shape"),
                mutex: Opaque::zeroed(),
                state: UnsafeCell::new(GroupState {
                    members: KVec::new(),
                    core: None,
                    is_promised: false,
                }),
                name: Atomic::new(ptr::null_mut()),
                data: Atomic::new(ptr::null_mut()),
                free_data: UnsafeCell::new(None),
                handles: Handles::new(),
            }),
            GFP_KERNEL,
        );
        let group = match group {
            // SAFETY: It is not moved until it is dropped.
            Ok(group) => KBox::into_raw(unsafe { Pin::into_inner_unchecked(group) }),
            Err(error) => {
                // SAFETY: The id was just taken.
                unsafe { bindings::iommu_core_free_group_id(id) };
                return Err(error);
            }
        };
        // SAFETY: The group is new and stays where it is until its kobject is released.
        unsafe {
            bindings::iommu_core_init_mutex((*group).mutex.get());
            (*group).handles.init();
            sysfs::add_group((*group).kobject.get(), kind, id)
                .and_then(|()| {
                    (*group).folder = sysfs::add_device_folder((*group).kobject.get())?;
                    Ok(())
                })
                .inspect_err(|_| bindings::kobject_put((*group).kobject.get()))?;
            // The folder has a count of the group, and the caller gets a count of the folder.
            bindings::kobject_put((*group).kobject.get());
        }
        Ok(group.cast())
    }

    /// The group of a call from C.
    ///
    /// # Safety
    ///
    /// `raw` is a group, and kept for `'a`.
    pub(super) unsafe fn from_c<'a>(raw: *mut bindings::iommu_group) -> &'a Self {
        // SAFETY: By the requirements; all groups are made by `make`.
        unsafe { &*raw.cast::<Self>() }
    }

    /// The group of a call from sysfs.
    ///
    /// # Safety
    ///
    /// `kobject` is that of a group, and kept for `'a`.
    pub(super) unsafe fn from_kobject<'a>(kobject: *mut bindings::kobject) -> &'a Self {
        // SAFETY: By the requirements; the kobject is a part of the group.
        unsafe { &*Self::around(kobject) }
    }

    /// The group that a kobject is a part of; nothing is read.
    fn around(kobject: *mut bindings::kobject) -> *mut Self {
        kobject
            .wrapping_byte_sub(mem::offset_of!(Self, kobject))
            .cast()
    }

    /// The pointer that sysfs knows the group by.
    pub(super) fn kobject(&self) -> *mut bindings::kobject {
        self.kobject.get()
    }

    /// The pointer that C knows the group by.
    fn as_c(&self) -> *mut bindings::iommu_group {
        ptr::from_ref(self).cast_mut().cast()
    }

    /// The group's number.
    pub(super) fn id(&self) -> c_int {
        self.id
    }

    /// The group's name; null if it has none.
    pub(super) fn name(&self) -> *mut c_char {
        self.name.load(Acquire)
    }

    /// Sets the group's name: a C string of `kstrdup()`, which the group frees, or null. The old
    /// one is the caller's then.
    pub(super) fn set_name(&self, name: *mut c_char) {
        self.name.store(name, Release);
    }

    /// Locks the shape.
    pub(super) fn shape(&self) -> Shape<'_> {
        Shape {
            group: self,
            _guard: self.shape.lock(),
        }
    }

    /// Locks the mutex.
    pub(super) fn lock(&self) -> Locked<'_> {
        // SAFETY: The mutex is initialised.
        let mutex: &Lock<(), MutexBackend> = unsafe { Lock::from_raw(self.mutex.get()) };
        Locked {
            group: self,
            _guard: mutex.lock(),
        }
    }

    /// Warns if the mutex is not held, in a kernel with lockdep.
    fn assert_held(&self) {
        // SAFETY: The mutex is initialised.
        unsafe { bindings::iommu_core_assert_held(self.mutex.get()) }
    }

    /// The members, for a function that a driver calls in its `attach_dev`.
    fn members_meanwhile(&self) -> &KVec<GroupDevice> {
        self.assert_held();
        // SAFETY: The caller of the driver holds the mutex, and does not change the members until
        // the driver returns.
        unsafe { &(*self.state.get()).members }
    }

    /// The handles of the group's users.
    pub(super) fn handles(&self) -> &Handles {
        &self.handles
    }

    /// Takes a count.
    pub(super) fn count(&self) {
        // SAFETY: The group has a folder, and is kept by the caller.
        unsafe { bindings::kobject_get(self.folder) };
    }

    /// Links the device in the group's folder, and the group in the device's.
    pub(super) fn link(&self, dev: *mut bindings::device) -> Result<GroupDevice> {
        // SAFETY: C passes a device that it keeps, and that stays as long as it is a member.
        let device = unsafe { Device::from_raw(dev) }.ok_or(EINVAL)?;
        // SAFETY: The folder is there, and so are both kobjects.
        let name = unsafe { sysfs::link(self.kobject.get(), self.folder, device) }.inspect_err(
            |error| {
                log_err!(
                    "{}: cannot be added to group {}: error {}",
                    device.name(),
                    self.id,
                    error.to_errno(),
                );
            },
        )?;
        // SAFETY: The device is valid.
        unsafe { trace::add_device_to_group(self.id, dev) };
        log_info!("{}: in group {}", device.name(), self.id);
        // INVARIANT: As above.
        Ok(GroupDevice {
            device: dev,
            name,
            blocked: SetOnce::new(),
            resets: Atomic::new(0),
        })
    }

    /// Sets the core's group, if the group has none yet, for a device behind a unit of a vendor
    /// driver. The device is being probed and is going to be a member; the group keeps the core's
    /// until then.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn back_with<D: Native>(&self, core: &Arc<crate::group::Group<D>>) -> Result {
        let mut shape = self.shape();
        let mut group = shape.lock();
        if group.core.is_none() {
            group.state().core = Some(Backed::new(core)?);
        }
        group.state().is_promised = true;
        Ok(())
    }

    /// Undoes [`link`](Self::link).
    pub(super) fn unlink(&self, member: GroupDevice) {
        // SAFETY: The links were made by `link`, and the device is valid.
        unsafe {
            sysfs::unlink(self.folder, &member.name, member.device);
            trace::remove_device_from_group(self.id, member.device);
        }
    }

    /// Makes a device a member that is behind no unit. VFIO makes such groups.
    fn add_bare(&self, dev: *mut bindings::device) -> Result {
        let member = self.link(dev)?;
        let mut shape = self.shape();
        let mut group = shape.lock();
        let members = &mut group.state().members;
        if let Err(error) = members.reserve(1, GFP_KERNEL) {
            self.unlink(member);
            return Err(error.into());
        }
        // There is room.
        let _ = members.push_within_capacity(member);
        self.count();
        // SAFETY: The caller's promise: the device has no group.
        unsafe { (*dev).iommu_group = self.as_c() };
        Ok(())
    }

    /// Frees the group, which has no count any more.
    ///
    /// # Safety
    ///
    /// `kobject` is that of a group, and nobody has the group any more.
    pub(super) unsafe fn release(kobject: *mut bindings::kobject) {
        // SAFETY: By the requirements; the group comes from `make`.
        let group = unsafe { KBox::from_raw(Self::around(kobject)) };
        // SAFETY: Nobody else has the group.
        if let Some(free) = unsafe { *group.free_data.get() } {
            // SAFETY: The driver that set the function wants it called with its data.
            unsafe { free(group.data.load(Relaxed)) };
        }
        // SAFETY: The id is the group's, the name its own or null.
        unsafe {
            bindings::iommu_core_free_group_id(group.id);
            bindings::kfree(group.name.load(Relaxed).cast());
        }
        kernel::warn_on!(!group.default_domain().is_null());
    }
}

/// The group of a device; null if it has none. The caller owns a count.
#[export]
pub unsafe extern "C" fn iommu_group_get(dev: *mut bindings::device) -> *mut bindings::iommu_group {
    // SAFETY: The caller's promise.
    unsafe {
        let group = (*dev).iommu_group;
        if !group.is_null() {
            IommuGroup::from_c(group).count();
        }
        group
    }
}

/// Takes one more count.
#[export]
pub unsafe extern "C" fn iommu_group_ref_get(
    group: *mut bindings::iommu_group,
) -> *mut bindings::iommu_group {
    // SAFETY: The caller's promise.
    unsafe { IommuGroup::from_c(group) }.count();
    group
}

/// Gives a count back.
#[export]
pub unsafe extern "C" fn iommu_group_put(group: *mut bindings::iommu_group) {
    if !group.is_null() {
        // SAFETY: The caller's promise: the count is its own.
        unsafe { bindings::kobject_put(IommuGroup::from_c(group).folder) };
    }
}

/// The group's number in sysfs.
#[export]
pub unsafe extern "C" fn iommu_group_id(group: *mut bindings::iommu_group) -> c_int {
    // SAFETY: The caller's promise.
    unsafe { IommuGroup::from_c(group) }.id
}

/// A driver's data of the group.
#[export]
pub unsafe extern "C" fn iommu_group_get_iommudata(
    group: *mut bindings::iommu_group,
) -> *mut c_void {
    // SAFETY: The caller's promise.
    unsafe { IommuGroup::from_c(group) }.data.load(Acquire)
}

/// Sets a driver's data of the group. `release` frees it together with the group.
#[export]
pub unsafe extern "C" fn iommu_group_set_iommudata(
    group: *mut bindings::iommu_group,
    iommu_data: *mut c_void,
    release: FreeFn,
) {
    // SAFETY: The caller's promise; only the driver that made the group does so, when it makes it.
    unsafe {
        let group = IommuGroup::from_c(group);
        *group.free_data.get() = release;
        group.data.store(iommu_data, Release);
    }
}

/// Adds a device that is behind no unit.
#[export]
pub unsafe extern "C" fn iommu_group_add_device(
    group: *mut bindings::iommu_group,
    dev: *mut bindings::device,
) -> c_int {
    // SAFETY: The caller's promise.
    answer(unsafe { IommuGroup::from_c(group) }.add_bare(dev))
}

/// Calls `fn_` with each device until it does not return 0, and returns that. Devices neither come
/// nor go meanwhile.
#[export]
pub unsafe extern "C" fn iommu_group_for_each_dev(
    group: *mut bindings::iommu_group,
    data: *mut c_void,
    fn_: Option<unsafe extern "C" fn(*mut bindings::device, *mut c_void) -> c_int>,
) -> c_int {
    let Some(call) = fn_ else {
        return 0;
    };
    // SAFETY: The caller's promise.
    let locked = unsafe { IommuGroup::from_c(group) }.lock();
    locked
        .members
        .iter()
        // SAFETY: A member is valid.
        .map(|member| unsafe { call(member.device, data) })
        .find(|&answer| answer != 0)
        .unwrap_or(0)
}

/// Warns if the group's mutex is not held.
#[cfg(CONFIG_LOCKDEP)]
#[export]
pub unsafe extern "C" fn iommu_group_mutex_assert(dev: *mut bindings::device) {
    // SAFETY: The caller's promise: the device has a group.
    unsafe { IommuGroup::from_c((*dev).iommu_group) }.assert_held();
}

/// Whether no device of the group can send interrupts that were not given to it.
#[export]
pub unsafe extern "C" fn iommu_group_has_isolated_msi(group: *mut bindings::iommu_group) -> bool {
    // SAFETY: The caller's promise.
    let locked = unsafe { IommuGroup::from_c(group) }.lock();
    locked
        .members
        .iter()
        // SAFETY: A member is valid.
        .all(|member| unsafe { bindings::iommu_core_has_isolated_msi(member.device) })
}

/// The domain that a device is attached to; null if it is in no group.
#[export]
pub unsafe extern "C" fn iommu_get_domain_for_dev(
    dev: *mut bindings::device,
) -> *mut bindings::iommu_domain {
    // SAFETY: The caller's promise.
    unsafe {
        let group = (*dev).iommu_group;
        if group.is_null() {
            return ptr::null_mut();
        }
        let group = IommuGroup::from_c(group);
        bindings::iommu_core_assert_not_held(group.mutex.get());
        group.current()
    }
}

/// The domain that a device is attached to in hardware, for a driver in its `attach_dev`. A device
/// that is being reset is blocked, whatever its group is attached to.
#[export]
pub unsafe extern "C" fn iommu_driver_get_domain_for_dev(
    dev: *mut bindings::device,
) -> *mut bindings::iommu_domain {
    // SAFETY: The caller's promise: the device has a group.
    let group = unsafe { IommuGroup::from_c((*dev).iommu_group) };
    let member = group
        .members_meanwhile()
        .iter()
        .find(|member| ptr::eq(member.device, dev));
    match member {
        Some(member) if member.is_blocked() => group.blocking(),
        Some(_) => group.current(),
        None => {
            kernel::warn_on!(true);
            ptr::null_mut()
        }
    }
}
