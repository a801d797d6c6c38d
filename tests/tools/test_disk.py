# SPDX-License-Identifier: GPL-2.0
"""Disks that are full, caches that cannot be written, downloads that are cut short: a clear message each."""

import contextlib
import errno
import io
import lzma
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import unittest
from unittest import mock

from iommu_core_tools import cli, kernel, module, paths, progress, run
from iommu_core_tools.errors import ToolError, of_system
from iommu_core_tools.paths import CHECKOUT

_REAL_SPACE = 1 << 60


def command(*words, **env):
    """Runs tools/ic."""
    argv = [sys.executable, CHECKOUT / "tools/ic", *words]
    return subprocess.run(argv, env={**os.environ, **env}, capture_output=True, text=True, timeout=60, check=False)


class Cache(unittest.TestCase):
    def refused(self, *words, **env):
        result = command(*words, **env)
        self.assertEqual(result.returncode, 1, result.stdout)
        self.assertNotIn("Traceback", result.stderr)
        self.assertIn("error: ", result.stderr)
        self.assertIn("next:  ", result.stderr)
        return result.stderr

    def test_cannot_be_made(self):
        for base in ("/dev/null", "/proc/none"):
            with self.subTest(base):
                said = self.refused("cache", "list", XDG_CACHE_HOME=base)
                self.assertIn(f"the cache {base}/iommu_core cannot be made", said)
                self.assertIn("XDG_CACHE_HOME=<folder>", said)

    def test_a_file_is_where_the_logs_go(self):
        with tempfile.TemporaryDirectory() as base:
            pathlib.Path(base, "iommu_core").mkdir()
            pathlib.Path(base, "iommu_core/logs").write_text("")
            self.assertIn("the folder of the logs", self.refused("cache", "list", XDG_CACHE_HOME=base))

    def test_a_log_that_cannot_be_removed_is_left(self):
        with tempfile.TemporaryDirectory() as base, mock.patch.dict(os.environ, XDG_CACHE_HOME=base):
            log = paths.log_dir() / "old.log"
            log.write_text("")
            os.utime(log, (0, 0))
            with mock.patch.object(pathlib.Path, "unlink", side_effect=OSError(errno.EACCES, "no")):
                paths.sweep_logs()
            self.assertTrue(log.exists())
            paths.sweep_logs()
            self.assertFalse(log.exists())

    def test_errors_of_the_system(self):
        for number in (errno.ENOSPC, errno.EROFS, errno.EACCES):
            error = OSError(number, os.strerror(number), "/c/x")
            with (
                mock.patch.object(cli.cache, "entries", side_effect=error),
                contextlib.redirect_stderr(io.StringIO()) as said,
            ):
                self.assertEqual(cli.main(["cache", "list"]), 1)
            self.assertIn(f"error: /c/x: {os.strerror(number)}", said.getvalue())
            self.assertIn("XDG_CACHE_HOME", said.getvalue())

    def test_other_errors_are_our_bugs(self):
        self.assertIsNone(of_system(OSError(errno.EBADF, "bad")))
        self.assertIsNone(of_system(OSError(errno.ENOENT, "none", "/x")))


class Jobs(unittest.TestCase):
    def test_numbers(self):
        for text in ("abc", "0", "-1", "1.5", "2 3"):
            with mock.patch.dict(os.environ, JOBS=text), self.assertRaises(ToolError) as caught:
                paths.jobs()
            self.assertIn(f"JOBS={text}", caught.exception.what)
        for text in ("", " "):
            with mock.patch.dict(os.environ, JOBS=text):
                self.assertEqual(paths.jobs(), len(os.sched_getaffinity(0)))
        with mock.patch.dict(os.environ, JOBS="3"):
            self.assertEqual(paths.jobs(), 3)

    def test_refused_before_anything_is_done(self):
        result = command("cache", "list", JOBS="abc")
        self.assertEqual(result.returncode, 1)
        self.assertIn("JOBS=abc", result.stderr)


class Full(unittest.TestCase):
    """A step that fails because the disk is full says that the disk is full."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.enterContext(mock.patch.dict(os.environ, XDG_CACHE_HOME=folder.name))
        self.enterContext(mock.patch.object(progress.PROGRESS, "line"))
        self.enterContext(mock.patch.object(progress.PROGRESS, "plain"))

    def failure(self, script=None, *, free=_REAL_SPACE, log=None):
        """What a step says that has run a script."""
        with (
            mock.patch.object(progress, "free_bytes", return_value=free),
            progress.PROGRESS.step("test: build") as step,
        ):
            if log:
                step._log = pathlib.Path(log)
            if script:
                self.assertFalse(run.run(["sh", "-c", script], log=step.log, timeout=30))
            return step.fail("the module does not build")

    def test_an_ordinary_failure(self):
        error = self.failure("echo wrong; exit 1")
        self.assertEqual((error.what, error.hint), ("the module does not build", None))

    def test_a_program_says_so(self):
        for text in ("ld: write failed: No space left on device", "Disk quota exceeded",
                     "error: Io error: (os error 28)"):  # fmt: skip
            error = self.failure(f"echo '{text}'; exit 1")
            self.assertIn("no space left on the disk", error.what)
            self.assertIn("the module does not build", error.what)
            self.assertIn("free some space", error.hint)

    def test_the_disk_is_full(self):
        error = self.failure("exit 1", free=1 << 20)
        self.assertIn("1 MB free", error.what)

    def test_the_log_is_on_the_full_disk(self):
        # A program that writes more than a pipe holds waits for ever if its output is not read.
        error = self.failure("head -c 1000000 /dev/zero | tr '\\0' x; exit 1", log="/dev/full")
        self.assertIn("no space left on the disk", error.what)

    def test_the_module(self):
        """`make build`, whose compiler runs out of space."""
        folder = pathlib.Path(os.environ["XDG_CACHE_HOME"], "none")
        stock = mock.Mock(build=folder, release="7.3.4+deb13-amd64")
        said = "iommu_core.o: No space left on device"

        def fake_run(_argv, log):
            log.write_text(said)
            return run.Result(2, said, False, 0)

        with (
            mock.patch.object(module.kernel, "stock", return_value=stock),
            mock.patch.object(module.root, "get", return_value=mock.Mock(run=fake_run)),
            self.assertRaises(ToolError) as caught,
        ):
            module.build()
        self.assertIn("no space left on the disk", caught.exception.what)


class HalfAPackage(unittest.TestCase):
    """The source package: a damaged one leaves no source behind that looks complete."""

    MEMBER = "./usr/src/linux-source-7.2.tar.xz"

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.base = pathlib.Path(folder.name)
        self.enterContext(mock.patch.dict(os.environ, XDG_CACHE_HOME=folder.name))
        self.enterContext(mock.patch.object(progress.PROGRESS, "line"))

    def package(self, cut=0):
        """A package with a source, of which the last `cut` bytes of the compressed archive are missing."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for name in ("linux-source-7.2/Makefile", "linux-source-7.2/kernel/big.c"):
                content = os.urandom(200_000)
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        packed = lzma.compress(archive.getvalue())
        tree = self.base / "tree"
        (tree / "usr/src").mkdir(parents=True)
        (tree / "DEBIAN").mkdir()
        (tree / self.MEMBER).write_bytes(packed[: len(packed) - cut])
        # Something comes after it, as in Debian's package.
        (tree / "usr/src/z").write_bytes(os.urandom(3_000_000))
        (tree / "DEBIAN/control").write_text(
            "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n"
        )
        deb = self.base / "x.deb"
        subprocess.run(["dpkg-deb", "-Znone", "--build", tree, deb], check=True, stdout=subprocess.DEVNULL)
        return deb

    def unpack(self, deb):
        with progress.PROGRESS.step("test: unpack") as step:
            kernel.unpack_source(deb, self.MEMBER, self.base / "linux", step)

    def test_whole(self):
        self.unpack(self.package())
        self.assertEqual((self.base / "linux/kernel/big.c").stat().st_size, 200_000)

    def test_source_is_cut(self):
        with self.assertRaisesRegex(ToolError, r"x\.deb"):
            self.unpack(self.package(cut=20_000))
        # What the first check of an earlier version took for a whole source.
        self.assertTrue((self.base / "linux/Makefile").exists())

    def test_package_is_cut(self):
        deb = self.package()
        os.truncate(deb, deb.stat().st_size - 1_000_000)
        with self.assertRaisesRegex(ToolError, r"x\.deb"):
            self.unpack(deb)


if __name__ == "__main__":
    unittest.main()
