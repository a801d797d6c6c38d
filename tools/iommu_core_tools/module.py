# SPDX-License-Identifier: GPL-2.0
"""Builds iommu_core.ko for the stock kernel."""

import re

from . import cache, kernel, kmods, root
from .arch import AMD64
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


def build(arch=AMD64, *, clippy=False, wanted=""):
    """Builds what has changed in this checkout's module for the kernel `wanted` (`KERNEL=`). Returns the `Build`."""
    stock = kernel.stock(arch, wanted=wanted)
    key = cache.key_of(checkout=str(CHECKOUT), build=str(stock.build), clippy=clippy)
    with cache.workspace("module", key) as folder:
        changed = sync(folder)
        if clippy and changed:
            # A crate that is up to date is not linted again, and shows no warnings then.
            (folder / "iommu_core.o").unlink(missing_ok=True)
        text = f"lint: clippy, {arch.name}" if clippy else f"module: build for {stock.release}"
        with PROGRESS.step(text) as step:
            argv = ["make", "-C", stock.build, f"M={folder}", f"-j{jobs()}"]
            argv += kernel.make_arguments(stock.release, stock.compilers)
            argv += ["CLIPPY=1", "KRUSTFLAGS=-Dwarnings", "iommu_core.o"] if clippy else ["modules"]
            result = root.get(stock.compilers.name).run(argv, log=step.log)
            if not result:
                show_compiler_output(result.output, folder)
                what = "clippy found something" if clippy else "the module does not build"
                raise step.fail(what, shown=True)
            if "warning: " in result.output:
                show_compiler_output(result.output, folder)
            built = Build(stock, folder)
            if not clippy:
                if wrong := kmods.wrong_sections(built.ko.read_bytes()):
                    raise step.fail(f"no kernel would load the module: {', and '.join(wrong)}")
                step.done(f"{built.ko.stat().st_size >> 10} KB")
        return built


def path(arch, wanted=""):
    """Builds the module for an architecture. Returns the path of iommu_core.ko."""
    return build(arch, wanted=wanted).ko


def show_compiler_output(output, folder):
    """Shows the compiler's output, with the checkout's paths."""
    noise = re.compile(r"\$ |make(\[\d+\])?: |  [A-Z]+ |Skipping BTF")
    keep = [line for line in output.splitlines() if not noise.match(line)]
    PROGRESS.plain("\n".join(keep).replace(f"{folder}/", ""))
