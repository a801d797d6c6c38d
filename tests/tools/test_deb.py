# SPDX-License-Identifier: GPL-2.0
"""`make deb`: what debhelper is given; for which kernels."""

import os
import pathlib
import re
import unittest
from unittest import mock

from iommu_core_tools import deb, kernel, series
from iommu_core_tools.arch import AMD64, ARM64
from iommu_core_tools.errors import ToolError
from iommu_core_tools.paths import PACKAGING
from iommu_core_tools.version import VERSION

from folder import Folder


def _built(release, version="7.3.4-1~bpo13+1", arch=AMD64):
    built = mock.Mock()
    built.stock.release, built.stock.version, built.stock.arch = release, version, arch
    return built


class Source(Folder):
    """The folder that dpkg-buildpackage works in."""

    def fill(self, *built, arch=AMD64):
        source = self.folder / "source"
        source.mkdir()
        with (
            mock.patch.object(deb.module_file, "make") as make,
            mock.patch.object(deb.lsiommu, "crates", return_value=[("clap 4.6", self.put("clap/LICENSE-MIT", "Mine").parent)]),
            mock.patch.dict(os.environ, {"DEBFULLNAME": "A Person", "DEBEMAIL": "a@person.example"}),
        ):
            deb._fill(source, arch, built, self.put("lsiommu"), "signing")
        self.made = [(call[0][0].stock.release, call[0][1].relative_to(source), call[0][2]) for call in make.call_args_list]
        return source

    def test_a_package_for_each_kernel(self):
        source = self.fill(_built("7.3.4+deb13-amd64"), _built("7.2.12+deb13-amd64", "7.2.12-1~bpo13+1"))
        control = (source / "debian/control").read_text(encoding="utf-8")
        packages = re.findall(r"^Package: (.*)$", control, re.M)
        self.assertEqual(packages, ["iommu-core-common", "iommu-core-tools",
                                    "iommu-core-modules-7.3.4+deb13-amd64", "iommu-core-modules-7.2.12+deb13-amd64"])  # fmt: skip
        self.assertIn("linux-image-7.2.12+deb13-amd64 (= 7.2.12-1~bpo13+1)", control)
        self.assertIn("Maintainer: A Person <a@person.example>", control)
        for path in source.joinpath("debian").iterdir():
            self.assertNotRegex(path.read_text(encoding="utf-8"), r"@[A-Z]+@", path.name)
        for kind in ("install", "postinst", "postrm"):
            self.assertTrue((source / f"debian/iommu-core-modules-7.3.4+deb13-amd64.{kind}").exists())
        for release in ("7.3.4+deb13-amd64", "7.2.12+deb13-amd64"):
            self.assertIn((release, pathlib.Path("built", release), "signing"), self.made)

    def test_architecture(self):
        source = self.fill(_built("7.3.4+deb13-arm64", arch=ARM64), arch=ARM64)
        control = (source / "debian/control").read_text(encoding="utf-8")
        self.assertEqual(re.findall(r"^Architecture: (.*)$", control, re.M), ["all", "any", "arm64"])

    def test_notices_of_crates(self):
        source = self.fill(_built("7.3.4+deb13-amd64"))
        self.assertEqual((source / "built/crates.txt").read_text(encoding="utf-8"), "clap 4.6:\n\nMine\n")

    def test_version_and_date(self):
        changelog = deb._changelog()
        self.assertTrue(changelog.startswith(f"iommu-core ({VERSION}) "))
        self.assertRegex(changelog, r"\n -- .+ <.+>  \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}\n$")

    def test_lines_of_descriptions(self):
        for name in ("control", "control.modules"):
            for line in (deb._FOLDER / name).read_text(encoding="utf-8").splitlines():
                if line.startswith((" ", "Description")):
                    self.assertLessEqual(len(line), 80, line)

    def test_files_of_the_machine_are_executable(self):
        for path in (PACKAGING / "root").rglob("*"):
            if path.is_file():
                self.assertEqual(os.access(path, os.X_OK), "default" not in path.parts and "system" not in path.parts, path)


class Kernels(unittest.TestCase):
    def modules(self, build, wanted=""):
        with mock.patch.object(deb.module, "build", build), mock.patch.object(deb, "PROGRESS") as progress:
            found = deb._modules(AMD64, wanted)
        self.said = "\n".join(call[0][0] for call in progress.line.call_args_list)
        return found

    def test_each_supported_series(self):
        self.assertEqual(self.modules(lambda _arch, wanted: wanted), list(series.SERIES))

    def test_the_one_that_was_asked_for(self):
        self.assertEqual(self.modules(lambda _arch, wanted: wanted, "sid"), ["sid"])

    def test_not_in_the_archive(self):
        def build(_arch, wanted):
            if wanted == series.SERIES[-1]:
                raise kernel.NotInArchive(f"Linux {wanted} is not there")
            return wanted

        self.assertEqual(self.modules(build), list(series.SERIES[:-1]))
        self.assertIn(f"none for {series.SERIES[-1]}", self.said)

    def test_none_in_the_archive(self):
        def build(_arch, wanted):
            raise kernel.NotInArchive(wanted)

        with self.assertRaisesRegex(ToolError, "no kernel for amd64"):
            self.modules(build)
        with self.assertRaises(kernel.NotInArchive):
            self.modules(build, "7.2")


if __name__ == "__main__":
    unittest.main()
