# SPDX-License-Identifier: GPL-2.0
"""Counts the interrupts of devices on both sides: the messages that they send, and the handlers that run.

QEMU says which function has sent a message that the unit remaps, and whether that interrupt was pending already at
the processor, which then makes one of both. AMD's unit says it without the bus, so all devices with one number of
device and function count together.
"""

import math
import re

_DEVICES = "/sys/bus/pci/devices"
_TRACE = "/sys/kernel/tracing"
# The kernel's histogram of handlers, by their names: their numbers change when a driver resumes.
# /proc/interrupts lacks those that arrive while one of the same number is handled elsewhere.
_HANDLED = f"{_TRACE}/events/irq/irq_handler_entry"
_TRIGGER = "hist:keys=name"
# QEMU's event for a message that leaves the unit, and the one for an interrupt that a processor
# gets, from wherever. The number of the latter counts those that were not pending.
_LEAVES, _ARRIVES = "apic_deliver_irq", "kvm_report_irq_delivered"
_ARRIVAL = re.compile(rf"{_ARRIVES} coalescing (\d+)")
# How often both sides are compared.
_TRIES = 60


class Counts:
    """The counts of the device at an address, from now on."""

    def __init__(self, guest, address):
        self._guest = guest
        self._function = address.split(":")[2]
        device, function = self._function.split(".")
        self._number = int(device, 16) << 3 | int(function)
        self._event, self._sender = guest.viommu.sent_message
        guest.run(f"mountpoint -q {_TRACE} || mount -t tracefs tracefs {_TRACE}; "
                  f"echo {_TRIGGER} >{_HANDLED}/trigger")  # fmt: skip
        self._trace = guest.trace_file()
        self._trace.unlink(missing_ok=True)
        guest.qmp.monitor(f"logfile {self._trace}")
        for event in (self._event, _LEAVES, _ARRIVES):
            guest.qmp.monitor(f"log trace:{event}")
        self._names = set()
        self._missed, self._first = self._missing(), self._sent()

    def end(self):
        """(interrupts that were sent, handlers that have run) since the start. Counts no more."""
        missed, count = self._missing() - self._missed, self._sent() - self._first
        for event in (self._event, _LEAVES, _ARRIVES):
            self._guest.qmp.monitor(f"trace-event {event} off")
        self._guest.qmp.monitor("log none")
        self._guest.run(f"echo '!{_TRIGGER}' >{_HANDLED}/trigger")
        return count, count - missed

    def _missing(self):
        """How many more messages were sent than handlers have run so far, though further ones come all the time.

        Between two counts of the messages lies one of the handlers. What was sent before the first has arrived by
        then, and what was sent after the second has not.
        """
        low, high = -math.inf, math.inf
        for _ in range(_TRIES):
            before = self._sent()
            self._guest.run("sleep 0.2")
            handled = self._handled()
            low, high = max(low, before - handled), min(high, self._sent() - handled)
            if low == high:
                return low
            if low > high:
                # One took longer to arrive.
                low, high = -math.inf, math.inf
        raise AssertionError(f"functions {self._function} send interrupts all the time")

    def _sent(self):
        with self._trace.open(encoding="utf-8") as lines:
            return sent(lines, self._sender, self._number)

    def _handled(self):
        found = self._guest.run(f"for number in $(ls {_DEVICES}/*:{self._function}/msi_irqs 2>/dev/null | grep -v :); do "
                                "cat /sys/kernel/irq/$number/actions; done")  # fmt: skip
        self._names.update(name for line in found.split() for name in line.split(","))
        seen = self._guest.run(f"cat {_HANDLED}/hist")
        counts = dict(re.findall(r"^{ name: (\S+) +} hitcount: +(\d+)$", seen, re.M))
        return sum(int(counts.get(name, 0)) for name in self._names)


def sent(lines, sender, number):
    """How many interrupts the functions with a number have sent, by QEMU's log.

    `sender` is the pattern of `Viommu.sent_message`. A message that no processor got counts. One whose interrupt was
    pending already does not.
    """
    # QEMU handles one message at a time.
    found, delivered, leaves, is_ours = 0, None, False, False
    for line in lines:
        if message := re.match(sender, line):
            is_ours, leaves = int(message[1], 16) & 0xFF == number, False
            found += is_ours
        elif line.startswith(_LEAVES):
            leaves = True
        elif arrival := _ARRIVAL.match(line):
            if is_ours and leaves and arrival[1] == delivered:
                found -= 1
            delivered, is_ours = arrival[1], False
    return found
