# SPDX-License-Identifier: GPL-2.0
"""Guests with the custom kernels, which have all checks on: the KUnit suites, then real DMA, then leaks."""

import dataclasses
import re

from .. import core_view, guest_images, guest_log, machine, uml
from ..report import PASSED
from ..story import NATIVE_STEPS
from . import dma, failures, hotplug, injection, topology, variants, vfio
from .scenario import Scenario, play

# kmemleak prints this line also for memory that is not leaked. `nothing_leaks` finds out.
ALLOWED = (r"kmemleak: \d+ new suspected",)

_LEAKS = "/sys/kernel/debug/kmemleak"
# `make test` makes one allocation of this many fail. Neighbours are often of the same sort.
_STEP = 39
# How many times a suspected leak is looked for again.
_LEAK_ROUNDS = 3


def _kunit(report, suite):
    def every_KUnit_suite_ends(run):
        # The serial console loses lines that a busy host does not read in time. The kernel's log
        # has all lines.
        output = run.guest.run("dmesg", timeout=180)
        uml.add_results(report, suite, output, run.guest.log)
        run.check(report.count(PASSED, suite), "some case passes")

    return every_KUnit_suite_ends


def the_unit_is_taken_during_boot(run):
    run.check(core_view.groups(run.guest), "there are groups")
    address = run.at(machine.DISK)
    run.check(run.type_of(address).startswith("DMA"), "the disk is translated", run.type_of(address))


def nothing_leaks(run):
    # kmemleak also suspects memory that the kernel references only from places that kmemleak does
    # not scan, such as packets that wait for a processor to free them. Further traffic frees such
    # memory. It frees no leak.
    found = _unreferenced(run)
    for _ in range(_LEAK_ROUNDS):
        if not found:
            return
        dma.a_network_card_passes_traffic(run)
        dma.an_nvme_disk_keeps_what_is_written(run)
        again = _unreferenced(run)
        found = {name: text for name, text in again.items() if name in found}
    run.check(not found, "kmemleak finds nothing", "".join(found.values())[:2000])


def nothing_of_ours_leaks(run):
    # Other code need not survive what the tests before did.
    found = [text for text in _unreferenced(run).values() if "iommu" in text]
    run.check(not found, "kmemleak finds nothing", "".join(found)[:2000])


def _unreferenced(run):
    """kmemleak's reports of unreferenced objects: `{the two lines that identify an object: report}`."""
    # kmemleak reports an object that is at least five seconds old, and that two scans have found
    # unreferenced.
    run.guest.run(f"echo scan >{_LEAKS}; sleep 6; echo scan >{_LEAKS}", timeout=240)
    reports = re.split(r"(?m)^(?=unreferenced object)", run.guest.run(f"cat {_LEAKS}"))
    # The first two lines have the object's address and size, the task that allocated it, and the
    # time.
    return {tuple(report.splitlines()[:2]): report for report in reports if report.strip()}


def lockdep_is_still_on(run):
    if guest_log.has_cycle_of_c_groups(run.guest.said()):
        run.skip("lockdep has turned itself off because of the C layer's groups, see guest_log")
    run.check(run.guest.run("grep debug_locks /proc/lockdep_stats").split()[-1] == "1",
              "lockdep did not turn itself off")  # fmt: skip


def run(report, image, kind, only, folder):
    """Boots the kernel and runs the tests. Every KUnit case is a case of the report.

    Suites that need no hardware run with the first kind of unit only.
    """
    suite = f"custom kernel, {kind.name}"
    scenario = _scenario(
        "custom-kernel", kind.plain, "iommu_core*" if kind.is_first else f"iommu_core_{kind.driver}*",
        [
            _kunit(report, suite), the_unit_is_taken_during_boot, *_TRAFFIC, *vfio.TESTS,
            *injection.TESTS, nothing_leaks, lockdep_is_still_on,
        ],
        instead_of_free=(),
    )  # fmt: skip
    # To make every allocation fail takes long, so `make failure-test` does that.
    name, step = ("failures", 1) if only else ("some-failures", _STEP)
    failing = failures.scenario(name, kind, [nothing_of_ours_leaks], step, instead_of_free=())
    with report.suite(suite):
        play(scenario, image, kind, guest_images.OURS, report, only, folder, suite)
        if only or kind.is_first:
            play(failing, image, kind, guest_images.OURS, report, only, folder, suite)


def run_native(report, image, folder, *, suite, kind, options, driver=guest_images.STOCK):
    """Boots a native kernel with the kernel's own driver for the unit, or with ours, and runs the tests.

    `options` are those of the machine.
    """
    scenario = _scenario(
        re.sub(r"\W+", "-", suite), options, None,
        [
            dma.every_device_is_in_a_group, *_TRAFFIC, *_MORE, *vfio.TESTS, *vfio.IOMMUFD_TESTS,
            # Before devices are unplugged, because pciehp may then make lockdep turn itself off:
            # see guest_log.
            lockdep_is_still_on, *_HOTPLUG, nothing_leaks,
        ],
        ours_only=False,
        machine=lambda kind: _native_machine(kind, options),
    )  # fmt: skip
    with report.suite(suite):
        play(scenario, image, kind, driver, report, None, folder, suite)


def run_native_topology(report, image, folder, *, suite, kind, driver=guest_images.STOCK):
    """Boots a native kernel in the machine of `topology`, and runs its tests."""
    [scenario] = topology.scenarios(kind)
    scenario = dataclasses.replace(
        scenario,
        name=re.sub(r"\W+", "-", suite),
        machine=lambda kind: topology.machine(kind, memory=2048),
        tests=[*scenario.tests, lockdep_is_still_on],
        parameters=("kunit.enable=0",),
        allowed=ALLOWED,
    )
    with report.suite(suite):
        play(scenario, image, kind, driver, report, None, folder, suite)


def run_native_story(report, image, folder, *, suite, kind):
    """Runs the story on a native kernel, with our driver. Each step is a case of `suite`."""
    scenario = _scenario(f"native-story-{kind.name}", kind.plain, None, variants.tests_of(NATIVE_STEPS))
    with report.suite(suite):
        play(scenario, image, kind, guest_images.OURS, report, None, folder, suite)


def run_native_tests(report, image, folder, *, suite, kind, options, tests):
    """Boots a native kernel, with our driver, for a few tests. `options` are those of the machine."""
    scenario = _scenario(re.sub(r"\W+", "-", suite), options, None, tests)
    with report.suite(suite):
        play(scenario, image, kind, guest_images.OURS, report, None, folder, suite)


def run_native_kunit(report, image, folder, *, suite, kind, pattern, driver=guest_images.STOCK):
    """Boots a native kernel only for KUnit suites. Every case is a case of `suite`."""
    name = re.sub(r"\W+", "-", f"{suite}-{pattern}")
    scenario = _scenario(name, kind.plain, pattern, [_kunit(report, suite)], ours_only=False)
    with report.suite(suite):
        play(scenario, image, kind, driver, report, None, folder, suite)


def run_native_parameters(report, image, folder, *, suite, kind, options):
    """Boots a native kernel with each parameter that chooses the default domains. Each boot is a case."""
    for given, wanted in _DEFAULTS.items():
        scenario = _scenario(
            re.sub(r"\W+", "-", given), options, None, [_groups_are(given, wanted)], ours_only=False,
            parameters=("kunit.enable=0", given),
        )  # fmt: skip
        with report.suite(suite):
            play(scenario, image, kind, guest_images.STOCK, report, None, folder, suite)


# Parameter: type of groups (the kernel's Documentation/admin-guide/kernel-parameters.txt).
_DEFAULTS = {
    "iommu.passthrough=1": "identity",
    "iommu.passthrough=0": "DMA-FQ",
    "iommu=pt": "identity",
    "iommu=nopt": "DMA-FQ",
    "iommu.strict=1": "DMA",
    "iommu.strict=0": "DMA-FQ",
}


def _groups_are(given, wanted):
    def the_disk_has_the_type(run):
        found = run.type_of(run.at(machine.DISK))
        run.check(found == wanted, f"the group's type is {wanted}", found)
        dma.an_nvme_disk_keeps_what_is_written(run)

    the_disk_has_the_type.__name__ = f"with {given} groups are {wanted}"
    return the_disk_has_the_type


_TRAFFIC = (
    dma.an_nvme_disk_keeps_what_is_written, dma.an_ahci_disk_is_read, dma.a_network_card_passes_traffic,
)  # fmt: skip

# Further tests for guests of every native kernel.
_MORE = (
    dma.a_virtio_network_card_passes_traffic,
    dma.the_type_of_a_group_can_be_changed, dma.the_type_of_a_group_in_use_cannot_be_changed,
    dma.a_disk_works_with_each_type, dma.lazy_flushing_can_be_turned_on_while_in_use,
)  # fmt: skip
_HOTPLUG = (
    hotplug.a_new_device_gets_a_group_and_works, hotplug.a_group_ends_with_its_last_device,
)  # fmt: skip


def _native_machine(kind, options):
    return machine.bench(kind, memory=2048, **options).disk("spare").virtio_card()


def _scenario(name, options, kunit, tests, **more):
    made = {
        "machine": lambda kind: machine.bench(kind, memory=2048, **options),
        "parameters": (f"kunit.filter_glob={kunit}" if kunit else "kunit.enable=0",),
        **more,
    }
    return Scenario(
        name,
        tests=tests,
        allowed=ALLOWED,
        **made,
    )
