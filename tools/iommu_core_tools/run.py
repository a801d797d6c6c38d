# SPDX-License-Identifier: GPL-2.0
"""Runs programs with a timeout, and passes their output to a log and, by lines, to a callback."""

import contextlib
import fcntl
import os
import signal
import subprocess
import threading
import time

from .errors import ToolError


# A shell knows only numbers of one digit, and programs such as mmdebstrap write scripts with the
# numbers of their own descriptors.
_FIRST_KEPT = 64

# All of these with the lock.
_kept = set()
_live = set()
_is_over = False
_cut = set()
_lock = threading.Lock()


def is_cut(log):
    """Whether a log file lacks output, because the disk was full."""
    return str(log) in _cut


@contextlib.contextmanager
def kept(descriptor):
    """Within this context, every program that is started inherits the descriptor, under a high number.

    So a file lock of a killed tool stays as long as a program that the tool started still runs.
    """
    high = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _FIRST_KEPT)
    with _lock:
        _kept.add(high)
    try:
        yield
    finally:
        with _lock:
            _kept.discard(high)
            os.close(high)


def stop_all():
    """Kills all running programs and prevents new ones, because this process is about to end.

    For threads that wait for such a program, the program fails.
    """
    global _is_over
    with _lock:
        _is_over = True
        live = list(_live)
    for process in live:
        process.kill()


class Result:
    """How a program ended: exit status (negative: the signal that killed it), output, and whether it timed out."""

    def __init__(self, status, output, timed_out, took):
        self.status = status
        self.output = output
        self.timed_out = timed_out
        self.took = took

    def __bool__(self):
        return self.status == 0 and not self.timed_out


class Process:
    """A started program whose output (standard output and error as one) is read line by line.

    The output is appended to the file `log` and passed, line by line, to `on_line`. After `timeout` seconds the program
    is killed. `stdin=True` makes a pipe for `send()`. `shown` is the command's name in the log.
    """

    def __init__(self, argv, *, cwd=None, env=None, log=None, on_line=None, timeout=None,
                 stdin=False, pass_fds=(), shown=None):
        # Unbuffered: what a full disk has refused is not written again when the file is closed.
        self._log = open(log, "ab", buffering=0) if log else None
        self._on_line = on_line
        self._lines = []
        self._on_end = []
        self.timed_out = False
        self._began = time.monotonic()
        if self._log:
            self._keep(f"$ {' '.join(map(str, shown or argv))}\n".encode())
        try:
            with _lock:
                if _is_over:
                    raise ToolError(f"{argv[0]} is not started: interrupted")
                self._process = subprocess.Popen(
                    [str(word) for word in argv],
                    cwd=cwd,
                    env=env,
                    stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=(*pass_fds, *_kept),
                )
                self.pid = self._process.pid
                _live.add(self)
        except FileNotFoundError as error:
            self._close_log()
            raise ToolError(f"{argv[0]} is not installed") from error
        except ToolError:
            self._close_log()
            raise
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._timer = None
        if timeout is not None:
            self._timer = threading.Timer(timeout, self._time_out)
            self._timer.daemon = True
            self._timer.start()

    def _read(self):
        for raw in self._process.stdout:
            self._keep(raw)
            line = raw.decode(errors="replace").rstrip("\r\n")
            self._lines.append(line)
            if self._on_line:
                self._on_line(line)

    def _keep(self, raw):
        try:
            if self._log:
                self._log.write(raw)
        except OSError:
            # A full disk costs the log only. The program would wait for ever if nobody read its
            # output.
            _cut.add(str(self._log.name))

    def _time_out(self):
        self.timed_out = True
        self.kill()

    def _close_log(self):
        if self._log:
            self._log.close()
            self._log = None

    def running(self):
        """Whether the program still runs."""
        return self._process.poll() is None

    def send(self, data):
        """Writes bytes to the program's standard input."""
        self._process.stdin.write(data)
        self._process.stdin.flush()

    def kill(self):
        """Kills the program and everything that it started in its session."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def on_end(self, call):
        """Calls `call` after `wait()` has seen the program end."""
        self._on_end.append(call)

    def wait(self):
        """Waits until the program ends and returns the `Result`."""
        try:
            status = self._process.wait()
            self._reader.join()
        except BaseException:
            self.kill()
            self._process.wait()
            raise
        finally:
            with _lock:
                _live.discard(self)
            if self._timer:
                self._timer.cancel()
            while self._on_end:
                self._on_end.pop()()
        self._close_log()
        took = time.monotonic() - self._began
        return Result(status, "\n".join(self._lines), self.timed_out, took)

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        if self.running():
            self.kill()
        self.wait()


def run(argv, **options):
    """Runs a program until it ends and returns the `Result`. The options are those of `Process`."""
    return Process(argv, **options).wait()
