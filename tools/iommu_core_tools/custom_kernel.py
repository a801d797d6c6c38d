# SPDX-License-Identifier: GPL-2.0
"""Kernels for guests that are built here, with this tree in them and with every check on."""

import dataclasses
import shutil

from . import cache, intree
from .arch import AMD64, ARM64, Arch


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A kernel to be built.

    `fragments` are files of tools/config, of which a later one has the last word. `image` is what
    boots, in the build folder.
    """

    name: str
    arch: Arch
    fragments: tuple
    arguments: tuple
    image: str

    def built(self):
        """Builds it; a context, see `intree.built()`."""
        target = self.image.rpartition("/")[2]
        return intree.built(self.name, self.fragments, self.arguments, [target])


# What kernels for guests of any architecture have.
_GUEST = ("guest.config", "checks.config")
_KASAN = (*_GUEST, "kasan.config")
_X86 = {
    "arch": AMD64,
    "arguments": ("LLVM=-19", "CC=ccache clang-19"),
    "image": "arch/x86/boot/bzImage",
}
_ARM64 = {
    "arch": ARM64,
    "arguments": ("ARCH=arm64", "LLVM=-19", "CC=ccache clang-19"),
    "image": "arch/arm64/boot/Image",
}

# The core beside the kernel's own layer.
HOSTED = Kernel("x86", fragments=(*_KASAN, "x86.config"), **_X86)
# The core in its place, with the kernel's drivers of units beside ours.
NATIVE = {
    "amd64": Kernel(
        "x86-native", fragments=(*_KASAN, "x86.config", "native.config", "x86-native.config"), **_X86
    ),
    "arm64": Kernel("arm64-native", fragments=(*_GUEST, "native.config", "arm64-native.config"), **_ARM64),
}


def build(kernel=HOSTED):
    """Builds it as far as a change calls for; the path of an image that nobody else changes."""
    with kernel.built() as folder:
        made = folder / kernel.image
        name = f"image-{kernel.name}"

        def keep(entry):
            shutil.copy(made, entry / made.name)

        # One entry for each content: a guest may run from it while the next build goes on.
        entry = cache.entry(name, cache.file_hash(made)[:12], keep)
    cache.prune(name, 3)
    return entry / made.name
