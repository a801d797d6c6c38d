# SPDX-License-Identifier: GPL-2.0
"""The static programs that run in guests. Each has a folder of C files in tools/guest."""

from . import cache, series
from .paths import TOOLS
from .progress import PROGRESS

FOLDER = TOOLS / "guest"
# The programs of guests with an agent. Guests that only run suites have `suites` as first process.
PROGRAMS = ("agent", "vfio-user", "dma-probe")
_ALL = (*PROGRAMS, "suites")
_FLAGS = (
    "-std=gnu11 -D_GNU_SOURCE -O2 -static -Wall -Wextra -Wconversion -Wshadow -Werror".split()
)


def build(root, arch):
    """The folder of the programs for an architecture. Compiles them in the root if they are not in the cache."""
    compiler = f"{arch.tools}{series.ROOT.gcc}"
    sources = {
        name: sorted(path for path in (FOLDER / name).iterdir() if path.suffix in (".c", ".h"))
        for name in _ALL
    }
    hashes = {
        str(path.relative_to(FOLDER)): cache.file_hash(path)
        for paths in sources.values()
        for path in paths
    }
    key = cache.key_of(sources=hashes, flags=_FLAGS, compiler=compiler, root=str(root.path))

    def make(folder):
        with PROGRESS.step(f"guest: compile {', '.join(_ALL)} for {arch.name}") as step:
            for name, paths in sources.items():
                files = [path for path in paths if path.suffix == ".c"]
                if not root.run([compiler, *_FLAGS, "-o", folder / name, *files], log=step.log):
                    raise step.fail(f"{name} does not compile")

    return cache.entry("guest-programs", key, make)
