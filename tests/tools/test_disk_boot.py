# SPDX-License-Identifier: GPL-2.0
"""`make deb-test`'s disks: what QEMU is told, which packages are installed, what is read from GRUB's menu and from systemd."""

import pathlib
import unittest
from unittest import mock

from iommu_core_tools import debian_root, disk_image, disk_test, series, viommu

from folder import Folder

_MENU = """
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
fi
menuentry 'Debian, with Linux 7.3.4+deb13-amd64 and iommu_core' --class debian $menuentry_id_option 'gnulinux-7.3.4-iommu_core-8a1b' {
	load_video
	if [ x$grub_platform = xxen ]; then insmod xzio; insmod lzopio; fi
	linux	/boot/vmlinuz-7.3.4+deb13-amd64 root=UUID=8a1b ro  console=ttyS0 rd.iommu_core
	initrd	/boot/initrd.img-7.3.4+deb13-amd64
}
submenu 'Advanced options for Debian' $menuentry_id_option 'gnulinux-advanced-8a1b' {
	menuentry 'Debian, with Linux 7.3.4+deb13-amd64' --class debian $menuentry_id_option 'gnulinux-7.3.4-advanced-8a1b' {
		linux	/boot/vmlinuz-7.3.4+deb13-amd64 root=UUID=8a1b ro  console=ttyS0
	}
	menuentry 'Debian, with Linux 7.3.4+deb13-amd64 (recovery mode)' --class debian $menuentry_id_option 'gnulinux-7.3.4-recovery-8a1b' {
		linux	/boot/vmlinuz-7.3.4+deb13-amd64 root=UUID=8a1b ro single
	}
}
"""

_ENTRY = """# Boot Loader Specification type#1 entry
# File created by /usr/lib/kernel/install.d/90-loaderentry.install (systemd 262-1)
title      {title}
version    {version}
machine-id 8a1b2c3d
sort-key   debian
options    {options}
linux      /8a1b2c3d/7.2.12+deb14-amd64/linux
initrd     /8a1b2c3d/7.2.12+deb14-amd64/initrd
"""


class Machine(Folder):
    def command(self, kind, **options):
        self.put("tools/upper/usr/share/OVMF/OVMF_VARS_4M.fd", "plain")
        with mock.patch.object(disk_image, "tools", return_value=self.folder / "tools"):
            made = disk_image.machine_of(viommu.VIOMMUS[kind], pathlib.Path("/disk.img"), **options)
            return " ".join(made.command(self.folder, None, None))

    def variables(self):
        return (self.folder / "variables.fd").read_text(encoding="utf-8")

    def test_firmware_starts_the_disk(self):
        for kind, unit in (("vtd", "intel-iommu,"), ("amdvi", "amd-iommu,dma-remap=on")):
            with self.subTest(kind):
                words = self.command(kind)
                self.assertIn(f"-device {unit}", words)
                self.assertIn("readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd", words)
                self.assertIn(f"unit=1,format=raw,file={self.folder}/variables.fd", words)
                self.assertRegex(words, r"id=disk,\S*,snapshot=on,file=/disk\.img")
                self.assertRegex(words, r"-device nvme,\S*drive=disk,bus=port10,bootindex=1")
                for kernel in ("-kernel", "-append", "-initrd", "smm=on"):
                    self.assertNotIn(kernel, words)
                self.assertEqual(self.variables(), "plain")

    def test_secure_boot(self):
        words = self.command("vtd", secure=self.put("keys.fd", "keys"))
        self.assertIn("-M q35,kernel-irqchip=split,smm=on ", words)
        self.assertIn("OVMF_CODE_4M.secboot.fd", words)
        self.assertIn("driver=cfi.pflash01,property=secure,value=on", words)
        self.assertEqual(self.variables(), "keys")

    def test_the_kernel_knows_its_lines(self):
        for path in ("etc/default/grub.d/disk.cfg", "etc/kernel/cmdline"):
            for word in ("console=ttyS0", "guest_agent=ttyS1"):
                self.assertIn(word, disk_image._files()[path])
        self.assertIn("/dev/ttyS1", disk_image._files()["etc/systemd/system/agent.service"])


    def test_a_guest_has_no_time_limits_of_its_own(self):
        files = disk_image._files()
        for name, line in (("system.conf.d", "DefaultTimeoutStartSec=infinity"), ("system/service.d", "TimeoutSec=infinity")):
            path = f"etc/systemd/{name}/limits.conf"
            self.assertIn(f"\n{line}\n", files[path])
            # Also in the initramfs.
            self.assertRegex(files["etc/dracut.conf.d/disk.conf"], f'install_items\\+=".* /{path} ')


class Disks(unittest.TestCase):
    def test_each_has_a_name_of_its_own_and_what_it_needs(self):
        names = [disk.name for disk in disk_test.DISKS] + [disk_test.SECURE_BOOT]
        self.assertEqual(len(set(names)), len(names))
        for disk in disk_test.DISKS:
            self.assertIn(disk.root, series.ROOTS)
            self.assertNotIn(disk.first, disk.newer)
            self.assertIn(disk.initramfs, debian_root.LISTERS)

    def test_newer_kernel(self):
        versions = [None, *({"release": f"{number}+deb14-amd64"} for number in ("7.2.9", "7.2.12", "7.2.13", "7.3.4"))]
        for first, newer in (("7.2.9+deb14-amd64", versions[2]), ("7.2.12+deb14-amd64", versions[3]), ("7.4.0-amd64", None)):
            self.assertEqual(disk_test.newer_than(first, versions), newer)

    def test_packages_of_a_kernel(self):
        release, other = "7.2.12+deb13-amd64", "7.3.4+deb13-amd64"
        common, lsiommu, theirs, no = (pathlib.Path(f"/d/{name}_0.1.0_amd64.deb") for name in (
            "iommu-core-common", "iommu-core-tools", f"iommu-core-modules-{release}", f"iommu-core-modules-{other}"))  # fmt: skip
        debs = [common, no, theirs, lsiommu, pathlib.Path("/d/linux-image.deb")]
        self.assertEqual(debian_root.of_kernels(debs, release), [common, theirs, lsiommu])
        self.assertEqual(debian_root.of_kernels(debs), [common, lsiommu])

    def test_menu(self):
        release, root = "7.3.4+deb13-amd64", "root=UUID=8a1b ro  console=ttyS0"
        self.assertEqual(debian_root.boot_entries(_MENU), [
            (f"Debian, with Linux {release} and iommu_core", release, f"{root} rd.iommu_core"),
            (f"Debian, with Linux {release}", release, root),
        ])  # fmt: skip

    def test_menu_of_systemd_boot(self):
        release, root = "7.2.12+deb14-amd64", "root=UUID=8a1b ro console=ttyS0"
        texts = [_ENTRY.format(title=title, version=version, options=options) for title, version, options in (
            ("Debian GNU/Linux and iommu_core", f"{release}^iommu-core", f"{root} rd.iommu_core"),
            ("Debian GNU/Linux", release, root),
        )]  # fmt: skip
        for order in (texts, reversed(texts)):
            self.assertEqual(debian_root.loader_entries("".join(order)), [
                ("Debian GNU/Linux", release, root),
                ("Debian GNU/Linux and iommu_core", release, f"{root} rd.iommu_core"),
            ])  # fmt: skip

    def test_what_has_failed(self):
        guest = mock.Mock()
        guest.run.return_value = "iommu-core-check.service loaded failed failed Check that iommu_core was loaded\n\n"
        self.assertEqual(disk_test.failed_units(guest), ["iommu-core-check.service"])
        guest.status.return_value = (3, "Active: failed (Result: timeout)")
        with self.assertRaisesRegex(AssertionError, "but for iommu-core-check.service: Active: failed .Result: timeout"):
            disk_test.nothing_has_failed(guest)
        guest.run.return_value = "\n"
        disk_test.nothing_has_failed(guest)


if __name__ == "__main__":
    unittest.main()
