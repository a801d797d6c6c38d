# SPDX-License-Identifier: GPL-2.0
"""Copies the kernel code of the checkout to where it is built.

Builds run on copies in the cache, so they leave nothing in the checkout, and whatever an in-place
build left there is not picked up. Only files that differ are written: `make` then rebuilds no more
than a change calls for.
"""

import os
import pathlib
import shutil

from .paths import CHECKOUT

# Folders at the top that hold no kernel code.
_OTHER = {"tests", "tools", "Documentation", ".git", ".ci", "build"}


def kernel_files(checkout=CHECKOUT):
    """Paths, relative to the checkout, of every file that belongs into a kernel tree."""
    found = []
    for folder, folders, files in os.walk(checkout):
        relative = pathlib.Path(folder).relative_to(checkout)
        if relative == pathlib.Path("."):
            folders[:] = [name for name in folders if name not in _OTHER]
        for name in files:
            # What ends in .mod.c a build has made.
            is_code = name.endswith((".rs", ".c", ".h")) and not name.endswith(".mod.c")
            if is_code or name in ("Kbuild", "Kconfig"):
                found.append(relative / name)
    return sorted(found)


def sync(target, checkout=CHECKOUT):
    """Makes the kernel code in `target` equal to the checkout's; returns whether anything changed.

    What else is in `target` (objects of earlier builds) stays.
    """
    target = pathlib.Path(target)
    wanted = kernel_files(checkout)
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
