# SPDX-License-Identifier: GPL-2.0
"""Checks that `unsafe` is only in the files that tools/config/unsafe-rooms lists.

Every other file of the module has no `unsafe`, and has `#![forbid(unsafe_code)]`, so that the compiler checks what
macros generate as well. Two kinds of files cannot have this attribute: files with a listed file below them, because
the attribute would hold there too; and test suites, because the KUnit macros generate unsafe code.
"""

import pathlib
import re

from .paths import CHECKOUT, CONFIG
from .rust_code import code_only
from .sync import kernel_files

_FORBID = re.compile(r"^#!\[forbid\(([^)]*\b)?unsafe_code\b", re.M)


def rooms(path=CONFIG / "unsafe-rooms"):
    """The paths that may have unsafe code. Folders end in a slash."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]


def unsafe_lines(text):
    """The numbers of the lines with `unsafe` in the code."""
    lines = code_only(text).splitlines()
    return [number for number, line in enumerate(lines, 1) if re.search(r"\bunsafe\b", line)]


def check(checkout=CHECKOUT, allowed=None):
    """Everything that is wrong, as `path:line: what` lines."""
    allowed = rooms() if allowed is None else allowed
    files = [path for path in kernel_files(checkout) if path.suffix == ".rs"]
    in_room = {path for path in files if _in_room(path, allowed)}
    wrong = []
    for room in allowed:
        if not (checkout / room).exists():
            wrong.append(f"tools/config/unsafe-rooms: {room} is not there")
    for path in files:
        if path in in_room:
            continue
        text = (checkout / path).read_text(encoding="utf-8")
        for number in unsafe_lines(text):
            wrong.append(f"{path}:{number}: unsafe code outside of the rooms in tools/config/unsafe-rooms")
        if _must_forbid(path, in_room) and not _FORBID.search(text):
            wrong.append(f"{path}:1: lacks #![forbid(unsafe_code)]")
    return wrong


def _in_room(path, allowed):
    text = path.as_posix()
    return any(text == room or (room.endswith("/") and text.startswith(room)) for room in allowed)


def _must_forbid(path, in_room):
    if path.name == "tests.rs" or "tests" in path.parts:
        return False
    if path == pathlib.Path("iommu_core.rs"):
        return False
    below = path.with_suffix("")
    return not any(below in room.parents for room in in_room)
