# SPDX-License-Identifier: GPL-2.0
"""Time limits of guests do not count the time that a guest waited for a processor."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import unittest

from iommu_core_tools.guest_clock import Clock

_BUSY = "while True: pass"
# The interpreter as a child, as QEMU is a child of the program that enters the root.
_CHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {_BUSY!r}])"
_SHARE = 4


class Clocks(unittest.TestCase):
    def start(self, script):
        """Starts a program that shares the first processor with all others of this test."""
        first = min(os.sched_getaffinity(0))
        process = subprocess.Popen(
            [sys.executable, "-c", script], start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, [first]),
        )  # fmt: skip
        self.addCleanup(process.wait)
        self.addCleanup(self.kill, process)
        return process

    def kill(self, process):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    def had(self, clock, seconds):
        """How many seconds a program had while `seconds` went by."""
        began, before = time.monotonic(), clock.now()
        time.sleep(seconds)
        return (clock.now() - before) * seconds / (time.monotonic() - began)

    def test_a_program_that_waits_for_a_processor_has_less_time(self):
        programs = [self.start(_CHILD if i == 0 else _BUSY) for i in range(_SHARE)]
        time.sleep(1)
        self.assertLess(self.had(Clock(programs[0].pid), 4), 4 * 2 / _SHARE)

    def test_a_program_that_needs_none_has_all_of_it(self):
        for _ in range(_SHARE):
            self.start(_BUSY)
        idle = self.start("import time; time.sleep(1000)")
        time.sleep(1)
        self.assertGreater(self.had(Clock(idle.pid), 2), 1.8)

    def test_a_program_that_has_ended_does_not_turn_the_time_back(self):
        programs = [self.start(_BUSY) for _ in range(_SHARE)]
        clock = Clock(programs[0].pid)
        time.sleep(2)
        began, before = time.monotonic(), clock.now()
        self.kill(programs[0])
        programs[0].wait()
        after = clock.now()
        self.assertGreaterEqual(after, before)
        self.assertLessEqual(after - before, time.monotonic() - began)

    def test_a_time_limit_ends_and_data_that_come_before_are_taken(self):
        clock = Clock()
        here, there = socket.socketpair()
        self.addCleanup(here.close)
        self.addCleanup(there.close)
        began = time.monotonic()
        self.assertIsNone(clock.receive(here, clock.now() + 1.5))
        self.assertGreaterEqual(time.monotonic() - began, 1.5)
        there.sendall(b"data")
        self.assertEqual(clock.receive(here, clock.now() + 1.5), b"data")
        there.close()
        self.assertEqual(clock.receive(here, clock.now() + 1.5), b"")

    def test_data_that_are_there_are_taken_although_the_time_is_over(self):
        here, there = socket.socketpair()
        self.addCleanup(here.close)
        self.addCleanup(there.close)
        clock = Clock()
        there.sendall(b"data")
        self.assertEqual(clock.receive(here, clock.now() - 1), b"data")
        self.assertIsNone(clock.receive(here, clock.now() - 1))

    def test_the_time_in_which_all_stood_still_does_not_count(self):
        script = ("import sys; from iommu_core_tools.guest_clock import Clock; clock = Clock(); "
                  "before = clock.now(); print(flush=True); clock.sleep(2); print(clock.now() - before)")  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        stopped = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment)
        self.addCleanup(stopped.stdout.close)
        self.addCleanup(stopped.wait)
        stopped.stdout.readline()
        time.sleep(0.5)
        stopped.send_signal(signal.SIGSTOP)
        time.sleep(5)
        stopped.send_signal(signal.SIGCONT)
        self.assertLess(float(stopped.stdout.readline()), 4)


if __name__ == "__main__":
    unittest.main()
