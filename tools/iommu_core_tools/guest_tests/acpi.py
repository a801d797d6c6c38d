# SPDX-License-Identifier: GPL-2.0
"""ACPI tables of units, good and broken ones. Guests get them instead of QEMU's tables.

Each table costs a guest, so only some kinds of broken tables are here. The host tests have all kinds.
"""

import dataclasses
import struct
import uuid

from .. import machine

# The kernel replaces a table of firmware by a table with the same ids and a higher revision.
_IDS = (b"BOCHS ", b"BXPC    ")
_REVISION = 0xFFFF

# An address without memory or device. A read returns all ones.
_NOTHING = 0xE8000000


def _table(signature, revision, body):
    """A table with a right length and checksum (ACPI specification, 5.2.6)."""
    length = 36 + len(body)
    head = struct.pack("<4sIBB6s8sI4sI", signature, length, revision, 0, *_IDS, _REVISION, b"TEST", 1)
    table = bytearray(head + body)
    table[9] = -sum(table) & 0xFF
    return bytes(table)


@dataclasses.dataclass(frozen=True)
class Tables:
    """The tables for one kind of unit.

    - `broken`: `{name of the test: (table, the place in the message, the reason in the message)}`.
    - `odd(first, last)`: a table that the module can use, but leaves much out of, with the lines of the log
      that say so. It has a direct region for the disk. None if the module leaves nothing out of such tables.
    - `nothing_there`: a table with a unit at an address where nothing answers. None if a read there ends the
      kernel.
    - `direct(first, last)`: a good table with a direct region for the disk, and a structure of an unknown type.
    - `named(devices, first, last)`: a good table that names devices (see named.py), and has a direct region
      for the last of them. None if the machine has no such devices.
    - `component(path, id)`: a good table that names one device by its path. None if tables of this kind name
      devices otherwise.
    - `functions(paths)`: a good table with a unit for the PCI functions at `paths` and for nothing else. None
      if a unit of this kind remaps interrupts whatever else is behind it.
    - `keeps_buses`: further tables, by name, that a direct region needs: the kernel has to leave PCI buses
      the numbers that firmware gave them. Empty if direct regions do not depend on that.
    - `alike(first, last)`: a good table with one direct region for both devices behind the bridge from PCI
      Express to PCI that is behind the first port.
    """

    file: str
    broken: dict
    odd: object
    nothing_there: bytes
    direct: object
    named: object
    alike: object
    component: object = None
    functions: object = None
    keeps_buses: dict = dataclasses.field(default_factory=dict)


# --- DMAR: VT-d specification, chapter 8 ------------------------------------------------------

_DRHD, _RMRR, _ANDD = 0, 1, 4
_NAMED = 5
_INCLUDE_ALL = 1
_VTD_REGISTERS = 0xFED90000


# Units may remap interrupts.
_REMAPPING = 1 << 0


def _dmar(*structures, flags=0):
    return _table(b"DMAR", 1, struct.pack("<BB10x", 47, flags) + b"".join(structures))


def _dmar_structure(kind, body, length=None):
    size = 4 + len(body) if length is None else length
    return struct.pack("<HH", kind, size) + body


def _drhd(base=_VTD_REGISTERS, flags=_INCLUDE_ALL, scopes=b"", length=None, segment=0):
    return _dmar_structure(_DRHD, struct.pack("<BBHQ", flags, 0, segment, base) + scopes, length)


def _rmrr(base, limit, scopes=b""):
    return _dmar_structure(_RMRR, struct.pack("<HHQQ", 0, 0, base, limit) + scopes)


def _scope(length, path=b"\x02\x00"):
    return struct.pack("<BBHBB", 1, length, 0, 0, 0) + path


def _dmar_direct(first, last):
    path = bytes([machine.DISK, 0, 0, 0])
    unknown = _dmar_structure(77, bytes(12))
    return _dmar(unknown, _drhd(), _rmrr(first, last, _scope(6 + len(path), path)))


def _dmar_alike(first, last):
    paths = [bytes([machine.DISK, 0, 0, 0, device, 0]) for device in (1, 2)]
    return _dmar(_drhd(), _rmrr(first, last, b"".join(_scope(6 + len(path), path) for path in paths)))


def _dmar_functions(paths):
    scopes = b"".join(_scope(6 + len(path), path) for path in map(bytes, paths))
    return _dmar(_drhd(flags=0, scopes=scopes), flags=_REMAPPING)


def _dmar_named(devices, first, last):
    def scopes(device):
        number = devices.index(device)
        return struct.pack("<BBHBBBB", _NAMED, 8, 0, number, *device.id)

    def name(device):
        head = bytes([0, 0, 0, devices.index(device)])
        return _dmar_structure(_ANDD, head + device.path.encode() + b"\0")

    unit = _drhd(scopes=b"".join(map(scopes, devices)))
    return _dmar(unit, _rmrr(first, last, scopes(devices[-1])), *map(name, devices))


def _dmar_odd(first, last):
    """A table with an error of each kind, except errors at which the kernel's own parser hangs."""
    path = bytes([machine.DISK, 0, 0, 0])
    disk = _scope(6 + len(path), path)
    cut = struct.pack("<BB", 1, 8)
    nowhere = _scope(8, b"\x20\x00")
    table = _dmar(
        _drhd(scopes=nowhere + cut),
        _rmrr(0, 0, disk),
        _rmrr(0x200000, 0x1FFFFF, disk),
        _rmrr(first, last - 0x400, disk),
        _dmar_structure(_ANDD, bytes([0, 0, 0, 1, 0, 0])),
        # A unit for a device that is not there. Nothing answers at its registers.
        _drhd(base=_NOTHING, flags=0, scopes=_scope(8, b"\x1e\x07")),
    )
    return table, [
        "DRHD at offset 0x30: device scope at offset 0x40: names device 32, function 0",
        "DRHD at offset 0x30: device scope at offset 0x48: claims 6 bytes",
        "RMRR at offset 0x4a: the region 0x0-0x0 ends before it starts",
        "RMRR at offset 0x6c: the region 0x200000-0x1fffff ends before it starts",
        f"RMRR at offset 0x8e: the region {first:#x}-{last - 0x400:#x} is not made of whole 4 KiB pages",
        "ANDD at offset 0xb0: the name of device 1 is empty",
        f"dmar1: the unit at {_NOTHING:#x} is left alone: none of the devices that it is for is present",
    ]


# Device scopes of length 0, and zeros at the end of the table, are only in the host tests. The
# stock kernel's own parser hangs at them (dmar_acpi_dev_scope_init() has no check for a structure
# of length 0), so a guest does not boot.
_DMAR = Tables(
    file="dmar",
    broken={
        "a_structure_of_length_0_is_refused": (
            _dmar(_drhd(length=0)), "DRHD at offset 0x30", "length 0"),
        "a_structure_that_is_cut_off_is_refused": (
            _dmar(_drhd(), _drhd(base=0xFED91000, flags=0)[:10]), "at offset 0x40", "ends after"),
        "a_table_whose_only_unit_has_a_register_base_of_0_is_refused": (
            _dmar(_drhd(base=0)), "DRHD at offset 0x30", "base"),
    },
    odd=_dmar_odd,
    nothing_there=_dmar(_drhd(base=_NOTHING)),
    direct=_dmar_direct,
    named=_dmar_named,
    alike=_dmar_alike,
    functions=_dmar_functions,
)  # fmt: skip

# --- IVRS: AMD I/O Virtualization Technology specification, 5.2 -------------------------------

_IVHD, _IVHD_WITH_NAMES, _IVMD_ALL, _IVMD_ONE = 0x10, 0x40, 0x20, 0x21
_NAMED_BY_ID = 0xF0
# The PCI function of QEMU's unit, and the offset of its capability.
_UNIT, _CAPABILITY = 0x0008, 0x40
_AMD_REGISTERS = 0xFED80000
_ALL_DEVICES = struct.pack("<BHB", 1, 0, 0)
_UNITY_READ_WRITE = 0x7


def _ivrs(*blocks):
    return _table(b"IVRS", 1, struct.pack("<I8x", 40 << 8) + b"".join(blocks))


def _ivhd(base=_AMD_REGISTERS, entries=_ALL_DEVICES, length=None, unit=_UNIT):
    body = struct.pack("<HHQHHI", unit, _CAPABILITY, base, 0, 0, 0) + entries
    return struct.pack("<BBH", _IVHD, 0, 4 + len(body) if length is None else length) + body


def _ivmd(device, start, length, flags=_UNITY_READ_WRITE, kind=_IVMD_ONE):
    return struct.pack("<BBHHH8xQQ", kind, flags, 32, device, 0, start, length)


def _ivrs_named(devices, first, last):
    def number(device):
        bus, slot, function = device.id
        return bus << 8 | slot << 3 | function

    # Hardware id, no compatible id, no unique id.
    names = [struct.pack("<BHB8s8sBB", _NAMED_BY_ID, number(device), 0, device.hid, b"", 0, 0)
             for device in devices]  # fmt: skip
    entries = _ALL_DEVICES + b"".join(names)
    body = struct.pack("<HHQHHI16x", _UNIT, _CAPABILITY, _AMD_REGISTERS, 0, 0, 0) + entries
    unit = struct.pack("<BBH", _IVHD_WITH_NAMES, 0, 4 + len(body)) + body
    return _ivrs(unit, _ivmd(number(devices[-1]), first, last + 1 - first))


def _ivrs_direct(first, last):
    unknown = struct.pack("<BBH12x", 0x7F, 0, 16)
    # The firmware gives the first port's bus the first number.
    return _ivrs(unknown, _ivhd(), _ivmd(0x0100, first, last + 1 - first))


def _ivrs_alike(first, last):
    # For all devices there are.
    return _ivrs(_ivhd(), _ivmd(0, first, last + 1 - first, kind=_IVMD_ALL))


def _ivrs_odd(first, last):
    """A table with an error of each kind, except errors at which the kernel's own parser fails."""
    not_ended = struct.pack("<BHB", 3, 0xF800, 0)
    table = _ivrs(
        _ivhd(entries=_ALL_DEVICES + not_ended),
        _ivmd(0x0100, 0, 0),
        _ivmd(0x0100, first, last - 0x400 - first),
    )
    return table, [
        "IVHD of type 10h at offset 0x30: device entry at offset 0x4c: the range from f8:00.0 on is never",
        "IVMD of type 21h at offset 0x50: the region at 0x0 has no bytes",
        "IVMD of type 21h at offset 0x70: the region is not made of whole 4 KiB pages",
    ]


_IVRS = Tables(
    file="ivrs",
    broken={
        "a_block_that_is_longer_than_the_table_is_refused": (
            _ivrs(_ivhd(length=400)), "IVHD of type 10h at offset 0x30", "400"),
        "a_table_whose_only_unit_has_a_register_base_of_0_is_refused": (
            _ivrs(_ivhd(base=0)), "IVHD of type 10h at offset 0x30", "base"),
    },
    odd=_ivrs_odd,
    nothing_there=_ivrs(_ivhd(base=_NOTHING)),
    direct=_ivrs_direct,
    named=_ivrs_named,
    alike=_ivrs_alike,
)  # fmt: skip

# --- IORT: Arm DEN 0049, chapter 3 ------------------------------------------------------------

_ITS_GROUP, _NAMED_COMPONENT, _ROOT_COMPLEX, _SMMUV3, _RMR = 0, 1, 2, 4, 6
_SMMU_REGISTERS = 0x0C000000
# The interrupts of QEMU's unit: events, page requests, global errors, CMD_SYNC.
_SMMU_WIRES = (0x90, 0x91, 0x93, 0x92)
_COHERENT = 1
# The memory access properties of a node: coherent, also for accesses without attributes.
_COHERENT_MEMORY = struct.pack("<IBHB", 1, 0, 0, 3)

# The offsets of the first nodes (ITS group, root complex, SMMUv3), and of the nodes that a test
# adds.
_AT_ITS, _AT_ROOT, _AT_UNIT, _AT_MORE = 48, 72, 128, 216


def _iort(*more, unit=None):
    nodes = _its_group() + _root_complex() + (unit or _smmu()) + b"".join(more)
    return _table(b"IORT", 5, struct.pack("<III", 3 + len(more), _AT_ITS, 0) + nodes)


def _node(kind, revision, body, mappings=(), *, tail=b"", length=None, single=False, claims=None):
    """A node; mappings are (first id, first id that it becomes, node that it goes to, how many), or
    all of them are for one id that is the node's own (`single`). `claims`: how many it says it has."""
    ids = b"".join(
        struct.pack("<IIIII", first, count - 1, becomes, to, single)
        for first, becomes, to, count in mappings
    )
    size = 16 + len(body) + len(ids) + len(tail) if length is None else length
    count = len(mappings) if claims is None else claims
    head = struct.pack("<BHBIII", kind, size, revision, 0, count, 16 + len(body))
    return head + body + ids + tail


def _its_group():
    return _node(_ITS_GROUP, 1, struct.pack("<II", 1, 0))


def _root_complex():
    body = _COHERENT_MEMORY + struct.pack("<IIBHB", 0, 0, 64, 0, 0)
    return _node(_ROOT_COMPLEX, 3, body, [(0, 0, _AT_UNIT, 0x10000)])


def _smmu(base=_SMMU_REGISTERS, length=None, claims=None):
    body = struct.pack("<QIIQIIIIIII", base, _COHERENT, 0, 0, 0, *_SMMU_WIRES, 0, 0)
    return _node(_SMMUV3, 4, body, [(0, 0, _AT_ITS, 0x10000)], length=length, claims=claims)


def _component(to, path=b"\\_SB.NONE", number=0):
    """A named component with one mapping to the node at `to`.

    By default the machine does not have this device, so only our parser follows the mapping.
    """
    body = struct.pack("<I8sB", 0, _COHERENT_MEMORY, 64) + path.ljust(15, b"\0")
    return _node(_NAMED_COMPONENT, 4, body, [(0, number, to, 1)], single=True)


def _rmr(*ranges, stream=0x0100):
    """Memory ranges (first byte, bytes) of the devices that have the stream id, by default the disk."""
    # Behind fixed part and mapping.
    body = struct.pack("<III", 0, len(ranges), 28 + 20)
    memory = b"".join(struct.pack("<QQI", first, length, 0) for first, length in ranges)
    # The firmware gives the first port's bus the first number, so the disk has this stream id.
    return _node(_RMR, 3, body, [(0, stream, _AT_UNIT, 1)], tail=memory)


def _iort_direct(first, last):
    unknown = _node(0x7F, 0, bytes(12))
    return _iort(unknown, _rmr((first, last + 1 - first)))


def _iort_odd(first, last):
    """Firmware's faults of every kind that the kernel's own parser survives, too."""
    # EDK2's for sbsa-ref had a unit that claims one mapping too many.
    more = _component(_AT_MORE), _component(0)
    at = [_AT_MORE, _AT_MORE + len(more[0])]
    at.append(at[1] + len(more[1]))
    region = _rmr((first, last - 0x400 - first), (0x200000, 0))
    ranges = at[2] + 28 + 20
    return _iort(*more, region, unit=_smmu(claims=2)), [
        f"SMMUv3 at offset {_AT_UNIT:#x}: claims 2 mappings, but has room for 1",
        f"named component at offset {at[0]:#x}: mapping at offset {at[1] - 20:#x}: leads to the named component",
        f"named component at offset {at[1]:#x}: mapping at offset {at[2] - 20:#x}: leads to offset 0x0",
        f"RMR at offset {at[2]:#x}: memory range at offset {ranges:#x}: {last - 0x400 - first:#x} bytes",
        f"RMR at offset {at[2]:#x}: memory range at offset {ranges + 20:#x}: the range has no byte",
    ]


def _iort_alike(first, last):
    # The bridge's requests come from the first device of the bus behind it, the second bus there
    # is.
    return _iort(_rmr((first, last + 1 - first), stream=0x0200))


def _ssdt_keeps_buses():
    """Makes the host bridge's _DSM the integer 0: function 5, "ignore boot configuration", says no.

    QEMU has a method there without this function. CopyObject (Zero, \\_SB.PCI0._DSM).
    """
    return _table(b"SSDT", 2, b"\x9d\x00\\\x2f\x03_SB_PCI0_DSM")


_IORT = Tables(
    file="iort",
    broken={
        "a_table_whose_only_unit_is_longer_than_the_table_is_refused": (
            _iort(unit=_smmu(length=400)), f"SMMUv3 at offset {_AT_UNIT:#x}", "table ends after"),
        "a_table_whose_only_unit_has_a_register_base_of_0_is_refused": (
            _iort(unit=_smmu(base=0)), f"SMMUv3 at offset {_AT_UNIT:#x}", "base"),
    },
    odd=_iort_odd,
    # A read that nobody answers is an abort, which ends the kernel.
    nothing_there=None,
    direct=_iort_direct,
    named=None,
    alike=_iort_alike,
    component=lambda path, number: _iort(_component(_AT_UNIT, path, number)),
    keeps_buses={"ssdt": _ssdt_keeps_buses()},
)  # fmt: skip

TABLES = {"DMAR": _DMAR, "IVRS": _IVRS, "IORT": _IORT}


# --- SSDT: ACPI specification, 20.2 -------------------------------------------------------------

# Microsoft, "DMA protection for external ports": the properties of a port.
_EXTERNAL_PORT = uuid.UUID("efcc06cc-73ac-4bc3-bff0-76143807c389")


def _aml(opcode, content):
    """An object whose length follows its opcode."""
    if len(content) + 1 < 1 << 6:
        return opcode + bytes([len(content) + 1]) + content
    length = len(content) + 2
    return opcode + bytes([1 << 6 | length & 0xF, length >> 4]) + content


def _package(*elements):
    return _aml(b"\x12", bytes([len(elements)]) + b"".join(elements))


def external_port(slot):
    """A table that calls the root port in a slot of a PC's root bus external."""
    guid = _aml(b"\x11", b"\x0a\x10" + _EXTERNAL_PORT.bytes_le)
    properties = _package(_package(b"\x0dExternalFacingPort\0", b"\x01"), _package(b"\x0dUID\0", b"\x00"))
    data = b"\x08_DSD" + _package(guid, properties)
    # QEMU's table has a device for each slot in use, for example S98_ for slot 0x13.
    port = b"\\\x2f\x03_SB_PCI0" + b"S%02X_" % (slot << 3)
    return _table(b"SSDT", 2, _aml(b"\x10", port + data))
