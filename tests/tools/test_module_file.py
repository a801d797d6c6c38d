# SPDX-License-Identifier: GPL-2.0
"""The module's file, stripped, signed, compressed; and what it is signed with."""

import os
import pathlib
import unittest
from unittest import mock

from iommu_core_tools import module_file, run
from iommu_core_tools.arch import AMD64, ARM64
from iommu_core_tools.errors import ToolError

from folder import Folder


class Signing(Folder):
    def test_neither(self):
        self.assertIsNone(module_file.signing({}))
        self.assertIsNone(module_file.signing({"SIGN_KEY": "", "SIGN_CERT": ""}))

    def test_both(self):
        key, certificate = self.put("key"), self.put("cert")
        found = module_file.signing({"SIGN_KEY": str(key), "SIGN_CERT": str(certificate)})
        self.assertEqual((found.key, found.certificate), (key.resolve(), certificate.resolve()))

    def test_one_is_missing(self):
        for given, missing in (("SIGN_KEY", "SIGN_CERT"), ("SIGN_CERT", "SIGN_KEY")):
            with self.assertRaisesRegex(ToolError, f"{missing}= is missing"):
                module_file.signing({given: str(self.put("x"))})

    def test_cannot_be_read(self):
        with self.assertRaisesRegex(ToolError, "SIGN_CERT=.*No such file"):
            module_file.signing({"SIGN_KEY": str(self.put("k")), "SIGN_CERT": str(self.folder / "none")})
        with self.assertRaisesRegex(ToolError, "SIGN_KEY=.*Is a directory"):
            module_file.signing({"SIGN_KEY": str(self.folder), "SIGN_CERT": str(self.put("c"))})


class File(Folder):
    """The steps to the module's file."""

    def make(self, compress, signed_with=None, failing=None, arch=AMD64):
        config = self.put("config", f'{compress}\nCONFIG_MODULE_SIG_HASH="sha256"\n')
        built = mock.Mock(ko=self.put("in/iommu_core.ko", "content"))
        built.stock.config, built.stock.build, built.stock.arch = config, self.folder / "build", arch
        commands = []

        def in_root(argv, *, cwd, log, env=None, binds=()):
            commands.append(([str(word).replace(f"{self.folder}/", "") for word in argv], env, list(binds)))
            if pathlib.PurePath(argv[0]).name in ("xz", "zstd", "gzip"):
                suffix = {"xz": ".xz", "zstd": ".zst", "gzip": ".gz"}[argv[0]]
                argv[-1].rename(f"{argv[-1]}{suffix}")
            return run.Result(int(pathlib.PurePath(argv[0]).name == failing), "", False, 0)

        step = mock.MagicMock()
        step.__enter__.return_value.fail = ToolError
        step.__exit__.return_value = False
        out = self.folder / "out"
        out.mkdir(exist_ok=True)
        with (
            mock.patch.object(module_file.root, "get", return_value=mock.Mock(run=in_root)),
            mock.patch.object(module_file.PROGRESS, "step", return_value=step),
        ):
            path = module_file.make(built, out, signed_with)
        return path.name, commands

    def test_as_the_kernels_modules(self):
        strip = ["x86_64-linux-gnu-strip", "--strip-debug", "out/iommu_core.ko"]
        for option, name, words in (
            ("# CONFIG_MODULE_COMPRESS is not set", "iommu_core.ko", None),
            ("CONFIG_MODULE_COMPRESS_XZ=y", "iommu_core.ko.xz", ["xz", "--check=crc32", "--lzma2=dict=1MiB", "-f"]),
            ("CONFIG_MODULE_COMPRESS_ZSTD=y", "iommu_core.ko.zst", ["zstd", "-T0", "--rm", "-f", "-q"]),
        ):
            with self.subTest(option):
                found, commands = self.make(option)
                self.assertEqual(found, name)
                self.assertEqual([command[0] for command in commands], [strip, *([[*words, strip[2]]] if words else [])])

    def test_signed_between_strip_and_compression(self):
        signing = module_file.Signing(pathlib.Path("/k/key.pem"), pathlib.Path("/k/cert.der"))
        with mock.patch.dict(os.environ, {"KBUILD_SIGN_PIN": "secret"}):
            _name, commands = self.make("CONFIG_MODULE_COMPRESS_XZ=y", signing, arch=ARM64)
        self.assertEqual([command[0][0] for command in commands], ["aarch64-linux-gnu-strip", "build/scripts/sign-file", "xz"])
        words, env, binds = commands[1]
        self.assertEqual(words[1:], ["sha256", "/k/key.pem", "/k/cert.der", "out/iommu_core.ko"])
        self.assertEqual(env, {"KBUILD_SIGN_PIN": "secret"})
        self.assertEqual(binds, [signing.key, signing.certificate])

    def test_failures(self):
        signing = module_file.Signing(pathlib.Path("/k"), pathlib.Path("/c"))
        for failing, what in (("x86_64-linux-gnu-strip", "strip"), ("sign-file", "sign"), ("xz", "compress")):
            with self.assertRaisesRegex(ToolError, f"cannot {what} the module"):
                self.make("CONFIG_MODULE_COMPRESS_XZ=y", signing, failing)


if __name__ == "__main__":
    unittest.main()
