# SPDX-License-Identifier: GPL-2.0
"""`make shell`: runs a shell on this terminal, in a guest with the module loaded."""

import base64
import os
import select
import sys
import termios
import tty

from . import core_view, guest_images, machine, viommu
from .errors import ToolError
from .progress import PROGRESS

_ESCAPE = b"\x1d"  # Ctrl-]

_TEXT = f"""
This guest runs the stock Debian kernel on an emulated {{title}}. iommu_core is loaded, and all
devices are behind its unit.

  cd {core_view.FOLDER}
    cat groups                  groups: members, domain, owner, faults
    cat domains                 domains, and what is mapped in them
    cat units                   units: capabilities, queue, counters
    cat faults                  DMA that was blocked
  dmesg | grep iommu_core       the module's messages
  vfio-user                     drives devices from user space ("help" lists its commands)

  cd /sys/bus/platform/drivers/{{driver}}
    echo NAME >unbind           releases a unit (ls shows the names); bind takes it over again
  rmmod iommu_core              unloads the module after all units are released; modprobe loads it again

Devices: A (edu) is behind 00:12.0, B (nvme) behind 00:13.0, iommu-testdev behind 00:14.0;
00:15.0 is empty. To leave: "poweroff", or Ctrl-] here.

"""


def run(kind, build_module, wanted=""):
    """Boots the guest, and connects the terminal with it until the user leaves."""
    if not sys.stdin.isatty():
        raise ToolError("there is no terminal for the shell", hint="run it from a terminal")
    kind = viommu.get(kind)
    bench = machine.bench(kind, **kind.plain)
    bench.parameters += [*kind.free, "guest_shell"]
    image = guest_images.stock(kind.arch, build_module(kind.arch, wanted), wanted=wanted)
    with PROGRESS.step(f"shell: boot the stock kernel with {kind.title}"):
        guest = image.start(bench, f"shell-{kind.name}")
        guest.start()
    try:
        guest.run("modprobe iommu_core && modprobe -a nvme ahci sd_mod e1000e")
        text = base64.b64encode(_TEXT.format(title=kind.title, driver=kind.platform_driver).encode()).decode()
        size = os.get_terminal_size()
        guest.run(
            "cat >/run/shell-env <<'EOF'\n"
            "alias poweroff='poweroff -f' ll='ls -l'\n"
            f"stty rows {size.lines or 24} cols {size.columns or 80}\n"
            "EOF\n"
            f"echo {text} | base64 -d >/run/text && mv /run/text /run/shell-text"
        )
        _bridge(guest)
    finally:
        guest.stop()
    PROGRESS.plain(f"\nlog of the guest: {guest.log}")


def _bridge(guest):
    """Copies between the terminal and the guest's console until either ends."""
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    guest.watch_console(lambda data: os.write(sys.stdout.fileno(), data))
    try:
        tty.setraw(terminal)
        while guest.running():
            if not select.select([terminal], [], [], 0.1)[0]:
                continue
            data = os.read(terminal, 4096)
            if not data or _ESCAPE in data:
                return
            guest.type(data)
    finally:
        guest.watch_console(None)
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
