# SPDX-License-Identifier: GPL-2.0
"""DMA of kernel drivers, with each kind of unit and each default domain that a parameter can choose."""

from .. import core_view, guest_io, guest_pci, machine
from .scenario import Scenario


def every_device_is_in_a_group(run):
    run.load()
    if run.ours:
        groups = [group.members for group in core_view.groups(run.guest).values()]
    else:
        groups = [members for _type, members in guest_pci.groups(run.guest).values()]
    inside = {address for members in groups for address in members}
    outside = set(guest_pci.devices(run.guest)) - inside
    run.check(inside and not outside, "every PCI device has a group", outside)
    run.load_drivers()


def an_nvme_disk_keeps_what_is_written(run):
    disk = guest_io.nvme_disk(run.guest, run.at(machine.DISK))
    checksum = guest_io.write_and_read(run.guest, disk)
    run.check(guest_io.image_checksum(run.guest, "disk", 8) == checksum,
              "the disk's file on the host has the same bytes")  # fmt: skip


def an_ahci_disk_is_read(run):
    run.check(run.guest.wait_for("[ -b /dev/sda ]"), "the kernel finds the disk")
    run.check(
        guest_io.read_checksum(run.guest, "/dev/sda", 1)
        == guest_io.image_checksum(run.guest, "sata", 1),
        "the content is right",
    )


def a_network_card_passes_traffic(run):
    _traffic(run, machine.NET)


def a_virtio_network_card_passes_traffic(run):
    _traffic(run, machine.VIRTIO)


def _traffic(run, slot):
    name = guest_io.interface(run.guest, run.at(slot))
    guest_io.network_up(run.guest, name)
    guest_io.echo(run.guest, run.kind.traffic)
    guest_io.network_down(run.guest, name)


_TRAFFIC = [
    every_device_is_in_a_group,
    an_nvme_disk_keeps_what_is_written,
    an_ahci_disk_is_read,
    a_network_card_passes_traffic,
]


def _expect(name, kinds):
    def default_type(run):
        kind = run.type_of(run.at(machine.DISK))
        run.check(kind in kinds, f"the disk's group has type {' or '.join(kinds)}", kind)

    default_type.__name__ = name
    return default_type


def the_type_of_a_group_can_be_changed(run):
    address = run.at(machine.TEST)
    path = f"/sys/bus/pci/devices/{address}/iommu_group/type"
    before = run.type_of(address)
    for kind in ("identity", "DMA", "DMA-FQ", "identity", "DMA", "auto"):
        run.guest.run(f"echo {kind} >{path}")
        if kind != "auto":
            run.check(run.type_of(address) == kind, f"the type is {kind}", run.type_of(address))
    run.check(run.type_of(address) == before, f"auto sets {before} again", run.type_of(address))


def the_type_of_a_group_in_use_cannot_be_changed(run):
    address = run.at(machine.DISK)
    path = f"/sys/bus/pci/devices/{address}/iommu_group/type"
    before = run.type_of(address)
    status, text = run.guest.status(f"echo identity >{path}")
    run.check(status and "not permitted" in text, "EPERM", text)
    run.check(run.type_of(address) == before, "nothing changed")


def a_disk_works_with_each_type(run):
    address = run.at(machine.DISK)
    path = f"/sys/bus/pci/devices/{address}/iommu_group/type"
    for kind in ("identity", "DMA", "DMA-FQ"):
        guest_pci.unbind(run.guest, address)
        run.guest.run(f"echo {kind} >{path}")
        guest_pci.bind(run.guest, address, "nvme")
        guest_io.write_and_read(run.guest, guest_io.nvme_disk(run.guest, address), 2)
        run.check(run.type_of(address) == kind, f"the type is {kind}", run.type_of(address))


def lazy_flushing_can_be_turned_on_while_in_use(run):
    address = run.at(machine.DISK)
    path = f"/sys/bus/pci/devices/{address}/iommu_group/type"
    guest_pci.unbind(run.guest, address)
    run.guest.run(f"echo DMA >{path}")
    guest_pci.bind(run.guest, address, "nvme")
    disk = guest_io.nvme_disk(run.guest, address)
    run.guest.run(f"echo DMA-FQ >{path}")
    run.check(run.type_of(address) == "DMA-FQ", "the type is DMA-FQ", run.type_of(address))
    guest_io.write_and_read(run.guest, disk, 4)


def _lazy(name, unit, default):
    return Scenario(
        name, lambda kind: machine.bench(kind, **unit),
        [
            *_TRAFFIC, default,
            the_type_of_a_group_can_be_changed, the_type_of_a_group_in_use_cannot_be_changed,
            a_disk_works_with_each_type, lazy_flushing_can_be_turned_on_while_in_use,
        ],
        parameters=("iommu.strict=0",), ours_only=False,
    )  # fmt: skip


def scenarios(kind):
    """A guest for each default domain. The guest with identity runs with the kinds that differ in it."""
    found = []
    if kind.is_first or kind.other_identity:
        found.append(
            Scenario(
                "passthrough", machine.bench,
                [*_TRAFFIC, _expect("the_default_domain_is_identity", ("identity",))],
                parameters=("iommu.passthrough=1",),
            )
        )  # fmt: skip
    if kind.shadows_nothing:
        default = _expect("the_default_domain_is_lazy", ("DMA-FQ",))
        found.append(_lazy("lazy", kind.shadows_nothing, default))
    if kind.shadows:
        # A flush of everything makes the emulator compare all page tables.
        default = _expect("the_default_domain_is_strict_all_the_same", ("DMA",))
        found.append(_lazy("lazy-shadow", kind.shadows, default))
    # Little memory, of which the kernel sets some aside for bounce buffers.
    found.append(
        Scenario(
            "bounce", lambda kind: machine.bench(kind, memory=512, **kind.plain), [*_TRAFFIC],
            parameters=("swiotlb=force",), ours_only=False,
        )
    )  # fmt: skip
    return found
