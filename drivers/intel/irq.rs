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
    sync::Arc,
};

use super::{
    faults,
    hardware::Hardware,
    regs::{FEADDR, FECTL, FEDATA, FEUADDR},
};
use crate::{
    drivers::shell::interrupt::{Serve, ThreadedInterrupt, Trigger},
    fault::FaultSink,
};

/// What the interrupt's thread works on.
struct Faults {
    sink: Arc<dyn FaultSink>,
    hardware: Arc<Hardware>,
}

impl Serve for Faults {
    fn serve(&self, stopping: impl Fn() -> bool + Copy) {
        faults::report(&self.hardware, &*self.sink, stopping);
    }
}

/// The fault interrupt of one unit. It ends when this is dropped, in the order opposite to that in
/// which it was made.
pub(super) struct FaultInterrupt {
    _thread: ThreadedInterrupt<Faults>,
    _vector: Vector,
    _domain: Domain,
}

impl FaultInterrupt {
    /// Sets the unit's interrupt up and unmasks it. Faults go to `sink`.
    pub(super) fn new(hardware: &Arc<Hardware>, sink: Arc<dyn FaultSink>) -> Result<Self> {
        let name = CString::try_from_fmt(fmt!("{}-fault", hardware.health.name().as_str()))?;
        let domain = Domain::new(&name, hardware)?;
        let vector = Vector::new(&domain)?;
        let faults = Faults {
            sink,
            hardware: hardware.clone(),
        };
        Ok(Self {
            // The message is an edge.
            _thread: ThreadedInterrupt::request(vector.0, Trigger::Edge, name, faults)?,
            _vector: vector,
            _domain: domain,
        })
    }
}

/// The firmware node of an interrupt domain: its name.
///
/// # Invariants
///
/// The node was made by [`Node::new`]. When this is dropped no domain has it.
struct Node(*mut bindings::fwnode_handle);

impl Node {
    fn new(name: &CStr) -> Result<Self> {
        // SAFETY: The name is copied.
        let node = unsafe {
            bindings::__irq_domain_alloc_fwnode(
                bindings::IRQCHIP_FWNODE_NAMED,
                0,
                name.as_char_ptr(),
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        match node.is_null() {
            true => Err(ENOMEM),
            // INVARIANT: Just made.
            false => Ok(Self(node)),
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // SAFETY: By the invariant.
        unsafe { bindings::irq_domain_free_fwnode(self.0) }
    }
}

/// The interrupt domain of one unit.
///
/// # Invariants
///
/// `raw` was made by [`Domain::new`], with `node`, and with what `hardware` points to as its data.
/// When this is dropped the domain has no interrupt.
struct Domain {
    raw: *mut bindings::irq_domain,
    // Dropped after the domain.
    _node: Node,
    _hardware: Arc<Hardware>,
}

// SAFETY: The pointers are to objects of the kernel that belong to no task, and this owns them.
unsafe impl Send for Domain {}

impl Domain {
    fn new(name: &CStr, hardware: &Arc<Hardware>) -> Result<Self> {
        // SAFETY: Written during boot only.
        let parent = unsafe { bindings::x86_vector_domain };
        if parent.is_null() {
            return Err(ENODEV);
        }
        let node = Node::new(name)?;
        let info = bindings::irq_domain_info {
            fwnode: node.0,
            domain_flags: bindings::IRQ_DOMAIN_FLAG_HIERARCHY,
            size: 1,
            hwirq_max: 1,
            ops: &raw const DOMAIN_OPS.0,
            host_data: Arc::as_ptr(hardware).cast::<c_void>().cast_mut(),
            parent,
            ..pin_init::zeroed()
        };
        // SAFETY: `info` is valid for the call, and what it points to as long as the domain is.
        let raw = from_err_ptr(unsafe { bindings::irq_domain_instantiate(&raw const info) })?;
        // INVARIANT: Just made.
        Ok(Self {
            raw,
            _node: node,
            _hardware: hardware.clone(),
        })
    }
}

impl Drop for Domain {
    fn drop(&mut self) {
        // SAFETY: By the invariants.
        unsafe { bindings::irq_domain_remove(self.raw) }
    }
}

/// The interrupt of a [`Domain`].
///
/// # Invariants
///
/// The interrupt was allocated from a domain that is still there. When this is dropped the
/// interrupt is not requested.
struct Vector(c_uint);

impl Vector {
    fn new(domain: &Domain) -> Result<Self> {
        let mut info = bindings::irq_alloc_info {
            type_: bindings::irq_alloc_type_X86_IRQ_ALLOC_TYPE_DMAR,
            ..pin_init::zeroed()
        };
        // SAFETY: By its invariants the domain is valid, and `info` is what it and its parent take.
        let irq = unsafe {
            bindings::__irq_domain_alloc_irqs(
                domain.raw,
                -1,
                1,
                bindings::NUMA_NO_NODE,
                (&raw mut info).cast(),
                false,
                ptr::null(),
            )
        };
        to_result(irq)?;
        // INVARIANT: Just allocated.
        Ok(Self(irq as c_uint))
    }
}

impl Drop for Vector {
    fn drop(&mut self) {
        // SAFETY: By the invariants.
        unsafe { bindings::irq_domain_free_irqs(self.0, 1) }
    }
}

/// The unit whose interrupt this is.
///
/// # Safety
///
/// `data` is of an interrupt that [`allocate`] set up.
unsafe fn hardware_of<'a>(data: *mut bindings::irq_data) -> &'a Hardware {
    // SAFETY: `allocate` has put the domain's data there, which is a `Hardware` that lives as long
    // as the domain.
    unsafe { &*(*data).chip_data.cast::<Hardware>() }
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
    let io = unsafe { hardware_of(data) }.registers.io();
    io.write_reg(FEDATA::from(message.data));
    io.write_reg(FEADDR::from(message.address_low));
    io.write_reg(FEUADDR::from(message.address_high));
}

/// # Safety
///
/// `data` is of an interrupt that [`allocate`] set up.
unsafe fn set_masked(data: *mut bindings::irq_data, masked: bool) {
    // SAFETY: By the requirements.
    let io = unsafe { hardware_of(data) }.registers.io();
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
    // module, and the domain's data is a `Hardware`.
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
