# SPDX-License-Identifier: GPL-2.0
"""The images that guests boot: a kernel, and a file system for this kernel."""

import dataclasses
import pathlib

from . import custom_kernel, initramfs, kernel, root
from .guest import Guest

OURS, STOCK = "iommu_core", "stock"


@dataclasses.dataclass(frozen=True)
class Image:
    """A kernel and its file system. `start()` makes a guest that boots them."""

    kernel: pathlib.Path
    initramfs: pathlib.Path
    # Whether iommu_core and the device drivers are modules that a guest must load.
    modular: bool = True
    # Parameters of the kernel, and the seconds that a boot may take.
    parameters: tuple = ()
    boot_timeout: float = 120.0
    # The class of its guests.
    guest: object = Guest

    def start(self, machine, name):
        """A guest that is not started yet. Use it as a context manager."""
        machine.parameters += self.parameters
        return self.guest(root.get(), machine, self.kernel, self.initramfs, name, boot_timeout=self.boot_timeout)

    def with_programs(self, programs, target):
        """This image with programs (paths) in /suites. Writes the file system to `target`."""
        archive = initramfs.with_programs(self.initramfs, programs, target)
        return dataclasses.replace(self, initramfs=archive)

    def with_acpi_tables(self, tables, target):
        """This image with ACPI tables that replace the firmware's. Writes the file system to `target`."""
        archive = initramfs.with_acpi_tables(self.initramfs, tables, target)
        return dataclasses.replace(self, initramfs=archive)


def stock(arch, *modules, wanted=""):
    """The image of the stock kernel `wanted` (`KERNEL=`), with these module files; None is none."""
    linux = kernel.stock(arch, wanted=wanted)
    ours = [module for module in modules if module]
    files = initramfs.build(root.get(), arch, linux.release, linux.modules, ours)
    return Image(linux.image, files)


def custom(kernel):
    """The image of a `custom_kernel.Kernel`, which has everything built in. Builds the kernel."""
    return of_kernel(kernel, custom_kernel.build(kernel))


def of_kernel(kernel, path):
    """The image of a `custom_kernel.Kernel` that was built to `path`."""
    files = initramfs.build(root.get(), kernel.arch, "none")
    # All of the kernel's checks are on, which makes an emulated boot slow.
    return Image(path, files, modular=False, parameters=kernel.parameters, boot_timeout=600.0)
