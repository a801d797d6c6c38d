# SPDX-License-Identifier: GPL-2.0
"""Real traffic of the guests' kernel drivers, checked end to end."""

import hashlib

from .guest import GuestError
from .machine import ECHO_ADDRESS, ECHO_PORT, GATEWAY_ADDRESS

_MIB = 1 << 20


def nvme_disk(guest, address):
    """The block device of the NVMe controller at a PCI address, once it is there."""
    pattern = f"/sys/bus/pci/devices/{address}/nvme/nvme*/nvme*n1"
    if not guest.wait_for(f"ls -d {pattern}"):
        raise GuestError(f"guest {guest.name}: the NVMe disk at {address} does not come up",
                         log=guest.log)  # fmt: skip
    return "/dev/" + guest.run(f"basename $(ls -d {pattern})").strip()


def sata_disk(guest, address):
    """The block device of the disk at the SATA controller at a PCI address, once it is there."""
    pattern = f"/sys/bus/pci/devices/{address}/ata*/host*/target*/*/block/*"
    if not guest.wait_for(f"ls -d {pattern}"):
        raise GuestError(f"guest {guest.name}: the SATA disk at {address} does not come up",
                         log=guest.log)  # fmt: skip
    return "/dev/" + guest.run(f"basename $(ls -d {pattern})").strip()


def interface(guest, address):
    """The name of the network interface at a PCI address."""
    folder = f"/sys/bus/pci/devices/{address}"
    return guest.run(f"ls {folder}/net 2>/dev/null || ls {folder}/virtio*/net").strip()


def write_and_read(guest, disk, size=8):
    """Writes `size` MiB of random bytes with direct I/O, and reads them back with direct I/O.

    Direct I/O bypasses the page cache, so the bytes come from the disk. Returns their checksum.
    """
    script = f"""
        set -e
        dd if=/dev/urandom of=/tmp/out bs=1M count={size} 2>/dev/null
        want=$(sha256sum </tmp/out)
        dd if=/tmp/out of={disk} bs=256k oflag=direct conv=fsync 2>/dev/null
        rm /tmp/out
        got=$(dd if={disk} bs=256k count={size * 4} iflag=direct 2>/dev/null | sha256sum)
        echo $want $got
    """
    want, _, got, _ = guest.run(script, timeout=90).split()
    if want != got:
        raise GuestError(f"guest {guest.name}: the bytes read from {disk} differ from those written",
                         log=guest.log)  # fmt: skip
    return want


def read_checksum(guest, disk, size):
    """The checksum of the first `size` MiB of a disk, by direct I/O."""
    script = f"dd if={disk} bs=256k count={size * 4} iflag=direct 2>/dev/null | sha256sum"
    return guest.run(script, timeout=90).split()[0]


def image_checksum(guest, name, size):
    """The checksum of the first `size` MiB of the file on the host that holds a disk's content."""
    with open(guest.disk_image(name), "rb") as image:
        return hashlib.sha256(image.read(size * _MIB)).hexdigest()


def network_up(guest, name):
    """Gives an interface its address and waits until it can send."""
    guest.run(f"ip addr add 10.0.2.15/24 dev {name} 2>/dev/null; ip link set {name} up")
    if not guest.wait_for(f"[ $(cat /sys/class/net/{name}/carrier) = 1 ]"):
        raise GuestError(f"guest {guest.name}: {name} has no carrier", log=guest.log)


def network_down(guest, name):
    """Undoes `network_up()`."""
    guest.run(f"ip link set {name} down; ip addr flush dev {name}")


def echo(guest, size=2048):
    """Sends `size` KiB of random bytes to the echo host and compares what comes back."""
    script = f"""
        dd if=/dev/urandom of=/tmp/out bs=1k count={size} 2>/dev/null
        nc {ECHO_ADDRESS} {ECHO_PORT} </tmp/out >/tmp/in
        cmp /tmp/out /tmp/in; status=$?
        rm -f /tmp/out /tmp/in
        exit $status
    """
    status, output = guest.status(script, timeout=80)
    if status:
        raise GuestError(f"guest {guest.name}: the echo differs from what was sent: {output.strip()}",
                         log=guest.log)  # fmt: skip


def ping(guest, count):
    """Sends packets one at a time, each after the answer to the one before it, and checks that all are answered."""
    output = guest.run(f"busybox ping -A -q -c {count} {GATEWAY_ADDRESS}", timeout=80)
    if f" {count} packets received, 0% packet loss" not in output:
        raise GuestError(f"guest {guest.name}: packets are lost: {output.strip()}", log=guest.log)
