# SPDX-License-Identifier: GPL-2.0
"""Files of kernel modules: their sections, and what keeps kernels from loading one."""

import struct
import unittest
from unittest import mock

from iommu_core_tools import kmods, module
from iommu_core_tools.errors import ToolError

from folder import Folder

_THIS_MODULE = (".gnu.linkonce.this_module", b"\0" * 64)
_MODINFO = (".modinfo", b"license=GPL\0vermagic=7.3.4 SMP \0depends=a,b\0")


def elf(*sections):
    """An image of 64 bits with these sections: (name, content)."""
    sections = [("", b""), *sections]
    names = b"".join(name.encode() + b"\0" for name, _content in sections) + b".shstrtab\0"
    sections.append((".shstrtab", names))
    body, headers, name_at = b"", b"", 0
    for name, content in sections:
        headers += struct.pack("<IIQQQQIIQQ", name_at, 1, 0, 0, 0x40 + len(body), len(content), 0, 0, 1, 0)
        body += content
        name_at += len(name) + 1
    head = b"\x7fELF".ljust(0x28, b"\0") + struct.pack("<Q", 0x40 + len(body)) + b"\0" * 10
    return head + struct.pack("<HHH", 0x40, len(sections), len(sections) - 1) + body + headers


class Sections(unittest.TestCase):
    def test_modinfo(self):
        pairs = [("license", "GPL"), ("vermagic", "7.3.4 SMP "), ("depends", "a,b")]
        self.assertEqual(kmods.modinfo(elf((".text", b"x"), _MODINFO)), pairs)
        with self.assertRaisesRegex(ToolError, "no .modinfo section"):
            kmods.modinfo(elf((".text", b"x")))
        with self.assertRaisesRegex(ToolError, "no ELF header"):
            kmods.modinfo(b"")

    def test_a_module_that_kernels_load(self):
        self.assertEqual(kmods.wrong_sections(elf(_MODINFO, (".modinfo.x", b""), _THIS_MODULE)), [])

    def test_sections_that_kernels_refuse(self):
        # As rustc 1.97 made them of #[used].
        two = elf((".modinfo", b"version=1\0"), _MODINFO, _THIS_MODULE)
        self.assertEqual(kmods.wrong_sections(two), ["it has 2 sections .modinfo in place of one"])
        self.assertEqual(kmods.wrong_sections(elf()), [
            "it has 0 sections .modinfo in place of one", "it has 0 sections .gnu.linkonce.this_module in place of one",
        ])  # fmt: skip


class Build(Folder):
    """The build of the module, with what it makes."""

    def build(self, image, **options):
        folder = self.folder / "work"
        folder.mkdir(exist_ok=True)
        (folder / "iommu_core.ko").write_bytes(image)
        step = mock.MagicMock()
        step.__enter__.return_value.fail = ToolError
        step.__exit__.return_value = False
        workspace = mock.MagicMock()
        workspace.__enter__.return_value = folder
        workspace.__exit__.return_value = False
        result = mock.Mock(output="")
        with (
            mock.patch.object(module.kernel, "stock"),
            mock.patch.object(module.kernel, "make_arguments", return_value=[]),
            mock.patch.object(module.cache, "workspace", return_value=workspace),
            mock.patch.object(module, "sync", return_value=[]),
            mock.patch.object(module.root, "get", return_value=mock.Mock(run=mock.Mock(return_value=result))),
            mock.patch.object(module.PROGRESS, "step", return_value=step),
        ):
            return module.build(**options)

    def test_built(self):
        self.assertEqual(self.build(elf(_MODINFO, _THIS_MODULE)).ko, self.folder / "work/iommu_core.ko")

    def test_no_kernel_would_load_it(self):
        with self.assertRaisesRegex(ToolError, "no kernel would load the module: it has 2 sections .modinfo"):
            self.build(elf(_MODINFO, _MODINFO, _THIS_MODULE))

    def test_clippy_makes_no_module(self):
        self.build(b"", clippy=True)


if __name__ == "__main__":
    unittest.main()
