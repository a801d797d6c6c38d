# SPDX-License-Identifier: GPL-2.0
"""What QEMU's log says of interrupts."""

import unittest

from iommu_core_tools import viommu
from iommu_core_tools.interrupt_counts import sent

# The log's lines for a message that the unit lets pass.
_LEAVES = "apic_deliver_irq dest 1 dest_mode 0 delivery_mode 0 vector 32 trigger_mode 0\n"


def _amd(function):
    return f"amdvi_ir_remap_msi_req addr 0xfee00000 data 0x1 devid {function:#x}\n"


def _intel(source):
    # Above the source is the check of it.
    return f"vtd_ir_irte_get index 0 low {0x40000 | source:#x} high 0x2f0001\n"


def _arrives(count):
    return f"kvm_report_irq_delivered coalescing {count}\n"


def _sent(name, number, *lines):
    _, sender = viommu.get(name).sent_message
    return sent(lines, sender, number)


class Sent(unittest.TestCase):
    def test_messages_of_other_functions_do_not_count(self):
        lines = _amd(8), _LEAVES, _arrives(7), _amd(9), _LEAVES, _arrives(8)
        self.assertEqual(_sent("amdvi", 9, *lines), 1)

    def test_a_unit_that_names_the_bus_counts_by_device_and_function(self):
        lines = _intel(0x0809), _LEAVES, _arrives(7)
        self.assertEqual(_sent("vtd", 9, *lines), 1)
        self.assertEqual(_sent("vtd", 8, *lines), 0)

    def test_an_interrupt_that_was_pending_does_not_count_again(self):
        lines = _amd(0), _LEAVES, _arrives(7), _amd(0), _LEAVES, _arrives(7), _amd(0), _LEAVES, _arrives(8)
        self.assertEqual(_sent("amdvi", 0, *lines), 2)

    def test_what_other_processors_send_is_not_of_the_message_before(self):
        lines = _amd(0), _LEAVES, _arrives(7), _arrives(7), _arrives(8), _amd(0), _LEAVES, _arrives(9)
        self.assertEqual(_sent("amdvi", 0, *lines), 2)

    def test_a_message_that_no_processor_gets_counts(self):
        lines = _arrives(7), _amd(0), _arrives(7), _amd(0), _amd(0), _LEAVES, _arrives(8)
        self.assertEqual(_sent("amdvi", 0, *lines), 3)


if __name__ == "__main__":
    unittest.main()
