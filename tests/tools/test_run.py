# SPDX-License-Identifier: GPL-2.0
"""Programs that the tools run, when these are interrupted."""

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
