# SPDX-License-Identifier: GPL-2.0
"""Kernels for tests, built with all checks enabled: with this tree in them, or with the C layer."""

import dataclasses
import re
import shutil

from . import cache, intree, kernel as stock_kernel, root, series
from .arch import AMD64, ARM64, Arch
from .paths import CHECKOUT, CONFIG
from .sync import ALL, API_SUITE, kernel_files


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A kernel to be built.

    `fragments` and `patches` are files in tools/config; a later fragment overrides an earlier one. `image` is the
    file in the build folder that boots. `parameters` are for guests that boot it.
    """

    name: str
    arch: Arch
    fragments: tuple
    arguments: tuple
    image: str
    patches: tuple = ()
    parameters: tuple = ()
    # The folders of this tree that are in the kernel, and those that are in it with the C layer.
    parts: tuple = ALL
    c_parts: tuple = ()
    # Further fragments: suites of the kernel's own.
    suites: tuple = ()
    # Whose source, as `KERNEL=` says it.
    wanted: str = ""

    @property
    def ours(self):
        """Whether this tree is in the kernel. If not, no option of the core is set."""
        return self.parts == ALL

    def options(self):
        """The lines of its configuration, one for each option."""
        text = "".join((CONFIG / name).read_text(encoding="utf-8") for name in (*self.fragments, *self.suites))
        lines = {name: line for line, name in re.findall(r"(?m)^((?:# )?CONFIG_(\w+)[= ].*\n)", text)}
        return "".join(line for name, line in lines.items() if self.ours or not name.startswith("IOMMU_CORE"))

    def patch_files(self):
        """The patches; with the patch for this tree's folder, if the kernel has any part of this tree."""
        ours = [intree.PATCH] if self.ours else [intree.SUITE_PATCH] if self.parts else []
        return [*ours, *(CONFIG / name for name in self.patches)]

    def built(self, target=None):
        """Builds the kernel, or only one target of its `make`. A context, see `intree.built()`."""
        target = target or self.image.rpartition("/")[2]
        return intree.built(
            self.name, self.options(), self.arguments, [target],
            patches=self.patch_files(), parts=self.parts, wanted=self.wanted,
        )  # fmt: skip

    def with_c_layer(self):
        """The same kernel with the C layer, and only `c_parts` of this tree."""
        return dataclasses.replace(self, name=f"{self.name}-c", parts=self.c_parts)

    def of_series(self, number):
        """The same kernel of another series, without suites: each series can have others."""
        return dataclasses.replace(self, name=f"{self.name}-{number}", wanted=number, suites=())


_CLANG = (f"LLVM=-{series.ROOT.llvm}", f"CC=ccache clang-{series.ROOT.llvm}")
# Fragments of kernels for guests of any architecture.
_GUEST = ("guest.config", "checks.config")
_KASAN = (*_GUEST, "kasan.config")
_X86 = {
    "arch": AMD64,
    "arguments": _CLANG,
    "image": "arch/x86/boot/bzImage",
    # With five-level tables KASAN reads the CPU's capability bits to find out where memory begins.
    # identify_cpu() clears these bits for a moment. KASAN reports a false error in an interrupt at
    # that moment.
    "parameters": ("no5lvl", "log_buf_len=8M"),
}
_ARM64 = {
    "arch": ARM64,
    "arguments": ("ARCH=arm64", *_CLANG),
    "image": "arch/arm64/boot/Image",
    "parameters": ("log_buf_len=8M",),
}

# The core beside the kernel's own IOMMU layer.
HOSTED = Kernel("x86", fragments=(*_KASAN, "x86.config", "x86-hosted.config"), **_X86)
# The core in place of that layer, with the kernel's drivers of units beside ours.
NATIVE = {
    "amd64": Kernel(
        "x86-native",
        fragments=(*_KASAN, "x86.config", "native.config", "x86-native.config"),
        suites=("suites.config",),
        **_X86,
    ),
    "arm64": Kernel(
        "arm64-native",
        fragments=(*_GUEST, "native.config", "arm64-native.config"),
        suites=("suites.config", "arm64-suites.config"),
        **_ARM64,
    ),
}
# The same without checks and suites, to be measured.
MEASURED = {
    "amd64": Kernel(
        "x86-measured",
        fragments=("guest.config", "x86.config", "native.config", "x86-native.config", "measured.config"),
        **_X86,
    ),
    "arm64": Kernel(
        "arm64-measured",
        fragments=("guest.config", "native.config", "arm64-native.config", "measured.config"),
        **_ARM64,
    ),
}


# The arguments of every `make` for User-mode Linux.
UML_ARGUMENTS = ("ARCH=um", f"CC=ccache {series.ROOT.gcc}", f"HOSTCC={series.ROOT.gcc}")
# The same on User-mode Linux, which has no units.
UML_NATIVE = Kernel(
    "uml-native",
    arch=AMD64,
    fragments=("uml-native.config",),
    arguments=UML_ARGUMENTS,
    image="linux",
    patches=("uml.patch",),
    c_parts=(API_SUITE,),
)


def build(kernel=HOSTED):
    """Builds what has changed. Returns the path of an image that no other process changes."""
    if not kernel.ours:
        return _build_once(kernel)
    with kernel.built() as folder:
        image = keep(kernel, folder)
    return image


def keep(kernel, folder):
    """Copies the image in the build folder to a cache entry. Returns the path."""
    made = folder / kernel.image
    name = f"image-{kernel.name}"

    def copy(entry):
        shutil.copy(made, entry / made.name)

    # One entry for each content: a guest may run from it while the next build goes on.
    entry = cache.entry(name, cache.file_hash(made)[:12], copy)
    cache.prune(name, 3)
    return entry / made.name


def key_of(kernel):
    """What the image depends on."""
    return cache.key_of(
        source=str(stock_kernel.stock(wanted=kernel.wanted).source),
        toolchain=root.toolchain(kernel.arch),
        options=sorted(kernel.options().splitlines()),
        patches=[cache.file_hash(path) for path in kernel.patch_files()],
        files={str(path): cache.file_hash(CHECKOUT / path) for path in kernel_files(parts=kernel.parts)},
        arguments=kernel.arguments,
    )


def _build_once(kernel):
    """The image of a kernel that few changes of this tree affect. Builds it if the cache does not have it."""
    key = key_of(kernel)
    image = kernel.image.rpartition("/")[2]

    def make(entry):
        with kernel.built() as folder:
            shutil.copy(folder / kernel.image, entry / image)
        intree.forget(kernel.name, kernel.arguments, kernel.wanted)

    name = f"image-{kernel.name}"
    entry = cache.entry(name, key, make)
    cache.prune(name, 2)
    return entry / image
