# SPDX-License-Identifier: GPL-2.0
"""Builds kernels that contain this tree as drivers/iommu/iommu_core.

Each kernel has its own workspace. Programs in the root see every workspace at the same path, so the compilers'
command lines are the same for all kernels. The kernels differ in a few options, so ccache can use for one kernel
what was compiled for another.
"""

import contextlib
import pathlib
import re
import shutil

from . import cache, host, kernel, module, run
from .errors import ToolError
from .paths import CONFIG, jobs
from .progress import PROGRESS
from .sync import ALL, sync

FOLDER = "drivers/iommu/iommu_core"
# The crate, as a target of `make`.
CRATE = f"{FOLDER}/iommu_core.o"
# The patch for the kernel outside of that folder.
PATCH = CONFIG / "kernel.patch"
# The patch for a kernel that has only tests/api of this tree.
SUITE_PATCH = CONFIG / "suite.patch"
# The path at which programs in the root see the workspace.
_WORKSPACE = pathlib.PurePath("/kernel")
SOURCE, BUILD = _WORKSPACE / "linux", _WORKSPACE / "build"
_CCACHE_SIZE = "4G"


@contextlib.contextmanager
def built(name, options, arguments, targets=(), *, patches, parts, wanted=""):
    """Builds a kernel from the stock kernel's source with the checkout's code in it.

    - `name`: the kernel's name in messages.
    - `options`: lines of a configuration; a later line overrides an earlier one.
    - `arguments`: for every `make`, with compilers that run through ccache.
    - `wanted`: whose source, as `KERNEL=` says it; default: the newest supported kernel.
    - `parts`: the folders of the checkout that are in the kernel, as for `sync()`; `patches`: what they need.

    The value is the build folder. It belongs to this process until the context ends. It is kept, so that the next
    build compiles only what has changed.
    """
    stock = kernel.stock(wanted=wanted)
    with cache.workspace(name, _workspace_key(stock, arguments)) as folder:
        tree = folder / "linux"
        _integrate(stock.source, folder, patches)
        if parts:
            sync(tree / FOLDER, parts=parts)
        build = folder / "build"
        build.mkdir(exist_ok=True)
        base = ["make", "-C", SOURCE, f"O={BUILD}", *arguments]
        what = " with this tree in it" if parts == ALL else ""
        with PROGRESS.step(f"{name}: build Linux {stock.release.split('+')[0]}{what}") as step:

            def make(*more):
                kernel.checked_make([*base, *more], step, binds=binds(build), env=_environment())

            configured, wanted = folder / "configured", folder / "wanted"
            wanted.write_text(options, encoding="utf-8")
            if not configured.exists() or configured.read_text(encoding="utf-8") != options:
                shutil.copyfile(wanted, build / ".config")
            # Each time, since the checkout's own Kconfig may have changed.
            make("olddefconfig")
            unmet = kernel.config_unmet(wanted, build / ".config")
            if unmet:
                raise step.fail(f"not taken by the kernel: {' '.join(unmet)}")
            configured.write_text(options, encoding="utf-8")
            try:
                make(f"-j{jobs()}", *targets)
            except ToolError as error:
                module.show_compiler_output(step.log.read_text(errors="replace"), FOLDER)
                error.shown = True
                raise
        yield build


def module_for(build, arguments, source, step):
    """Builds a module, whose sources are in a folder, for a kernel that was built in `build`. Returns its path."""
    folder = build.parent / source.name
    cache.remove_tree(folder)
    shutil.copytree(source, folder)
    base = ["make", "-C", SOURCE, f"O={BUILD}", *arguments, f"-j{jobs()}"]
    # No module of the kernel's own was built, so there is no list of symbols.
    for more in (["modules_prepare"], [f"M={_WORKSPACE / source.name}", "KBUILD_MODPOST_WARN=1", "modules"]):
        kernel.checked_make([*base, *more], step, binds=binds(build), env=_environment())
    (made,) = folder.glob("*.ko")
    return made


def forget(name, arguments, wanted=""):
    """Removes the build folder of a kernel that will not be built again."""
    cache.clean([f"work-{name}-{_workspace_key(kernel.stock(wanted=wanted), arguments)}"])


def _workspace_key(stock, arguments):
    return cache.key_of(source=str(stock.source), arguments=arguments)


def binds(build):
    """The arguments of `root.run()` that let a command see the build folder `build` as `BUILD`."""
    return [(build.parent, _WORKSPACE)]


def _environment():
    return {"CCACHE_DIR": str(cache.shared("ccache")), "CCACHE_MAXSIZE": _CCACHE_SIZE}


def _integrate(source, folder, patches):
    """Makes `folder`/linux a patched copy of the kernel `source`.

    The copy shares its files with `source` (hard links), except those that the patches change.
    """
    tree = pathlib.Path(folder) / "linux"
    done = pathlib.Path(folder) / "integrated"
    wanted = " ".join(map(cache.file_hash, patches)) or "as it is"
    if not done.exists() or done.read_text(encoding="ascii") != wanted:
        host.need("patch")
        cache.remove_tree(tree)
        if not run.run(["cp", "-al", source, tree]):
            raise ToolError(f"cannot copy the kernel source to {tree}")
        for patch in patches:
            for name in re.findall(r"^\+\+\+ b/(\S+)$", patch.read_text(encoding="utf-8"), re.M):
                _own(tree / name)
            result = run.run(["patch", "-p1", "--forward", "-d", tree, "-i", patch])
            if not result:
                raise ToolError(f"tools/config/{patch.name} does not fit the kernel: {result.output.strip()}")
        done.write_text(wanted, encoding="ascii")


def _own(path):
    """Replaces a hard link to the clean source by a copy of the file."""
    text = path.read_bytes()
    path.unlink()
    path.write_bytes(text)
