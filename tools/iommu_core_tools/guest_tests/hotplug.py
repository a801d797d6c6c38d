# SPDX-License-Identifier: GPL-2.0
"""Devices that come and go while the module is loaded."""

import time

from .. import core_view, guest_io, guest_pci, machine, units
from ..machine import Machine
from ..vfio_user import VfioUser
from .scenario import Scenario

_DEVICES = "/sys/bus/pci/devices"


def _machine(kind):
    found = Machine(kind, **kind.plain)
    found.root_port(machine.SPARE).root_port(machine.A)
    found.disk("disk").disk("spare")
    found.device("nvme", serial="disk", drive="disk", bus="pcie.0", addr="0x2")
    found.device("edu", id="a", bus=f"port{machine.A:x}", dma_mask="0xffffffffffffffff")
    return found


def _plug(run, driver, **properties):
    """Plugs a device into the spare port, and waits until the device is in a group. Returns its address."""
    run.guest.qmp.execute("device_add", driver=driver, id="new", bus=f"port{machine.SPARE:x}",
                          **properties)  # fmt: skip
    pattern = f"{_DEVICES}/0000:00:{machine.SPARE:02x}.0/0000:*.0"
    run.check(run.guest.wait_for(f"ls -d {pattern}"), "the guest sees the new device")
    # The kernel adds the device's folder to sysfs before it gives the device a group.
    run.check(run.guest.wait_for(f"ls -d {pattern}/iommu_group"), "the new device gets a group")
    return run.at(machine.SPARE)


def _unplug(run, address, device="new", timeout=40):
    run.guest.qmp.execute("device_del", id=device)
    run.guest.qmp.wait_event("DEVICE_DELETED", timeout, lambda data: data.get("device") == device)
    run.check(run.guest.wait_for(f"[ ! -e {_DEVICES}/{address} ]"), "the guest lost the device")


def the_module_is_loaded(run):
    run.load()
    run.load_drivers("nvme")
    guest_pci.load_vfio(run.guest)


def a_new_device_gets_a_group_and_works(run):
    address = _plug(run, "nvme", serial="spare", drive="spare")
    run.check(run.type_of(address).startswith("DMA"), "its type is DMA", run.type_of(address))
    guest_io.write_and_read(run.guest, guest_io.nvme_disk(run.guest, address), 2)
    _unplug(run, address)


def a_group_ends_with_its_last_device(run):
    before = guest_pci.groups(run.guest)
    address = _plug(run, "edu")
    group = run.group(address)
    run.check(group not in before, "the new device has a group of its own")
    _unplug(run, address)
    run.check(guest_pci.groups(run.guest) == before, "the groups are as before")


def devices_come_and_go_many_times_and_nothing_is_left(run):
    groups = guest_pci.groups(run.guest)
    domains = core_view.domains(run.guest) if run.ours else None
    for _ in range(5):
        _unplug(run, _plug(run, "edu"))
    run.check(guest_pci.groups(run.guest) == groups, "the groups are as before")
    if run.ours:
        run.check(core_view.domains(run.guest) == domains, "the domains are as before",
                  core_view.domains(run.guest))  # fmt: skip


def a_disk_that_is_unplugged_under_load_disturbs_no_other_device(run):
    address = _plug(run, "nvme", serial="spare", drive="spare")
    disk = guest_io.nvme_disk(run.guest, address)
    run.guest.run(f"dd if=/dev/zero of={disk} bs=64k oflag=direct >/dev/null 2>&1 &")
    time.sleep(0.5)
    _unplug(run, address)
    guest_io.write_and_read(run.guest, guest_io.nvme_disk(run.guest, "0000:00:02.0"), 2)


def a_device_that_a_user_has_open_is_unplugged_when_the_user_closes_it(run):
    address = run.at(machine.A)
    group = run.group(address)
    guest_pci.give_to_vfio(run.guest, address)
    user = VfioUser(run.guest, "held")
    user.script(["container c", f"group g {group}", "set-container g c", "set-iommu c type1v2",
                 f"device d g {address} edu", "buffer b 8192", "map c b 0 8192 0x100000 rw"])  # fmt: skip
    run.guest.qmp.execute("device_del", id="a")
    time.sleep(1)
    run.check(run.guest.works(f"[ -e {_DEVICES}/{address} ]"),
              "VFIO keeps the device while its user has it open")  # fmt: skip
    user.script(["fill b 0 4096 3", "edu-copy d 0x100000 0x101000 4096"])
    run.check(user.say("check b 4096 4096 3") == "match", "the device's DMA works until the user closes it")
    user.quit()
    run.guest.qmp.wait_event("DEVICE_DELETED", 40, lambda data: data.get("device") == "a")
    run.check(run.guest.wait_for(f"[ ! -e {_DEVICES}/{address} ]"), "the guest lost the device")


def a_device_that_comes_while_its_unit_is_released_is_not_left_behind(run):
    run.need_ours()
    address = _plug(run, "edu")
    # The disk's driver would have to be bound again each time.
    run.guest.run("rmmod nvme")
    path = f"{_DEVICES}/{address}"
    run.guest.run(
        f"touch /run/go; (while [ -e /run/go ]; do echo 1 >{path}/remove; "
        "echo 1 >/sys/bus/pci/rescan; done; touch /run/gone) >/dev/null 2>&1 &"
    )
    [name] = units.names(run.guest)
    for _ in range(15):
        units.release(run.guest, name, timeout=60)
        # Its addresses would reach physical memory, now that nothing is translated.
        left = guest_pci.groups(run.guest)
        run.check(not left, "no group is left", left)
        units.take(run.guest, name, timeout=60)
    run.guest.run("rm /run/go")
    run.check(run.guest.wait_for("[ -e /run/gone ]", 30), "the device is there again")
    run.check(run.type_of(address).startswith("DMA"), "its type is DMA", run.type_of(address))
    group = core_view.group_of(run.guest, address)
    run.check(group and group.domain.startswith("paging"), "and it is translated", group)


def _native(kind):
    """The machine, whose ports report themselves what is plugged. A PC's firmware does it otherwise."""
    found = _machine(kind)
    if not kind.maps_interrupts:
        found.arguments += ["-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"]
    return found


def _slot_control(run):
    """The file of the spare port's configuration space, and where the Slot Control register is in it."""
    path = f"{_DEVICES}/0000:00:{machine.SPARE:02x}.0/config"
    text = run.guest.run(f"od -An -v -tx1 -N256 {path}")
    config = bytes.fromhex("".join(text.split()))
    # PCI Express Base Specification, 7.5.3: capability 10h.
    at = config[0x34]
    while config[at] != 0x10:
        at = config[at + 1]
    return path, at + 0x18, int.from_bytes(config[at + 0x18 : at + 0x1A], "little")


# Bits of Slot Control (PCI Express Base Specification, 7.5.3.10).
_POWER_OFF, _POWER_INDICATOR_OFF, _INTERRUPT = 1 << 10, 3 << 8, 1 << 5


def _pull_out(run):
    """Takes the device out of the spare port without a word to its driver."""
    path, at, on = _slot_control(run)
    # The emulated port lets go of the device when power controller and power indicator are off.
    # The port's driver learns of it when the power is on again, as if somebody had pulled the
    # device out.
    off = on & ~_INTERRUPT | _POWER_OFF | _POWER_INDICATOR_OFF
    writes = "".join(
        f"printf '\\x{value & 0xFF:02x}\\x{value >> 8:02x}' | dd of={path} bs=2 seek={at // 2} conv=notrunc;"
        for value in (off, on)
    )
    run.guest.run(f"{{ {writes} }} 2>/dev/null")
    run.guest.qmp.wait_event("DEVICE_DELETED", 40, lambda data: data.get("device") == "new")


def _is_gone(run, address):
    run.check(run.guest.wait_for(f"[ ! -e {_DEVICES}/{address} ]", 60), "the guest lost the device")
    # The port's driver switches the slot off, and overlooks what is plugged during the next second.
    time.sleep(2)


def a_disk_that_is_pulled_out_under_load_leaves_nothing_behind(run):
    groups = guest_pci.groups(run.guest)
    for _ in range(2):
        address = _plug(run, "nvme", serial="spare", drive="spare")
        disk = guest_io.nvme_disk(run.guest, address)
        run.guest.run(f"dd if=/dev/zero of={disk} bs=64k oflag=direct >/dev/null 2>&1 &")
        time.sleep(0.5)
        _pull_out(run)
        _is_gone(run, address)
        run.check(guest_pci.groups(run.guest) == groups, "the groups are as before",
                  guest_pci.groups(run.guest))  # fmt: skip
    guest_io.write_and_read(run.guest, guest_io.nvme_disk(run.guest, "0000:00:02.0"), 2)


def a_device_that_is_pulled_out_while_a_user_has_it_open(run):
    groups = guest_pci.groups(run.guest)
    address = _plug(run, "edu", dma_mask=(1 << 64) - 1)
    guest_pci.give_to_vfio(run.guest, address)
    user = VfioUser(run.guest, "pulled")
    user.script(["container c", f"group g {run.group(address)}", "set-container g c",
                 "set-iommu c type1v2", f"device d g {address} edu", "buffer b 8192",
                 "map c b 0 8192 0x100000 rw", "edu-copy d 0x100000 0x101000 4096"])  # fmt: skip
    _pull_out(run)
    time.sleep(1)
    # The user's mappings can be changed, though no device uses them.
    user.script(["unmap c 0x100000 8192", "map c b 0 8192 0x200000 rw"])
    user.quit()
    _is_gone(run, address)
    run.check(guest_pci.groups(run.guest) == groups, "the groups are as before", guest_pci.groups(run.guest))


def scenarios(_kind):
    """Machines with an empty port."""
    return [Scenario(
        "surprise", _native,
        [
            the_module_is_loaded,
            a_disk_that_is_pulled_out_under_load_leaves_nothing_behind,
            a_device_that_is_pulled_out_while_a_user_has_it_open,
        ],
        ours_only=False,
    ), Scenario(
        "hotplug", _machine,
        [
            the_module_is_loaded,
            a_new_device_gets_a_group_and_works,
            a_group_ends_with_its_last_device,
            devices_come_and_go_many_times_and_nothing_is_left,
            a_disk_that_is_unplugged_under_load_disturbs_no_other_device,
            a_device_that_a_user_has_open_is_unplugged_when_the_user_closes_it,
            a_device_that_comes_while_its_unit_is_released_is_not_left_behind,
        ],
        ours_only=False,
    )]  # fmt: skip
