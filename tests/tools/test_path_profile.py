# SPDX-License-Identifier: GPL-2.0
"""Profiles of single calls."""

import unittest

from iommu_core_tools import path_profile
from iommu_core_tools.errors import ToolError

_SYMBOLS = """\
ffffffff81000000 T first
ffffffff81000100 d data
ffffffff81000200 t second
ffffffffa0000000 t path_bench_mark	[path_bench]
ffffffffa0000100 t _RNvMNtCsdwWfO04aC4n_10iommu_core5labelNtB2_5Label7process	[iommu_core]
"""


class Profiles(unittest.TestCase):
    def test_what_is_between_the_marks_is_counted(self):
        mark = "path_bench_mark"
        names = ["before", mark, mark, "a", "b", "a", mark, mark, "behind"]
        self.assertEqual(path_profile.between_marks(names), {"a": 2, "b": 1})

    def test_a_trace_without_both_marks_is_an_error(self):
        for names in (["a"], ["path_bench_mark", "a"]):
            with self.assertRaises(ToolError):
                path_profile.between_marks(names)

    def test_an_address_is_in_the_function_before_it(self):
        symbols = path_profile.Symbols(_SYMBOLS)
        self.assertEqual(symbols.of(0xFFFFFFFF81000000), "first")
        self.assertEqual(symbols.of(0xFFFFFFFF81000150), "first")
        self.assertEqual(symbols.of(0xFFFFFFFF81000201), "second")
        self.assertEqual(symbols.of(0xFFFFFFFFA0000004), "path_bench_mark")
        self.assertEqual(symbols.of(0), "?")

    def test_a_mangled_name_becomes_its_words(self):
        symbols = path_profile.Symbols(_SYMBOLS)
        self.assertEqual(symbols.of(0xFFFFFFFFA0000200), "iommu_core::label::Label::process")


if __name__ == "__main__":
    unittest.main()
