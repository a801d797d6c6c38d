// SPDX-License-Identifier: GPL-2.0

//! A unit's interrupts: events, page requests, errors (IHI 0070 3.18).
//!
//! They are messages where the unit can send them and the platform has somewhere to send them to;
//! otherwise wires that firmware names. A unit may also have one wire for everything.

use core::ptr;

use kernel::{
    bindings,
    error::to_result,
    ffi::{c_int, c_uint, c_void},
    prelude::*,
    str::{CStrExt, CString},
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
};

use super::{
    faults,
    firmware::Description,
    hardware::Hardware,
    mmio::{Line, Message},
    pri_queue,
};
use crate::{fault::FaultSink, ffi::device::Counted, log::log_info};

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

/// The beginning of `struct msi_desc`, which the bindings have only the name of.
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

/// The domain of a device's messages, if it has one only.
const MSI_DOMAIN: c_uint = 0;

/// What an interrupt is for.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Source {
    One(Line),
    All,
}

/// What the thread of one interrupt works on.
struct Request {
    faults: Arc<dyn FaultSink>,
    hardware: Arc<Hardware>,
    source: Source,
    name: CString,
    irq: c_uint,
    /// Set before the interrupt ends, so that its thread does as well.
    stopping: Atomic<bool>,
}

impl Request {
    fn is_for(&self, line: Line) -> bool {
        matches!(self.source, Source::All) || self.source == Source::One(line)
    }

    fn serve(&self) {
        let stopping = || self.stopping.load(Relaxed);
        if self.is_for(Line::Errors) {
            faults::report_errors(&self.hardware);
        }
        if self.is_for(Line::Events) {
            faults::report_events(&self.hardware, &*self.faults, stopping);
        }
        if self.is_for(Line::Requests) {
            pri_queue::refuse_all(&self.hardware, stopping);
        }
    }
}

/// A requested interrupt. It ends when this is dropped.
///
/// # Invariants
///
/// The interrupt was requested with the request as its cookie.
struct Requested(KBox<Request>);

impl Requested {
    fn new(request: Request) -> Result<Self> {
        let request = KBox::new(request, GFP_KERNEL)?;
        // SAFETY: The thread takes the cookie for a `Request`, which it is until the interrupt is
        // freed; and so is the name.
        to_result(unsafe {
            bindings::request_threaded_irq(
                request.irq,
                None,
                Some(serve),
                bindings::IRQF_ONESHOT as usize,
                request.name.as_char_ptr(),
                ptr::from_ref(&*request).cast::<c_void>().cast_mut(),
            )
        })?;
        // INVARIANT: Just requested.
        Ok(Self(request))
    }
}

impl Drop for Requested {
    fn drop(&mut self) {
        self.0.stopping.store(true, Relaxed);
        let cookie = ptr::from_ref(&*self.0).cast::<c_void>().cast_mut();
        // SAFETY: By the invariant. When the call returns the thread does not run any more.
        unsafe { bindings::free_irq(self.0.irq, cookie) };
    }
}

/// The thread of an interrupt.
extern "C" fn serve(_irq: c_int, cookie: *mut c_void) -> bindings::irqreturn_t {
    // SAFETY: The interrupt was requested with a `Request` as its cookie, which lives until it is
    // freed.
    unsafe { &*cookie.cast::<Request>() }.serve();
    bindings::irqreturn::IRQ_HANDLED
}

/// Messages that were allocated for a unit. They are freed when this is dropped.
struct Messages {
    hardware: Arc<Hardware>,
    device: Counted,
}

impl Messages {
    fn new(description: &Description, hardware: &Arc<Hardware>) -> Option<Self> {
        let device = description.device();
        let count = match hardware.capability.queues.page_requests {
            Some(_) => Line::COUNT,
            None => Line::COUNT - 1,
        };
        // SAFETY: The device is there. The function stays until the messages are freed; the
        // device's data is for who drives it, and that is us.
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
        Some(Self {
            hardware: hardware.clone(),
            device: device.counted(),
        })
    }

    fn irq(&self, line: Line) -> c_uint {
        // SAFETY: The device is there and has messages.
        unsafe {
            msi_domain_get_virq(
                self.device.get().as_raw().cast(),
                MSI_DOMAIN,
                line as c_uint,
            )
        }
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        self.hardware.end_messages();
        // SAFETY: The messages were allocated, and their interrupts are freed.
        unsafe { platform_device_msi_free_irqs_all(self.device.get().as_raw().cast()) };
    }
}

/// Tells the unit what to send.
extern "C" fn write_message(descriptor: *mut Descriptor, message: *mut RawMessage) {
    // SAFETY: C calls with the descriptor of a message of a unit's device, whose data was set to
    // the hardware before the messages were allocated, and which lives until they are freed.
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
    _requested: KVec<Requested>,
    _messages: Option<Messages>,
}

impl Interrupts {
    /// Sets the unit's interrupts up. Faults go to `faults`.
    ///
    /// # Errors
    ///
    /// `ENODEV` if there is none for events.
    pub(super) fn new(
        description: &Description,
        hardware: &Arc<Hardware>,
        faults: Arc<dyn FaultSink>,
    ) -> Result<Self> {
        let name = hardware.health.name();
        let mut requested = KVec::new();
        let mut request = |source, what: &str, irq| -> Result {
            let request = Request {
                faults: faults.clone(),
                hardware: hardware.clone(),
                source,
                name: CString::try_from_fmt(fmt!("{}-{}", name.as_str(), what))?,
                irq,
                stopping: Atomic::new(false),
            };
            requested.push(Requested::new(request)?, GFP_KERNEL)?;
            Ok(())
        };

        let mut messages = None;
        if let Some(irq) = description.wire(c"combined") {
            request(Source::All, "all", irq)?;
        } else {
            if hardware.capability.messages {
                messages = Messages::new(description, hardware);
            }
            let has_requests = hardware.capability.queues.page_requests.is_some();
            for line in Line::ALL {
                if line == Line::Requests && !has_requests {
                    continue;
                }
                let (wire, what) = match line {
                    Line::Events => (c"eventq", "events"),
                    Line::Errors => (c"gerror", "errors"),
                    Line::Requests => (c"priq", "page-requests"),
                };
                let irq = match &messages {
                    Some(messages) => Some(messages.irq(line)).filter(|irq| *irq != 0),
                    None => description.wire(wire),
                };
                match irq {
                    Some(irq) => {
                        if messages.is_some() {
                            hardware.expect(line, irq);
                        }
                        request(Source::One(line), what, irq)?;
                    }
                    None if line == Line::Events => return Err(ENODEV),
                    None => log_info!("{}: firmware names no interrupt for {}", name, what),
                }
            }
        }
        Ok(Self {
            _requested: requested,
            _messages: messages,
        })
    }
}
