# SPDX-License-Identifier: GPL-2.0
"""Law 7 with real DMA: a device that writes where nobody told it to, all the time."""

from .. import dma_probe, guest_pci, machine
from ..vfio_user import VfioUser
from .scenario import Scenario, after

def a_rogue_device_is_stopped_when_the_unit_is_taken(run):
    address = run.at(machine.TEST)
    dma_probe.start(run, address)
    if run.ours:
        run.check(dma_probe.changes(run) == ["reached"], "it reaches memory before", dma_probe.changes(run))
    run.load()
    dma_probe.goes_on(run)
    run.check(run.type_of(address) == "DMA", "its type is the strict one", run.type_of(address))
    run.check(dma_probe.changes(run)[-1] == "blocked", "it is blocked afterwards", dma_probe.changes(run))
    run.check(len(dma_probe.changes(run)) <= 2, "and was so from then on", dma_probe.changes(run))


def it_stays_blocked_while_the_default_domain_changes(run):
    before = dma_probe.changes(run)
    path = f"/sys/bus/pci/devices/{run.at(machine.TEST)}/iommu_group/type"
    for kind in ("DMA-FQ", "DMA", "DMA-FQ", "DMA"):
        run.guest.run(f"echo {kind} >{path}")
    dma_probe.goes_on(run)
    run.check(dma_probe.changes(run) == before, "it never reached memory", dma_probe.changes(run))


def it_stays_blocked_while_owners_come_and_go(run):
    before = dma_probe.changes(run)
    address = run.at(machine.TEST)
    guest_pci.load_vfio(run.guest)
    guest_pci.give_to_vfio(run.guest, address)
    for i in range(4):
        user = VfioUser(run.guest, f"owner{i}")
        user.script(["container c", f"group g {run.group(address)}", "set-container g c",
                     "set-iommu c type1v2", "buffer b 0x200000", "map c b 0 0x200000 0x100000000 rw",
                     f"device d g {address} testdev", "unmap c 0x100000000 0x200000"])  # fmt: skip
        if i % 2:
            user.kill()
        else:
            user.quit()
    guest_pci.unbind(run.guest, address)
    dma_probe.goes_on(run)
    run.check(dma_probe.changes(run) == before, "it never reached memory", dma_probe.changes(run))


def it_stays_blocked_while_it_shares_a_domain(run):
    before = dma_probe.changes(run)
    address, other = run.at(machine.TEST), run.at(machine.A)
    guest_pci.give_to_vfio(run.guest, address)
    guest_pci.give_to_vfio(run.guest, other)
    for i in range(3):
        user = VfioUser(run.guest, f"sharer{i}")
        user.script(["container c", f"group a {run.group(other)}", "set-container a c",
                     "set-iommu c type1v2", "buffer b 0x2000", "map c b 0 0x2000 0x100000000 rw",
                     f"group g {run.group(address)}", "set-container g c",
                     f"device d g {address} testdev", "close-device d", "close-group g"])  # fmt: skip
        user.quit()
    dma_probe.goes_on(run)
    run.check(dma_probe.changes(run) == before, "it never reached memory", dma_probe.changes(run))


def identity_lets_it_through_and_DMA_stops_it_again(run):
    address = run.at(machine.TEST)
    guest_pci.unbind(run.guest, address)
    path = f"/sys/bus/pci/devices/{address}/iommu_group/type"
    run.guest.run(f"echo identity >{path}; sleep 0.3")
    run.check(dma_probe.changes(run)[-1] == "reached", "identity reaches all memory", dma_probe.changes(run))
    run.guest.run(f"echo DMA >{path}; sleep 0.3")
    run.check(dma_probe.changes(run)[-1] == "blocked", "a paging domain does not", dma_probe.changes(run))


# The owners of the first have VFIO loaded.
after(it_stays_blocked_while_owners_come_and_go, it_stays_blocked_while_it_shares_a_domain)


def scenarios(kind):
    """One machine; the order matters, since the probe runs all the time."""
    return [Scenario(
        "isolation", machine.bench,
        [
            a_rogue_device_is_stopped_when_the_unit_is_taken,
            it_stays_blocked_while_the_default_domain_changes,
            it_stays_blocked_while_owners_come_and_go,
            it_stays_blocked_while_it_shares_a_domain,
            identity_lets_it_through_and_DMA_stops_it_again,
        ],
        # A device that does DMA before there is a unit needs its port to have a driver.
        parameters=("iomem=relaxed", "iommu.strict=1", *kind.late), ours_only=False,
    )]  # fmt: skip
