# SPDX-License-Identifier: GPL-2.0
"""Tests of the tools themselves: tests/tools, with Python's own unittest."""

import contextlib
import io
import unittest

from .paths import CHECKOUT
from .progress import PROGRESS

SUITE = "tools"


def run(report):
    """Runs the tests; each is a case."""
    with report.suite(SUITE), PROGRESS.step("tools: their own tests") as step:
        tests = unittest.TestLoader().discover(str(CHECKOUT / "tests/tools"))
        result = Result(report)
        with contextlib.redirect_stderr(io.StringIO()):
            tests.run(result)
        step.done(f"{result.testsRun} run")


class Result(unittest.TestResult):
    """Adds the results of tests to a report."""

    def __init__(self, report):
        super().__init__()
        self._report = report

    def addSuccess(self, test):
        self._report.add(SUITE, test.id(), "passed")

    def addSkip(self, test, reason):
        self._report.add(SUITE, test.id(), "skipped", detail=reason)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._report.add(SUITE, test.id(), "failed", detail=self.failures[-1][1])

    def addError(self, test, err):
        super().addError(test, err)
        self._report.add(SUITE, str(test), "failed", detail=self.errors[-1][1])

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            entries = self.failures if issubclass(err[0], test.failureException) else self.errors
            self._report.add(SUITE, str(subtest), "failed", detail=entries[-1][1])
