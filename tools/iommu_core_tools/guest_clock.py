# SPDX-License-Identifier: GPL-2.0
"""The time that a guest has had.

Each of a guest's processors is a thread of QEMU. While such a thread could run but waits for a processor of this
machine, the guest stands still, though the time of day goes on. A guest on a busy machine is therefore slow, not
faulty. So the time that its slowest thread has waited does not count when a time limit is for a guest. Nor does the
time by which these tools themselves are woken up too late: this machine stood still, and the guest with it.
"""

import contextlib
import pathlib
import socket
import time

_PROC = pathlib.Path("/proc")
# The seconds that waking up takes on a machine that does not stand still.
_LATE = 0.5


class Clock:
    """The seconds that a process, with everything that it has started, had or did not need."""

    def __init__(self, pid=None):
        self._pid = pid
        self._waited = 0.0
        self._late = 0.0

    def now(self):
        """The time: like `time.monotonic()`, less what the guest stood still."""
        if self._pid is not None:
            # A process that has ended takes its figures along.
            self._waited = max([self._waited, *_waits(self._pid)])
        return time.monotonic() - self._waited - self._late

    def receive(self, sock, deadline):
        """What a socket receives; `None` if the deadline, a time of this clock, comes first. Raises `OSError`."""
        while True:
            left = max(deadline - self.now(), 0.0)
            # The others may need the processors meanwhile, which moves the deadline.
            sock.settimeout(min(left, 1.0))
            with self._at_most(min(left, 1.0)), contextlib.suppress(socket.timeout, BlockingIOError):
                return sock.recv(65536)
            if not left:
                return None

    def sleep(self, seconds):
        """Sleeps."""
        with self._at_most(seconds):
            time.sleep(seconds)

    @contextlib.contextmanager
    def _at_most(self, seconds):
        """What the block, which sleeps for at most `seconds`, lasts beyond that does not count."""
        end = self.now() + seconds
        yield
        late = self.now() - end
        if late > _LATE:
            self._late += late


def _waits(pid):
    """How many seconds each thread of a process, and of its descendants, has waited for a processor."""
    for task in _tasks(pid):
        try:
            # The kernel's Documentation/scheduler/sched-stats.rst: ns on a processor, ns in the
            # queue of one.
            yield int((task / "schedstat").read_text().split()[1]) / 1e9
            children = (task / "children").read_text().split()
        except (OSError, IndexError):
            # The thread has ended, or the kernel does not count.
            continue
        for child in children:
            yield from _waits(int(child))


def _tasks(pid):
    try:
        return list((_PROC / str(pid) / "task").iterdir())
    except OSError:
        return []
