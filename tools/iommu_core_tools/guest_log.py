# SPDX-License-Identifier: GPL-2.0
"""What a kernel's log must not contain."""

import re

# Each starts a report by one of the kernel's own checkers, or is part of one.
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

# The words of some alarms also occur in the harmless lines in which a kernel lists what it can do.
_HARMLESS = re.compile(r"Lock dependency validator|lockdep is|Kernel command line:|kasan: Kernel")

_CYCLE = re.compile(r"^[^\n]*WARNING: possible circular locking.*?stack backtrace:.*?ret_from_fork[^\n]*\n", re.S | re.M)
# Locks that Linux 7.3 takes in orders of which one is wrong.
# A port that unplugs devices by itself (pciehp), which has nothing to do with units: it takes its
# lock and then that of hot-plug; a program that has VFIO reset a device, and a host bridge from a
# device tree that adds one, take them in the other order. With ACPI another driver unplugs.
_CYCLE_OF_PCIEHP = ("(&ctrl->reset_lock)",)
# The group's lock of the C layer, on arm64: it is taken when an interrupt is allocated, which
# virtio-net does under the lock of CPU hot-plug; the DMA API takes these two in the other order
# when a group gets its domain. The core has no lock of this name.
_CYCLE_OF_C_GROUPS = ("(&group->mutex)", "(cpu_hotplug_lock)")

# A breakpoint that the kernel knows nothing of, and what memory has where it was: the byte before
# the mark.
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
    """Whether lockdep has turned itself off over a lock that only the C layer's groups have."""
    return any(_is_about(_CYCLE_OF_C_GROUPS, report) for report in _CYCLE.findall(text))


def is_of_stale_translation(text):
    """Whether the kernel has ended by a defect of the emulator's: it ran a breakpoint that was gone.

    A kernel patches its static keys by way of a breakpoint (int3). When a processor overwrites
    code, QEMU first drops what was translated of it and then stores (notdirty_write() in
    accel/tcg/cputlb.c), with no lock over both: what another processor translates in between is of
    the old bytes, and stays. The breakpoint is then met when nobody expects it any more. The
    report gives it away: it shows the memory, and there is no breakpoint (0xcc) in it.
    """
    found = _INT3.search(text)
    return found is not None and found[1] != "cc"


def _unless_known(report):
    known = _is_about(_CYCLE_OF_PCIEHP, report[0]) or _is_about(_CYCLE_OF_C_GROUPS, report[0])
    return "" if known else report[0]


def _is_about(locks, report):
    return all(lock in report for lock in locks)
