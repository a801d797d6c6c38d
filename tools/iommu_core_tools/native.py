# SPDX-License-Identifier: GPL-2.0
"""`make native-test`: runs the same suites on the C layer and on the core, and compares the results.

The suites are the kernel's own, and guests that work with either layer (`native_benches`). What passes with the C
layer must pass with the core. A kernel with the C layer has nothing of this tree but the suite tests/api, so it is
built once, and its results are kept. So are those of the core if all pass, for `make native-test CONTINUE=1`: a run that
goes on where the last one of the same kernel was stopped.
"""

import functools
import json
import threading

from . import cache, custom_kernel, guest_images, guest_programs, guest_tests, intree, kernel, lint, native_symbols
from .native_benches import CLEAN, all_benches
from .paths import CHECKOUT, TOOLS
from .progress import PROGRESS
from .report import FAILED, PASSED, Report

SUITE = "native"
_SET_UP = "set-up"
# How many results of each layer are kept: a few for each bench.
_KEPT = 60
_OF_C, _OF_CORE = "native-results", "native-results-core"


class Comparison:
    """The results of the suites with each layer."""

    def __init__(self, report, benches, goes_on=False):
        self._report = report
        self._benches = benches
        self._goes_on = goes_on
        self._c, self._rust = {}, {}
        self._images = {}
        self._building = threading.Lock()

    def plays(self):
        """The plays for `guest_tests.play()`: one for each bench."""
        return [functools.partial(self._play, bench) for bench in self._benches]

    def finish(self):
        """Prints the table."""
        PROGRESS.plain("")
        for line in table(self._c, self._rust):
            PROGRESS.plain(line)

    def _play(self, bench, folder):
        with self._report.suite(SUITE):
            theirs = {} if bench.ours else self._of_c(bench, folder)
            ours = self._of_core(bench, theirs, folder)
            found = ours.outcomes()
            self._c.update(theirs)
            self._rust.update(found)
            if not bench.theirs:
                self._report.merge(ours)
            for suite in {**theirs, **found}:
                if not bench.ours:
                    lost = lost_cases(theirs.get(suite, {}), found.get(suite, {}))
                    self._report.add(SUITE, f"{suite}: passes what passes with C", FAILED if lost else PASSED,
                                     detail="\n".join([*map(": ".join, lost.items()), *ours.details(suite, lost)]))  # fmt: skip

    def _of_core(self, bench, theirs, folder):
        """The results with the core; if this run goes on with another one, its results."""
        image = self._image(bench.kernel)
        key = _key(bench, image)
        ours = Report(show=not bench.theirs)
        if self._goes_on and (found := _kept(_OF_CORE, key)):
            for suite, cases in found.items():
                for name, outcome in cases.items():
                    ours.add(suite, name, outcome, detail="" if outcome == PASSED else "the same as before")
            return ours
        bench.run(ours, image, folder)
        found = ours.outcomes()
        lost = not bench.ours and any(lost_cases(cases, found.get(suite, {})) for suite, cases in theirs.items())
        if not lost and not unclean(found, bench.theirs):
            _keep(_OF_CORE, key, found)
        return ours

    def _of_c(self, bench, folder):
        """`{suite: {case: outcome}}` with the C layer, from the cache if it has them."""
        image = self._image(bench.kernel.with_c_layer())
        key = _key(bench, image)
        if found := _kept(_OF_C, key):
            return found
        report = Report(show=not bench.theirs)
        (bench.run_c or bench.run)(report, image, folder)
        found = report.outcomes()
        if wrong := unclean(found, bench.theirs):
            # Not kept: the next run is a fresh try.
            details = [line for suite in found for line in report.details(suite)]
            self._report.add(SUITE, f"{bench.name}: with the C layer", FAILED, detail="\n".join(wrong + details))
            return found
        _keep(_OF_C, key, found)
        return found

    def _image(self, wanted):
        """The guest image of a kernel. Each kernel is built, and the core in it checked, once."""
        with self._building:
            if wanted.name in self._images:
                return self._images[wanted.name]
            if wanted.ours:
                with wanted.built() as build:
                    path = custom_kernel.keep(wanted, build)
                    self._check(wanted, build)
            else:
                path = custom_kernel.build(wanted)
            self._images[wanted.name] = guest_images.of_kernel(wanted, path)
            return self._images[wanted.name]

    def _check(self, wanted, build):
        options = kernel.config_options(build / ".config")
        options = {name.removeprefix("CONFIG_") for name, value in options.items() if value == "y"}
        objects = [build / intree.FOLDER / name for name in ("iommu_core.o", "frontend/native/exports.o")]
        native_symbols.run_built(self._report, wanted.name, objects, options)
        if wanted not in lint.CLIPPY_KERNELS:
            with self._report.case(SUITE, f"{wanted.name}: clippy"):
                lint.clippy_built(build)


def test(report, only=None, goes_on=False):
    """Runs the suites whose name has `only` in it (default: all) with both layers, and prints a table.

    With `goes_on`, suites are left out that have passed with the same kernel and the same tests.
    """
    native_symbols.run(report)
    benches = [bench for bench in all_benches() if not only or only in bench.name]
    compared = Comparison(report, benches, goes_on)
    guest_tests.play(report, compared.plays())
    compared.finish()


# --- what passes ------------------------------------------------------------------------------


def lost_cases(theirs, ours):
    """The cases of a suite that pass with the C layer but not with the core, and their results with the core."""
    found = {name: ours.get(name, "did not run") for name, outcome in theirs.items() if outcome == PASSED}
    found.update((name, ours[name]) for name in (CLEAN, _SET_UP) if name in ours)
    return {name: outcome for name, outcome in found.items() if outcome != PASSED}


def unclean(found, theirs):
    """The reasons, as lines, not to keep these results. In the kernel's own suites cases may fail."""
    return [
        f"{suite}: {name}"
        for suite, cases in found.items()
        for name, outcome in cases.items()
        if outcome == FAILED and (not theirs or name in (CLEAN, _SET_UP))
    ]


def table(theirs, ours):
    """The lines of a table of both layers' results, in the order of the suites' names."""
    suites = sorted({**theirs, **ours})
    width = max((len(suite) for suite in suites), default=5)
    lines = [f"{'':{width}}  {'C':^23}  {'Rust':^23}", f"{'suite':{width}}" + "  passed failed skipped" * 2]
    for suite in suites:
        line = f"{suite:{width}}"
        for layer in (theirs, ours):
            outcomes = [outcome for name, outcome in layer.get(suite, {}).items() if name != CLEAN]
            counts = [outcomes.count(name) for name in ("passed", "failed", "skipped")]
            passed, failed, skipped = counts if outcomes else ("-", "-", "-")
            line += f"  {passed:>6} {failed:>6} {skipped:>7}"
        lines.append(line)
    return lines


def _key(bench, image):
    """What results depend on."""
    return cache.key_of(bench=bench.name, kernel=image.kernel.parent.name, tests=_tests(bench))


def _kept(name, key):
    """Results that were kept, `{suite: {case: outcome}}`; None if there are none."""
    entry = cache.find(name, key)
    return entry and json.loads((entry / "results.json").read_text(encoding="utf-8"))


def _keep(name, key, found):
    """Keeps results."""

    def make(entry):
        (entry / "results.json").write_text(json.dumps(found, indent=1), encoding="utf-8")

    cache.entry(name, key, make)
    cache.prune(name, _KEPT)


def _tests(bench):
    """Hashes of the tools and test programs: what results depend on besides the kernel."""
    ours = TOOLS / "iommu_core_tools"
    # The kernel's own suites are run by the kernel's own programs, not by our tests.
    patterns = ("guest*.py", "guest_tests/custom.py" if bench.theirs else "guest_tests/*.py")
    files = [path for pattern in patterns for path in ours.glob(pattern)]
    files += [ours / f"{name}.py" for name in ("ktap", "machine", "native_benches", "selftests", "vfio_user", "viommu")]
    files += [path for path in guest_programs.FOLDER.rglob("*") if path.is_file()]
    return {str(path.relative_to(CHECKOUT)): cache.file_hash(path) for path in sorted(files)}
