# SPDX-License-Identifier: GPL-2.0
"""The kernels that the module is for, as tools/config/series.toml lists them."""

import dataclasses
import re
import tomllib

from .errors import ToolError
from .paths import CONFIG


@dataclasses.dataclass(frozen=True)
class Compilers:
    """A root: the suites of its packages, and its compilers."""

    name: str
    title: str
    suites: tuple
    gcc: str
    llvm: str
    # Source packages that come from the last suite.
    newer: tuple = ()

    def gcc_for(self, arch):
        """The package of the C compiler for an architecture."""
        return f"{self.gcc}{arch.gcc_suffix}"


@dataclasses.dataclass(frozen=True)
class Suite:
    """A suite that has kernels; `root` is the name of the root that builds modules for these."""

    name: str
    root: str
    alias: str = ""


def _read():
    with open(CONFIG / "series.toml", "rb") as file:
        data = tomllib.load(file)
    roots = [Compilers(**{**root, "suites": tuple(root["suites"]), "newer": tuple(root.get("newer", ()))})
             for root in data["root"]]  # fmt: skip
    return tuple(data["series"]), tuple(Suite(**suite) for suite in data["suite"]), {root.name: root for root in roots}


# Roots by name; the first is for everything but modules of other suites' kernels.
SERIES, SUITES, ROOTS = _read()
ROOT = next(iter(ROOTS.values()))


def suite(name):
    """The suite of that name."""
    return next(suite for suite in SUITES if suite.name == name)


def supported():
    """The supported series, in words."""
    return ", ".join(f"{series}.x" for series in SERIES)


def numbers(text):
    """The numbers of a version, to compare: 7.2.12+deb13 is (7, 2, 12)."""
    return tuple(int(number) for number in re.match(r"\d+(?:\.\d+)*", text)[0].split("."))


def is_too_old(series):
    """Whether a series is older than all that are supported."""
    return numbers(series) < min(map(numbers, SERIES))


_RELEASE = re.compile(r"(?P<version>\d+\.\d+(?:\.\d+)*)(?P<build>\+\w+)?(?P<flavour>(?:-[a-z]\w*)*)")


def series_of(release):
    """The series of a release: 7.2 of 7.2.12+deb13-amd64."""
    return ".".join(release.split(".")[:2])


class Wanted:
    """What `KERNEL=` asks for: a series (7.2), a release or the beginning of one (7.2.12, 7.2.12+deb13), a suite.

    Nothing: the newest supported kernel.
    """

    def __init__(self, text, arch):
        self.text = text or ""
        self.arch = arch
        self.suites = SUITES
        self._release = None
        named = [suite for suite in SUITES if self.text in (suite.name, suite.alias)]
        if not self.text or named:
            self.suites = named or SUITES[:1]
            return
        self._release = _RELEASE.fullmatch(self.text)
        if not self._release:
            names = ", ".join(name for suite in SUITES for name in (suite.name, suite.alias) if name)
            raise ToolError(
                f"KERNEL={self.text} is no kernel",
                hint=f"a series ({', '.join(SERIES)}), a release ({SERIES[-1]}.12+deb13-{arch.name}), or a suite ({names})",
            )
        flavour = self._release["flavour"]
        if flavour and not flavour.endswith(f"-{arch.name}"):
            raise ToolError(
                f"KERNEL={self.text} is not for {arch.name}",
                hint="leave the architecture out: ARCH= or VIOMMU= choose it",
            )
        if is_too_old(series_of(self.text)):
            raise ToolError(f"KERNEL={self.text} is older than what this version of iommu_core supports: {supported()}")

    def newest(self, releases):
        """The newest of these releases that fits, or None.

        If no series is asked for and none of the releases is of a supported one, the newest of a later series.
        """
        fitting = sorted((release for release in releases if self._fits(release)), key=numbers)
        known = [release for release in fitting if series_of(release) in SERIES]
        newer = [release for release in fitting if not is_too_old(series_of(release))]
        found = fitting if self._release else known or newer
        return found[-1] if found else None

    def _fits(self, release):
        match = _RELEASE.fullmatch(release)
        asked = self._release
        plain = f"-{self.arch.name}"
        if not match or match["flavour"] != (asked and asked["flavour"] or plain):
            return False
        if not asked:
            return True
        if asked["build"] and asked["build"] != match["build"]:
            return False
        wanted = numbers(asked["version"])
        return numbers(match["version"])[: len(wanted)] == wanted
