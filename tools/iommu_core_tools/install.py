# SPDX-License-Identifier: GPL-2.0
"""Installs the module on this machine, so that it is loaded at boot; and uninstalls it."""

import os
import pathlib
import platform
import shutil

from . import module, run
from .arch import AMD64, of_machine
from .errors import ToolError
from .paths import TOOLS
from .progress import PROGRESS

# The scripts for initramfs-tools; with the layout of /etc/initramfs-tools.
_SCRIPTS = TOOLS / "initramfs-tools"


def install(arch=AMD64, wanted=""):
    """Installs the module for an architecture below /lib/modules of its kernel: on this machine, or below the
    root of another machine (INSTALL_MOD_PATH). `wanted` is the kernel that `KERNEL=` asks for.

    If that machine has initramfs-tools, also installs the scripts that load the module before device drivers.
    """
    if of_machine() is not AMD64:
        raise ToolError(
            f"these tools build on amd64 machines, and this is another one ({platform.machine()})",
            hint="on an amd64 machine: make build ARCH=arm64; copy the iommu_core.ko that it names to "
            "/lib/modules/<release>/updates here, then depmod <release>",
        )
    if arch is not AMD64 and _base() == pathlib.Path("/"):
        raise ToolError(
            f"a module for {arch.name} is of no use to this machine",
            hint="INSTALL_MOD_PATH=<root of the other machine's file system>, or make build and copy it",
        )
    built = module.build(arch, wanted=wanted)
    release = built.stock.release
    target = _base() / "lib/modules" / release
    if not target.is_dir():
        raise ToolError(
            f"{target} is not there: the kernel that the module is built for is not installed",
            hint=f"apt-get install -t {built.stock.suite.name} linux-image-{release}, then again",
        )
    _need_writable(target)
    (target / "updates").mkdir(exist_ok=True)
    shutil.copyfile(built.ko, target / "updates/iommu_core.ko")
    _depmod(f"module: installed in {target}/updates; depmod", release)
    for script, place in _scripts():
        if place.parent.is_dir():
            shutil.copy(script, place)
            PROGRESS.line(f"initramfs: {place}")


def uninstall():
    """Removes everything that `install()` has installed."""
    for ko in _base().glob("lib/modules/*/updates/iommu_core.ko"):
        _need_writable(ko.parent)
        ko.unlink()
        _depmod(f"module: removed from {ko.parent}; depmod", ko.parts[-3])
    for _script, place in _scripts():
        if place.exists():
            place.unlink()
            PROGRESS.line(f"initramfs: removed {place}")


def _base():
    return pathlib.Path(os.environ.get("INSTALL_MOD_PATH") or "/")


def _scripts():
    """Each of our scripts, and its path on the machine."""
    for script in sorted(path for path in _SCRIPTS.rglob("*") if path.is_file()):
        yield script, _base() / "etc/initramfs-tools" / script.relative_to(_SCRIPTS)


def _need_writable(folder):
    if not os.access(folder, os.W_OK):
        raise ToolError(f"{folder} is not writable", hint="run it as root")


def _depmod(text, release):
    with PROGRESS.step(text) as step:
        if not run.run(["depmod", "-b", str(_base()), release], log=step.log):
            raise step.fail("depmod failed")
