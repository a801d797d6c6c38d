# SPDX-License-Identifier: GPL-2.0
"""The archive's address from all forms of apt configuration."""

import pathlib
import tempfile
import unittest

from iommu_core_tools import archive
from iommu_core_tools.errors import ToolError


class Address(unittest.TestCase):
    def setUp(self):
        self._folder = tempfile.TemporaryDirectory()
        self.addCleanup(self._folder.cleanup)
        self.apt = pathlib.Path(self._folder.name)
        (self.apt / "sources.list.d").mkdir()

    def put(self, name, text):
        (self.apt / name).write_text(text, encoding="utf-8")

    def address(self, **environ):
        return archive.address(self.apt, environ)

    def test_one_line(self):
        self.put("sources.list", "# own\ndeb http://mirror.example/debian/ bookworm main contrib\n")
        self.assertEqual(self.address(), "http://mirror.example/debian")

    def test_one_line_with_options(self):
        self.put("sources.list", "deb [arch=amd64 signed-by=/k/debian-archive-keyring.gpg] file:/d trixie main\n")
        self.assertEqual(self.address(), "file:/d")

    def test_deb822(self):
        self.put(
            "sources.list.d/debian.sources",
            "Types: deb deb-src\n# why\nURIs: http://a.example/debian\nSuites: trixie\n trixie-updates\n"
            "Components: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n"
            "Types: deb\nURIs: http://a.example/debian-security\nSuites: trixie-security\nComponents: main\n",
        )
        self.assertEqual(self.address(), "http://a.example/debian")

    def test_disabled_and_source_only_are_skipped(self):
        self.put("sources.list", "deb-src http://src.example/debian trixie main\n")
        self.put(
            "sources.list.d/a.sources",
            "Enabled: no\nTypes: deb\nURIs: http://off.example/debian\nSuites: trixie\nComponents: main\n",
        )
        self.put("sources.list.d/b.list", "deb http://on.example/debian trixie main\n")
        self.assertEqual(self.address(), "http://on.example/debian")

    def test_third_parties_are_skipped(self):
        self.put("sources.list.d/a.list", "deb [signed-by=/k/other.gpg] http://other.example/apt bookworm main\n")
        self.put("sources.list.d/b.list", "deb http://db.example/apt bookworm-db main\n")
        self.put("sources.list.d/c.list", "deb http://engine.example/debian bookworm stable\n")
        self.put("sources.list.d/d.list", "deb http://unsigned.example/stuff bookworm main\n")
        self.put("sources.list.d/z.list", "deb http://own.example/debian bookworm main\n")
        self.assertEqual(self.address(), "http://own.example/debian")

    def test_other_file_names_are_not_read(self):
        self.put("sources.list.d/a.list.disabled", "deb http://off.example/debian trixie main\n")
        with self.assertRaisesRegex(ToolError, "no Debian archive"):
            self.address()

    def test_mirror_wins(self):
        self.put("sources.list", "deb http://mirror.example/debian bookworm main\n")
        self.assertEqual(self.address(MIRROR="http://near.example/d/"), "http://near.example/d")

    def test_nothing(self):
        with self.assertRaises(ToolError) as caught:
            self.address()
        self.assertIn("MIRROR=", caught.exception.hint)


class Explain(unittest.TestCase):
    def explain(self, text):
        with tempfile.NamedTemporaryFile("w", suffix=".log") as log:
            log.write(text)
            log.flush()
            return archive.explain(log.name, "http://a.example/debian")

    def test_unreachable(self):
        what, hint = self.explain("Err:1 x\n  Could not connect to a.example:80 (192.0.2.1).\nW: y\n")
        self.assertIn("http://a.example/debian cannot be reached: Could not connect", what)
        self.assertIn("MIRROR=", hint)

    def test_unknown_key(self):
        what, hint = self.explain("E: GPG error: NO_PUBKEY 1234\n")
        self.assertIn("key", what)
        self.assertIn("debian-archive-keyring", hint)

    def test_something_else(self):
        self.assertIsNone(self.explain("E: Broken packages\n"))


if __name__ == "__main__":
    unittest.main()
