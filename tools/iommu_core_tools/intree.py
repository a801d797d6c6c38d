# SPDX-License-Identifier: GPL-2.0
"""Kernels with this tree in them, as drivers/iommu/iommu_core."""

import contextlib
import pathlib
import re
import shutil

from . import cache, host, kernel, module, run
from .errors import ToolError
from .paths import CONFIG, jobs
from .progress import PROGRESS
from .sync import sync

FOLDER = "drivers/iommu/iommu_core"
# What changes in the kernel outside of that folder.
PATCH = CONFIG / "kernel.patch"


@contextlib.contextmanager
def built(name, fragment, arguments, targets=(), more=""):
    """Builds a kernel from the stock kernel's source with the checkout's code in it.

    `name` is what it is called in messages; `fragment` a file of tools/config, `more` further lines of
    such a file; `arguments` go to every `make`. The value is the build folder, which is this process's own until the context ends;
    it is kept, so that the next build does no more than a change calls for.
    """
    stock = kernel.stock()
    options = (CONFIG / fragment).read_text(encoding="utf-8") + more
    key = cache.key_of(source=str(stock.source), arguments=arguments)
    with cache.workspace(name, key) as folder:
        tree = _integrate(stock.source, folder)
        build = folder / "build"
        build.mkdir(exist_ok=True)
        base = ["make", "-C", tree, f"O={build}", *arguments]
        with PROGRESS.step(f"{name}: build Linux {stock.release.split('+')[0]} with this tree in it") as step:
            configured, wanted = folder / "configured", folder / "wanted"
            wanted.write_text(options, encoding="utf-8")
            if not configured.exists() or configured.read_text(encoding="utf-8") != options:
                shutil.copyfile(wanted, build / ".config")
            # Each time, since the checkout's own Kconfig may have changed.
            kernel.checked_make([*base, "olddefconfig"], step)
            unmet = kernel.config_unmet(wanted, build / ".config")
            if unmet:
                raise step.fail(f"tools/config/{fragment}: not taken by the kernel: {' '.join(unmet)}")
            configured.write_text(options, encoding="utf-8")
            try:
                kernel.checked_make([*base, f"-j{jobs()}", *targets], step)
            except ToolError as error:
                module.show_compiler_output(step.log.read_text(errors="replace"), FOLDER)
                error.shown = True
                raise
        yield build


def _integrate(source, folder):
    """Makes `folder`/linux the kernel `source` with the checkout's code in it; its path.

    The copy shares its files with `source` (hard links) but for those that the patch changes.
    """
    tree = pathlib.Path(folder) / "linux"
    done = pathlib.Path(folder) / "integrated"
    wanted = cache.file_hash(PATCH)
    if not done.exists() or done.read_text(encoding="ascii") != wanted:
        host.need("patch")
        cache.remove_tree(tree)
        if not run.run(["cp", "-al", source, tree]):
            raise ToolError(f"cannot copy the kernel source to {tree}")
        for name in re.findall(r"^\+\+\+ b/(\S+)$", PATCH.read_text(encoding="utf-8"), re.M):
            _own(tree / name)
        result = run.run(["patch", "-p1", "--forward", "-d", tree, "-i", PATCH])
        if not result:
            raise ToolError(f"tools/config/{PATCH.name} does not fit the kernel: {result.output.strip()}")
        done.write_text(wanted, encoding="ascii")
    (tree / FOLDER).mkdir(exist_ok=True)
    sync(tree / FOLDER)
    return tree


def _own(path):
    """Ends the link of a file to the clean source."""
    text = path.read_bytes()
    path.unlink()
    path.write_bytes(text)
