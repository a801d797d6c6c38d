# SPDX-License-Identifier: GPL-2.0
"""Builds iommu_core.ko for the stock kernel."""

import os
import platform
import re
import shutil

from . import cache, kernel, root, run
from .arch import AMD64, of_machine
from .errors import ToolError
from .paths import CHECKOUT, jobs
from .progress import PROGRESS
from .sync import sync


class Build:
    """A built module: `ko` is the module, `command` the rustc command line that made its object."""

    def __init__(self, stock, folder):
        self.stock = stock
        self.folder = folder
        self.ko = folder / "iommu_core.ko"

    @property
    def command(self):
        """The rustc command, as a shell line to run in `folder`, without the steps after it."""
        text = (self.folder / ".iommu_core.o.cmd").read_text(encoding="utf-8")
        line = re.search(r"^savedcmd_iommu_core\.o := (.*)$", text, re.M)[1]
        return line.split(" ; ", 1)[0].strip()


def build(arch=AMD64, *, clippy=False):
    """Builds the module of this checkout, as far as a change calls for; the `Build`."""
    stock = kernel.stock(arch)
    key = cache.key_of(checkout=str(CHECKOUT), build=str(stock.build), clippy=clippy)
    with cache.workspace("module", key) as folder:
        changed = sync(folder)
        if clippy and changed:
            # A crate that is up to date is not linted again, and shows no warnings then.
            (folder / "iommu_core.o").unlink(missing_ok=True)
        text = f"lint: clippy, {arch.name}" if clippy else f"module: build for {stock.release}"
        with PROGRESS.step(text) as step:
            argv = ["make", "-C", stock.build, f"M={folder}", f"-j{jobs()}"]
            argv += kernel.make_arguments(stock.release)
            argv += ["CLIPPY=1", "KRUSTFLAGS=-Dwarnings", "iommu_core.o"] if clippy else ["modules"]
            result = root.get().run(argv, log=step.log)
            if not result:
                show_compiler_output(result.output, folder)
                what = "clippy found something" if clippy else "the module does not build"
                raise step.fail(what, shown=True)
            if "warning: " in result.output:
                show_compiler_output(result.output, folder)
            if not clippy:
                step.done(f"{(folder / 'iommu_core.ko').stat().st_size >> 10} KB")
        return Build(stock, folder)


def path(arch):
    """Builds it for an architecture; the path of iommu_core.ko."""
    return build(arch).ko


def show_compiler_output(output, folder):
    """Shows what the compiler said, with the paths of the checkout."""
    noise = re.compile(r"\$ |make(\[\d+\])?: |  [A-Z]+ |Skipping BTF")
    keep = [line for line in output.splitlines() if not noise.match(line)]
    PROGRESS.plain("\n".join(keep).replace(f"{folder}/", ""))


def install(arch=AMD64):
    """Installs the module for an architecture below /lib/modules of the kernel it is built for: on this
    machine, or in the root of another one (INSTALL_MOD_PATH)."""
    if of_machine() is not AMD64:
        raise ToolError(
            f"these tools build on amd64 machines, and this is another one ({platform.machine()})",
            hint="on an amd64 machine: make build ARCH=arm64; copy the iommu_core.ko that it names to "
            "/lib/modules/<release>/updates here, then depmod <release>",
        )
    base = os.environ.get("INSTALL_MOD_PATH", "")
    if arch is not AMD64 and not base:
        raise ToolError(
            f"a module for {arch.name} is of no use to this machine",
            hint="INSTALL_MOD_PATH=<root of the other machine's file system>, or make build and copy it",
        )
    built = build(arch)
    target = f"{base}/lib/modules/{built.stock.release}"
    if not os.path.isdir(target):
        raise ToolError(
            f"{target} is not there: the kernel that the module is built for is not installed",
            hint=f"apt-get install -t trixie-backports linux-image-{built.stock.arch.name}, then again",
        )
    if not os.access(target, os.W_OK):
        raise ToolError(f"{target} is not writable", hint="run it as root")
    os.makedirs(f"{target}/updates", exist_ok=True)
    shutil.copyfile(built.ko, f"{target}/updates/iommu_core.ko")
    with PROGRESS.step(f"module: installed in {target}/updates; depmod") as step:
        argv = ["depmod", *(["-b", base] if base else []), built.stock.release]
        if not run.run(argv, log=step.log):
            raise step.fail("depmod failed")
