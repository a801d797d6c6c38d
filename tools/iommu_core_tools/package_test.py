# SPDX-License-Identifier: GPL-2.0
"""Tests of the packages: lintian; in Debian roots: install, upgrade, a kernel without the module, remove, purge; and on disks.

A root is that of the compilers, with a layer of what a machine has: Debian's GRUB, and initramfs-tools or dracut. grub-probe
is a stub, because there is no disk. So are the kernel packages: they have the names, versions, hooks and configuration of
Debian's, and no modules, of which an initramfs takes minutes.
"""

import dataclasses
import functools
import os
import re
import shutil
import threading

from . import cache, deb, disk_test, host, kernel, machine, module_file, root, run, series, viommu
from .arch import AMD64
from .debian_root import Inside, check
from .progress import PROGRESS
from .version import VERSION

SUITE = "packages"
_BOOT_TIMEOUT = 600
_GRUB_PROBE = """#!/bin/sh
case "$*" in
*target=device*) echo /dev/vda1 ;;
*target=fs_uuid*) echo 8a1b2c3d-0000-4000-8000-000000000001 ;;
*target=fs\\ *|*target=fs) echo ext2 ;;
esac
"""
_PARAMETERS = "intel_iommu=off intremap=off amd_iommu=off rd.iommu_core"


@dataclasses.dataclass(frozen=True)
class DebianMachine:
    """A Debian root with what makes initramfs archives, and with a kernel (`KERNEL=`)."""

    kernel: str
    root: str
    initramfs: str

    @property
    def name(self):
        """Its name in results."""
        return f"root of {self.root}, {self.initramfs}"

    def get(self):
        """The root without what it needs as a machine."""
        return root.get(self.root)


MACHINES = (
    DebianMachine(series.SERIES[0], "trixie", "initramfs-tools"),
    DebianMachine(series.SERIES[0], "trixie", "dracut"),
)


def run_all(report, pattern=None):
    """Builds the packages, and tests them."""
    # lintian does not like the addresses of machines that have no domain.
    os.environ.setdefault("DEBEMAIL", "nobody@iommu-core.dev")
    with report.suite(SUITE):
        if not pattern or pattern in "lintian":
            with report.case(SUITE, "lintian finds nothing"):
                lintian(deb.build(AMD64))
        for machine in MACHINES:
            if not pattern or pattern in machine.name:
                _run_machine(report, machine, kernel.stock(AMD64, wanted=machine.kernel), deb.build(AMD64, machine.kernel))
        for disk in disk_test.DISKS:
            if not pattern or pattern in disk.name:
                disk_test.run(report, SUITE, disk)
        if not pattern or pattern in disk_test.SECURE_BOOT:
            disk_test.run_secure_boot(report, SUITE)


def lintian(debs):
    """Fails if lintian finds an error or warns."""
    host.need("lintian")
    with PROGRESS.step("packages: lintian") as step:
        argv = ["lintian", "--fail-on", "error,warning", "--tag-display-limit", "0", *debs]
        if not run.run(argv, log=step.log):
            raise step.fail("lintian found something")


# --- a machine --------------------------------------------------------------------------------


def _run_machine(report, machine, stock, debs):
    below = _machine_root(machine, stock)
    with cache.scratch("packages") as folder:
        for path in debs:
            shutil.copy(path, folder)
        inside = Inside(machine, machine.get().layered(folder / "layer", below), stock, folder)
        # As Debian's kernel packages do.
        inside.sh(f"depmod {stock.release}")
        before = _files(inside)
        for name, test in (
            ("installed", _installed),
            ("started", _started),
            ("a module of another kernel", _other_module),
            ("upgraded", _upgraded),
            ("a kernel without the module", _other_kernel),
            ("removed and purged", functools.partial(_removed, before=before)),
        ):
            with report.case(SUITE, f"{machine.name}: {name}"):
                test(inside, folder)


def _machine_root(machine, stock):
    """The layer with what a machine has."""

    def make(folder):
        inside = Inside(machine, machine.get().layered(folder), stock, folder)
        image = _kernel_package(folder, stock, stock.release, stock.version)
        stub = folder / "grub-probe"
        stub.write_text(_GRUB_PROBE, encoding="ascii")
        inside.sh(
            "apt-get update -q; "
            f"apt-get install -q -y --no-install-recommends linux-base {machine.initramfs} grub2-common zstd; "
            "if [ -d /etc/initramfs-tools/conf.d ]; then echo MODULES=list >/etc/initramfs-tools/conf.d/modules; fi; "
            f"dpkg-divert --rename --add /usr/sbin/grub-probe; install -m 755 {stub} /usr/sbin/grub-probe; "
            # The kernel hook of GRUB does nothing in a container.
            "ln -s /bin/false /usr/local/bin/systemd-detect-virt; "
            f"mkdir -p /boot/grub; dpkg -i {image}; update-grub",
            "install a kernel",
        )

    key = cache.key_of(root=root.key(machine.root), initramfs=machine.initramfs, version=stock.version, release=stock.release, recipe=3)
    return cache.entry("package-test", key, make)


_KERNEL_POSTINST = """#!/bin/sh
set -e
if [ "$1" = configure ]; then
	DEB_MAINT_PARAMS="$*" run-parts --arg={release} --arg=/boot/vmlinuz-{release} /etc/kernel/postinst.d
fi
"""
_KERNEL_POSTRM = """#!/bin/sh
set -e
if [ "$1" = remove ]; then
	rm -f /usr/lib/modules/{release}/modules.*
	DEB_MAINT_PARAMS="$*" run-parts --arg={release} --arg=/boot/vmlinuz-{release} /etc/kernel/postrm.d
fi
"""


def _kernel_package(folder, stock, release, version):
    """A package in the place of Debian's for a kernel. Returns its path."""
    tree = folder / f"tree-{release}"
    files = {
        "DEBIAN/control": f"Package: linux-image-{release}\nVersion: {version}\nArchitecture: {AMD64.name}\n"
        "Maintainer: Nobody <nobody@iommu-core.dev>\nDescription: a kernel for tests\n",
        "DEBIAN/postinst": _KERNEL_POSTINST.format(release=release),
        "DEBIAN/postrm": _KERNEL_POSTRM.format(release=release),
        f"boot/vmlinuz-{release}": "",
        f"boot/config-{release}": stock.config.read_text(encoding="utf-8"),
        f"usr/lib/modules/{release}/kernel/none": "",
    }
    for name in ("order", "builtin", "builtin.modinfo"):
        files[f"usr/lib/modules/{release}/modules.{name}"] = ""
    for name, text in files.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755 if name.startswith("DEBIAN/post") else 0o644)
    deb_path = folder / f"linux-image-{release}.deb"
    with PROGRESS.step(f"packages: make a kernel package {release}") as step:
        if not run.run(["dpkg-deb", "--root-owner-group", "-Zgzip", "-b", tree, deb_path], log=step.log):
            raise step.fail("dpkg-deb failed")
    cache.remove_tree(tree)
    return deb_path


def _files(inside):
    """Everything that a package could leave behind."""
    return set(inside.sh("find /etc /usr/lib /usr/share /usr/bin /usr/sbin /boot /lib/modules/ -xdev; dpkg --get-selections",
                         "what is there").splitlines())  # fmt: skip


# --- tests ------------------------------------------------------------------------------------


def _installed(inside, folder):
    inside.sh(f"apt-get install -q -y --no-install-recommends {folder}/*.deb", "install the packages")
    _check_installed(inside)
    check(inside.sh("lsiommu --version").split()[-1] == VERSION, "lsiommu has the packages' version")
    check(inside.sh(f"modinfo -k {inside.release} -F version iommu_core").strip() == VERSION, "and so has the module")


def _check_installed(inside):
    known = inside.read(f"/lib/modules/{inside.release}/modules.dep")
    check("updates/iommu_core.ko.xz:" in known, "depmod knows the module", known)
    files = inside.initramfs_files()
    check(module_file.NAME in files, "the initramfs has the module", files)
    check("usr/lib/iommu-core/load" in files, "and what loads it", files)
    check("sbin/modinfo" in files, "and what that asks when the module does not load", files)
    entries = inside.entries()
    own = [entry for entry in entries if entry[0].endswith("and iommu_core")]
    check([release for _title, release, _words in own] == [inside.release], "one boot entry has the module", str(entries))
    check(own[0][2].endswith(_PARAMETERS), "with its parameters", str(own))
    check(entries[0] == own[0], "it is the first", str(entries))
    rest = [entry for entry in entries if entry not in own]
    check(rest and not any("iommu" in words for _title, _release, words in rest), "no other has them", str(rest))


def _started(inside, folder):
    """The kernel and the initramfs of a boot entry, with its parameters. The guest has no root file system."""
    entries = inside.entries()
    own, other = entries[0][2], entries[1][2]
    kinds = [kind for kind in viommu.VIOMMUS.values() if kind.arch is AMD64]
    loaded, failed, udev = "translates for", "the boot entry without iommu_core", "Starting systemd-udevd|Started .*udevd"
    for kind in kinds:
        said = _console(inside, folder, kind, own, f"{loaded}|{failed}|{udev}", **kind.plain)
        check(loaded in said, f"{kind.name}: the module takes the unit before udev starts", said)
    said = _console(inside, folder, kinds[0], other, f"{loaded}|{failed}|{udev}", **kinds[0].plain)
    check("iommu_core:" not in said, "another entry does not load it", said)
    said = _console(inside, folder, kinds[0], f"{own} quiet", failed, unit=None)
    for text in ("THE MODULE DID NOT LOAD", "No such device"):
        check(text in said, "the console says why it did not load", said)


def _other_module(inside, folder):
    """A file at the module's place that is for another kernel: the console says which."""
    release, other = inside.release, f"9{inside.release[1:]}"
    path = f"/lib/modules/{release}/updates/{module_file.NAME}"
    remake = f"/usr/lib/iommu-core/boot update {release}"
    inside.sh(
        f"cp {path}.xz /boot/kept; xz -d {path}.xz; LC_ALL=C sed -i 's/vermagic={release} /vermagic={other} /' {path}; "
        f"xz --check=crc32 {path}; {remake}",
        "make a module of another kernel",
    )
    kind = viommu.VIOMMUS["vtd"]
    said = _console(inside, folder, kind, inside.entries()[0][2], "the boot entry without iommu_core", **kind.plain)
    # The words of kmod and of busybox.
    check(re.search("the reason: modprobe: .*(Exec format error|invalid module format)", said), "the console has the error", said)
    check(f"the module is for another kernel: for {other}, and {release} runs" in said, "and says what it means", said)
    inside.sh(f"mv /boot/kept {path}.xz; {remake}", "put the module back")


def _console(inside, folder, kind, parameters, until, **options):
    """What a guest writes to its console while it boots the initramfs, until a line that matches `until`."""
    image = folder / f"layer/upper/boot/initrd.img-{inside.release}"
    guest = machine.Machine(kind, parameters=[parameters], **options)
    lines, found = [], threading.Event()
    with PROGRESS.step(f"packages: {inside.machine.name}: start a guest ({kind.name})") as step:

        def on_line(line):
            lines.append(line)
            if re.search(until, line):
                found.set()

        argv = guest.command(folder, inside.stock.image, image) + ["-serial", "stdio"]
        with root.get().start(argv, log=step.log, on_line=on_line, timeout=_BOOT_TIMEOUT) as process:
            while process.running() and not found.wait(0.5):
                pass
        if not found.is_set():
            raise step.fail(f"the guest does not write {until!r}")
    return "\n".join(lines)


def _upgraded(inside, folder):
    newer = f"{VERSION}.1"
    with PROGRESS.step("packages: make newer ones") as step:
        for path in sorted(folder.glob("*.deb")):
            tree = folder / "tree"
            control = tree / "DEBIAN/control"
            steps = [["dpkg-deb", "-R", path, tree], ["dpkg-deb", "--root-owner-group", "-b", tree, folder / "newer"]]
            (folder / "newer").mkdir(exist_ok=True)
            if not run.run(steps[0], log=step.log):
                raise step.fail("dpkg-deb failed")
            text = control.read_text(encoding="utf-8")
            control.write_text(text.replace(f"\nVersion: {VERSION}\n", f"\nVersion: {newer}\n"), encoding="utf-8")
            if not run.run(steps[1], log=step.log):
                raise step.fail("dpkg-deb failed")
            cache.remove_tree(tree)
    inside.sh(f"apt-get install -q -y --no-install-recommends {folder}/newer/*.deb", "upgrade the packages")
    versions = inside.sh("dpkg-query -W -f '${Version} ' 'iommu-core-*'").split()
    check(set(versions) == {newer}, "all are upgraded", str(versions))
    _check_installed(inside)


def _other_kernel(inside, folder):
    """The newest kernel, which has no module, boots by default, with its own driver; dpkg's output says so."""
    number = series.numbers(inside.release)
    other = f"{number[0]}.{number[1]}.{number[2] + 1}{re.sub(r'^[0-9.]*', '', inside.release)}"
    package = _kernel_package(folder, inside.stock, other, "1")
    output = inside.sh(f"dpkg -i {package}", "install a kernel without the module")
    check(f"Linux {other} has no module iommu_core" in output, "it is said", output)
    check(module_file.NAME not in inside.initramfs_files(other), "its initramfs has none")
    entries = inside.entries()
    check(entries[0][1] == other and "iommu" not in entries[0][2], "it is the default, without our parameters", str(entries))
    own = [entry for entry in entries if entry[0].endswith("and iommu_core")]
    check([entry[1] for entry in own] == [inside.release], "the other one keeps its entry", str(entries))
    inside.sh(f"dpkg -P linux-image-{other}", "remove it")
    check(inside.entries()[0] == own[0], "the entry with the module is the first again")


def _removed(inside, _folder, before):
    inside.sh(f"apt-get remove -q -y iommu-core-modules-{inside.release}", "remove the module")
    check(not any("iommu" in words for _title, _release, words in inside.entries()), "no entry is left")
    files = inside.initramfs_files()
    check(module_file.NAME not in files and "iommu-core" not in files, "nothing of it is in the initramfs", files)
    check("iommu_core" not in inside.read(f"/lib/modules/{inside.release}/modules.dep"), "depmod does not know it")
    inside.sh("apt-get purge -q -y 'iommu-core-*'; apt-get autoremove -q -y --purge", "purge all")
    left = sorted(line for line in _files(inside) - before if "iommu" in line or line.startswith(("/boot", "/lib/modules")))
    check(not left, "files are left", "\n".join(left))
