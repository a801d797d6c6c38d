# SPDX-License-Identifier: GPL-2.0
"""The scripts of packaging/root, which make initramfs and boot entries, on a machine in a folder."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

from iommu_core_tools import viommu
from iommu_core_tools.paths import PACKAGING

NEW, OLD = "7.3.4+deb13-amd64", "7.2.12+deb13-amd64"
PARAMETERS = "intel_iommu=off intremap=off amd_iommu=off rd.iommu_core"
# Paths of the machine in the scripts.
_PATHS = re.compile(r"(?<![\w.}/])/(?=(?:etc|usr|lib|boot|proc|dev/kmsg|sys)\b)")

# What 10_linux of GRUB writes, as far as it matters here: in one line what does not.
_LINUX = r"""#!/bin/sh
echo "function gfxmode {
	set gfxpayload=\"\${1}\"
}"
echo "menuentry 'Debian GNU/Linux' --class debian --class os \$menuentry_id_option 'gnulinux-simple-8a1b' {
	linux	/boot/vmlinuz-newest root=UUID=8a1b $GRUB_CMDLINE_LINUX $GRUB_CMDLINE_LINUX_DEFAULT
}
submenu 'Advanced options for Debian GNU/Linux' \$menuentry_id_option 'gnulinux-advanced-8a1b' {"
for release in KERNELS; do
	for kind in advanced recovery; do
		echo "	menuentry 'Debian GNU/Linux, with Linux $release' --class debian --class gnu-linux --class os \$menuentry_id_option 'gnulinux-$release-$kind-8a1b' {
		if [ x\$grub_platform = xxen ]; then insmod xzio; fi
		linux	/boot/vmlinuz-$release root=UUID=8a1b ro $GRUB_CMDLINE_LINUX $GRUB_CMDLINE_LINUX_DEFAULT
		initrd	/boot/initrd.img-$release
	}"
	done
done
echo "}"
"""


class Machine(unittest.TestCase):
    """A machine in a folder. `put()` and `program()` add to it, `call()` runs one of our scripts."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.base = pathlib.Path(folder.name)
        self.bin = self.base / "bin"
        self.bin.mkdir()
        for path in (PACKAGING / "root").rglob("*"):
            if path.is_file():
                self.put(path.relative_to(PACKAGING / "root"), self.here(path.read_text(encoding="utf-8")), 0o755)
        for name in ("sh", "sed", "awk", "cat", "head", "sort", "rm", "tr", "od", "uname"):
            (self.bin / name).symlink_to(shutil.which(name))
        # What is called says so, and how.
        for name in ("depmod", "modinfo"):
            self.program(name)
        self.put("proc/cmdline", "root=/dev/vda1 quiet\n")

    def here(self, text):
        """A script, with the paths of this machine."""
        shebang, newline, rest = text.partition("\n")
        return shebang + newline + _PATHS.sub(f"{self.base}/", rest)

    def put(self, name, text="", mode=0o644):
        path = self.base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
        return path

    def program(self, name, script="", status=0):
        """A program that writes its name and arguments to the file `calls`."""
        text = f'#!/bin/sh\necho "{name} $*" >>{self.base}/calls\n{script}\nexit {status}\n'
        # It may be a link to the program of this machine.
        (self.bin / name).unlink(missing_ok=True)
        self.put(f"bin/{name}", text, 0o755)

    def kernel(self, release, module=True, suffix=".xz"):
        self.put(f"lib/modules/{release}/kernel/x.ko")
        self.put(f"boot/vmlinuz-{release}")
        if module:
            self.put(f"lib/modules/{release}/updates/iommu_core.ko{suffix}")

    def call(self, name, *words, status=0, **env):
        """Runs a script; its output and its errors."""
        result = subprocess.run(
            [self.base / name, *words], env={"PATH": str(self.bin), **env}, capture_output=True, text=True, check=False
        )
        self.assertEqual(result.returncode, status, result.stderr)
        self.errors = result.stderr
        return result.stdout

    def boot(self, *words, **options):
        return self.call("usr/lib/iommu-core/boot", *words, **options)

    def calls(self):
        path = self.base / "calls"
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        path.unlink(missing_ok=True)
        return [line.rstrip() for line in text.replace(f"{self.base}/", "/").splitlines()]


class Boot(Machine):
    def test_which_kernels_have_it(self):
        self.assertEqual(self.boot("releases"), "")
        self.kernel(NEW)
        self.kernel(OLD, suffix="")
        self.kernel("6.12.0-amd64", module=False)
        self.assertEqual(self.boot("releases").split(), [OLD, NEW])
        self.boot("has", NEW)
        self.boot("has", "6.12.0-amd64", status=1)
        self.boot("has", "6.12", status=1)

    def test_parameters(self):
        self.assertEqual(self.boot("parameters", NEW), f"{PARAMETERS}\n")
        self.assertEqual(self.boot("parameters", "7.3.4+deb13-arm64"),
                         "initcall_blacklist=arm_smmu_driver_init rd.iommu_core\n")  # fmt: skip
        self.put("etc/default/iommu-core", 'IOMMU_CORE_CMDLINE="a.b=1 c"\n')
        self.assertEqual(self.boot("parameters", NEW), f"{PARAMETERS} a.b=1 c\n")

    def test_parameters_leave_each_kind_of_unit_to_the_module(self):
        """The guests show that these suffice."""
        for kind in viommu.VIOMMUS.values():
            words = self.boot("parameters", f"7.3.4+deb13-rt-{kind.arch.name}").split()
            self.assertLessEqual({*kind.free, "rd.iommu_core"}, {*words})

    def test_unknown_words(self):
        self.boot("remove", NEW, status=2)
        self.assertIn("boot update <release>", self.errors)

    def test_initramfs_tools(self):
        self.kernel(NEW)
        self.program("update-initramfs")
        self.program("update-grub")
        self.put("boot/grub/grub.cfg")
        first = [f"depmod {NEW}", f"update-initramfs -c -k {NEW}", "update-grub"]
        self.boot("update", NEW)
        self.assertEqual(self.calls(), first)
        self.put(f"boot/initrd.img-{NEW}")
        self.boot("update", NEW)
        self.assertEqual(self.calls(), [first[0], f"update-initramfs -u -k {NEW}", first[2]])
        # The entry goes before the initramfs loses the module.
        (self.base / f"lib/modules/{NEW}/updates/iommu_core.ko.xz").unlink()
        self.boot("update", NEW)
        self.assertEqual(self.calls(), ["update-grub", first[0], f"update-initramfs -u -k {NEW}"])

    def test_dracut(self):
        self.kernel(NEW)
        self.program("dracut")
        self.boot("update", NEW)
        self.assertEqual(self.calls(), [f"depmod {NEW}", f"dracut --force --quiet /boot/initrd.img-{NEW} {NEW}"])

    def test_no_entry_without_initramfs(self):
        self.kernel(NEW)
        self.put("boot/grub/grub.cfg")
        self.program("update-grub")
        self.boot("update", NEW, status=1)
        self.assertIn("neither initramfs-tools nor dracut", self.errors)
        self.assertNotIn("update-grub", self.calls())
        self.program("update-initramfs", status=1)
        self.boot("update", NEW, status=1)
        self.assertNotIn("update-grub", self.calls())

    def test_no_boot_loader(self):
        self.kernel(NEW)
        self.program("dracut")
        self.boot("update", NEW)
        self.assertIn(f"with the parameters\niommu_core:     {PARAMETERS}", self.errors)

    def test_systemd_boot(self):
        self.kernel(NEW)
        entries = self.base / "efi/loader/entries"
        self.program("bootctl", f"[ $1 != --print-boot-path ] || echo {self.base}/efi")
        self.program("kernel-install")
        self.program("dracut", f"for entry in {entries}/*; do echo ${{entry##*/}} >>{self.base}/calls; done")
        for name in (f"tok-{NEW}.conf", f"tok-{NEW}-iommu_core.conf", f"tok-{OLD}-iommu_core.conf"):
            self.put(entries / name)
        copied = f"kernel-install add {NEW} /boot/vmlinuz-{NEW}"
        self.boot("update", NEW)
        self.assertEqual(self.calls()[-1], copied)
        self.assertEqual(self.errors, "")
        # The entry goes before the initramfs loses the module, and then the copy loses it too.
        (self.base / f"lib/modules/{NEW}/updates/iommu_core.ko.xz").unlink()
        self.boot("update", NEW)
        calls = [call for call in self.calls() if not call.startswith("bootctl")]
        self.assertEqual(calls, [
            f"depmod {NEW}", f"dracut --force --quiet /boot/initrd.img-{NEW} {NEW}",
            f"tok-{OLD}-iommu_core.conf", f"tok-{NEW}.conf", copied,
        ])  # fmt: skip
        # A kernel that is gone has no copy.
        (self.base / f"boot/vmlinuz-{NEW}").unlink()
        self.boot("update", NEW)
        self.assertNotIn(copied, self.calls())

    def test_kernel_that_is_gone(self):
        self.put("boot/grub/grub.cfg")
        self.program("update-grub")
        self.program("update-initramfs")
        self.boot("update", NEW)
        self.assertEqual(self.calls(), ["update-grub"])

    def test_unsigned_with_secure_boot(self):
        self.kernel(NEW)
        self.program("dracut")
        variable = self.put("sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c")
        for content, signer, warned in ((b"\6\0\0\0\1", "", True), (b"\6\0\0\0\1", "me", False), (b"\6\0\0\0\0", "", False)):
            with self.subTest((content, signer)):
                variable.write_bytes(content)
                self.program("modinfo", f"echo {signer}" if signer else "")
                self.boot("update", NEW)
                self.assertEqual("is not signed" in self.errors, warned)


class Grub(Machine):
    def setUp(self):
        super().setUp()
        self.kernel(OLD)

    def menu(self, *releases):
        """What both of our files write: before and after 10_linux."""
        self.put("etc/grub.d/10_linux", _LINUX.replace("KERNELS", " ".join(releases)), 0o755)
        env = {"GRUB_CMDLINE_LINUX": "rootdelay=9", "GRUB_CMDLINE_LINUX_DEFAULT": "quiet intel_iommu=on"}
        return [self.call(f"etc/grub.d/{name}_iommu_core", **env) for name in ("09", "11")]

    def test_newest_has_the_module(self):
        self.kernel(NEW)
        first, last = self.menu(NEW, OLD)
        self.assertEqual(last, "")
        titles = re.findall(r"^menuentry '(.*?)' --class", first, re.M)
        self.assertEqual(titles, [f"Debian GNU/Linux, with Linux {release} and iommu_core" for release in (NEW, OLD)])
        self.assertEqual(re.findall(r"'(gnulinux-\S*)' {", first),
                         [f"gnulinux-{release}-iommu_core-8a1b" for release in (NEW, OLD)])  # fmt: skip
        lines = re.findall(r"^\s*linux\s(.*)", first, re.M)
        # The last word on a parameter counts.
        self.assertEqual(lines[0].split("ro ")[1], f"rootdelay=9 quiet intel_iommu=on {PARAMETERS}")
        self.assertIn(f"/boot/vmlinuz-{OLD}", lines[1])
        for word in ("{", "menuentry '", "initrd\t"):
            self.assertEqual(first.count(word), 2, word)
        self.assertTrue(first.rstrip().endswith("}"))

    def test_newest_lacks_the_module(self):
        self.kernel(NEW, module=False)
        first, last = self.menu(NEW, OLD)
        self.assertEqual(first, "")
        self.assertEqual(re.findall(r"with Linux (\S+) and iommu_core", last), [OLD])
        self.assertIn(f"Found iommu_core for Linux {OLD}", self.errors)

    def test_no_module(self):
        (self.base / f"lib/modules/{OLD}/updates/iommu_core.ko.xz").unlink()
        self.assertEqual(self.menu(OLD), ["", ""])

    def test_module_of_a_kernel_that_is_not_there(self):
        self.assertEqual(self.menu(NEW), ["", ""])

    def test_without_10_linux(self):
        self.menu(OLD)
        (self.base / "etc/grub.d/10_linux").chmod(0o644)
        self.assertEqual(self.call("etc/grub.d/09_iommu_core"), "")
        self.assertIn("10_linux, from which they are made, is missing or off", self.errors)

    def test_package_is_removed(self):
        # /etc stays until the package is purged.
        self.menu(OLD)
        shutil.rmtree(self.base / "usr/lib/iommu-core")
        self.assertEqual(self.call("etc/grub.d/09_iommu_core"), "")
        self.assertEqual(self.errors, "")
        self.call("etc/kernel/postinst.d/iommu-core", NEW)


class KernelInstall(Machine):
    ENTRY = "title      Debian GNU/Linux\nversion    {}\noptions    root=/dev/vda2 quiet\nlinux /x/linux\n"

    def run_plugin(self, command, release=NEW, **options):
        env = {"KERNEL_INSTALL_BOOT_ROOT": str(self.base / "efi"), "KERNEL_INSTALL_ENTRY_TOKEN": "tok"}
        self.call("usr/lib/kernel/install.d/91-iommu-core.install", command, release, **env, **options)
        return sorted(path.name for path in (self.base / "efi/loader/entries").iterdir())

    def entry(self, name, release=NEW):
        self.put(f"efi/loader/entries/{name}", self.ENTRY.format(release))

    def test_added_and_removed(self):
        self.kernel(NEW)
        self.put("etc/default/iommu-core", "IOMMU_CORE_CMDLINE='a=1&2|3'\n")
        for name in (f"tok-{NEW}.conf", f"tok-{NEW}+3.conf"):
            with self.subTest(name):
                self.entry(name)
                self.assertEqual(self.run_plugin("add"), sorted([f"tok-{NEW}-iommu_core.conf", name]))
                own = (self.base / f"efi/loader/entries/tok-{NEW}-iommu_core.conf").read_text(encoding="utf-8")
                self.assertEqual(own.splitlines(), [
                    "title      Debian GNU/Linux and iommu_core", f"version    {NEW}^iommu-core",
                    f"options    root=/dev/vda2 quiet {PARAMETERS} a=1&2|3", "linux /x/linux",
                ])  # fmt: skip
                self.assertEqual(self.run_plugin("remove"), [name])
                (self.base / "efi/loader/entries" / name).unlink()

    def test_module_is_gone(self):
        self.kernel(NEW)
        self.entry(f"tok-{NEW}.conf")
        self.run_plugin("add")
        (self.base / f"lib/modules/{NEW}/updates/iommu_core.ko.xz").unlink()
        self.assertEqual(self.run_plugin("add"), [f"tok-{NEW}.conf"])

    def test_no_entry_to_copy(self):
        self.kernel(NEW)
        self.entry(f"tok-{OLD}.conf", OLD)
        self.assertEqual(self.run_plugin("add"), [f"tok-{OLD}.conf"])
        self.assertIn("no entry for Linux", self.errors)


class NewKernel(Machine):
    def test_said(self):
        self.kernel(OLD)
        self.kernel(NEW, module=False)
        self.call("etc/kernel/postinst.d/iommu-core", NEW, f"/boot/vmlinuz-{NEW}")
        self.assertIn(f"Linux {NEW} has no module iommu_core", self.errors)
        self.assertIn(f"in the boot menu: {OLD}", self.errors)
        self.assertIn(f"make deb KERNEL={NEW}", self.errors)

    def test_not_said(self):
        self.kernel(NEW, module=False)
        self.call("etc/kernel/postinst.d/iommu-core", NEW)
        self.assertEqual(self.errors, "")
        self.kernel(OLD)
        self.call("etc/kernel/postinst.d/iommu-core", OLD)
        self.assertEqual(self.errors, "")


class Load(Machine):
    def load(self, error=None):
        self.program("modprobe", f"echo '{error}' >&2" if error else "", 1 if error else 0)
        self.put("dev/kmsg")
        # It is run in both kinds of initramfs, where its result ends nothing.
        self.call("usr/share/initramfs-tools/scripts/init-top/iommu_core")
        self.assertEqual(self.errors, "")
        return (self.base / "dev/kmsg").read_text(encoding="utf-8")

    def test_only_if_the_entry_asks_for_it(self):
        self.assertEqual(self.load("no"), "")
        self.assertEqual(self.calls(), [])

    def test_loaded(self):
        self.put("proc/cmdline", f"quiet {PARAMETERS}\n")
        self.assertEqual(self.load(), "")
        self.assertEqual(self.calls(), ["modprobe iommu_core"])

    def test_not_loaded(self):
        self.put("proc/cmdline", f"{PARAMETERS} quiet\n")
        for error, said in (
            ("could not insert: Key was rejected by service", "only signed modules"),
            ("could not insert: Operation not permitted", "only signed modules"),
            ("FATAL: Module iommu_core not found in directory /lib", "boot update"),
            ("module iommu_core not found in modules.dep", "boot update"),
            ("could not insert: No such device", "journalctl"),
        ):  # fmt: skip
            with self.subTest(error):
                text = self.load(error)
                self.assertIn("NO IOMMU RESTRICTS THE DMA", text)
                self.assertIn(f"the reason: {error}", text)
                self.assertIn(said, text)
                # Levels below 4 are on the console despite "quiet".
                self.assertTrue(text.startswith("<2>iommu_core: "))

    def test_not_taken(self):
        self.put("proc/cmdline", f"{PARAMETERS} quiet\n")
        self.program("uname", f"echo {NEW}")
        # What modinfo says, its status, and what is said.
        for vermagic, status, said in (
            (f"{OLD} SMP preempt mod_unload ", 0, f"for another kernel: for {OLD}, and {NEW} runs"),
            # A release of which that of the kernel is the beginning.
            (f"{NEW}x SMP preempt mod_unload ", 0, f"for another kernel: for {NEW}x, and {NEW} runs"),
            ("", 0, "it was not built right"),
            (f"{NEW} SMP preempt mod_unload ", 0, "what the kernel says"),
            ("", 1, "what the kernel says"),
        ):
            for error in (
                "could not insert: Exec format error", "could not insert: Invalid argument",
                "can not load module iommu_core: invalid module format",
                "can not load module iommu_core: unknown symbol in module, or unknown parameter",
            ):  # fmt: skip
                with self.subTest((vermagic, status, error)):
                    self.program("modinfo", f"echo '{vermagic}'", status)
                    text = self.load(error)
                    self.assertIn(f"the reason: {error}", text)
                    self.assertIn(said, text)
                    # One explanation, between what has happened and the way out.
                    self.assertEqual(text.count("\n"), 4)
        self.assertIn("modinfo -F vermagic iommu_core", self.calls())

    def test_the_reason_is_known_where_modprobe_is_told_to_be_quiet(self):
        # initramfs-tools exports this.
        self.put("proc/cmdline", f"{PARAMETERS} quiet\n")
        self.program("modprobe", 'case $MODPROBE_OPTIONS in *q*) ;; *) echo "options $MODPROBE_OPTIONS" >&2 ;; esac', 1)
        for options, left in (("-qb", "-b"), ("", "")):
            self.put("dev/kmsg")
            self.call("usr/lib/iommu-core/load", status=1, MODPROBE_OPTIONS=options)
            text = (self.base / "dev/kmsg").read_text(encoding="utf-8")
            self.assertIn(f"the reason: options {left}\n", text)

    def test_forbidden(self):
        self.put("proc/cmdline", f"{PARAMETERS} module_blacklist=nouveau,iommu_core quiet\n")
        text = self.load("could not insert: Operation not permitted")
        self.assertIn("NO IOMMU RESTRICTS THE DMA", text)
        self.assertIn("module_blacklist= on the kernel", text)
        self.assertNotIn("signed", text)
        self.assertIn("the boot entry without iommu_core", text)

    def test_checked_again_with_the_whole_system(self):
        folder = PACKAGING / "root/usr/lib/systemd/system"
        unit = folder / "sysinit.target.wants/iommu-core-check.service"
        self.assertEqual(unit.resolve(), folder / unit.name)
        text = unit.read_text(encoding="utf-8")
        for line in ("ConditionKernelCommandLine=rd.iommu_core", "ConditionPathExists=!/sys/module/iommu_core",
                     "ExecStart=/usr/lib/iommu-core/load"):  # fmt: skip
            self.assertIn(f"\n{line}\n", text)
        # Its failure is that of the unit.
        self.put("proc/cmdline", f"{PARAMETERS}\n")
        self.program("modprobe", status=1)
        self.put("dev/kmsg")
        self.call("usr/lib/iommu-core/load", status=1)

    def test_prerequisites(self):
        self.assertEqual(self.call("usr/share/initramfs-tools/scripts/init-top/iommu_core", "prereqs"), "")


class InitramfsTools(Machine):
    def hook(self, release):
        functions = "manual_add_modules() { echo module $1; }\ncopy_file() { echo $1 ${2##*/}; }\n" \
                    "copy_exec() { echo program $1; }\n"
        self.put("usr/share/initramfs-tools/hook-functions", functions)
        return self.call("usr/share/initramfs-tools/hooks/iommu_core", version=release).splitlines()

    def test_only_for_a_kernel_that_has_it(self):
        self.kernel(NEW)
        self.kernel(OLD, module=False)
        self.assertEqual(self.hook(NEW), ["module iommu_core", "script load", f"program {self.base}/usr/sbin/modinfo"])
        self.assertEqual(self.hook(OLD), [])


class Dracut(Machine):
    def module(self, release):
        path = self.base / "usr/lib/dracut/modules.d/90iommu-core/module-setup.sh"
        steps = "instmods() { echo module $1; }; inst_simple() { echo ${1##*/}; }; inst_multiple() { echo $*; }; " \
                "inst_hook() { echo $1 ${3##*/}; [[ -e $3 ]]; }; "
        script = f"kernel={release} moddir={path.parent}; {steps} . {path}; check && depends && installkernel && install"
        env = {"PATH": f"{self.bin}:{os.defpath}"}
        result = subprocess.run(["bash", "-c", script], env=env, capture_output=True, text=True, check=False)
        self.assertEqual(result.stderr, "")
        return result.stdout.splitlines()

    def test_only_for_a_kernel_that_has_it(self):
        self.kernel(NEW)
        self.kernel(OLD, module=False)
        self.assertEqual(self.module(NEW), ["module iommu_core", "cat modinfo uname", "load", "pre-udev iommu-core-load.sh"])
        self.assertEqual(self.module(OLD), [])


if __name__ == "__main__":
    unittest.main()
