# SPDX-License-Identifier: GPL-2.0
"""Each allocation, or each n-th one, fails once while a unit is taken, a device is plugged or reset, or a driver
gets interrupts.

Needs a kernel with fault injection that the call stack restricts: only allocations that functions of the core
make, or cause, are counted and fail. What is written to a file in sysfs happens in the writer's task, so a shell
makes its own allocations fail: first the first one, then the second, until there are no more. After each failure
all is as it was, and the next try, without one, works.
"""

import functools

from .. import core_view, guest_pci, machine, units
from ..machine import Machine
from .scenario import Scenario

_CACHING, _PLUGGED, _DRIVEN = machine.A, machine.B, machine.NET
_MOST = 4000
# How far a call stack is searched for a function of the core: as far as the kernel can.
_DEPTH = 32
# Functions that are further apart than this are in different sections.
_GAP = 1 << 20
# A function is shorter than this.
_LONGEST = 1 << 14

# each STEP DO CLEAN-UP CHECK: makes each STEP-th allocation fail. Prints how many allocations there
# are at least, and how often DO failed, or what is wrong.
_EACH = r"""
each() {
    step=$1
    shift
    exec 8>/dev/null
    n=$((1 - step)) failed=0
    while n=$((n + step)); [ $n -lt MOST ]; do
        exec 9<>/proc/self/fail-nth
        echo $n >&9
        eval "$1" 2>&8
        status=$?
        read -r left <&9
        echo 0 >&9
        exec 9>&-
        if [ "$left" != 0 ]; then
            [ $status = 0 ] || { echo "without a failure it ends with $status"; return 1; }
            echo "$((n > step ? n - step : 0)) $failed"
            return 0
        fi
        [ $status = 0 ] || failed=$((failed + 1))
        eval "$2"
        eval "$3" || { echo "after allocation $n has failed (status $status) $3"; return 1; }
    done
    echo "it goes on after MOST allocations"
    return 1
}
""".replace("MOST", str(_MOST))


def bench(kind, **options):
    """A machine with a device that has a TLB of its own, two that share an id, one to be plugged, and one that has
    interrupts."""
    found = Machine(kind, **kind.device_tlb, **options)
    for slot in (machine.DISK, _CACHING, _PLUGGED, _DRIVEN):
        found.root_port(slot)
    found.device("pcie-pci-bridge", id="bridge", bus=f"port{machine.DISK:x}")
    found.device("edu", bus="bridge", addr="0x1").device("iommu-testdev", bus="bridge", addr="0x2")
    found.disk("caching").device(
        "virtio-blk-pci", drive="caching", bus=f"port{_CACHING:x}", ats="on", iommu_platform="on",
        **{"disable-legacy": "on"},
    )  # fmt: skip
    found.device("edu", bus=f"port{_PLUGGED:x}")
    found.disk("driven").device("nvme", serial="driven", drive="driven", bus=f"port{_DRIVEN:x}")
    return found


def _each(run, step, do, clean_up, check):
    """Runs the shell's `do` with each `step`-th of its allocations failing."""
    quoted = " ".join("'" + text + "'" for text in (str(step), do, clean_up, check))
    status, output = run.guest.status(f"{_EACH}each {quoted}", timeout=1500)
    run.check(status == 0, f"every failed allocation of {do!r} leaves all as it was", output)
    return map(int, output.split())


def _text(guest):
    """Where the code of the core is, without what its compiler takes for unlikely."""
    lines = guest.run("grep -i ' t .*iommu_core' /proc/kallsyms | cut -d' ' -f1").split()
    addresses = sorted(int(line, 16) for line in lines)
    sections = [[addresses[0]]]
    for address in addresses[1:]:
        if address - sections[-1][-1] > _GAP:
            sections.append([])
        sections[-1].append(address)
    largest = max(sections, key=len)
    return largest[0], largest[-1] + _LONGEST


def allocations_of_the_core_can_be_made_to_fail(run):
    run.load()
    debug = "/sys/kernel/debug"
    start, end = _text(run.guest)
    for name in ("failslab", "fail_page_alloc"):
        settings = {"ignore-gfp-wait": "N", "verbose": 0, "stacktrace-depth": _DEPTH,
                    "require-start": hex(start), "require-end": hex(end)}  # fmt: skip
        for setting, value in settings.items():
            run.guest.run(f"echo {value} >{debug}/{name}/{setting}")
    run.guest.run(f"echo 0 >{debug}/fail_page_alloc/min-order")
    for slot in (_CACHING, _DRIVEN):
        guest_pci.unbind(run.guest, run.at(slot))


def a_unit_is_taken(run, step):
    [name] = units.names(run.guest)
    # The unit is taken once for each allocation. More devices of one sort make no other ones.
    members = [address for _type, found in guest_pci.groups(run.guest).values() for address in found]
    chipset = [address for address in members if address.split(":")[1] == "00"]
    for address in [*chipset, run.at(_PLUGGED), run.at(_DRIVEN)]:
        run.guest.run(f"echo 1 >/sys/bus/pci/devices/{address}/remove")
    before = guest_pci.groups(run.guest)
    units.release(run.guest, name)
    folder = f"/sys/bus/platform/drivers/{run.kind.platform_driver}"
    count, failed = _each(
        run, step, f"echo {name} >{folder}/bind",
        f"[ ! -e {folder}/{name} ] || echo {name} >{folder}/unbind",
        f'[ -z "$(ls /sys/kernel/iommu_groups)" ] && [ ! -e {folder}/{name} ]',
    )  # fmt: skip
    run.check(count > failed > 0, f"some allocations are needed, {count} in all", failed)
    after = guest_pci.groups(run.guest)
    run.check(sorted(after.values()) == sorted(before.values()), "in the end all groups are there", after)
    run.guest.run("echo 1 >/sys/bus/pci/rescan")


def a_device_is_plugged(run, step):
    address = run.at(_PLUGGED)
    path = f"/sys/bus/pci/devices/{address}"
    domains = core_view.domains(run.guest)
    run.guest.run(f"echo 1 >{path}/remove")
    count = len(guest_pci.groups(run.guest))
    # C does not say in the end of a scan that a device has no group.
    count, failed = _each(
        run, step, f"echo 1 >/sys/bus/pci/rescan; [ -e {path}/iommu_group ]",
        f"[ ! -e {path} ] || echo 1 >{path}/remove",
        f'[ ! -e {path} ] && [ "$(ls /sys/kernel/iommu_groups | wc -l)" = {count} ]',
    )  # fmt: skip
    run.check(count > failed > 0, f"some allocations are needed, {count} in all", failed)
    run.check(run.type_of(address).startswith("DMA"), "in the end it is translated", run.type_of(address))
    now = core_view.domains(run.guest)
    run.check(len(now) == len(domains), "no domain is left", now)


def a_device_is_reset(run, step):
    """The core blocks the device before and attaches it after, for which it has all that it needs."""
    address = run.at(_CACHING)
    before = core_view.group_of(run.guest, address)
    group = f'"$(grep -A3 "^{before.name}$" {core_view.FOLDER}/groups)"'
    path = f"/sys/bus/pci/devices/{address}"
    run.guest.run(f"echo {group} >/run/before")
    count, _failed = _each(
        run, step, f"echo 1 >{path}/reset", "true",
        f'[ {group} = "$(cat /run/before)" ]',
    )  # fmt: skip
    run.check(count == 0, "nothing is allocated", count)
    run.check(core_view.group_of(run.guest, address) == before, "in the end its group is as it was",
              core_view.group_of(run.guest, address))  # fmt: skip


def a_driver_gets_its_interrupts(run, step):
    """The unit remaps them. A driver that gets none may use another sort of interrupts instead."""
    address = run.at(_DRIVEN)
    driver = "/sys/bus/pci/drivers/nvme"
    guest_pci.unbind(run.guest, address)
    bind, unbind = (f"echo {address} >{driver}/{action}" for action in ("bind", "unbind"))
    has_entries = f'grep -q "^ *[0-9]* {address} vector" {core_view.FOLDER}/interrupts'
    count, _failed = _each(run, step, bind, f"[ ! -e {driver}/{address} ] || {unbind}", f"! {has_entries}")
    run.check(count > 0, "some allocations are needed", count)
    run.check(run.guest.works(has_entries), "in the end it has them")
    run.guest.run(unbind)


def _with(step, test):
    return functools.wraps(test)(lambda run: test(run, step))


# C says so itself if the first attach of a group fails. It does not notice that it could not make
# a file for an interrupt in /proc/irq, and warns when it removes the file.
ALLOWED = (r"WARNING: .*iommu_setup_default_domain", r"WARNING: .*remove_proc_entry", r"Call Trace:")


def scenario(name, kind, more_tests, step=1, **more):
    """The scenario, for a kernel with fault injection. Each `step`-th allocation fails."""
    found = [a_unit_is_taken, a_device_is_plugged, a_device_is_reset]
    if kind.remaps_interrupts:
        found.append(a_driver_gets_its_interrupts)
    sweeps = [_with(step, test) for test in found]
    return Scenario(
        name, lambda kind: bench(kind, memory=2048),
        [allocations_of_the_core_can_be_made_to_fail, *sweeps, *more_tests], allowed=ALLOWED,
        parameters=("kunit.enable=0",), **more,
    )  # fmt: skip
