# SPDX-License-Identifier: GPL-2.0
"""Figures of whole paths: their bars, and how they are published."""

import pathlib
import tempfile
import unittest
from unittest import mock
from xml.etree import ElementTree

from iommu_core_tools import path_bench, path_report
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

    def test_a_call_that_takes_longer_with_more_is_found(self):
        def figures(*counts, c=(100, 100, 100)):
            return [
                path_bench.Figure("vtd", f"4K, {number} endpoints", "map", of_c, ours, None)
                for number, ours, of_c in zip((64, 8, 1), counts, c, strict=True)
            ]

        self.assertEqual(list(path_bench._growing(figures(104, 100, 100))), [])
        (line,) = path_bench._growing(figures(120, 110, 100))
        self.assertIn("100 with the fewest endpoints, 120 with the most", line)
        # C's driver takes longer, also under the core.
        self.assertEqual(list(path_bench._growing(figures(120, 110, 100, c=(120, 110, 100)))), [])

    def test_what_c_does_not_need_has_a_ratio(self):
        self.assertTrue(path_bench.Figure("vtd", "attach", "waits", 0, 0, 1.0).passes)
        self.assertFalse(path_bench.Figure("vtd", "attach", "waits", 0, 1, 1.0).passes)


class Published(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.page = pathlib.Path(folder.name) / "page.md"
        self.picture = pathlib.Path(folder.name) / "page.svg"
        for name, path in (("_PAGE", self.page), ("_PICTURE", self.picture)):
            patch = mock.patch.object(path_report, name, path)
            patch.start()
            self.addCleanup(patch.stop)
        self.figures = [
            path_bench.Figure("vtd", *words)
            for words in (
                ("4K, attached", "map", 1000, 1412, 0.60),
                ("4K, unattached", "map", 1000, 1, None),
                ("4K, 1 endpoints", "map", 900, 500, None),
                ("4K, 64 endpoints", "map", 1900, 501, None),
                ("unmap 4K, 64 endpoints", "commands", 3, 1, 1.0),
                ("unmap 4K, 64 endpoints", "waits", 2, 1, 1.0),
                ("memory", "bytes for a domain", 4096, 5000, None),
            )
        ]

    def test_each_table_stands_at_its_place(self):
        names = ("paths", "growth", "commands", "memory")
        empty = "".join(
            f"{name}:\n{path_report._BEGIN.format(name)}old\n{path_report._END.format(name)}\nkept\n"
            for name in names
        )
        self.page.write_text(empty, encoding="utf-8")
        path_report.publish(self.figures)
        text = self.page.read_text(encoding="utf-8")
        for line in (
            "| 4K, attached | map | 1,412 / 1,000 = **1.41** | 0.60 |",
            "| 4K, map | 1 to 64 endpoints | 500 to 501 (C: 900 to 1,900) |",
            "| unmap 4K, 64 endpoints | 1 and 1 (C: 3 and 2) |",
            "| bytes for a domain | 5,000 (C: 4,096) |",
        ):
            self.assertEqual(text.count(line), 1, line)
        self.assertNotIn("old", text)
        self.assertNotIn("unattached", text)
        self.assertEqual(text.count("kept"), len(names))
        path_report.publish(self.figures)
        self.assertEqual(self.page.read_text(encoding="utf-8"), text)

    def test_a_page_without_the_place_is_an_error(self):
        self.page.write_text("nothing", encoding="utf-8")
        with self.assertRaises(ToolError):
            path_report.publish(self.figures)

    def test_the_picture_is_one(self):
        picture = ElementTree.fromstring(path_report.picture(self.figures))
        self.assertTrue(picture.tag.endswith("svg"))
        words = [element.text for element in picture.iter() if element.tag.endswith("text")]
        self.assertIn("4K, attached: map", words)
