# SPDX-License-Identifier: GPL-2.0
"""Reads firmware tables as ACPICA's disassembler (`iasl -d`) shows them.

This reader shares nothing with the drivers' parsers. It takes the fields from iasl's output, and finds the unit of
each id by the rules of the specifications and of the C drivers.
"""

import dataclasses
import re

# [030h 0048 002h]               Subtable Type : 0000 [Hardware Unit Definition]
_FIELD = re.compile(r"\[([0-9A-F]+)h \d+ +([0-9A-F]+)h?\] +(.+?) : (.*)$")
_ENDS = re.compile(r"Invalid|Raw Table Data|\*\*\*\* ")

_DMAR_KINDS = {0: "DRHD", 1: "RMRR", 2: "ATSR", 3: "RHSA", 4: "ANDD", 5: "SATC"}
_ENDPOINT, _BRIDGE = 1, 2
_PAGE = 0x1000
_IVRS_WINDOW = 0x4000
_IVHD_RANK = {0x10: 1, 0x11: 2, 0x40: 3}
_IVMD = {0x20, 0x21, 0x22}


@dataclasses.dataclass
class Facts:
    """What a table says. `ids`: for each segment and id the base of the id's unit, or None; in an IORT the base
    and the stream id. `named`: path, base and stream id of devices that only ACPI names.

    `ids` has, for each segment and id, the register base of the id's unit, or None. `is_whole` says whether
    iasl has read the table to its end.
    """

    counts: dict
    units: list
    regions: list
    ids: dict
    is_whole: bool
    named: list = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class _Structure:
    offset: int
    fields: dict = dataclasses.field(default_factory=dict)
    parts: list = dataclasses.field(default_factory=list)


def facts(text):
    """The facts in the text of a disassembled DMAR, IVRS or IORT table; None for another table."""
    fields, is_whole = _fields(text)
    signature = next((value for _, _, name, value in fields if name == "Signature"), "")
    reader = {'"DMAR"': _dmar, '"IVRS"': _ivrs, '"IORT"': _iort}.get(signature.split(" ")[0].strip())
    return reader(fields, is_whole) if reader else None


def _fields(text):
    """(offset, length, name, value) of each line that shows a field, and whether the text covers the whole table."""
    found, is_whole = [], True
    for line in text.splitlines():
        if match := _FIELD.match(line):
            found.append((int(match[1], 16), int(match[2], 16), match[3].strip(), match[4].strip()))
        elif _ENDS.search(line):
            is_whole = is_whole and line.startswith("Raw")
            if found:
                break
    return found, is_whole


def _number(value):
    return int(value.split(" ")[0], 16)


# --- DMAR -------------------------------------------------------------------------------------


def _dmar(fields, is_whole):
    structures = []
    for offset, _, name, value in fields:
        if name == "Subtable Type":
            structures.append(_Structure(offset, {"type": _number(value)}))
        elif not structures:
            continue
        elif name == "Device Scope Type":
            structures[-1].parts.append({"type": _number(value), "path": []})
        elif name == "PCI Path":
            device, function = value.split(" ")[0].split(",")
            structures[-1].parts[-1]["path"].append((int(device, 16), int(function, 16)))
        elif structures[-1].parts and name in ("PCI Bus Number", "Entry Length"):
            structures[-1].parts[-1][name] = _number(value)
        elif name in ("Length", "Flags", "PCI Segment Number", "Register Base Address", "Base Address",
                      "End Address (limit)") and name not in structures[-1].fields:  # fmt: skip
            structures[-1].fields[name] = _number(value)
        elif name == "Device Name":
            structures[-1].fields[name] = value.strip('"')
    structures = [one for one in structures if one.fields.get("Length")]

    counts = dict.fromkeys(_DMAR_KINDS.values(), 0)
    regions, drhds = [], []
    for one in structures:
        kind, get = _DMAR_KINDS.get(one.fields["type"]), one.fields.get
        if kind == "RMRR":
            first, last = get("Base Address"), get("End Address (limit)")
            if last <= first:
                continue
            regions.append((first & -_PAGE, last | (_PAGE - 1), get("PCI Segment Number")))
        elif kind == "DRHD":
            drhds.append(one.fields | {"scopes": one.parts})
        elif kind == "ANDD" and not get("Device Name"):
            continue
        if kind:
            counts[kind] += 1

    used = {}
    for drhd in drhds:
        base, segment = drhd["Register Base Address"], drhd["PCI Segment Number"]
        if base and base % _PAGE == 0:
            used.setdefault(base, segment)

    def unit_of(drhd):
        base = drhd["Register Base Address"]
        return base if used.get(base) == drhd["PCI Segment Number"] else None

    ids = {}
    for segment in sorted(set(used.values())):
        there = [drhd for drhd in drhds if drhd["PCI Segment Number"] == segment]
        rest = next((unit_of(drhd) for drhd in there if drhd["Flags"] & 1), None)
        owners = [rest] * 0x10000
        for drhd in reversed(there):
            for scope in drhd["scopes"]:
                if scope["type"] in (_ENDPOINT, _BRIDGE) and len(scope["path"]) == 1:
                    [(device, function)] = scope["path"]
                    if device < 32 and function < 8:
                        owners[scope["PCI Bus Number"] << 8 | device << 3 | function] = unit_of(drhd)
        ids[segment] = owners
    units = list(used.items())
    return Facts(counts, units, regions, ids, is_whole)


# --- IVRS -------------------------------------------------------------------------------------


def _ivrs(fields, is_whole):
    blocks = []
    for offset, _, name, value in fields:
        if name == "Subtable Type":
            if "Device Entry" in value:
                blocks[-1].parts.append({"type": _number(value)})
            else:
                blocks.append(_Structure(offset, {"type": _number(value)}))
        elif blocks:
            into = blocks[-1].parts[-1] if blocks[-1].parts else blocks[-1].fields
            if re.fullmatch(r"[0-9A-Fa-f]+", value.split(" ")[0]):
                into.setdefault(name, _number(value))
    blocks = [one for one in blocks if one.fields.get("Length")]

    hardware = [one for one in blocks if one.fields["type"] in _IVHD_RANK]
    counts = {"IVHD": len(hardware), "IVMD": 0}
    regions = []
    for one in blocks:
        if one.fields["type"] in _IVMD:
            first, length = one.fields["Start Address"], one.fields["Memory Length"]
            last = first + length - 1
            if length == 0 or last >= 1 << 64:
                continue
            counts["IVMD"] += 1
            # iasl does not show the field with the segment.
            regions.append((first & -_PAGE, last | (_PAGE - 1), None))

    best = {}
    for one in hardware:
        key = one.fields["PCI Segment Group"], one.fields["DeviceId"]
        if key not in best or _IVHD_RANK[best[key].fields["type"]] < _IVHD_RANK[one.fields["type"]]:
            best[key] = one
    described = sorted(best.values(), key=lambda one: one.offset)
    used = {}
    for one in described:
        base = one.fields["Base Address"]
        if base and base % _IVRS_WINDOW == 0 and base not in [unit.fields["Base Address"] for unit in used.values()]:
            used[one.offset] = one

    ids = {}
    for segment in sorted({one.fields["PCI Segment Group"] for one in used.values()}):
        rest, listed, own = None, {}, set()
        for one in described:
            if one.fields["PCI Segment Group"] != segment:
                continue
            base = one.fields["Base Address"] if one.offset in used else None
            own.add(one.fields["DeviceId"])
            every, these = _listed(one.parts)
            rest = base if every else rest
            listed.update(dict.fromkeys(these, base))
        ids[segment] = [None if number in own else listed.get(number, rest) for number in range(0x10000)]
    units = [(one.fields["Base Address"], one.fields["PCI Segment Group"]) for one in used.values()]
    return Facts(counts, units, regions, ids, is_whole)


def _listed(entries):
    """Whether some device entry is for all devices, and the ids that the entries list."""
    every, ids, start = False, set(), None
    for entry in entries:
        kind, device = entry["type"], entry.get("Device ID")
        alias = entry.get("Source Used Device ID")
        if kind == 0x01:
            every = True
        elif kind in (0x02, 0x46, 0x42, 0xF0):
            ids.add(device)
            if kind == 0x42:
                ids.add(alias)
        elif kind in (0x03, 0x43, 0x47):
            start = device, alias if kind == 0x43 else None
        elif kind == 0x04 and start is not None:
            first, other = start
            if first <= device:
                ids.update(range(first, device + 1))
                if other is not None:
                    ids.add(other)
            start = None
        elif kind == 0x48:
            ids.add(alias)
    return every, ids


# --- IORT -------------------------------------------------------------------------------------

_IORT_KINDS = {0: "ITS", 1: "NC", 2: "RC", 3: "SMMU", 4: "SMMUv3", 5: "PMCG", 6: "RMR", 7: "IWB"}
_NAMED, _ROOT, _SMMUV3, _RMR = 1, 2, 4, 6
# Bytes of a mapping.
_MAPPING = 20
_WINDOWS = {2: 0x10000}
# The first revision of the table whose memory ranges count.
_RMR_SINCE = 5


def _iort(fields, is_whole):
    nodes, revision, end = [], 0, 0
    for offset, _, name, value in fields:
        if name == "Table Length":
            end = _number(value)
        elif name == "Type":
            nodes.append(_Structure(offset, {"type": _number(value)}))
        elif not nodes:
            revision = _number(value) if name == "Revision" else revision
        elif name == "Device Name":
            nodes[-1].fields[name] = value.strip('"')
        elif name in ("Input base", "Base Address of RMR"):
            nodes[-1].parts.append({"offset": offset, name: _number(value)})
        elif re.fullmatch(r"[0-9A-F]+", value.split(" ")[0]):
            parts = nodes[-1].parts
            (parts[-1] if parts else nodes[-1].fields).setdefault(name, _number(value))

    # iasl reads a node that reaches past the end of the table.
    nodes = [node for node in nodes if node.offset + node.fields["Length"] <= end]
    counts = dict.fromkeys(_IORT_KINDS.values(), 0)
    units, regions, roots, components = {}, [], {}, []
    for node in nodes:
        kind, get = node.fields["type"], node.fields.get
        if kind == _SMMUV3:
            base, window = get("Base Address"), _WINDOWS.get(get("Model"), 0x20000)
            if not base or base + window > 1 << 64:
                continue
            units[node.offset] = base
        elif kind == _ROOT:
            if get("PCI Segment Number") in roots:
                continue
            roots[get("PCI Segment Number")] = node
        elif kind == _NAMED:
            if not get("Device Name"):
                continue
            components.append(node)
        elif kind == _RMR and revision >= _RMR_SINCE:
            for part in node.parts:
                if "Base Address of RMR" in part and part["Length of RMR"]:
                    first = part["Base Address of RMR"]
                    last = first + part["Length of RMR"] - 1
                    regions.append((first & -_PAGE, last | (_PAGE - 1), None))
        if kind in _IORT_KINDS:
            counts[_IORT_KINDS[kind]] += 1

    ids = {}
    for segment, node in roots.items():
        maps = _mappings(node)
        ids[segment] = [_stream(maps, units, number) for number in range(0x10000)]
    named, known = [], {}
    for node in components:
        path = node.fields["Device Name"]
        # Of several nodes with one path the first counts.
        for one in _mappings(known.setdefault(path, node)):
            if one["Flags (decoded below)"] & 1 and one["Output Reference"] in units:
                named.append((path, units[one["Output Reference"]], one["Output Base"]))
    return Facts(counts, [(base, 0) for base in units.values()], regions, ids, is_whole, named)


def _mappings(node):
    """The mappings that lie in the node: iasl reads as many as the node claims."""
    end = node.offset + node.fields["Length"]
    return [part for part in node.parts if "Input base" in part and part["offset"] + _MAPPING <= end]


def _stream(maps, units, number):
    """The base of the unit and the stream id of a requester id, as in drivers/acpi/arm64/iort.c."""
    found = None
    for one in maps:
        if one["Flags (decoded below)"] & 1:
            found = one, one["Output Base"]
            break
        first, last = one["Input base"], one["Input base"] + one["ID Count"]
        if not first <= number <= last or (found and number != first):
            continue
        found = one, one["Output Base"] + number - first
        if not (one["ID Count"] and number == last):
            break
    if not found or found[0]["Output Reference"] not in units:
        return None
    return units[found[0]["Output Reference"]], found[1]
