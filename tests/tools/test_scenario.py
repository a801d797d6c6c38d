# SPDX-License-Identifier: GPL-2.0
"""Which tests of a scenario are run when some are asked for."""

import unittest

from iommu_core_tools.guest_tests import injection, scenario, vfio


def first(_run):
    pass


def lone(_run):
    pass


def base(_run):
    pass


def middle(_run):
    pass


def top(_run):
    pass


class Picked(unittest.TestCase):
    def setUp(self):
        scenario.after(base, middle)
        scenario.after(middle, top)
        self.tests = [first, lone, base, middle, top]

    def picked(self, *wanted):
        return scenario.picked(self.tests, lambda test: test in wanted)

    def test_all(self):
        self.assertEqual(self.picked(*self.tests), self.tests)

    def test_none(self):
        self.assertEqual(self.picked(), [])

    def test_the_first_one_comes_with_any(self):
        self.assertEqual(self.picked(lone), [first, lone])
        self.assertEqual(self.picked(first), [first])

    def test_what_a_test_comes_after_comes_with_it(self):
        self.assertEqual(self.picked(top), [first, base, middle, top])
        self.assertEqual(self.picked(middle, lone), [first, lone, base, middle])
        self.assertEqual(self.picked(base), [first, base])

    def test_an_injected_failure_comes_after_what_makes_it_possible(self):
        tests = [first, *vfio.TESTS, *injection.TESTS]
        wanted = injection.an_attach_fails_cleanly_at_each_allocation
        self.assertEqual(
            scenario.picked(tests, lambda test: test is wanted),
            [first, injection.allocations_can_be_made_to_fail, wanted],
        )
