# SPDX-License-Identifier: GPL-2.0
"""Reads what iommu_core shows in debugfs and in the kernel's log."""

import dataclasses
import re

FOLDER = "/sys/kernel/debug/iommu_core"

# The text after "iommu_core: " in the kernel's log for DMA that was blocked.
_FAULT = re.compile(
    r"iommu_core: (?P<unit>\S+): fault: (?P<device>\S+) "
    r"\((?P<group>group \d+), (?P<domain>\w+ domain \d+), owner (?P<owner>.+)\): "
    r"(?P<access>\w+) at (?P<address>0x[0-9a-f]+): (?P<reason>.+) \(reason 0x[0-9a-f]+\)"
)

# Messages of the kernel's module loader with the module's name.
_LOADER = re.compile(r"loading out-of-tree module|module verification failed")


@dataclasses.dataclass
class Group:
    """One block of the file `groups`."""

    name: str
    domain: str = ""
    owner: str = ""
    faults: int = 0
    members: list = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Fault:
    """One fault in the log."""

    unit: str
    device: str
    group: str
    domain: str
    owner: str
    access: str
    address: int
    reason: str


def groups(guest):
    """`{name: Group}` of all groups. A group that the kernel also knows is called "group N"."""
    found, group = {}, None
    for line in guest.run(f"cat {FOLDER}/groups").splitlines():
        if line and not line.startswith(" "):
            group = Group(line.strip())
            found[group.name] = group
            continue
        words = line.split(None, 1)
        if len(words) < 2 or group is None:
            continue
        key, value = words
        if key == "domain":
            group.domain = value
        elif key == "owner":
            group.owner = value
        elif key == "faults":
            group.faults = int(value.split(",")[0])
        elif key == "member":
            group.members.append(value.split()[0])
    return found


def group_of(guest, address):
    """The group that a device is in, or None."""
    return next((group for group in groups(guest).values() if address in group.members), None)


def domains(guest):
    """`{name: rest of the line}` of all domains, such as "paging domain 3"."""
    found = {}
    for line in guest.run(f"cat {FOLDER}/domains").splitlines():
        match = re.match(r"(\w+ domain \d+)\b[:,]?\s*(.*)", line)
        if match:
            found[match[1]] = match[2]
    return found


def isolation(guest):
    """`{device: whether it can raise only its own interrupts, and by what or why not}`."""
    lines = guest.run(f"cat {FOLDER}/interrupts").splitlines()
    return dict(line.split(": ", 1) for line in lines if re.match(r"\S+: (not )?isolated", line))


def faults(log):
    """The faults in a kernel log."""
    return [
        Fault(**{**match.groupdict(), "address": int(match["address"], 16)})
        for match in _FAULT.finditer(log)
    ]


def messages(log):
    """The lines of a kernel log that iommu_core wrote, without time and prefix."""
    lines = [line.split("iommu_core: ", 1)[1] for line in log.splitlines() if "iommu_core: " in line]
    return [line for line in lines if not _LOADER.match(line)]
