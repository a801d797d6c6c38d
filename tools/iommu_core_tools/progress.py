# SPDX-License-Identifier: GPL-2.0
"""Writes a line for each step of the tools, with the time that it took.

On a terminal, the running steps share one line at the bottom, which is redrawn. Elsewhere (a log, CI) a long step
writes a line now and then to show that it still runs. Steps may run in several threads.
"""

import contextlib
import re
import shutil
import sys
import threading
import time

from .errors import ELSEWHERE, ToolError, last_lines
from .paths import cache_dir, free_bytes, log_dir
from .run import is_cut

# The interval of a running step's lines without a terminal: at first, and after a minute.
_HEARTBEAT = (20.0, 60.0)
# A disk with less space than this is full, for a build.
_LITTLE = 4 << 20


class Progress:
    """Writes step lines to `out`. A run has one such object, `PROGRESS`."""

    def __init__(self, out=None):
        self._out = out or sys.stdout
        self._tty = self._out.isatty()
        self._start = time.monotonic()
        self._lock = threading.RLock()
        self._running = []
        self._drawn = False

    def elapsed(self):
        """Seconds since the tools were started."""
        return time.monotonic() - self._start

    def line(self, text):
        """Writes a line with the time."""
        with self._lock:
            self._clear()
            self._write(f"[{self.elapsed():4.0f}s] {text}\n")
            self._draw()

    def plain(self, text=""):
        """Writes text unchanged (tables, output of programs)."""
        with self._lock:
            self._clear()
            self._write(text + "\n")
            self._draw()

    @contextlib.contextmanager
    def step(self, text):
        """Runs a step; the value is the `Step`. Writes a line when the step ends, also if it fails."""
        step = Step(self, text)
        with self._lock:
            self._running.append(step)
            self._draw()
        ticker = threading.Thread(target=step._tick, daemon=True)
        ticker.start()
        failed = True
        try:
            yield step
            failed = False
        finally:
            step._over.set()
            ticker.join()
            with self._lock:
                self._running.remove(step)
                took = time.monotonic() - step.began
                if failed:
                    self.line(f"{text}: FAILED after {took:.0f} s")
                elif step.outcome is not None:
                    self.line(f"{text} ... {step.outcome}")
                else:
                    self.line(f"{text} ... {took:.0f} s")

    def _write(self, text):
        self._out.write(text)
        self._out.flush()

    def _clear(self):
        if self._drawn:
            self._write("\r\x1b[K")
            self._drawn = False

    def _draw(self):
        if not self._tty:
            return
        self._clear()
        if self._running:
            text = "; ".join(str(step) for step in self._running)
            width = shutil.get_terminal_size().columns - 1
            self._write(f"[{self.elapsed():4.0f}s] {text}"[:width])
            self._drawn = True


class Step:
    """A running step, with its counter and its log file.

    If `watch` is set, it is called before the counter is shown, to update the counter.
    """

    def __init__(self, progress, text):
        self._progress = progress
        self._over = threading.Event()
        self.text = text
        self.began = time.monotonic()
        self.counter = ""
        self.outcome = None
        self.watch = None
        self._log = None

    def __str__(self):
        if self.watch:
            self.watch()
        return f"{self.text} ... {self.counter}".rstrip()

    def count(self, done, total=None, unit=""):
        """Sets the counter that is shown while the step runs."""
        self.counter = f"{done}/{total}{unit}" if total else f"{done}{unit}"

    def done(self, outcome):
        """Sets the end of the step's line, in place of the time."""
        self.outcome = outcome

    @property
    def log(self):
        """The path of this step's log file."""
        if self._log is None:
            name = "".join(c if c.isalnum() or c in "-." else "-" for c in self.text.lower())
            while "--" in name:
                name = name.replace("--", "-")
            stamp = time.strftime("%Y%m%d-%H%M%S")
            self._log = log_dir() / f"{stamp}-{name.strip('-')[:60]}.log"
        return self._log

    def fail(self, what, hint=None, *, shown=False):
        """The error to raise if this step has failed; it names the log.

        If a program said that the disk was full, or it still is, the error says that and not what came of it.
        """
        if self._no_space():
            what = f"no space left on the disk ({free_bytes(cache_dir()) >> 20} MB free in {cache_dir()}), so {what}"
            hint = f"free some space, or {ELSEWHERE}"
        return ToolError(what, log=self._log, hint=hint, shown=shown)

    def _no_space(self):
        said = bool(self._log) and is_cut(self._log)
        if self._log and not said:
            said = any(re.search("No space left on device|Disk quota exceeded|os error 28", line)
                       for line in last_lines(self._log, 200))  # fmt: skip
        return said or free_bytes(cache_dir()) < _LITTLE

    def _heartbeat(self):
        return _HEARTBEAT[time.monotonic() - self.began >= 59]

    def _tick(self):
        progress = self._progress
        while not self._over.wait(0.5 if progress._tty else self._heartbeat()):
            with progress._lock:
                if progress._tty:
                    progress._draw()
                elif not self._over.is_set():
                    progress.line(f"{self}")


PROGRESS = Progress()
