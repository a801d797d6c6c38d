// SPDX-License-Identifier: GPL-2.0

//! A unit's interrupts: events, page requests, global errors (IHI 0070 3.18).
//!
//! They are messages if the unit can send messages and the platform has an interrupt controller for
//! them, otherwise wires that firmware names. A unit may also have one wire for all of them.

use kernel::{
    bindings,
    ffi::{c_int, c_uint, c_void},
    prelude::*,
    str::CString,
    sync::Arc,
};

use super::{
    faults,
    firmware::Description,
    hardware::Hardware,
    mmio::{Line, Message},
    pri_queue,
};
use crate::{
    drivers::shell::interrupt::{Serve, ThreadedInterrupt, Trigger},
    fault::FaultSink,
    ffi::device::DeviceRef,
    log::log_info,
};

// Exported by the kernel; the kernel crate's bindings leave the header out.
extern "C" {
    fn platform_device_msi_init_and_alloc_irqs(
        dev: *mut c_void,
        count: c_uint,
        write: unsafe extern "C" fn(*mut Descriptor, *mut RawMessage),
    ) -> c_int;
    fn platform_device_msi_free_irqs_all(dev: *mut c_void);
    fn msi_domain_get_virq(dev: *mut c_void, domain: c_uint, index: c_uint) -> c_uint;
}

/// The beginning of `struct msi_desc`. The bindings do not have its members.
#[repr(C)]
struct Descriptor {
    irq: c_uint,
    used: c_uint,
    device: *mut c_void,
}

/// `struct msi_msg`, likewise.
#[repr(C)]
struct RawMessage {
    address_low: u32,
    address_high: u32,
    data: u32,
}

/// The MSI domain of a device that has one only.
const MSI_DOMAIN: c_uint = 0;

/// What an interrupt is for.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Source {
    One(Line),
    All,
}

/// What the thread of one interrupt works on.
struct Work {
    sink: Arc<dyn FaultSink>,
    hardware: Arc<Hardware>,
    source: Source,
}

impl Work {
    fn is_for(&self, line: Line) -> bool {
        self.source == Source::All || self.source == Source::One(line)
    }
}

impl Serve for Work {
    fn serve(&self, stopping: impl Fn() -> bool + Copy) {
        if self.is_for(Line::Errors) {
            faults::report_errors(&self.hardware);
        }
        if self.is_for(Line::Events) {
            faults::report_events(&self.hardware, &*self.sink, stopping);
        }
        if self.is_for(Line::PageRequests) {
            pri_queue::refuse_all(&self.hardware, stopping);
        }
    }
}

/// The interrupt messages of a unit. They are freed when this is dropped.
///
/// # Invariants
///
/// They were allocated for `device`, whose driver data is what `hardware` points to.
struct Messages {
    hardware: Arc<Hardware>,
    device: DeviceRef,
}

impl Messages {
    /// Allocates the messages; `None` if there are none.
    fn new(description: &Description, hardware: &Arc<Hardware>) -> Option<Self> {
        let device = description.device();
        let count = match hardware.capability.queues.page_requests {
            Some(_) => Line::COUNT,
            None => Line::COUNT - 1,
        };
        // SAFETY: The device is there. The function stays until the messages are freed. Driver data
        // belongs to the driver of the device, which is this module.
        let result = unsafe {
            let raw = device.as_raw();
            if (*raw).msi.domain.is_null() {
                return None;
            }
            (*raw).driver_data = Arc::as_ptr(hardware).cast::<c_void>().cast_mut();
            platform_device_msi_init_and_alloc_irqs(raw.cast(), count as c_uint, write_message)
        };
        if result != 0 {
            log_info!(
                "{}: no interrupts by message: error {}; wires instead",
                hardware.health.name(),
                result,
            );
            return None;
        }
        // INVARIANT: Just allocated, and the data set before.
        Some(Self {
            hardware: hardware.clone(),
            device: device.counted(),
        })
    }

    /// The kernel's interrupt for `line`.
    fn irq(&self, line: Line) -> Option<c_uint> {
        // SAFETY: By the invariant the device has messages.
        let irq = unsafe {
            msi_domain_get_virq(
                self.device.get().as_raw().cast(),
                MSI_DOMAIN,
                line as c_uint,
            )
        };
        (irq != 0).then_some(irq)
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        self.hardware.end_messages();
        // SAFETY: By the invariant. Their interrupts are freed, see `Interrupts`.
        unsafe { platform_device_msi_free_irqs_all(self.device.get().as_raw().cast()) };
    }
}

/// Tells the unit what to send.
extern "C" fn write_message(descriptor: *mut Descriptor, message: *mut RawMessage) {
    // SAFETY: C calls this with the descriptor of a message of a unit's device. By the invariant of
    // `Messages` its driver data is a `Hardware`, which lives until the messages are freed.
    let (hardware, irq, message) = unsafe {
        let device: *const bindings::device = (*descriptor).device.cast();
        let hardware: *const Hardware = (*device).driver_data.cast();
        (&*hardware, (*descriptor).irq, &*message)
    };
    let message = Message {
        address: u64::from(message.address_high) << 32 | u64::from(message.address_low),
        data: message.data,
    };
    hardware.route(irq, message);
}

/// All interrupts of a unit. They end when this is dropped: first the threads, then the messages.
pub struct Interrupts {
    threads: KVec<ThreadedInterrupt<Work>>,
    messages: Option<Messages>,
}

impl Interrupts {
    /// Sets the unit's interrupts up. Faults go to `sink`.
    ///
    /// # Errors
    ///
    /// `ENODEV` if there is none for events; those of `request_threaded_irq()`; `ENOMEM`.
    pub(super) fn new(
        description: &Description,
        hardware: &Arc<Hardware>,
        sink: Arc<dyn FaultSink>,
    ) -> Result<Self> {
        let mut this = Self {
            threads: KVec::new(),
            messages: None,
        };
        if let Some(irq) = description.wire(c"combined") {
            this.request(irq, Source::All, "all", hardware, &sink)?;
            return Ok(this);
        }
        if hardware.capability.messages {
            this.messages = Messages::new(description, hardware);
        }
        let has_requests = hardware.capability.queues.page_requests.is_some();
        for line in Line::ALL {
            if line == Line::PageRequests && !has_requests {
                continue;
            }
            let (wire, what) = match line {
                Line::Events => (c"eventq", "events"),
                Line::Errors => (c"gerror", "errors"),
                Line::PageRequests => (c"priq", "page-requests"),
            };
            let irq = match &this.messages {
                Some(messages) => messages.irq(line),
                None => description.wire(wire),
            };
            match irq {
                Some(irq) => {
                    if this.messages.is_some() {
                        hardware.expect(line, irq);
                    }
                    this.request(irq, Source::One(line), what, hardware, &sink)?;
                }
                None if line == Line::Events => return Err(ENODEV),
                None => log_info!(
                    "{}: firmware names no interrupt for {}",
                    hardware.health.name(),
                    what
                ),
            }
        }
        Ok(this)
    }

    fn request(
        &mut self,
        irq: c_uint,
        source: Source,
        what: &str,
        hardware: &Arc<Hardware>,
        sink: &Arc<dyn FaultSink>,
    ) -> Result {
        let name = CString::try_from_fmt(fmt!("{}-{}", hardware.health.name().as_str(), what))?;
        let work = Work {
            sink: sink.clone(),
            hardware: hardware.clone(),
            source,
        };
        let thread = ThreadedInterrupt::request(irq, Trigger::Any, name, work)?;
        Ok(self.threads.push(thread, GFP_KERNEL)?)
    }
}
