# SPDX-License-Identifier: GPL-2.0
"""What in a kernel's log is not an affair of ours, and what is."""

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

_INT3 = """\
[    3.48] Oops: int3: 0000 [#1] SMP NOPTI
[    3.48] CPU: 1 UID: 0 PID: 0 Comm: swapper/1 Not tainted
[    3.49] RIP: 0010:sched_clock_cpu+0x9/0x1f0
[    3.49] Code: f3 0f 1e fa 41 54 55 53 {byte} <90> e8 f1 2e ed ff 48 03 05
[    3.49] RSP: 0018:ff71952f800f4fc0 EFLAGS: 00000006
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


class StaleTranslations(unittest.TestCase):
    def test_a_breakpoint_that_is_not_in_memory_is_one(self):
        self.assertTrue(guest_log.is_of_stale_translation("before\n" + _INT3.format(byte="66")))

    def test_one_that_is_in_memory_is_the_kernels_own(self):
        self.assertFalse(guest_log.is_of_stale_translation(_INT3.format(byte="cc")))

    def test_a_second_report_does_not_change_what_the_first_says(self):
        text = _INT3.format(byte="cc") + _INT3.format(byte="66")
        self.assertFalse(guest_log.is_of_stale_translation(text))

    def test_other_ends_are_none(self):
        text = _INT3.format(byte="66").replace("int3: 0000", "0002")
        self.assertFalse(guest_log.is_of_stale_translation(text))

    def test_it_is_an_alarm_all_the_same(self):
        self.assertEqual(len(guest_log.alarms(_INT3.format(byte="66"))), 1)


if __name__ == "__main__":
    unittest.main()
