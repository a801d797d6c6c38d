# SPDX-License-Identifier: GPL-2.0
"""KUnit suites on User-mode Linux. This kernel is an ordinary program, so the suites run at full speed."""

import re
import shutil

from . import cache, custom_kernel, intree, ktap, root
from .arch import AMD64
from .progress import PROGRESS

SUITE = "kunit (UML)"
_KERNEL = custom_kernel.Kernel(
    "uml", fragments=("uml.config",), arch=AMD64, image="linux", arguments=custom_kernel.UML_ARGUMENTS
)
_TIMEOUT = 600
# User-mode Linux supports several processors only with seccomp; with ptrace it prints an error
# and ends.
_TWO_PROCESSORS = ("seccomp=auto", "ncpus=2")
_NO_SMP = "SMP is not supported"
# Lines that must not be in the log of a good run.
_SPLATS = ("WARNING: ", "BUG: ", "INFO: possible", "Kernel panic", "possible recursive locking", "Oops")


def built():
    """Builds User-mode Linux with the checkout's suites; a context, see `intree.built()`."""
    return _KERNEL.built()


def run(report, pattern="iommu_core*"):
    """Runs the suites that match on User-mode Linux."""
    with report.suite(SUITE), cache.scratch("uml") as folder:
        with built() as build:
            shutil.copy(build / "linux", f"{folder}/linux")
        with PROGRESS.step(f"kunit: run {pattern} on User-mode Linux") as step:
            result = _boot(folder, pattern, _TWO_PROCESSORS, step.log)
            if _NO_SMP in result.output:
                PROGRESS.line("kunit: this machine has no seccomp for User-mode Linux: one processor only")
                result = _boot(folder, pattern, (), step.log)
            passed = add_results(report, SUITE, result.output, step.log)
            if result.timed_out:
                report.add(SUITE, "ends", "failed", detail=f"no end after {_TIMEOUT} s", log=step.log)
            step.done(f"{passed} passed in {result.took:.0f} s")


def _boot(folder, pattern, more, log):
    """Runs `folder`/linux until it ends."""
    argv = [
        f"{folder}/linux",
        "mem=1G",
        "console=tty",
        "kunit_shutdown=halt",
        "kunit.enable=1",
        f"kunit.filter_glob={pattern}",
        f"uml_dir={folder}",
        *more,
    ]
    return root.get().run(argv, cwd=folder, log=log, timeout=_TIMEOUT)


def add_results(report, suite, output, log):
    """Adds the KUnit results in a kernel's output. Returns how many cases passed."""
    lines = re.sub(rf"\S*{intree.FOLDER}/", "", output).splitlines()
    cases, problems = ktap.parse(lines)
    for case in cases:
        detail = case.reason if case.outcome == "skipped" else "\n".join(case.log[-40:])
        report.add(suite, f"{case.suite}.{case.name}", case.outcome, detail=detail, log=log)
    for problem in problems:
        report.add(suite, "output", "failed", detail=problem, log=log)
    if not cases and not problems:
        report.add(suite, "suites", "failed", detail="no suite ran (does the filter match any?)", log=log)
    if found := splats(lines):
        report.add(suite, "a clean log", "failed", detail="\n".join(found), log=log)
    return sum(case.outcome == "passed" for case in cases)


def splats(lines):
    """The first warning in a log, and the lines after it."""
    for number, line in enumerate(lines):
        if any(splat in line for splat in _SPLATS):
            return lines[number : number + 30]
    return []
