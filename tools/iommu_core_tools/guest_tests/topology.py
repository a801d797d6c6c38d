# SPDX-License-Identifier: GPL-2.0
"""Devices that share an id, devices on another host bridge, virtual functions, and devices with a TLB."""

from .. import core_view, guest_io, guest_pci
from ..machine import Machine
from ..vfio_user import VfioUser
from .scenario import Scenario, after

_BRIDGE, _PXB, _CARD, _CACHING, _SWITCH = 0x10, 0x11, 0x12, 0x13, 0x14
_IOVA = 0x10000000


def machine(kind, **options):
    """The machine of the scenario."""
    found = Machine(kind, **kind.device_tlb, **options)
    found.root_port(_BRIDGE)
    found.device("pcie-pci-bridge", id="bridge", bus=f"port{_BRIDGE:x}")
    found.device("edu", bus="bridge", addr="0x1", dma_mask="0xffffffffffffffff")
    found.device("iommu-testdev", bus="bridge", addr="0x2")
    found.device("pxb-pcie", id="pxb", bus="pcie.0", bus_nr=0x40, addr=f"{_PXB:#x}")
    found.device("pcie-root-port", id="far", bus="pxb", chassis=0x40, slot=0x40)
    if kind.another:
        found.arguments += ["-device", kind.another.format(bus="pxb")]
    found.device("iommu-testdev", bus="far")
    found.root_port(_CARD).network("net").device("igb", netdev="net", bus=f"port{_CARD:x}")
    found.root_port(_SWITCH)
    found.device("x3130-upstream", id="up", bus=f"port{_SWITCH:x}")
    for function in range(2):
        found.device("xio3130-downstream", id=f"down{function}", bus="up", addr=f"0x0.{function}",
                     multifunction="on", chassis=0x50 + function, slot=0x50 + function)  # fmt: skip
        found.device("edu", bus=f"down{function}", dma_mask="0xffffffffffffffff")
    found.root_port(_CACHING).disk("caching").device(
        "virtio-blk-pci", drive="caching", bus=f"port{_CACHING:x}", ats="on",
        iommu_platform="on", **{"disable-legacy": "on"},
    )  # fmt: skip
    return found


def _find(run, vendor_device, bus_from, bus_below):
    for address in guest_pci.devices(run.guest):
        bus = int(address.split(":")[1], 16)
        path = f"/sys/bus/pci/devices/{address}"
        if bus_from <= bus < bus_below:
            seen = run.guest.run(f"cat {path}/vendor {path}/device").split()
            if seen == list(vendor_device):
                return address
    return None


_EDU, _TESTDEV = ("0x1234", "0x11e8"), ("0x1b36", "0x0005")


def the_module_is_loaded(run):
    # virtio-pci is built in and already bound, so the device would stay on identity.
    guest_pci.unbind(run.guest, run.at(_CACHING))
    run.load()
    guest_pci.load_vfio(run.guest)


def devices_behind_a_PCI_bridge_share_a_group(run):
    edu, testdev = _find(run, _EDU, 1, 0x40), _find(run, _TESTDEV, 1, 0x40)
    run.check(edu and testdev, "the kernel finds both devices")
    run.check(run.group(edu) == run.group(testdev), "both devices are in one group")
    if run.ours:
        text = run.guest.run(f"cat {core_view.FOLDER}/groups")
        line = next(line for line in text.splitlines() if f"member   {edu}" in line)
        run.check("shares requester id" in line and testdev in line, "debugfs says why", line)


def functions_of_a_switch_without_ACS_share_a_group(run):
    up = run.at(_SWITCH)
    path = f"/sys/bus/pci/devices/{up}"
    # Not the services of a port, whose names are longer.
    ports = run.guest.run(f"cd {path} && ls -d 0000:??:??.?").split()
    behind = [run.guest.run(f"cd {path}/{port} && ls -d 0000:??:??.?").strip() for port in ports]
    run.check(len(ports) == 2 and all(behind), "both ports have a device behind", behind)
    groups = [run.group(address) for address in behind]
    run.check(groups[0] is not None and groups[0] == groups[1], "both devices are in one group", groups)
    if not run.ours:
        return
    text = run.guest.run(f"cat {core_view.FOLDER}/groups").splitlines()

    def reason(address):
        return next(line for line in text if f"member   {address}" in line)

    for port, other in (ports, ports[::-1]):
        run.check(f"not isolated from function {other}" in reason(port),
                  f"debugfs says what joins port {port} with the others", reason(port))  # fmt: skip
    for address, port in zip(behind, ports):
        run.check(f"bridge {port} above does not isolate" in reason(address),
                  f"debugfs says what joins {address} with the others", reason(address))  # fmt: skip


def devices_behind_a_PCI_bridge_do_DMA(run):
    edu, testdev = _find(run, _EDU, 1, 0x40), _find(run, _TESTDEV, 1, 0x40)
    # The bridge is in the same group, and may have a driver.
    guest_pci.unbind(run.guest, run.at(_BRIDGE))
    for address in (edu, testdev):
        guest_pci.give_to_vfio(run.guest, address)
    user = VfioUser(run.guest, "bridge")
    user.script(["container c", f"group g {run.group(edu)}", "set-container g c",
                 "set-iommu c type1v2", f"device e g {edu} edu", f"device t g {testdev} testdev",
                 "buffer b 0x3000", f"map c b 0 0x3000 {_IOVA:#x} rw", "fill b 0 4096 1",
                 f"edu-copy e {_IOVA:#x} {_IOVA + 4096:#x} 4096"])  # fmt: skip
    run.check(user.say("check b 4096 4096 1") == "match", "edu reaches memory")
    run.check(user.say(f"testdev-run t {_IOVA + 8192:#x} b 8192 64") == "result 0",
              "iommu-testdev reaches memory")  # fmt: skip
    user.say(f"unmap c {_IOVA:#x} 0x3000")
    mark = run.guest.mark()
    run.check(user.say(f"testdev-run t {_IOVA:#x} b 0 64") != "result 0", "unmapped memory is not reached")
    if run.ours and not run.kind.half_records:
        run.guest.wait_for(f"dmesg | sed '1,/{mark}/d' | grep -q fault", 5)
        faults = core_view.faults(run.guest.kernel_log(mark))
        run.check(faults and faults[0].group == f"group {run.group(edu)}",
                  "the fault names their group", faults)  # fmt: skip
    user.quit()


def interrupts_of_a_device_behind_a_PCI_bridge_arrive(run):
    """Its messages have the bridge's id."""
    edu = _find(run, _EDU, 1, 0x40)
    if run.ours and (run.kind.remaps_interrupts or not run.kind.unsafe_interrupts):
        seen = core_view.isolation(run.guest)
        run.check(seen[edu].startswith("isolated by "), "the device is isolated", seen)
    user = VfioUser(run.guest, "messages")
    user.script(["container c", f"group g {run.group(edu)}", "set-container g c",
                 "set-iommu c type1v2", f"device e g {edu} edu"])  # fmt: skip
    arrived = user.say("edu-interrupts e 300", timeout=120)
    run.check(arrived == "arrived 300", "all that it raises arrive", arrived)
    user.quit()


def a_device_behind_another_host_bridge_does_DMA(run):
    address = _find(run, _TESTDEV, 0x40, 0x100)
    run.check(address, "the kernel finds the device")
    run.check(run.group(address) is not None, "the device is in a group")
    guest_pci.give_to_vfio(run.guest, address)
    user = VfioUser(run.guest, "far")
    user.script(["container c", f"group g {run.group(address)}", "set-container g c",
                 "set-iommu c type1v2", f"device t g {address} testdev", "buffer b 0x2000",
                 f"map c b 0 0x1000 {_IOVA:#x} rw"])  # fmt: skip
    run.check(user.say(f"testdev-run t {_IOVA:#x} b 0 64") == "result 0", "the device reaches mapped memory")
    run.check(user.say(f"testdev-run t {_IOVA + 4096:#x} b 4096 64") != "result 0",
              "the device does not reach other memory")  # fmt: skip
    user.quit()


def virtual_functions_get_groups_of_their_own_and_lose_them(run):
    run.load_drivers("igb")
    card = run.at(_CARD)
    before = guest_pci.groups(run.guest)
    path = f"/sys/bus/pci/devices/{card}"
    run.guest.run(f"echo 2 >{path}/sriov_numvfs", timeout=60)
    functions = run.guest.run(f"for f in {path}/virtfn*; do basename $(readlink $f); done").split()
    groups = [run.group(address) for address in functions]
    run.check(len(functions) == 2 and None not in groups, "both functions have groups", groups)
    run.check(len({*groups, run.group(card)}) == 3, "the card and both functions are in three groups", groups)
    run.guest.run(f"echo 0 >{path}/sriov_numvfs", timeout=60)
    run.check(guest_pci.groups(run.guest) == before, "the groups are as before")


def virtual_functions_come_and_go_while_users_do_DMA(run):
    run.load_drivers("igb")
    card = run.at(_CARD)
    before = guest_pci.groups(run.guest)
    other = _find(run, _TESTDEV, 0x40, 0x100)
    guest_pci.give_to_vfio(run.guest, other)
    user = VfioUser(run.guest, "load")
    user.script(["container c", f"group g {run.group(other)}", "set-container g c",
                 "set-iommu c type1v2", f"device t g {other} testdev", "buffer b 0x10000"])  # fmt: skip
    path = f"/sys/bus/pci/devices/{card}"
    for turn in range(4):
        run.guest.run(
            f"rm -f /run/done; (for n in 1 2 3; do echo 2 >{path}/sriov_numvfs; echo 0 >{path}/sriov_numvfs; "
            "done; touch /run/done) >/dev/null 2>&1 &"
        )
        while not run.guest.works("[ -e /run/done ]"):
            user.script([f"map c b 0 0x10000 {_IOVA:#x} rw"])
            run.check(user.say(f"testdev-run t {_IOVA:#x} b 0 64") == "result 0",
                      f"a user's device reaches its memory in turn {turn}")  # fmt: skip
            user.script([f"unmap c {_IOVA:#x} 0x10000"])
    # A function that a user has open goes when the user lets it go.
    run.guest.run(f"echo 2 >{path}/sriov_numvfs", timeout=60)
    function = run.guest.run(f"basename $(readlink {path}/virtfn0)").strip()
    guest_pci.give_to_vfio(run.guest, function)
    holder = VfioUser(run.guest, "holder")
    holder.script(["container c", f"group g {run.group(function)}", "set-container g c",
                   "set-iommu c type1v2", "buffer b 0x1000",
                   f"map c b 0 0x1000 {_IOVA:#x} rw"])  # fmt: skip
    run.guest.run(f"(echo 0 >{path}/sriov_numvfs; touch /run/none) >/dev/null 2>&1 &")
    run.check(user.errno(f"map c b 0 0x1000 {_IOVA:#x} rw") is None, "the other user goes on")
    holder.kill()
    user.quit()
    run.check(run.guest.wait_for("[ -e /run/none ]", 60), "the functions are gone")
    run.check(guest_pci.groups(run.guest) == before, "the groups are as before", guest_pci.groups(run.guest))


def an_igb_card_passes_traffic(run):
    run.load_drivers("igb")
    name = guest_io.interface(run.guest, run.at(_CARD))
    guest_io.network_up(run.guest, name)
    guest_io.echo(run.guest)
    guest_io.network_down(run.guest, name)


def a_device_with_a_TLB_of_its_own_works(run):
    address = run.at(_CACHING)
    run.check(run.type_of(address).startswith("DMA"), "its type is DMA", run.type_of(address))
    run.load_drivers("virtio_blk")
    # On a kernel that waits for the driver of the unit, virtio-pci is bound already.
    if not guest_pci.driver(run.guest, address):
        guest_pci.bind(run.guest, address, "virtio-pci")
    run.check(run.guest.wait_for("[ -b /dev/vda ]"), "the kernel finds the disk")
    guest_io.write_and_read(run.guest, "/dev/vda", 4)
    guest_io.write_and_read(run.guest, "/dev/vda", 4)


def a_device_with_a_TLB_of_its_own_works_after_a_reset(run):
    # The kernel tells the device's driver of the reset. The driver sets the device up again.
    address = run.at(_CACHING)
    before = run.type_of(address)
    run.guest.run(f"echo 1 >/sys/bus/pci/devices/{address}/reset", timeout=60)
    run.check(run.type_of(address) == before, "the group's type is unchanged", run.type_of(address))
    guest_io.write_and_read(run.guest, "/dev/vda", 4)


after(devices_behind_a_PCI_bridge_do_DMA, interrupts_of_a_device_behind_a_PCI_bridge_arrive)
after(a_device_with_a_TLB_of_its_own_works, a_device_with_a_TLB_of_its_own_works_after_a_reset)


def scenarios(_kind):
    """A machine with a PCIe-to-PCI bridge, a second host bridge, virtual functions, device TLBs."""
    return [Scenario(
        "topology", machine,
        [
            the_module_is_loaded,
            devices_behind_a_PCI_bridge_share_a_group,
            functions_of_a_switch_without_ACS_share_a_group,
            devices_behind_a_PCI_bridge_do_DMA,
            interrupts_of_a_device_behind_a_PCI_bridge_arrive,
            a_device_behind_another_host_bridge_does_DMA,
            an_igb_card_passes_traffic,
            virtual_functions_get_groups_of_their_own_and_lose_them,
            virtual_functions_come_and_go_while_users_do_DMA,
            a_device_with_a_TLB_of_its_own_works,
            a_device_with_a_TLB_of_its_own_works_after_a_reset,
        ],
        ours_only=False,
    )]  # fmt: skip
