# SPDX-License-Identifier: GPL-2.0
"""`make run`: the module handles a stock kernel's DMA, shown in seven steps with emulated devices that do DMA.

With the kernel's own IOMMU driver (`--driver=stock`) the same steps run, except what only iommu_core has. This
separates a mistake of the story from a mistake of the module.
"""

import re

from . import core_view, custom_kernel, guest_images, guest_io, guest_pci, machine, units, viommu
from .errors import ToolError
from .progress import PROGRESS
from .vfio_user import VfioUser

_MIB = 1 << 20
# The addresses at which the user program maps its memory for devices, and the size of a map.
_BUFFER, _QUEUES, _LATER = 0x1000000, 0x40000000, 0x80000000
_LENGTH = 4 * _MIB

# Our own kernels have the suites built in.
_OWN_PARAMETERS = ("kunit.enable=0",)
# The seconds that the kernel may take to unbind, or to bind, the drivers of all devices. With all
# of the kernel's checks on, one driver takes a second or two.
_ALL_DRIVERS = 180

_DRIVERS = "nvme ahci sd_mod e1000e"


class Failure(ToolError):
    """A check of the story failed."""


class Story:
    """The state that the steps share."""

    def __init__(self, guest, ours, show=PROGRESS.plain, native=False):
        self.guest = guest
        self.ours = ours
        self.native = native
        self.ahci = guest.viommu.ahci
        self._show = show
        self.steps = 0
        self.checks = 0
        self.checksums = {}

    def check(self, claim, holds, *, seen=None):
        """Prints a claim that holds. A claim that does not hold ends the story."""
        if not holds:
            text = f"not so: {claim}" if seen is None else f"not so: {claim}; instead: {seen}"
            raise Failure(text, log=self.guest.log)
        self.checks += 1
        self._show(f"          ok: {claim}")

    def note(self, text):
        """Prints a note, which is not a check."""
        self._show(f"        note: {text}")

    # The steps. A step stores what later steps need in attributes.

    def takeover(self):
        """The module takes the unit; every device is behind it; disks and network work"""
        guest = self.guest
        if self.ours:
            self.check("nothing is behind an IOMMU yet", not guest_pci.groups(guest))
            guest.run("modprobe iommu_core")
        self._everything_is_in_a_group()
        if self.ours:
            held = [group for group in core_view.groups(guest).values()
                    if group.domain.startswith("identity")]  # fmt: skip
            for group in held:
                drivers = {guest_pci.driver(guest, address) for address in group.members} - {None}
                self.check(f"{group.name} is on identity: {', '.join(drivers)} was bound before",
                           drivers)  # fmt: skip
        guest.run(f"modprobe -a {_DRIVERS}")
        self._devices_work()

    def boot(self):
        """The kernel boots with the core as its IOMMU layer; disks and network work behind the unit"""
        self._everything_is_in_a_group()
        groups = core_view.groups(self.guest).values()
        early = [group.name for group in groups if group.domain.startswith("identity")]
        self.check("no group is on identity: the unit was taken before devices had drivers", not early,
                   seen=early)  # fmt: skip
        self._devices_work()

    def _devices_work(self):
        guest = self.guest
        for name, slot in (("disk", machine.DISK), ("net", machine.NET), ("a", machine.A),
                           ("b", machine.B), ("test", machine.TEST)):  # fmt: skip
            setattr(self, name, guest_pci.behind(guest, slot))
        self.sibling = guest_pci.behind(guest, machine.B, 1)
        self._translated(self.disk, self.net, self.b, self.ahci)

        disk = guest_io.nvme_disk(guest, self.disk)
        self.checksums["disk"] = guest_io.write_and_read(guest, disk)
        self.check(
            f"NVMe {self.disk}: 8 MiB written and read with direct I/O, same bytes on the host's disk",
            guest_io.image_checksum(guest, "disk", 8) == self.checksums["disk"],
        )
        self.check(
            f"AHCI {self.ahci}: the disk's content is right",
            guest.wait_for("[ -b /dev/sda ]")
            and guest_io.read_checksum(guest, "/dev/sda", 1)
            == guest_io.image_checksum(guest, "sata", 1),
        )
        name = guest_io.interface(guest, self.net)
        guest_io.network_up(guest, name)
        guest_io.echo(guest)
        self.check(f"e1000e {self.net}: 2 MiB sent over the network came back unchanged", True)
        guest_io.network_down(guest, name)

    def share(self):
        """VFIO: a user program puts A and B into one container; both do DMA through one domain"""
        guest = self.guest
        self.before_claims = guest.mark()
        guest_pci.load_vfio(guest)
        if self.ours:
            said = core_view.isolation(guest)
            devices = {address for _type, members in guest_pci.groups(guest).values() for address in members}
            self.check("the core says of every device whether its interrupts are isolated",
                       devices <= said.keys(), seen=devices - said.keys())  # fmt: skip
            found = {}
            for address, text in said.items():
                found.setdefault(text, []).append(address)
            for text, addresses in found.items():
                self.note(f"{text}: {', '.join(sorted(addresses))}")
        if guest_pci.has_unsafe_interrupts(guest):
            self.note("interrupts are not remapped, so vfio_iommu_type1 runs with "
                      "allow_unsafe_interrupts=1")  # fmt: skip
        guest_pci.give_to_vfio(guest, self.a)
        guest_pci.give_to_vfio(guest, self.b)
        self.group_a = guest_pci.group(guest, self.a)
        self.group_b = guest_pci.group(guest, self.b)
        self.check(
            f"A (edu {self.a}) is in group {self.group_a}, B (nvme {self.b}) in group {self.group_b}",
            self.group_a != self.group_b,
        )
        self.domains_before = set(core_view.domains(guest)) if self.ours else set()
        self.user = user = VfioUser(guest, "user")
        user.script(["container c", f"group a {self.group_a}", "set-container a c"])
        answer = user.say(f"group b {self.group_b}")
        refused = user.errno("set-container b c")
        self.check(
            f"group {self.group_b} is refused while e1000e drives {self.sibling} in it ({refused})",
            answer == "not-viable" and refused in ("EPERM", "EBUSY"),
        )
        guest_pci.unbind(guest, self.sibling)
        user.script([
            "set-container b c", "set-iommu c type1v2",
            f"device a a {self.a} edu", f"device b b {self.b} nvme",
            f"buffer memory {_LENGTH}", f"map c memory 0 {_LENGTH} {_BUFFER:#x} rw",
            "buffer queues 8192", f"map c queues 0 8192 {_QUEUES:#x} rw",
            f"nvme-start b queues {_QUEUES:#x}",
        ])  # fmt: skip
        if self.ours:
            groups = core_view.groups(guest)
            ours = groups[f"group {self.group_a}"].domain
            theirs = groups[f"group {self.group_b}"].domain
            self.domain = ours
            self.check(f"both groups are attached to {ours}", ours == theirs,
                       seen=f"{ours} and {theirs}")  # fmt: skip
        user.say("fill memory 0 4096 1")
        user.say(f"edu-copy a {_BUFFER:#x} {_BUFFER + 0x2000:#x} 4096")
        self.check("A copied 4 KiB by DMA, content checked",
                   user.say("check memory 0x2000 4096 1") == "match")  # fmt: skip
        self._identify(0x3000, "B wrote its identification by DMA, content checked")

    def refuse(self):
        """While the container holds them, kernel drivers and other owners are refused"""
        guest = self.guest
        status, text = guest_pci.bind_status(guest, self.sibling, "e1000e")
        self.check(
            f"e1000e cannot bind to {self.sibling} in group {self.group_b} (EBUSY)",
            status and "busy" in text, seen=text.strip(),
        )  # fmt: skip
        other = VfioUser(guest, "other")
        errno = other.errno(f"group b {self.group_b}")
        self.check(f"another user cannot open group {self.group_b} ({errno})", errno == "EBUSY")
        other.quit()
        if self.ours:
            lines = [line for line in core_view.messages(guest.kernel_log(self.before_claims))
                     if f"group {self.group_b}" in line and "vfio" in line]  # fmt: skip
            self.check(f"the log says who holds the group: {lines[-1] if lines else None!r}", lines)
            owner = self._group_b().owner
            self.check(f"debugfs says the owner of group {self.group_b}: {owner}", "vfio" in owner)
        if self.native:
            for name, has in (("owner", "vfio"), ("domain", self.domain), ("reason", self.sibling)):
                text = guest.run(f"cat /sys/kernel/iommu_groups/{self.group_b}/{name}").strip()
                first = text.splitlines()[0]
                self.check(f"sysfs says the {name} of group {self.group_b}: {first}", has in text)

    def unplug(self):
        """A is closed and unplugged; the domain that was allocated with A still serves B"""
        guest, user = self.guest, self.user
        user.script(["close-device a", "close-group a"])
        guest.qmp.execute("device_del", id="a")
        guest.qmp.wait_event("DEVICE_DELETED", 40, lambda data: data.get("device") == "a")
        self.check(f"A ({self.a}) is gone from the system",
                   guest.wait_for(f"[ ! -e /sys/bus/pci/devices/{self.a} ]"))  # fmt: skip
        if self.ours:
            self.check(f"group {self.group_b} is still attached to {self.domain}",
                       self._group_b().domain == self.domain)  # fmt: skip
        self._identify(0x4000, "B still does DMA through that domain")
        user.script(["buffer later 8192", f"map c later 0 8192 {_LATER:#x} rw"])
        user.say(f"nvme-identify b {_LATER:#x}")
        self.check("B also reaches memory that is mapped after the unplug",
                   self._is_identification("later", 0))  # fmt: skip

    def block(self):
        """Memory is unmapped: the same DMA is blocked, and the log names device, group, domain and owner"""
        guest, user, mark = self.guest, self.user, self.guest.mark()
        user.say("fill memory 0x3000 4096 2")
        unmapped = user.say(f"unmap c {_BUFFER:#x} {_LENGTH}")
        self.check(f"{int(unmapped) // _MIB} MiB unmapped", int(unmapped) == _LENGTH)
        user.say(f"nvme-identify b {_BUFFER + 0x3000:#x}")
        self.check("the buffer is unchanged after B wrote to its old address",
                   user.say("check memory 0x3000 4096 2") == "match")  # fmt: skip
        device, address = guest.viommu.recorded(self.b, _BUFFER + 0x3000)
        if device != self.b:
            self.note(f"QEMU's unit records faults of {self.b} as of {device}, at {address:#x}")
        if self.ours:
            guest.wait_for(f"dmesg | sed '1,/{mark}/d' | grep -q 'fault: {device}'", 5)
            faults = core_view.faults(guest.kernel_log(mark))
            self.check(f"the fault is in the log ({len(faults)} times)", faults)
            fault = faults[0]
            group = core_view.group_of(guest, device)
            self.check(f"the log names {fault.unit}, {fault.device}, {fault.group}, {fault.domain}, "
                       f"owner {fault.owner}, {fault.access} at {fault.address:#x}: {fault.reason}",
                       fault.device == device and fault.group == group.name
                       and fault.domain == group.domain and fault.access == "write"
                       and fault.address == address)  # fmt: skip
            self.check(f"debugfs counts the fault: {group.faults}", group.faults >= 1)
        else:
            pattern = guest.viommu.stock_fault.format(device=device, address=f"{address:#x}")
            self.check("the fault is in the log", re.search(pattern, guest.kernel_log(mark)))

    def free(self):
        """The last user closes: the domain is freed; B's kernel driver works again"""
        guest = self.guest
        self.user.quit()
        if self.ours:
            after = core_view.domains(guest)
            self.check(f"{self.domain} is freed, and no other domain of the program is left",
                       self.domain not in after
                       and not set(after) - self.domains_before, seen=after)  # fmt: skip
        guest_pci.give_back(guest, self.b, "nvme")
        guest_pci.bind(guest, self.sibling, "e1000e")
        if self.ours:
            group = self._group_b()
            self.check(f"group {self.group_b} is back on {group.domain}, owner {group.owner}",
                       "kernel" in group.owner)  # fmt: skip
        self._translated(self.b)
        disk = guest_io.nvme_disk(guest, self.b)
        self.checksums["b"] = guest_io.write_and_read(guest, disk, 4)
        self.check("B's disk is written and read by its kernel driver",
                   guest_io.image_checksum(guest, "b", 4) == self.checksums["b"])  # fmt: skip
        name = guest_io.interface(guest, self.sibling)
        guest_io.network_up(guest, name)
        guest_io.echo(guest, 1024)
        self.check("the network card in B's group passes traffic", True)
        guest_io.network_down(guest, name)

    def unload(self):
        """The unit is released, the module unloaded and loaded again; everything still works"""
        guest = self.guest
        for name in ("vfio_pci", "vfio_iommu_type1", "nvme", "e1000e", "ahci"):
            guest.run(f"rmmod {name}")
        if self.ours:
            names = units.names(guest)
            for name in names:
                units.release(guest, name)
            self.check(f"unit {', '.join(names)} released through the driver's unbind",
                       names and not units.names(guest))  # fmt: skip
            guest.run("rmmod iommu_core")
            self.check("the module is unloaded, no group is left", not guest_pci.groups(guest),
                       seen=guest_pci.groups(guest))  # fmt: skip
            guest.run("modprobe iommu_core")
            self.check("loaded again, the unit is taken again", units.names(guest) == names)
        guest.run(f"modprobe -a {_DRIVERS}")
        self._still_there()

    def retake(self):
        """The unit is released and taken again; everything still works"""
        guest = self.guest
        names = units.names(guest)
        for name in names:
            units.release(guest, name, _ALL_DRIVERS)
        self.check(f"unit {', '.join(names)} released through the driver's unbind",
                   names and not units.names(guest))  # fmt: skip
        self.check("no group is left", not guest_pci.groups(guest), seen=guest_pci.groups(guest))
        for name in names:
            units.take(guest, name, _ALL_DRIVERS)
        self.check("the unit is taken again", units.names(guest) == names)
        for address in guest_pci.devices(guest):
            guest_pci.find_driver(guest, address)
        self._still_there()

    def _still_there(self):
        guest = self.guest
        self._translated(self.disk, self.b)
        for name, address, size in (("disk", self.disk, 8), ("b", self.b, 4)):
            disk = guest_io.nvme_disk(guest, address)
            self.check(f"NVMe {address} still has what was written",
                       guest_io.read_checksum(guest, disk, size) == self.checksums[name])  # fmt: skip

    # Parts of steps.

    def _everything_is_in_a_group(self):
        groups = self._groups()
        inside = {address for members in groups for address in members}
        outside = [address for address in guest_pci.devices(self.guest) if address not in inside]
        self.check(
            f"all {len(inside)} PCI devices are in a group ({len(groups)} groups)",
            inside and not outside, seen=f"outside: {' '.join(outside)}",
        )  # fmt: skip

    def _groups(self):
        if self.ours:
            return [group.members for group in core_view.groups(self.guest).values()]
        return [members for _type, members in guest_pci.groups(self.guest).values()]

    def _group_b(self):
        return core_view.groups(self.guest)[f"group {self.group_b}"]

    def _translated(self, *addresses):
        groups = guest_pci.groups(self.guest)
        types = {a: kind for kind, members in groups.values() for a in members}
        wrong = [f"{a}: {types.get(a)}" for a in addresses if not types.get(a, "").startswith("DMA")]
        self.check(f"the DMA API of {' '.join(addresses)} goes through a paging domain", not wrong,
                   seen=", ".join(wrong))  # fmt: skip

    def _identify(self, offset, claim):
        self.user.say(f"nvme-identify b {_BUFFER + offset:#x}")
        self.check(claim, self._is_identification("memory", offset))

    def _is_identification(self, buffer, offset):
        # The serial number has 20 bytes at offset 4 (NVMe base specification 2.0, figure 275).
        seen = bytes.fromhex(self.user.say(f"hex {buffer} {offset + 4:#x} 20"))
        return seen.decode(errors="replace").strip() == machine.NVME_B_SERIAL


_USERS = (Story.share, Story.refuse, Story.unplug, Story.block, Story.free)
# With the module on the stock kernel, and with the core as the kernel's IOMMU layer.
STEPS = (Story.takeover, *_USERS, Story.unload)
NATIVE_STEPS = (Story.boot, *_USERS, Story.retake)


def tell(image, kind, driver, native=False):
    """Runs the story in a guest and prints its summary. Raises the first failure.

    `native`: the image's kernel has the core as its IOMMU layer.
    """
    bench = machine.bench(kind, **kind.plain)
    bench.parameters += kind.free if driver == guest_images.OURS else kind.stock
    bench.parameters += _OWN_PARAMETERS if native else ()
    steps = NATIVE_STEPS if native else STEPS
    rows = [(step.__doc__, None, "not reached") for step in steps]
    what = "a kernel of our own" if native else "the stock kernel"
    try:
        with PROGRESS.step(f"story: boot {what} with {kind.title}") as step:
            guest = image.start(bench, f"story-{kind.name}")
            guest.start()
        try:
            story = Story(guest, driver == guest_images.OURS, native=native)
            _run(story, steps, rows)
        finally:
            guest.stop()
    finally:
        _summary(rows)
    PROGRESS.plain(f"log of the guest: {guest.log}")


def _run(story, steps, rows):
    for i, function in enumerate(steps):
        rows[i] = (function.__doc__, None, "FAILED")
        story.checks = 0
        PROGRESS.line(f"story {i + 1}/{len(steps)}: {function.__doc__}")
        function(story)
        found = story.guest.alarms()
        story.check("the kernel's log reports no defect", not found, seen=found)
        rows[i] = (function.__doc__, story.checks, "ok")


def _summary(rows):
    width = max(len(row[0]) for row in rows)
    PROGRESS.plain()
    PROGRESS.plain(f"{'step':{width + 3}} {'checks':>6}  result")
    for i, (text, checks, result) in enumerate(rows):
        count = "-" if checks is None else checks
        PROGRESS.plain(f"{i + 1}. {text:{width}} {count:>6}  {result}")
    total = sum(row[1] or 0 for row in rows)
    passed = sum(row[2] == "ok" for row in rows)
    PROGRESS.plain(f"{passed} of {len(rows)} steps, {total} checks passed")
    PROGRESS.plain()


def main_native(kind):
    """Runs `make native`: the same story, on a kernel whose IOMMU layer is the core."""
    image = guest_images.custom(custom_kernel.NATIVE[kind.arch.name])
    tell(image, viommu.natively(kind), guest_images.OURS, native=True)


def main(kind="vtd", driver=guest_images.OURS, build_module=None, wanted=""):
    """Runs `make run`: builds the module, and runs the story on the stock kernel `wanted` (`KERNEL=`)."""
    kind = viommu.get(kind)
    module = build_module(kind.arch, wanted) if driver == guest_images.OURS else None
    tell(guest_images.stock(kind.arch, module, wanted=wanted), kind, driver)
