# SPDX-License-Identifier: GPL-2.0
"""Which functions the instructions of one call are in, for our driver or the kernel's own.

QEMU writes down the address of each instruction that the guest executes during the call.
"""

import bisect
import collections
import re

from . import guest_pci, machine, path_bench
from .errors import ToolError
from .progress import PROGRESS

CALLS = ("alloc", "attach", "detach", "free", "map", "unmap")
_TIMEOUT = 600
_MARK = "path_bench_mark"
# A word of a mangled name: perhaps a number in base 62 that tells it from others ("s...__"), its
# length, and a "_" if it begins with a digit. Other numbers in base 62 lead back to earlier words
# ("B..._").
_WORD = re.compile(r"(?:B[0-9A-Za-z]*_|[^\dBs])*?(s[0-9A-Za-z]*_)?([1-9]\d*)_?")
_LINE = re.compile(r"Trace \d+: \S+ \[[0-9a-f]+/([0-9a-f]+)/")


def run(call, names=None, *, ours=True):
    """Prints the functions, the one with the most instructions first."""
    if call not in CALLS:
        raise ToolError(f"{call}: no such call", hint=f"one of {' '.join(CALLS)}")
    for unit in path_bench.chosen(path_bench.units(), names):
        counts = profile(unit, path_bench.OURS if ours else path_bench.C, call)
        PROGRESS.plain(f"\n{unit.name}, {call}, {'ours' if ours else 'C'}: {counts.total()} instructions")
        for name, count in counts.most_common():
            PROGRESS.plain(f"{count:7}  {name}")


def profile(unit, driver, call):
    """`{function: instructions}`."""
    kind = unit.kind
    bench = machine.Machine(kind, cpus=1, unit=unit.properties)
    bench.root_port(machine.A).device("edu", bus=f"port{machine.A:x}", dma_mask="0xffffffffffffffff")
    bench.arguments += ["-icount", "shift=0,sleep=off"]
    bench.parameters += ["iommu.strict=1", *driver.parameters(kind)]
    image = driver.image(kind.arch)
    with PROGRESS.step(f"bench: trace {unit.name}, {driver.name}, {call}") as step:
        with image.start(bench, f"trace-{unit.name}-{driver.name}-{call}") as guest:
            if driver.load:
                guest.run(driver.load, timeout=_TIMEOUT)
            guest.run("dmesg -n 1; echo 0 >/proc/sys/kernel/kptr_restrict")
            device = guest_pci.behind(guest, machine.A)
            guest.run(f"{driver.insert} device={device} what=once", timeout=_TIMEOUT)
            symbols = Symbols(guest.run("cat /proc/kallsyms", timeout=_TIMEOUT))
            trace = guest.trace_file()
            for command in ("one-insn-per-tb on", f"logfile {trace}", "log exec,nochain"):
                guest.qmp.monitor(command)
            guest.run(f"echo {call} >/sys/module/path_bench/parameters/once", timeout=_TIMEOUT)
            guest.qmp.monitor("log none")
            with trace.open(encoding="utf-8", errors="replace") as lines:
                counts = between_marks(symbols.of(int(found[1], 16)) for found in map(_LINE.match, lines) if found)
        step.done(f"{counts.total()} instructions")
    return counts


def between_marks(names):
    """How often each name comes between the two calls of the function that marks."""
    counts, calls, before = collections.Counter(), 0, None
    for name in names:
        if name == _MARK:
            calls += before != _MARK
        elif calls == 1:
            counts[name] += 1
        before = name
    if calls != 2:
        raise ToolError(f"the trace has {calls} marks, and should have 2")
    return counts


class Symbols:
    """The functions of a kernel and its modules, from /proc/kallsyms."""

    def __init__(self, text):
        found = []
        for line in text.splitlines():
            address, kind, name, *_ = line.split()
            if kind in "tTwW":
                found.append((int(address, 16), name))
        found.sort()
        self._addresses = [address for address, _ in found]
        self._names = [name for _, name in found]

    def of(self, address):
        """The function that an address is in."""
        at = bisect.bisect_right(self._addresses, address) - 1
        return readable(self._names[at]) if at >= 0 else "?"


def readable(name):
    """The words of a mangled Rust name (RFC 2603); any other name as it is."""
    if not name.startswith("_R"):
        return name
    words, at = [], 2
    while found := _WORD.search(name, at):
        end = found.end() + int(found[2])
        words.append(name[found.end() : end])
        at = end
    return "::".join(words) or name
