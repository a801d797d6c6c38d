# SPDX-License-Identifier: GPL-2.0
"""Breaks laws and rules on purpose, one at a time, and checks that a test fails: tests/mutants/*.toml.

A mutant is one replacement in one source file:

    rule = "law 8: ..."     what it breaks
    file = "domain.rs"      the file
    old, new                the text to replace, which occurs once, and what replaces it
    test = "kunit ..."      the arguments of tools/ic that run the test

Each test runs once on the unchanged tree first, because a test that fails anyway proves nothing. A mutant that does
not compile proves nothing either, except in the test of code that must not compile.
"""

import dataclasses
import re
import shlex
import shutil
import subprocess
import sys
import tomllib

from . import cache
from .errors import ToolError
from .paths import CHECKOUT
from .progress import PROGRESS

SUITE = "mutants"
FOLDER = CHECKOUT / "tests/mutants"
# One test may build a kernel from nothing.
_TIMEOUT = 5400
_LAST_LINE = re.compile(r"(\d+) passed, (\d+) failed, (\d+) skipped")
_FAILED = re.compile(r"failed: (.*?): (.*?): ")
# What a suite calls a failure that is none of its tests': it did not get so far.
_NOT_RUN = ("set-up", "cargo test", "suites")


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One break of a rule; see above."""

    rule: str
    file: str
    old: str
    new: str
    test: str

    def apply(self, tree):
        """Changes the file in `tree`. Returns its unchanged text."""
        path = tree / self.file
        text = path.read_text(encoding="utf-8")
        if (found := text.count(self.old)) != 1:
            raise ToolError(
                f"{self.file}: the text that the mutant \"{self.rule}\" replaces occurs {found} times",
                hint=f"adapt the mutant in {FOLDER.relative_to(CHECKOUT)}",
            )
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")
        return text


def load(folder=FOLDER):
    """All mutants, in the order of the files."""
    found = []
    for path in sorted(folder.glob("*.toml")):
        with open(path, "rb") as file:
            found += [Mutant(**entry) for entry in tomllib.load(file)["mutant"]]
    return found


def run(report, pattern=None):
    """Runs the mutants (whose rule or file contains `pattern`)."""
    mutants = [m for m in load() if not pattern or pattern in m.rule or pattern in m.file]
    if not mutants:
        raise ToolError(f"no mutant contains '{pattern}'", hint="see tests/mutants")
    # Mutants with the same test one after the other: their builds have most in common.
    tests = list(dict.fromkeys(m.test for m in mutants))
    with report.suite(SUITE), cache.scratch("mutants") as folder:
        tree = folder / "tree"
        shutil.copytree(CHECKOUT, tree, ignore=shutil.ignore_patterns(".git", "target", "__pycache__"))
        for test in tests:
            with report.case(SUITE, f"unchanged: {test}"):
                _run_unchanged(tree, test)
            for mutant in (m for m in mutants if m.test == test):
                with report.case(SUITE, mutant.rule):
                    _run_changed(tree, mutant)


def _run_unchanged(tree, test):
    with PROGRESS.step(f"mutants: unchanged: {test}") as step:
        failed = _run(tree, test, step)
        if failed:
            raise step.fail(f"{test} fails without a mutant: {', '.join(failed)}", "mend that first")
        step.done("passes")


def _run_changed(tree, mutant):
    with PROGRESS.step(f"mutants: {mutant.rule}") as step:
        text = mutant.apply(tree)
        try:
            failed = _run(tree, mutant.test, step)
        finally:
            (tree / mutant.file).write_text(text, encoding="utf-8")
        if not failed:
            raise step.fail(f"{mutant.test} does not notice it", "write the test that does")
        step.done(f"noticed by {failed[0]}" + (f" and {len(failed) - 1} more" if failed[1:] else ""))


def _run(tree, test, step):
    """Runs a test in `tree`. Returns the names of the cases that failed."""
    argv = [sys.executable, str(tree / "tools/ic"), *shlex.split(test)]
    with open(step.log, "w", encoding="utf-8") as log:
        try:
            subprocess.run(argv, cwd=tree, stdout=log, stderr=subprocess.STDOUT, timeout=_TIMEOUT, check=False)
        except subprocess.TimeoutExpired:
            raise step.fail(f"{test} did not end within {_TIMEOUT} s", "see the log") from None
    output = step.log.read_text(encoding="utf-8", errors="replace")
    failed = failures_in(output)
    if failed is None:
        raise step.fail(f"{test} did not run", "see the log: does the mutant compile?")
    return failed


def failures_in(output):
    """The cases that failed by a command's output; `None` if no test ran."""
    lines = output.splitlines()
    if not any(_LAST_LINE.fullmatch(line) for line in lines[-3:]):
        return None
    failed = [match.groups() for line in lines if (match := _FAILED.match(line))]
    if any(name in _NOT_RUN for _suite, name in failed):
        return None
    return [name for _suite, name in failed]
