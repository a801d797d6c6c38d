# SPDX-License-Identifier: GPL-2.0
"""The tests that run in guests. Several guests run at the same time."""

import concurrent.futures
import functools

from .. import cache, custom_kernel, guest_images, kernel, machine, run, series, story, viommu
from ..paths import jobs
from ..report import Skip
from . import (
    custom, dma, external, failure, far_memory, firmware, harness, held, hotplug, interrupts, isolation,
    kexec, lifecycle, named, power, refusals, reset, scenario, seen, topology, variants, vfio,
)  # fmt: skip

# The longest come first, so that at the end no long one runs alone.
_MODULES = (
    hotplug, variants, vfio, lifecycle, kexec, power, dma, harness, isolation, topology, named,
    reset, refusals, seen, held, external, interrupts, firmware, failure, far_memory,
)  # fmt: skip


_MODULE = "iommu_core.ko"


def scenarios(kind):
    """All scenarios for a kind of IOMMU."""
    return [found for module in _MODULES for found in module.scenarios(kind)]


def on_stock_kernel(report, only=None, *, kinds, driver=guest_images.OURS, build_module=None, wanted=""):
    """The plays, for `play()`, of the tests on the stock kernel whose name contains `only` (default: all).

    `kinds` are the names of the kinds of IOMMU. `build_module(arch, wanted)` builds iommu_core.ko for the
    kernel `wanted` (`KERNEL=`). With the
    `driver` "stock" the tests run on the kernel's own driver, to check the tests. Tests of what only
    iommu_core does are skipped then.
    """
    plays = []
    for kind in map(viommu.get, kinds):
        with report.case(scenario.SUITE, f"{kind.name}: there is a kernel with the module"):
            module = build_module(kind.arch, wanted) if driver == guest_images.OURS else None
            image = guest_images.stock(kind.arch, module, wanted=wanted)
            if kind.is_first:
                harness.run_plain(report, image, kind, only)
            plays += [
                functools.partial(scenario.play, found, image, kind, driver, report, only)
                for found in scenarios(kind)
            ]
    return plays


def on_other_series(report, *, kinds, build_module):
    """The plays, for `play()`, of the story on a kernel of each supported series but the one of `on_stock_kernel()`.

    The module of `on_stock_kernel()` is in these guests as well, to be refused.
    """
    plays = []
    for kind in map(viommu.get, kinds):
        for number in series.SERIES:
            if number == kernel.stock(kind.arch).series:
                continue
            with report.case(scenario.SUITE, f"{kind.name}: there is a kernel {number} with the module"):
                try:
                    module = build_module(kind.arch, number)
                except kernel.NotInArchive as error:
                    raise Skip(error.what) from error
                image = guest_images.stock(kind.arch, module, wanted=number)
                plays.append(functools.partial(_other_series, report, kind, number, image, build_module(kind.arch, "")))
    return plays


def _other_series(report, kind, number, image, foreign, folder):
    tests = [a_module_for_another_kernel_is_refused, *variants.tests_of(story.STEPS)]
    found = scenario.Scenario(f"story-{number}", lambda kind: machine.bench(kind, **kind.plain), tests)
    image = image.with_programs([foreign], folder / f"{kind.name}-{number}.initramfs")
    scenario.play(found, image, kind, guest_images.OURS, report, None, folder)


def a_module_for_another_kernel_is_refused(run):
    mark = run.guest.mark()
    status, said = run.guest.status(f"insmod /suites/{_MODULE}")
    run.check(status, "loading it fails", said)
    run.check(not run.guest.works("grep -q ^iommu_core /proc/modules"), "it is not loaded")
    log = run.guest.kernel_log(mark)
    run.check("version magic" in log, "the log says which kernel it is for", log)


def on_custom_kernel(report, only=None, *, kinds):
    """The plays, for `play()`, of the KUnit suites and some tests in guests with the custom kernel.

    It is one play, as long as many others together. It builds the kernel, and boots the kernel with
    each kind of IOMMU.
    """

    def build_and_boot(folder):
        with report.suite("custom kernel"):
            image = guest_images.custom(custom_kernel.HOSTED)
            for name in kinds:
                custom.run(report, image, viommu.get(name), only, folder)

    return [build_and_boot]


def play(report, plays):
    """Runs plays, several at a time."""
    # A guest waits at times. One guest more than there are processors keeps the processors busy.
    pool = concurrent.futures.ThreadPoolExecutor(jobs() + 1)
    with report.suite(scenario.SUITE), cache.scratch("tests") as folder, pool:
        waiting = [pool.submit(one, folder) for one in plays]
        try:
            for future in waiting:
                future.result()
        except BaseException:
            run.stop_all()
            pool.shutdown(cancel_futures=True)
            raise
