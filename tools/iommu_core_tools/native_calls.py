# SPDX-License-Identifier: GPL-2.0
"""Counts which functions of the native frontend the suites call, and compares with Documentation/native.md.

A guest has a probe on each function from early in its boot, before drivers start, until it ends. The table has the
calls of the boot as "boot", and later calls under the family of the guest's suites. User-mode Linux has no probes.
The suite tests/api runs there, so its source is read instead.
"""

import collections
import dataclasses
import functools

from . import cache, custom_kernel, guest_images, initramfs, native_symbols
from .guest import Guest, GuestError
from .native_benches import all_benches
from .paths import CHECKOUT
from .progress import PROGRESS
from .report import FAILED, PASSED, Report

SUITE = "calls"
# The word in the table for functions that a kernel calls during boot.
BOOT = "boot"
_TRACING = "/sys/kernel/tracing"


class _Probed(Guest):
    """A guest that records in `calls` whether its boot, or the suites of a `family`, called a function."""

    def __init__(self, root, machine, kernel, archive, name, *, calls, family, folder, **options):
        self._symbols = _functions()
        machine.parameters += ["bootconfig"]
        archive = initramfs.with_boot_config(archive, _boot_config(self._symbols), folder / f"{name}.probed")
        super().__init__(root, machine, kernel, archive, name, **options)
        self._calls, self._family = calls, family
        self._at_boot = None

    def start(self):
        super().start()
        self.run(f"mount -t tracefs tracefs {_TRACING}")
        at_boot = self._hits()
        # Not every kernel has the functions that depend on an option.
        missing = [name for name, symbol in self._symbols.items() if name not in at_boot and not symbol.option]
        if missing:
            raise GuestError(f"there are no probes on {', '.join(missing)}", log=self.log)
        self._note(at_boot, BOOT)
        self._at_boot = at_boot

    def stop(self):
        try:
            if self._at_boot:
                before, self._at_boot = self._at_boot, None
                self._note({name: hits - before[name] for name, hits in self._hits().items()}, self._family)
        finally:
            super().stop()

    def _hits(self):
        """The number of calls of each function so far."""
        lines = self.run(f"cat {_TRACING}/kprobe_profile", timeout=120).splitlines()
        return {name: int(hits) for name, hits, _missed in map(str.split, lines)}

    def _note(self, hits, caller):
        for name, count in hits.items():
            if count:
                self._calls[name].add(caller)


def _functions():
    """The symbols of `native_symbols.listed()` that can have a probe: functions, not data."""
    files = native_symbols.defined_in_source()
    return {name: symbol for name, symbol in native_symbols.listed().items() if files[name].endswith(".rs")}


def _boot_config(names):
    """The boot configuration of a kernel that counts calls from its boot on."""
    return "".join(f'ftrace.event.kprobes.{name} {{ probes = "{name}"; enable }}\n' for name in names)


def test(report, only=None):
    """Runs the suites whose name has `only` in it (default: all), and prints what they call.

    All of them are compared with the table.
    """
    probed = custom_kernel.NATIVE.values()
    benches = [bench for bench in all_benches() if bench.kernel in probed and bench.family != "KUnit"]
    benches = [bench for bench in benches if not only or only in bench.name]
    calls = collections.defaultdict(set)
    for name in native_symbols.called_in_source():
        calls[name].add(native_symbols.API)
    images = functools.cache(guest_images.custom)
    with report.suite(SUITE), cache.scratch("calls") as folder:
        for bench in benches:
            seen = collections.defaultdict(set)
            guest = functools.partial(_Probed, calls=seen, family=bench.family, folder=folder)
            found, wrong = Report(show=False), []
            try:
                bench.run(found, dataclasses.replace(images(bench.kernel), guest=guest), folder)
            except GuestError as error:
                wrong += [error.what]
            wrong += found.details(bench.name) if not bench.theirs else []
            wrong += [] if any(bench.family in callers for callers in seen.values()) else ["no call was counted"]
            report.add(SUITE, f"{bench.name}: runs", FAILED if wrong else PASSED, detail="\n".join(wrong))
            for name, callers in seen.items():
                calls[name] |= callers
        for name in native_symbols.listed():
            PROGRESS.plain(f"{name:40} {', '.join(sorted(calls[name]))}")
        if not only:
            text = (CHECKOUT / "Documentation/native.md").read_text(encoding="utf-8")
            for name, said in native_symbols.suites_in(text).items():
                wrong = compare(said, calls[name])
                report.add(SUITE, name, FAILED if wrong else PASSED, detail=wrong)


def compare(said, found):
    """What is wrong with the suites in a row of the table; empty if nothing is."""
    if said == found:
        return ""
    there, seen = (", ".join(sorted(names)) or "none" for names in (said, found))
    return f"suites in the table: {there}; that call it: {seen}"
