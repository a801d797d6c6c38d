# SPDX-License-Identifier: GPL-2.0
"""`make install`: what is needed is there before anything is changed, and what fails is undone; and `make uninstall`."""

import os
import pathlib
import tempfile
import unittest
from unittest import mock

from iommu_core_tools import install
from iommu_core_tools.arch import ARCHES, ARM64
from iommu_core_tools.errors import ToolError
from iommu_core_tools.module_file import Signing
from iommu_core_tools.paths import PACKAGING

_RELEASE = "7.3.4+deb13-amd64"
_MODULE = "lib/modules/{}/updates/iommu_core.ko.xz"
_BOOT = "usr/lib/iommu-core/boot"
_FORMER = ("etc/initramfs-tools/hooks/iommu_core", "etc/initramfs-tools/scripts/init-top/iommu_core")
OURS = sorted(str(path.relative_to(PACKAGING / "root")) for path in (PACKAGING / "root").rglob("*") if path.is_file())


class Install(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.base = pathlib.Path(folder.name, "root")
        self.put("usr/sbin/update-initramfs")
        self.put("etc/grub.d/10_linux")
        self.put("etc/initramfs-tools/hooks/other")
        self.wanted = []
        self.failing = None

    def put(self, name, text=""):
        path = self.base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def kernel(self, release=_RELEASE):
        self.put(f"lib/modules/{release}/modules.order")

    def files(self):
        """Every file with its text, and every folder."""
        return {str(p.relative_to(self.base)): os.readlink(p) if p.is_symlink() else p.read_text(encoding="utf-8")
                if p.is_file() else None for p in self.base.rglob("*")}  # fmt: skip

    def call(self, what, *, machine="x86_64", here=False, running=_RELEASE, depmod="/sbin/depmod", build=None):
        """Runs `what` on a machine; the commands that it ran. The build is as `build()` says."""
        commands = []

        def run(argv, **_options):
            commands.append([str(word).replace(f"{self.base}/", "/") for word in argv])
            return mock.Mock(output="noise\niommu_core: said\n", __bool__=lambda _self: commands[-1][0] != self.failing)

        # Outside of the tools' cache.
        scratch = tempfile.TemporaryDirectory()
        with (
            scratch as folder,
            mock.patch("platform.machine", return_value=machine),
            mock.patch("platform.release", return_value=running),
            mock.patch.object(install, "_base", lambda: self.base),
            mock.patch.object(install, "_find_depmod", lambda: depmod),
            mock.patch.object(install.kernel, "resolve", lambda asked: {"release": self.release(asked)}),
            mock.patch.object(install.module, "build", build or self.build),
            mock.patch.object(install.module_file, "make", self.make_file),
            mock.patch.object(install.cache, "scratch") as made,
            mock.patch.object(install.run, "run", mock.Mock(side_effect=run)),
            mock.patch.object(install, "PROGRESS", mock.MagicMock()) as progress,
            mock.patch.dict(os.environ, {"INSTALL_MOD_PATH": "" if here else str(self.base)}),
        ):
            made.return_value.__enter__.return_value = pathlib.Path(folder)
            progress.step.return_value.__enter__.return_value.fail = ToolError
            progress.step.return_value.__exit__.return_value = False
            try:
                what()
            finally:
                self.said = "\n".join(call[0][0] for call in progress.line.call_args_list)
        return commands

    def release(self, asked):
        return asked.text or f"7.3.4+deb13-{asked.arch.name}"

    def build(self, arch, wanted):
        self.wanted.append((arch.name, wanted))
        return arch.name

    def make_file(self, built, folder, signed_with):
        path = folder / "iommu_core.ko.xz"
        path.write_text(f"{built} {'signed' if signed_with else 'unsigned'}", encoding="utf-8")
        return path

    def refused(self, what, **options):
        """`what` is refused before anything is built or changed. Returns the whole text of the error."""
        before = self.files()
        with self.assertRaises(ToolError) as caught:
            self.call(what, **options)
        self.assertEqual(self.files(), before)
        self.assertEqual(self.wanted, [])
        return f"{caught.exception.what}; {caught.exception.hint}"

    def test_below_another_root(self):
        for arch in ARCHES.values():
            release = f"7.3.4+deb13-{arch.name}"
            self.kernel(release)
            before = self.files()
            depmod = [["/sbin/depmod", "-b", str(self.base), release]]
            self.assertEqual(self.call(lambda arch=arch: install.install(arch)), depmod)
            self.assertIn(f"next: on that machine, as root: /{_BOOT} update {release}", self.said)
            new = self.files().keys() - before.keys()
            files = {name for name in new if (self.base / name).is_file()}
            self.assertEqual(files, {*OURS, _MODULE.format(release)})
            self.assertEqual(self.files()[_MODULE.format(release)], f"{arch.name} unsigned")
            for name in OURS:
                wanted = (PACKAGING / "root" / name).lstat().st_mode
                self.assertEqual((self.base / name).lstat().st_mode, wanted, name)
            self.assertEqual(self.call(install.uninstall), depmod)
            self.assertEqual(self.files(), before)

    def test_on_this_machine(self):
        self.kernel()
        before = self.files()
        update = [[f"/{_BOOT}", "update", _RELEASE]]
        self.assertEqual(self.call(install.install, here=True), update)
        self.assertIn("next: restart", self.said)
        self.assertIn("iommu_core: said", self.said)
        self.assertNotIn("noise", self.said)
        self.assertEqual(self.call(install.uninstall, here=True), update)
        self.assertEqual(self.files(), before)

    def test_again_with_another_suffix_and_settings(self):
        self.kernel()
        plain = self.put(_MODULE.format(_RELEASE).removesuffix(".xz"), "old")
        self.put("etc/default/iommu-core", "mine")
        self.call(install.install)
        self.assertFalse(plain.exists())
        self.assertEqual(self.files()["etc/default/iommu-core"], "mine")

    def test_what_earlier_versions_have_installed(self):
        for name in _FORMER:
            self.put(name, "old")
        self.kernel()
        self.call(install.install)
        self.assertFalse(any((self.base / name).exists() for name in _FORMER))
        for name in _FORMER:
            self.put(name, "old")
        self.call(install.uninstall)
        self.assertFalse(any((self.base / name).exists() for name in _FORMER))
        self.assertTrue((self.base / "etc/initramfs-tools/hooks/other").exists())

    def test_signed(self):
        self.kernel()
        self.call(lambda: install.install(signed_with=Signing(pathlib.Path("k"), pathlib.Path("c"))))
        self.assertEqual(self.files()[_MODULE.format(_RELEASE)], "amd64 signed")

    def test_undone(self):
        self.kernel()
        for name in (*_FORMER, _MODULE.format(_RELEASE), "etc/grub.d/09_iommu_core"):
            self.put(name, f"old {name}")
        (self.base / "usr/lib/iommu-core").mkdir(parents=True)
        (self.base / "usr/lib/iommu-core/load").symlink_to("elsewhere")
        before = self.files()
        for here, failing in ((True, f"/{_BOOT}"), (False, "/sbin/depmod")):
            with self.subTest(here):
                self.failing = failing
                with self.assertRaises(ToolError):
                    self.call(install.install, here=here)
                self.assertEqual(self.files(), before)
                self.assertIn("put back", self.said)
                self.assertIn("look at the boot menu", self.said)

    def test_boot_entry_is_undone(self):
        """The scripts look again when the module is gone, and go after that."""
        self.kernel()
        before = self.files()
        seen = []

        def fail_once(*_words):
            seen.append((self.base / _MODULE.format(_RELEASE)).exists())
            self.assertTrue((self.base / _BOOT).exists())
            if len(seen) == 1:
                raise ToolError("update-grub failed")

        with mock.patch.object(install, "_refresh", fail_once), self.assertRaises(ToolError):
            self.call(install.install, here=True)
        self.assertEqual(seen, [True, False])
        self.assertEqual(self.files(), before)
        self.assertNotIn("look at the boot menu", self.said)

    def test_undone_when_a_file_cannot_be_written(self):
        self.kernel()
        # A file where a folder has to be.
        self.put("usr/lib/kernel")
        before = self.files()
        with self.assertRaises(OSError):
            self.call(install.install)
        self.assertEqual(self.files(), before)

    def test_nothing_to_remove(self):
        self.kernel()
        before = self.files()
        self.assertEqual(self.call(install.uninstall), [])
        self.assertEqual(self.files(), before)

    def test_of_a_package(self):
        self.kernel()
        module = self.put(_MODULE.format(_RELEASE))
        self.put("usr/lib/iommu-core/boot")
        self.put(f"var/lib/dpkg/info/iommu-core-modules-{_RELEASE}.list", f"/usr/{_MODULE.format(_RELEASE)}\n")
        self.put("var/lib/dpkg/info/iommu-core-common.list", "/usr/lib/iommu-core/boot\n")
        self.assertIn("belongs to a package", self.refused(install.install))
        self.call(install.uninstall)
        self.assertTrue(module.exists())
        self.assertTrue((self.base / "usr/lib/iommu-core/boot").exists())

    def test_folders_of_packages_stay(self):
        self.kernel()
        (self.base / "etc/kernel/postinst.d").mkdir(parents=True)
        self.put("var/lib/dpkg/info/linux-base.list", "/etc/kernel\n/etc/kernel/postinst.d\n")
        self.call(install.install)
        self.call(install.uninstall)
        self.assertTrue((self.base / "etc/kernel/postinst.d").is_dir())
        self.assertFalse((self.base / "usr/lib/iommu-core").exists())

    def test_no_tool_for_the_initramfs(self):
        self.kernel()
        (self.base / "usr/sbin/update-initramfs").unlink()
        self.assertIn("neither initramfs-tools nor dracut", self.refused(install.install))
        self.put("usr/bin/dracut")
        self.call(install.install)

    def test_no_depmod(self):
        self.kernel()
        self.assertIn("apt-get install kmod", self.refused(install.install, depmod=None))

    def test_kernel_is_not_there(self):
        self.kernel("7.2.12+deb13-amd64")
        text = self.refused(install.install, here=True, running="7.2.12+deb13-amd64")
        self.assertIn(f"apt-get install linux-image-{_RELEASE}", text)
        self.assertIn("make install KERNEL=7.2.12+deb13-amd64", text)
        self.assertNotIn("KERNEL=", self.refused(install.install, here=True, running="6.1.0-50-amd64"))

    def test_another_kernel_runs(self):
        self.kernel()
        self.call(install.install, here=True, running="6.12.1-amd64")
        self.assertIn("this machine runs 6.12.1-amd64", self.said)

    def test_unsigned_with_secure_boot(self):
        self.kernel()
        variable = self.put("sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c")
        variable.write_bytes(b"\6\0\0\0\1")
        self.assertIn("SIGN_KEY", self.refused(install.install, here=True))
        signing = Signing(pathlib.Path("k"), pathlib.Path("c"))
        self.call(lambda: install.install(signed_with=signing), here=True)

    def test_not_root(self):
        self.kernel()
        with mock.patch("os.access", return_value=False):
            self.assertIn("run it as root", self.refused(install.install))

    def test_on_another_machine(self):
        self.kernel("7.3.4+deb13-arm64")
        text = self.refused(lambda: install.install(ARM64), machine="aarch64")
        self.assertIn("aarch64", text)
        self.assertIn("make deb ARCH=arm64", text)

    def test_for_another_machine(self):
        text = self.refused(lambda: install.install(ARM64), here=True)
        self.assertIn("arm64", text)
        self.assertIn("INSTALL_MOD_PATH", text)

    def test_no_space_while_it_builds(self):
        self.kernel()
        before = self.files()

        def build(_arch, wanted):
            raise ToolError("no space left on the disk")

        with self.assertRaises(ToolError):
            self.call(install.install, build=build)
        self.assertEqual(self.files(), before)

    def test_kernel_that_was_asked_for(self):
        self.kernel("7.2.12+deb13-amd64")
        self.call(lambda: install.install(wanted="7.2.12+deb13-amd64"))
        self.assertEqual(self.wanted, [("amd64", "7.2.12+deb13-amd64")])


if __name__ == "__main__":
    unittest.main()
