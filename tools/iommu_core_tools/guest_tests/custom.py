# SPDX-License-Identifier: GPL-2.0
"""The custom kernel, with every checker on: the KUnit suites, then real DMA, then leaks."""

from .. import core_view, custom_kernel, guest_images, machine, uml
from ..report import PASSED
from . import dma, injection, vfio
from .scenario import Scenario, play

SUITE = "custom kernel"
# KASAN and lockdep under emulation take their time.
_BOOT_TIMEOUT = 600.0


def _kunit(report):
    def every_KUnit_suite_ends(run):
        uml.add_results(report, SUITE, run.guest.said(), run.guest.log)
        run.check(report.count(PASSED, SUITE), "there are suites that pass")

    return every_KUnit_suite_ends


def the_unit_is_taken_during_boot(run):
    run.check(core_view.groups(run.guest), "groups are there")
    address = run.at(machine.DISK)
    run.check(run.type_of(address).startswith("DMA"), "the disk is translated", run.type_of(address))


def nothing_leaks(run):
    leaks = "/sys/kernel/debug/kmemleak"
    # An object has to be five seconds old to count, and gone from two scans to be believed.
    run.guest.run(f"echo scan >{leaks}; sleep 6; echo scan >{leaks}", timeout=240)
    found = run.guest.run(f"cat {leaks}")
    run.check(not found.strip(), "kmemleak finds nothing", found[:2000])


def lockdep_is_still_on(run):
    run.check(run.guest.run("grep debug_locks /proc/lockdep_stats").split()[-1] == "1",
              "lockdep did not turn itself off")  # fmt: skip


def run(report, kind, only, folder):
    """Builds and boots the kernel; every KUnit case is a case of the report."""
    scenario = Scenario(
        "custom-kernel",
        lambda kind: machine.bench(kind, memory=2048, unit=kind.plain),
        [
            _kunit(report), the_unit_is_taken_during_boot,
            dma.an_nvme_disk_keeps_what_is_written, dma.an_ahci_disk_is_read,
            dma.a_network_card_passes_traffic, *vfio.TESTS, *injection.TESTS,
            nothing_leaks, lockdep_is_still_on,
        ],
        # With five-level tables KASAN asks the CPU's capability bits where memory begins, and
        # identify_cpu() clears these for a moment: an interrupt just then is reported as an access
        # to nowhere.
        parameters=("kunit.filter_glob=iommu_core*", "no5lvl"),
        instead_of_free=(),
        boot_timeout=_BOOT_TIMEOUT,
    )  # fmt: skip
    play(scenario, guest_images.custom(custom_kernel.build()), kind, guest_images.OURS, report, only,
         folder, SUITE)  # fmt: skip
