# SPDX-License-Identifier: GPL-2.0
"""A Debian root that changes: runs dpkg and Debian's other tools in it, and reads what they have made."""

import re

from .progress import PROGRESS

_TIMEOUT = 3600

# What lists the files in an initramfs archive, by what has made it.
LISTERS = {"initramfs-tools": "lsinitramfs", "dracut": "lsinitrd"}


class Inside:
    """A root that changes. `binds` are host paths that its programs see, as `root.Root.run()` has them.

    `machine` has a name, and that of what makes its initramfs archives. `stock` is the kernel that has the module.
    """

    def __init__(self, machine, inside, stock, *binds):
        self.machine = machine
        self.stock = stock
        self.release = stock.release
        self.binds = list(binds)
        # What every script begins with.
        self.prelude = ""
        self._root = inside

    def sh(self, script, text=None):
        """Runs a shell script; its output. `text` says what it does, if the script does not."""
        env = {"DEBIAN_FRONTEND": "noninteractive"}
        argv = ["sh", "-ec", self.prelude + script]
        with PROGRESS.step(f"packages: {self.machine.name}: {text or script}") as step:
            result = self._root.run(argv, env=env, binds=self.binds, log=step.log, timeout=_TIMEOUT)
            if not result:
                raise step.fail(f"{script!r} ended with status {result.status}")
        return result.output

    def read(self, path):
        """The text of a file."""
        return self.sh(f"cat {path}")

    def entries(self):
        """GRUB's boot entries, as `boot_entries()` has them."""
        return boot_entries(self.read("/boot/grub/grub.cfg"))

    def initramfs_files(self, release=None):
        """What is in an initramfs archive."""
        return self.sh(f"{LISTERS[self.machine.initramfs]} /boot/initrd.img-{release or self.release}")


def boot_entries(text):
    """The boot entries in a grub.cfg: (title, release, parameters), without those for recovery."""
    found = re.findall(r"menuentry '([^']*)'[^\n]*\{\n(?:.*\n)*?\s*linux\s+\S*vmlinuz-(\S+) (.*)\n", text)
    return [entry for entry in found if "recovery" not in entry[0]]


def loader_entries(text):
    """The same from one or more files of the boot loader specification, as kernel-install writes them for systemd-boot."""
    found = re.findall(r"^title +(.*)\nversion +([^\s^]+)\S*\n(?:.*\n)*?options +(.*)\n", text, re.M)
    return sorted(found)


def of_kernels(debs, *releases):
    """Those of our packages that are for all kernels or for these."""
    wanted = tuple(f"iommu-core-modules-{release}_" for release in releases)
    return [path for path in debs if path.name.startswith((*wanted, "iommu-core-common_", "iommu-core-tools_"))]


def check(true, what, detail=""):
    """Fails with this text unless it is true."""
    assert true, f"{what}: {detail}" if detail else what
