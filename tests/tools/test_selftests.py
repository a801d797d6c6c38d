# SPDX-License-Identifier: GPL-2.0
"""What the kernel's selftests print, and the table of what each layer passes."""

import unittest

from iommu_core_tools import native, native_benches, selftests

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

    def test_nothing_to_run_on(self):
        found, wrong = selftests.results("suite one: begins\nTAP version 13\n1..0 # SKIP no device\nsuite one: exit 4\n")
        self.assertEqual((found, wrong), ({"one": {"all of it": "skipped"}}, []))
        _found, wrong = selftests.results("suite one: begins\n1..0 # SKIP no device\nsuite one: exit 0\n")
        self.assertEqual(wrong, ["one: exit 0"])

    def test_no_end(self):
        _found, wrong = selftests.results(_GOOD.split("suite two: exit")[0])
        self.assertEqual(wrong, ["two: did not end"])


class Comparison(unittest.TestCase):
    def test_what_passes_with_c_has_to_pass(self):
        theirs = {"a": "passed", "b": "passed", "c": "failed", "d": "skipped", "e": "passed"}
        ours = {"a": "passed", "b": "failed", "c": "failed", "d": "failed", "f": "failed"}
        self.assertEqual(native.lost_cases(theirs, ours), {"b": "failed", "e": "did not run"})

    def test_a_warning_in_the_log_is_a_loss_whatever_c_did(self):
        self.assertEqual(native.lost_cases({}, {native_benches.CLEAN: "failed"}), {native_benches.CLEAN: "failed"})

    def test_results_of_c_that_are_not_kept(self):
        found = {"s": {"a": "failed", native_benches.CLEAN: "passed"}}
        self.assertEqual(native.unclean(found, theirs=True), [])
        self.assertEqual(native.unclean(found, theirs=False), ["s: a"])
        found = {"s": {"a": "passed", native_benches.CLEAN: "failed"}}
        self.assertEqual(native.unclean(found, theirs=True), [f"s: {native_benches.CLEAN}"])


class Benches(unittest.TestCase):
    def test_names_are_unique(self):
        names = [bench.name for bench in native_benches.all_benches()]
        self.assertEqual(sorted(set(names)), sorted(names))

    def test_the_c_layer_has_no_option_of_ours(self):
        for bench in native_benches.all_benches():
            options = bench.kernel.with_c_layer().options()
            self.assertNotIn("IOMMU_CORE", options)
            self.assertIn("CONFIG_IOMMU_CORE_NATIVE=y\n", bench.kernel.options())
            # A kernel of another series only runs the story.
            self.assertEqual("CONFIG_IOMMUFD_TEST=y\n" in options, not bench.kernel.wanted)

    def test_a_kernel_that_runs_suites_of_the_kernel_has_the_default_series(self):
        for bench in native_benches.all_benches():
            self.assertFalse(bench.theirs and bench.kernel.wanted, bench.name)


class Table(unittest.TestCase):
    def test_columns(self):
        lines = native.table({"s": {"a": "passed", "b": "failed"}}, {"s": {"a": "passed", "b": "skipped"}})
        self.assertEqual(lines[-1].split(), ["s", "1", "1", "0", "1", "0", "1"])

    def test_a_suite_that_one_layer_has_not(self):
        lines = native.table({}, {"s": {"a": "passed"}})
        self.assertEqual(lines[-1].split(), ["s", "-", "-", "-", "1", "0", "0"])


if __name__ == "__main__":
    unittest.main()
