# SPDX-License-Identifier: GPL-2.0
"""Which kernel is taken: the supported series, what the archive has, and what `KERNEL=` asks for."""

import os
import pathlib
import re
import tempfile
import tomllib
import unittest
from unittest import mock

from iommu_core_tools import kernel, paths, root, series
from iommu_core_tools.arch import AMD64, ARCHES, ARM64
from iommu_core_tools.errors import ToolError
from iommu_core_tools.paths import CHECKOUT, CONFIG

_NEWEST, _OLDEST = series.SERIES[0], series.SERIES[-1]
_BACKPORTS, _TESTING = series.SUITES[0].name, series.SUITES[1].name


class FakeArchive:
    """Suites with the releases that a test gives them, in place of apt's."""

    uri = "http://archive.example"

    def __init__(self, **suites):
        self._suites = {name.replace("_", "-"): releases for name, releases in suites.items()}
        self.asked = []

    def apt(self, _arch, suite):
        self.asked.append(suite)
        apt = mock.MagicMock(uri=self.uri)
        apt.__enter__.return_value = apt
        found = self._suites.get(suite, [])
        apt.names.return_value = [f"linux-headers-{name}" for name in [*found, "amd64", "7.3.4+deb13-common"]]
        apt.show = lambda name: {"version": f"{name.removeprefix('linux-headers-')}-1"}
        return apt


class Choice(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.enterContext(mock.patch.dict(os.environ, XDG_CACHE_HOME=folder.name))
        self.lines = []
        for name in ("line", "plain"):
            self.enterContext(mock.patch.object(kernel.PROGRESS, name, self.lines.append))

    def resolve(self, archive, text="", arch=AMD64, update=False):
        with mock.patch.object(kernel, "_apt", archive.apt):
            return kernel.resolve(series.Wanted(text, arch), update)

    def refusal(self, archive, text="", arch=AMD64):
        with self.assertRaises(ToolError) as caught:
            self.resolve(archive, text, arch)
        return caught.exception

    def usual(self, arch=AMD64):
        """What Debian's archive had when this was written, and a series that is to come."""
        return FakeArchive(**{
            "trixie_backports": [f"{name}-{arch.name}" for name in (
                "7.2.9+deb13", "7.2.12+deb13", "7.2.12+deb13-cloud", "7.2.12+deb13-rt", "7.3.4+deb13", "7.3.10+deb13",
            )],
            "forky": [f"7.2.12+deb14-{arch.name}"],
            "sid": [f"7.2.13+deb14-{arch.name}", f"8.0.1+deb14-{arch.name}"],
        })  # fmt: skip

    def test_newest_supported_whatever_else_is_there(self):
        for arch in ARCHES.values():
            archive = self.usual(arch)
            archive._suites[_BACKPORTS].append(f"8.1.0+deb13-{arch.name}")
            found = self.resolve(archive, arch=arch)
            self.assertEqual(found["release"], f"7.3.10+deb13-{arch.name}")
            self.assertEqual(found["version"], f"7.3.10+deb13-{arch.name}-1")
            self.assertEqual((found["series"], found["suite"]), ("7.3", _BACKPORTS))
            self.assertNotIn("untried", "".join(self.lines))

    def test_chosen(self):
        for text, release, suite in (
            ("7.2", "7.2.12+deb13-amd64", _BACKPORTS),
            ("7.2.9", "7.2.9+deb13-amd64", _BACKPORTS),
            ("7.3.4+deb13", "7.3.4+deb13-amd64", _BACKPORTS),
            ("7.2.12+deb13-rt-amd64", "7.2.12+deb13-rt-amd64", _BACKPORTS),
            ("7.2.12+deb14", "7.2.12+deb14-amd64", "forky"),
            ("7.2.13", "7.2.13+deb14-amd64", "sid"),
            ("forky", "7.2.12+deb14-amd64", "forky"),
            ("testing", "7.2.12+deb14-amd64", "forky"),
            ("sid", "7.2.13+deb14-amd64", "sid"),
        ):
            with self.subTest(text):
                found = self.resolve(self.usual(), text)
                self.assertEqual((found["release"], found["suite"]), (release, suite))

    def test_choice_is_stored(self):
        archive = self.usual()
        first = self.resolve(archive, "7.2")
        self.assertEqual(self.resolve(archive, "7.2"), first)
        self.assertEqual(archive.asked, [_BACKPORTS])
        self.resolve(archive, "7.2", update=True)
        self.resolve(archive)
        self.assertEqual(archive.asked, [_BACKPORTS] * 3)

    def test_choice_of_older_tools_still_counts(self):
        (paths.cache_dir() / "stock-amd64.json").write_text('{"release": "7.3.4+deb13-amd64", "version": "1", "series": "7.3"}')
        self.assertEqual(self.resolve(FakeArchive())["version"], "1")

    def test_useless_choice_is_made_again(self):
        for text in ('{"release": ', "[]", '{"release": "7.3.4+deb13-amd64", "version": "1", "suite": "buzz"}',
                     '{"release": "6.1.0+deb13-amd64", "version": "1"}'):  # fmt: skip
            with self.subTest(text):
                (paths.cache_dir() / "stock-amd64.json").write_text(text)
                self.assertEqual(self.resolve(self.usual())["release"], "7.3.10+deb13-amd64")

    def test_only_newer_ones_are_untried(self):
        archive = FakeArchive(trixie_backports=["8.1.2+deb13-amd64", "8.0.9+deb13-amd64", "6.1.2+deb12-amd64"])
        # Said each time.
        for _ in range(2):
            self.lines.clear()
            self.assertEqual(self.resolve(archive)["release"], "8.1.2+deb13-amd64")
            self.assertRegex("\n".join(self.lines), rf"8\.1\.2.*untried.*{re.escape(_NEWEST)}")

    def test_untried_series_that_is_asked_for(self):
        self.assertEqual(self.resolve(self.usual(), "8.0")["release"], "8.0.1+deb14-amd64")
        self.assertIn("untried", "\n".join(self.lines))

    def test_only_older_ones(self):
        error = self.refusal(FakeArchive(trixie_backports=["6.1.2+deb13-amd64"]))
        self.assertIn(_NEWEST, error.what)
        self.assertIn("6.1.2+deb13", error.what)
        self.assertIn("MIRROR=", error.hint)

    def test_not_in_the_archive(self):
        error = self.refusal(self.usual(), "7.2.99")
        self.assertIn("7.2.99 is not in the archive http://archive.example", error.what)
        for there in ("7.3.10+deb13, 7.3.4+deb13", "7.2.12+deb14", "7.2.13+deb14"):
            self.assertIn(there, error.what)
        self.assertIn("KERNEL=", error.hint)

    def test_suite_without_kernels(self):
        error = self.refusal(FakeArchive(), "sid")
        self.assertIn("sid has none", error.what)

    def test_no_kernel(self):
        for text in ("trixy", "7", "7.x", "v7.2", "../7.2", "7.2 ", "7.2;ls"):
            with self.subTest(text):
                error = self.refusal(self.usual(), text)
                self.assertIn("is no kernel", error.what)
                self.assertIn(_OLDEST, error.hint)
                self.assertIn("forky", error.hint)

    def test_too_old(self):
        for text in ("6.12", "7.1.20+deb13"):
            error = self.refusal(self.usual(), text)
            self.assertIn("older", error.what)
            self.assertIn(_OLDEST, error.what)

    def test_of_another_architecture(self):
        error = self.refusal(self.usual(), "7.2.12+deb13-amd64", ARM64)
        self.assertIn("not for arm64", error.what)
        self.assertIn("ARCH=", error.hint)


class Data(unittest.TestCase):
    """tools/config/series.toml, and what else has to agree with it."""

    def test_newest_first(self):
        self.assertEqual(list(series.SERIES), sorted(series.SERIES, key=series.numbers, reverse=True))

    def test_suites_have_roots(self):
        for suite in series.SUITES:
            self.assertIn(suite.root, series.ROOTS)

    def test_every_root_has_its_compilers(self):
        for made in series.ROOTS.values():
            packages = root.packages(made)
            for arch in ARCHES.values():
                self.assertIn(made.gcc_for(arch), packages)
            self.assertIn(f"libclang-{made.llvm}-dev", packages)
        self.assertEqual(len({root.key(name) for name in series.ROOTS}), len(series.ROOTS))

    def test_module_arguments(self):
        for made in series.ROOTS.values():
            for arch in ARCHES.values():
                arguments = kernel.make_arguments(f"7.2.13+deb14-{arch.name}", made)
                self.assertIn(f"LOCALVERSION=+deb14-{arch.name}", arguments)
                self.assertIn(f"CC={arch.tools}{made.gcc}", arguments)
                self.assertEqual("ARCH=arm64" in arguments, arch is ARM64)

    def test_each_cfg_is_for_a_series_that_has_an_older_one(self):
        """When a series is dropped, so is what was only for it."""
        kbuild = (CHECKOUT / "Kbuild").read_text(encoding="utf-8")
        code = (CHECKOUT / "ffi/compat.rs").read_text(encoding="utf-8")
        asked = {tuple(map(int, pair)) for pair in re.findall(r"older-than,(\d+),(\d+)", kbuild)}
        self.assertEqual(asked, {tuple(map(int, pair)) for pair in re.findall(r"LINUX_BEFORE_(\d+)_(\d+)", code)})
        supported = set(map(series.numbers, series.SERIES))
        self.assertEqual(asked, {number for number in asked if number in supported and number > min(supported)})

    def test_nothing_else_asks_for_the_version(self):
        names = [path for path in CHECKOUT.rglob("*.rs") if "LINUX_BEFORE" in path.read_text(encoding="utf-8")]
        self.assertEqual([str(path.relative_to(CHECKOUT)) for path in names], ["ffi/compat.rs"])

    def test_the_file_has_a_list_on_one_line(self):
        """As tools/check-kdir.sh reads it."""
        line = next(line for line in (CONFIG / "series.toml").read_text().splitlines() if line.startswith("series = "))
        self.assertEqual(tuple(tomllib.loads(line)["series"]), series.SERIES)


if __name__ == "__main__":
    unittest.main()
