# SPDX-License-Identifier: GPL-2.0
"""Tests that run in guests, some guests at a time."""

import concurrent.futures
import functools

from .. import cache, custom_kernel, guest_images, run, viommu
from ..paths import jobs
from . import (
    custom, dma, firmware, harness, hotplug, isolation, lifecycle, named, power, refusals, scenario,
    topology, variants, vfio,
)  # fmt: skip

# The ones that take longest come first, so that none is left to run alone.
_MODULES = (
    hotplug, variants, vfio, lifecycle, power, dma, harness, isolation, topology, named, refusals,
    firmware,
)  # fmt: skip


def scenarios(kind):
    """All scenarios for a kind of IOMMU."""
    return [found for module in _MODULES for found in module.scenarios(kind)]


def on_stock_kernel(report, only=None, *, kinds, driver=guest_images.OURS, build_module=None):
    """What `play()` takes: the tests on the stock kernel whose name contains `only` (default: all).

    `kinds` are the names of the kinds of IOMMU. `build_module(arch)` makes iommu_core.ko. With
    `driver` "stock" the kernel's own driver is tested instead, as far as the tests are not about
    iommu_core alone: that checks the tests.
    """
    plays = []
    for kind in map(viommu.get, kinds):
        with report.case(scenario.SUITE, f"{kind.name}: there is a kernel with the module"):
            module = build_module(kind.arch) if driver == guest_images.OURS else None
            image = guest_images.stock(kind.arch, module)
            if kind.is_first:
                harness.run_plain(report, image, kind, only)
            plays += [
                functools.partial(scenario.play, found, image, kind, driver, report, only)
                for found in scenarios(kind)
            ]
    return plays


def on_custom_kernel(report, only=None, *, kinds):
    """What `play()` takes: the KUnit suites and some tests in guests with the custom kernel.

    One play, as long as many others together: it builds the kernel and boots it with each kind of
    IOMMU.
    """

    def build_and_boot(folder):
        with report.suite("custom kernel"):
            image = guest_images.custom(custom_kernel.HOSTED)
            for name in kinds:
                custom.run(report, image, viommu.get(name), only, folder)

    return [build_and_boot]


def play(report, plays):
    """Runs plays, some at a time."""
    # Guests wait now and then: one more than there are processors keeps these busy.
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
