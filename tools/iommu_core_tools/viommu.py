# SPDX-License-Identifier: GPL-2.0
"""The differences between the kinds of emulated IOMMU. No other file has any."""

import dataclasses

from .arch import AMD64, ARM64, Arch
from .errors import ToolError


@dataclasses.dataclass(frozen=True)
class Registers:
    """A 32-bit register of a unit, and its bits that say what the unit does."""

    address: int
    translates: int
    queue_runs: int
    # Addresses of registers, and what has to be written to them while the unit translates, so that
    # the unit executes no command of the queue any more.
    stop_queue: tuple


@dataclasses.dataclass(frozen=True)
class Viommu:
    """One kind of emulated IOMMU, and the machine that has it.

    Kernel parameters: `free` leaves the unit to our module, `stock` gives it to the kernel's own
    driver (with interrupts as `free` has them), `owned` are ways to have it taken already, each
    with a name. `remedy` is what a refusal to touch such a unit has to name. `late` lets device
    drivers bind before there is a driver for the unit. `free_as_found` leaves the unit to our module
    as the kernel before has left it, where `free` has the kernel switch it off at boot.

    Options of a `machine.Machine`:

    - `plain`: those of most guests.
    - `stories`: by name, variants for the story. `owners`: by name, variants for the tests of domains of user
      programs. Together they are all variants that must work.
    - `device_tlb` lets devices cache translations.
    - `shadows` makes a unit that caches absent entries, as emulated units do that shadow the page tables.
      `shadows_nothing` makes one that does not. None if there is no such unit.
    - `narrow` makes a unit that cannot address all memory that the machine may have. None if there is no such
      unit.
    - `useless` makes a unit that cannot translate. The module refuses this unit, with `useless_word` in the
      message. None if there is no such unit.
    """

    name: str
    title: str
    # The vendor driver's name in the kernel code.
    driver: str
    arch: Arch
    machine: str
    device: str
    free: tuple
    free_as_found: tuple
    stock: tuple
    owned: dict
    remedy: tuple
    late: tuple
    plain: dict
    stories: dict
    owners: dict
    device_tlb: dict
    shadows: dict | None
    shadows_nothing: dict | None
    narrow: dict | None
    useless: dict | None
    useless_word: str
    # QEMU's arguments for a second unit at another host bridge. None if one unit serves all
    # bridges.
    another: str | None
    # The address of the machine's SATA controller, and QEMU's arguments that add the controller.
    ahci: str
    ahci_arguments: tuple
    # The name of our units' driver in /sys/bus/platform/drivers.
    platform_driver: str
    # The pattern of the kernel's own driver's message about a blocked DMA.
    stock_fault: str
    # Firmware's table of units, and the options of a machine that boots with this table.
    acpi_table: str
    acpi: dict
    registers: Registers
    # An address in the range to which devices write interrupts.
    interrupts: int
    # Whether devices can raise any interrupt unless a unit remaps interrupts. VFIO then requires
    # allow_unsafe_interrupts.
    unsafe_interrupts: bool
    # Whether the machine can sleep (S3).
    sleeps: bool
    # Whether the kernel's own driver leaves the unit's queue on for the next kernel (kexec).
    restart_leaves_queue: bool = False
    # Whether QEMU's unit records faults without the number of the bus and without the address.
    half_records: bool = False
    # Whether the unit translates interrupts like other writes, so that the kernel maps a page for
    # them.
    maps_interrupts: bool = False
    # Whether programs can have interrupts through VFIO's containers. In Linux 7.3 they cannot if
    # the unit bypasses interrupts and does not remap them.
    vfio_interrupts: bool = True
    # Whether our module remaps interrupts. The kernel's own drivers remap none on these machines.
    remaps_interrupts: bool = False
    # The register with address and size of the table (AMD-Vi 3.4.1, Device Table Base Address) by
    # which QEMU's unit remaps interrupts even while it is off. None if the unit is off then.
    table_register: int | None = None
    # QEMU's trace event for an interrupt message that a unit remaps, and a pattern for the
    # requester id in it. AMD's unit leaves the number of the bus out.
    sent_message: tuple | None = None
    # Options of a machine whose unit remaps interrupts to processors with ids of 32 bits. None if
    # the unit does not remap them for the kernel's own code.
    x2apic: dict | None = None
    # Whether the unit's entry for the identity domain is not like that of the first kind.
    other_identity: bool = False
    # Whether the tests of broken firmware tables run with this kind. If not, another kind has the
    # same tables.
    own_tables: bool = True
    # The KiB that a test sends over the network.
    traffic: int = 2048

    @property
    def is_first(self):
        """Whether tests that do not depend on the kind run with this kind."""
        return self in (_VTD, NATIVE_VTD)

    def recorded(self, device, address):
        """The device and the address in the unit's record of a fault."""
        if self.half_records:
            return f"0000:00:{device.split(':')[2]}", 0
        return device, address


def _unit(**properties):
    """A machine's options for a unit with properties. `_` in a name stands for `-`."""
    return {"unit": {name.replace("_", "-"): value for name, value in properties.items()}}


_Q35 = {
    "arch": AMD64,
    "machine": "q35,kernel-irqchip=split",
    "another": None,
    "acpi": {},
    "ahci": "0000:00:1f.2",
    "ahci_arguments": (),
    "interrupts": 0xFEE00000,
    "unsafe_interrupts": True,
    "sleeps": True,
}

_VTD = Viommu(
    **_Q35,
    name="vtd",
    title="Intel VT-d",
    driver="intel",
    device="intel-iommu",
    free=("intel_iommu=off", "intremap=off"),
    free_as_found=("initcall_blacklist=pci_iommu_init", "intremap=off"),
    stock=("intel_iommu=on", "iommu=nopt", "intremap=off"),
    owned={
        "translation": ("intel_iommu=on",),
        "interrupt-remapping": ("intel_iommu=off",),
    },
    remedy=("intel_iommu=off", "intremap=off"),
    late=(),
    plain=_unit(caching_mode="on"),
    stories={
        "caching-on-48bit": _unit(caching_mode="on", aw_bits=48),
        "caching-off-39bit": _unit(caching_mode="off", aw_bits=39),
        "device-tlb": _unit(device_iotlb="on"),
    },
    owners={
        "caching-on-39bit": _unit(caching_mode="on", aw_bits=39),
        "caching-off-48bit": _unit(caching_mode="off", aw_bits=48),
    },
    device_tlb=_unit(caching_mode="on", device_iotlb="on"),
    shadows=_unit(caching_mode="on"),
    shadows_nothing=_unit(caching_mode="off", aw_bits=48),
    narrow=_unit(caching_mode="off", aw_bits=39),
    useless=_unit(dma_translation="off"),
    useless_word="bits",
    restart_leaves_queue=True,
    # The lowest bits of an entry's upper half are the requester id (VT-d 9.10). QEMU calls that
    # half the low one.
    sent_message=("vtd_ir_irte_get", r"vtd_ir_irte_get index \d+ low 0x(\w+) high "),
    platform_driver="iommu_core",
    stock_fault=r"DMAR: \[DMA Write NO_PASID\] Request device \[{device}\] fault addr {address}",
    acpi_table="DMAR",
    # The global status register (VT-d specification, 11.4.4).
    # To the global command register: translate, without the queue.
    registers=Registers(
        0xFED9_0000 + 0x1C, translates=1 << 31, queue_runs=1 << 26,
        stop_queue=((0xFED9_0000 + 0x18, 1 << 31),),
    ),  # fmt: skip
)

# A unit that the module drives in scalable mode, with second-stage tables.
_VTD_SCALABLE = dataclasses.replace(
    _VTD,
    name="vtd-scalable",
    title="Intel VT-d in scalable mode",
    stock=("intel_iommu=on,sm_on", "iommu=nopt", "intremap=off"),
    owned={"translation": ("intel_iommu=on,sm_on",)},
    plain=_unit(scalable_mode="on", caching_mode="on"),
    stories={
        # A unit that serves PASIDs; none of QEMU's devices has any.
        "caching-on": _unit(scalable_mode="on", caching_mode="on", pasid_bits=20),
        "caching-off-39bit": _unit(scalable_mode="on", caching_mode="off", aw_bits=39),
        "device-tlb": _unit(scalable_mode="on", device_iotlb="on"),
    },
    owners={
        "caching-on": _unit(scalable_mode="on", caching_mode="on"),
        "caching-off": _unit(scalable_mode="on", caching_mode="off"),
    },
    device_tlb=_unit(scalable_mode="on", caching_mode="on", device_iotlb="on"),
    shadows=_unit(scalable_mode="on", caching_mode="on"),
    shadows_nothing=_unit(scalable_mode="on", caching_mode="off"),
    narrow=_unit(scalable_mode="on", caching_mode="off", aw_bits=39),
    useless=None,
    useless_word="",
    acpi=_unit(scalable_mode="on", caching_mode="on"),
    other_identity=True,
    own_tables=False,
)

# A unit in scalable mode that has no second stage. What is absent from a first-stage table is never
# cached, in caching mode neither.
_VTD_FIRST_STAGE = dataclasses.replace(
    _VTD_SCALABLE,
    name="vtd-first-stage",
    title="Intel VT-d in scalable mode with first-stage tables",
    plain=_unit(scalable_mode="on", fsts="on", aw_bits=48),
    stories={
        "caching-on": _unit(scalable_mode="on", fsts="on", aw_bits=48, caching_mode="on", pasid_bits=20),
        "caching-off": _unit(scalable_mode="on", fsts="on", aw_bits=48, caching_mode="off"),
    },
    owners={"plain": _unit(scalable_mode="on", fsts="on", aw_bits=48)},
    device_tlb=_unit(scalable_mode="on", fsts="on", aw_bits=48, device_iotlb="on"),
    shadows=None,
    shadows_nothing=_unit(scalable_mode="on", fsts="on", aw_bits=48, caching_mode="off"),
    # QEMU's first stage has 48 bits.
    narrow=None,
    acpi=_unit(scalable_mode="on", fsts="on", aw_bits=48),
)

_AMDVI = Viommu(
    **_Q35,
    name="amdvi",
    title="AMD-Vi",
    driver="amd",
    # Without dma-remap the unit accepts commands, but lets all DMA pass untranslated.
    device="amd-iommu,dma-remap=on",
    free=("amd_iommu=off",),
    free_as_found=("amd_iommu=off",),
    # QEMU's table names an IOAPIC behind a southbridge that is not there, so the kernel's driver
    # leaves interrupts as they are.
    stock=("iommu=nopt",),
    owned={"translation": ("iommu=nopt",)},
    remedy=("amd_iommu=off",),
    late=(),
    plain=_unit(),
    stories={"device-tlb": _unit(device_iotlb="on"), "x2apic": _unit(xtsup="on")},
    owners={"plain": _unit()},
    device_tlb=_unit(device_iotlb="on"),
    # Its capability block has NpCache.
    shadows=_unit(),
    shadows_nothing=None,
    narrow=None,
    useless=_unit(dma_translation="off"),
    useless_word="cannot translate",
    remaps_interrupts=True,
    sent_message=("amdvi_ir_remap_msi_req", r"amdvi_ir_remap_msi_req addr 0x\w+ data 0x\w+ devid 0x(\w+)"),
    table_register=0xFED8_0000,
    platform_driver="iommu_core",
    stock_fault=r"{device}: AMD-Vi: Event logged \[IO_PAGE_FAULT domain=0x\w+ address={address} ",
    acpi_table="IVRS",
    half_records=True,
    # The control register (AMD I/O Virtualization Technology specification, 3.4.1).
    # The command buffer is at address 0, where the BIOS has left no commands.
    registers=Registers(
        0xFED8_0000 + 0x18, translates=1 << 0, queue_runs=1 << 12,
        stop_queue=((0xFED8_0000 + 0x08, 0), (0xFED8_0000 + 0x0C, 9 << 24)),
    ),  # fmt: skip
)

_SMMUV3 = Viommu(
    name="smmuv3",
    title="Arm SMMUv3",
    driver="arm_smmu_v3",
    arch=ARM64,
    machine="virt,gic-version=3",
    device="arm-smmuv3,primary-bus=pcie.0",
    free=("initcall_blacklist=arm_smmu_driver_init",),
    free_as_found=("initcall_blacklist=arm_smmu_driver_init",),
    stock=("iommu.passthrough=0",),
    owned={"translation": ("iommu.passthrough=0",)},
    remedy=("initcall_blacklist=arm_smmu_driver_init",),
    # Firmware says that the devices have a unit. Without the parameter, device drivers wait some
    # time for the unit's driver.
    late=("deferred_probe_timeout=0",),
    plain=_unit(stage=1),
    stories={
        "stage1-dt": _unit(stage=1),
        "stage2-dt": _unit(stage=2),
        "stage1-acpi": {**_unit(stage=1), "uefi": True},
        "stage2-acpi": {**_unit(stage=2), "uefi": True},
    },
    owners={
        # With 52 bits of addresses, which this processor has, the kernel's memory is elsewhere.
        "nested-dt": {**_unit(stage="nested"), "cpu": "max"},
    },
    # Only ACPI describes a second host bridge.
    device_tlb={**_unit(stage=1), "uefi": True},
    shadows=None,
    shadows_nothing=_unit(stage=1),
    narrow=None,
    useless=None,
    useless_word="",
    another="arm-smmuv3,primary-bus={bus},stage=1",
    ahci="0000:00:1f.0",
    ahci_arguments=("-device", "ich9-ahci,id=ide,bus=pcie.0,addr=0x1f"),
    platform_driver="iommu_core",
    stock_fault=r"event: F_TRANSLATION client: {device} sid: 0x\w+ ssid: 0x0 iova: {address} ",
    acpi_table="IORT",
    acpi={**_unit(stage=1), "uefi": True},
    # Control register 0 (Arm SMMU architecture specification version 3, 6.3.9).
    # Of its queues only that for events stays on.
    registers=Registers(
        0x0C00_0000 + 0x20, translates=1 << 0, queue_runs=1 << 3,
        stop_queue=((0x0C00_0000 + 0x20, 1 << 0 | 1 << 2),),
    ),  # fmt: skip
    # The address at which the kernel maps the doorbell of the interrupt translation service.
    interrupts=0x0800_0000,
    unsafe_interrupts=False,
    sleeps=False,
    maps_interrupts=True,
)


def _virtio(base, **more):
    """virtio-iommu in the machine of another kind. Only the kernel has a driver for virtio-iommu."""
    return dataclasses.replace(
        base,
        name=f"virtio-{base.arch.name}",
        title="virtio-iommu",
        driver="virtio_iommu",
        plain=_unit(),
        stories={},
        owners={},
        # The driver sends a message for each page that it maps or unmaps, which is slow.
        traffic=256,
        **more,
    )


VIRTIO_ARM64 = _virtio(
    _SMMUV3,
    device="virtio-iommu-pci,bus=pcie.0",
    acpi={**_unit(), "uefi": True},
    # The doorbell of the interrupt translation service. QEMU lets the unit bypass writes to it.
    interrupts=0x0809_0000,
    maps_interrupts=False,
    vfio_interrupts=False,
)
# At the first host bridge.
VIRTIO_AMD64 = _virtio(_VTD, device="virtio-iommu-pci", stock=("iommu=nopt", "intel_iommu=off"))

# For a kernel whose own code remaps interrupts, whichever driver translates.
NATIVE_VTD = dataclasses.replace(
    _VTD,
    device="intel-iommu,intremap=on",
    free=("intel_iommu=off",),
    stock=("intel_iommu=on", "iommu=nopt"),
    unsafe_interrupts=False,
    x2apic={**_unit(caching_mode="on", eim="on"), "far_processor": True},
)

VIOMMUS = {kind.name: kind for kind in (_VTD, _VTD_SCALABLE, _VTD_FIRST_STAGE, _AMDVI, _SMMUV3)}


def get(name):
    """The kind of that name (`VIOMMU=`)."""
    try:
        return VIOMMUS[name]
    except KeyError:
        known = ", ".join(VIOMMUS)
        raise ToolError(f"VIOMMU={name} is not known", hint=f"known: {known}") from None


def natively(kind):
    """The kind for a kernel whose IOMMU layer is the core."""
    return NATIVE_VTD if kind is _VTD else kind


def of_arch(arch):
    """The kind that is the default for an architecture."""
    return next(kind for kind in VIOMMUS.values() if kind.arch == arch)
