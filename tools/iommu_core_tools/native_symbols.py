# SPDX-License-Identifier: GPL-2.0
"""Checks that the native frontend provides the symbols of drivers/iommu/iommu.c: tools/config/native-symbols.

It compares this list with:

- the exports of the C source that the frontend replaces, so that a new export of another kernel version is noticed;
- the frontend's own exports;
- the table in Documentation/native.md, also its column on the suite tests/api;
- the symbols that a built kernel or its objects define.
"""

import dataclasses
import pathlib
import re

from . import kernel, root
from .errors import ToolError
from .paths import CHECKOUT, CONFIG
from .sync import API_SUITE

SUITE = "native symbols"
# The word in the table for functions that the suite tests/api calls.
API = "API"
_EXPORT = re.compile(r'^EXPORT_SYMBOL(?P<kind>|_GPL|_NS_GPL)\((?P<name>\w+)(?:, "(?P<space>\w+)")?\)', re.M)
_MARKED = re.compile(r'#\[export\]\s*pub unsafe extern "C" fn (\w+)')
_DATA = re.compile(r"^DEFINE_MUTEX\((\w+)\)", re.M)
_ROW = re.compile(r"^\| `(\w+)` \| ([^|]+) \| `([\w.]+)` \| ([^|]*) ?\|$", re.M)
_SAID = {"gpl": "GPL", "plain": "all", "builtin": "none"}


@dataclasses.dataclass(frozen=True)
class Symbol:
    """One line of the list."""

    name: str
    access: str  # gpl, gpl:NAMESPACE, plain or builtin
    option: str  # without CONFIG_, or ""


def listed(path=CONFIG / "native-symbols"):
    """The list: `{name: Symbol}`."""
    found = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        words = line.split()
        if not words or line.startswith("#"):
            continue
        if len(words) not in (2, 3) or not re.fullmatch(r"gpl(:\w+)?|plain|builtin", words[1]):
            raise ToolError(f"{path.name}:{number}: not `name access [option]`")
        if words[0] in found:
            raise ToolError(f"{path.name}:{number}: {words[0]} is there twice")
        found[words[0]] = Symbol(words[0], words[1], words[2] if len(words) > 2 else "")
    return found


def exports_of(text):
    """The exports of a C source: `{name: access}`."""
    found = {}
    for match in _EXPORT.finditer(text):
        kind = "plain" if not match["kind"] else "gpl"
        found[match["name"]] = f"{kind}:{match['space']}" if match["space"] else kind
    return found


def defined_in_source(checkout=CHECKOUT):
    """The names that the frontend's sources define for C, and in which file."""
    names = {}
    for path in sorted(filter(pathlib.Path.is_file, (checkout / "frontend/native").rglob("*"))):
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".rs":
            found = _MARKED.findall(text)
        else:
            found = _DATA.findall(text) if path.suffix == ".c" else ()
        names.update((name, path.name) for name in found)
    return names


def compare_table(wanted, defined, text):
    """What is wrong with the table of a document, as lines."""
    rows = {name: (access, file) for name, access, file, _suites in _ROW.findall(text)}
    wrong = [f"{name} is in the table and not in tools/config/native-symbols" for name in rows if name not in wanted]
    for symbol in wanted.values():
        expected = (_SAID.get(symbol.access) or symbol.access.replace("gpl:", "GPL, "), defined.get(symbol.name))
        if rows.get(symbol.name) != expected:
            wrong.append(f"{symbol.name}: {expected} expected, the table has {rows.get(symbol.name)}")
    return wrong


def suites_in(text):
    """The suites of each symbol in the table: `{name: {suite, ...}}`."""
    return {name: set(filter(None, suites.strip().split(", "))) for name, _access, _file, suites in _ROW.findall(text)}


def called_in_source(checkout=CHECKOUT):
    """The functions and data of the list that the suite tests/api names."""
    paths = sorted((checkout / API_SUITE).glob("*.c"))
    words = {word for path in paths for word in re.findall(r"\w+", path.read_text(encoding="utf-8"))}
    return words & listed().keys()


def compare_suites(called, text):
    """The errors in the table's column on tests/api, as lines. `called` is what tests/api calls."""
    suites = suites_in(text)
    said = {name for name, found in suites.items() if API in found}
    wrong = [f"{name}: no suite calls it" for name, found in suites.items() if not found]
    wrong += [f"{name}: {API} is missing in the table" for name in sorted(called - said)]
    wrong += [f"{name}: {API} is in the table, and that suite does not call it" for name in sorted(said - called)]
    return wrong


def defined_in(objects):
    """The global symbols that built objects (or a vmlinux) define."""
    result = root.get().run(["nm", "--defined-only", "--extern-only", *objects])
    if not result:
        raise ToolError(f"nm cannot read {' '.join(map(str, objects))}: {result.output.strip()[-300:]}")
    lines = (line.split() for line in result.output.splitlines())
    return {words[2] for words in lines if len(words) == 3 and words[1] not in "wWvV"}


def compare_exports(wanted, found, where):
    """What is wrong with a source's exports, as lines."""
    exported = {symbol.name: symbol.access for symbol in wanted.values() if symbol.access != "builtin"}
    wrong = []
    for name in sorted(exported.keys() | found.keys()):
        expected, there = exported.get(name), found.get(name)
        if there is None:
            wrong.append(f"{where} does not export {name}")
        elif expected is None:
            wrong.append(f"{where} exports {name}, which is not in tools/config/native-symbols")
        elif expected != there:
            wrong.append(f"{where} exports {name} as {there}, not as {expected}")
    return wrong


def missing(wanted, names, options=None):
    """The symbols that `names` lacks. `options` are the kernel's options that are set; None stands for all."""
    there = (symbol for symbol in wanted.values() if not symbol.option or options is None or symbol.option in options)
    return sorted(symbol.name for symbol in there if symbol.name not in names)


def run(report):
    """Compares the list with the sources and with the document."""
    wanted = listed()
    with report.suite(SUITE):
        source = kernel.stock().source / "drivers/iommu/iommu.c"
        ours = CHECKOUT / "frontend/native/exports.c"
        for path, where in ((source, "drivers/iommu/iommu.c"), (ours, "frontend/native/exports.c")):
            wrong = compare_exports(wanted, exports_of(path.read_text(encoding="utf-8")), where)
            _add(report, f"exports of {where}", wrong)
        defined = defined_in_source()
        lacking = missing(wanted, defined)
        _add(report, "definitions", [f"frontend/native does not define {name}" for name in lacking])
        text = (CHECKOUT / "Documentation/native.md").read_text(encoding="utf-8")
        _add(report, "the table", compare_table(wanted, defined, text) + compare_suites(called_in_source(), text))


def run_built(report, what, objects, options=None):
    """Compares the list with what built objects define. The kernel has these options (None: all)."""
    with report.suite(SUITE):
        lacking = missing(listed(), defined_in(objects), options)
        _add(report, f"{what}: built", [f"the kernel does not have {name}" for name in lacking])


def _add(report, name, wrong):
    report.add(SUITE, name, "failed" if wrong else "passed", detail="\n".join(wrong))
