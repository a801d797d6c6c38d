# SPDX-License-Identifier: GPL-2.0
"""The list of symbols of the native frontend, and what is compared with it."""

import pathlib
import tempfile
import unittest

from iommu_core_tools import native_calls, native_symbols
from iommu_core_tools.errors import ToolError
from iommu_core_tools.paths import CHECKOUT


def _list(text):
    with tempfile.NamedTemporaryFile("w", suffix="-symbols") as file:
        file.write(text)
        file.flush()
        return native_symbols.listed(pathlib.Path(file.name))


class Listed(unittest.TestCase):
    def test_the_list_is_what_linux_7_3_has(self):
        symbols = native_symbols.listed().values()
        self.assertEqual(sum(symbol.access != "builtin" for symbol in symbols), 63)
        self.assertEqual(sum(symbol.access.startswith("gpl:") for symbol in symbols), 5)

    def test_lines(self):
        found = _list("# a\n\none gpl\ntwo gpl:SPACE OPTION\nthree builtin\n")
        self.assertEqual(found["two"], native_symbols.Symbol("two", "gpl:SPACE", "OPTION"))
        self.assertEqual(found["one"].option, "")

    def test_what_is_no_line_is_refused(self):
        for text in ("one\n", "one gpl two three\n", "one other\n", "one gpl\none gpl\n"):
            with self.assertRaises(ToolError):
                _list(text)


class Compared(unittest.TestCase):
    def setUp(self):
        self.wanted = _list("one gpl\ntwo gpl:SPACE TEST\nthree plain\nfour builtin\n")

    def test_exports(self):
        text = 'EXPORT_SYMBOL_GPL(one);\nEXPORT_SYMBOL_NS_GPL(two, "SPACE");\nEXPORT_SYMBOL(three);\n'
        found = native_symbols.exports_of(text)
        self.assertEqual(native_symbols.compare_exports(self.wanted, found, "x"), [])

    def test_wrong_exports(self):
        text = "EXPORT_SYMBOL_GPL(two);\nEXPORT_SYMBOL_GPL(three);\nEXPORT_SYMBOL_GPL(five);\n"
        wrong = native_symbols.compare_exports(self.wanted, native_symbols.exports_of(text), "x")
        self.assertEqual(len(wrong), 4)
        self.assertIn("x does not export one", wrong)
        self.assertIn("x exports two as gpl, not as gpl:SPACE", wrong)

    def test_table(self):
        defined = {"one": "a.rs", "two": "a.rs", "three": "b.rs", "four": "c.c"}
        text = (
            "| symbol | exported | where | suites |\n"
            "| `one` | GPL | `a.rs` | x |\n"
            "| `two` | GPL, SPACE | `a.rs` |  |\n"
            "| `three` | all | `b.rs` |  |\n"
        )
        wrong = native_symbols.compare_table(self.wanted, defined, text)
        self.assertEqual(len(wrong), 1)
        self.assertIn("four", wrong[0])
        rest = "| `four` | none | `c.c` |  |\n"
        self.assertEqual(native_symbols.compare_table(self.wanted, defined, text + rest), [])
        wrong = native_symbols.compare_table(self.wanted, defined, text.replace("a.rs", "b.rs") + rest)
        self.assertEqual(len(wrong), 2)
        wrong = native_symbols.compare_table(self.wanted, defined, text + rest + rest.replace("four", "five"))
        self.assertEqual(wrong, ["five is in the table and not in tools/config/native-symbols"])

    def test_suites(self):
        text = "| `one` | GPL | `a.rs` | x, y |\n| `two` | GPL | `a.rs` |  |\n"
        self.assertEqual(native_symbols.suites_in(text), {"one": {"x", "y"}, "two": set()})
        self.assertEqual(native_calls.compare({"x", "y"}, {"y", "x"}), "")
        self.assertIn("x", native_calls.compare({"x"}, set()))
        self.assertIn("x", native_calls.compare(set(), {"x"}))

    def test_the_suite_of_the_functions(self):
        text = "| `one` | GPL | `a.rs` | x, API |\n| `two` | GPL | `a.rs` | API |\n| `three` | GPL | `a.rs` |  |\n"
        wrong = native_symbols.compare_suites({"one", "three"}, text)
        self.assertEqual([line.split(":")[0] for line in wrong], ["three", "three", "two"])
        text = text.replace("|  |", "| x |")
        self.assertEqual(native_symbols.compare_suites({"one", "two"}, text), [])

    def test_missing(self):
        names = {"one", "four"}
        self.assertEqual(native_symbols.missing(self.wanted, names), ["three", "two"])
        self.assertEqual(native_symbols.missing(self.wanted, names, {"OTHER"}), ["three"])


class Sources(unittest.TestCase):
    def test_the_frontend_exports_the_list(self):
        text = (CHECKOUT / "frontend/native/exports.c").read_text(encoding="utf-8")
        wanted = native_symbols.listed()
        self.assertEqual(native_symbols.compare_exports(wanted, native_symbols.exports_of(text), "ours"), [])

    def test_definitions_are_seen(self):
        names = native_symbols.defined_in_source()
        self.assertEqual(names["iommu_map"], "map.rs")
        self.assertEqual(names["iommu_probe_device_lock"], "exports.c")

    def test_the_table_is_complete(self):
        text = (CHECKOUT / "Documentation/native.md").read_text(encoding="utf-8")
        wanted, defined = native_symbols.listed(), native_symbols.defined_in_source()
        self.assertEqual(native_symbols.compare_table(wanted, defined, text), [])


if __name__ == "__main__":
    unittest.main()
