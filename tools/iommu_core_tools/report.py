# SPDX-License-Identifier: GPL-2.0
"""Collects the results of all suites, prints them, and decides the exit status."""

import contextlib
import time

from .errors import ToolError, last_lines
from .progress import PROGRESS

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


class Skip(Exception):
    """Raised by a case that cannot run here; the text says why."""


class Report:
    """Results by suite, from any thread. Shows a failure at once (if `show` is set), and again in the summary."""

    def __init__(self, show=True):
        self._show = show
        self._cases = []
        self._took = {}

    def add(self, suite, name, outcome, *, detail="", log=None):
        """Adds one result; `detail` says why it failed or was skipped."""
        self._cases.append((suite, name, outcome, detail.strip(), log))
        if outcome == FAILED and self._show:
            lines = [f"FAILED {suite}: {name}"]
            lines += [f"  | {line}" for line in detail.strip().splitlines()]
            lines += [f"  log: {log}"] if log else []
            PROGRESS.line("\n".join(lines))

    @contextlib.contextmanager
    def case(self, suite, name):
        """Runs one case: passes, is skipped (`Skip`), or fails by a `ToolError` or an assertion."""
        try:
            yield
        except Skip as skip:
            self.add(suite, name, SKIPPED, detail=str(skip))
        except ToolError as error:
            detail = [error.what]
            if error.log and not error.shown:
                detail += last_lines(error.log)
            if error.hint:
                detail.append(f"next: {error.hint}")
            self.add(suite, name, FAILED, detail="\n".join(detail), log=error.log)
        except AssertionError as error:
            self.add(suite, name, FAILED, detail=str(error) or "an assertion failed")
        else:
            self.add(suite, name, PASSED)

    @contextlib.contextmanager
    def suite(self, name):
        """Measures the time of a suite. A `ToolError` outside of its cases counts as a failed case."""
        began = time.monotonic()
        failure = None
        try:
            yield self
        except ToolError as error:
            failure = error
        if failure is not None:
            with self.case(name, "set-up"):
                raise failure
        self._took[name] = self._took.get(name, 0) + time.monotonic() - began

    def count(self, outcome, suite=None):
        """How many cases (of a suite) had an outcome."""
        return sum(case[2] == outcome and suite in (None, case[0]) for case in self._cases)

    def outcomes(self):
        """`{suite: {case: outcome}}` of all cases."""
        found = {}
        for suite, name, outcome, _detail, _log in self._cases:
            found.setdefault(suite, {})[name] = outcome
        return found

    def details(self, suite, cases=None):
        """The details of a suite's failures (all, or those of some cases), as lines."""
        found = []
        for name, case, outcome, detail, log in self._cases:
            if name == suite and outcome == FAILED and (cases is None or case in cases):
                found += [f"{case}: {detail}"] + ([f"log: {log}"] if log else [])
        return found

    def merge(self, other):
        """Adds the results of another report, which has already shown its failures."""
        self._cases += other._cases
        for name, took in other._took.items():
            self._took[name] = self._took.get(name, 0) + took

    def finish(self):
        """Prints the table, the failed and skipped cases, and the last line. Returns the exit status."""
        suites = list(dict.fromkeys(case[0] for case in self._cases))
        width = max((len(suite) for suite in suites), default=5)
        PROGRESS.plain()
        PROGRESS.plain(f"{'suite':{width}}  passed  failed  skipped   time")
        for suite in suites:
            counts = [self.count(outcome, suite) for outcome in (PASSED, FAILED, SKIPPED)]
            took = f"{self._took[suite]:5.0f} s" if suite in self._took else ""
            PROGRESS.plain(f"{suite:{width}}  {counts[0]:6}  {counts[1]:6}  {counts[2]:7}  {took}")
        for suite, name, outcome, detail, log in self._cases:
            if outcome == SKIPPED:
                PROGRESS.plain(f"skipped: {suite}: {name}: {detail}")
            elif outcome == FAILED:
                first = detail.splitlines()[0] if detail else ""
                PROGRESS.plain(f"failed: {suite}: {name}: {first}" + (f" (log: {log})" if log else ""))
        passed, failed, skipped = (self.count(outcome) for outcome in (PASSED, FAILED, SKIPPED))
        PROGRESS.plain(f"{passed} passed, {failed} failed, {skipped} skipped")
        return 1 if failed or not passed else 0
