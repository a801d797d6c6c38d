# SPDX-License-Identifier: GPL-2.0
"""The guests' file system: busybox, the chosen kernel modules, our module and programs, init."""

import pathlib
import struct

from . import cache, guest_files, guest_programs
from .cpio import Archive
from .kmods import StockModules, modinfo

# The stock kernel's modules that the guests' devices and tests need.
MODULES = (
    "nvme", "ahci", "sd_mod", "e1000e", "igb", "igbvf", "virtio_blk", "qemu_fw_cfg",
    "vfio", "vfio_iommu_type1", "vfio_pci",
)  # fmt: skip

_INIT = guest_programs.FOLDER / "init"
# The folder for ACPI tables that replace the firmware's: see the kernel's
# Documentation/admin-guide/acpi/initrd_table_override.rst.
_ACPI = "kernel/firmware/acpi"


def build(root, arch, release, stock=None, ours=()):
    """The path of an archive for the kernel `release` of an architecture.

    `stock`: that kernel's folder in lib/modules, or None for a kernel without modules. `ours`:
    paths of .ko files that are not part of it.
    """
    busybox = guest_files.busybox(root, arch)
    programs = guest_programs.build(root, arch)
    ours = [pathlib.Path(path) for path in ours]
    key = cache.key_of(
        release=release,
        stock=str(stock),
        modules=MODULES,
        ours={path.name: cache.file_hash(path) for path in ours},
        programs=programs.name,
        init=cache.file_hash(_INIT),
        busybox=cache.file_hash(busybox),
        recipe=3,
    )

    def make(folder):
        archive = Archive()
        archive.add("init", _INIT.read_bytes(), 0o755)
        archive.add("bin/busybox", busybox.read_bytes(), 0o755)
        archive.link("bin/sh", "busybox")
        for name in guest_programs.PROGRAMS:
            archive.add(f"bin/{name}", (programs / name).read_bytes(), 0o755)
        for name in ("dev", "proc", "sys", "run", "tmp", "etc"):
            archive.folder(name)
        _add_modules(archive, release, stock, ours)
        (folder / "initramfs").write_bytes(archive.bytes())

    entry = cache.entry("initramfs", key, make)
    cache.prune("initramfs", 10)
    return entry / "initramfs"


def _add_modules(archive, release, stock, ours):
    base = f"lib/modules/{release}"
    modules = StockModules(stock).with_dependencies(MODULES) if stock else {}
    for path in ours:
        image = path.read_bytes()
        depends = dict(modinfo(image)).get("depends", "")
        needs = [name for name in depends.split(",") if name]
        modules[path.stem.replace("-", "_")] = (image, needs)
    lines = []
    for name, (image, _needs) in modules.items():
        archive.add(f"{base}/{name}.ko", image)
        needs = [f"{need}.ko" for need in _all_needs(modules, name)]
        lines.append(f"{name}.ko: {' '.join(needs)}".rstrip())
    archive.add(f"{base}/modules.dep", ("\n".join(lines) + "\n").encode())


def _all_needs(modules, name):
    """The modules that must be loaded before a module, the last one first, as in modules.dep."""
    order = []

    def visit(module):
        for need in modules[module][1]:
            visit(need)
            if need not in order:
                order.append(need)

    visit(name)
    return reversed(order)


def with_programs(archive, programs, target):
    """Writes `archive` to `target`, with programs (paths) in /suites."""
    late = Archive()
    for path in programs:
        late.add(f"suites/{path.name}", path.read_bytes(), 0o755)
    target = pathlib.Path(target)
    target.write_bytes(pathlib.Path(archive).read_bytes() + late.bytes())
    return target


def with_boot_config(archive, text, target):
    """Writes `archive` to `target`, followed by a configuration for the kernel.

    Its format is in the kernel's Documentation/admin-guide/bootconfig.rst.
    """
    data = text.encode() + b"\0"
    data += b"\0" * (-len(data) % 4)
    target = pathlib.Path(target)
    sizes = struct.pack("<II", len(data), sum(data))
    target.write_bytes(pathlib.Path(archive).read_bytes() + data + sizes + b"#BOOTCONFIG\n")
    return target


def with_acpi_tables(archive, tables, target):
    """Writes `archive` to `target`, preceded by ACPI tables (`{name: bytes}`) for the kernel."""
    early = Archive()
    for name, data in tables.items():
        early.add(f"{_ACPI}/{name}.aml", data)
    target = pathlib.Path(target)
    target.write_bytes(early.bytes() + pathlib.Path(archive).read_bytes())
    return target
