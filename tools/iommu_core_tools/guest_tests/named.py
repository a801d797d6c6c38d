# SPDX-License-Identifier: GPL-2.0
"""Devices that have no id from a bus. Firmware's table of units names them by their names in the ACPI namespace.

Such devices of QEMU's machines do no DMA. The tests check how the core groups, attaches and releases them.
"""

import dataclasses

from .. import core_view, units
from . import acpi
from .scenario import Scenario, small

_BUS = "/sys/bus/platform"
# Memory that belongs to the firmware on every PC.
_REGION = (0xF0000, 0xFFFFF)


@dataclasses.dataclass(frozen=True)
class _Device:
    """A device, and the table's entry for it."""

    name: str
    path: str
    # Bus, device and function number of the device's requests.
    id: tuple

    @property
    def hid(self):
        """Its hardware id."""
        return self.name.split(":")[0].encode()


# The kernel has a built-in driver for the first device, and a module for the second.
_KEPT = _Device("QEMUVGID:00", r"\_SB.VGEN", (0xFF, 0x1F, 7))
_FREE = _Device("QEMU0002:00", r"\_SB.PCI0.FWCF", (0x00, 0x1C, 1))
# The table has a direct region for this device.
_BUSY = _Device("QEMU0001:00", r"\_SB.PCI0.SF8.PEVT", (0x00, 0x1D, 0))
_ALL = (_KEPT, _FREE, _BUSY)
_DRIVER, _MODULE = "fw_cfg", "qemu_fw_cfg"


def _machine(kind):
    return small(kind).device("vmgenid", guid="auto").device("pvpanic")


def _line(run, device):
    """The line of debugfs about a device."""
    text = run.guest.run(f"cat {core_view.FOLDER}/groups")
    return next((line for line in text.splitlines() if f"member   {device.name} " in line), "")


def _group(run, device):
    """The folder of a device's group in sysfs, or None if the device is in no group."""
    link = f"{_BUS}/devices/{device.name}/iommu_group"
    status, path = run.guest.status(f"[ -e {link} ] && readlink -f {link}")
    return None if status else path.strip()


def _has_driver(run, device):
    return run.guest.works(f"[ -e {_BUS}/devices/{device.name}/driver ]")


def named_devices_get_groups_of_their_own(run):
    for device in _ALL:
        path = run.guest.run(f"cat {_BUS}/devices/{device.name}/firmware_node/path").strip()
        run.check(path.replace("_.", ".") == device.path, f"{device.name} is at {device.path}", path)
    run.check(_has_driver(run, _KEPT), f"{_KEPT.name} has a driver")
    run.load()
    for device in (_FREE, _BUSY):
        group = core_view.group_of(run.guest, device.name)
        run.check(group and group.members == [device.name], f"{device.name} is alone in its group", group)
        run.check(group.domain.startswith("paging"), "the group has a paging domain", group)
        bus, slot, function = device.id
        line = _line(run, device)
        run.check(f"ids {bus:02x}:{slot:02x}.{function}: isolated" in line,
                  f"{device.name} has the id of firmware's table", line)  # fmt: skip
        folder = _group(run, device)
        run.check(folder, f"sysfs has a group for {device.name}")
        kind = run.guest.run(f"cat {folder}/type")
        run.check(kind.startswith("DMA"), f"the DMA of {device.name} is translated", kind)


def a_named_device_with_a_driver_stays_on_identity(run):
    lines = [line for line in core_view.messages(run.guest.kernel_log()) if _KEPT.name in line]
    run.check(len(lines) == 1 and "identity" in lines[0], "one line of the log says so", lines)
    group = core_view.group_of(run.guest, _KEPT.name)
    run.check(group and group.domain.startswith("identity"), "the device is on identity", group)
    run.check(group.owner == "kernel (1 driver)", "the kernel owns the group", group.owner)
    run.check("ff:1f.7" in _line(run, _KEPT), "the device has the id of firmware's table", _line(run, _KEPT))


def a_named_device_keeps_its_direct_region(run):
    lines = [line for line in core_view.messages(run.guest.kernel_log()) if _BUSY.name in line]
    run.check(any("direct regions" in line for line in lines), "the log says so", lines)
    regions = run.guest.run(f"cat {_group(run, _BUSY)}/reserved_regions").splitlines()
    found = [(int(line.split()[0], 16), line.split()[2]) for line in regions]
    run.check((_REGION[0], "direct") in found, "the kernel lists the region as direct", regions)
    mapped = core_view.domains(run.guest)[core_view.group_of(run.guest, _BUSY.name).domain]
    size = _REGION[1] + 1 - _REGION[0]
    run.check(f" {size} bytes mapped" in mapped, "the region is mapped, and nothing else", mapped)


def the_type_of_a_named_devices_group_can_be_changed(run):
    folder = _group(run, _FREE)
    for kind, domain in (("identity", "identity"), ("DMA", "paging"), ("DMA-FQ", "paging")):
        run.guest.run(f"echo {kind} >{folder}/type")
        group = core_view.group_of(run.guest, _FREE.name)
        run.check(group.domain.startswith(domain), f"{kind} attaches the group", group.domain)


def a_driver_is_counted_as_a_user_of_its_devices_group(run):
    run.load_drivers(_MODULE)
    run.check(_has_driver(run, _FREE), f"{_FREE.name} has a driver")
    owner = core_view.group_of(run.guest, _FREE.name).owner
    run.check(owner == "kernel (1 driver)", "the kernel owns the group", owner)
    run.check(f"driver {_DRIVER}" in _line(run, _FREE), "debugfs names the driver", _line(run, _FREE))
    # The module is removed, because its driver binds the device only when the module is loaded.
    run.guest.run(f"rmmod {_MODULE}")
    owner = core_view.group_of(run.guest, _FREE.name).owner
    run.check(owner == "nobody", "without the driver nobody owns the group", owner)


def named_devices_leave_and_return_with_their_unit(run):
    run.load_drivers(_MODULE)
    run.check(_has_driver(run, _FREE), "a driver is bound")
    names = units.names(run.guest)
    for name in names:
        units.release(run.guest, name)
    run.check(not _has_driver(run, _FREE), "a driver that was bound after the takeover is unbound")
    run.check(_has_driver(run, _KEPT), "a driver that was bound before the takeover is not")
    for device in _ALL:
        run.check(not _group(run, device), f"{device.name} has no group")
    run.check(not core_view.groups(run.guest), "no group is left", core_view.groups(run.guest))
    for name in names:
        units.take(run.guest, name)
    for device, domain in ((_KEPT, "identity"), (_FREE, "paging"), (_BUSY, "paging")):
        group = core_view.group_of(run.guest, device.name)
        run.check(group and group.domain.startswith(domain), f"{device.name} is as before", group)
    run.guest.run(f"rmmod {_MODULE}")
    run.load_drivers(_MODULE)
    run.check(_has_driver(run, _FREE), "the driver works again")


# A device that the table names by its path only, with the id of its requests (50:00.0).
_COMPONENT, _PATH, _ID = "QEMU0002:00", rb"\_SB_.FWCF", 0x5000


def _component(run):
    text = run.guest.run(f"cat {core_view.FOLDER}/groups")
    return next((line for line in text.splitlines() if f"member   {_COMPONENT} " in line), "")


def a_named_component_that_has_a_driver_stays_on_identity(run):
    run.load_drivers(_MODULE)
    run.check(run.guest.works(f"[ -e {_BUS}/devices/{_COMPONENT}/driver ]"), "the device has a driver")
    mark = run.guest.mark()
    run.load()
    messages = core_view.messages(run.guest.kernel_log(mark))
    lines = [line for line in messages if _COMPONENT in line]
    run.check(len(lines) == 1 and f"identity: driver {_DRIVER}" in lines[0],
              "one line of the log says so", lines)  # fmt: skip
    group = core_view.group_of(run.guest, _COMPONENT)
    run.check(group and group.domain.startswith("identity"), "the device is on identity", group)
    run.check(group.owner == "kernel (1 driver)", "the kernel owns the group", group.owner)
    run.check("50:00.0" in _component(run), "the device has the id of firmware's table", _component(run))


def a_named_component_without_a_driver_is_translated(run):
    run.unload()
    run.guest.run(f"rmmod {_MODULE}")
    run.load()
    group = core_view.group_of(run.guest, _COMPONENT)
    run.check(group and group.domain.startswith("paging"), "the device's group has a paging domain", group)
    run.check("50:00.0" in _component(run), "the device has the same id", _component(run))
    run.load_drivers(_MODULE)
    run.check(f"driver {_DRIVER}" in _component(run), "a driver is bound", _component(run))


def scenarios(kind):
    """A machine whose table names devices of its DSDT."""
    tables = acpi.TABLES[kind.acpi_table]
    if tables.component:
        return [Scenario(
            "named-component", lambda kind: small(kind, **kind.acpi),
            [
                a_named_component_that_has_a_driver_stays_on_identity,
                a_named_component_without_a_driver_is_translated,
            ],
            parameters=kind.late,
            tables={tables.file: tables.component(_PATH, _ID)},
        )]  # fmt: skip
    if not tables.named:
        return []
    return [Scenario(
        "named-devices", _machine,
        [
            named_devices_get_groups_of_their_own,
            a_named_device_with_a_driver_stays_on_identity,
            a_named_device_keeps_its_direct_region,
            the_type_of_a_named_devices_group_can_be_changed,
            a_driver_is_counted_as_a_user_of_its_devices_group,
            named_devices_leave_and_return_with_their_unit,
        ],
        tables={tables.file: tables.named(_ALL, *_REGION)},
    )]  # fmt: skip
