# SPDX-License-Identifier: GPL-2.0
"""Kernels whose IOMMU layer is the core, next to the same kernels with the C one.

The suites are those of others: what they say of the C layer is what they have to say of the core.
"""

import shutil

from . import cache, guest_programs, intree, kernel, ktap, lint, native_symbols, root, selftests, uml
from .arch import AMD64
from .progress import PROGRESS
from .uml import SPLATS

SUITE = "native"
# Which layer: a name for people, and the line of the configuration.
RUST = ("Rust", "CONFIG_IOMMU_CORE_NATIVE=y\n")
C = ("C", "# CONFIG_IOMMU_CORE_NATIVE is not set\n")
_TIMEOUT = 900
# The KUnit suites of the kernel that use the layer, besides our own.
_KUNIT = ("iommu_core*", "*_iommu_test", "*_fmt_test")


def built(layer):
    """Builds User-mode Linux with a layer; a context, see `intree.built()`.

    Both are built in one place: little of the kernel has to be built anew when the layer changes.
    """
    _name, option = layer
    return intree.built("uml-native", ("uml-native.config",), uml.ARGUMENTS, more=option)


def test(report):
    """Runs the suites with both layers, and prints a table."""
    found = {}
    with report.suite(SUITE):
        for layer in (C, RUST):
            found[layer] = _run_all(report, layer)
        _compare(report, found[C], found[RUST])
    PROGRESS.plain("")
    for line in table(found[C], found[RUST]):
        PROGRESS.plain(line)


def _run_all(report, layer):
    """`{suite: {case: outcome}}` of a layer on User-mode Linux."""
    suites = {}
    programs = selftests.build(root.get(), kernel.stock().source)
    init = guest_programs.build(root.get(), AMD64) / "suites"
    with cache.scratch("native") as folder:
        with built(layer) as build:
            shutil.copy(build / "linux", folder / "linux")
            if layer == RUST:
                options = kernel.config_options(build / ".config")
                options = {name.removeprefix("CONFIG_") for name, value in options.items() if value == "y"}
                objects = [build / intree.FOLDER / name for name in ("iommu_core.o", "frontend/native/exports.o")]
                native_symbols.run(report, objects, options)
                with report.case(SUITE, "clippy"):
                    lint.clippy_built(build)
        system = folder / "system"
        (system / "suites").mkdir(parents=True)
        shutil.copy(init, system / "init")
        for name in selftests.IOMMUFD:
            shutil.copy(programs / name, system / "suites" / name)
        for pattern in _KUNIT:
            output, log = _boot(folder, layer, pattern, "kunit_shutdown=halt", "kunit.enable=1",
                                f"kunit.filter_glob={pattern}")  # fmt: skip
            cases, problems = ktap.parse(output.splitlines())
            for case in cases:
                suites.setdefault(f"KUnit {pattern}", {})[f"{case.suite}.{case.name}"] = case.outcome
            _note(report, layer, pattern, problems, output, log)
        output, log = _boot(folder, layer, "iommufd", "kunit.enable=0", "root=/dev/root", "rootfstype=hostfs",
                            f"rootflags={system}", "rw", "init=/init",
                            f"suites={','.join(selftests.IOMMUFD)}")  # fmt: skip
        outcomes, problems = selftests.results(output)
        suites.update(outcomes)
        _note(report, layer, "iommufd", problems, output, log)
    return suites


def _boot(folder, layer, what, *arguments):
    """What the kernel in `folder` prints until it ends, and its log."""
    with PROGRESS.step(f"native: {what} with the {layer[0]} layer on User-mode Linux") as step:
        argv = [folder / "linux", "mem=1500M", "console=tty", f"uml_dir={folder}", *arguments]
        result = root.get().run(argv, cwd=folder, log=step.log, timeout=_TIMEOUT)
        if result.timed_out:
            raise step.fail(f"no end after {_TIMEOUT} s")
        return result.output, step.log


def _note(report, layer, what, problems, output, log):
    """Adds what is wrong with a run as such: output that is cut off, a warning in the log."""
    lines = output.splitlines()
    for number, line in enumerate(lines):
        if any(splat in line for splat in SPLATS):
            problems = [*problems, *lines[number : number + 30]]
            break
    if layer == RUST or problems:
        outcome = "failed" if problems else "passed"
        report.add(SUITE, f"{what}, {layer[0]}: a clean log", outcome, detail="\n".join(problems), log=log)


def _compare(report, theirs, ours):
    """What passes with the C layer has to pass with the core."""
    for suite, cases in theirs.items():
        lost = [
            f"{name}: {ours.get(suite, {}).get(name, 'did not run')}"
            for name, outcome in cases.items()
            if outcome == "passed" and ours.get(suite, {}).get(name) != "passed"
        ]
        report.add(SUITE, f"{suite}: passes what passes with C", "failed" if lost else "passed", detail="\n".join(lost))


def table(theirs, ours):
    """The lines of a table: what each layer's kernel passes."""
    suites = list(dict.fromkeys([*theirs, *ours]))
    width = max(len(suite) for suite in suites)
    lines = [f"{'':{width}}  {'C':^23}  {'Rust':^23}", f"{'suite':{width}}" + "  passed failed skipped" * 2]
    for suite in suites:
        line = f"{suite:{width}}"
        for layer in (theirs, ours):
            outcomes = list(layer.get(suite, {}).values())
            passed, failed, skipped = (outcomes.count(name) for name in ("passed", "failed", "skipped"))
            line += f"  {passed:6} {failed:6} {skipped:7}"
        lines.append(line)
    return lines
