# SPDX-License-Identifier: GPL-2.0
"""Lock orders that are the kernel's own affair, and those that are not."""

import unittest

from iommu_core_tools import guest_log

_REPORT = """\
[   47.7] WARNING: possible circular locking dependency detected
[   47.7] irq/22-pciehp/44 is trying to acquire lock:
[   47.8] -> #1 ({lock}){{++++}}-{{4:4}}:
[   47.8] stack backtrace:
[   47.8]  kthread+0x100/0x130
[   47.9]  ret_from_fork+0x10/0x20
"""


class LockOrders(unittest.TestCase):
    def test_those_of_pciehp_are_not_taken_for_the_c_layers(self):
        self.assertFalse(guest_log.has_cycle_of_c_groups(_REPORT.format(lock="&ctrl->reset_lock")))

    def test_those_of_pciehp_are_known(self):
        self.assertEqual(guest_log.alarms("before\n" + _REPORT.format(lock="&ctrl->reset_lock") + "after\n"), [])

    def test_that_of_groups_and_the_hot_plug_of_processors_is_known(self):
        report = _REPORT.format(lock="&group->mutex") + _REPORT.format(lock="cpu_hotplug_lock")
        self.assertEqual(len(guest_log.alarms(report)), 2, "in one report")
        report = _REPORT.format(lock="&group->mutex){++++}-{4:4}:\n[   47.8] -> #0 (cpu_hotplug_lock")
        self.assertEqual(guest_log.alarms(report), [])
        self.assertTrue(guest_log.has_cycle_of_c_groups(report))

    def test_others_are_not(self):
        for lock in ("&group->mutex", "cpu_hotplug_lock"):
            report = _REPORT.format(lock=lock)
            self.assertEqual(len(guest_log.alarms(report)), 1, lock)
            self.assertFalse(guest_log.has_cycle_of_c_groups(report), lock)

    def test_what_comes_after_one_of_pciehp_counts(self):
        found = guest_log.alarms(_REPORT.format(lock="&ctrl->reset_lock") + "[   48.0] BUG: KASAN: use-after-free\n")
        self.assertEqual(len(found), 1)


if __name__ == "__main__":
    unittest.main()
