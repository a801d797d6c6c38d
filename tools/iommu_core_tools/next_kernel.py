# SPDX-License-Identifier: GPL-2.0
"""Guests that boot another kernel by kexec: the same one, from a disk that no unit is in front of."""

import io
import tarfile

from . import guest_files, machine

_DISK, _FOLDER = "next", "/tmp/next"
_KEXEC = f"{_FOLDER}/ld.so --library-path {_FOLDER} {_FOLDER}/kexec"
# What a crash kernel needs at least: the kernel, the file system twice, room to work.
CRASH_MEMORY = "crashkernel=320M"


def add(bench, image):
    """Adds a disk with the kernel and the file system of `image`, and with kexec, to a machine."""
    files = {"vmlinuz": image.kernel, "initramfs": image.initramfs}
    files.update({path.name: path for path in guest_files.kexec(bench.viommu.arch).iterdir()})
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name, path in files.items():
            if path.is_file() and not name.startswith("."):
                archive.add(path, name)
    content = data.getvalue()
    bench.disk(_DISK, (len(content) >> 20) + 1, content)
    # Without "iommu_platform" virtio's DMA goes around the unit.
    bench.device("virtio-blk-pci", drive=_DISK, bus="pcie.0")


def load(guest, parameters, crash=False):
    """Loads the next kernel: for the next `execute()`, or for the next crash.

    `parameters` are what its command line has on top of what every guest has.
    """
    words = " ".join([*machine.base_parameters(guest.viommu.arch), *parameters])
    script = f"""
        set -e
        modprobe virtio_blk
        if [ ! -e {_FOLDER} ]; then
            mkdir {_FOLDER}
            tar x -C {_FOLDER} -f /dev/vda
        fi
        {_KEXEC} {"-p" if crash else "-l"} {_FOLDER}/vmlinuz --initrd={_FOLDER}/initramfs \\
            --command-line='{words}' 2>&1
    """
    guest.run(script, timeout=60)


def execute(guest):
    """Boots the kernel that was loaded, as a restart does: device drivers stop their devices."""
    guest.run(f"(sleep 0.5; {_KEXEC} -e) >/dev/null 2>&1 &")
    guest.wait_for_next_kernel()


def crash(guest):
    """Crashes the kernel, which boots the one that was loaded for this."""
    guest.run("(sleep 0.5; echo c >/proc/sysrq-trigger) >/dev/null 2>&1 &")
    guest.wait_for_next_kernel()
