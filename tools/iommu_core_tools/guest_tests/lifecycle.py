# SPDX-License-Identifier: GPL-2.0
"""Loads the module after device drivers, unloads it, loads it again; releases units while devices use them."""

from .. import core_view, guest_io, guest_pci, machine, units
from ..vfio_user import VfioUser
from .scenario import Scenario

_LOOPS = 10
_TURNS = 20


def a_device_with_a_driver_stays_on_identity_and_works(run):
    run.load_drivers()
    disk = guest_io.nvme_disk(run.guest, run.at(machine.DISK))
    name = guest_io.interface(run.guest, run.at(machine.NET))
    guest_io.network_up(run.guest, name)
    mark = run.guest.mark()
    run.load()
    for address in (run.at(machine.DISK), run.at(machine.NET), run.kind.ahci):
        group = core_view.group_of(run.guest, address)
        run.check(group and group.domain.startswith("identity"), f"{address} is on identity", group)
        run.check("kernel" in group.owner, "the kernel owns the group", group.owner)
        lines = [line for line in core_view.messages(run.guest.kernel_log(mark)) if address in line]
        run.check(len(lines) == 1 and "identity" in lines[0],
                  f"one line of the log says so of {address}", lines)  # fmt: skip
    guest_io.write_and_read(run.guest, disk, 4)
    guest_io.echo(run.guest, 1024)
    guest_io.network_down(run.guest, name)


def a_device_without_a_driver_is_translated_at_once(run):
    address = run.at(machine.TEST)
    run.check(run.type_of(address).startswith("DMA"), "its group's type is DMA",
              run.type_of(address))  # fmt: skip


def a_driver_that_is_unbound_and_bound_again_still_works(run):
    address = run.at(machine.DISK)
    guest_pci.unbind(run.guest, address)
    guest_pci.bind(run.guest, address, "nvme")
    guest_io.write_and_read(run.guest, guest_io.nvme_disk(run.guest, address), 2)


def a_device_leaves_identity_when_the_unit_is_taken_again(run):
    for name in ("nvme", "e1000e", "ahci"):
        run.guest.run(f"rmmod {name}")
    run.unload()
    run.load()
    run.load_drivers()
    address = run.at(machine.DISK)
    guest_io.write_and_read(run.guest, guest_io.nvme_disk(run.guest, address), 2)
    run.check(run.type_of(address).startswith("DMA"), "its type is DMA", run.type_of(address))


def _memory(run):
    """The kernel's slab memory that it cannot reclaim, in KiB, and the number of pages of IOMMU drivers.

    The kernel's free memory would not do: the kernel keeps memory of modules in blocks of 2 MiB for a while.
    Each processor counts by itself and adds its part to what /proc shows once a second, or when `stat_refresh`
    is written.
    """
    run.guest.run("echo 3 >/proc/sys/vm/drop_caches; sleep 0.5; echo 1 >/proc/sys/vm/stat_refresh")
    slab = run.guest.run("grep ^SUnreclaim: /proc/meminfo").split()[1]
    pages = run.guest.run("grep ^nr_iommu_pages /proc/vmstat").split()[1]
    return int(slab), int(pages)


def _kept(run, releases):
    """How many pages a unit that is off still reads. See Documentation/drivers.md, AMD-Vi, Release."""
    found = units.table_of_a_unit_that_is_off(run.guest)
    if not found:
        return 0
    _table, pages = found
    # A table is allocated in a power of two of pages.
    return releases * (1 << (pages - 1).bit_length())


def the_module_loads_and_unloads_many_times(run):
    run.load()
    run.unload()
    before = None
    for i in range(_LOOPS):
        run.guest.run("modprobe iommu_core")
        run.check(guest_pci.groups(run.guest), "devices are in groups")
        run.unload()
        run.check(not guest_pci.groups(run.guest), "no group is left",
                  guest_pci.groups(run.guest))  # fmt: skip
        if i == 3:
            before = _memory(run)
    after = _memory(run)
    left = _kept(run, 1 + _LOOPS)
    run.check(after[1] == left, f"no page of a table or queue is left but {left} that the unit reads", after[1])
    run.check(after[0] - before[0] < 1024, f"{_LOOPS - 4} loads and unloads cost less than 1 MiB of memory",
              f"{after[0] - before[0]} KiB")  # fmt: skip
    run.guest.run("modprobe iommu_core")
    run.load_drivers()
    guest_io.write_and_read(run.guest, guest_io.nvme_disk(run.guest, run.at(machine.DISK)), 2)


def a_unit_can_be_released_and_taken_again(run):
    for name in ("nvme", "e1000e", "ahci"):
        run.guest.run(f"rmmod {name}")
    names = units.names(run.guest)
    for name in names:
        units.release(run.guest, name)
    run.check(not guest_pci.groups(run.guest), "no group is left")
    for name in names:
        units.take(run.guest, name)
    run.check(units.names(run.guest) == names, "the unit is taken again")
    run.load_drivers()
    guest_io.write_and_read(run.guest, guest_io.nvme_disk(run.guest, run.at(machine.DISK)), 2)


def the_module_cannot_be_unloaded_while_a_device_uses_it(run):
    status, output = run.guest.status("rmmod iommu_core")
    run.check(status and "Resource temporarily unavailable" in output, "EAGAIN", output)
    guest_io.write_and_read(run.guest, guest_io.nvme_disk(run.guest, run.at(machine.DISK)), 2)


def a_release_under_load_waits_for_the_owners_of_devices(run):
    guest_pci.load_vfio(run.guest)
    address = run.at(machine.TEST)
    guest_pci.give_to_vfio(run.guest, address)
    user = VfioUser(run.guest, "under")
    user.script(["container c", f"group g {run.group(address)}", "set-container g c",
                 "set-iommu c type1v2", f"device d g {address} testdev", "buffer b 0x2000",
                 "map c b 0 0x1000 0x100000 rw"])  # fmt: skip
    disk = guest_io.nvme_disk(run.guest, run.at(machine.DISK))
    run.guest.run(f"dd if={disk} of=/dev/null bs=64k iflag=direct >/dev/null 2>&1 &")
    name = units.names(run.guest)[0]
    folder = f"/sys/bus/platform/drivers/{run.kind.platform_driver}"
    run.guest.run(f"(echo {name} >{folder}/unbind; echo $? >/run/unbound) >/dev/null 2>&1 & sleep 2")
    # While the owner holds its device, the device reaches the same memory as before, and nothing
    # else.
    physical = int(user.say("physical b 0x1000"), 16)
    user.say("fill b 0x1000 4096 6")
    user.say(f"testdev-run d {physical:#x} b 0x1000 64")
    run.check(user.say("check b 0x1000 4096 6") == "match",
              "the owner's device does not reach memory that the owner never mapped")  # fmt: skip
    user.quit()
    run.check(run.guest.wait_for("[ -e /run/unbound ]", 30), "the unit is released after the owner has quit")
    run.check(not guest_pci.groups(run.guest), "no group is left")
    units.take(run.guest, name)
    run.guest.run(f"echo {run.at(machine.DISK)} >/sys/bus/pci/drivers_probe")
    disk = guest_io.nvme_disk(run.guest, run.at(machine.DISK))
    guest_io.write_and_read(run.guest, disk, 2)


def _two_functions(kind):
    """A machine with a device of two functions that are not isolated from each other. The second one is a disk."""
    found = machine.Machine(kind)
    found.root_port(machine.TEST).disk("second").device(
        "iommu-testdev", bus=f"port{machine.TEST:x}", addr="0.0", multifunction="on"
    ).device(
        "nvme", serial="second", drive="second", bus=f"port{machine.TEST:x}", addr="0.1", multifunction="on"
    )  # fmt: skip
    return found


def a_driver_that_comes_while_the_unit_is_taken_keeps_the_group_of_its_neighbour(run):
    """Binds the second function's driver before the unit is taken, at moments within, and after it (law 5)."""
    run.load()
    guest_pci.load_vfio(run.guest)
    run.load_drivers("nvme")
    name, first, second = units.names(run.guest)[0], run.at(machine.TEST), run.at(machine.TEST, 1)
    run.guest.run(f"echo vfio-pci >/sys/bus/pci/devices/{first}/driver_override")
    take = f"echo {name} >/sys/bus/platform/drivers/{run.kind.platform_driver}/bind"
    bind = f"echo {second} >/sys/bus/pci/drivers/nvme/bind"
    domains, duration = [], 0
    for turn in range(_TURNS + 1):
        for address in (first, second):
            guest_pci.unbind(run.guest, address)
        units.release(run.guest, name)
        if turn == 0:
            # The time in microseconds.
            read = "read -r now _ </proc/uptime"
            said = run.guest.run(f"{bind}; {read}; begin=$now; {take}; {read}; echo $begin $now").split()
            duration = int(1e6 * (float(said[1]) - float(said[0])))
        elif turn == _TURNS:
            run.guest.run(f"{take}; {bind}")
        else:
            # To start a program takes part of the time.
            early, late = (take, bind) if turn % 2 else (bind, take)
            run.guest.run(f"{early} & busybox usleep {duration * turn**2 // _TURNS**2}; {late}; wait")
        # The kernel puts a driver off that comes while a group is made, and may try again itself.
        run.check(run.guest.wait_for(f"[ -e /sys/bus/pci/devices/{second}/driver ] || {bind}"), "the driver comes")
        seen = [core_view.group_of(run.guest, address) for address in (first, second)]
        run.check(all(seen) and seen[0].name == seen[1].name, f"both are in one group in turn {turn}", seen)
        domains.append(seen[0].domain)
        guest_pci.bind(run.guest, first, "vfio-pci")
        status, _ = run.guest.status(
            f"echo 'container c\ngroup g {run.group(first)}\nset-container g c' | vfio-user | grep -q error"
        )
        run.check(status == 0, f"nobody can own the first one while the second has a driver, in turn {turn}")
    run.check(domains[0].startswith("identity"), "a driver that comes first keeps both on identity", domains)
    run.check(domains[-1].startswith("paging"), "one that comes last finds both translated", domains)
    guest_io.write_and_read(run.guest, guest_io.nvme_disk(run.guest, second), 2)


def scenarios(kind):
    """Guests where device drivers come first, where the module is loaded and unloaded often, and where a driver comes
    while the unit is taken."""
    found = [
        Scenario("late", machine.bench, [
            a_device_with_a_driver_stays_on_identity_and_works,
            a_device_without_a_driver_is_translated_at_once,
            a_driver_that_is_unbound_and_bound_again_still_works,
            a_device_leaves_identity_when_the_unit_is_taken_again,
        ], parameters=kind.late),
        Scenario("reload", machine.bench, [
            the_module_loads_and_unloads_many_times,
            a_unit_can_be_released_and_taken_again,
            the_module_cannot_be_unloaded_while_a_device_uses_it,
            a_release_under_load_waits_for_the_owners_of_devices,
        ]),
    ]  # fmt: skip
    # Elsewhere the kernel lets no driver come before the unit's.
    if not kind.late:
        found.append(Scenario("beside", _two_functions, [
            a_driver_that_comes_while_the_unit_is_taken_keeps_the_group_of_its_neighbour,
        ]))  # fmt: skip
    return found
