# SPDX-License-Identifier: GPL-2.0
"""PCI devices inside a guest: where they are, their groups, their drivers."""

from .guest import GuestError

_DEVICES = "/sys/bus/pci/devices"
_DRIVERS = "/sys/bus/pci/drivers"
# Base class and subclass (PCI Code and ID Assignment Specification, 1.9).
_IOMMU_CLASS = "0x0806"
# virtio-iommu has no class of its own (Virtual I/O Device specification 1.3, 4.1.2 and 5.13).
_VIRTIO_IOMMU = "pci:v00001AF4d00001057"


def behind(guest, slot, function=0):
    """The address of the device directly behind the root port in `slot` of the root bus."""
    pattern = f"{_DEVICES}/0000:00:{slot:02x}.0/0000:*.{function}"
    status, output = guest.status(f"basename $(ls -d {pattern})")
    if status:
        raise GuestError(f"guest {guest.name}: nothing behind slot {slot:#x}", log=guest.log)
    return output.strip()


def devices(guest):
    """The addresses of all PCI devices except IOMMUs, because no IOMMU translates its own DMA."""
    units = f"grep -l '^{_IOMMU_CLASS}' */class; grep -l '^{_VIRTIO_IOMMU}' */modalias"
    return guest.run(f"cd {_DEVICES}; {{ {units}; ls; }} | cut -d/ -f1 | sort | uniq -u").split()


def group(guest, address):
    """The number of a device's group, or None if the device is in no group."""
    status, output = guest.status(f"readlink {_DEVICES}/{address}/iommu_group")
    return None if status else int(output.strip().rsplit("/", 1)[-1])


def groups(guest):
    """`{group: (type, [addresses])}` of all groups."""
    # The shell alone does it: a process for each group would take long in an emulated guest.
    script = """
        for g in /sys/kernel/iommu_groups/*; do
            [ ! -d "$g" ] || { read type <$g/type; echo ${g##*/} $type $g/devices/*; }
        done
    """
    found = {}
    for line in guest.run(script).splitlines():
        number, kind, *members = line.split()
        found[int(number)] = (kind, [path.rsplit("/", 1)[-1] for path in members if not path.endswith("*")])
    return found


def driver(guest, address):
    """The name of the driver that a device is bound to, or None."""
    status, output = guest.status(f"readlink {_DEVICES}/{address}/driver")
    return None if status else output.strip().rsplit("/", 1)[-1]


def unbind(guest, address):
    """Unbinds a device's driver, if the device has one."""
    guest.run(f"d={_DEVICES}/{address}/driver/unbind; [ ! -e $d ] || echo {address} >$d")


def bind(guest, address, name):
    """Binds a device that has no driver to the driver `name`. Raises if the kernel refuses."""
    guest.run(f"echo {address} >{_DRIVERS}/{name}/bind")


def bind_status(guest, address, name):
    """Tries to bind a device to a driver. Returns the shell's status and its text, which names the errno."""
    return guest.status(f"echo {address} >{_DRIVERS}/{name}/bind")


def find_driver(guest, address):
    """Lets the kernel bind a device to a driver that matches it, if there is one."""
    guest.status(f"echo {address} >/sys/bus/pci/drivers_probe")


def give_to_vfio(guest, address):
    """Unbinds a device's driver, if it has one, and binds vfio-pci."""
    unbind(guest, address)
    guest.run(f"echo vfio-pci >{_DEVICES}/{address}/driver_override")
    bind(guest, address, "vfio-pci")


def give_back(guest, address, name):
    """Unbinds vfio-pci from a device, and binds the kernel driver `name`."""
    unbind(guest, address)
    guest.run(f"echo >{_DEVICES}/{address}/driver_override")
    bind(guest, address, name)


def has_unsafe_interrupts(guest):
    """Whether devices can raise interrupts of others: nothing remaps interrupts."""
    some_are_isolated = "grep -qs '^[^ ]*: isolated' /sys/kernel/debug/iommu_core/interrupts"
    return guest.viommu.unsafe_interrupts and not guest.works(some_are_isolated)


def load_vfio(guest):
    """Loads the VFIO modules. Without interrupt remapping, sets the parameter that VFIO and iommufd then require."""
    if not has_unsafe_interrupts(guest):
        guest.run("[ -e /sys/module/vfio_iommu_type1 ] || modprobe -a vfio_iommu_type1 vfio-pci")
        return
    parameter = "/sys/module/{}/parameters/allow_unsafe_interrupts".format
    guest.run(
        f"if [ -e {parameter('vfio_iommu_type1')} ]; then echo 1 >{parameter('vfio_iommu_type1')}; "
        "else modprobe vfio_iommu_type1 allow_unsafe_interrupts=1 && modprobe vfio-pci; fi; "
        f"if [ -e {parameter('iommufd')} ]; then echo 1 >{parameter('iommufd')}; fi"
    )
