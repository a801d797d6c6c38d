# SPDX-License-Identifier: GPL-2.0
"""Law 7 with real DMA: a device that writes where nobody told it to, all the time."""

import time

from .. import guest_pci, machine
from ..vfio_user import VfioUser
from .scenario import Scenario, after

_OUT = "/run/probe"


def _changes(run):
    """What the probe saw so far: "reached" and "blocked" in turn."""
    return [line.split()[0] for line in run.guest.run(f"cat {_OUT}").splitlines()]


def _attempts_go_on(run):
    # The probe prints only changes; that it lives and that some time passed is all there is to see.
    time.sleep(0.5)
    run.check(run.guest.works("kill -0 $(cat /run/probe.pid)"), "the probe still runs",
              run.guest.run(f"cat {_OUT}.err"))  # fmt: skip


def a_rogue_device_is_stopped_when_the_unit_is_taken(run):
    address = run.at(machine.TEST)
    run.guest.run(f"dma-probe {address} >{_OUT} 2>{_OUT}.err & echo $! >{_OUT}.pid; sleep 0.5")
    if run.ours:
        run.check(_changes(run) == ["reached"], "it reaches memory before", _changes(run))
    run.load()
    _attempts_go_on(run)
    run.check(run.type_of(address) == "DMA", "its type is the strict one", run.type_of(address))
    run.check(_changes(run)[-1] == "blocked", "it is blocked afterwards", _changes(run))
    run.check(len(_changes(run)) <= 2, "and was so from then on", _changes(run))


def it_stays_blocked_while_the_default_domain_changes(run):
    before = _changes(run)
    path = f"/sys/bus/pci/devices/{run.at(machine.TEST)}/iommu_group/type"
    for kind in ("DMA-FQ", "DMA", "DMA-FQ", "DMA"):
        run.guest.run(f"echo {kind} >{path}")
    _attempts_go_on(run)
    run.check(_changes(run) == before, "it never reached memory", _changes(run))


def it_stays_blocked_while_owners_come_and_go(run):
    before = _changes(run)
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
    _attempts_go_on(run)
    run.check(_changes(run) == before, "it never reached memory", _changes(run))


def it_stays_blocked_while_it_shares_a_domain(run):
    before = _changes(run)
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
    _attempts_go_on(run)
    run.check(_changes(run) == before, "it never reached memory", _changes(run))


def identity_lets_it_through_and_DMA_stops_it_again(run):
    address = run.at(machine.TEST)
    guest_pci.unbind(run.guest, address)
    path = f"/sys/bus/pci/devices/{address}/iommu_group/type"
    run.guest.run(f"echo identity >{path}; sleep 0.3")
    run.check(_changes(run)[-1] == "reached", "identity reaches all memory", _changes(run))
    run.guest.run(f"echo DMA >{path}; sleep 0.3")
    run.check(_changes(run)[-1] == "blocked", "a paging domain does not", _changes(run))


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
