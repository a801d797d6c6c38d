# SPDX-License-Identifier: GPL-2.0
"""How the results of these tests are counted."""

import unittest

from iommu_core_tools import tools_tests


class _Report:
    def __init__(self):
        self.outcomes = []

    def add(self, _suite, _name, outcome, detail=None):
        self.outcomes.append((outcome, bool(detail)))


class Counting(unittest.TestCase):
    def outcomes(self, function):
        report = _Report()
        unittest.FunctionTestCase(function).run(tools_tests.Result(report))
        return report.outcomes

    def test_each_outcome_is_counted_once(self):
        def skip():
            raise unittest.SkipTest("no hardware")

        self.assertEqual(self.outcomes(lambda: None), [("passed", False)])
        self.assertEqual(self.outcomes(lambda: self.fail("so")), [("failed", True)])
        self.assertEqual(self.outcomes(lambda: 1 / 0), [("failed", True)])
        self.assertEqual(self.outcomes(skip), [("skipped", True)])

    def test_a_part_of_a_test_that_fails_is_counted(self):
        class Parts(unittest.TestCase):
            def runTest(self):
                for number in range(4):
                    with self.subTest(number=number):
                        self.assertLess(number, 2)
                with self.subTest("broken"):
                    raise OSError("so")

        report = _Report()
        Parts().run(tools_tests.Result(report))
        self.assertEqual(report.outcomes, [("failed", True)] * 3)


if __name__ == "__main__":
    unittest.main()
