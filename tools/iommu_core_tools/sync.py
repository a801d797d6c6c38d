# SPDX-License-Identifier: GPL-2.0
"""Copies the kernel code of the checkout to the folder where it is built.

Builds run on copies in the cache. So they leave nothing in the checkout, and use nothing that an in-place build has
left there. Only files that differ are written, so that `make` rebuilds only what has changed.
"""

import os
import pathlib
import shutil

from .paths import CHECKOUT

# The suite of the IOMMU layer's functions: kernel code that stands on its own.
API_SUITE = pathlib.PurePath("tests/api")
# The files that belong in a kernel tree.
ALL = (pathlib.PurePath("."), API_SUITE)
# Folders at the top without other kernel code.
_OTHER = {"tests", "tools", "Documentation", ".git", ".ci", "build"}


def kernel_files(checkout=CHECKOUT, parts=ALL):
    """The paths, relative to the checkout, of the files in these folders that belong in a kernel tree."""
    return sorted(path for part in parts for path in _files_of(checkout, part))


def _files_of(checkout, part):
    found = []
    for folder, folders, files in os.walk(checkout / part):
        relative = pathlib.Path(folder).relative_to(checkout)
        if relative == pathlib.Path("."):
            folders[:] = [name for name in folders if name not in _OTHER]
        for name in files:
            # A build has made files that end in .mod.c.
            is_code = name.endswith((".rs", ".c", ".h")) and not name.endswith(".mod.c")
            if is_code or name in ("Kbuild", "Kconfig"):
                found.append(relative / name)
    return found


def sync(target, checkout=CHECKOUT, parts=ALL):
    """Makes the kernel code in `target` equal to these folders of the checkout. Returns whether anything changed.

    Other files in `target` (objects of earlier builds) stay.
    """
    target = pathlib.Path(target)
    wanted = kernel_files(checkout, parts)
    changed = False
    for path in wanted:
        source, copy = checkout / path, target / path
        if copy.exists() and copy.read_bytes() == source.read_bytes():
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copy)
        changed = True
    for path in set(kernel_files(target)) - set(wanted):
        (target / path).unlink()
        changed = True
    return changed
