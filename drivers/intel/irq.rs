// SPDX-License-Identifier: GPL-2.0

//! A unit's fault interrupt.
//!
//! A unit sends its interrupt as a message of its own, with address and data from its registers
//! (VT-d 7.3). The kernel's code for that is not for modules, so each unit gets an interrupt domain
//! with one interrupt here, on top of the domain that manages the processors' vectors: that one
//! chooses processor and vector, this one writes them to the unit and masks there.

use core::ptr;

use kernel::{
    bindings,
    error::{from_err_ptr, to_result},
    ffi::{c_int, c_uint, c_void},
    io::Io,
    prelude::*,
    str::{as_char_ptr_in_const_context, CStrExt, CString},
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
};

use super::{
    faults,
    hardware::Hardware,
    regs::{FEADDR, FECTL, FEDATA, FEUADDR},
};
use crate::fault::FaultSink;

/// What the interrupt's functions work on.
struct Line {
    faults: Arc<dyn FaultSink>,
    hardware: Arc<Hardware>,
    name: CString,
    /// Set before the interrupt ends, so that its thread does as well.
    stopping: Atomic<bool>,
}

/// The fault interrupt of one unit. It ends when this is dropped.
///
/// # Invariants
///
/// 1. `fwnode` is the firmware node of `domain`, and both were made by [`FaultInterrupt::new`].
/// 2. `irq` was allocated from `domain` and requested with `line` as its cookie.
/// 3. The domain's and the interrupt's data point to what `line` points to.
pub(super) struct FaultInterrupt {
    line: Arc<Line>,
    domain: *mut bindings::irq_domain,
    fwnode: *mut bindings::fwnode_handle,
    irq: c_uint,
}

// SAFETY: The pointers are to objects of the kernel that belong to no task, and this owns them.
unsafe impl Send for FaultInterrupt {}

impl FaultInterrupt {
    /// Sets the unit's interrupt up and unmasks it. Faults go to `faults`.
    pub(super) fn new(hardware: &Arc<Hardware>, faults: Arc<dyn FaultSink>) -> Result<Self> {
        let line = Arc::new(
            Line {
                faults,
                hardware: hardware.clone(),
                name: CString::try_from_fmt(fmt!("{}-fault", hardware.health.name().as_str()))?,
                stopping: Atomic::new(false),
            },
            GFP_KERNEL,
        )?;
        let cookie = Arc::as_ptr(&line).cast::<c_void>().cast_mut();
        // SAFETY: Written during boot only.
        let parent = unsafe { bindings::x86_vector_domain };
        if parent.is_null() {
            return Err(ENODEV);
        }

        // SAFETY: The name is copied.
        let fwnode = unsafe {
            bindings::__irq_domain_alloc_fwnode(
                bindings::IRQCHIP_FWNODE_NAMED,
                0,
                line.name.as_char_ptr(),
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        if fwnode.is_null() {
            return Err(ENOMEM);
        }
        let info = bindings::irq_domain_info {
            fwnode,
            domain_flags: bindings::IRQ_DOMAIN_FLAG_HIERARCHY,
            size: 1,
            hwirq_max: 1,
            ops: &raw const DOMAIN_OPS.0,
            host_data: cookie,
            parent,
            ..pin_init::zeroed()
        };
        // SAFETY: `info` is valid for the call, and what it points to as long as the domain is.
        let domain = unsafe { bindings::irq_domain_instantiate(&raw const info) };
        let domain = from_err_ptr(domain).inspect_err(|_| {
            // SAFETY: The node was just made, and no domain has it.
            unsafe { bindings::irq_domain_free_fwnode(fwnode) };
        })?;

        let irq = Self::request(&line, domain, cookie).inspect_err(|_| {
            // SAFETY: Both were just made, and the domain has no interrupt.
            unsafe {
                bindings::irq_domain_remove(domain);
                bindings::irq_domain_free_fwnode(fwnode);
            }
        })?;
        // INVARIANT: As made above.
        Ok(Self {
            line,
            domain,
            fwnode,
            irq,
        })
    }

    /// Allocates the interrupt of `domain` and requests it.
    fn request(
        line: &Line,
        domain: *mut bindings::irq_domain,
        cookie: *mut c_void,
    ) -> Result<c_uint> {
        let mut info = bindings::irq_alloc_info {
            type_: bindings::irq_alloc_type_X86_IRQ_ALLOC_TYPE_DMAR,
            ..pin_init::zeroed()
        };
        // SAFETY: `domain` is valid, and `info` is what it and its parent take.
        let irq = unsafe {
            bindings::__irq_domain_alloc_irqs(
                domain,
                -1,
                1,
                bindings::NUMA_NO_NODE,
                (&raw mut info).cast(),
                false,
                ptr::null(),
            )
        };
        to_result(irq)?;
        let irq = irq as c_uint;

        // SAFETY: The functions take `cookie` for a `Line`, which it is until the interrupt is
        // freed; and so is the name.
        let requested = to_result(unsafe {
            bindings::request_threaded_irq(
                irq,
                Some(wake_thread),
                Some(report_faults),
                0,
                line.name.as_char_ptr(),
                cookie,
            )
        });
        if let Err(error) = requested {
            // SAFETY: Just allocated, and not requested.
            unsafe { bindings::irq_domain_free_irqs(irq, 1) };
            return Err(error);
        }
        Ok(irq)
    }
}

impl Drop for FaultInterrupt {
    fn drop(&mut self) {
        let cookie = Arc::as_ptr(&self.line).cast::<c_void>().cast_mut();
        self.line.stopping.store(true, Relaxed);
        // SAFETY: By the invariants, in the order opposite to that in which they were made. After
        // the first call neither handler nor thread run any more, and the interrupt is masked.
        unsafe {
            bindings::free_irq(self.irq, cookie);
            bindings::irq_domain_free_irqs(self.irq, 1);
            bindings::irq_domain_remove(self.domain);
            bindings::irq_domain_free_fwnode(self.fwnode);
        }
    }
}

/// The handler: everything is done in the thread, because reporting may sleep.
///
/// The message is an edge, so nothing has to be masked meanwhile.
extern "C" fn wake_thread(_irq: c_int, _cookie: *mut c_void) -> bindings::irqreturn_t {
    bindings::irqreturn::IRQ_WAKE_THREAD
}

/// The thread.
extern "C" fn report_faults(_irq: c_int, cookie: *mut c_void) -> bindings::irqreturn_t {
    // SAFETY: The interrupt was requested with a `Line` as its cookie, which lives until it is
    // freed.
    let line = unsafe { &*cookie.cast::<Line>() };
    faults::report(&line.hardware, &*line.faults, || {
        line.stopping.load(Relaxed)
    });
    bindings::irqreturn::IRQ_HANDLED
}

/// The registers of the unit whose interrupt this is.
///
/// # Safety
///
/// `data` is of an interrupt that [`allocate`] set up.
unsafe fn line_of<'a>(data: *mut bindings::irq_data) -> &'a Line {
    // SAFETY: `allocate` has put a `Line` there, which lives until the interrupt is freed.
    unsafe { &*(*data).chip_data.cast::<Line>() }
}

/// `struct msi_msg`, which the bindings have only the name of.
#[repr(C)]
#[derive(Default)]
struct Message {
    address_low: u32,
    address_high: u32,
    data: u32,
}

/// Has the parent say where the interrupt goes, and tells the unit.
///
/// # Safety
///
/// `data` is of an interrupt that [`allocate`] set up.
unsafe fn write_message(data: *mut bindings::irq_data) {
    let mut message = Message::default();
    // SAFETY: An interrupt of this domain has the data of the parent's, with a chip, and the
    // layout of a message is as above.
    unsafe {
        let parent = (*data).parent_data;
        if let Some(compose) = (*(*parent).chip).irq_compose_msi_msg {
            compose(parent, (&raw mut message).cast());
        }
    }
    // SAFETY: By the requirements.
    let io = unsafe { line_of(data) }.hardware.registers.io();
    io.write_reg(FEDATA::from(message.data));
    io.write_reg(FEADDR::from(message.address_low));
    io.write_reg(FEUADDR::from(message.address_high));
}

/// # Safety
///
/// `data` is of an interrupt that [`allocate`] set up.
unsafe fn set_masked(data: *mut bindings::irq_data, masked: bool) {
    // SAFETY: By the requirements.
    let io = unsafe { line_of(data) }.hardware.registers.io();
    io.write_reg(FECTL::zeroed().with_masked(masked));
    // The read returns after the write has arrived.
    let _ = io.read(FECTL);
}

extern "C" fn mask(data: *mut bindings::irq_data) {
    // SAFETY: The chip is used with such interrupts only.
    unsafe { set_masked(data, true) }
}

extern "C" fn unmask(data: *mut bindings::irq_data) {
    // SAFETY: The chip is used with such interrupts only.
    unsafe { set_masked(data, false) }
}

extern "C" fn set_affinity(
    data: *mut bindings::irq_data,
    mask: *const bindings::cpumask,
    force: bool,
) -> c_int {
    // SAFETY: The arguments are passed on as they came, and the interrupt has a parent.
    let result = unsafe { bindings::irq_chip_set_affinity_parent(data, mask, force) };
    if result >= 0 && result != bindings::IRQ_SET_MASK_OK_DONE as c_int {
        // SAFETY: The chip is used with such interrupts only.
        unsafe { write_message(data) };
    }
    result
}

/// Called when the domain's interrupt is allocated.
extern "C" fn allocate(
    domain: *mut bindings::irq_domain,
    irq: c_uint,
    count: c_uint,
    info: *mut c_void,
) -> c_int {
    if count != 1 {
        return EINVAL.to_errno();
    }
    // SAFETY: The arguments are passed on as they came. The chip and the name live as long as the
    // module, and the domain's data is a `Line`.
    unsafe {
        let result = bindings::irq_domain_alloc_irqs_parent(domain, irq, count, info);
        if result == 0 {
            bindings::irq_domain_set_info(
                domain,
                irq,
                0,
                &raw const CHIP.0,
                (*domain).host_data,
                Some(bindings::handle_edge_irq),
                ptr::null_mut(),
                c"edge".as_char_ptr(),
            );
        }
        result
    }
}

/// Called when the interrupt gets a processor and a vector.
extern "C" fn activate(
    _domain: *mut bindings::irq_domain,
    data: *mut bindings::irq_data,
    _reserve: bool,
) -> c_int {
    // SAFETY: The domain has such interrupts only.
    unsafe { write_message(data) };
    0
}

/// Called when the interrupt loses its vector: a message must not reach who gets it next.
extern "C" fn deactivate(_domain: *mut bindings::irq_domain, data: *mut bindings::irq_data) {
    // SAFETY: The domain has such interrupts only.
    unsafe { set_masked(data, true) }
}

struct Shared<T>(T);

// SAFETY: The tables of functions below are never written.
unsafe impl<T> Sync for Shared<T> {}

static DOMAIN_OPS: Shared<bindings::irq_domain_ops> = Shared(bindings::irq_domain_ops {
    alloc: Some(allocate),
    free: Some(bindings::irq_domain_free_irqs_top),
    activate: Some(activate),
    deactivate: Some(deactivate),
    ..pin_init::zeroed()
});

static CHIP: Shared<bindings::irq_chip> = Shared(bindings::irq_chip {
    name: as_char_ptr_in_const_context(c"VT-d"),
    irq_ack: Some(bindings::irq_chip_ack_parent),
    irq_mask: Some(mask),
    irq_unmask: Some(unmask),
    irq_set_affinity: Some(set_affinity),
    irq_retrigger: Some(bindings::irq_chip_retrigger_hierarchy),
    // Address and data are two registers, so they change only while no message can be sent.
    flags: (bindings::IRQCHIP_SKIP_SET_WAKE
        | bindings::IRQCHIP_MOVE_DEFERRED
        | bindings::IRQCHIP_AFFINITY_PRE_STARTUP) as c_ulong,
    ..pin_init::zeroed()
});
