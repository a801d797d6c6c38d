# SPDX-License-Identifier: GPL-2.0
"""`make native-test`: a run goes on where another one was stopped."""

import pathlib
import types
from unittest import mock

from iommu_core_tools import native, report as reports
from iommu_core_tools.report import FAILED, PASSED, Report

from folder import Folder


class _Bench:
    """A bench that only the core runs, with one case. It counts its runs."""

    name, kernel, ours, theirs = "bench", None, True, False

    def __init__(self, outcome):
        self.outcome = outcome
        self.runs = 0

    def run(self, report, _image, _folder):
        self.runs += 1
        report.add("suite", "case", self.outcome)


class Continue(Folder):
    def setUp(self):
        super().setUp()
        for place, name, value in ((native.cache, "cache_dir", self.folder), (native, "_tests", {})):
            patch = mock.patch.object(place, name, return_value=value)
            patch.start()
            self.addCleanup(patch.stop)
        silent = mock.patch.object(reports, "PROGRESS")
        silent.start()
        self.addCleanup(silent.stop)

    def run_once(self, bench, kernel="image-1", goes_on=True):
        """Runs a bench on a kernel. Returns the report."""
        report = Report(show=False)
        compared = native.Comparison(report, [bench], goes_on)
        image = types.SimpleNamespace(kernel=pathlib.Path(f"/{kernel}/bzImage"))
        with mock.patch.object(compared, "_image", return_value=image):
            compared.plays()[0](self.folder)
        return report

    def test_what_has_passed_is_not_run_again(self):
        bench = _Bench(PASSED)
        self.run_once(bench)
        report = self.run_once(bench)
        self.assertEqual((bench.runs, report.outcomes()), (1, {"suite": {"case": PASSED}}))

    def test_what_has_failed_is_run_again(self):
        bench = _Bench(FAILED)
        self.run_once(bench)
        report = self.run_once(bench)
        self.assertEqual((bench.runs, report.count(FAILED)), (2, 1))

    def test_another_kernel_is_tested(self):
        bench = _Bench(PASSED)
        self.run_once(bench)
        self.run_once(bench, kernel="image-2")
        self.assertEqual(bench.runs, 2)

    def test_all_is_run_unless_it_is_asked_for(self):
        bench = _Bench(PASSED)
        self.run_once(bench)
        self.run_once(bench, goes_on=False)
        self.assertEqual(bench.runs, 2)
