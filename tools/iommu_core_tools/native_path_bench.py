# SPDX-License-Identifier: GPL-2.0
"""Measures whole paths natively: the core in place of the kernel's IOMMU layer, under C's drivers and under ours.

The kernels are custom ones, without suites and checks. Each figure is compared with the kernel's own layer and
driver. tools/path-bench/native-bars has the bars.
"""

import dataclasses
import functools
import json
import shutil

from . import cache, custom_kernel, guest_images, intree, path_bench, path_report, viommu
from .progress import PROGRESS

_BARS = path_bench.SOURCES / "native-bars"
_MODULE = "path_bench.ko"


def units():
    """All units that are measured."""
    found = []
    for unit in path_bench.units():
        native = viommu.natively(unit.kind)
        found.append(dataclasses.replace(unit, kind=native))
    return found


def run(names=None, target=None, publish=False):
    """As `path_bench.run()`, natively."""
    bars = path_bench.Bars(_BARS.read_text(encoding="utf-8"))
    figures = []
    for unit in path_bench.chosen(units(), names):
        ours = custom_kernel.MEASURED[unit.kind.arch.name]
        c = ours.with_c_layer()
        base = path_bench.cached(unit, _driver("native-c", c, stock=True), kernel=custom_kernel.key_of(c))
        for name, stock in (("core-c", True), ("core", False)):
            measured = path_bench.measure(unit, _driver(f"native-{name}", ours, stock=stock))
            of_unit = path_bench.compared(unit.name, base, measured, bars, name)
            path_bench.show(of_unit, f"{unit.name}, {_TITLES[name]}")
            figures += [dataclasses.replace(figure, unit=f"{unit.name} {name}") for figure in of_unit]
    if target:
        lines = [dataclasses.asdict(figure) for figure in figures]
        target.write_text(json.dumps(lines, indent=1) + "\n", encoding="utf-8")
    if publish:
        path_report.publish_native(figures)
    return path_bench.verdict(figures)


_TITLES = {"core-c": "the core with C's driver", "core": "the core with ours"}


def _driver(name, kernel, *, stock):
    return path_bench.Driver(
        name,
        image=functools.partial(_image, kernel),
        parameters=lambda kind: kind.stock if stock else kind.free,
        insert=f"insmod /suites/{_MODULE}",
    )


@functools.cache
def _image(kernel, _arch):
    """The image of a kernel, with the module that measures."""
    key = cache.key_of(kernel=custom_kernel.key_of(kernel), bench=path_bench.hashes())
    image = kernel.image.rpartition("/")[2]

    def make(entry):
        with kernel.built() as folder:
            shutil.copy(folder / kernel.image, entry / image)
            with PROGRESS.step(f"bench: build for {kernel.name}") as step:
                shutil.copy(intree.module_for(folder, kernel.arguments, path_bench.SOURCES, step), entry / _MODULE)

    name = f"measured-{kernel.name}"
    entry = cache.entry(name, key, make)
    cache.prune(name, 2)
    made = guest_images.of_kernel(kernel, entry / image)
    return made.with_programs([entry / _MODULE], entry / "initramfs")
