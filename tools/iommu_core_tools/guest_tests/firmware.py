# SPDX-License-Identifier: GPL-2.0
"""Firmware tables.

- The module refuses a broken table, and says where it is broken and why.
- From an odd table the module leaves out as little as possible, and says what.
- Direct regions stay mapped.
"""

from .. import core_view, guest_io, guest_pci, machine, units
from . import acpi
from .scenario import Scenario, small


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
    run.check(output and messages, "the module says why", messages)


_no_registers.__name__ = "a_register_base_where_nothing_answers_is_refused"


def _odd(lines):
    def an_odd_table_is_used_and_says_what_is_left_out(run):
        address = run.at(machine.DISK)
        mark = run.guest.mark()
        run.load()
        messages = core_view.messages(run.guest.kernel_log(mark))
        for line in lines:
            run.check(any(line in message for message in messages), f"the log says {line!r}", messages)
        # All pages that the region touches. The regions without bytes are not mapped.
        check_mapped(run, address)

    return an_odd_table_is_used_and_says_what_is_left_out


# Memory that belongs to the firmware on every PC.
REGION = (0xF0000, 0xFFFFF)


def check_mapped(run, address, *, had_driver=False):
    """Checks that the domain to which the device is attached maps the region."""
    group = core_view.group_of(run.guest, address)
    mapped = core_view.domains(run.guest)[group.domain]
    size = REGION[1] + 1 - REGION[0]
    if had_driver and run.kind.maps_interrupts:
        size += 4096
    run.check(f" {size} bytes mapped" in mapped, "the region is mapped, and nothing else", mapped)


def a_direct_region_is_kept_from_the_takeover_on(run):
    address = run.at(machine.DISK)
    mark = run.guest.mark()
    run.load()
    messages = core_view.messages(run.guest.kernel_log(mark))
    run.check(any(address in line and "direct regions" in line for line in messages),
              "the log says that the device keeps its direct regions", messages)  # fmt: skip
    check_mapped(run, address)
    path = f"/sys/kernel/iommu_groups/{run.group(address)}/reserved_regions"
    regions = [line.split() for line in run.guest.run(f"cat {path}").splitlines()]
    found = [(int(first, 16), int(last, 16), kind) for first, last, kind in regions]
    run.check((*REGION, "direct") in found, "the kernel lists it as direct", found)


def a_direct_region_of_an_id_that_may_have_moved_is_left_out(run):
    address = run.at(machine.DISK)
    mark = run.guest.mark()
    run.load()
    messages = core_view.messages(run.guest.kernel_log(mark))
    run.check(any(address in line and "new numbers" in line for line in messages),
              "the log says why the region is not mapped", messages)  # fmt: skip
    path = f"/sys/kernel/iommu_groups/{run.group(address)}/reserved_regions"
    regions = run.guest.run(f"cat {path}")
    run.check("direct" not in regions, "the kernel lists no direct region", regions)
    a_device_with_a_direct_region_works_with_its_driver(run)


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
    run.check(status == 0, "an owner is refused, because its domain would not map the region")
    run.guest.run(f"echo {address} >/sys/bus/pci/drivers/vfio-pci/unbind; "
                  f"echo >/sys/bus/pci/devices/{address}/driver_override")  # fmt: skip
    check_mapped(run, address, had_driver=True)


def a_direct_region_survives_a_release_of_the_unit(run):
    name = units.names(run.guest)[0]
    units.release(run.guest, name)
    units.take(run.guest, name)
    check_mapped(run, run.at(machine.DISK))


def scenarios(kind):
    """A guest for each table, because the kernel reads tables only while it boots."""
    tables = acpi.TABLES[kind.acpi_table]
    tests = [
        (_test(name, place, reason), table)
        for name, (table, place, reason) in tables.broken.items()
        if kind.own_tables
    ]
    if tables.nothing_there and kind.own_tables:
        tests.append((_no_registers, tables.nothing_there))
    kept = Scenario(
        "direct-region", lambda kind: machine.bench(kind, **kind.acpi),
        [
            a_direct_region_is_kept_from_the_takeover_on,
            a_device_with_a_direct_region_works_with_its_driver,
            a_device_with_a_direct_region_cannot_be_owned,
            a_direct_region_survives_a_release_of_the_unit,
        ],
        tables={tables.file: tables.direct(*REGION), **tables.keeps_buses},
    )  # fmt: skip
    odd = []
    if tables.keeps_buses:
        odd.append(
            Scenario(
                "direct-region-moved", lambda kind: machine.bench(kind, **kind.acpi),
                [a_direct_region_of_an_id_that_may_have_moved_is_left_out],
                tables={tables.file: tables.direct(*REGION)},
            )
        )  # fmt: skip
    if tables.odd:
        table, lines = tables.odd(*REGION)
        odd.append(
            Scenario("firmware-odd", lambda kind: machine.bench(kind, **kind.acpi),
                     [_odd(lines), a_device_with_a_direct_region_works_with_its_driver],
                     tables={tables.file: table, **tables.keeps_buses})
        )  # fmt: skip
    return [kept, *odd] + [
        Scenario(f"firmware-{i}", lambda kind: small(kind, **kind.acpi), [test],
                 tables={tables.file: table})
        for i, (test, table) in enumerate(tests)
    ]  # fmt: skip
