# SPDX-License-Identifier: GPL-2.0
"""The tables of kinds of IOMMU and of machines: what QEMU and the guests' kernels are told."""

import pathlib
import tempfile
import unittest
from unittest import mock

from iommu_core_tools import guest_files, guest_tests, machine, viommu
from iommu_core_tools.errors import ToolError


class Kinds(unittest.TestCase):
    def command(self, kind, **options):
        with tempfile.TemporaryDirectory() as folder:
            with mock.patch.object(guest_files, "uefi", return_value="/uefi"):
                made = machine.bench(kind, **options)
                return made.command(pathlib.Path(folder), "/kernel", "/initramfs")

    def test_every_variant_makes_a_machine(self):
        for kind in viommu.VIOMMUS.values():
            for name, options in {**kind.stories, **kind.owners}.items():
                with self.subTest(kind=kind.name, variant=name):
                    words = self.command(kind, **options)
                    self.assertEqual(words[0], kind.arch.qemu)
                    self.assertEqual(words[words.index("-accel") + 1], "tcg")
                    (unit,) = (word for word in words if word.startswith(kind.device))
                    for key, value in options["unit"].items():
                        self.assertIn(f",{key}={value}", unit)
                    self.assertEqual("-bios" in words, bool(options.get("uefi")))

    def test_no_unit(self):
        for kind in viommu.VIOMMUS.values():
            words = self.command(kind, unit=None)
            self.assertFalse([word for word in words if word.startswith(kind.device)])

    def test_the_guest_knows_its_lines(self):
        for kind in viommu.VIOMMUS.values():
            words = self.command(kind)
            parameters = words[words.index("-append") + 1].split()
            self.assertIn(f"console={kind.arch.console}", parameters)
            self.assertIn(f"guest_agent={kind.arch.agent}", parameters)

    def test_scenarios_have_names_of_their_own(self):
        for kind in viommu.VIOMMUS.values():
            names = [found.name for found in guest_tests.scenarios(kind)]
            self.assertEqual(len(names), len(set(names)), names)

    def test_unknown(self):
        with self.assertRaises(ToolError) as caught:
            viommu.get("none")
        self.assertIn("VIOMMU=none", caught.exception.what)
        for name in viommu.VIOMMUS:
            self.assertIn(name, caught.exception.hint)


if __name__ == "__main__":
    unittest.main()
