# SPDX-License-Identifier: GPL-2.0
"""What differs between the kinds of emulated IOMMU, for guests and tests: this table, no other."""

import dataclasses

from .errors import ToolError


@dataclasses.dataclass(frozen=True)
class Viommu:
    """One kind of emulated IOMMU.

    Kernel parameters: `free` leaves the unit to our module, `stock` gives it to the kernel's own
    driver (with interrupts as `free` has them), `owned` are ways to have it taken already, each
    with a name. `remedy` is what a refusal to touch such a unit has to name.

    Properties of QEMU's device: `plain` is what most guests have, `variants` are all that have to
    work (by name), `full` are two of them that differ most, `device_tlb` lets devices cache
    translations, `useless` makes a unit that cannot translate, which the module refuses with a
    message that has `useless_word` in it.
    """

    name: str
    title: str
    qemu: str
    machine: str
    device: str
    free: tuple
    stock: tuple
    owned: dict
    remedy: tuple
    plain: dict
    variants: dict
    full: tuple
    device_tlb: dict
    useless: dict
    useless_word: str
    # Where in /sys/bus/platform/drivers our units are.
    platform_driver: str
    # How the kernel's own driver reports a blocked DMA.
    stock_fault: str
    # Firmware's table of units.
    acpi_table: str


_VTD = Viommu(
    name="vtd",
    title="Intel VT-d",
    qemu="qemu-system-x86_64",
    machine="q35,kernel-irqchip=split",
    device="intel-iommu",
    free=("intel_iommu=off", "intremap=off"),
    stock=("intel_iommu=on", "iommu=nopt", "intremap=off"),
    owned={
        "translation": ("intel_iommu=on",),
        "interrupt-remapping": ("intel_iommu=off",),
    },
    remedy=("intel_iommu=off", "intremap=off"),
    plain={"caching-mode": "on"},
    variants={
        "caching-on-39bit": {"caching-mode": "on", "aw-bits": 39},
        "caching-on-48bit": {"caching-mode": "on", "aw-bits": 48},
        "caching-off-39bit": {"caching-mode": "off", "aw-bits": 39},
        "caching-off-48bit": {"caching-mode": "off", "aw-bits": 48},
        "scalable-device-tlb": {"scalable-mode": "on", "device-iotlb": "on"},
    },
    full=("caching-on-48bit", "caching-off-39bit"),
    device_tlb={"device-iotlb": "on"},
    useless={"dma-translation": "off"},
    useless_word="bits",
    platform_driver="iommu_core",
    stock_fault=r"DMAR: \[DMA Write NO_PASID\] Request device \[{device}\] fault addr {address}",
    acpi_table="DMAR",
)

VIOMMUS = {kind.name: kind for kind in (_VTD,)}


def get(name):
    """The kind of that name (`VIOMMU=`)."""
    try:
        return VIOMMUS[name]
    except KeyError:
        known = ", ".join(VIOMMUS)
        raise ToolError(f"VIOMMU={name} is not known", hint=f"known: {known}") from None
