# SPDX-License-Identifier: GPL-2.0
"""Archives in the "newc" format, as the kernel unpacks them into its first file system.

Layout: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
"""

import stat


class Archive:
    """Collects files. The same files in the same order always give the same bytes."""

    def __init__(self):
        self._parts = []
        self._inode = 0
        self._folders = set()

    def add(self, path, data, mode=0o644):
        """A file, with its parent folders."""
        self._parents(path)
        self._entry(path, stat.S_IFREG | mode, data)

    def link(self, path, target):
        """A symbolic link, with its parent folders."""
        self._parents(path)
        self._entry(path, stat.S_IFLNK | 0o777, target.encode())

    def folder(self, path):
        """An empty folder."""
        self._parents(path + "/")

    def bytes(self):
        """The whole archive, padded so that another archive can follow."""
        self._entry("TRAILER!!!", 0, b"")
        data = b"".join(self._parts)
        return data + bytes(-len(data) % 512)

    def _parents(self, path):
        names = path.split("/")[:-1]
        for depth in range(1, len(names) + 1):
            folder = "/".join(names[:depth])
            if folder not in self._folders:
                self._folders.add(folder)
                self._entry(folder, stat.S_IFDIR | 0o755, b"")

    def _entry(self, path, mode, data):
        self._inode += 1
        name = path.encode() + b"\0"
        fields = (self._inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
        self._parts += [head, bytes(-len(head) % 4), data, bytes(-len(data) % 4)]
