# SPDX-License-Identifier: GPL-2.0
"""Kernels with this tree in them, as drivers/iommu/iommu_core."""

import contextlib
import pathlib
import shutil

from . import cache, kernel, module, run
from .errors import ToolError
from .paths import CONFIG, jobs
from .progress import PROGRESS
from .sync import sync

FOLDER = "drivers/iommu/iommu_core"


@contextlib.contextmanager
def built(name, fragment, arguments, targets=()):
    """Builds a kernel from the stock kernel's source with the checkout's code in it.

    `name` is what it is called in messages; `fragment` a file of tools/config; `arguments` go to
    every `make`. The value is the build folder, which is this process's own until the context ends;
    it is kept, so that the next build does no more than a change calls for.
    """
    stock = kernel.stock()
    options = (CONFIG / fragment).read_text(encoding="utf-8")
    key = cache.key_of(source=str(stock.source), arguments=arguments)
    with cache.workspace(name, key) as folder:
        tree = _integrate(stock.source, folder)
        build = folder / "build"
        build.mkdir(exist_ok=True)
        base = ["make", "-C", tree, f"O={build}", *arguments]
        with PROGRESS.step(f"{name}: build Linux {stock.release.split('+')[0]} with this tree in it") as step:
            configured = folder / "configured"
            if not configured.exists() or configured.read_text(encoding="utf-8") != options:
                shutil.copyfile(CONFIG / fragment, build / ".config")
            # Each time, since the checkout's own Kconfig may have changed.
            kernel.checked_make([*base, "olddefconfig"], step)
            unmet = kernel.config_unmet(CONFIG / fragment, build / ".config")
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

    The copy shares its files with `source` (hard links) but for the two that a line is added to.
    """
    tree = pathlib.Path(folder) / "linux"
    done = pathlib.Path(folder) / "integrated"
    if not done.exists():
        cache.remove_tree(tree)
        if not run.run(["cp", "-al", source, tree]):
            raise ToolError(f"cannot copy the kernel source to {tree}")
        _append(tree / "drivers/iommu/Kconfig", f'source "{FOLDER}/Kconfig"')
        _append(tree / "drivers/iommu/Makefile", "obj-$(CONFIG_IOMMU_CORE) += iommu_core/")
        done.touch()
    (tree / FOLDER).mkdir(exist_ok=True)
    sync(tree / FOLDER)
    return tree


def _append(path, line):
    text = path.read_text(encoding="utf-8")
    path.unlink()  # the link to the clean source ends here
    path.write_text(f"{text.rstrip()}\n\n{line}\n", encoding="utf-8")
