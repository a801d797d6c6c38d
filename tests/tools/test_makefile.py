# SPDX-License-Identifier: GPL-2.0
"""The Makefile: variables that do nothing are refused; and what a kernel build folder must have."""

import pathlib
import subprocess
import tempfile
import unittest

from iommu_core_tools import series
from iommu_core_tools.paths import CHECKOUT


def make(*words, **env):
    """Runs `make`, with `true` for Python, so that a command that is not refused does nothing."""
    return subprocess.run(
        ["make", "-C", CHECKOUT, "--no-print-directory", *words, "PYTHON=true"],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **env},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


class Variables(unittest.TestCase):
    def refused(self, *words):
        result = make(*words)
        self.assertEqual(result.returncode, 2, result.stdout)
        return result.stderr

    def passed(self, *words, **env):
        result = make("-n", *words, **env)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertNotIn("does nothing", result.stdout + result.stderr)
        return result.stdout

    def test_refused(self):
        for words, said in (
            (("run", "ARCH=arm64"), "make run: ARCH= does nothing here: VIOMMU= chooses the architecture"),
            (("build", "VIOMMU=vtd"), "make build: VIOMMU= does nothing here: one module has the drivers"),
            (("run", "VIOMU=amdvi"), "make run: VIOMU= does nothing here"),
            (("test", "FILTER=x"), "make test: FILTER= does nothing here"),
            (("kunit", "KERNEL=7.2"), "make kunit: KERNEL= does nothing here"),
            (("build", "SIGN_KEY=/k"), "make build: SIGN_KEY= does nothing here"),
            (("lint", "ARCH=arm64"), "make lint: ARCH= does nothing here"),
            (("KERNEL=7.2",), "make modules: KERNEL= does nothing here: KDIR= chooses the kernel; make build KERNEL=7.2"),
            (("JOBS=4",), "make modules: JOBS= does nothing here: make -j4"),
        ):
            with self.subTest(words):
                self.assertIn(said, self.refused(*words))

    def test_what_it_reads_is_said(self):
        self.assertIn("It reads: VIOMMU= KERNEL= MIRROR= JOBS=", self.refused("run", "ARCH=arm64"))

    def test_passed_on(self):
        for words, option in (
            (("run", "VIOMMU=smmuv3", "KERNEL=7.2"), "run --kernel '7.2' --iommu 'smmuv3'"),
            (("build", "ARCH=arm64", "KERNEL=sid"), "build --kernel 'sid' --arch 'arm64'"),
            (("install", "ARCH=arm64", "INSTALL_MOD_PATH=/mnt"), "install --arch 'arm64'"),
            (("deb", "ARCH=arm64", "KERNEL=7.2", "SIGN_KEY=/k", "SIGN_CERT=/c"), "deb --kernel '7.2' --arch 'arm64'"),
            (("install", "SIGN_KEY=/k", "SIGN_CERT=/c"), "install"),
            (("setup", "UPDATE=1", "MIRROR=http://a.example"), "setup --update"),
            (("native", "VIOMMU=amdvi", "ARCH=amd64"), "native --arch 'amd64' --iommu 'amdvi'"),
            (("native-test", "FILTER=law 8=9"), "native-test --filter 'law 8=9'"),
            (("native-test", "CONTINUE=1"), "native-test --continue"),
            (("fuzz", "SECONDS=5", "TABLES=/t"), "fuzz --tables '/t' --seconds '5'"),
            (("test", "JOBS=2"), "test"),
        ):
            with self.subTest(words):
                self.assertIn(option, " ".join(self.passed(*words).split()))

    def test_of_another_target(self):
        self.passed("build", "run", "VIOMMU=amdvi")

    def test_empty_and_from_the_environment(self):
        self.passed("run", "ARCH=")
        # A variable that is there for other work refuses nothing.
        self.passed("run", ARCH="arm64")


class Kbuild(unittest.TestCase):
    """Which parts of ffi/compat.rs a kernel gets."""

    # As in the kernel's scripts/Kbuild.include.
    TEXT = """
test-lt = $(shell test $(strip $1)0 -lt $(strip $2)0 && echo y)
include Kbuild
all: ; @echo $(filter LINUX_BEFORE%,$(rustflags-y))
"""

    def cfgs(self, version, patchlevel):
        words = ["make", "-s", "-f", "-", f"VERSION={version}", f"PATCHLEVEL={patchlevel}", "KBUILD_EXTMOD=/x"]
        result = subprocess.run(words, input=self.TEXT, cwd=CHECKOUT, capture_output=True, text=True, check=True)
        return result.stdout.split()

    def test_cfgs(self):
        for version, patchlevel, wanted in (
            (7, 2, ["LINUX_BEFORE_7_3"]), (6, 18, ["LINUX_BEFORE_7_3"]), (7, 3, []), (7, 10, []), (8, 0, []), (10, 2, []),
        ):  # fmt: skip
            with self.subTest(f"{version}.{patchlevel}"):
                self.assertEqual(self.cfgs(version, patchlevel), wanted)


class Kdir(unittest.TestCase):
    """tools/check-kdir.sh"""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.kdir = pathlib.Path(folder.name, "build")

    def put(self, name, text=""):
        path = self.kdir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def tree(self, release, rustc="rustc 1.85.1 (x)"):
        self.put("rust/libkernel.rmeta")
        self.put("include/config/kernel.release", f"{release}\n")
        self.put("include/config/auto.conf", f'CONFIG_RUST=y\nCONFIG_RUSTC_VERSION_TEXT="{rustc}"\n')

    def check(self, rustc="rustc 1.85.1 (x)"):
        program = self.put("rustc", f"#!/bin/sh\necho '{rustc}'\n")
        program.chmod(0o755)
        command = ["sh", CHECKOUT / "tools/check-kdir.sh", self.kdir, program if rustc else self.kdir / "none"]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def test_every_supported_series(self):
        for number in series.SERIES:
            self.tree(f"{number}.1+deb13-amd64")
            result = self.check()
            self.assertEqual((result.returncode, result.stderr), (0, ""))

    def test_newer_is_untried(self):
        self.tree("19.0.0")
        result = self.check()
        self.assertEqual(result.returncode, 0)
        self.assertIn("19.0.0 is untried", result.stderr)
        self.assertIn(series.SERIES[0], result.stderr)

    def test_too_old(self):
        for release in ("6.12.1+deb13-amd64", "7.1.9"):
            self.tree(release)
            result = self.check()
            self.assertEqual(result.returncode, 1)
            self.assertIn(f"{release} is older", result.stderr)
            self.assertIn(series.SERIES[-1], result.stderr)

    def test_another_rustc(self):
        self.tree(f"{series.SERIES[0]}.1")
        result = self.check("rustc 1.97.1 (y)")
        self.assertEqual(result.returncode, 1)
        self.assertIn("was built with 'rustc 1.85.1 (x)'", result.stderr)
        self.assertIn("is 'rustc 1.97.1 (y)'", result.stderr)
        self.assertIn("make RUSTC=", result.stderr)

    def test_no_rustc(self):
        self.tree(f"{series.SERIES[0]}.1")
        result = self.check(rustc=None)
        self.assertEqual(result.returncode, 1)
        self.assertIn("does not run here", result.stderr)

    def test_no_metadata(self):
        self.put("Makefile")
        result = self.check()
        self.assertEqual(result.returncode, 1)
        self.assertIn("no Rust metadata", result.stderr)
        self.assertIn("make build", result.stderr)
        self.kdir = self.kdir / "gone"
        self.assertIn("no such kernel build folder", make(f"KDIR={self.kdir}").stderr)


if __name__ == "__main__":
    unittest.main()
