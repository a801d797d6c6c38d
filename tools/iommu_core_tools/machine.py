# SPDX-License-Identifier: GPL-2.0
"""Emulated machines: their devices, and the QEMU command line that makes them.

Each device has a fixed PCI slot, because the bus numbers depend on the firmware. Tests name a device by the
slot of its root port.
"""

import dataclasses
import os

from . import guest_files
from .viommu import Viommu

# Slots of the root ports on the root bus.
DISK, NET, A, B, TEST, SPARE, VIRTIO = 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16

ECHO_ADDRESS, ECHO_PORT = "10.0.2.100", 7
# QEMU's own address in a network, which answers pings.
GATEWAY_ADDRESS = "10.0.2.2"
NVME_B_SERIAL = "iommu-core-b"

_MIB = 1 << 20


@dataclasses.dataclass
class Machine:
    """A machine to be started. Change its fields and add devices before the start."""

    viommu: Viommu
    memory: int = 1024
    cpus: int = 2
    # Whether the last processor has an id (APIC id) of more than 8 bits.
    far_processor: bool = False
    # Properties of the IOMMU; None leaves the machine without one.
    unit: dict | None = dataclasses.field(default_factory=dict)
    # The processor that QEMU emulates, if not the one of `Arch`.
    cpu: str | None = None
    # Whether UEFI firmware boots the machine, with ACPI tables instead of a device tree.
    uefi: bool = False
    # Kernel parameters besides those that every guest has.
    parameters: list = dataclasses.field(default_factory=list)
    arguments: list = dataclasses.field(default_factory=list)
    # name of a disk: its content (padded with zeroes) and size in MiB
    disks: dict = dataclasses.field(default_factory=dict)

    def device(self, kind, **properties):
        """Adds a device with properties."""
        words = [kind] + [f"{name}={value}" for name, value in properties.items()]
        self.arguments += ["-device", ",".join(words)]
        return self

    def root_port(self, slot, **properties):
        """Adds a PCIe root port, whose bus is called `port<slot>`."""
        name = f"port{slot:x}"
        return self.device(
            "pcie-root-port", id=name, bus="pcie.0", addr=f"{slot:#x}", chassis=slot, slot=slot,
            **properties,
        )  # fmt: skip

    def disk(self, name, size=32, content=b""):
        """Adds a raw disk image of `size` MiB that devices can use as `drive=<name>`."""
        self.disks[name] = (content, size)
        return self

    def network(self, name):
        """Adds a network that is not connected to the outside, with one host that echoes TCP."""
        echo = f"guestfwd=tcp:{ECHO_ADDRESS}:{ECHO_PORT}-cmd:cat"
        self.arguments += ["-netdev", f"user,id={name},restrict=on,{echo}"]
        return self

    def virtio_card(self):
        """Adds a virtio network card behind the unit. Without `iommu_platform` its DMA would bypass the unit."""
        self.root_port(VIRTIO).network("virtio")
        return self.device(
            "virtio-net-pci", netdev="virtio", bus=f"port{VIRTIO:x}",
            **{"iommu_platform": "on", "disable-legacy": "on"},
        )  # fmt: skip

    def command(self, folder, kernel, initramfs):
        """QEMU's command line without the sockets to the guest. Makes disk images in `folder`."""
        arch = self.viommu.arch
        words = [
            arch.qemu,
            "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-M", self.viommu.machine,
            "-accel", "tcg", "-cpu", self.cpu or arch.cpu,
            "-m", f"{self.memory}M", *self._processors(),
            *self.boots(folder, kernel, initramfs),
        ]  # fmt: skip
        if self.unit is not None:
            properties = [f"{name}={value}" for name, value in self.unit.items()]
            words += ["-device", ",".join([self.viommu.device, *properties])]
        for name, (content, size) in self.disks.items():
            path = folder / f"{name}.img"
            path.write_bytes(content)
            os.truncate(path, size * _MIB)
            words += ["-drive", f"if=none,id={name},format=raw,cache=unsafe,file={path}"]
        return words + self.arguments

    def _processors(self):
        """QEMU's arguments for the processors."""
        if not self.far_processor:
            return ["-smp", str(self.cpus)]
        # A core has 8 bits of the id, so that the second socket's first core has id 256.
        return ["-smp", f"{self.cpus - 1},sockets=2,cores=129,threads=1,maxcpus=258",
                "-device", f"{self.cpu or self.viommu.arch.cpu}-x86_64-cpu,socket-id=1,core-id=0,thread-id=0"]  # fmt: skip

    def boots(self, _folder, kernel, initramfs):
        """QEMU's arguments that say what the machine boots."""
        arch = self.viommu.arch
        words = ["-kernel", str(kernel)]
        if self.uefi:
            words += ["-bios", str(guest_files.uefi(arch))]
        if initramfs:
            words += ["-initrd", str(initramfs)]
        return [*words, "-append", " ".join(base_parameters(arch) + self.parameters)]


def base_parameters(arch):
    """The parameters that each kernel of a guest needs."""
    return [f"console={arch.console}", f"guest_agent={arch.agent}", "panic=-1", "mitigations=off",
            "audit=0", *arch.parameters]  # fmt: skip


def bench(viommu, **options):
    """The machine of the story.

    Behind root ports: an NVMe disk, a network card, device A (edu), device B (NVMe), iommu-testdev, and an
    empty port. A network card is a second function of device B, so a kernel driver can use B's group as well.
    The SATA controller on the root bus has a disk.
    """
    machine = Machine(viommu, **options)
    for slot in (DISK, NET, A, B, TEST, SPARE):
        machine.root_port(slot)
    machine.disk("disk").device("nvme", serial="iommu-core-disk", drive="disk", bus=f"port{DISK:x}")
    machine.network("net").device("e1000e", netdev="net", bus=f"port{NET:x}")
    machine.device("edu", id="a", bus=f"port{A:x}", dma_mask="0xffffffffffffffff")
    machine.disk("b").device(
        "nvme", id="b", serial=NVME_B_SERIAL, drive="b", bus=f"port{B:x}", addr="0.0",
        multifunction="on",
    )  # fmt: skip
    # Both functions have the multi-function bit, as on hardware. The kernel would set the missing
    # mark of a second function only after the function has a group.
    machine.network("net-b").device(
        "e1000e", netdev="net-b", bus=f"port{B:x}", addr="0.1", multifunction="on",
    )  # fmt: skip
    machine.device("iommu-testdev", id="test", bus=f"port{TEST:x}")
    machine.disk("sata", 8, content=bytes(i * 7 % 251 for i in range(1 << 16)) * 16)
    machine.arguments += viommu.ahci_arguments
    machine.device("ide-hd", drive="sata", bus="ide.0")
    return machine
