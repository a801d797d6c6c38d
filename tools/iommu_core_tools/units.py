# SPDX-License-Identifier: GPL-2.0
"""The units that iommu_core has taken in a guest, as its platform driver shows them."""


def _folder(guest):
    return f"/sys/bus/platform/drivers/{guest.viommu.platform_driver}"


def names(guest):
    """The names of all units that are taken."""
    script = f"""
        for d in {_folder(guest)}/*; do
            [ -e "$d/driver" ] && echo ${{d##*/}}
        done; true
    """
    return guest.run(script).split()


def release(guest, name, timeout=30):
    """Gives a unit back, after the drivers of its devices; raises what the kernel refused."""
    guest.run(f"echo {name} >{_folder(guest)}/unbind", timeout)


def take(guest, name, timeout=30):
    """Takes a unit that was given back."""
    guest.run(f"echo {name} >{_folder(guest)}/bind", timeout)
