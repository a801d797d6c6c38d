# SPDX-License-Identifier: GPL-2.0
"""Measures the page tables of the kernel's C generic_pt and ours, in one boot of the stock kernel.

The guest counts instructions instead of time (QEMU's -icount), so the figures do not depend on the machine
or its load. They say nothing about caches and branches.
"""

import dataclasses
import re
import shutil

from . import cache, guest_images, kernel, machine, module, root, viommu
from .arch import AMD64
from .errors import ToolError
from .paths import CHECKOUT, jobs
from .progress import PROGRESS
from .sync import sync

_FOLDER = CHECKOUT / "tools/bench"
_MODULE = "pgtable_bench"
_LINE = re.compile(rf"{_MODULE}: ([^|\n]+)\|([^|\n]+)\|([^|\n]+)\|(\d+)\|(\d+)$", re.M)
_TIMEOUT = 600


@dataclasses.dataclass(frozen=True)
class Cell:
    """One figure: ticks of the guest for one call."""

    format: str
    what: str
    call: str
    c: int
    ours: int


def run():
    """Builds, measures, prints a table."""
    ko = _build()
    cells = _measure(ko)
    shown = None
    for cell in cells:
        if cell.format != shown:
            shown = cell.format
            PROGRESS.plain(f"\n{shown:24}  {'call':12}  {'C':>10}  {'ours':>10}  C / ours")
        PROGRESS.plain(f"{cell.what:24}  {cell.call:12}  {cell.c:10}  {cell.ours:10}  {cell.c / cell.ours:8.2f}")
    slower = sum(cell.ours > cell.c for cell in cells)
    PROGRESS.plain(f"\n{len(cells)} figures, in ticks of the guest for one call; ours takes longer in {slower}")


def _build():
    """Returns the path of the module that contains both."""
    stock = kernel.stock(AMD64)
    key = cache.key_of(checkout=str(CHECKOUT), build=str(stock.build))
    with cache.workspace("bench", key) as folder:
        sync(folder)
        sources = folder / "tools/bench"
        sources.mkdir(parents=True, exist_ok=True)
        for source in _FOLDER.iterdir():
            shutil.copy(source, sources)
        with PROGRESS.step(f"bench: build for {stock.release}") as step:
            argv = ["make", "-C", stock.build, f"M={sources}", f"-j{jobs()}"]
            result = root.get().run([*argv, *kernel.make_arguments(stock.release), "modules"], log=step.log)
            if not result:
                module.show_compiler_output(result.output, folder)
                raise step.fail("the benchmark does not build", shown=True)
        return sources / f"{_MODULE}.ko"


def _measure(ko):
    kind = viommu.get("vtd")
    bench = machine.Machine(kind, cpus=1, unit=None)
    bench.arguments += ["-icount", "shift=0,sleep=off"]
    with PROGRESS.step("bench: measure") as step:
        with guest_images.stock(AMD64, ko).start(bench, "bench") as guest:
            guest.run(f"modprobe {_MODULE}", timeout=_TIMEOUT)
            log = guest.kernel_log()
        cells = [Cell(*match[:3], *map(int, match[3:])) for match in _LINE.findall(log)]
        if not cells:
            raise ToolError("the benchmark says nothing", log=guest.log)
        step.done(f"{len(cells)} figures")
    return cells
