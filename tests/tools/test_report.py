# SPDX-License-Identifier: GPL-2.0
"""Reports and KTAP."""

import io
import unittest
from unittest import mock

from iommu_core_tools import host_tests, ktap, report, uml
from iommu_core_tools.errors import ToolError
from iommu_core_tools.progress import Progress

_GOOD = """\
[    0.1] KTAP version 1
[    0.1] 1..2
    KTAP version 1
    # Subtest: iommu_core_a
    # module: iommu_core
    1..3
    ok 1 one
    noise
    # two: EXPECTATION FAILED at a.rs:1
    not ok 2 two
    ok 3 three # SKIP no hardware
# iommu_core_a: pass:1 fail:1 skip:1 total:3
not ok 1 iommu_core_a
    KTAP version 1
    # Subtest: iommu_core_b
    1..1
        KTAP version 1
        # Subtest: each
        ok 1 first
        ok 2 second
    ok 1 each
ok 2 iommu_core_b
"""


class Ktap(unittest.TestCase):
    def test_outcomes(self):
        cases, problems = ktap.parse(_GOOD.splitlines())
        self.assertEqual(problems, [])
        found = [(case.suite, case.name, case.outcome) for case in cases]
        self.assertEqual(
            found,
            [
                ("iommu_core_a", "one", "passed"),
                ("iommu_core_a", "two", "failed"),
                ("iommu_core_a", "three", "skipped"),
                ("iommu_core_b", "each", "passed"),
            ],
        )
        self.assertIn("    # two: EXPECTATION FAILED at a.rs:1", cases[1].log)
        self.assertEqual(cases[2].reason, "no hardware")

    def test_crash_in_a_suite(self):
        lines = _GOOD.splitlines()[:8] + ["Kernel panic - not syncing"]
        _cases, problems = ktap.parse(lines)
        self.assertEqual(len(problems), 1)
        self.assertIn("iommu_core_a did not end", problems[0])
        self.assertIn("Kernel panic", problems[0])

    def test_missing_cases_and_suites(self):
        lines = [line for line in _GOOD.splitlines() if "ok 1 one" not in line]
        self.assertIn("ran 2 of 3", ktap.parse(lines)[1][0])
        lines = _GOOD.splitlines()[:13]
        self.assertEqual(ktap.parse(lines)[1], ["1 of 2 suites ended"])

    def test_no_output(self):
        self.assertEqual(ktap.parse(["hello"]), ([], ["no KTAP output"]))


class Reports(unittest.TestCase):
    def setUp(self):
        self.out = io.StringIO()
        patch = mock.patch.object(report, "PROGRESS", Progress(self.out))
        patch.start()
        self.addCleanup(patch.stop)
        self.report = report.Report()

    def last_line(self):
        return self.out.getvalue().splitlines()[-1]

    def test_counts_and_status(self):
        with self.report.suite("s"):
            with self.report.case("s", "good"):
                pass
            with self.report.case("s", "not here"):
                raise report.Skip("no such device")
        self.assertEqual(self.report.finish(), 0)
        self.assertEqual(self.last_line(), "1 passed, 0 failed, 1 skipped")
        self.assertIn("skipped: s: not here: no such device", self.out.getvalue())

    def test_failures(self):
        with self.report.case("s", "tool"):
            raise ToolError("it broke", hint="mend it")
        with self.report.case("s", "assertion"):
            self.assertTrue(False, "not so")
        self.assertEqual(self.report.finish(), 1)
        self.assertEqual(self.last_line(), "0 passed, 2 failed, 0 skipped")
        self.assertIn("next: mend it", self.out.getvalue())

    def test_failure_outside_of_cases_is_counted_and_the_rest_goes_on(self):
        with self.report.suite("s"):
            raise ToolError("no set-up")
        with self.report.suite("t"), self.report.case("t", "good"):
            pass
        self.assertEqual(self.report.finish(), 1)
        self.assertEqual(self.last_line(), "1 passed, 1 failed, 0 skipped")

    def test_nothing_run_is_no_success(self):
        self.assertEqual(self.report.finish(), 1)

    def test_a_splat_fails_the_run(self):
        output = _GOOD.replace("noise", "WARNING: CPU: 0 PID: 1 at x.c:1")
        uml.add_results(self.report, "s", output, None)
        self.assertEqual(self.report.count("failed"), 2)
        self.assertIn("a clean log", self.out.getvalue())

    def test_of_a_failed_property_test_the_smallest_input_is_reported(self):
        panics = "thread 'any' panicked at tests/t.rs:1:1:\n" * 200
        output = f"test any ... FAILED\n\n---- any stdout ----\n{panics}minimal failing input: old = 7\n\nfailures:\n"
        result = mock.Mock(output=output, timed_out=False)
        self.assertEqual(host_tests.add_results(self.report, result, None), 0)
        self.assertIn("minimal failing input: old = 7", self.out.getvalue())
        self.assertLess(self.out.getvalue().count("panicked"), 100)


if __name__ == "__main__":
    unittest.main()
