# SPDX-License-Identifier: GPL-2.0
"""Measures whole paths, from the API of the kernel down to the unit: the kernel's own C driver, and ours.

Both run on the stock kernel, in a guest of their own each, on the same emulated machine and by the same calls of
tools/path-bench. The guest counts instructions instead of time (QEMU's -icount), so the figures do not depend on
the machine or its load. They say nothing about caches and branches, nor how long a unit takes.

tools/path-bench/bars says how many instructions ours may take for each that C takes.
"""

import dataclasses
import json
import math
import re
import shutil

from . import cache, guest_images, guest_pci, guest_programs, kernel, machine, module, path_report, root, viommu
from .arch import ARM64
from .errors import ToolError
from .paths import CHECKOUT, jobs
from .progress import PROGRESS
from .vfio_user import VfioUser

SOURCES = CHECKOUT / "tools/path-bench"
_MODULE = "path_bench"
_BARS = SOURCES / "bars"
_LINE = re.compile(rf"{_MODULE}: ([^|\n]+)\|([^|\n]+)\|(\d+)$", re.M)
_TIMEOUT = 900
# A guest that counts instructions is slow, most of all on a busy machine.
_BOOT_TIMEOUT = 600.0
# What a user program maps, page by page.
_VFIO_BYTES = 1 << 20
# How many devices like device A the machine has, with it, and the first slot of their root ports.
_ENDPOINTS = 64
_FIRST_SLOT = machine.VIRTIO + 1
# A look-up among a thousand takes a few instructions more than one among ten.
_FLAT = 1.05
# A ratio has two digits.
_HALF_DIGIT = 0.005


@dataclasses.dataclass(frozen=True)
class Unit:
    """An emulated unit, the kind that it is of, and the kind of its queue of commands."""

    name: str
    kind: viommu.Viommu
    properties: dict
    queue: str


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
        """How many instructions (or bytes, or commands) ours takes for each that C takes."""
        if not self.c:
            return math.inf if self.ours else 1.0
        return self.ours / self.c

    @property
    def passes(self):
        """Whether ours takes no more than the bar allows."""
        return self.bar is None or self.ratio < self.bar + _HALF_DIGIT


def units():
    """All units that are measured."""
    vtd, amdvi, smmuv3 = (viommu.get(name) for name in ("vtd", "amdvi", "smmuv3"))
    return (
        Unit("vtd", vtd, {"caching-mode": "off"}, "vtd"),
        Unit("vtd-caching", vtd, {"caching-mode": "on"}, "vtd"),
        Unit("amdvi", amdvi, {}, "amdvi"),
        Unit("smmuv3", smmuv3, {"stage": 1}, "smmuv3"),
    )


def chosen(all_units, names=None):
    """The units with these names; default: all."""
    known = {unit.name: unit for unit in all_units}
    if unknown := [name for name in names or () if name not in known]:
        raise ToolError(f"no such unit: {' '.join(unknown)}", hint=f"one of {' '.join(known)}")
    return [known[name] for name in names or known]


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


def run(names=None, target=None, publish=False):
    """Measures, prints a table, writes the figures to `target` and into the documentation.

    Fails if a figure is above its bar, or grows with what it should not depend on.
    """
    if publish and names:
        raise ToolError("the documentation has the figures of all units", hint="leave out --units")
    bars = Bars(_BARS.read_text(encoding="utf-8"))
    figures = []
    for unit in chosen(units(), names):
        c = cached(unit, C, kernel=kernel.stock(unit.kind.arch).release)
        of_unit = compared(unit.name, c, measure(unit, OURS), bars)
        show(of_unit)
        figures += of_unit
    if target:
        lines = [{**dataclasses.asdict(figure), "ratio": round(figure.ratio, 3)} for figure in figures]
        target.write_text(json.dumps(lines, indent=1) + "\n", encoding="utf-8")
    if publish:
        path_report.publish(figures)
    return verdict(figures)


def verdict(figures):
    """Says which figures are not as they should be. Returns the exit status."""
    above = [figure for figure in figures if not figure.passes]
    growing = list(_growing(figures))
    for line in growing:
        PROGRESS.plain(line)
    PROGRESS.plain(f"\n{len(figures)} figures, most in instructions for one call; {len(above)} above their bar")
    return 1 if above or growing else 0


def _growing(figures):
    """What takes longer with more of something, by more than a look-up does, and by more than with C."""
    for (unit, what, of, call), row in path_report.families(figures).items():
        first, last = row[0].ours, row[-1].ours
        if last > first * _FLAT and last - first > row[-1].c - row[0].c:
            yield f"{unit}: {what}, {call}: {first} with the fewest {of}, {last} with the most"


def compared(name, c, ours, bars, whose=None):
    """The figures of both drivers side by side. Their bars are those of `whose`; default: of the unit."""
    if c.keys() != ours.keys():
        raise ToolError(f"{name}: the two drivers have different figures")
    whose = whose or name
    return [
        Figure(name, operation, call, c[operation, call], ours[operation, call], bars.of(whose, operation, call))
        for operation, call in c
    ]


def show(figures, title=None):
    """Prints the figures of a unit."""
    PROGRESS.plain(f"\n{title or figures[0].unit:28}  {'call':12}  {'C':>10}  {'ours':>10}  ours / C   bar")
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
        for source in SOURCES.iterdir():
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


def hashes():
    """What the figures depend on, besides this file: the hash of each source."""
    files = [*SOURCES.glob("*.[ch]"), *(guest_programs.FOLDER / "vfio-user").iterdir()]
    return {path.name: cache.file_hash(path) for path in sorted(files)}


@dataclasses.dataclass(frozen=True)
class Driver:
    """Whose code is measured, and on which kernel.

    `name` is what messages call it. `image(arch)` makes the kernel and its file system, with the module that
    measures; `insert` is the command that loads that module. `parameters(kind)` are the kernel's. If `load` is set it
    loads the driver.
    """

    name: str
    image: object
    parameters: object
    load: str | None = None
    insert: str = f"modprobe {_MODULE}"


C = Driver(
    "c",
    image=lambda arch: guest_images.stock(arch, _build(arch)),
    parameters=lambda kind: kind.stock,
)
OURS = Driver(
    "ours",
    image=lambda arch: guest_images.stock(arch, _build(arch), module.path(arch)),
    parameters=lambda kind: kind.free,
    load="modprobe iommu_core",
)


def cached(unit, driver, **key):
    """The figures of a unit with a driver that this tree does not change, from the cache if it has them."""
    key = cache.key_of(
        unit=unit.name,
        properties=unit.properties,
        bench=hashes(),
        recipe=3,
        **key,
    )

    def make(folder):
        figures = [[*names, count] for names, count in measure(unit, driver).items()]
        (folder / "figures.json").write_text(json.dumps(figures), encoding="utf-8")

    name = f"path-bench-{driver.name}"
    found = cache.entry(name, key, make) / "figures.json"
    cache.prune(name, 3 * len(units()))
    return {
        (operation, call): count for operation, call, count in json.loads(found.read_text(encoding="utf-8"))
    }


def measure(unit, driver):
    """`{(operation, call): instructions}`."""
    kind = unit.kind
    bench = machine.Machine(kind, cpus=1, unit=unit.properties)
    bench.root_port(machine.A).device("edu", bus=f"port{machine.A:x}", dma_mask="0xffffffffffffffff")
    _add_endpoints(bench, _ENDPOINTS - 1)
    bench.arguments += ["-icount", "shift=0,sleep=off"]
    bench.parameters += ["iommu.strict=1", *driver.parameters(kind)]
    name = f"paths-{unit.name}-{driver.name}"
    image = dataclasses.replace(driver.image(kind.arch), boot_timeout=_BOOT_TIMEOUT)
    with PROGRESS.step(f"bench: measure {unit.name}, {driver.name}") as step:
        with image.start(bench, name) as guest:
            said = ""
            if driver.load:
                before = _uptime(guest)
                guest.run(driver.load, timeout=_TIMEOUT)
                loaded = _uptime(guest) - before
                size = int(guest.run("awk '$1 == \"iommu_core\" { print $2 }' /proc/modules"))
                said = f"; loaded in {loaded:.0f} million instructions, {size >> 10} KiB"
            # The messages of an attach are counted, but not how long the console takes.
            guest.run("dmesg -n 1")
            device = guest_pci.behind(guest, machine.A)
            group = guest_pci.group(guest, device)
            if group is None:
                raise ToolError(f"{unit.name}: the device is behind no unit", log=guest.log)

            def part(**parameters):
                words = " ".join(f"{key}={value}" for key, value in parameters.items())
                guest.run(f"{driver.insert} device={device} {words}", timeout=_TIMEOUT)
                guest.run(f"rmmod {_MODULE}")

            part(what="domain")
            part(what="growth")
            part(what="commands", kind=unit.queue, registers=_registers(guest, kind, unit.queue))
            part(what="dma", label="strict:")
            vfio = _vfio(guest, device, group)
            guest.run(f"echo DMA-FQ >/sys/kernel/iommu_groups/{group}/type")
            part(what="dma", label="lazy:")
            log = guest.kernel_log()
        figures = {(operation, call): int(count) for operation, call, count in _LINE.findall(log)}
        if not figures:
            raise ToolError("the benchmark says nothing", log=guest.log)
        figures |= vfio
        step.done(f"{len(figures)} figures{said}")
    return _with_invalidation(figures)


def _add_endpoints(bench, count):
    """Adds devices like device A, each behind a root port of its own, so that each has a group of its own."""
    for number in range(count):
        slot, function = _FIRST_SLOT + number // 8, number % 8
        name = f"port{slot:x}.{function}"
        bench.device(
            "pcie-root-port", id=name, bus="pcie.0", addr=f"{slot:#x}.{function}", multifunction="on",
            chassis=slot, slot=function,
        )  # fmt: skip
        bench.device("edu", bus=name, dma_mask="0xffffffffffffffff")


def _vfio(guest, device, group):
    """What a user program pays to map and unmap a page with VFIO's type 1 interface, the system calls included."""
    guest_pci.load_vfio(guest)
    guest_pci.give_to_vfio(guest, device)
    user = VfioUser(guest, "cost")
    user.script(["container c", f"group g {group}", "set-container g c", "set-iommu c type1v2"])
    user.script([f"buffer b {_VFIO_BYTES:#x}", f"fill b 0 {_VFIO_BYTES:#x} 1"])
    costs = user.say("cost c b 0x10000000", timeout=_TIMEOUT).split()
    user.quit()
    guest_pci.unbind(guest, device)
    return {("VFIO type 1, 4K", call): int(cost) for call, cost in zip(("map", "unmap"), costs, strict=True)}


def _uptime(guest):
    """In milliseconds, in each of which the guest executes a million instructions."""
    return float(guest.run("cat /proc/uptime").split()[0]) * 1000


def _registers(guest, kind, queue):
    """The physical address of the unit's registers."""
    if kind.arch is ARM64:
        # The first 64 bits of "reg", with the highest byte first.
        command = "od -An -v -t x1 -N 8 /sys/firmware/devicetree/base/smmuv3@*/reg | tr -d ' '"
    else:
        # In both tables the first structure, at 48, describes a unit, with the address at 8 in it
        # (VT-d 8.3; AMD IOMMU 5.2.2).
        table = {"vtd": "DMAR", "amdvi": "IVRS"}[queue]
        command = f"od -An -v -t x8 -j 56 -N 8 /sys/firmware/acpi/tables/{table} | tr -d ' '"
    return f"0x{guest.run(command).strip()}"
