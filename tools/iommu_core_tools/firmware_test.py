# SPDX-License-Identifier: GPL-2.0
"""Compares the drivers' parsers of firmware tables, run on the build machine, with ACPICA's disassembler.

Each table is a case. Both must agree on the structures, the addresses of units and of memory regions, and the unit
of each id. Without a folder, the tables are those of the host tests and of the guest tests.
"""

import dataclasses
import pathlib

from . import cache, host_tests, iasl, root
from .errors import ToolError
from .guest_tests import acpi
from .progress import PROGRESS

SUITE = "firmware"
_BINARY = "firmware-tables"
_SIGNATURES = (b"DMAR", b"IVRS", b"IORT")
# A table is read once and looked at often: neither may take long.
_PARSE_NS_PER_BYTE = 2000
_LOOKUP_NS = 500_000
# Memory that belongs to the firmware on every PC.
_REGION = (0xF0000, 0xFFFFF)
# The number of tables for one run of a program.
_AT_ONCE = 64


@dataclasses.dataclass
class _Ours:
    """What the parsers say of a table."""

    kind: str
    refusal: str | None
    odd: list = dataclasses.field(default_factory=list)
    counts: dict = dataclasses.field(default_factory=dict)
    units: list = dataclasses.field(default_factory=list)
    regions: list = dataclasses.field(default_factory=list)
    ids: dict = dataclasses.field(default_factory=dict)
    named: list = dataclasses.field(default_factory=list)
    cost: tuple = (0, 0, 0, 0)


def run(report, folder=None):
    """Reads every table in and below `folder`, or the tree's own."""
    with report.suite(SUITE), cache.scratch("firmware") as scratch:
        with host_tests.workspace() as target:
            binary = _build(target)
            names = _given(pathlib.Path(folder), scratch) if folder else _own(scratch, binary)
            if not names:
                raise ToolError(f"no DMAR, IVRS or IORT table in {folder}")
            with PROGRESS.step(f"firmware: {len(names)} tables") as step:
                ours = _parse(binary, scratch, sorted(names), step)
                theirs = _disassemble(scratch, sorted(names), step)
        lines = []
        for number, name in sorted(names.items(), key=lambda item: item[1]):
            with report.case(SUITE, name):
                lines.append(f"{name}: {_line(ours[number])}")
                _compare(ours[number], theirs.get(number))
        verdicts = [one.refusal is None for one in ours.values()]
        lookups = sum(one.cost[2] for one in ours.values())
        lines.append(f"{sum(verdicts)} accepted, {len(verdicts) - sum(verdicts)} refused, {lookups} look-ups")
        PROGRESS.line("\n".join(lines))


def _build(target):
    with PROGRESS.step("firmware: build the parsers for this machine") as step:
        argv = ["cargo", "build", "--offline", "--locked", "--release", "--bin", _BINARY]
        if not host_tests.cargo(argv, {"CARGO_TARGET_DIR": str(target)}, log=step.log):
            raise step.fail("the parsers do not build for this machine")
        binary = pathlib.Path(target) / "release" / _BINARY
        return binary


# --- the tables -------------------------------------------------------------------------------


def _given(folder, scratch):
    """Copies the tables of a folder into the scratch folder: {number: name}."""
    if not folder.is_dir():
        raise ToolError(f"{folder} is no folder")
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            if file.read(4) not in _SIGNATURES:
                continue
        number = f"{len(found):05}"
        (scratch / f"{number}.bin").write_bytes(path.read_bytes())
        found[number] = path.relative_to(folder).as_posix()
    return found


def _own(scratch, binary):
    """Writes the tables of the host tests and of the guest tests into the scratch folder: {number: name}."""
    if not root.get().run([binary, "--write", scratch], cwd=scratch):
        raise ToolError("the tables of the tests on the host cannot be written")
    found = {}
    for path in sorted(scratch.glob("host-*.bin")):
        number = f"{len(found):05}"
        path.rename(scratch / f"{number}.bin")
        found[number] = path.stem
    for tables in acpi.TABLES.values():
        made = {name: table for name, (table, _, _) in tables.broken.items()}
        made["direct"] = tables.direct(*_REGION)
        made["nothing_there"] = tables.nothing_there
        if tables.odd:
            made["odd"], _ = tables.odd(*_REGION)
        for name, table in made.items():
            if table and table[:4] in _SIGNATURES:
                number = f"{len(found):05}"
                (scratch / f"{number}.bin").write_bytes(table)
                found[number] = f"{tables.file}: {name}"
    return found


# --- the two readers --------------------------------------------------------------------------


def _parse(binary, scratch, numbers, step):
    found, current = {}, None
    for some in _some(numbers):
        result = root.get().run([binary, *some], cwd=scratch, log=step.log, timeout=600)
        if not result:
            raise step.fail(f"the parsers ended with {result.status}", "see the log: a panic names the line")
        for line in result.output.splitlines():
            word, _, rest = line.partition(" ")
            if word == "table":
                file, kind, verdict = rest.split(" ", 2)
                refusal = verdict.partition(" ")[2] if verdict.startswith("refused") else None
                current = found[file.removesuffix(".bin")] = _Ours(kind, refusal)
            elif word == "odd":
                current.odd.append(rest)
            elif word == "count":
                kind, count = rest.split()
                current.counts[kind] = int(count)
            elif word == "cost":
                current.cost = tuple(map(int, rest.split()))
            elif word == "ids":
                segment, first, last, unit = rest.split()
                owners = current.ids.setdefault(int(segment, 16), [])
                owners += [None if unit == "none" else int(unit, 16)] * (int(last, 16) + 1 - int(first, 16))
            elif word == "streams":
                segment, first, last, unit, stream = (int(number, 16) for number in rest.split())
                owners = current.ids.setdefault(segment, [])
                owners += [(unit, stream + number) for number in range(last + 1 - first)]
            elif word == "named":
                unit, stream, path = rest.split(" ", 2)
                current.named.append((path, int(unit, 16), int(stream, 16)))
            elif word in ("unit", "region"):
                into = current.units if word == "unit" else current.regions
                into.append(tuple(int(number, 16) for number in rest.split()))
    return found


def _disassemble(scratch, numbers, step):
    for some in _some(numbers):
        # iasl's status is ignored: it fails if one table is odd, but still writes the other tables.
        root.get().run(["iasl", "-d", *some], cwd=scratch, log=step.log, timeout=600)
    found = {}
    for number in numbers:
        path = scratch / f"{number}.dsl"
        if path.exists():
            found[number] = path.read_text(encoding="utf-8", errors="replace")
    return found


def _some(numbers):
    for start in range(0, len(numbers), _AT_ONCE):
        yield [f"{number}.bin" for number in numbers[start : start + _AT_ONCE]]


# --- the comparison ---------------------------------------------------------------------------


def _line(ours):
    if ours.refusal is not None:
        return f"{ours.kind} refused: {ours.refusal}"
    size, parse, lookups, took = ours.cost
    words = f"{ours.kind} of {size} bytes, {len(ours.units)} units, {len(ours.regions)} regions, {lookups} look-ups"
    words += f", parsed in {parse / 1000:.0f} us, {took // max(lookups, 1)} ns a look-up"
    return "; ".join([words, *ours.odd])


def _compare(ours, text):
    if ours.refusal is not None:
        return
    size, parse, lookups, took = ours.cost
    assert parse < 1_000_000 + size * _PARSE_NS_PER_BYTE, f"{parse} ns for one parse"
    assert took < 1_000_000 + lookups * _LOOKUP_NS, f"{took} ns for {lookups} look-ups"
    assert text is not None, "iasl has not read it"
    theirs = iasl.facts(text)
    # If iasl has stopped early, there is nothing to compare with, unless the parser stops there
    # too.
    if not theirs.is_whole and not any("the table ends with" in words for words in ours.odd):
        return
    _same("structures", theirs.counts, ours.counts)
    _same("units", sorted(theirs.units), sorted(ours.units))
    regions = [
        (first, last, segment if theirs.regions[at : at + 1] and theirs.regions[at][2] is not None else None)
        for at, (first, last, segment) in enumerate(ours.regions)
    ]
    _same("memory regions", theirs.regions, regions)
    _same("devices by name", sorted(theirs.named), sorted(ours.named))
    _same("segments", sorted(theirs.ids), sorted(ours.ids))
    for segment, owners in theirs.ids.items():
        mine = ours.ids[segment]
        differ = [number for number in range(0x10000) if owners[number] != mine[number]]
        words = [f"{number:04x}: {owners[number]} and {mine[number]}" for number in differ[:4]]
        assert not differ, f"{len(differ)} ids of segment {segment}: {', '.join(words)}"


def _same(what, theirs, ours):
    assert theirs == ours, f"{what}: iasl says {theirs}, the parser says {ours}"
