# SPDX-License-Identifier: GPL-2.0
"""A machine that sleeps (S3) and wakes up, and then restarts."""

import contextlib

from .. import core_view, guest_io, guest_pci, machine, units
from ..vfio_user import VfioUser
from .scenario import Scenario

# The kernel's message when a sleep has ended.
_AWAKE = "PM: suspend exit"
# The same when a hibernation has ended.
_RESTORED = "PM: hibernation: hibernation exit"
_DEVICES = "/sys/bus/pci/devices"
# The class of the function that has the chipset's registers.
_ISA_BRIDGE = "0x060100"
# ICH9, 13.1 (PMBASE and ACPI_CNTL; PIRQ[n]_ROUT): offset and size.
_CHIPSET_REGISTERS = (0x40, 8), (0x60, 12)
_BASE = 0x10000000
# DMA of an owner's device, to memory that is mapped for it and to memory behind that.
_MAPPED = f"testdev-run d {_BASE:#x} b 0 64"
_NOT_MAPPED = f"testdev-run d {_BASE + 0x1000:#x} b 0x1000 64"


def _says(run, message, times=1, timeout=60):
    """Whether the console has the message at least `times` times, within `timeout` seconds."""
    # The agent cannot be asked: its serial port loses what the host sends before the port is
    # resumed.
    return run.guest.comes_true(lambda: run.guest.said().count(message) >= times, timeout)


@contextlib.contextmanager
def _chipset_is_kept(run):
    """After a sleep, QEMU's firmware does not set up the chipset again, whose registers for sleeping are then gone."""
    run.guest.run(f"for path in {_DEVICES}/*; do if [ $(cat $path/class) = {_ISA_BRIDGE} ]; then "
                  "echo $path/config >/run/chipset; cat $path/config >/run/chipset-config; fi; done")  # fmt: skip
    yield
    for offset, size in _CHIPSET_REGISTERS:
        run.guest.run(f"dd if=/run/chipset-config of=$(cat /run/chipset) bs=1 skip={offset} seek={offset} count={size} "
                      "conv=notrunc 2>/dev/null")  # fmt: skip


def sleep(run):
    """Puts the machine to sleep, and wakes it up."""
    with _chipset_is_kept(run):
        _sleep(run)


def _sleep(run):
    times = run.guest.said().count(_AWAKE) + 1
    run.guest.run("(sleep 1; echo mem >/sys/power/state; echo $? >/run/awake) >/dev/null 2>&1 &")
    run.guest.qmp.wait_event("SUSPEND", 60)
    run.guest.qmp.execute("system_wakeup")
    run.check(_says(run, _AWAKE, times), "the machine wakes up")
    run.check(run.guest.wait_for("[ -e /run/awake ]"), "the kernel returns from sleep")
    status = run.guest.run("cat /run/awake; rm /run/awake").strip()
    run.check(status == "0", "the kernel reports a successful sleep", status)


def _devices_work(run):
    disk = guest_io.nvme_disk(run.guest, run.at(machine.DISK))
    guest_io.write_and_read(run.guest, disk, 2)
    name = guest_io.interface(run.guest, run.at(machine.NET))
    guest_io.network_up(run.guest, name)
    guest_io.echo(run.guest, 1024)


def devices_work(run):
    run.load()
    run.load_drivers()
    for address in (run.at(machine.DISK), run.at(machine.NET)):
        run.check(run.type_of(address).startswith("DMA"), f"{address} is translated",
                  run.type_of(address))  # fmt: skip
    _devices_work(run)


def _owner(run, name):
    """A user program called `name` that owns a device and has mapped memory for it."""
    address = run.at(machine.TEST)
    guest_pci.load_vfio(run.guest)
    guest_pci.give_to_vfio(run.guest, address)
    user = VfioUser(run.guest, name)
    user.script(["container c", f"group g {run.group(address)}", "set-container g c",
                 "set-iommu c type1v2", f"device d g {address} testdev", "buffer b 0x2000",
                 f"map c b 0 0x1000 {_BASE:#x} rw"])  # fmt: skip
    run.check(user.say(_MAPPED) == "result 0", "an owner's device reaches mapped memory")
    return user


def _reaches_what_is_mapped_only(run, user):
    run.check(user.say(_MAPPED) == "result 0", "the owner's device still reaches mapped memory")
    run.check(user.say(_NOT_MAPPED) != "result 0", "the owner's device reaches nothing else")


def a_sleep_that_is_broken_off_changes_nothing(run):
    run.guest.run("echo core >/sys/power/pm_test && echo deep >/sys/power/mem_sleep")
    run.guest.run("echo mem >/sys/power/state", timeout=60)
    run.guest.run("echo none >/sys/power/pm_test")
    run.check(units.status(run.guest).translates, "the unit translates", units.status(run.guest))
    _devices_work(run)


def devices_and_their_owners_go_on_after_a_sleep(run):
    user = _owner(run, "sleeper")
    disk = guest_io.nvme_disk(run.guest, run.at(machine.DISK))
    before = guest_io.write_and_read(run.guest, disk, 2)

    sleep(run)
    run.check(units.status(run.guest).translates, "the unit translates", units.status(run.guest))
    run.check(guest_io.read_checksum(run.guest, disk, 2) == before, "the disk has what it had")
    _devices_work(run)
    # The fault interrupt works as well.
    mark = run.guest.mark()
    _reaches_what_is_mapped_only(run, user)
    run.guest.run("sleep 0.5")
    lines = core_view.faults(run.guest.kernel_log(mark))
    recorded = run.kind.recorded(run.at(machine.TEST), _BASE + 0x1000)
    run.check(lines and (lines[0].device, lines[0].address) == recorded, "the fault is reported", lines)


def devices_and_their_owners_go_on_after_a_hibernation(run):
    """A second boot: its kernel takes the unit, reads the image, and gives the unit to the first one."""
    disk = guest_io.nvme_disk(run.guest, run.at(machine.DISK))
    swap = guest_io.nvme_disk(run.guest, run.at(machine.B))
    before = guest_io.write_and_read(run.guest, disk, 2)
    user = _owner(run, "hibernator")
    run.guest.run(f"mkswap {swap} && swapon {swap} && echo reboot >/sys/power/disk")
    run.guest.qmp.execute("set-action", reboot="reset")
    run.guest.run("touch /run/first; (sleep 1; echo disk >/sys/power/state; echo $? >/run/awake) >/dev/null 2>&1 &")
    run.guest.wait_for_next_kernel(240)
    run.check(not run.guest.works("[ -e /run/first ]"), "it is a second boot")
    run.load()
    run.load_drivers("nvme")
    # The disk may have another name now.
    swap = guest_io.nvme_disk(run.guest, run.at(machine.B))
    run.check(units.status(run.guest).translates, "its kernel has the unit", units.status(run.guest))
    run.guest.run(f"(sleep 1; cat /sys/class/block/{swap.split('/')[-1]}/dev >/sys/power/resume) >/dev/null 2>&1 &")
    run.check(_says(run, _RESTORED, 1, 240), "the first kernel goes on")
    run.check(run.guest.wait_for("[ -e /run/awake ]", 60), "the kernel returns from hibernation")
    status = run.guest.run("cat /run/awake").strip()
    run.check(status == "0", "the kernel reports a successful hibernation", status)
    run.check(units.status(run.guest).translates, "the unit translates", units.status(run.guest))
    run.check(guest_io.read_checksum(run.guest, disk, 2) == before, "the disk has what it had")
    _devices_work(run)
    _reaches_what_is_mapped_only(run, user)


def a_unit_is_off_when_the_machine_restarts(run):
    before = units.status(run.guest)
    run.check(before.translates and before.queue_runs, "it translates before", before)
    run.guest.run("(sleep 1; reboot -f) >/dev/null 2>&1 &")
    run.guest.qmp.wait_event("SHUTDOWN", 60)
    status = units.status(run.guest)
    run.check(not status.translates, "it does not translate any more", status)
    run.check(not status.queue_runs, "its queue is off", status)


def _bench(kind):
    """The machine of the story, except that QEMU stops it instead of restarting it."""
    found = machine.bench(kind)
    found.arguments += ["-no-shutdown"]
    return found


def _bench_with_swap(kind):
    """The machine of the story, with a second disk that has room for all memory."""
    # QEMU does not always start a second processor again after a reset.
    found = machine.bench(kind, memory=512, cpus=1)
    return found.disk("b", 600)


def native_guests(kind):
    """`[(name, options of the machine, tests)]` for a kernel whose IOMMU layer is the core, with our driver."""
    tests = [devices_work, devices_and_their_owners_go_on_after_a_sleep]
    return [("sleep", kind.plain, tests)] if kind.sleeps else []


def scenarios(kind):
    """A sleep, if the machine can sleep, and then a restart."""
    sleep = [
        a_sleep_that_is_broken_off_changes_nothing,
        devices_and_their_owners_go_on_after_a_sleep,
    ]
    return [
        Scenario("power", _bench, [
            devices_work, *(sleep if kind.sleeps else []), a_unit_is_off_when_the_machine_restarts,
        ], parameters=("no_console_suspend",)),
        *([] if not kind.sleeps else [Scenario("hibernation", _bench_with_swap, [
            devices_work, devices_and_their_owners_go_on_after_a_hibernation,
        ], parameters=("no_console_suspend", "hibernate=nocompress"))]),
    ]  # fmt: skip
