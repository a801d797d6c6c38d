# SPDX-License-Identifier: GPL-2.0
"""Finds the lines of a kernel's log that report a defect."""

import re

# Each pattern matches the first line, or another line, of a report by one of the kernel's checkers.
_ALARMS = re.compile(
    r"""
    \bWARNING:\ (?!\[)              # WARN(), lockdep ("WARNING: possible ...")
    | \bBUG: | \bkernel\ BUG\ at
    | \bOops\b | general\ protection\ fault
    | Kernel\ panic
    | \bCall\ Trace:
    | INFO:\ possible | \blockdep\b.*\bturning\ off | possible\ recursive\ locking
    | \bKASAN:
    | kmemleak:\ \d+\ new\ suspected
    | blocked\ for\ more\ than
    | \bsoft\ lockup\b | \bhard\ LOCKUP\b | rcu:\ INFO:.*\bstall
    | \bUBSAN:
    | refcount_t: | list_(?:add|del)\ corruption
    | scheduling\ while\ atomic | sleeping\ function\ called
    | iommu_core.*\bpanicked\b | rust_kernel:\ panicked
    """,
    re.VERBOSE,
)

# Harmless lines that list features or parameters of the kernel, and have the words of an alarm.
_HARMLESS = re.compile(r"Lock dependency validator|lockdep is|Kernel command line:|kasan: Kernel")

_CYCLE = re.compile(r"^[^\n]*WARNING: possible circular locking.*?stack backtrace:.*?ret_from_fork[^\n]*\n", re.S | re.M)
# Locks that Linux 7.3 takes in two orders. lockdep reports such a pair.
#
# The port driver pciehp takes its reset lock, and then the lock of PCI hot-plug. VFIO's reset of a
# device, and a host bridge from a device tree that adds a device, take them in the other order. No
# unit takes part. With ACPI another driver unplugs devices.
_CYCLE_OF_PCIEHP = ("(&ctrl->reset_lock)",)
# The C layer's lock of a group, on arm64. virtio-net allocates interrupts under the lock of CPU
# hot-plug, and an allocation takes the group's lock. When a group gets its domain, the DMA API
# takes the two locks in the other order. The core has no lock of this name.
_CYCLE_OF_C_GROUPS = ("(&group->mutex)", "(cpu_hotplug_lock)")

# The report of a breakpoint that the kernel did not set. The byte before the mark "<" is what
# memory has at the breakpoint's address.
_INT3 = re.compile(r"\bOops: int3:.*?\bCode:(?: [0-9a-f]{2})* ([0-9a-f]{2}) <", re.S)


def alarms(text, allowed=()):
    """The lines of a kernel's log that report a defect, except those that match `allowed`."""
    text = _CYCLE.sub(_unless_known, text)
    allow = [re.compile(pattern) for pattern in allowed]
    return [
        line
        for line in text.splitlines()
        if _ALARMS.search(line)
        and not _HARMLESS.search(line)
        and not any(pattern.search(line) for pattern in allow)
    ]


def has_cycle_of_c_groups(text):
    """Whether lockdep has turned itself off because of a lock that only the C layer's groups have."""
    return any(_is_about(_CYCLE_OF_C_GROUPS, report) for report in _CYCLE.findall(text))


def is_of_stale_translation(text):
    """Whether a defect of QEMU has ended the kernel: a processor ran a breakpoint that was already removed.

    The kernel patches its static keys with the help of a breakpoint (int3). When a processor overwrites code,
    QEMU first drops its translation of the old code, and then stores the new bytes (notdirty_write() in
    accel/tcg/cputlb.c). No lock covers both steps. If another processor translates the code in between, QEMU
    keeps a translation of the old bytes. This processor then runs the breakpoint after the kernel has removed it.
    The kernel's report shows such a case: the bytes in memory that it prints have no breakpoint (0xcc).
    """
    found = _INT3.search(text)
    return found is not None and found[1] != "cc"


def _unless_known(report):
    known = _is_about(_CYCLE_OF_PCIEHP, report[0]) or _is_about(_CYCLE_OF_C_GROUPS, report[0])
    return "" if known else report[0]


def _is_about(locks, report):
    return all(lock in report for lock in locks)
