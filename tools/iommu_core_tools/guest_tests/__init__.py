# SPDX-License-Identifier: GPL-2.0
"""Tests that run in guests, two guests at a time."""

import concurrent.futures

from .. import cache, guest_images, viommu
from ..paths import jobs
from . import (
    custom, dma, firmware, harness, hotplug, isolation, lifecycle, power, refusals, scenario, topology,
    vfio,
)  # fmt: skip

_MODULES = (vfio, isolation, dma, lifecycle, power, hotplug, topology, refusals, firmware, harness)


def scenarios(kind):
    """All scenarios for a kind of IOMMU."""
    return [found for module in _MODULES for found in module.scenarios(kind)]


def run(report, only=None, *, kind="vtd", driver=guest_images.OURS, module=None):
    """Runs the tests on the stock kernel whose name contains `only` (default: all).

    `module`: the path of iommu_core.ko. With `driver` "stock" the kernel's own driver is tested
    instead, as far as the tests are not about iommu_core alone: that checks the tests.
    """
    kind = viommu.get(kind)
    image = guest_images.stock(module if driver == guest_images.OURS else None)
    harness.run_plain(report, image, kind, only)
    with cache.scratch("tests") as folder:
        with concurrent.futures.ThreadPoolExecutor(min(2, jobs())) as pool:
            waiting = [
                pool.submit(scenario.play, found, image, kind, driver, report, only,
                            folder)
                for found in scenarios(kind)
            ]  # fmt: skip
            try:
                for future in waiting:
                    future.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def run_custom(report, only=None, *, kind="vtd"):
    """Runs the KUnit suites and some tests in a guest with the custom kernel."""
    with cache.scratch("tests") as folder:
        custom.run(report, viommu.get(kind), only, folder)
