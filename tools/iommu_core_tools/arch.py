# SPDX-License-Identifier: GPL-2.0
"""The differences between the architectures of guests. No other file has any."""

import dataclasses
import platform


@dataclasses.dataclass(frozen=True)
class Arch:
    """An architecture. `name` is Debian's."""

    name: str
    # Its name in the kernel's build system.
    kernel: str
    # The prefix of its compilers and binutils.
    tools: str
    # Arguments of every `make` for its kernel besides the compilers.
    make: tuple
    # What the package of its C compiler has after the compiler's name.
    gcc_suffix: str
    # Options of the stock configuration that our tools cannot build. They do not affect modules.
    without: tuple
    qemu: str
    # The processor that QEMU emulates.
    cpu: str
    # The guests' first two serial ports: the console, and the line to the agent.
    console: str
    agent: str
    # Kernel parameters that every guest has.
    parameters: tuple


AMD64 = Arch(
    name="amd64",
    kernel="x86",
    tools="x86_64-linux-gnu-",
    make=(),
    gcc_suffix="",
    without=(),
    qemu="qemu-system-x86_64",
    cpu="max",
    console="ttyS0",
    agent="ttyS1",
    # On a busy host too few timer ticks arrive in time for the check that the last parameter skips.
    parameters=("tsc=reliable", "no_timer_check"),
)

ARM64 = Arch(
    name="arm64",
    kernel="arm64",
    tools="aarch64-linux-gnu-",
    make=("ARCH=arm64", "CROSS_COMPILE=aarch64-linux-gnu-"),
    gcc_suffix="-aarch64-linux-gnu",
    # The kernel's support of 32-bit programs needs another compiler.
    without=("CONFIG_COMPAT_VDSO", "CONFIG_THUMB2_COMPAT_VDSO"),
    qemu="qemu-system-aarch64",
    # Many features of newer processors (pointer authentication, for example) are slow to emulate.
    cpu="neoverse-n1",
    console="ttyAMA0",
    agent="ttyAMA1",
    # A sleeping port notices a new device by a wake-up event, which QEMU's ports do not send.
    parameters=("pcie_port_pm=off",),
)

ARCHES = {arch.name: arch for arch in (AMD64, ARM64)}


def of_machine():
    """The architecture of this machine; None if the table does not have it."""
    machine = platform.machine()
    return next((arch for arch in ARCHES.values() if arch.tools.startswith(f"{machine}-")), None)
