# SPDX-License-Identifier: GPL-2.0
"""Lets each allocation fail, in operations that a user program starts.

A test starts an operation again and again: first its first allocation fails, then its second, and so on,
until the operation makes fewer allocations than that. The kernel must have fault injection.
"""

from .. import core_view, guest_pci, machine
from ..vfio_user import VfioUser
from .scenario import after

_IOVA = 0x7F_0000_0000
_MOST = 400


def allocations_can_be_made_to_fail(run):
    debug = "/sys/kernel/debug"
    for name in ("failslab", "fail_page_alloc"):
        run.guest.run(f"echo N >{debug}/{name}/ignore-gfp-wait; echo 0 >{debug}/{name}/verbose")
    run.guest.run(f"echo 0 >{debug}/fail_page_alloc/min-order")
    guest_pci.load_vfio(run.guest)
    for slot in (machine.TEST, machine.A):
        address = run.at(slot)
        if guest_pci.driver(run.guest, address) != "vfio-pci":
            guest_pci.give_to_vfio(run.guest, address)


def _each(run, user, command, undo, errors):
    """Runs a command with each of its allocations failing in turn. Returns the number of allocations."""
    for nth in range(1, _MOST):
        answer = user.many([f"fail-nth {nth} {command}"])[0]
        if answer.startswith("ok"):
            if answer == "ok missed":
                return nth - 1
            user.script(undo)
            continue
        errno = answer.split()[1]
        run.check(errno in errors, f"allocation {nth} of {command!r} fails with {errors[0]}", errno)
    run.check(False, f"{command!r} ends within {_MOST} allocations")
    return _MOST


def a_mapping_fails_cleanly_at_each_allocation(run):
    address = run.at(machine.TEST)
    user = VfioUser(run.guest, "mapper")
    user.script(["container c", f"group g {run.group(address)}", "set-container g c",
                 "set-iommu c type1v2", f"device d g {address} testdev", "buffer b 0x4000"])  # fmt: skip
    mapped = core_view.domains(run.guest)
    count = _each(run, user, f"map c b 0 0x4000 {_IOVA:#x} rw", [f"unmap c {_IOVA:#x} 0x4000"],
                  ("ENOMEM", "EFAULT"))  # fmt: skip
    run.check(count >= 3, "page tables were among the allocations", count)
    run.check(user.say(f"testdev-run d {_IOVA:#x} b 0 64") == "result 0", "the mapping works in the end")
    user.say(f"unmap c {_IOVA:#x} 0x4000")
    run.check(core_view.domains(run.guest) == mapped, "nothing is counted as mapped",
              core_view.domains(run.guest))  # fmt: skip
    user.quit()


def an_attach_fails_cleanly_at_each_allocation(run):
    first, second = run.at(machine.TEST), run.at(machine.A)
    before = set(core_view.domains(run.guest))
    user = VfioUser(run.guest, "attacher")
    user.script(["container c", f"group g {run.group(first)}", "set-container g c"])
    _each(run, user, "set-iommu c type1v2", ["unset-container g", "set-container g c"], ("ENOMEM",))
    user.script([f"group h {run.group(second)}"])
    _each(run, user, "set-container h c", ["unset-container h"], ("ENOMEM",))
    user.script([f"device d g {first} testdev", "buffer b 0x1000", f"map c b 0 0x1000 {_IOVA:#x} rw"])
    run.check(user.say(f"testdev-run d {_IOVA:#x} b 0 64") == "result 0", "the attach works in the end")
    names = {core_view.group_of(run.guest, address).domain for address in (first, second)}
    run.check(len(names) == 1, "both groups have one domain", names)
    user.quit()
    after = set(core_view.domains(run.guest))
    run.check(not after - before, "every domain is freed", after - before)


TESTS = [
    allocations_can_be_made_to_fail,
    *after(
        allocations_can_be_made_to_fail,
        a_mapping_fails_cleanly_at_each_allocation,
        an_attach_fails_cleanly_at_each_allocation,
    ),
]
