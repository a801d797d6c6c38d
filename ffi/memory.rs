// SPDX-License-Identifier: GPL-2.0

//! The machine's memory: where it ends, and when there is more.

#[cfg(CONFIG_MEMORY_HOTPLUG)]
use core::mem::offset_of;
use core::ptr;

use kernel::{
    bindings,
    ffi::{c_int, c_ulong, c_void},
    prelude::*,
};
#[cfg(CONFIG_MEMORY_HOTPLUG)]
use kernel::{error::to_result, types::Opaque};

use crate::addr::PhysAddr;

/// The last address of the machine's memory, as far as the kernel uses it; `None` if the kernel
/// does not say.
///
/// Context: may sleep.
pub(crate) fn last_address() -> Option<PhysAddr> {
    extern "C" fn visit(resource: *mut bindings::resource, last: *mut c_void) -> c_int {
        // SAFETY: The kernel passes a resource, and the pointer to a number from below.
        unsafe { *last.cast::<u64>() = (*last.cast::<u64>()).max((*resource).end) };
        0
    }
    let mut last = 0_u64;
    let flags = bindings::IORESOURCE_SYSTEM_RAM | bindings::IORESOURCE_BUSY;
    // SAFETY: The kernel calls `visit` during the call only.
    let _ = unsafe {
        bindings::walk_iomem_res_desc(
            bindings::IORES_DESC_NONE as c_ulong,
            flags as c_ulong,
            0,
            u64::MAX,
            ptr::from_mut(&mut last).cast(),
            Some(visit),
        )
    };
    (last != 0).then(|| PhysAddr::new(last))
}

/// What is told of new memory.
// Nobody calls it on a kernel whose memory cannot grow.
#[cfg_attr(not(CONFIG_MEMORY_HOTPLUG), allow(dead_code))]
pub(crate) trait MemoryHandler: Send + Sync + 'static {
    /// The kernel uses more memory, up to and including `last`.
    ///
    /// Context: may sleep.
    fn added(&self, last: PhysAddr);
}

/// `struct memory_notify`, whose header the kernel crate's bindings do not include.
#[cfg(CONFIG_MEMORY_HOTPLUG)]
#[repr(C)]
struct Range {
    start_pfn: c_ulong,
    nr_pages: c_ulong,
}

// As ffi/layout.c checks against the kernel's headers.
#[cfg(CONFIG_MEMORY_HOTPLUG)]
const _: () = {
    assert!(offset_of!(Range, start_pfn) == 0);
    assert!(offset_of!(Range, nr_pages) == size_of::<usize>());
};

/// `MEM_ONLINE`, from the same header.
#[cfg(CONFIG_MEMORY_HOTPLUG)]
const ONLINE: c_ulong = 0;

#[cfg(CONFIG_MEMORY_HOTPLUG)]
extern "C" {
    fn register_memory_notifier(block: *mut bindings::notifier_block) -> c_int;
    fn unregister_memory_notifier(block: *mut bindings::notifier_block);
}

/// A handler, and the kernel's record of it.
///
/// C's part is first, so that a pointer to one is a pointer to the other.
#[cfg_attr(not(CONFIG_MEMORY_HOTPLUG), allow(dead_code))]
#[repr(C)]
struct Block<H: MemoryHandler> {
    #[cfg(CONFIG_MEMORY_HOTPLUG)]
    c: Opaque<bindings::notifier_block>,
    handler: H,
}

/// A registered handler. Dropping it removes the registration. On a kernel whose memory cannot
/// grow, no handler is ever called.
#[cfg_attr(not(CONFIG_MEMORY_HOTPLUG), allow(dead_code))]
pub(crate) struct MemoryNotifier<H: MemoryHandler>(Pin<KBox<Block<H>>>);

// SAFETY: C manages its part; the handler can be shared.
unsafe impl<H: MemoryHandler> Send for MemoryNotifier<H> {}
// SAFETY: As above.
unsafe impl<H: MemoryHandler> Sync for MemoryNotifier<H> {}

impl<H: MemoryHandler> MemoryNotifier<H> {
    /// Registers `handler`.
    pub(crate) fn new(handler: H) -> Result<Self> {
        let block = KBox::pin(
            Block {
                #[cfg(CONFIG_MEMORY_HOTPLUG)]
                c: Opaque::new(bindings::notifier_block {
                    notifier_call: Some(notify::<H>),
                    ..pin_init::zeroed()
                }),
                handler,
            },
            GFP_KERNEL,
        )?;
        #[cfg(CONFIG_MEMORY_HOTPLUG)]
        // SAFETY: The block does not move until it is unregistered.
        to_result(unsafe { register_memory_notifier(block.c.get()) })?;
        Ok(Self(block))
    }
}

impl<H: MemoryHandler> Drop for MemoryNotifier<H> {
    fn drop(&mut self) {
        #[cfg(CONFIG_MEMORY_HOTPLUG)]
        // SAFETY: The block is registered. When the call returns, `notify` does not run any more.
        unsafe {
            unregister_memory_notifier(self.0.c.get())
        };
    }
}

#[cfg(CONFIG_MEMORY_HOTPLUG)]
extern "C" fn notify<H: MemoryHandler>(
    block: *mut bindings::notifier_block,
    event: c_ulong,
    data: *mut c_void,
) -> c_int {
    if event == ONLINE {
        // SAFETY: The kernel calls with the block that was registered, and with the range that was
        // added.
        let (block, range) = unsafe { (&*block.cast::<Block<H>>(), &*data.cast::<Range>()) };
        let end = (range.start_pfn as u64 + range.nr_pages as u64) << bindings::PAGE_SHIFT;
        block.handler.added(PhysAddr::new(end - 1));
    }
    bindings::NOTIFY_DONE as c_int
}
