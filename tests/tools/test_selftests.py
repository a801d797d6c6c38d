# SPDX-License-Identifier: GPL-2.0
"""What the kernel's selftests print, and the table of what each layer passes."""

import unittest

from iommu_core_tools import native, selftests

_GOOD = """\
[    1.000000] Run /init as init process
suite one: begins
TAP version 13
1..3
# Starting 3 tests from 2 test cases.
#  RUN           a.first ...
[    1.100000] iommu_core: mock0: in group 0
#            OK  a.first
ok 1 a.first
ok 2 a.second # SKIP not here
not ok 3 b.third
suite one: exit 1
suite two: begins
1..1
ok 1 only
suite two: exit 0
suites: all ended
"""


class Results(unittest.TestCase):
    def test_good(self):
        found, wrong = selftests.results(_GOOD)
        self.assertEqual(wrong, [])
        self.assertEqual(found["one"], {"a.first": "passed", "a.second": "skipped", "b.third": "failed"})
        self.assertEqual(found["two"], {"only": "passed"})

    def test_cases_that_did_not_run(self):
        _found, wrong = selftests.results(_GOOD.replace("ok 1 a.first\n", ""))
        self.assertEqual(wrong, ["one: 2 of 3 cases ran"])

    def test_an_end_that_does_not_fit(self):
        _found, wrong = selftests.results(_GOOD.replace("suite two: exit 0", "suite two: signal 11"))
        self.assertEqual(wrong, ["two: signal 11"])
        _found, wrong = selftests.results(_GOOD.replace("suite one: exit 1", "suite one: exit 0"))
        self.assertEqual(wrong, ["one: exit 0"])

    def test_no_end(self):
        _found, wrong = selftests.results(_GOOD.split("suite two: exit")[0])
        self.assertEqual(wrong, ["two: did not end"])


class Table(unittest.TestCase):
    def test_columns(self):
        lines = native.table({"s": {"a": "passed", "b": "failed"}}, {"s": {"a": "passed", "b": "skipped"}})
        self.assertEqual(lines[-1].split(), ["s", "1", "1", "0", "1", "0", "1"])

    def test_a_suite_that_one_layer_has_not(self):
        lines = native.table({}, {"s": {"a": "passed"}})
        self.assertEqual(lines[-1].split(), ["s", "0", "0", "0", "1", "0", "0"])


if __name__ == "__main__":
    unittest.main()
