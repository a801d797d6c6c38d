# SPDX-License-Identifier: GPL-2.0
"""Devices that are reset while their group changes hands.

The kernel blocks a device with a TLB of its own during the device's reset. It tells a provider neither of
the reset nor of who claims a group.
"""

from .. import core_view, guest_pci
from ..machine import Machine
from ..vfio_user import VfioUser
from .scenario import Scenario

_PAIR, _ALONE = 0x12, 0x13
_IOVA = 0x10000000
_DEVICES = "/sys/bus/pci/devices"
_TRACING = "/sys/kernel/tracing"
# The agent, its parent, has not waited for the program yet, so it is a zombie when it has closed
# all.
_KILL = """
    kill -9 $user
    until [ "$state" = Z ]; do read -r _ _ state _ </proc/$user/stat; done
"""


def _machine(kind):
    """Behind one port a disk with a TLB and iommu-testdev, as two functions; behind another such a disk."""
    found = Machine(kind, **kind.device_tlb)
    # A reset takes 0.1 s. The guest does the same in that time on each machine if an instruction
    # takes 1 ns.
    found.arguments += ["-icount", "shift=0,sleep=off"]
    with_tlb = {"ats": "on", "iommu_platform": "on", "disable-legacy": "on"}
    found.root_port(_PAIR).disk("pair").device(
        "virtio-blk-pci", drive="pair", bus=f"port{_PAIR:x}", addr="0.0", multifunction="on", **with_tlb,
    )  # fmt: skip
    found.device("iommu-testdev", bus=f"port{_PAIR:x}", addr="0.1", multifunction="on")
    found.root_port(_ALONE).disk("alone").device(
        "virtio-blk-pci", drive="alone", bus=f"port{_ALONE:x}", **with_tlb
    )  # fmt: skip
    return found


def _during_a_reset(run, address, command="true"):
    """The file `groups` after a command that runs during a reset of the device.

    The kernel counts how often it has ended one.
    """
    groups = f"{core_view.FOLDER}/groups"
    # A new process costs a large part of a reset's time. The shell alone does what it can.
    text = run.guest.run(
        f"user=$(pidof vfio-user); ends() {{ read -r _ number _ <{_TRACING}/kprobe_profile; }}\n"
        f"ends; before=$number; echo 1 >{_DEVICES}/{address}/reset &\n"
        f"until grep -q '{address}.*suspended for a reset' {groups} || [ $number != $before ]; do ends; done\n"
        f"{command}\ncat {groups}; ends; [ $number = $before ] || echo too late; wait",
        timeout=60,
    )  # fmt: skip
    run.check("too late" not in text, "the reset lasts until the groups are read", text)
    return text


def _line(text, address):
    return next(line for line in text.splitlines() if f"member   {address}" in line)


def _owner(run, address):
    return core_view.group_of(run.guest, address).owner


def the_module_is_loaded(run):
    # virtio-pci is built in. It is bound already, so the devices would stay on identity, or it is
    # bound as soon as their unit is there.
    for slot in (_PAIR, _ALONE):
        run.guest.run(f"echo none >{_DEVICES}/{run.at(slot)}/driver_override")
        guest_pci.unbind(run.guest, run.at(slot))
    run.load()
    guest_pci.load_vfio(run.guest)
    run.guest.run(f"[ -e {_TRACING}/kprobe_events ] || mount -t tracefs none {_TRACING}\n"
                  f"echo p:ends pci_dev_reset_iommu_done >{_TRACING}/kprobe_events\n"
                  f"echo 1 >{_TRACING}/events/kprobes/ends/enable")  # fmt: skip
    first, second = run.at(_PAIR), run.at(_PAIR, 1)
    run.check(run.group(first) == run.group(second), "both functions are in one group")
    run.check(run.group(first) != run.group(run.at(_ALONE)), "the other disk is in another one")


def a_device_is_blocked_during_its_reset(run):
    for slot in (_PAIR, _ALONE):
        address = run.at(slot)
        text = _during_a_reset(run, address)
        run.check("suspended for a reset" in _line(text, address), "debugfs says so", text)
        text = run.guest.run(f"cat {core_view.FOLDER}/groups")
        run.check("suspended" not in text, "and that it is over", text)
        run.check(_owner(run, address) == "nobody", "nobody owns the group", text)


def a_reset_goes_on_while_the_user_of_a_neighbour_is_killed(run):
    first, second = run.at(_PAIR), run.at(_PAIR, 1)
    guest_pci.give_to_vfio(run.guest, second)
    user = VfioUser(run.guest, "neighbour")
    user.script(["container c", f"group g {run.group(second)}", "set-container g c",
                 "set-iommu c type1v2", f"device t g {second} testdev", "buffer b 0x1000",
                 f"map c b 0 0x1000 {_IOVA:#x} rw"])  # fmt: skip
    run.check(user.say(f"testdev-run t {_IOVA:#x} b 0 64") == "result 0", "it reaches memory")
    run.check("vfio-user" in _owner(run, second), "its user owns the group", _owner(run, second))
    text = _during_a_reset(run, first, _KILL)
    user.kill()
    run.check("suspended for a reset" in _line(text, first), "the other function is still blocked", text)
    run.check("suspended" not in _line(text, second), "it alone", text)
    run.check(_owner(run, first) == "nobody", "nobody owns the group", _owner(run, first))
    after = run.guest.run(f"cat {core_view.FOLDER}/groups")
    run.check("suspended" not in after, "no reset is seen after its end", after)


def an_owner_is_known_before_it_attaches_a_domain(run):
    # To a provider this looks like a reset: the group has one device, which has a TLB.
    address = run.at(_ALONE)
    guest_pci.give_to_vfio(run.guest, address)
    user = VfioUser(run.guest, "owner")
    user.script(["container c", f"group g {run.group(address)}", "set-container g c"])
    owner = _owner(run, address)
    run.check("vfio-user" in owner and "no domain" in owner, "it owns the group", owner)
    user.say("set-iommu c type1v2")
    owner = _owner(run, address)
    run.check("vfio-user" in owner and "no domain" not in owner, "with a domain of its own", owner)
    text = _during_a_reset(run, address)
    run.check("suspended for a reset" in _line(text, address), "it can be reset", text)
    run.check(_owner(run, address) == owner, "and its owner has its domain as before", text)
    user.quit()
    run.check(_owner(run, address) == "nobody", "nobody owns the group", _owner(run, address))


def scenarios(_kind):
    """A machine with functions that have device TLBs."""
    return [Scenario(
        "reset", _machine,
        [
            the_module_is_loaded,
            a_device_is_blocked_during_its_reset,
            a_reset_goes_on_while_the_user_of_a_neighbour_is_killed,
            an_owner_is_known_before_it_attaches_a_domain,
        ],
    )]  # fmt: skip
