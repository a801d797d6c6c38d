// SPDX-License-Identifier: GPL-2.0

//! A unit's fault interrupt.
//!
//! A unit sends its interrupt as a message, with the address and the data in its registers (VT-d
//! 7.3). The kernel's code for that is not exported to modules. So each unit gets an interrupt
//! domain with one interrupt here. Its parent is the domain that manages the processors' vectors:
//! the parent chooses processor and vector, this domain writes them to the unit and masks there.

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
    ffi::{
        dmar::FaultsTaken,
        irq_domain::{parent_message, vectors, DomainName},
        table::Table,
    },
};

/// What the interrupt's thread needs.
struct Faults {
    sink: Arc<dyn FaultSink>,
    hardware: Arc<Hardware>,
}

impl Serve for Faults {
    fn serve(&self, stopping: impl Fn() -> bool + Copy) {
        faults::report(&self.hardware, &*self.sink, stopping);
    }
}

/// The fault interrupt of one unit. It ends when the value is dropped.
pub struct FaultInterrupt {
    // Dropped in this order, opposite to that in which they are made.
    _thread: ThreadedInterrupt<Faults>,
    _irq: Irq,
    // Once this one does not change the registers any more, the kernel's own interrupt may.
    _taken: Option<FaultsTaken>,
    _domain: IrqDomain,
}

impl FaultInterrupt {
    /// Sets the unit's interrupt up and unmasks it. Faults go to `sink`.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the kernel has no domain of vectors; those of the kernel's interrupt layer.
    pub(super) fn new(hardware: &Arc<Hardware>, sink: Arc<dyn FaultSink>) -> Result<Self> {
        let name = CString::try_from_fmt(fmt!("{}-fault", hardware.health.name().as_str()))?;
        let domain = IrqDomain::new(&name, hardware)?;
        let irq = Irq::new(&domain)?;
        let taken = hardware
            .registers
            .shared()
            .map(|unit| unit.take_faults(irq.0));
        let faults = Faults {
            sink,
            hardware: hardware.clone(),
        };
        Ok(Self {
            _thread: ThreadedInterrupt::request(irq.0, Trigger::Edge, name, faults)?,
            _irq: irq,
            _taken: taken,
            _domain: domain,
        })
    }
}

/// The interrupt domain of one unit.
///
/// # Invariants
///
/// [`IrqDomain::new`] has made `raw`, with `_name`, and with what `_hardware` points to as its
/// data. When this is dropped, the domain has no interrupt.
struct IrqDomain {
    raw: *mut bindings::irq_domain,
    // Dropped after the domain.
    _name: DomainName,
    _hardware: Arc<Hardware>,
}

// SAFETY: The value owns the kernel's object, which any task may remove.
unsafe impl Send for IrqDomain {}

impl IrqDomain {
    fn new(name: &CStr, hardware: &Arc<Hardware>) -> Result<Self> {
        let parent = vectors()?;
        let name = DomainName::new(name)?;
        let info = bindings::irq_domain_info {
            fwnode: name.as_raw(),
            domain_flags: bindings::IRQ_DOMAIN_FLAG_HIERARCHY,
            size: 1,
            hwirq_max: 1,
            ops: DOMAIN_OPS.get(),
            host_data: Arc::as_ptr(hardware).cast::<c_void>().cast_mut(),
            parent,
            ..pin_init::zeroed()
        };
        // SAFETY: `info` is valid for the call. What it points to lives longer than the domain: the
        // static table, the node and the hardware.
        let raw = from_err_ptr(unsafe { bindings::irq_domain_instantiate(&raw const info) })?;
        // INVARIANT: Just made.
        Ok(Self {
            raw,
            _name: name,
            _hardware: hardware.clone(),
        })
    }
}

impl Drop for IrqDomain {
    fn drop(&mut self) {
        // SAFETY: By the invariants.
        unsafe { bindings::irq_domain_remove(self.raw) }
    }
}

/// The interrupt of an [`IrqDomain`], by its number.
///
/// # Invariants
///
/// The interrupt was allocated from a domain that still exists. When this is dropped, the interrupt
/// is not requested.
struct Irq(c_uint);

impl Irq {
    fn new(domain: &IrqDomain) -> Result<Self> {
        let mut info = bindings::irq_alloc_info {
            type_: bindings::irq_alloc_type_X86_IRQ_ALLOC_TYPE_DMAR,
            ..pin_init::zeroed()
        };
        // SAFETY: By its invariants the domain is valid. `info` is of the type that the parent
        // domain takes; this domain passes it on.
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

impl Drop for Irq {
    fn drop(&mut self) {
        // SAFETY: By the invariants.
        unsafe { bindings::irq_domain_free_irqs(self.0, 1) }
    }
}

/// The unit that an interrupt belongs to.
///
/// # Safety
///
/// `data` is that of an interrupt that [`allocate`] has set up.
unsafe fn hardware_of<'a>(data: *mut bindings::irq_data) -> &'a Hardware {
    // SAFETY: `allocate` has stored the domain's data there. It is a `Hardware`, which lives longer
    // than the domain.
    unsafe { &*(*data).chip_data.cast::<Hardware>() }
}

/// Writes the message that the parent domain composes to the unit.
///
/// # Safety
///
/// `data` is that of an interrupt that [`allocate`] has set up.
unsafe fn write_message(data: *mut bindings::irq_data) {
    // SAFETY: By the requirements; the domain's parent is that of the vectors.
    let message = unsafe { parent_message(data) };
    // SAFETY: By the requirements.
    let io = unsafe { hardware_of(data) }.registers.io();
    io.write_reg(FEDATA::from(message.data));
    io.write_reg(FEADDR::from(message.address_low));
    io.write_reg(FEUADDR::from(message.address_high));
}

/// Masks the interrupt in the unit, or unmasks it.
///
/// # Safety
///
/// `data` is that of an interrupt that [`allocate`] has set up.
unsafe fn set_masked(data: *mut bindings::irq_data, masked: bool) {
    // SAFETY: By the requirements.
    let io = unsafe { hardware_of(data) }.registers.io();
    io.write_reg(FECTL::zeroed().with_masked(masked));
    // The read returns after the unit has got the write.
    let _ = io.read(FECTL);
}

extern "C" fn mask(data: *mut bindings::irq_data) {
    // SAFETY: Only interrupts that `allocate` has set up have this chip.
    unsafe { set_masked(data, true) }
}

extern "C" fn unmask(data: *mut bindings::irq_data) {
    // SAFETY: Only interrupts that `allocate` has set up have this chip.
    unsafe { set_masked(data, false) }
}

extern "C" fn set_affinity(
    data: *mut bindings::irq_data,
    mask: *const bindings::cpumask,
    force: bool,
) -> c_int {
    // SAFETY: The kernel's arguments are passed on, and the interrupt has a parent.
    let result = unsafe { bindings::irq_chip_set_affinity_parent(data, mask, force) };
    if result >= 0 && result != bindings::IRQ_SET_MASK_OK_DONE as c_int {
        // SAFETY: Only interrupts that `allocate` has set up have this chip.
        unsafe { write_message(data) };
    }
    result
}

/// The kernel calls this when it allocates the domain's interrupt.
extern "C" fn allocate(
    domain: *mut bindings::irq_domain,
    irq: c_uint,
    count: c_uint,
    info: *mut c_void,
) -> c_int {
    if count != 1 {
        return EINVAL.to_errno();
    }
    // SAFETY: The kernel's arguments are passed on. The chip and the name live as long as the
    // module, and the domain's data is a `Hardware`.
    unsafe {
        let result = bindings::irq_domain_alloc_irqs_parent(domain, irq, count, info);
        if result == 0 {
            bindings::irq_domain_set_info(
                domain,
                irq,
                0,
                ptr::from_ref(CHIP.get()),
                (*domain).host_data,
                Some(bindings::handle_edge_irq),
                ptr::null_mut(),
                c"edge".as_char_ptr(),
            );
        }
        result
    }
}

/// The kernel calls this when the interrupt has got a processor and a vector.
extern "C" fn activate(
    _domain: *mut bindings::irq_domain,
    data: *mut bindings::irq_data,
    _reserve: bool,
) -> c_int {
    // SAFETY: All interrupts of the domain were set up by `allocate`.
    unsafe { write_message(data) };
    0
}

/// The kernel calls this when the interrupt loses its vector. A message must not reach the next
/// user of the vector.
extern "C" fn deactivate(_domain: *mut bindings::irq_domain, data: *mut bindings::irq_data) {
    // SAFETY: All interrupts of the domain were set up by `allocate`.
    unsafe { set_masked(data, true) }
}

/// The functions of an [`IrqDomain`].
// SAFETY: The kernel does not write to the functions of a domain.
static DOMAIN_OPS: Table<bindings::irq_domain_ops> = unsafe {
    Table::new(bindings::irq_domain_ops {
        alloc: Some(allocate),
        free: Some(bindings::irq_domain_free_irqs_top),
        activate: Some(activate),
        deactivate: Some(deactivate),
        ..pin_init::zeroed()
    })
};

/// The chip of an [`Irq`].
// SAFETY: The kernel does not write to a chip.
static CHIP: Table<bindings::irq_chip> = unsafe {
    Table::new(bindings::irq_chip {
        name: as_char_ptr_in_const_context(c"VT-d"),
        irq_ack: Some(bindings::irq_chip_ack_parent),
        irq_mask: Some(mask),
        irq_unmask: Some(unmask),
        irq_set_affinity: Some(set_affinity),
        irq_retrigger: Some(bindings::irq_chip_retrigger_hierarchy),
        // Address and data are two registers, so they change only while the unit cannot send.
        flags: (bindings::IRQCHIP_SKIP_SET_WAKE
            | bindings::IRQCHIP_MOVE_DEFERRED
            | bindings::IRQCHIP_AFFINITY_PRE_STARTUP) as c_ulong,
        ..pin_init::zeroed()
    })
};
