# SPDX-License-Identifier: GPL-2.0
"""Entries of the cache: made once, whole or not at all, also when killed or made by two at once."""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from unittest import mock

from iommu_core_tools import cache, run
from iommu_core_tools.paths import TOOLS

# Makes an entry: notes that it began, waits for a file to appear, fills the entry.
_MAKER = """
import pathlib, sys, time
sys.path.insert(0, sys.argv[1])
from iommu_core_tools import cache, run
base = pathlib.Path(sys.argv[2])
def make(folder):
    with open(base / "began", "a") as file:
        file.write("x")
    (folder / "half").write_text("half")
    {more}
    while not (base / "go").exists():
        time.sleep(0.02)
    (folder / "whole").write_text("whole")
print(cache.entry("thing", "key", make))
"""


class Cache(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.base = pathlib.Path(folder.name)
        patch = mock.patch.dict(os.environ, {"XDG_CACHE_HOME": str(self.base)})
        patch.start()
        self.addCleanup(patch.stop)
        patch = mock.patch.dict(cache._in_use, clear=True)
        patch.start()
        self.addCleanup(patch.stop)

    def start(self, more="pass"):
        argv = [sys.executable, "-B", "-c", _MAKER.format(more=more), str(TOOLS), str(self.base)]
        maker = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        self.addCleanup(maker.stdout.close)
        return maker

    def wait_for(self, condition):
        end = time.monotonic() + 20
        while not condition():
            self.assertLess(time.monotonic(), end, "took too long")
            time.sleep(0.02)

    def began(self):
        path = self.base / "began"
        return len(path.read_text()) if path.exists() else 0

    def test_made_once(self):
        made = []
        for _ in range(2):
            folder = cache.entry("thing", "key", made.append)
        self.assertEqual(made, [folder])
        self.assertEqual(cache.find("thing", "key"), folder)
        self.assertIsNone(cache.find("thing", "other"))

    def test_failure_leaves_nothing(self):
        def make(folder):
            (folder / "half").touch()
            raise ValueError

        with self.assertRaises(ValueError):
            cache.entry("thing", "key", make)
        self.assertIsNone(cache.find("thing", "key"))
        self.assertEqual([name for name, _ in cache.entries()], [])

    def test_killed_in_the_middle(self):
        maker = self.start()
        self.wait_for(self.began)
        maker.send_signal(signal.SIGKILL)
        maker.wait()
        self.assertIsNone(cache.find("thing", "key"))
        seen = []
        folder = cache.entry("thing", "key", lambda folder: seen.extend(folder.iterdir()))
        self.assertEqual(seen, [], "what the killed one left is gone")
        self.assertTrue((folder / ".complete").exists())

    def test_killed_while_a_program_of_its_runs(self):
        maker = self.start("run.run(['sh', '-c', f'sleep 1; touch {base}/late'])")
        self.wait_for(self.began)
        time.sleep(0.3)
        maker.send_signal(signal.SIGKILL)
        maker.wait()
        late = []
        cache.entry("thing", "key", lambda _folder: late.append((self.base / "late").exists()))
        self.assertEqual(late, [True], "waited for what the killed one had started")

    def test_two_at_once(self):
        makers = [self.start(), self.start()]
        self.wait_for(self.began)
        time.sleep(0.3)
        (self.base / "go").touch()
        places = [maker.communicate()[0].splitlines()[-1] for maker in makers]
        self.assertEqual([maker.returncode for maker in makers], [0, 0])
        self.assertEqual(places[0], places[1])
        self.assertEqual(self.began(), 1, "made by one, waited for by the other")
        self.assertEqual((pathlib.Path(places[0]) / "whole").read_text(), "whole")

    def test_clean_leaves_what_is_made(self):
        maker = self.start()
        self.wait_for(self.began)
        gone, left = cache.clean()
        self.assertEqual((gone, left), ([], ["thing-key"]))
        (self.base / "go").touch()
        maker.communicate()
        gone, left = cache.clean()
        self.assertEqual((gone, left), (["thing-key"], []))

    def test_clean_leaves_what_is_used(self):
        cache.entry("thing", "key", lambda folder: None)
        self.assertEqual(cache.clean(), ([], ["thing-key"]))

    def test_clean_leaves_what_is_shared(self):
        cache.shared("compiled")
        self.assertEqual(cache.clean(), ([], ["compiled"]))

    def test_prune_keeps_the_newest_and_those_in_use(self):
        for number in range(4):
            folder = cache.entry("thing", f"{number}", lambda folder: None)
            os.utime(folder / ".complete", (number, number))
        used = cache._in_use.copy()
        for number in (1, 2, 3):
            used[f"thing-{number}"].close()
        cache.prune("thing", 1)
        self.assertEqual([name for name, _ in cache.entries()], ["thing-0", "thing-3"])

    def test_prune_leaves_names_alone_that_begin_with_the_same_word(self):
        for name in ("thing-key", "thing-other-key"):
            cache.entry(*name.rsplit("-", 1), lambda folder: None)
            cache._in_use[name].close()
        cache.prune("thing", 0)
        self.assertEqual([name for name, _ in cache.entries()], ["thing-other-key"])

    def test_scratch_is_gone_afterwards_and_after_a_kill(self):
        left = cache.cache_dir() / "thing-scratch-left"
        left.mkdir()
        with cache.scratch("thing") as folder:
            self.assertEqual(cache.clean(), ([], [folder.name]))
            with cache.scratch("thing"):
                self.assertTrue(folder.exists(), "the other run's stays")
        self.assertEqual(list(cache.entries()), [])

    def test_a_program_that_starts_while_scratch_is_made_does_not_hold_up_others(self):
        seen = []

        def use(folder):
            # As another thread may.
            seen.append(run.run(["ls", "-l", "/proc/self/fd"]).output)
            return real(folder)

        real = cache._use
        with mock.patch.object(cache, "_use", use), cache.scratch("thing"):
            pass
        self.assertEqual(len(seen), 1)
        self.assertNotIn("locks/scratch", seen[0])
        # Programs hold the lock of what they make, also when the tool is killed.
        with cache.locked("thing"):
            self.assertIn("locks/thing", run.run(["ls", "-l", "/proc/self/fd"]).output)

    def test_clean_of_nothing_removes_nothing(self):
        (cache.cache_dir() / "thing-key").mkdir()
        self.assertEqual(cache.clean([]), ([], []))
        with cache.scratch("other"):
            pass
        cache.prune("other", 1)
        self.assertEqual([name for name, _ in cache.entries()], ["thing-key"])

    def test_keys_tell_inputs_apart(self):
        self.assertEqual(cache.key_of(a=1, b=[2]), cache.key_of(b=[2], a=1))
        self.assertNotEqual(cache.key_of(a=1), cache.key_of(a=2))

    def test_read_only_folders_are_removed(self):
        folder = self.base / "tree/in/side"
        folder.mkdir(parents=True)
        (folder / "file").touch()
        folder.chmod(0o500)
        cache.remove_tree(self.base / "tree")
        self.assertFalse((self.base / "tree").exists())


if __name__ == "__main__":
    unittest.main()
