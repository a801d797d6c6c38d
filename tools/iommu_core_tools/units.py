# SPDX-License-Identifier: GPL-2.0
"""The units that iommu_core has taken over in a guest, as its platform driver shows them."""


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
