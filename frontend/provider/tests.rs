// SPDX-License-Identifier: GPL-2.0

//! Real DMA, asked for the way that the kernel's own clients ask: through C's API, with a device
//! that moves data when it is told to.
//!
//! The device is QEMU's `edu` (docs/specs/edu in its source): it copies up to 4 KiB between memory
//! and a buffer of its own. Without one the cases are skipped. What a case expects is read from
//! memory, not from us.

use core::{ffi::c_void, ptr};

use kernel::{
    bindings,
    error::{from_err_ptr, to_result},
    prelude::*,
    sync::Arc,
    task::Task,
    time::{delay::fsleep, Delta},
    types::Opaque,
};

use super::{device::ProviderDevice, instance::Instance, slot::Callable};
use crate::{
    ffi::{device::Device, table::Table},
    ownership::Ownership,
};

const VENDOR: u32 = 0x1234;
const DEVICE: u32 = 0x11e8;

const PAGE: usize = 4096;
const READ_WRITE: c_int = (bindings::IOMMU_READ | bindings::IOMMU_WRITE) as c_int;

/// Addresses that the device is given; any will do that 28 bits can say.
const SOURCE: usize = 0x10_0000;
const TARGET: usize = 0x20_0000;

/// The device, for its test alone.
struct Edu {
    device: *mut bindings::pci_dev,
    registers: *mut c_void,
    group: *mut bindings::iommu_group,
    claimed: bool,
}

/// Which way data goes.
#[derive(Copy, Clone)]
enum Direction {
    /// Memory to device.
    In = 0,
    /// Device to memory.
    Out = 2,
}

impl Edu {
    const DMA_SOURCE: usize = 0x80;
    const DMA_TARGET: usize = 0x88;
    const DMA_COUNT: usize = 0x90;
    const DMA_COMMAND: usize = 0x98;
    const DMA_RUN: u64 = 1;
    /// The device's own buffer, in its own addresses.
    const BUFFER: u64 = 0x4_0000;

    /// Finds the device. `None` if there is none.
    fn find() -> Result<Option<Self>> {
        // SAFETY: Looks from the start; the count that it returns is kept by `Self`.
        let device = unsafe { bindings::pci_get_device(VENDOR, DEVICE, ptr::null_mut()) };
        if device.is_null() {
            return Ok(None);
        }
        let mut edu = Self {
            device,
            registers: ptr::null_mut(),
            group: ptr::null_mut(),
            claimed: false,
        };
        // SAFETY: The device is counted, and nobody else is interested in it.
        unsafe {
            to_result(bindings::pci_enable_device(device))?;
            edu.registers = bindings::pci_iomap(device, 0, 0);
            if edu.registers.is_null() {
                return Err(ENOMEM);
            }
            edu.group = bindings::iommu_group_get(&raw mut (*device).dev);
            if edu.group.is_null() {
                return Err(ENODEV);
            }
            bindings::pci_set_master(device);
        }
        Ok(Some(edu))
    }

    /// Finds the device, and claims its group for `owner`. `None` if there is none.
    fn claim(owner: &'static Owner) -> Result<Option<Self>> {
        let Some(mut edu) = Self::find()? else {
            return Ok(None);
        };
        // SAFETY: The group is counted.
        to_result(unsafe { bindings::iommu_group_claim_dma_owner(edu.group, owner.token()) })?;
        edu.claimed = true;
        Ok(Some(edu))
    }

    fn device(&self) -> *mut bindings::device {
        // SAFETY: The device is counted.
        unsafe { &raw mut (*self.device).dev }
    }

    /// Whom the core takes for the holder of the device's group.
    fn ownership(&self) -> Result<Ownership> {
        let by_driver: &[fn(&Self) -> Result<Ownership>] = &[
            #[cfg(CONFIG_IOMMU_CORE_INTEL)]
            Self::ownership_by::<crate::drivers::intel::Vtd>,
            #[cfg(CONFIG_IOMMU_CORE_AMD)]
            Self::ownership_by::<crate::drivers::amd::AmdVi>,
            #[cfg(CONFIG_IOMMU_CORE_ARM_SMMU_V3)]
            Self::ownership_by::<crate::drivers::arm_smmu_v3::SmmuV3>,
        ];
        let found = by_driver.iter().find_map(|ask| ask(self).ok());
        found.ok_or(ENODEV)
    }

    fn ownership_by<D: Callable>(&self) -> Result<Ownership> {
        let instance: Arc<Instance<D>> = D::slot().get().ok_or(ENODEV)?;
        // SAFETY: The device is counted.
        let device = unsafe { Device::from_raw(self.device()) }.ok_or(ENODEV)?;
        let known: Arc<ProviderDevice<D>> = instance.device(device).ok_or(ENODEV)?;
        Ok(known.group()?.core().ownership())
    }

    fn write(&self, register: usize, value: u64) {
        // SAFETY: The register is in the device's first region.
        unsafe { bindings::writeq(value, self.registers.byte_add(register)) }
    }

    /// Copies one page, and returns when the device says that it is done.
    fn copy(&self, address: usize, direction: Direction) -> Result {
        let (source, target) = match direction {
            Direction::In => (address as u64, Self::BUFFER),
            Direction::Out => (Self::BUFFER, address as u64),
        };
        self.write(Self::DMA_SOURCE, source);
        self.write(Self::DMA_TARGET, target);
        self.write(Self::DMA_COUNT, PAGE as u64);
        self.write(Self::DMA_COMMAND, Self::DMA_RUN | direction as u64);
        // The device takes a tenth of a second of its own time.
        for _ in 0..1000 {
            // SAFETY: As in `write`.
            let command = unsafe { bindings::readq(self.registers.byte_add(Self::DMA_COMMAND)) };
            if command & Self::DMA_RUN == 0 {
                return Ok(());
            }
            fsleep(Delta::from_millis(10));
        }
        Err(ETIMEDOUT)
    }

    fn attach(&self, domain: &Domain) -> Result {
        // SAFETY: The group is claimed, the domain is there.
        to_result(unsafe { bindings::iommu_attach_group(domain.0, self.group) })
    }

    fn detach(&self, domain: *mut bindings::iommu_domain) {
        // SAFETY: The group is claimed. C only compares the domain.
        unsafe { bindings::iommu_detach_group(domain, self.group) }
    }
}

impl Drop for Edu {
    fn drop(&mut self) {
        // SAFETY: Gives back what `claim` took, in the other order.
        unsafe {
            bindings::pci_clear_master(self.device);
            if self.claimed {
                bindings::iommu_group_release_dma_owner(self.group);
            }
            if !self.group.is_null() {
                bindings::iommu_group_put(self.group);
            }
            if !self.registers.is_null() {
                bindings::pci_iounmap(self.device, self.registers);
            }
            bindings::pci_disable_device(self.device);
            bindings::pci_dev_put(self.device);
        }
    }
}

/// A driver of the device that leaves DMA to the kernel, as most do, and does nothing.
struct Driver(Pin<KBox<Opaque<bindings::pci_driver>>>);

impl Driver {
    const NAME: &'static CStr = c"iommu_core_edu";

    /// Binds the device to the driver.
    fn new() -> Result<Self> {
        extern "C" fn probe(
            _device: *mut bindings::pci_dev,
            _id: *const bindings::pci_device_id,
        ) -> c_int {
            0
        }
        let driver = KBox::pin(
            Opaque::new(bindings::pci_driver {
                name: Self::NAME.as_char_ptr(),
                id_table: IDS.get().as_ptr(),
                probe: Some(probe),
                ..pin_init::zeroed()
            }),
            GFP_KERNEL,
        )?;
        // SAFETY: The driver stays where it is until it is unregistered.
        to_result(unsafe {
            bindings::__pci_register_driver(driver.get(), ptr::null_mut(), Self::NAME.as_char_ptr())
        })?;
        Ok(Self(driver))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // SAFETY: It was registered by `new`.
        unsafe { bindings::pci_unregister_driver(self.0.get()) }
    }
}

/// What the driver is for; ends with an empty entry.
// SAFETY: The driver core reads it.
static IDS: Table<[bindings::pci_device_id; 2]> = unsafe {
    Table::new([
        bindings::pci_device_id {
            vendor: VENDOR,
            device: DEVICE,
            subvendor: u32::MAX,
            subdevice: u32::MAX,
            ..pin_init::zeroed()
        },
        pin_init::zeroed(),
    ])
};

/// Whoever claims: C tells owners apart by an address.
struct Owner(u8);

impl Owner {
    fn token(&'static self) -> *mut c_void {
        (&raw const self.0).cast_mut().cast()
    }
}

static OWNER: Owner = Owner(0);
static OTHER_OWNER: Owner = Owner(1);

/// A domain of the client's.
struct Domain(*mut bindings::iommu_domain);

impl Domain {
    fn new(edu: &Edu) -> Result<Self> {
        // SAFETY: The device is counted by `edu`.
        let domain = from_err_ptr(unsafe {
            bindings::iommu_paging_domain_alloc_flags(&raw mut (*edu.device).dev, 0)
        })?;
        Ok(Self(domain))
    }

    fn map(&self, address: usize, page: &Page) -> Result {
        // SAFETY: The domain is there; the page stays until it is unmapped or nobody is attached.
        to_result(unsafe {
            bindings::iommu_map(
                self.0,
                address,
                page.phys(),
                PAGE,
                READ_WRITE,
                bindings::GFP_KERNEL,
            )
        })
    }

    fn unmap(&self, address: usize) -> usize {
        // SAFETY: The domain is there.
        unsafe { bindings::iommu_unmap(self.0, address, PAGE) }
    }
}

impl Drop for Domain {
    fn drop(&mut self) {
        // SAFETY: The handle is ours.
        unsafe { bindings::iommu_domain_free(self.0) }
    }
}

/// A page of memory.
struct Page(*mut u8);

impl Page {
    fn filled_with(byte: u8) -> Result<Self> {
        // SAFETY: Any time is fine for this.
        let page = unsafe { bindings::get_free_pages_noprof(bindings::GFP_KERNEL, 0) } as *mut u8;
        if page.is_null() {
            return Err(ENOMEM);
        }
        let page = Self(page);
        page.fill(byte);
        Ok(page)
    }

    fn fill(&self, byte: u8) {
        for offset in 0..PAGE {
            // SAFETY: Within the page; the device may write as well, so each byte is one access.
            unsafe { self.0.add(offset).write_volatile(byte) };
        }
    }

    fn holds(&self, byte: u8) -> bool {
        // SAFETY: As in `fill`.
        (0..PAGE).all(|offset| unsafe { self.0.add(offset).read_volatile() } == byte)
    }

    fn phys(&self) -> u64 {
        crate::ffi::linear_map::virt_to_phys(self.0)
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: Allocated by `filled_with`.
        unsafe { bindings::free_pages(self.0 as usize, 0) }
    }
}

/// Marks the running case as skipped.
fn skip() {
    // SAFETY: The current task is this one, and KUnit keeps its case while it runs.
    unsafe {
        let task = Task::current_raw();
        let case = (*task).kunit_test;
        if !case.is_null() {
            (*case).status = bindings::kunit_status_KUNIT_SKIPPED;
        }
    }
}

#[kunit_tests(iommu_core_provider_dma)]
mod cases {
    use super::*;

    /// Moves the source page into the device and out to the target.
    fn round_trip(edu: &Edu) -> Result {
        edu.copy(SOURCE, Direction::In)?;
        edu.copy(TARGET, Direction::Out)
    }

    #[test]
    fn law_8_a_device_reaches_what_is_mapped_and_nothing_that_was_unmapped() -> Result {
        let Some(edu) = Edu::claim(&OWNER)? else {
            skip();
            return Ok(());
        };
        let (source, target) = (Page::filled_with(0xa5)?, Page::filled_with(0)?);
        let domain = Domain::new(&edu)?;
        domain.map(SOURCE, &source)?;
        domain.map(TARGET, &target)?;
        edu.attach(&domain)?;

        round_trip(&edu)?;
        assert!(target.holds(0xa5));

        assert_eq!(domain.unmap(TARGET), PAGE);
        target.fill(0x11);
        edu.copy(TARGET, Direction::Out)?;
        assert!(target.holds(0x11));

        domain.map(TARGET, &target)?;
        edu.copy(TARGET, Direction::Out)?;
        assert!(target.holds(0xa5));

        edu.detach(domain.0);
        target.fill(0x22);
        edu.copy(TARGET, Direction::Out)?;
        assert!(target.holds(0x22));
        Ok(())
    }

    #[test]
    fn law_2_a_domain_whose_handle_was_freed_works_until_the_group_leaves() -> Result {
        let Some(edu) = Edu::claim(&OWNER)? else {
            skip();
            return Ok(());
        };
        let (source, target) = (Page::filled_with(0x5a)?, Page::filled_with(0)?);
        let domain = Domain::new(&edu)?;
        domain.map(SOURCE, &source)?;
        domain.map(TARGET, &target)?;
        edu.attach(&domain)?;
        let handle = domain.0;
        drop(domain);

        round_trip(&edu)?;
        assert!(target.holds(0x5a));

        edu.detach(handle);
        target.fill(0x33);
        edu.copy(TARGET, Direction::Out)?;
        assert!(target.holds(0x33));
        Ok(())
    }

    #[test]
    fn law_4_to_attach_the_current_domain_again_changes_nothing() -> Result {
        let Some(edu) = Edu::claim(&OWNER)? else {
            skip();
            return Ok(());
        };
        let (source, target) = (Page::filled_with(0x4b)?, Page::filled_with(0)?);
        let domain = Domain::new(&edu)?;
        domain.map(SOURCE, &source)?;
        domain.map(TARGET, &target)?;
        edu.attach(&domain)?;
        // The kernel's own layer refuses without asking us.
        let answer = if cfg!(CONFIG_IOMMU_CORE_NATIVE) {
            Ok(())
        } else {
            Err(EBUSY)
        };
        assert_eq!(edu.attach(&domain), answer);
        round_trip(&edu)?;
        assert!(target.holds(0x4b));
        edu.detach(domain.0);
        Ok(())
    }

    #[test]
    fn law_5_a_group_has_one_owner() -> Result {
        let Some(edu) = Edu::claim(&OWNER)? else {
            skip();
            return Ok(());
        };
        // SAFETY: The group is counted by `edu`.
        let other =
            unsafe { bindings::iommu_group_claim_dma_owner(edu.group, OTHER_OWNER.token()) };
        assert_eq!(to_result(other), Err(EPERM));
        drop(edu);

        assert!(Edu::claim(&OTHER_OWNER)?.is_some());
        Ok(())
    }

    /// The only driver of a device may attach a domain of its own without claiming the group first.
    #[test]
    fn law_5_a_group_is_lent_to_a_driver_that_has_a_domain_of_its_own_attached() -> Result {
        let Some(edu) = Edu::find()? else {
            skip();
            return Ok(());
        };
        assert!(matches!(edu.ownership()?, Ownership::Free));
        let driver = Driver::new()?;
        assert!(matches!(edu.ownership()?, Ownership::Kernel { users: 1 }));

        let (source, target) = (Page::filled_with(0x66)?, Page::filled_with(0)?);
        let domain = Domain::new(&edu)?;
        domain.map(SOURCE, &source)?;
        domain.map(TARGET, &target)?;
        for _ in 0..2 {
            target.fill(0);
            // SAFETY: Device and domain are there.
            to_result(unsafe { bindings::iommu_attach_device(domain.0, edu.device()) })?;
            let ownership = edu.ownership()?;
            assert!(matches!(
                ownership,
                Ownership::Lent { users: 1, to } if to.as_str() == "iommu_core_edu"
            ));
            round_trip(&edu)?;
            assert!(target.holds(0x66));
            // SAFETY: The group is counted by `edu`.
            let other =
                unsafe { bindings::iommu_group_claim_dma_owner(edu.group, OTHER_OWNER.token()) };
            assert_eq!(to_result(other), Err(EPERM));

            // SAFETY: As above.
            unsafe { bindings::iommu_detach_device(domain.0, edu.device()) };
            assert!(matches!(edu.ownership()?, Ownership::Kernel { users: 1 }));
            target.fill(0x77);
            edu.copy(TARGET, Direction::Out)?;
            assert!(target.holds(0x77));
        }
        drop(driver);
        assert!(matches!(edu.ownership()?, Ownership::Free));
        Ok(())
    }

    #[test]
    fn law_5_a_driver_that_goes_without_its_domain_leaves_the_group_lent() -> Result {
        let Some(edu) = Edu::find()? else {
            skip();
            return Ok(());
        };
        let driver = Driver::new()?;
        let domain = Domain::new(&edu)?;
        // SAFETY: Device and domain are there.
        to_result(unsafe { bindings::iommu_attach_device(domain.0, edu.device()) })?;
        drop(driver);
        assert!(matches!(edu.ownership()?, Ownership::Lent { users: 0, .. }));
        // SAFETY: As above.
        unsafe { bindings::iommu_detach_device(domain.0, edu.device()) };
        assert!(matches!(edu.ownership()?, Ownership::Free));

        let driver = Driver::new()?;
        assert!(matches!(edu.ownership()?, Ownership::Kernel { users: 1 }));
        drop(driver);
        Ok(())
    }

    #[test]
    fn law_7_a_claimed_group_reaches_nothing_before_its_owner_attaches() -> Result {
        let Some(edu) = Edu::claim(&OWNER)? else {
            skip();
            return Ok(());
        };
        let target = Page::filled_with(0x44)?;
        // The physical address: what identity would let pass.
        let address = target.phys() as usize;
        edu.copy(address, Direction::Out)?;
        assert!(target.holds(0x44));
        Ok(())
    }
}
