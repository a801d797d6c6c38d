# SPDX-License-Identifier: GPL-2.0
"""Firmware tables: broken ones are refused with the place and the reason; direct regions are kept."""

import struct

from .. import core_view, guest_io, guest_pci, machine, units
from ..vfio_user import VfioUser
from .scenario import Scenario, small

# The kernel replaces a firmware's table by one with the same ids and a higher revision.
_IDS = (b"BOCHS ", b"BXPC    ")
_REVISION = 0xFFFF
_HEADER = 48
_REGISTERS = 0xFED90000

_DRHD, _RMRR = 0, 1
_INCLUDE_ALL = 1


def _dmar(*structures):
    """A DMAR table (VT-d specification, 8.1) with a right length and checksum."""
    body = b"".join(structures)
    head = struct.pack("<4sIBB6s8sI4sI", b"DMAR", _HEADER + len(body), 1, 0, *_IDS, _REVISION,
                       b"TEST", 1)  # fmt: skip
    table = bytearray(head + struct.pack("<BB10x", 47, 0) + body)
    table[9] = -sum(table) & 0xFF
    return bytes(table)


def _structure(kind, body, length=None):
    size = 4 + len(body) if length is None else length
    return struct.pack("<HH", kind, size) + body


def _drhd(base=_REGISTERS, flags=_INCLUDE_ALL, scopes=b"", length=None, segment=0):
    return _structure(_DRHD, struct.pack("<BBHQ", flags, 0, segment, base) + scopes, length)


def _rmrr(base, limit, scopes=b""):
    return _structure(_RMRR, struct.pack("<HHQQ", 0, 0, base, limit) + scopes)


def _scope(length, path=b"\x02\x00"):
    return struct.pack("<BBHBB", 1, length, 0, 0, 0) + path


# name of the test: (structures, what the message says). Device scopes of length 0 are left to the
# tests on the host: the stock kernel's own parser never gets past one, so the guest does not boot.
_BROKEN = {
    "a_structure_of_length_0_is_refused": (
        [_drhd(length=0)], "DRHD at offset 0x30", "length 0"),
    "a_structure_that_is_cut_off_is_refused": (
        [_drhd(), _drhd(base=0xFED91000, flags=0)[:10]], "at offset 0x40", "ends after"),
    "a_structure_that_is_longer_than_the_table_is_refused": (
        [_drhd(length=400)], "DRHD at offset 0x30", "400"),
    "a_device_scope_that_is_longer_than_its_structure_is_refused": (
        [_drhd(scopes=_scope(64))], "DRHD at offset 0x30", "device scope"),
    "a_register_base_of_0_is_refused": (
        [_drhd(base=0)], "DRHD at offset 0x30", "base"),
    "a_register_base_off_a_page_boundary_is_refused": (
        [_drhd(base=_REGISTERS + 0x10)], "DRHD at offset 0x30", "boundary"),
    "overlapping_units_are_refused": (
        [_drhd(flags=0, scopes=_scope(8)), _drhd()], "DRHD at offset", "overlap"),
    "a_reserved_region_that_ends_before_it_starts_is_refused": (
        [_drhd(), _rmrr(0x200000, 0xFFFFF, _scope(8))], "RMRR at offset 0x40", "ends before"),
}  # fmt: skip


def _test(name, place, reason):
    def test(run):
        run.need_ours()
        output, messages = run.refusal()
        run.check(place in messages and reason in messages,
                  f"the message names {place!r} and {reason!r}", messages)  # fmt: skip
        run.check(output, "modprobe says why", output)

    test.__name__ = name
    return test


def _no_registers(run):
    output, messages = run.refusal()
    run.check(output and messages, "the module says that no unit answers there", messages)


_no_registers.__name__ = "a_register_base_where_nothing_answers_is_refused"


def _unknown_structure(run):
    run.load()


_unknown_structure.__name__ = "a_structure_of_an_unknown_type_is_skipped"


# Memory that is the firmware's on every PC.
_REGION = (0xF0000, 0xFFFFF)


def _direct_region(_kind):
    """The firmware does DMA with the disk."""
    path = bytes([machine.DISK, 0, 0, 0])
    return {"dmar": _dmar(_drhd(), _rmrr(*_REGION, _scope(6 + len(path), path)))}


def _check_mapped(run, address):
    """The region is mapped one to one in whatever domain the device is attached to."""
    group = core_view.group_of(run.guest, address)
    mapped = core_view.domains(run.guest)[group.domain]
    size = _REGION[1] + 1 - _REGION[0]
    run.check(f" {size} bytes mapped" in mapped, "the region is mapped, and nothing else", mapped)


def a_direct_region_is_kept_from_the_takeover_on(run):
    address = run.at(machine.DISK)
    mark = run.guest.mark()
    run.load()
    messages = core_view.messages(run.guest.kernel_log(mark))
    run.check(any(address in line and "direct regions" in line for line in messages),
              "the log says that the device keeps its direct regions", messages)  # fmt: skip
    _check_mapped(run, address)
    path = f"/sys/kernel/iommu_groups/{run.group(address)}/reserved_regions"
    regions = [line.split() for line in run.guest.run(f"cat {path}").splitlines()]
    found = [(int(first, 16), int(last, 16), kind) for first, last, kind in regions]
    run.check((*_REGION, "direct") in found, "the kernel lists it as direct", found)


def a_device_with_a_direct_region_works_with_its_driver(run):
    run.load_drivers("nvme")
    guest_io.write_and_read(run.guest, guest_io.nvme_disk(run.guest, run.at(machine.DISK)), 2)


def a_device_with_a_direct_region_cannot_be_owned(run):
    address = run.at(machine.DISK)
    guest_pci.unbind(run.guest, address)
    guest_pci.load_vfio(run.guest)
    status, _ = run.guest.status(
        f"echo vfio-pci >/sys/bus/pci/devices/{address}/driver_override; "
        f"echo {address} >/sys/bus/pci/drivers/vfio-pci/bind; "
        f"echo 'container c\ngroup g {run.group(address)}\nset-container g c' | vfio-user | grep -q error"
    )
    run.check(status == 0, "its owner would take the region away, and is refused")
    run.guest.run(f"echo {address} >/sys/bus/pci/drivers/vfio-pci/unbind; "
                  f"echo >/sys/bus/pci/devices/{address}/driver_override")  # fmt: skip
    _check_mapped(run, address)


def a_direct_region_survives_a_release_of_the_unit(run):
    name = units.names(run.guest)[0]
    units.release(run.guest, name)
    units.take(run.guest, name)
    _check_mapped(run, run.at(machine.DISK))


def scenarios(kind):
    """One guest for each table: the kernel reads tables only while it boots."""
    if kind.acpi_table != "DMAR":
        return []
    tests = [
        (_test(name, place, reason), _dmar(*structures))
        for name, (structures, place, reason) in _BROKEN.items()
    ]
    # An address that is no memory and no device: reads give all ones.
    tests.append((_no_registers, _dmar(_drhd(base=0xE8000000))))
    tests.append((_unknown_structure, _dmar(_structure(77, bytes(12)), _drhd())))
    kept = Scenario(
        "direct-region", machine.bench,
        [
            a_direct_region_is_kept_from_the_takeover_on,
            a_device_with_a_direct_region_works_with_its_driver,
            a_device_with_a_direct_region_cannot_be_owned,
            a_direct_region_survives_a_release_of_the_unit,
        ],
        tables=_direct_region,
    )  # fmt: skip
    return [kept] + [
        Scenario(f"firmware-{i}", small, [test], tables=lambda _kind, table=table: {"dmar": table})
        for i, (test, table) in enumerate(tests)
    ]
