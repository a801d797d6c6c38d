# SPDX-License-Identifier: GPL-2.0
"""Tests that run in guests, some guests at a time."""

import concurrent.futures

from .. import cache, custom_kernel, guest_images, viommu
from ..paths import jobs
from . import (
    custom, dma, firmware, harness, hotplug, isolation, lifecycle, named, power, refusals, scenario,
    topology, variants, vfio,
)  # fmt: skip

_MODULES = (
    variants, vfio, isolation, dma, lifecycle, power, hotplug, topology, named, refusals, firmware,
    harness,
)  # fmt: skip


def scenarios(kind):
    """All scenarios for a kind of IOMMU."""
    return [found for module in _MODULES for found in module.scenarios(kind)]


def run(report, only=None, *, kinds, driver=guest_images.OURS, build_module=None):
    """Runs the tests on the stock kernel whose name contains `only` (default: all).

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
            plays += [(found, image, kind) for found in scenarios(kind)]
    # Guests wait now and then: one more than there are processors keeps these busy.
    with cache.scratch("tests") as folder:
        with concurrent.futures.ThreadPoolExecutor(jobs() + 1) as pool:
            waiting = [
                pool.submit(scenario.play, *play, driver, report, only, folder) for play in plays
            ]
            try:
                for future in waiting:
                    future.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def run_custom(report, only=None, *, kinds):
    """Runs the KUnit suites and some tests in guests with the custom kernel."""
    with report.suite("custom kernel"), cache.scratch("tests") as folder:
        image = guest_images.custom(custom_kernel.build())
        with concurrent.futures.ThreadPoolExecutor(jobs()) as pool:
            waiting = [
                pool.submit(custom.run, report, image, viommu.get(kind), only, folder)
                for kind in kinds
            ]
            for future in waiting:
                future.result()
