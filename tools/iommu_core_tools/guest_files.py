# SPDX-License-Identifier: GPL-2.0
"""What guests need of packages that the root does not have: busybox, firmware, a library for programs, kexec."""

import pathlib

from . import cache, host, run
from .apt import Apt
from .arch import AMD64
from .errors import ToolError
from .paths import cache_dir
from .progress import PROGRESS
from .root import SUITE, toolchain

# package: the one file of it that guests need
_FILES = {
    "busybox-static": "usr/bin/busybox",
    # UEFI for QEMU's machine "virt".
    "qemu-efi-aarch64": "usr/share/qemu-efi-aarch64/QEMU_EFI.fd",
    "libcap-dev": "usr/lib/aarch64-linux-gnu/libcap.a",
}

# kexec, and the shared libraries that it needs: (package, file by its pattern).
_KEXEC = (
    ("kexec-tools", "usr/sbin/kexec"),
    ("libc6", "usr/lib/*/ld-linux-*.so.?"),
    ("libc6", "usr/lib/*/libc.so.6"),
    ("zlib1g", "usr/lib/*/libz.so.1"),
    ("libxenmisc4.20", "usr/lib/*/libxenctrl.so.4.20"),
    ("libxencall1", "usr/lib/*/libxencall.so.1"),
    ("libxendevicemodel1", "usr/lib/*/libxendevicemodel.so.1"),
    ("libxenevtchn1", "usr/lib/*/libxenevtchn.so.1"),
    ("libxenforeignmemory1", "usr/lib/*/libxenforeignmemory.so.1"),
    ("libxengnttab1", "usr/lib/*/libxengnttab.so.1"),
    ("libxentoolcore1", "usr/lib/*/libxentoolcore.so.1"),
    ("libxentoollog1", "usr/lib/*/libxentoollog.so.1"),
)


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


def rust_library(arch):
    """The folder ("sysroot") with Rust's standard library for an architecture other than amd64."""

    def make(folder):
        _unpack(arch, ["libstd-rust-dev"], folder / "tree", folder)

    key = cache.key_of(suite=SUITE, toolchain=toolchain(arch), recipe=1)
    return cache.entry(f"rust-library-{arch.name}", key, make) / "tree/usr"


def kexec(arch):
    """The folder with the program kexec, the dynamic linker ("ld.so") and the libraries that it needs."""

    def make(folder):
        tree = folder / "tree"
        _unpack(arch, dict.fromkeys(package for package, _file in _KEXEC), tree, folder)
        for package, pattern in _KEXEC:
            found = sorted(tree.glob(pattern))
            if not found:
                raise ToolError(f"{package} for {arch.name} has no {pattern}")
            name = "ld.so" if "ld-linux" in pattern else found[0].name
            (folder / name).write_bytes(found[0].read_bytes())
        cache.remove_tree(tree)
        (folder / "ld.so").chmod(0o755)

    return cache.entry(f"kexec-{arch.name}", cache.key_of(files=_KEXEC, suite=SUITE), make)


def _foreign(arch):
    """The cache entry with the files of an architecture other than amd64."""

    def make(folder):
        tree = folder / "tree"
        _unpack(arch, _FILES, tree, folder)
        for package, path in _FILES.items():
            if not (tree / path).is_file():
                raise ToolError(f"{package} for {arch.name} has no {path}")
            (tree / path).rename(folder / pathlib.PurePath(path).name)
        cache.remove_tree(tree)

    return cache.entry(f"guest-files-{arch.name}", cache.key_of(files=_FILES, suite=SUITE), make)


def _unpack(arch, packages, tree, folder):
    """Downloads packages to `folder` and unpacks them to `tree`, a folder that is not there yet."""
    host.need("apt-get", "dpkg-deb")
    debs = folder / "debs"
    debs.mkdir()
    name = f"apt-{SUITE}-{arch.name}"
    with PROGRESS.step(f"guest: download {', '.join(packages)} for {arch.name}") as step:
        with cache.locked(name):
            apt = Apt(cache_dir() / name, SUITE, arch.name)
            apt.update(step)
            apt.download(list(packages), debs, step)
        for deb in debs.iterdir():
            if not run.run(["dpkg-deb", "-x", deb, tree], log=step.log):
                raise step.fail(f"cannot unpack {deb.name}")
    cache.remove_tree(debs)
