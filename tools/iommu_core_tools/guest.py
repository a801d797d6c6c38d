# SPDX-License-Identifier: GPL-2.0
"""A running guest: starts QEMU in the root, runs commands in the guest, and watches the guest's log.

Three sockets connect the tools with a guest:

- the console, whose output goes to a log file;
- the agent, which runs shell commands (see guest_agent.py);
- QMP.

QEMU inherits the sockets, so guests share no paths and no ports.
"""

import contextlib
import socket
import time

from . import cache, guest_log
from .errors import ToolError, last_lines
from .guest_agent import Agent, AgentError, Killed
from .guest_clock import Clock
from .guest_console import Console
from .paths import log_dir
from .progress import PROGRESS
from .qmp import Qmp, QmpError


class GuestError(ToolError):
    """The guest ended, hangs, or did something wrong."""


class CommandError(GuestError):
    """A command in the guest ended with a status other than 0."""

    def __init__(self, command, status, output, log):
        text = output.strip() or "(no output)"
        super().__init__(f"in the guest: {command!r} ended with status {status}: {text}", log=log)
        self.status = status
        self.output = output


class Guest:
    """A guest, as a context manager: it runs inside the `with` block and is killed at its end."""

    def __init__(self, root, machine, kernel, initramfs, name, *, boot_timeout):
        self._root = root
        self._machine = machine
        self._kernel = kernel
        self._initramfs = initramfs
        self._boot_timeout = boot_timeout
        self._process = None
        self._agent = None
        self._console = None
        self._cleanup = contextlib.ExitStack()
        self._folder = None
        self.name = name
        self.qmp = None
        self.clock = Clock()
        self.log = _log_of(name)
        self.viommu = machine.viommu

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_exception):
        self.stop()

    def start(self):
        """Starts QEMU and waits until the agent answers.

        If a known defect of QEMU ends the boot, starts QEMU once more.
        """
        try:
            self._start()
        except GuestError:
            if not guest_log.is_of_stale_translation(self.said()):
                raise
            PROGRESS.line(
                f"guest {self.name}: QEMU ran code that had been overwritten; starting the guest again (log: {self.log})"
            )
            self.stop()
            self.log = _log_of(f"{self.name}-again")
            self._start()

    def _start(self):
        self._folder = self._cleanup.enter_context(cache.scratch("guest"))
        console, console_inside = socket.socketpair()
        agent, agent_inside = socket.socketpair()
        qmp, qmp_inside = socket.socketpair()
        inside = (console_inside, agent_inside, qmp_inside)
        command = self._machine.command(self._folder, self._kernel, self._initramfs)
        for name, end in zip(("console", "agent", "qmp"), inside):
            command += ["-chardev", f"socket,id={name},fd={end.fileno()}"]
        command += ["-serial", "chardev:console", "-serial", "chardev:agent",
                    "-mon", "chardev=qmp,mode=control"]  # fmt: skip
        self._console = Console(console, self.log, command)
        self._process = self._root.start(
            command,
            on_line=lambda line: self._console.note(f"qemu: {line}\n".encode()),
            pass_fds=[end.fileno() for end in inside],
        )
        for end in inside:
            end.close()
        self.clock = Clock(self._process.pid)
        self._agent = Agent(agent, self.clock)
        try:
            self.qmp = Qmp(qmp, self.clock, log=self.log)
        except QmpError as error:
            raise self._dead("QEMU does not start") from error
        try:
            self._agent.wait_ready(self._boot_timeout)
        except AgentError as error:
            raise self._dead(error.what) from error

    def stop(self):
        """Ends the guest, in any state."""
        if self.qmp:
            self.qmp.close()
            self.qmp = None
        if self._agent:
            self._agent.close()
            self._agent = None
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._console:
            self._console.close()
            self._console = None
        self._cleanup.close()
        self._folder = None

    def run(self, command, timeout=30, check=True):
        """Runs a shell command and returns its output. With `check`, raises if the status is not 0."""
        status, output = self.status(command, timeout)
        if check and status:
            raise CommandError(command, status, output, self.log)
        return output

    def status(self, command, timeout=30):
        """Runs a shell command and returns its exit status and output."""
        return self.ask("sh", command.strip(), timeout)

    def ask(self, verb, text, timeout=30):
        """Sends a request to the agent and returns its status and output."""
        try:
            return self._agent.ask(verb, text, timeout)
        except Killed as error:
            raise CommandError(text, "137 (killed)", error.output, self.log) from error
        except AgentError as error:
            raise self._dead(error.what) from error

    def works(self, command, timeout=30):
        """Whether a shell command ends with status 0."""
        return self.status(command, timeout)[0] == 0

    def wait_for(self, command, timeout=30):
        """Runs a command again and again until it succeeds. False if it does not within `timeout` seconds."""
        return self.comes_true(lambda: self.works(command), timeout)

    def comes_true(self, call, timeout):
        """Calls `call` until it returns true. False if it does not within `timeout` seconds."""
        deadline = self.clock.now() + timeout
        while self.clock.now() < deadline:
            if call():
                return True
            self.clock.sleep(0.2)
        return False

    def wait_for_next_kernel(self, timeout=None):
        """Waits until the agent answers that the next kernel has started, which kexec has booted."""
        try:
            self._agent.wait_ready(timeout or self._boot_timeout)
        except AgentError as error:
            raise self._dead(error.what) from error

    def mark(self):
        """Writes a line to the kernel's log. Returns the line, as the `since` of `kernel_log()`."""
        text = f"guest: mark {time.monotonic_ns()}"
        self.run(f"echo '{text}' >/dev/kmsg")
        return text

    def kernel_log(self, since=None):
        """The kernel's log as text: all of it, or what follows a mark."""
        if since is None:
            return self.run("dmesg")
        return self.run(f"dmesg | sed '1,/{since}/d'")

    def said(self):
        """Everything that the console has printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def alarms(self, allowed=()):
        """The lines with which the kernel has reported defects so far."""
        return guest_log.alarms(self.said(), allowed)

    def running(self):
        """Whether QEMU still runs."""
        return self._process is not None and self._process.running()

    def type(self, data):
        """Sends bytes to the console, as a keyboard would."""
        self._console.send(data)

    def watch_console(self, function):
        """Also calls `function` with everything that the console prints from now on."""
        self._console.watch = function

    def disk_image(self, name):
        """The file on the host that holds a disk's content."""
        return self._folder / f"{name}.img"

    def trace_file(self):
        """A file on the host to which QEMU can write what it logs."""
        return self._folder / "trace"

    def _dead(self, what):
        """The error for a guest that no longer works. It has an alarm or the last line of the log."""
        # The console's last output may not be in the log yet.
        time.sleep(0.5)
        found = guest_log.alarms(self.said()) if self.log.exists() else []
        if found:
            what = f"{what}: {found[0].strip()}"
        elif tail := last_lines(self.log, 1):
            what = f"{what}; the last line of its log: {tail[0]}"
        return GuestError(f"guest {self.name}: {what}", log=self.log)


def _log_of(name):
    return log_dir() / f"{time.strftime('%Y%m%d-%H%M%S')}-guest-{name}.log"
