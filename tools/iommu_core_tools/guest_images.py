# SPDX-License-Identifier: GPL-2.0
"""What guests boot: a kernel and a file system that belongs to it."""

import dataclasses
import pathlib

from . import custom_kernel, initramfs, kernel, root
from .guest import Guest

OURS, STOCK = "iommu_core", "stock"


@dataclasses.dataclass(frozen=True)
class Image:
    """A kernel and its file system; `start()` makes guests of it."""

    kernel: pathlib.Path
    initramfs: pathlib.Path
    # Whether our module and the device drivers are modules, to be loaded in the guest.
    modular: bool = True
    # What its kernel needs to be told, and how long it may take to boot, in seconds.
    parameters: tuple = ()
    boot_timeout: float = 120.0
    # What makes guests.
    guest: object = Guest

    def start(self, machine, name):
        """A guest that is not started yet; use it as a context manager."""
        machine.parameters += self.parameters
        return self.guest(root.get(), machine, self.kernel, self.initramfs, name, boot_timeout=self.boot_timeout)

    def with_programs(self, programs, target):
        """The same, with programs (paths) in /suites; the file system is written to `target`."""
        archive = initramfs.with_programs(self.initramfs, programs, target)
        return dataclasses.replace(self, initramfs=archive)

    def with_acpi_tables(self, tables, target):
        """The same, with some of the firmware's ACPI tables replaced; written to `target`."""
        archive = initramfs.with_acpi_tables(self.initramfs, tables, target)
        return dataclasses.replace(self, initramfs=archive)


def stock(arch, module=None):
    """The stock kernel, with our module at the path `module` if given."""
    linux = kernel.stock(arch)
    ours = [module] if module else []
    files = initramfs.build(root.get(), arch, linux.release, linux.modules, ours)
    return Image(linux.image, files)


def custom(kernel):
    """A `custom_kernel.Kernel`, which has everything built in."""
    return of_kernel(kernel, custom_kernel.build(kernel))


def of_kernel(kernel, path):
    """The image of such a kernel that was built."""
    files = initramfs.build(root.get(), kernel.arch, "none")
    # Every check is on, and under emulation that takes its time.
    return Image(path, files, modular=False, parameters=kernel.parameters, boot_timeout=600.0)
