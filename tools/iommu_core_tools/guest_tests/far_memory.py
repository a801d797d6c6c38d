# SPDX-License-Identifier: GPL-2.0
"""Memory at addresses that the unit cannot put out: a DIMM on a second node, above what the unit's width allows."""

from .. import core_view, guest_io, machine
from ..machine import Machine
from .scenario import Scenario

# 768 GiB, which needs 40 bits.
_ADDRESS = 0xC0_0000_0000
_MIB = 256
_NODE = 1


def _without_the_dimm(kind):
    found = Machine(kind, **kind.narrow)
    found.root_port(machine.DISK).disk("disk").device(
        "nvme", serial="iommu-core-disk", drive="disk", bus=f"port{machine.DISK:x}"
    )
    found.arguments += [
        "-m", "slots=1,maxmem=900G",
        "-object", f"memory-backend-ram,id=near,size={found.memory}M",
        "-object", f"memory-backend-ram,id=far,size={_MIB}M",
        "-numa", "node,nodeid=0,cpus=0-1,memdev=near",
        "-numa", f"node,nodeid={_NODE}",
    ]  # fmt: skip
    return found


def _machine(kind):
    found = _without_the_dimm(kind)
    found.arguments += ["-device", f"pc-dimm,id=dimm,memdev=far,node={_NODE},addr={_ADDRESS:#x}"]
    return found


def _uses_the_dimm(run):
    return run.guest.works(f"grep -qw Node.{_NODE} /proc/zoneinfo")


def _named(run):
    """How often the log names the end of memory."""
    lines = core_view.messages(run.guest.said())
    return sum(f"{_ADDRESS + (_MIB << 20) - 1:#x}" in line for line in lines)


def the_log_says_that_memory_is_out_of_reach(run):
    run.load()
    run.load_drivers("nvme")
    run.check(_uses_the_dimm(run), "the kernel uses the DIMM")
    if run.ours:
        run.check(_named(run) == 1, "the log names the end of memory", run.guest.said()[-2000:])


def memory_that_is_added_later_is_named_as_well(run):
    run.load()
    run.check(not _uses_the_dimm(run) and not _named(run), "there is no DIMM yet")
    run.guest.qmp.execute("device_add", driver="pc-dimm", id="dimm", memdev="far", node=_NODE, addr=_ADDRESS)
    run.check(run.guest.wait_for(f"grep -qw Node.{_NODE} /proc/zoneinfo"), "the kernel uses it")
    # It comes in blocks, and the first one is beyond the unit's width.
    ends = "iommu_core: .* and memory ends at"
    run.check(run.guest.wait_for(f"dmesg | grep -q '{ends}'"), "the log says so")
    run.guest.run("sleep 1")
    said = [line for line in core_view.messages(run.guest.said()) if "and memory ends at" in line]
    run.check(len(said) == 1, "it says so once", said)


def direct_IO_to_memory_out_of_reach_ends(run):
    disk = guest_io.nvme_disk(run.guest, run.at(machine.DISK))
    guest_io.write_and_read(run.guest, disk, 1)
    # The memory of what runs in this group comes from the far node only.
    run.guest.run(f"""
        mkdir -p /tmp/cgroup && mount -t cgroup2 none /tmp/cgroup
        echo +cpuset >/tmp/cgroup/cgroup.subtree_control
        mkdir /tmp/cgroup/far && echo {_NODE} >/tmp/cgroup/far/cpuset.mems
    """)

    def copy(words):
        move = "echo $$ >/tmp/cgroup/far/cgroup.procs"
        run.guest.status(f"sh -c '{move}; exec dd {words} bs=8M count=1'", timeout=60)

    mark = run.guest.mark()
    # Both must end. Whether the disk notices that the unit refuses its DMA depends on the disk:
    # QEMU's does not.
    copy(f"if=/dev/zero of={disk} seek=1 oflag=direct")
    copy(f"if={disk} of=/dev/null iflag=direct")
    if run.ours:
        text = "\n".join(core_view.messages(run.guest.kernel_log(mark)))
        run.check("reserved bits are set in a page table entry" in text, "the log has the faults", text)
    guest_io.write_and_read(run.guest, disk, 1)


def scenarios(kind):
    """A guest, if the kind has units that are narrower than the machine's memory."""
    if kind.narrow is None:
        return []
    return [
        Scenario(
            "far-memory", _machine,
            [the_log_says_that_memory_is_out_of_reach, direct_IO_to_memory_out_of_reach_ends],
            parameters=("memhp_default_state=online_movable",), ours_only=False,
        ),
        Scenario(
            "far-memory-later", _without_the_dimm, [memory_that_is_added_later_is_named_as_well],
            parameters=("memhp_default_state=online_movable",),
        ),
    ]  # fmt: skip
