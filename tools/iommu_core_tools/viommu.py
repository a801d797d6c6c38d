# SPDX-License-Identifier: GPL-2.0
"""What differs between the kinds of emulated IOMMU, for guests and tests: this table and no other."""

import dataclasses

from .errors import ToolError


@dataclasses.dataclass(frozen=True)
class Viommu:
    """One kind of emulated IOMMU.

    Kernel parameters: `free` leaves the unit to our module, `stock` gives it to the kernel's own
    driver (with interrupts as `free` has them), `owned` are ways to have it taken already.
    """

    name: str
    title: str
    qemu: str
    machine: str
    device: str
    free: tuple
    stock: tuple
    owned: dict
    # Where in /sys/bus/platform/drivers our vendor driver's units are.
    platform_driver: str
    # How the kernel's own driver reports a blocked DMA.
    stock_fault: str
    # Kernel parameters that a refusal to touch an owned unit has to name.
    remedy: tuple
    # Firmware's table of units.
    acpi_table: str


_KINDS = (
    Viommu(
        name="vtd",
        title="Intel VT-d",
        qemu="qemu-system-x86_64",
        machine="q35,kernel-irqchip=split",
        device="intel-iommu",
        free=("intel_iommu=off", "intremap=off"),
        stock=("intel_iommu=on", "iommu=nopt", "intremap=off"),
        owned={
            "translation on": ("intel_iommu=on",),
            "interrupt remapping on": ("intel_iommu=off",),
        },
        platform_driver="iommu_core",
        stock_fault=r"DMAR: \[DMA Write NO_PASID\] Request device \[{device}\] fault addr {address}",
        remedy=("intel_iommu=off", "intremap=off"),
        acpi_table="DMAR",
    ),
)

VIOMMUS = {kind.name: kind for kind in _KINDS}


def get(name):
    """The kind of that name (`VIOMMU=`)."""
    try:
        return VIOMMUS[name]
    except KeyError:
        known = ", ".join(VIOMMUS)
        raise ToolError(f"VIOMMU={name} is not known", hint=f"known: {known}") from None
