# SPDX-License-Identifier: GPL-2.0
"""How often a guest is started when its boot ends by itself."""

import io
import pathlib
import tempfile
import unittest
from unittest import mock

from iommu_core_tools import guest
from iommu_core_tools.errors import ToolError
from iommu_core_tools.guest import Guest, GuestError
from iommu_core_tools.progress import Progress

_STALE = "Oops: int3: 0000 [#1] SMP\nCode: 53 66 <90> e8\n"
_PANIC = "Kernel panic - not syncing: VFS\n"


class Starts(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.out = io.StringIO()
        self.patch("log_dir", return_value=pathlib.Path(folder.name))
        self.patch("PROGRESS", Progress(self.out))

    def patch(self, name, *arguments, **options):
        patcher = mock.patch.object(guest, name, *arguments, **options)
        patcher.start()
        self.addCleanup(patcher.stop)

    def start(self, *ends):
        """Starts a guest whose first boots end with these words; the logs of all its boots."""
        logs = []

        class Ending(Guest):
            def _start(self):
                logs.append(self.log)
                if len(logs) <= len(ends):
                    self.log.write_text(ends[len(logs) - 1])
                    raise GuestError("the guest ended while it started")

        made = Ending(None, mock.Mock(), "/kernel", "/initramfs", "name", boot_timeout=1)
        try:
            made.start()
        except ToolError:
            logs.append(None)
        return logs

    def test_one_that_comes_up_is_started_once(self):
        self.assertEqual(len(self.start()), 1)
        self.assertEqual(self.out.getvalue(), "")

    def test_one_that_ran_code_of_before_is_started_again_and_that_is_said(self):
        first, second = self.start(_STALE)
        self.assertNotEqual(first, second, "each boot has its log")
        self.assertIn(str(first), self.out.getvalue())

    def test_one_that_does_so_twice_fails(self):
        self.assertEqual(self.start(_STALE, _STALE)[2:], [None])

    def test_one_that_ends_for_another_reason_fails_at_once(self):
        self.assertEqual(self.start(_PANIC)[1:], [None])


if __name__ == "__main__":
    unittest.main()
