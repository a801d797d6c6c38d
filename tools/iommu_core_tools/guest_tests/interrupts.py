# SPDX-License-Identifier: GPL-2.0
"""Interrupt messages of devices: a device raises only interrupts that it was given (law 9)."""

import contextlib
import re

from .. import core_view, guest_io, guest_pci, machine, units, viommu
from ..interrupt_counts import Counts
from ..vfio_user import VfioUser
from . import acpi, power
from .scenario import Scenario, after

_DEVICES = "/sys/bus/pci/devices"
# QEMU's edu device: the register that raises an interrupt.
_EDU_RAISE = 0x60
# The capability MSI (PCI Local Bus Specification 6.8.1): its id; offsets in it.
_MSI_ID = 0x05
_MSI_CONTROL, _MSI_ADDRESS, _MSI_ADDRESS_HIGH, _MSI_DATA = 2, 4, 8, 12
_MSI_ENABLE = 1 << 0
# VT-d 5.1.2.2: the bit of a message's address that says that its data is an index in the table.
_REMAPPABLE = 1 << 4
# The bit that says that the message's data is added to the index.
_ADDS_DATA = 1 << 3
# The register of an interrupt translation service (GICv3, GITS_TRANSLATER) that devices write to.
_ITS_TRANSLATER = 0x10040
# PCI 3.0, 6.8.2.
_MOST_VECTORS = 2048
# Of the guest in which a disk has a queue for each.
_PROCESSORS = 8
# The root port of a second SATA controller. The first one is on the root bus.
_SATA = 0x17
# The command register: bus master.
_COMMAND, _BUS_MASTER = 4, 1 << 2


class _Config:
    """The configuration space of a PCI function in the guest."""

    def __init__(self, guest, address):
        self.guest = guest
        self.path = f"{_DEVICES}/{address}/config"

    def read(self, offset, size):
        """The little-endian number of `size` bytes at `offset`."""
        text = self.guest.run(f"dd if={self.path} bs=1 skip={offset} count={size} 2>/dev/null | od -An -tx1")
        return int.from_bytes(bytes.fromhex(text.replace(" ", "").strip()), "little")

    def write(self, offset, size, value):
        """Writes a little-endian number of `size` bytes at `offset`."""
        octal = "".join(f"\\{byte:03o}" for byte in value.to_bytes(size, "little"))
        self.guest.run(f"printf '{octal}' | dd of={self.path} bs=1 seek={offset} conv=notrunc 2>/dev/null")

    def capability(self, wanted):
        """The offset of a capability."""
        at = self.read(0x34, 1)
        while at:
            if self.read(at, 1) == wanted:
                return at
            at = self.read(at + 1, 1)
        raise AssertionError(f"{self.path}: no capability {wanted:#x}")


def _interrupts(run, address):
    """`{name: [number, kind, counts for each processor]}` of a device's interrupts."""
    numbers = set(run.guest.run(f"ls {_DEVICES}/{address}/msi_irqs 2>/dev/null || true").split())
    found = {}
    for line in run.guest.run("cat /proc/interrupts").splitlines()[1:]:
        words = line.split()
        if words and words[0].rstrip(":") in numbers:
            counts = [int(word) for word in words[1:] if word.isdigit()]
            kind = next(word for word in words[1:] if not word.isdigit())
            found[words[0].rstrip(":")] = (kind, counts)
    return found


def _count(run, address):
    return sum(sum(counts) for _, counts in _interrupts(run, address).values())


def _raise(run, address, message):
    """Makes the edu device, which has no driver, send a message (its address and its data)."""
    config = _Config(run.guest, address)
    msi = config.capability(_MSI_ID)
    run.guest.run(f"echo 1 >{_DEVICES}/{address}/enable")
    config.write(_COMMAND, 2, config.read(_COMMAND, 2) | _BUS_MASTER)
    config.write(msi + _MSI_ADDRESS, 4, message[0])
    config.write(msi + _MSI_ADDRESS_HIGH, 4, 0)
    config.write(msi + _MSI_DATA, 2, message[1])
    control = config.read(msi + _MSI_CONTROL, 2)
    config.write(msi + _MSI_CONTROL, 2, control | _MSI_ENABLE)
    window = int(run.guest.run(f"head -n1 {_DEVICES}/{address}/resource").split()[0], 16)
    run.guest.run(f"busybox devmem {window + _EDU_RAISE:#x} 32 1; sleep 0.2")
    config.write(msi + _MSI_CONTROL, 2, control & ~_MSI_ENABLE)
    run.guest.run(f"echo 0 >{_DEVICES}/{address}/enable")


def _message(run, address):
    """The message that a device with MSI sends."""
    config = _Config(run.guest, address)
    msi = config.capability(_MSI_ID)
    return config.read(msi + _MSI_ADDRESS, 4), config.read(msi + _MSI_DATA, 2)


def without_remapping_a_device_raises_interrupts_of_others(run):
    """Shows that the forged message of the next tests is one."""
    run.load_drivers("ahci", "sd_mod")
    guest_io.sata_disk(run.guest, run.kind.ahci)
    before = _count(run, run.kind.ahci)
    _raise(run, run.at(machine.A), _message(run, run.kind.ahci))
    run.check(_count(run, run.kind.ahci) == before + 1, "the AHCI controller's driver gets an interrupt "
              "that the edu device has raised", (before, _count(run, run.kind.ahci)))  # fmt: skip
    run.guest.run("rmmod ahci")


def devices_without_a_driver_are_isolated_and_others_say_why_not(run):
    run.load_drivers("ahci", "sd_mod")
    run.load()
    seen = core_view.isolation(run.guest)
    unit = run.guest.run("ls /sys/class/iommu").split()[0]
    for slot in (machine.DISK, machine.NET, machine.A, machine.TEST):
        run.check(seen.get(run.at(slot)) == f"isolated by {unit}", f"{run.at(slot)} is isolated",
                  seen)  # fmt: skip
    run.check("driver was bound before" in seen.get(run.kind.ahci, ""),
              "the device with a driver is not isolated, and says why", seen)  # fmt: skip
    for slot in (machine.DISK, machine.NET, machine.A, machine.TEST):
        said = run.guest.run(f"cat {_DEVICES}/{run.at(slot)}/iommu_core/interrupts").strip()
        run.check(said == f"isolated by {unit}", f"sysfs says the same of {run.at(slot)}", said)


def a_driver_that_was_bound_before_keeps_its_interrupts(run):
    address = run.kind.ahci
    before = _count(run, address)
    guest_io.read_checksum(run.guest, guest_io.sata_disk(run.guest, address), 1)
    run.check(_count(run, address) > before, "its interrupts arrive")
    kinds = {kind for kind, _ in _interrupts(run, address).values()}
    run.check(kinds and not any(kind.startswith("IR-") for kind in kinds), "they are not remapped", kinds)


def remapped_interrupts_arrive(run):
    run.load_drivers("nvme", "e1000e")
    disk = guest_io.nvme_disk(run.guest, run.at(machine.DISK))
    guest_io.write_and_read(run.guest, disk, 4)
    name = guest_io.interface(run.guest, run.at(machine.NET))
    guest_io.network_up(run.guest, name)
    guest_io.echo(run.guest, 64)
    for address in (run.at(machine.DISK), run.at(machine.NET)):
        found = _interrupts(run, address)
        run.check(found and all(kind.startswith("IR-") for kind, _ in found.values()),
                  f"interrupts of {address} are remapped", found)  # fmt: skip
        run.check(_count(run, address) > 0, f"those of {address} have arrived", found)
    guest_io.network_down(run.guest, name)
    entries = _entries(run, run.at(machine.DISK))
    run.check(len(entries) == len(_interrupts(run, run.at(machine.DISK))), "debugfs has an entry for each",
              entries)  # fmt: skip


def _entries(run, address):
    """`[(index, vector, processor)]` of a device's entries that let messages pass."""
    text = run.guest.run(f"cat {core_view.FOLDER}/interrupts")
    source = r"(?:, for messages of .+)?"
    found = re.findall(rf"^ +(\d+) {address} vector (0x\w+) at processor (0x\w+){source}$", text, re.M)
    return [(int(index), int(vector, 16), int(processor, 16)) for index, vector, processor in found]


def _forgeries(run, index, vector, processor):
    """`{name: message}` that another device may try to raise the interrupt of an entry with."""
    to = run.kind.interrupts
    if run.kind.remaps_interrupts:
        return {"its vector and processor": (to | processor << 12, vector), "its entry": (to, index)}
    # QEMU lets every message in compatibility format pass, although the driver has told the unit to
    # block them (VT-d 5.1.4, CFIS is 0).
    return {"its entry": (to | index << 5 | _REMAPPABLE | _ADDS_DATA, 0)}


def a_forged_message_is_refused(run):
    victim = run.at(machine.DISK)
    entries = _entries(run, victim)
    run.check(entries, "the disk has entries", core_view.isolation(run.guest))
    for entry in entries:
        for name, message in _forgeries(run, *entry).items():
            before = _count(run, victim)
            mark = run.guest.mark()
            _raise(run, run.at(machine.A), message)
            run.check(_count(run, victim) == before, f"a message of another device with {name} is refused",
                      (before, _count(run, victim)))  # fmt: skip
            run.check("No irq handler for vector" not in run.guest.kernel_log(mark),
                      "it raises no other interrupt either")  # fmt: skip


@contextlib.contextmanager
def _all_arrive(run, address):
    """Fails unless each interrupt that a device sends in the block arrives, and no other."""
    counts = Counts(run.guest, address)
    yield
    sent, handled = counts.end()
    run.check(sent and handled == sent, f"each interrupt that {address} has sent has arrived, and no other",
              f"{sent} sent, {handled} handled")  # fmt: skip


def _arrive_while_they_move(run, address, load, beside="sleep 1"):
    """Moves a device's interrupts between the two processors while `load()` runs, again and again.

    Interrupts that belong to one processor each are moved by taking a processor away. The command
    `beside` runs all the time, one time after the other, and may not fail.
    """
    mark = run.guest.mark()
    before = _interrupts(run, address)
    run.guest.run("rm -f /run/broken")
    run.guest.run("(while [ ! -e /run/moved ]; do for n in " + " ".join(before) + "; do for i in 1 2; do "
                  "echo $i >/proc/irq/$n/smp_affinity; done; done; done) >/dev/null 2>&1 &")  # fmt: skip
    run.guest.run(f"(while [ ! -e /run/moved ]; do {beside} || touch /run/broken; done) >/dev/null 2>&1 &")
    try:
        for _ in range(4):
            load()
            run.guest.run("echo 0 >/sys/devices/system/cpu/cpu1/online; sleep 0.3; "
                          "echo 1 >/sys/devices/system/cpu/cpu1/online; sleep 0.3", timeout=60)  # fmt: skip
    finally:
        run.guest.run("touch /run/moved; sleep 2; rm /run/moved")
    run.check(not run.guest.works("[ -e /run/broken ]"), "what runs beside it does not fail")
    log = run.guest.kernel_log(mark)
    run.check(not re.search(r"timeout|Unit Hang|failed command|frozen|No irq handler", log),
              f"no driver misses an interrupt, and none is stray, while those of {address} move",
              log[-2000:])  # fmt: skip
    arrived = [0, 0]
    for number, (_, counts) in _interrupts(run, address).items():
        arrived = [sum + now - then for sum, now, then in zip(arrived, counts, before[number][1])]
    run.check(all(arrived), f"interrupts of {address} arrive at both processors", arrived)


def _network_load(run):
    """Bytes in a stream, which few interrupts announce, and packets that each have one."""
    guest_io.echo(run.guest, 256)
    guest_io.ping(run.guest, 300)


def interrupts_move_between_processors_under_load(run):
    run.load_drivers("nvme", "e1000e")
    net = run.at(machine.NET)
    name = guest_io.interface(run.guest, net)
    guest_io.network_up(run.guest, name)
    guest_io.echo(run.guest, 64)
    disk = guest_io.nvme_disk(run.guest, run.at(machine.DISK))
    with _all_arrive(run, net):
        _arrive_while_they_move(run, net, lambda: _network_load(run),
                                beside=f"dd if={disk} of=/dev/null bs=16k count=200 iflag=direct")  # fmt: skip
    guest_io.network_down(run.guest, name)


def a_sata_controllers_interrupt_moves_under_load(run):
    address = run.at(_SATA)
    if not run.kind.remaps_interrupts:
        # Firmware's table does not list the first controller, so QEMU's unit blocks it.
        run.guest.run(f"echo none >{_DEVICES}/{run.kind.ahci}/driver_override")
    # If its driver was bound before, the unit lets it be until it comes anew.
    run.guest.run(f"modprobe -r ahci; echo 1 >{_DEVICES}/{address}/remove; echo 1 >/sys/bus/pci/rescan")
    run.load_drivers("ahci", "sd_mod")
    disk = guest_io.sata_disk(run.guest, address)
    kinds = {kind for kind, _ in _interrupts(run, address).values()}
    run.check(kinds and all(kind.startswith("IR-") for kind in kinds), "its interrupt is remapped", kinds)
    read = f"dd if={disk} of=/dev/null bs=16k count=400 iflag=direct 2>/dev/null"
    with _all_arrive(run, address):
        _arrive_while_they_move(run, address, lambda: run.guest.run(read, timeout=120))


def remapped_interrupts_arrive_after_a_sleep(run):
    power.sleep(run)
    remapped_interrupts_arrive(run)


@contextlib.contextmanager
def _network(run):
    """The network is up."""
    run.load_drivers("nvme", "e1000e")
    name = guest_io.interface(run.guest, run.at(machine.NET))
    guest_io.network_up(run.guest, name)
    guest_io.echo(run.guest, 64)
    yield
    guest_io.network_down(run.guest, name)


def no_interrupt_is_lost_by_a_sleep(run):
    with _network(run), _all_arrive(run, run.at(machine.NET)):
        _network_load(run)
        power.sleep(run)
        _network_load(run)


def no_interrupt_is_lost_while_another_device_comes_and_goes(run):
    """Each time the unit forgets entries, those of the other device."""
    disk = run.at(machine.DISK)
    with _network(run), _all_arrive(run, run.at(machine.NET)):
        run.guest.run(f"(for i in 1 2 3 4 5; do echo 1 >{_DEVICES}/{disk}/remove; echo 1 >/sys/bus/pci/rescan; "
                      "sleep 0.3; done; touch /run/moved) >/dev/null 2>&1 &")  # fmt: skip
        for _ in range(20):
            _network_load(run)
            if run.guest.works("[ -e /run/moved ]"):
                break
        run.check(run.guest.works("rm /run/moved"), "it has come back each time")
    guest_io.write_and_read(run.guest, guest_io.nvme_disk(run.guest, disk), 2)


def vfio_needs_no_parameter_and_gets_the_interrupts(run):
    guest_pci.load_vfio(run.guest)
    parameter = "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts"
    run.check(run.guest.run(f"cat {parameter}").strip() == "N", "allow_unsafe_interrupts is off")
    address = run.at(machine.A)
    guest_pci.give_to_vfio(run.guest, address)
    user = VfioUser(run.guest, "isolated")
    user.script(["container c", f"group g {run.group(address)}", "set-container g c", "set-iommu c type1v2",
                 f"device a g {address} edu"])  # fmt: skip
    run.guest.run(f"(while [ ! -e /run/moved ]; do for n in $(ls {_DEVICES}/{address}/msi_irqs 2>/dev/null); do "
                  "for i in 1 2; do echo $i >/proc/irq/$n/smp_affinity; done; done; done) >/dev/null 2>&1 &")  # fmt: skip
    arrived = user.say("edu-interrupts a 300", timeout=120)
    run.guest.run("touch /run/moved; sleep 1; rm /run/moved")
    run.check(arrived == "arrived 300", "all that it raises arrive while they move, and no other", arrived)
    user.quit()
    guest_pci.unbind(run.guest, address)


def writes_beside_the_addresses_of_interrupts_are_faults(run):
    # QEMU's devices send DMA without their id, so its units cannot tell whose a write between these
    # addresses is. Only messages (MSI) have the id.
    guest_pci.load_vfio(run.guest)
    address = run.at(machine.A)
    guest_pci.give_to_vfio(run.guest, address)
    user = VfioUser(run.guest, "writer")
    user.script(["container c", f"group g {run.group(address)}", "set-container g c", "set-iommu c type1v2",
                 f"device a g {address} edu"])  # fmt: skip
    for target in (run.kind.interrupts - 4096, run.kind.interrupts + (1 << 20)):
        mark = run.guest.mark()
        user.say(f"edu-write a {target:#x} 4")
        run.guest.run("sleep 0.5")
        faults = core_view.faults(run.guest.kernel_log(mark))
        run.check([(fault.device, fault.address) for fault in faults] == [run.kind.recorded(address, target)],
                  f"a write to {target:#x} is one fault", faults)  # fmt: skip
    user.quit()
    guest_pci.unbind(run.guest, address)


def a_device_that_was_unplugged_gives_its_interrupts_back(run):
    address = run.at(machine.DISK)
    guest_io.nvme_disk(run.guest, address)
    run.guest.run(f"echo 1 >{_DEVICES}/{address}/remove; sleep 1")
    entries = run.guest.run(f"cat {core_view.FOLDER}/interrupts")
    run.check(address not in entries, "no entry is left", entries)
    run.guest.run("echo 1 >/sys/bus/pci/rescan; sleep 1")
    guest_io.write_and_read(run.guest, guest_io.nvme_disk(run.guest, address), 2)
    run.check(core_view.isolation(run.guest)[address].startswith("isolated"), "it is isolated again")


def _crowded(kind):
    """The bench, with a network card that has virtual functions, a disk with as many vectors as MSI-X has, and
    another SATA controller."""
    found = machine.bench(kind)
    found.root_port(_SATA).device("ich9-ahci", id="more", bus=f"port{_SATA:x}")
    found.disk("more", 8).device("ide-hd", drive="more", bus="more.0")
    found.network("card").device("igb", netdev="card", bus=f"port{machine.SPARE:x}")
    found.root_port(machine.VIRTIO).disk("many").device(
        "nvme", serial="many", drive="many", bus=f"port{machine.VIRTIO:x}", msix_qsize=_MOST_VECTORS,
    )  # fmt: skip
    return found


def virtual_functions_have_interrupts_of_their_own(run):
    card = run.at(machine.SPARE)
    path = f"{_DEVICES}/{card}"
    run.load_drivers("igb", "igbvf")
    name = guest_io.interface(run.guest, card)
    guest_io.network_up(run.guest, name)
    run.guest.run(f"echo 2 >{path}/sriov_numvfs", timeout=60)
    functions = run.guest.run(f"for f in {path}/virtfn*; do basename $(readlink $f); done").split()
    run.check(len(functions) == 2, "there are two functions", functions)
    for address in functions:
        run.guest.run(f"ip link set {guest_io.interface(run.guest, address)} up")
    with _all_arrive(run, card):
        _arrive_while_they_move(run, card, lambda: _network_load(run))
    seen = core_view.isolation(run.guest)
    for address in (card, *functions):
        found = _interrupts(run, address)
        run.check(found and all(kind.startswith("IR-") for kind, _ in found.values()),
                  f"interrupts of {address} are remapped", found)  # fmt: skip
        run.check(_count(run, address), f"those of {address} arrive", found)
        run.check(seen[address].startswith("isolated by "), f"{address} is isolated", seen)
    # The card stays up without its address, and a function does its work.
    run.guest.run(f"ip addr flush dev {name}")
    function = functions[0]
    with _all_arrive(run, function):
        guest_io.network_up(run.guest, guest_io.interface(run.guest, function))
        _arrive_while_they_move(run, function, lambda: _network_load(run))
    run.guest.run(f"echo 0 >{path}/sriov_numvfs", timeout=60)
    guest_io.network_up(run.guest, name)
    entries = run.guest.run(f"cat {core_view.FOLDER}/interrupts")
    run.check(not any(address in entries for address in functions), "no entry of theirs is left", entries)
    guest_io.echo(run.guest, 256)
    guest_io.network_down(run.guest, name)
    run.guest.run("rmmod igbvf igb")


def a_table_has_room_for_the_interrupts_that_the_unit_can_tell_apart(run):
    address = run.at(machine.VIRTIO)
    guest_pci.load_vfio(run.guest)
    guest_pci.give_to_vfio(run.guest, address)
    user = VfioUser(run.guest, "many")
    user.script(["container c", f"group g {run.group(address)}", "set-container g c", "set-iommu c type1v2",
                 f"device d g {address} nvme"])  # fmt: skip

    def entries():
        text = run.guest.run(f"cat {core_view.FOLDER}/interrupts")
        return len(re.findall(rf"^ +\d+ {address} ", text, re.M))

    user.script(["vectors d 300"], timeout=120)
    run.check(entries() == 300, "there is an entry for each of 300", entries())
    user.script(["vectors d 0"], timeout=120)
    run.check(entries() == 0, "they are freed", entries())
    mark = run.guest.mark()
    outcome = user.errno(f"vectors d {_MOST_VECTORS}", timeout=300)
    if run.kind.remaps_interrupts:
        # QEMU's unit has no NumIntRemapSup: 512 for each id.
        run.check(outcome == "ENOSPC", f"{_MOST_VECTORS} are refused", outcome)
        said = core_view.messages(run.guest.kernel_log(mark))
        run.check(any(line.startswith(f"{address}: no room for ") for line in said), "the log says why", said)
        run.check(any(f"{address} has 512 of them" in line for line in said), "and who has the entries", said)
    else:
        run.check(outcome is None, f"{_MOST_VECTORS} fit", outcome)
        user.script(["vectors d 0"], timeout=120)
    run.check(entries() == 0, "none is left", entries())
    user.quit()
    guest_pci.unbind(run.guest, address)
    run.guest.run(f"echo >{_DEVICES}/{address}/driver_override")


def a_unit_that_is_given_back_leaves_plain_interrupts(run):
    names = run.guest.run("lsmod | busybox awk '$1 ~ /^(nvme|e1000e|ahci)$/ { print $1 }'").split()
    for name in names:
        run.guest.run(f"rmmod {name}")
    run.unload()
    run.load_drivers(*names)
    guest_io.write_and_read(run.guest, guest_io.nvme_disk(run.guest, run.at(machine.DISK)), 2)
    kinds = {kind for kind, _ in _interrupts(run, run.at(machine.DISK)).values()}
    run.check(kinds and not any(kind.startswith("IR-") for kind in kinds), "they are not remapped", kinds)
    for name in names:
        run.guest.run(f"rmmod {name}")
    run.load()
    run.load_drivers(*names)
    guest_io.write_and_read(run.guest, guest_io.nvme_disk(run.guest, run.at(machine.DISK)), 2)
    kinds = {kind for kind, _ in _interrupts(run, run.at(machine.DISK)).values()}
    run.check(kinds and all(kind.startswith("IR-") for kind in kinds), "they are remapped again", kinds)


def _listed(kind):
    """A table with a unit for what is behind the ports. The ports themselves, the I/O APIC and the SATA controller
    are behind none."""
    tables = acpi.TABLES[kind.acpi_table]
    slots = machine.DISK, machine.NET, machine.A, machine.B, machine.TEST, machine.SPARE, machine.VIRTIO, _SATA
    return {tables.file: tables.functions([*((slot, 0, 0, 0) for slot in slots), (machine.B, 0, 0, 1)])}


def devices_of_a_unit_without_controllers_are_isolated(run):
    mark = run.guest.mark()
    run.load()
    unit = run.guest.run("ls /sys/class/iommu").split()[0]
    said = core_view.messages(run.guest.kernel_log(mark))
    run.check(f"{unit}: remaps the interrupts of the devices behind it" in said, "the log says so", said)
    seen = core_view.isolation(run.guest)
    run.check(set(seen.values()) == {f"isolated by {unit}"} and len(seen) == 9, "all of them are", seen)


def a_refused_message_is_a_fault_of_the_devices_group(run):
    attacker = run.at(machine.A)
    group, mark = core_view.group_of(run.guest, attacker), run.guest.mark()
    index, _, _ = _entries(run, run.at(machine.DISK))[0]
    _raise(run, attacker, _forgeries(run, index, 0, 0)["its entry"])
    log = run.guest.kernel_log(mark)
    found = [text for text in core_view.messages(log) if "interrupt" in text and attacker in text]
    run.check(len(found) == 1 and f"{group.name}," in found[0], "it is one fault of the device's group", log)


def one_driver_that_was_bound_before_leaves_all_interrupts_as_they_are(run):
    disk = run.at(machine.DISK)
    run.load_drivers("nvme", "e1000e")
    mark = run.guest.mark()
    run.load()
    said = core_view.messages(run.guest.kernel_log(mark))
    run.check(any("not isolated" in line and "of all devices behind it or of none" in line for line in said),
              "the log says why", said)  # fmt: skip
    seen = core_view.isolation(run.guest)
    idle = run.at(machine.TEST)
    run.check(f"{disk} had a driver" in seen[idle], "a device without a driver says so, too", seen)
    run.check(all(line.startswith("not isolated: ") for line in seen.values()), "none is isolated", seen)
    guest_io.write_and_read(run.guest, guest_io.nvme_disk(run.guest, disk), 2)
    kinds = {kind for kind, _ in _interrupts(run, disk).values()}
    run.check(kinds and not any(kind.startswith("IR-") for kind in kinds), "they are not remapped", kinds)


def a_unit_remaps_once_it_is_taken_without_drivers(run):
    name = units.names(run.guest)[0]
    for driver in ("nvme", "e1000e"):
        run.guest.run(f"rmmod {driver}")
    units.release(run.guest, name)
    units.take(run.guest, name)
    unit = run.guest.run("ls /sys/class/iommu").split()[0]
    seen = core_view.isolation(run.guest)
    run.check(set(seen.values()) == {f"isolated by {unit}"}, "all are isolated", seen)


def each_processor_has_a_queue_with_an_interrupt_of_its_own(run):
    run.load()
    run.load_drivers("nvme")
    address = run.at(machine.DISK)
    disk = guest_io.nvme_disk(run.guest, address)
    before = _interrupts(run, address)
    run.check(len(before) == _PROCESSORS + 1 and all(kind.startswith("IR-") for kind, _ in before.values()),
              "there is one for each processor's queue, and one for commands", before)  # fmt: skip
    reads = [f"busybox taskset {1 << number:x} dd if={disk} of=/dev/null bs=16k count=100 iflag=direct 2>/dev/null &"
             for number in range(_PROCESSORS)]  # fmt: skip
    run.guest.run("\n".join([*reads, "wait"]), timeout=120)
    after = _interrupts(run, address)
    arrived = [[now - then for now, then in zip(after[name][1], before[name][1])] for name in before]
    # A queue's interrupt stays on the processor that the queue is for.
    busy = sorted(tuple(counts) for counts in arrived if sum(counts) >= 100)
    run.check(len(busy) == _PROCESSORS and all(sum(map(bool, counts)) == 1 for counts in busy),
              "each processor gets those of its own queue", arrived)  # fmt: skip


def no_interrupt_of_a_queue_is_lost_while_processors_come_and_go(run):
    """The kernel switches a queue's interrupt off with its processor, and on again."""
    address = run.at(machine.DISK)
    disk = guest_io.nvme_disk(run.guest, address)
    read = f"dd if={disk} of=/dev/null bs=16k count=50 iflag=direct 2>/dev/null"
    readers = [f"(while [ ! -e /run/moved ]; do busybox taskset {1 << number:x} {read} || {read} || touch /run/broken; "
               "done) >/dev/null 2>&1 &" for number in range(_PROCESSORS)]  # fmt: skip
    mark = run.guest.mark()
    with _all_arrive(run, address):
        run.guest.run("\n".join(readers))
        for number in range(1, _PROCESSORS):
            run.guest.run(f"for state in 0 1; do echo $state >/sys/devices/system/cpu/cpu{number}/online; sleep 0.3; "
                          "done", timeout=60)  # fmt: skip
        run.guest.run("touch /run/moved")
    run.check(not run.guest.works("[ -e /run/broken ]"), "no read fails")
    log = run.guest.kernel_log(mark)
    run.check(not re.search(r"timeout|No irq handler", log), "none is missed, and none is stray", log[-2000:])


def devices_say_why_they_are_not_isolated(run):
    run.load()
    seen = core_view.isolation(run.guest)
    run.check(seen and all(line.startswith("not isolated: ") and len(line) > 20 for line in seen.values()),
              "each device has a reason", seen)  # fmt: skip


def devices_are_isolated_by_their_interrupt_controller(run):
    run.load()
    seen = core_view.isolation(run.guest)
    for slot in (machine.DISK, machine.NET, machine.A, machine.TEST):
        run.check(seen.get(run.at(slot)) == "isolated by its interrupt controller",
                  f"{run.at(slot)} is isolated", seen)  # fmt: skip


def _requester_id(address):
    bus, device, function = (int(number, 16) for number in re.split("[:.]", address)[1:])
    return bus << 8 | device << 3 | function


@contextlib.contextmanager
def _seen_by_the_controller(run):
    """A file that has a line for each message that QEMU's interrupt translation service gets."""
    trace, event = run.guest.trace_file(), "gicv3_its_translation_write"
    trace.unlink(missing_ok=True)
    run.guest.qmp.monitor(f"logfile {trace}")
    run.guest.qmp.monitor(f"log trace:{event}")
    yield trace
    run.guest.qmp.monitor(f"trace-event {event} off")
    run.guest.qmp.monitor("log none")


def the_controller_refuses_a_forged_message(run):
    run.load_drivers("nvme")
    victim, attacker = run.at(machine.DISK), run.at(machine.A)
    guest_io.write_and_read(run.guest, guest_io.nvme_disk(run.guest, victim), 2)
    run.check(_count(run, victim) > 0, "the disk has interrupts", _interrupts(run, victim))
    # The unit lets the message pass, so that the interrupt controller sees it.
    run.guest.run(f"echo identity >{_DEVICES}/{attacker}/iommu_group/type")
    window = run.guest.run("od -An -tx1 -N8 /proc/device-tree/intc@*/its@*/reg")
    message = int(window.replace(" ", ""), 16) + _ITS_TRANSLATER
    before, mark = _count(run, victim), run.guest.mark()
    with _seen_by_the_controller(run) as trace:
        # The victim's events are the first ones of its own table in the controller.
        for event in range(8):
            _raise(run, attacker, (message, event))
        seen = re.findall(rf"requester_id {_requester_id(attacker):#x}$", trace.read_text(encoding="utf-8"), re.M)
    run.check(len(seen) == 8, "the controller has got each message", len(seen))
    run.check(_count(run, victim) == before, "no message of another device raises the disk's interrupt",
              (before, _count(run, victim)))  # fmt: skip
    run.check(not core_view.faults(run.guest.kernel_log(mark)), "the unit has let the messages pass")


def devices_are_isolated_from_the_boot_on(run):
    run.load_drivers("nvme", "ahci", "sd_mod")
    guest_io.nvme_disk(run.guest, run.at(machine.DISK))
    guest_io.sata_disk(run.guest, run.kind.ahci)
    seen = core_view.isolation(run.guest)
    functions = run.kind.ahci, *map(run.at, (machine.DISK, machine.NET, machine.A, machine.TEST))
    run.check(all(seen[address].startswith("isolated by ") for address in functions),
              "the core says so of every function", seen)  # fmt: skip
    for address in (run.kind.ahci, run.at(machine.DISK)):
        kinds = {kind for kind, _ in _interrupts(run, address).values()}
        run.check(kinds and all(kind.startswith("IR-") for kind in kinds),
                  f"interrupts of {address} are remapped", kinds)  # fmt: skip


def the_kernels_own_table_refuses_a_forged_message(run):
    """The kernel's own code remaps interrupts with the unit that our driver translates with."""
    victim, attacker = run.kind.ahci, run.at(machine.A)
    group = core_view.group_of(run.guest, attacker)
    message = _message(run, victim)
    run.check(message[0] & _REMAPPABLE, "the disk controller's message is in remappable format", message)
    # QEMU lets every message in compatibility format pass, although the kernel has told the unit to
    # block them (VT-d 5.1.4, CFIS is 0). So only the other format is tried.
    before, mark = _count(run, victim), run.guest.mark()
    _raise(run, attacker, message)
    run.check(_count(run, victim) == before, "the same message of another device raises nothing",
              (before, _count(run, victim)))  # fmt: skip
    log = run.guest.kernel_log(mark)
    found = [text for text in core_view.messages(log) if "interrupt" in text and attacker in text]
    run.check(len(found) == 1 and f"{group.name}," in found[0], "it is one fault of the device's group", log)


def processors_have_wide_ids(run):
    """Interrupts then name processors by ids of 32 bits (x2APIC)."""
    log = run.guest.said()
    run.check("Enabled IRQ remapping in x2apic mode" in log, "the unit remaps to ids of 32 bits")
    run.check(re.search(r"APIC: Switched APIC routing to: (cluster|physical) x2apic", log),
              "the processors are in x2APIC mode")  # fmt: skip
    ids = run.guest.run("busybox awk '/^apicid/ { print $3 }' /proc/cpuinfo").split()
    run.check(ids == ["0", "256"], "the second processor's id has more than 8 bits", ids)


def interrupts_reach_a_processor_with_a_wide_id(run):
    disks = {
        run.kind.ahci: guest_io.sata_disk(run.guest, run.kind.ahci),
        run.at(machine.DISK): guest_io.nvme_disk(run.guest, run.at(machine.DISK)),
    }
    for address, disk in disks.items():
        before = _interrupts(run, address)
        for number in before:
            # That of a queue is there from the start, and cannot be moved.
            run.guest.status(f"echo 2 >/proc/irq/{number}/smp_affinity")
        run.guest.run(f"busybox taskset 2 dd if={disk} of=/dev/null bs=16k count=100 iflag=direct 2>/dev/null")
        now = _interrupts(run, address)
        arrived = [sum(now[name][1][cpu] - before[name][1][cpu] for name in before) for cpu in range(2)]
        run.check(arrived[1] >= 100 and not arrived[0], f"those of {address} arrive at the second processor", arrived)


def native_guests(kind):
    """`[(name, options of the machine, tests)]` for a kernel whose IOMMU layer is the core, with our driver."""
    if kind.remaps_interrupts:
        mine = [remapped_interrupts_arrive, a_forged_message_is_refused]
    elif kind is viommu.NATIVE_VTD:
        mine = [the_kernels_own_table_refuses_a_forged_message]
    else:
        return []
    tests = [devices_are_isolated_from_the_boot_on, *mine, vfio_needs_no_parameter_and_gets_the_interrupts]
    found = [("interrupts", kind.plain, tests)]
    if kind.x2apic:
        wide = [processors_have_wide_ids, *tests, interrupts_reach_a_processor_with_a_wide_id]
        found.append(("interrupts, x2APIC", kind.x2apic, wide))
    return found


def scenarios(kind):
    """A guest with devices whose interrupts are counted; further ones where that depends on firmware's table."""
    # Freed memory changes, so that a unit that still reads its tables notices. The second parameter
    # is for a sleep.
    parameters = "page_poison=1", "no_console_suspend"
    arriving = [
        remapped_interrupts_arrive,
        a_forged_message_is_refused,
        interrupts_move_between_processors_under_load,
        a_sata_controllers_interrupt_moves_under_load,
        virtual_functions_have_interrupts_of_their_own,
        # After a sleep, QEMU's igb card has no virtual functions any more.
        remapped_interrupts_arrive_after_a_sleep,
        no_interrupt_is_lost_by_a_sleep,
        no_interrupt_is_lost_while_another_device_comes_and_goes,
        vfio_needs_no_parameter_and_gets_the_interrupts,
        writes_beside_the_addresses_of_interrupts_are_faults,
        a_table_has_room_for_the_interrupts_that_the_unit_can_tell_apart,
        a_device_that_was_unplugged_gives_its_interrupts_back,
        a_unit_that_is_given_back_leaves_plain_interrupts,
    ]
    if kind.remaps_interrupts:
        tests = [
            without_remapping_a_device_raises_interrupts_of_others,
            devices_without_a_driver_are_isolated_and_others_say_why_not,
            *after(
                devices_without_a_driver_are_isolated_and_others_say_why_not,
                a_driver_that_was_bound_before_keeps_its_interrupts,
                *arriving,
            ),
        ]
    elif kind.unsafe_interrupts:
        tests = [devices_say_why_they_are_not_isolated]
    else:
        tests = [devices_are_isolated_by_their_interrupt_controller, the_controller_refuses_a_forged_message]
    made = _crowded if kind.remaps_interrupts else machine.bench
    found = [Scenario("interrupts", made, tests, parameters=parameters)]
    if kind.remaps_interrupts:
        found.append(
            Scenario("interrupts-off", lambda kind: machine.bench(kind, unit={"intremap": "off"}),
                     [devices_say_why_they_are_not_isolated])
        )  # fmt: skip
        found.append(
            Scenario("interrupts-queues", lambda kind: machine.bench(kind, cpus=_PROCESSORS),
                     [
                         each_processor_has_a_queue_with_an_interrupt_of_its_own,
                         no_interrupt_of_a_queue_is_lost_while_processors_come_and_go,
                     ])
        )  # fmt: skip
    if kind.unsafe_interrupts and not kind.remaps_interrupts and kind.own_tables:
        together = [devices_of_a_unit_without_controllers_are_isolated, *arriving]
        together.insert(3, a_refused_message_is_a_fault_of_the_devices_group)
        late = [
            one_driver_that_was_bound_before_leaves_all_interrupts_as_they_are,
            a_unit_remaps_once_it_is_taken_without_drivers,
        ]
        found += [
            Scenario("interrupts-together", _crowded, together, parameters=parameters, tables=_listed(kind)),
            Scenario("interrupts-late", machine.bench, late, tables=_listed(kind), parameters=kind.late),
        ]
    return found
