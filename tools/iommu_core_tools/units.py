# SPDX-License-Identifier: GPL-2.0
"""The units of a guest: those that iommu_core has taken over, as its platform driver shows them; registers."""

import dataclasses

from .errors import ToolError


def _folder(guest):
    return f"/sys/bus/platform/drivers/{guest.viommu.platform_driver}"


def names(guest):
    """The names of all units that are taken over."""
    script = f"""
        for d in {_folder(guest)}/*; do
            [ -e "$d/driver" ] && echo ${{d##*/}}
        done; true
    """
    return guest.run(script).split()


def release(guest, name, timeout=30):
    """Unbinds the drivers of a unit's devices, then releases the unit. Raises if the kernel refuses."""
    guest.run(f"echo {name} >{_folder(guest)}/unbind", timeout)


def take(guest, name, timeout=30):
    """Takes over a unit that was released."""
    guest.run(f"echo {name} >{_folder(guest)}/bind", timeout)


@dataclasses.dataclass
class Status:
    """What the unit does, as the machine sees it."""

    translates: bool
    queue_runs: bool


def status(guest):
    """The status of the guest's unit, which QEMU reads."""
    registers = guest.viommu.registers
    text = guest.qmp.monitor(f"xp /1wx {registers.address:#x}")
    try:
        value = int(text.split(":")[1], 16)
    except (IndexError, ValueError):
        raise ToolError(f"QEMU's monitor does not show the unit's registers: {text!r}") from None
    return Status(bool(value & registers.translates), bool(value & registers.queue_runs))


def table_of_a_unit_that_is_off(guest):
    """Address and pages of the table that QEMU's unit reads even while it is off; None if it then reads none."""
    if guest.viommu.table_register is None:
        return None
    value = int(guest.qmp.monitor(f"xp /1gx {guest.viommu.table_register:#x}").split()[1], 16)
    return value & 0xF_FFFF_FFFF_F000, (value & 0x1FF) + 1
