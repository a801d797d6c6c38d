# SPDX-License-Identifier: GPL-2.0
"""Tests of the packages on machines that start from disk, behind each kind of unit of amd64.

The firmware starts Debian's boot loader, this starts its default entry, and so on until systemd has started everything. dpkg
and apt run between the starts, on the host, in the system that is then written to the disk.
"""

import dataclasses
import shutil

from . import archive, cache, deb, debian_root, disk_image, guest_pci, kernel, machine, series, viommu
from .arch import AMD64
from .debian_root import check
from .report import Skip

_TRIXIE = disk_image.System("trixie", "initramfs-tools", disk_image.GRUB, first="7.2", newer=("7.3",))
# Testing has one kernel. The next one is that of sid, if sid has another.
_FORKY = disk_image.System("forky", "dracut", disk_image.GRUB, first="forky", newer=("sid", "7.3"))
_FORKY_SYSTEMD = dataclasses.replace(_FORKY, loader=disk_image.SYSTEMD_BOOT)

DISKS = (_TRIXIE, _FORKY, _FORKY_SYSTEMD)
SECURE_BOOT = f"Secure Boot, disk of {_TRIXIE.root}"

_VTD, _AMDVI = viommu.VIOMMUS["vtd"], viommu.VIOMMUS["amdvi"]
_DEVICES = "/sys/bus/pci/devices"
# The seconds that a command may take that starts many processes.
_LONG = 900


def run(report, suite, disk):
    """Installs, starts, upgrades the kernel, purges."""
    with cache.scratch("disk") as folder:
        test = _Life(disk, folder)
        for name, step in (
            ("the first kernel starts with iommu_core", test.first),
            ("a newer kernel without the module starts with its own driver", test.newer),
            ("with a module for it, it starts with iommu_core", test.newer_with_module),
            ("purged, the first kernel starts with its own driver", test.purged),
        ):
            with report.case(suite, f"{disk.name}: {name}"):
                step()


def run_secure_boot(report, suite):
    """Starts with Secure Boot: a module without signature, and one that is signed with a key of the machine's owner."""
    with cache.scratch("disk") as folder:
        test = _SecureBoot(_TRIXIE, folder)
        for name, step in (
            ("a module without signature is refused, and it is said why", test.refuses),
            ("a module that the owner has signed is loaded", test.loads),
        ):
            with report.case(suite, f"{SECURE_BOOT}: {name}"):
                step()


class _Disk:
    """A system, and the disk with it."""

    def __init__(self, disk, folder):
        self.disk = disk
        self.folder = folder
        self.inside = disk.inside(folder)

    def build(self, wanted, signed_with=None):
        """Builds our packages for a kernel (`KERNEL=`)."""
        for path in deb.build(AMD64, wanted, signed_with):
            shutil.copy(path, self.folder)

    def install(self, release):
        """Installs the packages for a kernel."""
        packages = debian_root.of_kernels(sorted(self.folder.glob("*.deb")), release)
        words = " ".join(map(str, packages))
        self.inside.sh(f"apt-get install -q -y --reinstall --no-install-recommends {words}", "install the packages")

    def started(self, kind, what, **options):
        """Writes the disk. The value is a guest that starts from it when its context is entered."""
        words = f"{kind.name} {self.disk.name} {what}".replace(",", "").split()
        made = disk_image.machine_of(kind, disk_image.make(self.inside, self.folder), **options)
        return disk_image.started(made, self.folder, "-".join(words))


class _Life(_Disk):
    """A disk from the first installation to the removal."""

    def __init__(self, disk, folder):
        super().__init__(disk, folder)
        self._found = None

    def first(self):
        """The first kernel, which has the module."""
        release, loader = self.inside.release, self.disk.loader
        self.build(self.disk.first)
        self.install(release)
        self._only_these_have_the_module(release)
        with self.started(_VTD, "first") as guest:
            has_our_driver(guest, release)
            # The disk is there, so nothing is a stub.
            guest.run(loader.remake.format(release=release), timeout=_LONG)
            seen, made = (loader.entries(where(f"cat {loader.configuration}")) for where in (guest.run, self.inside.sh))
            check(seen == made, f"{loader.remake} makes the same entries on the machine", f"{seen} for {made}")

    def newer(self):
        """A kernel comes that has no module."""
        release, version = self._newer["release"], self._newer["version"]
        if self._newer["suite"] not in series.ROOTS[self.disk.root].suites:
            self._add_suite(self._newer["suite"])
        output = self.inside.sh(
            f"apt-get install -q -y --no-install-recommends linux-image-{release}={version}",
            "install a kernel without the module",
        )
        check(f"Linux {release} has no module iommu_core" in output, "it is said", output)
        self._only_these_have_the_module(self.inside.release)
        with self.started(_AMDVI, "newer") as guest:
            has_own_driver(guest, release)
            text = guest.run("lsiommu", timeout=_LONG)
            check(guest_pci.behind(guest, machine.DISK) in text, "lsiommu lists the devices of the kernel's driver", text)

    @property
    def _newer(self):
        """A version of the kernel that is newer than the first."""
        if not self._found:
            self._found = newer_than(self.inside.release, map(_in_archive, self.disk.newer))
        if not self._found:
            raise Skip(f"the archive has no kernel for it that is newer than {self.inside.release}")
        return self._found

    def _add_suite(self, name):
        """Packages come from another suite if nothing else has them."""
        self.inside.sh(
            f"echo 'deb {archive.address()} {name} main' >/etc/apt/sources.list.d/newer.list; "
            f"printf 'Package: *\\nPin: release n={name}\\nPin-Priority: 100\\n' >/etc/apt/preferences.d/newer; "
            "apt-get update -q",
            f"add the suite {name}",
        )

    def newer_with_module(self):
        """The module comes for it too."""
        release = self._newer["release"]
        self.build(self._newer["wanted"])
        self.install(release)
        self._only_these_have_the_module(self.inside.release, release)
        with self.started(_AMDVI, "newer-with-module") as guest:
            has_our_driver(guest, release)

    def purged(self):
        """Nothing of ours is left."""
        newer = f"linux-image-{self._found['release']}" if self._found else ""
        self.inside.sh(f"apt-get purge -q -y --autoremove 'iommu-core-*' {newer}", "purge all")
        left = self.inside.sh("grep -rI --include=*.conf --include=grub.cfg rd.iommu_core /boot || true")
        check(not left.strip(), "no boot entry of ours is left", left)
        self._only_these_have_the_module()
        with self.started(_VTD, "purged") as guest:
            has_own_driver(guest, self.inside.release)

    def _only_these_have_the_module(self, *releases):
        """Fails unless each initramfs archive of these kernels has the module, and no other has. Boot loaders may have copies."""
        lister = debian_root.LISTERS[self.disk.initramfs]
        listed = self.inside.sh(
            "for file in $(find /boot -type f -name 'initrd*'); do "
            f"echo $file $({lister} $file | grep -c '/updates/iommu_core[.]ko'); done",
            "look into the initramfs archives",
        )
        archives = dict(line.split() for line in listed.splitlines())
        check(archives, "there are archives")
        for path, count in archives.items():
            check((count != "0") == any(release in path for release in releases), f"the module is only in those of {releases}", listed)


def newer_than(release, versions):
    """The first version of a kernel, of those that are there, that is newer than a release."""
    number = series.numbers(release)
    return next((version for version in versions if version and series.numbers(version["release"]) > number), None)


def _in_archive(wanted):
    """The version of a kernel, with what `KERNEL=` is for it, or None."""
    try:
        return {**kernel.resolve(series.Wanted(wanted, AMD64)), "wanted": wanted}
    except kernel.NotInArchive:
        return None


class _SecureBoot(_Disk):
    """A disk of a machine with Secure Boot."""

    def __init__(self, disk, folder):
        super().__init__(disk, folder)
        self._keys = disk_image.keys(folder)

    def refuses(self):
        """The machine starts without the module, and says why."""
        self.build(self.disk.first)
        self.install(self.inside.release)
        with self.started(_VTD, "unsigned", secure=self._keys.variables) as guest:
            words = runs(guest, self.inside.release)
            check("rd.iommu_core" in words, "the boot entry with iommu_core is the default", str(words))
            log = guest.kernel_log()
            check("Secure boot enabled" in log, "Secure Boot is on", log)
            check(not guest.works("[ -e /sys/module/iommu_core ]"), "the module is not loaded", log)
            # In the initramfs, and by the unit that has failed.
            for text in ("THE MODULE DID NOT LOAD", "the kernel accepts only signed modules (Secure Boot)"):
                check(log.count(text) == 2 and text in guest.said(), f"the console, and twice the log, say {text!r}", log)
            check(failed_units(guest) == ["iommu-core-check.service"], "systemctl --failed has it", str(failed_units(guest)))
            text = guest.run(f"/usr/lib/iommu-core/boot update {self.inside.release} 2>&1", timeout=_LONG)
            check("is not signed: it will not load" in text, "so does the command that makes the boot entry", text)

    def loads(self):
        """The module is signed with a key that the machine knows."""
        self.build(self.disk.first, self._keys.signing)
        self.install(self.inside.release)
        with self.started(_VTD, "signed", secure=self._keys.variables) as guest:
            has_our_driver(guest, self.inside.release)
            log = guest.kernel_log()
            check("Secure boot enabled" in log, "Secure Boot is on", log)


# --- what a started machine has ---------------------------------------------------------------


def has_our_driver(guest, release):
    """Fails unless the machine runs with iommu_core, which translates for the disk, and can give a device away."""
    words = runs(guest, release)
    check("rd.iommu_core" in words, "the boot entry with iommu_core is the default", str(words))
    nothing_has_failed(guest)
    states = guest.run("cat /sys/class/iommu/*/iommu_core/state").split()
    check(states and set(states) == {"translates"}, "the module has the units", str(states))
    folder = f"{_DEVICES}/{guest_pci.behind(guest, machine.DISK)}/iommu_core"
    domain, owner = (guest.run(f"cat {folder}/{name}").strip() for name in ("domain", "owner"))
    check(domain.startswith("paging domain "), "the disk's DMA is translated", domain)
    check(owner.startswith("kernel (1 driver): nvme"), "by our group of the disk", owner)
    _can_give_a_device_away(guest)


def _can_give_a_device_away(guest):
    """lsiommu says that VFIO takes a device. If not, it says what to do, and then VFIO takes it."""
    address = guest_pci.behind(guest, machine.TEST)
    guest.run("modprobe -a vfio_iommu_type1 vfio-pci", timeout=_LONG)
    guest_pci.give_to_vfio(guest, address)
    status, text = _check(guest, address)
    if guest_pci.has_unsafe_interrupts(guest):
        failed = [line for line in text.splitlines() if line.startswith("FAIL")]
        check(status == 1 and len(failed) == 1 and ": interrupts: " in failed[0], "only interrupts are in the way", text)
        check("vfio_iommu_type1.allow_unsafe_interrupts=1" in text, "lsiommu says what to do", text)
        guest_pci.load_vfio(guest)
        status, text = _check(guest, address)
        check("WARN" in text, "it warns of the interrupts", text)
    check(status == 0 and "FAIL" not in text, "lsiommu check passes", text)
    for what in ("group", "driver", "reserved regions"):
        check(f"PASS  {address}: {what}: " in text, f"the {what} passes", text)


def _check(guest, address):
    return guest.status(f"lsiommu check {address}", timeout=_LONG)


def has_own_driver(guest, release):
    """Fails unless the machine runs with the kernel's own driver, which translates for the disk."""
    words = runs(guest, release)
    check(not any("iommu" in word for word in words), "the default boot entry has none of our parameters", str(words))
    nothing_has_failed(guest)
    check(not guest.works("[ -e /sys/module/iommu_core ]"), "our module is not loaded")
    log = guest.kernel_log()
    check("iommu_core: " not in log, "and the kernel's log has nothing from it, nor from what loads it", log)
    number = guest_pci.group(guest, guest_pci.behind(guest, machine.DISK))
    check(number is not None, "the disk is in a group")
    kind = guest_pci.groups(guest)[number][0]
    check(kind.startswith("DMA"), "the disk's DMA is translated", kind)


def runs(guest, release):
    """Waits until systemd has started everything. Fails unless this kernel runs, from disk. Returns its parameters."""
    seen = guest.run("uname -r").strip()
    check(seen == release, f"{release} starts by default", seen)
    source = guest.run("findmnt -n -o SOURCE /").strip()
    check(source.startswith("/dev/nvme"), "the root file system is that on the disk", source)
    over = guest.wait_for("systemctl is-system-running | grep -Eqx 'running|degraded'", _LONG)
    check(over, "systemd has started everything", guest.run("systemctl list-jobs", timeout=_LONG))
    return guest.run("cat /proc/cmdline").split()


def nothing_has_failed(guest):
    """Fails if something did not start."""
    if failed := failed_units(guest):
        _status, why = guest.status(f"systemctl status --no-pager --full {' '.join(failed)}", timeout=_LONG)
        check(False, f"everything has started but for {' '.join(failed)}", why)


def failed_units(guest):
    """The names of what systemd could not start."""
    text = guest.run("systemctl list-units --failed --no-legend --plain", timeout=_LONG)
    return [line.split()[0] for line in text.splitlines() if line.strip()]
