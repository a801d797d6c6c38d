# SPDX-License-Identifier: GPL-2.0
"""Measures whole paths, from the API of the kernel down to the unit: the kernel's own C driver, and ours.

Both run on the stock kernel, in a guest of their own each, on the same emulated machine and by the same calls of
tools/path-bench. The guest counts instructions instead of time (QEMU's -icount), so the figures do not depend on
the machine or its load. They say nothing about caches and branches, nor how long a unit takes.

tools/path-bench/bars says how many instructions ours may take for each that C takes.
"""

import dataclasses
import json
import re
import shutil

from . import cache, guest_images, guest_pci, kernel, machine, module, root, viommu
from .errors import ToolError
from .paths import CHECKOUT, jobs
from .progress import PROGRESS

_FOLDER = CHECKOUT / "tools/path-bench"
_MODULE = "path_bench"
_BARS = _FOLDER / "bars"
_LINE = re.compile(rf"{_MODULE}: ([^|\n]+)\|([^|\n]+)\|(\d+)$", re.M)
_TIMEOUT = 900
# A guest that counts instructions is slow, most of all on a busy machine.
_BOOT_TIMEOUT = 600.0
# A ratio has two digits.
_HALF_DIGIT = 0.005


@dataclasses.dataclass(frozen=True)
class Unit:
    """An emulated unit, and the kind that it is of."""

    name: str
    kind: viommu.Viommu
    properties: dict


@dataclasses.dataclass(frozen=True)
class Figure:
    """Instructions for one call, by the kernel's own driver and by ours."""

    unit: str
    operation: str
    call: str
    c: int
    ours: int
    bar: float | None

    @property
    def ratio(self):
        """How many instructions ours takes for each that C takes."""
        return self.ours / self.c

    @property
    def passes(self):
        """Whether ours takes no more than the bar allows."""
        return self.bar is None or self.ratio < self.bar + _HALF_DIGIT


def units():
    """All units that are measured."""
    vtd, amdvi, smmuv3 = (viommu.get(name) for name in ("vtd", "amdvi", "smmuv3"))
    return (
        Unit("vtd", vtd, {"caching-mode": "off"}),
        Unit("vtd-caching", vtd, {"caching-mode": "on"}),
        Unit("amdvi", amdvi, {}),
        Unit("smmuv3", smmuv3, {"stage": 1}),
    )


class Bars:
    """The bars, from a file with lines `operation | call | bar [| unit=bar]...`."""

    def __init__(self, text):
        self._bars = {}
        for number, line in enumerate(text.splitlines(), 1):
            line = line.split("#")[0].strip()
            if not line:
                continue
            words = [word.strip() for word in line.split("|")]
            try:
                operation, call, bar, *others = words
                of_unit = {unit: float(own) for unit, own in (other.split("=") for other in others)}
                self._bars[operation, call] = (float(bar), of_unit)
            except ValueError:
                raise ToolError(f"bars: line {number} has no bar: {line}") from None

    def of(self, unit, operation, call):
        """The bar of a unit's figure; None if there is none."""
        bar, of_unit = self._bars.get((operation, call), (None, {}))
        return of_unit.get(unit, bar)


def run(names=None, target=None):
    """Measures, prints a table, writes the figures to `target`. Fails if a figure is above its bar."""
    known = {unit.name: unit for unit in units()}
    if unknown := [name for name in names or () if name not in known]:
        raise ToolError(f"no such unit: {' '.join(unknown)}", hint=f"one of {' '.join(known)}")
    bars = Bars(_BARS.read_text(encoding="utf-8"))
    figures = []
    for unit in [known[name] for name in names or known]:
        c, ours = (_with_invalidation(figures) for figures in (_of_c(unit), _measure(unit, ours=True)))
        if c.keys() != ours.keys():
            raise ToolError(f"{unit.name}: the two drivers have different figures")
        of_unit = [
            Figure(unit.name, operation, call, c[operation, call], ours[operation, call],
                   bars.of(unit.name, operation, call))
            for operation, call in c
        ]  # fmt: skip
        _show(unit, of_unit)
        figures += of_unit
    if target:
        lines = [{**dataclasses.asdict(figure), "ratio": round(figure.ratio, 3)} for figure in figures]
        target.write_text(json.dumps(lines, indent=1) + "\n", encoding="utf-8")
    above = [figure for figure in figures if not figure.passes]
    PROGRESS.plain(f"\n{len(figures)} figures, in instructions for one call; {len(above)} above their bar")
    return 1 if above else 0


def _show(unit, figures):
    PROGRESS.plain(f"\n{unit.name:28}  {'call':12}  {'C':>10}  {'ours':>10}  ours / C   bar")
    for figure in figures:
        bar = "" if figure.bar is None else f"{figure.bar:.2f}"
        PROGRESS.plain(
            f"{figure.operation:28}  {figure.call:12}  {figure.c:10}  {figure.ours:10}  {figure.ratio:8.2f}  {bar:>4}"
            f"{'' if figure.passes else '  above'}"
        )


def _build(arch):
    """Returns the path of the module that measures."""
    stock = kernel.stock(arch)
    key = cache.key_of(checkout=str(CHECKOUT), build=str(stock.build))
    with cache.workspace(_MODULE.replace("_", "-"), key) as folder:
        for source in _FOLDER.iterdir():
            shutil.copy(source, folder)
        with PROGRESS.step(f"bench: build for {stock.release}") as step:
            argv = ["make", "-C", stock.build, f"M={folder}", f"-j{jobs()}"]
            result = root.get().run([*argv, *kernel.make_arguments(stock.release), "modules"], log=step.log)
            if not result:
                module.show_compiler_output(result.output, folder)
                raise step.fail("the benchmark does not build", shown=True)
        return folder / f"{_MODULE}.ko"


def _with_invalidation(figures):
    """The figures, and what an unmap costs because a unit has to be told of it."""
    attached, unattached = (figures[f"4K, {where}", "unmap"] for where in ("attached", "unattached"))
    return {**figures, ("4K, attached - unattached", "unmap"): attached - unattached}


def _of_c(unit):
    """The figures of the kernel's own driver, from the cache if it has them."""
    key = cache.key_of(
        unit=unit.name,
        properties=unit.properties,
        kernel=kernel.stock(unit.kind.arch).release,
        bench={path.name: cache.file_hash(path) for path in sorted(_FOLDER.iterdir()) if path != _BARS},
        recipe=1,
    )

    def make(folder):
        figures = [[*names, count] for names, count in _measure(unit, ours=False).items()]
        (folder / "figures.json").write_text(json.dumps(figures), encoding="utf-8")

    found = cache.entry("path-bench-c", key, make) / "figures.json"
    cache.prune("path-bench-c", 3 * len(units()))
    return {
        (operation, call): count for operation, call, count in json.loads(found.read_text(encoding="utf-8"))
    }


def _measure(unit, *, ours):
    """`{(operation, call): instructions}`."""
    kind = unit.kind
    modules = [_build(kind.arch)] + ([module.path(kind.arch)] if ours else [])
    bench = machine.Machine(kind, cpus=1, unit=unit.properties)
    bench.root_port(machine.A).device("edu", bus=f"port{machine.A:x}", dma_mask="0xffffffffffffffff")
    bench.arguments += ["-icount", "shift=0,sleep=off"]
    bench.parameters += ["iommu.strict=1", *(kind.free if ours else kind.stock)]
    name = f"paths-{unit.name}-{'ours' if ours else 'c'}"
    with PROGRESS.step(f"bench: measure {unit.name}, {'ours' if ours else 'C'}") as step:
        image = dataclasses.replace(guest_images.stock(kind.arch, *modules), boot_timeout=_BOOT_TIMEOUT)
        with image.start(bench, name) as guest:
            if ours:
                guest.run("modprobe iommu_core", timeout=_TIMEOUT)
            # The messages of an attach are counted, but not how long the console takes.
            guest.run("dmesg -n 1")
            device = guest_pci.behind(guest, machine.A)
            group = guest_pci.group(guest, device)
            if group is None:
                raise ToolError(f"{unit.name}: the device is behind no unit", log=guest.log)

            def part(**parameters):
                words = " ".join(f"{key}={value}" for key, value in parameters.items())
                guest.run(f"modprobe {_MODULE} device={device} {words}", timeout=_TIMEOUT)
                guest.run(f"rmmod {_MODULE}")

            part(what="domain")
            part(what="dma", label="strict:")
            guest.run(f"echo DMA-FQ >/sys/kernel/iommu_groups/{group}/type")
            part(what="dma", label="lazy:")
            log = guest.kernel_log()
        figures = {(operation, call): int(count) for operation, call, count in _LINE.findall(log)}
        if not figures:
            raise ToolError("the benchmark says nothing", log=guest.log)
        step.done(f"{len(figures)} figures")
    return figures
