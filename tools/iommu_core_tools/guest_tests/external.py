# SPDX-License-Identifier: GPL-2.0
"""Devices that the kernel does not trust: those behind a port that firmware calls external."""

from .. import core_view, guest_io, guest_pci, machine
from . import acpi
from .scenario import Scenario, after

# Two functions that cannot be isolated from each other: an NVMe disk and a network card.
_EXTERNAL = machine.B
# What is not a whole page goes through bounce buffers. Without this parameter the kernel makes them
# only if there is memory above 4 GiB.
_BUFFERS = "swiotlb=force"
_TRACE = "/sys/kernel/tracing"


def _type_file(address):
    return f"/sys/bus/pci/devices/{address}/iommu_group/type"


def the_module_is_loaded(run):
    run.load()
    run.load_drivers("nvme")


def an_untrusted_device_is_translated_strictly_where_others_are_not(run):
    others, untrusted = run.type_of(run.at(machine.DISK)), run.type_of(run.at(_EXTERNAL))
    run.check((others, untrusted) == ("identity", "DMA"), "the types are identity and DMA", (others, untrusted))


def an_untrusted_disk_works(run):
    address = run.at(_EXTERNAL)
    disk = guest_io.nvme_disk(run.guest, address)
    guest_io.write_and_read(run.guest, disk, 2)
    run.guest.run(f"mountpoint -q {_TRACE} || mount -t tracefs tracefs {_TRACE}; "
                  f"echo 1 >{_TRACE}/events/swiotlb/swiotlb_bounced/enable")  # fmt: skip
    run.guest.run(f"dd if={disk} of=/dev/null bs=512 count=8 iflag=direct 2>/dev/null")
    bounced = run.guest.run(f"echo 0 >{_TRACE}/events/swiotlb/enable; cat {_TRACE}/trace")
    run.check(address in bounced, "what is not a whole page goes through bounce buffers", bounced)


def an_untrusted_device_cannot_be_on_identity(run):
    address = run.at(_EXTERNAL)
    guest_pci.unbind(run.guest, address)
    status, text = run.guest.status(f"echo identity >{_type_file(address)}")
    run.check(status, "identity is refused", text)
    run.check(run.type_of(address) == "DMA", "its type is still DMA", run.type_of(address))


def an_untrusted_device_beside_a_driver_on_identity_is_left_out(run):
    disk, card = run.at(_EXTERNAL), run.at(_EXTERNAL, 1)
    run.load_drivers("e1000e")
    run.check(guest_pci.driver(run.guest, card) == "e1000e", "the card has a driver")
    mark = run.guest.mark()
    run.load()
    messages = core_view.messages(run.guest.kernel_log(mark))
    run.check(any(card in line and "stays on identity" in line for line in messages),
              "the card's driver goes on with identity", messages)  # fmt: skip
    run.check(any(disk in line and "stays blocked" in line and "external port" in line for line in messages),
              "the log says that the disk is left out, and why", messages)  # fmt: skip
    run.check(run.group(disk) is None, "the disk has no group")
    # The unit serves all others. A driver of the disk would wait for its DMA for a minute.
    run.guest.run(f"echo nobody >/sys/bus/pci/devices/{disk}/driver_override")
    run.load_drivers("nvme")
    other = run.at(machine.DISK)
    run.check(run.type_of(other).startswith("DMA"), "another disk is translated", run.type_of(other))
    guest_io.write_and_read(run.guest, guest_io.nvme_disk(run.guest, other), 2)


def it_is_translated_once_the_driver_is_gone(run):
    addresses = [run.at(_EXTERNAL, function) for function in range(2)]
    for address in reversed(addresses):
        run.guest.run(f"echo 1 >/sys/bus/pci/devices/{address}/remove")
    run.guest.run("echo 1 >/sys/bus/pci/rescan")
    for address in addresses:
        run.check(run.guest.wait_for(f"[ -e {_type_file(address)} ]"), f"{address} gets a group")
        run.check(run.type_of(address) == "DMA", f"{address} has type DMA", run.type_of(address))
    guest_io.write_and_read(run.guest, guest_io.nvme_disk(run.guest, addresses[0]), 2)


after(an_untrusted_device_beside_a_driver_on_identity_is_left_out, it_is_translated_once_the_driver_is_gone)


def scenarios(kind):
    """Firmware that describes a port as external, which only ACPI does on the emulated machines."""
    if kind.acpi:
        # These machines describe no ports in ACPI.
        return []
    tables = {"ssdt": acpi.external_port(_EXTERNAL)}
    return [
        Scenario(
            "external", lambda kind: machine.bench(kind, **kind.plain),
            [
                the_module_is_loaded,
                an_untrusted_device_is_translated_strictly_where_others_are_not,
                an_untrusted_disk_works,
                an_untrusted_device_cannot_be_on_identity,
            ],
            parameters=("iommu.passthrough=1", _BUFFERS), tables=tables, ours_only=False,
        ),
        Scenario(
            "external-late", lambda kind: machine.bench(kind, **kind.plain),
            [
                an_untrusted_device_beside_a_driver_on_identity_is_left_out,
                it_is_translated_once_the_driver_is_gone,
            ],
            parameters=("iommu.strict=0", _BUFFERS), tables=tables,
        ),
    ]  # fmt: skip
