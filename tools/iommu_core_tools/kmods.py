# SPDX-License-Identifier: GPL-2.0
"""Files of kernel modules: what is in one, and which others the stock kernel's modules depend on."""

import lzma
import pathlib
import struct
import subprocess

from .errors import ToolError


def _sections(image):
    """Name and content of every section of a 64-bit ELF image."""
    offset = struct.unpack_from("<Q", image, 0x28)[0]
    size, count, names = struct.unpack_from("<HHH", image, 0x3A)
    headers = [struct.unpack_from("<IIQQQQIIQQ", image, offset + i * size) for i in range(count)]
    strings = headers[names][4]
    for header in headers:
        start = strings + header[0]
        name = image[start : image.index(b"\0", start)].decode()
        yield name, image[header[4] : header[4] + header[5]]


def modinfo(image):
    """The `tag=value` strings of a module, as a list of pairs."""
    if image[:4] != b"\x7fELF":
        raise ToolError("not a kernel module: no ELF header")
    for name, content in _sections(image):
        if name == ".modinfo":
            lines = [line for line in content.decode(errors="replace").split("\0") if "=" in line]
            return [tuple(line.split("=", 1)) for line in lines]
    raise ToolError("not a kernel module: no .modinfo section")


# The kernel refuses a module that has none of one of these, or several.
_ONCE = (".modinfo", ".gnu.linkonce.this_module")


def wrong_sections(image):
    """What keeps any kernel from loading a module, as texts."""
    names = [name for name, _content in _sections(image)]
    counts = {name: names.count(name) for name in _ONCE}
    return [f"it has {count} sections {name} in place of one" for name, count in counts.items() if count != 1]


def _name(path):
    return path.name.split(".ko")[0].replace("-", "_")


def _unpack(path):
    data = path.read_bytes()
    if path.name.endswith(".xz"):
        return lzma.decompress(data)
    if path.name.endswith(".zst"):
        return subprocess.run(["zstd", "-dcq", path], check=True, stdout=subprocess.PIPE).stdout
    return data


class StockModules:
    """All modules below a kernel's folder in `lib/modules`."""

    def __init__(self, folder):
        self._paths = {_name(path): path for path in pathlib.Path(folder).rglob("*.ko*")}
        if not self._paths:
            raise ToolError(f"no kernel modules below {folder}")

    def with_dependencies(self, names):
        """`{name: (image, [names of modules that it depends on])}` for the modules and all their dependencies.

        A dependency without a file is left out, because it may be built in.
        """
        found = {}
        waiting = [name.replace("-", "_") for name in names]
        while waiting:
            name = waiting.pop()
            if name in found:
                continue
            if name not in self._paths:
                raise ToolError(f"the stock kernel has no module {name}")
            image = _unpack(self._paths[name])
            needs = self._needs(image)
            found[name] = (image, needs)
            waiting += needs
        return found

    def _needs(self, image):
        needs = []
        for tag, value in modinfo(image):
            if tag == "depends":
                needs += [name.replace("-", "_") for name in value.split(",") if name]
            elif tag == "softdep" and value.startswith("pre:"):
                soft = value.split("post:")[0].removeprefix("pre:").split()
                needs += [name.replace("-", "_") for name in soft]
        return [name for name in dict.fromkeys(needs) if name in self._paths]
