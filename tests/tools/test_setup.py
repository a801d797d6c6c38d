# SPDX-License-Identifier: GPL-2.0
"""Set-up where something is missing or wrong: a clear message each, and nothing left behind."""

import os
import pathlib
import stat
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

from iommu_core_tools import cache, host, kernel, root
from iommu_core_tools.errors import ToolError
from iommu_core_tools.paths import CHECKOUT


class Empty(unittest.TestCase):
    """A machine with an empty cache."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.base = pathlib.Path(folder.name)
        self.env = dict(os.environ, XDG_CACHE_HOME=str(self.base))

    def setup(self, **env):
        """`tools/ic setup`, on a disk that is large enough."""
        script = f"""
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, {str(CHECKOUT / "tools")!r})
from iommu_core_tools import cli, host
host.free_bytes = lambda _folder: 1 << 60
sys.exit(cli.main(["setup"]))
"""
        return subprocess.run(
            [sys.executable, "-c", script],
            env=dict(self.env, **env),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def test_archive_unreachable(self):
        # Port 9 of this machine: refused at once.
        result = self.setup(MIRROR="http://127.0.0.1:9/")
        self.assertEqual(result.returncode, 1)
        self.assertIn("error: ", result.stderr)
        self.assertIn("http://127.0.0.1:9", result.stderr)
        self.assertIn("cannot be reached", result.stderr)
        self.assertIn("MIRROR=", result.stderr)
        self.assertNotIn("Traceback", result.stderr)
        left = [path.name for path in (self.base / "iommu_core").iterdir() if path.name.startswith("root-")]
        self.assertEqual(left, [])

    def test_missing_package_without_root(self):
        with (
            mock.patch.object(host, "_present", lambda name: name != "mmdebstrap"),
            mock.patch("os.geteuid", return_value=1000),
            mock.patch("shutil.which", return_value=None),
            self.assertRaises(ToolError) as caught,
        ):
            host.need("mmdebstrap", "unshare")
        self.assertIn("mmdebstrap", caught.exception.what)
        self.assertIn("apt-get install mmdebstrap", caught.exception.hint)

    def test_no_space(self):
        with self.assertRaises(ToolError) as caught:
            host.need_space(1 << 62)
        self.assertIn("free", caught.exception.what)
        self.assertIn("XDG_CACHE_HOME", caught.exception.hint)


class Configuration(unittest.TestCase):
    def test_other_rustc(self):
        config = tempfile.NamedTemporaryFile("w", suffix=".config")
        self.addCleanup(config.close)
        config.write('CONFIG_RUST=y\nCONFIG_RUSTC_VERSION_TEXT="rustc 1.2.3"\n')
        config.flush()
        ours = mock.MagicMock(**{"run.return_value.output": "rustc 4.5.6\n"})
        with mock.patch.object(root, "get", return_value=ours):
            with self.assertRaisesRegex(ToolError, r"rustc 4\.5\.6.*rustc 1\.2\.3"):
                kernel.check_rustc(config.name, "x")

    def test_configuration_differences(self):
        with tempfile.TemporaryDirectory() as folder:
            first, second = pathlib.Path(folder, "a"), pathlib.Path(folder, "b")
            first.write_text("CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=m\nCONFIG_X_VERSION=1\n")
            second.write_text("CONFIG_A=y\nCONFIG_C=y\nCONFIG_X_VERSION=2\n")
            self.assertEqual(kernel.config_differences(first, second), ["CONFIG_C"])
            self.assertEqual(kernel.config_unmet(first, second), ["CONFIG_C=m", "CONFIG_X_VERSION=1"])

    def test_the_last_line_about_an_option_counts(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "fragments")
            path.write_text("# CONFIG_A is not set\nCONFIG_B=y\nCONFIG_A=y\n# CONFIG_B is not set\n")
            self.assertEqual(kernel.config_options(path), {"CONFIG_A": "y", "CONFIG_B": "n"})


class Bootstrap(unittest.TestCase):
    """tools/bootstrap.sh, which runs before Python is known to be there."""

    def bootstrap(self, **programs):
        with tempfile.TemporaryDirectory() as folder:
            for name, script in programs.items():
                path = pathlib.Path(folder, name)
                path.write_text(f"#!/bin/sh\n{script}\n")
                path.chmod(path.stat().st_mode | stat.S_IXUSR)
            return subprocess.run(
                ["/bin/sh", CHECKOUT / "tools/bootstrap.sh"],
                env={"PATH": folder},
                capture_output=True,
                text=True,
                check=False,
            )

    def test_there(self):
        self.assertEqual(self.bootstrap(python3="exit 0").returncode, 0)

    def test_too_old(self):
        result = self.bootstrap(python3="exit 1")
        self.assertEqual(result.returncode, 1)
        self.assertIn("older than 3.11", result.stderr)

    def test_missing_without_root(self):
        result = self.bootstrap(id="echo 1000")
        self.assertEqual(result.returncode, 1)
        self.assertIn("apt-get install python3", result.stderr)


if __name__ == "__main__":
    unittest.main()
