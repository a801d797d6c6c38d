# SPDX-License-Identifier: GPL-2.0
"""The custom x86-64 kernel: this tree built in, with lockdep, KASAN, kmemleak and the suites."""

import shutil

from . import cache, intree

_ARGUMENTS = ["LLVM=-19"]


def build():
    """Builds it as far as a change calls for; the path of a bzImage that nobody else changes."""
    with intree.built("x86", "x86.config", _ARGUMENTS, ["bzImage"]) as folder:
        made = folder / "arch/x86/boot/bzImage"

        def keep(entry):
            shutil.copy(made, entry / "bzImage")

        # One entry for each content: a guest may run from it while the next build goes on.
        entry = cache.entry("bzimage", cache.file_hash(made)[:12], keep)
    cache.prune("bzimage", 3)
    return entry / "bzImage"
