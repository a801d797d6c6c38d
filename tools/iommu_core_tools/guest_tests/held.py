# SPDX-License-Identifier: GPL-2.0
"""Devices that are held before the kernel's IOMMU layer knows them, and that the unit cannot distinguish."""

from .. import core_view, guest_io, guest_pci, machine
from ..machine import Machine
from . import acpi, firmware
from .scenario import Scenario

_EDU, _TESTDEV = "0x11e8", "0x0005"


def _bridged(kind):
    """A machine with two devices behind a bridge from PCI Express to PCI, the first bus that there is."""
    found = Machine(kind, **kind.acpi)
    found.root_port(machine.DISK)
    found.device("pcie-pci-bridge", id="bridge", bus=f"port{machine.DISK:x}")
    found.device("edu", bus="bridge", addr="0x1", dma_mask="0xffffffffffffffff")
    found.device("iommu-testdev", bus="bridge", addr="0x2")
    return found


def _with_disk(kind):
    """The same with a third device, whose driver is built in."""
    return _bridged(kind).disk("third").device(
        "virtio-blk-pci", drive="third", bus="bridge", addr="0x3", iommu_platform="on",
        **{"disable-legacy": "on"},
    )  # fmt: skip


def _both(run):
    """The addresses of both devices behind the bridge."""
    for address in guest_pci.devices(run.guest):
        bus, slot = address.split(":")[1:]
        seen = run.guest.run(f"cat /sys/bus/pci/devices/{address}/device").strip()
        if (slot, seen) == ("01.0", _EDU):
            return address, address.replace(":01.0", ":02.0")
    run.check(False, "the devices are there")
    return None


def _are_together(run):
    """Both are in one group, with us as with the kernel, and their regions are mapped in its domain."""
    edu, testdev = _both(run)
    group = core_view.group_of(run.guest, edu)
    run.check(group and testdev in group.members, "both are in one group of ours", group)
    number = run.group(edu)
    run.check(number is not None and number == run.group(testdev), "and in one of the kernel's", number)
    run.check(group.name == f"group {number}", "which is the same", group.name)
    return group


def both_keep_their_direct_regions(run):
    # The bridge is in their group. Its driver for hot-plug, which some kernels bind once the unit
    # is there, would have interrupts mapped.
    bridge = run.at(machine.DISK)
    run.guest.run(f"echo none >/sys/bus/pci/devices/{bridge}/driver_override")
    guest_pci.unbind(run.guest, bridge)
    mark = run.guest.mark()
    run.load()
    messages = core_view.messages(run.guest.kernel_log(mark))
    for address in _both(run):
        run.check(any(address in line and "direct regions" in line for line in messages),
                  f"the log says that {address} keeps its direct regions", messages)  # fmt: skip
    _are_together(run)
    firmware.check_mapped(run, _both(run)[0])


def debugfs_says_that_they_share_an_id(run):
    text = run.guest.run(f"cat {core_view.FOLDER}/groups").splitlines()
    for one, other in (_both(run), _both(run)[::-1]):
        line = next(line for line in text if f"member   {one}" in line)
        run.check("shares requester id" in line and other in line, f"it says so of {one}", line)


def neither_can_be_owned(run):
    guest_pci.load_vfio(run.guest)
    for address in _both(run):
        guest_pci.give_to_vfio(run.guest, address)
        status, _ = run.guest.status(
            f"echo 'container c\ngroup g {run.group(address)}\nset-container g c' | vfio-user | grep -q error"
        )
        run.check(status == 0, f"an owner of {address} would take the region away, and is refused")
    firmware.check_mapped(run, _both(run)[0])


def one_of_them_comes_and_goes(run):
    edu, testdev = _both(run)
    for address in (edu, testdev):
        run.guest.run(f"echo 1 >/sys/bus/pci/devices/{address}/remove")
        run.guest.run("echo 1 >/sys/bus/pci/rescan", timeout=60)
        _are_together(run)
        firmware.check_mapped(run, address)


def the_unit_is_released_and_nothing_is_left(run):
    for address in _both(run):
        guest_pci.unbind(run.guest, address)
    run.unload()
    run.check(not guest_pci.groups(run.guest), "no group is left", guest_pci.groups(run.guest))
    run.load()
    _are_together(run)


def _disk(run):
    return _both(run)[0].replace(":01.0", ":03.0")


def a_driver_keeps_all_of_them_on_identity(run):
    mark = run.guest.mark()
    run.load()
    group = _are_together(run)
    run.check(_disk(run) in group.members, "the disk is in their group", group)
    run.check(group.domain.startswith("identity"), "which is on identity", group.domain)
    run.check("kernel" in group.owner, "and owned by the kernel", group.owner)
    messages = core_view.messages(run.guest.kernel_log(mark))
    run.check(any(_disk(run) in line and "stays on identity" in line for line in messages),
              "the log says why", messages)  # fmt: skip
    _write_and_read(run)


def _write_and_read(run):
    run.load_drivers("virtio_blk")
    if not guest_pci.driver(run.guest, _disk(run)):
        guest_pci.bind(run.guest, _disk(run), "virtio-pci")
    run.check(run.guest.wait_for("[ -b /dev/vda ]"), "the disk is there")
    guest_io.write_and_read(run.guest, "/dev/vda", 2)


def nobody_can_own_what_the_driver_uses(run):
    guest_pci.load_vfio(run.guest)
    guest_pci.give_to_vfio(run.guest, _both(run)[1])
    status, _ = run.guest.status(
        f"echo 'container c\ngroup g {run.group(_both(run)[1])}\nset-container g c' | "
        "vfio-user | grep -q error"
    )
    run.check(status == 0, "an owner of a device beside it is refused")
    _write_and_read(run)


def all_of_them_are_translated_once_the_driver_is_gone(run):
    for address in (run.at(machine.DISK), *_both(run), _disk(run)):
        guest_pci.unbind(run.guest, address)
    run.unload()
    run.load()
    group = _are_together(run)
    run.check(_disk(run) in group.members, "the disk is in their group", group)
    run.check(group.domain.startswith("paging"), "which is translated", group.domain)
    firmware.check_mapped(run, _disk(run))
    _write_and_read(run)


def scenarios(kind):
    """Machines whose firmware uses memory with devices behind a bridge."""
    tables = acpi.TABLES[kind.acpi_table]
    files = {tables.file: tables.alike(*firmware.REGION), **tables.keeps_buses}
    driven = Scenario("one-id-driver", _with_disk, [
        a_driver_keeps_all_of_them_on_identity,
        nobody_can_own_what_the_driver_uses,
        all_of_them_are_translated_once_the_driver_is_gone,
    ], tables=files, parameters=kind.late)  # fmt: skip
    return [driven, Scenario(
        "one-id", _bridged,
        [
            both_keep_their_direct_regions,
            debugfs_says_that_they_share_an_id,
            neither_can_be_owned,
            one_of_them_comes_and_goes,
            the_unit_is_released_and_nothing_is_left,
        ],
        tables=files,
    )]  # fmt: skip
