# SPDX-License-Identifier: GPL-2.0
"""What guests need of other architectures' packages: busybox, firmware, and a library for programs."""

import pathlib

from . import cache, host, run
from .apt import Apt
from .arch import AMD64
from .errors import ToolError
from .paths import cache_dir
from .progress import PROGRESS
from .root import SUITE

# package: the one file of it that guests need
_FILES = {
    "busybox-static": "usr/bin/busybox",
    # UEFI for QEMU's machine "virt".
    "qemu-efi-aarch64": "usr/share/qemu-efi-aarch64/QEMU_EFI.fd",
    "libcap-dev": "usr/lib/aarch64-linux-gnu/libcap.a",
}


def busybox(root, arch):
    """The path of a static busybox."""
    if arch != AMD64:
        return _foreign(arch) / "busybox"
    path = pathlib.Path(root.path) / "usr/bin/busybox"
    if not path.is_file():
        raise ToolError(f"the root {root.path} has no busybox",
                        hint="tools/ic cache clean, then again")  # fmt: skip
    return path


def uefi(arch):
    """The path of the UEFI firmware of an architecture other than amd64."""
    return _foreign(arch) / "QEMU_EFI.fd"


def libcap(arch):
    """The path of the static libcap of an architecture other than amd64. The root has its headers."""
    return _foreign(arch) / "libcap.a"


def _foreign(arch):
    """The cache entry with the files of an architecture other than amd64."""

    def make(folder):
        host.need("apt-get", "dpkg-deb")
        debs, tree = folder / "debs", folder / "tree"
        debs.mkdir()
        name = f"apt-{SUITE}-{arch.name}"
        with PROGRESS.step(f"guest: download {', '.join(_FILES)} for {arch.name}") as step:
            with cache.locked(name):
                apt = Apt(cache_dir() / name, SUITE, arch.name)
                apt.update(step)
                apt.download(list(_FILES), debs, step)
            for deb in debs.iterdir():
                if not run.run(["dpkg-deb", "-x", deb, tree], log=step.log):
                    raise step.fail(f"cannot unpack {deb.name}")
            for package, path in _FILES.items():
                if not (tree / path).is_file():
                    raise step.fail(f"{package} has no {path}")
                (tree / path).rename(folder / pathlib.PurePath(path).name)
            cache.remove_tree(tree)
            cache.remove_tree(debs)

    return cache.entry(f"guest-files-{arch.name}", cache.key_of(files=_FILES, suite=SUITE), make)
