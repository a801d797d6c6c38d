# SPDX-License-Identifier: GPL-2.0
"""`make install`: the module goes where its kernel is, or it says what to do; and `make uninstall`."""

import os
import pathlib
import tempfile
import unittest
from unittest import mock

from iommu_core_tools import install
from iommu_core_tools.arch import ARCHES, ARM64
from iommu_core_tools.errors import ToolError

_HOOKS, _TOP = "etc/initramfs-tools/hooks", "etc/initramfs-tools/scripts/init-top"


class Install(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.base = pathlib.Path(folder.name, "root")
        self.wanted = []

    def make(self, *folders):
        for name in folders:
            (self.base / name).mkdir(parents=True)

    def files(self):
        return sorted(str(p.relative_to(self.base)) for p in self.base.rglob("*") if p.is_file())

    def call(self, what, machine="x86_64", base=True):
        """Runs `what` on a machine; the commands that it ran."""
        with (
            mock.patch("platform.machine", return_value=machine),
            mock.patch.object(install.module, "build", self.build),
            mock.patch.object(install.run, "run", return_value=True) as run,
            mock.patch.dict(os.environ, {"INSTALL_MOD_PATH": str(self.base) if base else ""}),
        ):
            what()
        return [call[0][0] for call in run.call_args_list]

    def build(self, arch, wanted):
        self.wanted.append(wanted)
        ko = self.base.parent / "built.ko"
        ko.write_text(arch.name, encoding="utf-8")
        built = mock.Mock(ko=ko)
        built.stock.release, built.stock.arch = f"7.3-{arch.name}", arch
        built.stock.suite.name = "trixie-backports"
        return built

    def test_installed_and_removed(self):
        for arch in ARCHES.values():
            folder = f"lib/modules/7.3-{arch.name}"
            depmod = [["depmod", "-b", str(self.base), f"7.3-{arch.name}"]]
            self.make(folder)
            self.assertEqual(self.call(lambda arch=arch: install.install(arch)), depmod)
            self.assertEqual(self.files(), [f"{folder}/updates/iommu_core.ko"])
            ko = self.base / folder / "updates/iommu_core.ko"
            self.assertEqual(ko.read_text(encoding="utf-8"), arch.name)
            self.assertEqual(self.call(install.uninstall), depmod)
            self.assertEqual(self.files(), [])

    def test_scripts_of_the_initramfs(self):
        self.make("lib/modules/7.3-amd64", _HOOKS, _TOP)
        self.call(install.install)
        scripts = [f"{_HOOKS}/iommu_core", f"{_TOP}/iommu_core"]
        self.assertEqual(self.files(), [*scripts, "lib/modules/7.3-amd64/updates/iommu_core.ko"])
        for script in scripts:
            self.assertTrue(os.access(self.base / script, os.X_OK))
        self.call(install.uninstall)
        self.assertEqual(self.files(), [])

    def test_nothing_to_remove(self):
        self.make("lib/modules/7.3-amd64")
        self.assertEqual(self.call(install.uninstall), [])

    def test_on_another_machine(self):
        self.make("lib/modules/7.3-arm64")
        with self.assertRaises(ToolError) as caught:
            self.call(lambda: install.install(ARM64), machine="aarch64")
        self.assertIn("aarch64", caught.exception.what)
        self.assertIn("make build ARCH=arm64", caught.exception.hint)

    def test_for_another_machine(self):
        with self.assertRaises(ToolError) as caught:
            self.call(lambda: install.install(ARM64), base=False)
        self.assertIn("arm64", caught.exception.what)
        self.assertIn("INSTALL_MOD_PATH", caught.exception.hint)

    def test_kernel_is_not_there(self):
        self.make("lib/modules/7.2")
        with self.assertRaises(ToolError) as caught:
            self.call(lambda: install.install(ARM64))
        self.assertIn("-t trixie-backports linux-image-7.3-arm64", caught.exception.hint)

    def test_kernel_that_was_asked_for(self):
        self.make("lib/modules/7.3-amd64")
        self.call(lambda: install.install(wanted="7.2"))
        self.assertEqual(self.wanted, ["7.2"])
