# SPDX-License-Identifier: GPL-2.0
"""The bars of whole paths."""

import unittest

from iommu_core_tools import path_bench
from iommu_core_tools.errors import ToolError

_TEXT = """
# a comment
4K, attached | unmap | 0.70 | vtd=0.9   # why
"""


class Bars(unittest.TestCase):
    def test_a_unit_may_have_its_own(self):
        bars = path_bench.Bars(_TEXT)
        self.assertEqual(bars.of("amdvi", "4K, attached", "unmap"), 0.70)
        self.assertEqual(bars.of("vtd", "4K, attached", "unmap"), 0.9)
        self.assertIsNone(bars.of("vtd", "4K, attached", "map"))

    def test_a_line_without_a_bar_is_an_error(self):
        for line in ("4K", "4K | map", "4K | map | much", "4K | map | 0.7 | vtd", "4K | map | 0.7 | vtd=x"):
            with self.assertRaises(ToolError):
                path_bench.Bars(line)

    def test_the_tree_has_bars_for_known_units(self):
        text = path_bench._BARS.read_text(encoding="utf-8")
        known = {unit.name for unit in path_bench.units()}
        bars = path_bench.Bars(text)
        self.assertTrue(bars.of("vtd", "4K, attached", "map"))
        for line in text.splitlines():
            for other in line.split("#")[0].split("|")[3:]:
                self.assertIn(other.split("=")[0].strip(), known)


class Figures(unittest.TestCase):
    def figure(self, ours, bar):
        return path_bench.Figure("vtd", "4K", "map", 1000, ours, bar)

    def test_above_its_bar_only_when_two_digits_say_so(self):
        self.assertTrue(self.figure(604, 0.60).passes)
        self.assertFalse(self.figure(606, 0.60).passes)
        self.assertTrue(self.figure(5000, None).passes)

    def test_an_invalidation_is_the_difference(self):
        figures = {("4K, attached", "unmap"): 1775, ("4K, unattached", "unmap"): 862}
        more = path_bench._with_invalidation(figures)
        self.assertEqual(more["4K, attached - unattached", "unmap"], 913)
