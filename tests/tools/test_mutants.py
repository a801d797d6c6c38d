# SPDX-License-Identifier: GPL-2.0
"""Mutants: each can be applied, and what counts as noticed."""

import pathlib
import tempfile
import unittest

from iommu_core_tools import mutants
from iommu_core_tools.errors import ToolError
from iommu_core_tools.paths import CHECKOUT


class Mutants(unittest.TestCase):
    def test_each_replaces_a_text_that_occurs_once(self):
        found = mutants.load()
        self.assertTrue(found)
        for mutant in found:
            with self.subTest(mutant.rule):
                text = (CHECKOUT / mutant.file).read_text(encoding="utf-8")
                self.assertEqual(text.count(mutant.old), 1)
                self.assertNotEqual(mutant.old, mutant.new)

    def test_rules_are_different(self):
        rules = [mutant.rule for mutant in mutants.load()]
        self.assertEqual(len(rules), len(set(rules)))

    def test_apply(self):
        mutant = mutants.Mutant("rule", "a.rs", "x > 0", "x > 1", "kunit")
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "a.rs"
            path.write_text("if x > 0 {}", encoding="utf-8")
            self.assertEqual(mutant.apply(pathlib.Path(folder)), "if x > 0 {}")
            self.assertEqual(path.read_text(encoding="utf-8"), "if x > 1 {}")
            with self.assertRaises(ToolError):
                mutant.apply(pathlib.Path(folder))


class Noticed(unittest.TestCase):
    def test_a_failed_case(self):
        output = "x\nfailed: kunit (UML): iommu_core_a.b: ASSERTION: c (log: d)\n3 passed, 1 failed, 0 skipped\n"
        self.assertEqual(mutants.failures_in(output), ["iommu_core_a.b"])

    def test_nothing_failed(self):
        self.assertEqual(mutants.failures_in("4 passed, 0 failed, 0 skipped\n"), [])

    def test_code_that_does_not_compile_is_not_noticed(self):
        output = "failed: host: cargo test: cargo ended with 101\n0 passed, 1 failed, 0 skipped\n"
        self.assertIsNone(mutants.failures_in(output))
        output = "failed: kunit (UML): set-up: no\n0 passed, 1 failed, 0 skipped\n"
        self.assertIsNone(mutants.failures_in(output))
        self.assertIsNone(mutants.failures_in("error: no such thing\n"))
