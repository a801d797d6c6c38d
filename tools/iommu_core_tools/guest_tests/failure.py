# SPDX-License-Identifier: GPL-2.0
"""A unit whose queue stands still while devices do DMA."""

from .. import core_view, guest_pci, machine
from ..vfio_user import VfioUser
from .scenario import Scenario

_IOVA = 0x100000


def a_unit_whose_queue_has_failed_lets_no_device_reach_memory(run):
    run.load()
    guest_pci.load_vfio(run.guest)
    address = run.at(machine.TEST)
    guest_pci.give_to_vfio(run.guest, address)
    user = VfioUser(run.guest, "stuck")
    user.script(["container c", f"group g {run.group(address)}", "set-container g c",
                 "set-iommu c type1v2", f"device d g {address} testdev", "buffer b 0x2000",
                 f"map c b 0 0x1000 {_IOVA:#x} rw", f"map c b 0x1000 0x1000 {_IOVA + 0x1000:#x} rw"])  # fmt: skip
    # The unit caches the device's entry, and both translations.
    run.check(user.say(f"testdev-run d {_IOVA:#x} b 0 64") == "result 0", "the device reaches its memory")
    run.check(user.say(f"testdev-run d {_IOVA + 0x1000:#x} b 0x1000 64") == "result 0",
              "and the page behind it")  # fmt: skip

    # One page is unmapped, the other one is not.
    for at, value in run.kind.registers.stop_queue:
        run.guest.run(f"busybox devmem {at:#x} 32 {value:#x}")
    mark = run.guest.mark()
    # The first command after that finds out.
    user.errno(f"unmap c {_IOVA:#x} 0x1000")
    lines = core_view.messages(run.guest.kernel_log(mark))
    run.check(any("has failed" in line for line in lines), "the log says that the unit has failed", lines)
    run.check(not any("takes no orders" in line for line in lines), "the unit still obeys", lines)

    for page in (0, 0x1000):
        user.say(f"fill b {page:#x} 4096 6")
        user.many([f"testdev-run d {_IOVA + page:#x} b {page:#x} 64"])
        run.check(user.say(f"check b {page:#x} 4096 6") == "match",
                  f"the device does not reach page {page:#x} any more")  # fmt: skip
    user.quit()


def scenarios(_kind):
    """A guest that may write to the registers of a unit that a driver has."""
    return [
        Scenario("failure", machine.bench, [
            a_unit_whose_queue_has_failed_lets_no_device_reach_memory,
        ], parameters=("iomem=relaxed",)),
    ]  # fmt: skip
