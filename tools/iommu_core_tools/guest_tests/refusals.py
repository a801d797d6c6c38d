# SPDX-License-Identifier: GPL-2.0
"""Machines where the module must not, or cannot, take over a unit: the module says why, and changes nothing."""

from .. import guest_io, machine, viommu
from .scenario import Scenario, small


def loading_fails_with_ENODEV_where_there_is_no_IOMMU(run):
    output, messages = run.refusal()
    run.check("No such device" in output, "ENODEV", output)
    run.check("no IOMMU" in messages, "the log says that there is no IOMMU", messages)
    for kind in viommu.VIOMMUS.values():
        run.check((kind.acpi_table in messages) == (kind.arch is run.kind.arch),
                  "the log names the tables that such a machine may have, and no others", messages)  # fmt: skip


def loading_again_fails_the_same_way(run):
    for _ in range(3):
        output, _messages = run.refusal()
        run.check("No such device" in output, "ENODEV", output)


def _owned(run):
    run.load_drivers("nvme")
    output, messages = run.refusal()
    for parameter in run.kind.remedy:
        run.check(parameter in messages, f"the log names {parameter}", messages)
    run.check("busy" in output.lower(), "EBUSY", output)


def _owned_by(name):
    def test(run):
        _owned(run)

    test.__name__ = f"a_unit_with_{name.replace('-', '_')}_on_is_refused_and_the_log_names_the_remedy"
    return test


def the_driver_that_uses_the_unit_is_not_disturbed(run):
    disk = guest_io.nvme_disk(run.guest, run.at(machine.DISK))
    guest_io.write_and_read(run.guest, disk, 2)


def a_unit_that_cannot_translate_is_refused(run):
    output, messages = run.refusal()
    run.check(output and run.kind.useless_word in messages, "the log says why", messages)


def a_machine_with_little_memory_works(run):
    run.load()
    run.load_drivers("nvme")
    guest_io.write_and_read(run.guest, guest_io.nvme_disk(run.guest, run.at(machine.DISK)), 2)


def scenarios(kind):
    """Machines without a unit, with a unit that another driver uses, or with a unit that cannot translate."""
    found = [
        Scenario(
            "no-iommu", lambda kind: small(kind, unit=None),
            [loading_fails_with_ENODEV_where_there_is_no_IOMMU, loading_again_fails_the_same_way],
        ),
    ]  # fmt: skip
    if kind.is_first:
        found.append(Scenario(
            "little-memory", lambda kind: machine.bench(kind, memory=192),
            [a_machine_with_little_memory_works],
        ))  # fmt: skip
    if kind.useless:
        found.append(Scenario(
            "no-translation", lambda kind: small(kind, **kind.useless),
            [a_unit_that_cannot_translate_is_refused],
        ))  # fmt: skip
    for name, parameters in kind.owned.items():
        found.append(Scenario(
            f"owned-{name}", machine.bench,
            [_owned_by(name), the_driver_that_uses_the_unit_is_not_disturbed],
            instead_of_free=parameters,
        ))  # fmt: skip
    return found
