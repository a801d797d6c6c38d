# SPDX-License-Identifier: GPL-2.0
"""Which functions of the native frontend suites call, compared with the table in Documentation/native.md.

A guest has a probe on each function from when it has booted until it ends: what is called only on the way there is
not seen, and so are KUnit suites. The x86-64 kernel has probes.
"""

import dataclasses
import functools

from . import cache, custom_kernel, guest_images, native_symbols
from .guest import Guest, GuestError
from .native_benches import all_benches
from .paths import CHECKOUT
from .progress import PROGRESS
from .report import FAILED, PASSED, Report

SUITE = "calls"
# What the table says of functions that nobody calls once a guest has booted.
BOOT = "boot"
_TRACING = "/sys/kernel/tracing"
_GROUP = "iommu_core_calls"


class _Probed(Guest):
    """A guest that adds to `called` the functions that were called since it has booted."""

    def __init__(self, *arguments, called, **options):
        super().__init__(*arguments, **options)
        self._called = called
        self._is_watched = False

    def start(self):
        super().start()
        self.run(f"mount -t tracefs tracefs {_TRACING}")
        symbols = native_symbols.listed()
        for name, file in native_symbols.defined_in_source().items():
            if not file.endswith(".rs"):
                # What is not a function.
                continue
            probe = f"p:{_GROUP}/{name} {name}"
            status, text = self.status(f"echo '{probe}' >>{_TRACING}/kprobe_events")
            # Not every kernel has those that depend on an option.
            if status and not symbols[name].option:
                raise GuestError(f"there can be no probe on {name}: {text}", log=self.log)
        self.run(f"echo 1 >{_TRACING}/events/{_GROUP}/enable", timeout=300)
        self._is_watched = True

    def stop(self):
        try:
            if self._is_watched:
                self._is_watched = False
                for line in self.run(f"cat {_TRACING}/kprobe_profile", timeout=120).splitlines():
                    name, hits, _missed = line.split()
                    if int(hits):
                        self._called.add(name)
        finally:
            super().stop()


def test(report, only=None):
    """Runs the suites whose name has `only` in it (default: all), and prints what they call.

    All of them are compared with the table.
    """
    probed = custom_kernel.NATIVE["amd64"]
    benches = [bench for bench in all_benches() if bench.kernel == probed and bench.family != "KUnit"]
    benches = [bench for bench in benches if not only or only in bench.name]
    callers = {}
    with report.suite(SUITE), cache.scratch("calls") as folder:
        for bench in benches:
            called = set()
            image = guest_images.custom(bench.kernel)
            image = dataclasses.replace(image, guest=functools.partial(_Probed, called=called))
            found = Report(show=False)
            bench.run(found, image, folder)
            wrong = found.details(bench.name) if not bench.theirs else []
            wrong += [] if called else ["no call was counted"]
            report.add(SUITE, f"{bench.name}: runs", FAILED if wrong else PASSED, detail="\n".join(wrong))
            for name in called:
                callers.setdefault(name, set()).add(bench.family)
        for name in native_symbols.listed():
            PROGRESS.plain(f"{name:40} {', '.join(sorted(callers.get(name, ())))}")
        if not only:
            text = (CHECKOUT / "Documentation/native.md").read_text(encoding="utf-8")
            for name, said in native_symbols.suites_in(text).items():
                wrong = compare(said, callers.get(name, set()))
                report.add(SUITE, name, FAILED if wrong else PASSED, detail=wrong)


def compare(said, found):
    """What is wrong with a cell of the table that names suites, or nothing."""
    if said - {BOOT} == found:
        return ""
    there, seen = (", ".join(sorted(names)) or "none" for names in (said, found))
    return f"suites in the table: {there}; that call it: {seen}"
