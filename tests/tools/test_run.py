# SPDX-License-Identifier: GPL-2.0
"""Programs that the tools run: when these are interrupted, and which descriptors they inherit."""

import tempfile
import threading
import time
import unittest
from unittest import mock

from iommu_core_tools import run
from iommu_core_tools.errors import ToolError


class StopAll(unittest.TestCase):
    def test_other_threads_do_not_wait_on(self):
        ended = []
        process = run.Process(["sleep", "100"])
        thread = threading.Thread(target=lambda: ended.append(process.wait()))
        began = time.monotonic()
        # What it sets is put back.
        with mock.patch.object(run, "_is_over", False):
            thread.start()
            run.stop_all()
            thread.join()
            with self.assertRaisesRegex(ToolError, "interrupted"):
                run.run(["true"])
        self.assertLess(time.monotonic() - began, 50)
        self.assertFalse(ended[0])
        self.assertTrue(run.run(["true"]))


class Kept(unittest.TestCase):
    def test_numbers_of_one_digit_stay_free(self):
        with tempfile.NamedTemporaryFile() as file:
            with run.kept(file.fileno()):
                seen = self.descriptors(file.name)
            self.assertEqual(self.descriptors(file.name), [])
        self.assertEqual(len(seen), 1, seen)
        self.assertGreater(seen[0], 9)

    def descriptors(self, name):
        """The numbers under which a program that is started inherits a file."""
        lines = run.run(["ls", "-l", "/proc/self/fd"]).output.splitlines()
        return [int(line.split()[-3]) for line in lines if line.endswith(f" -> {name}")]
