# SPDX-License-Identifier: GPL-2.0
"""The QEMU machine protocol: commands, their answers, and the events between them."""

import json

from .errors import ToolError


class QmpError(ToolError):
    """QEMU refused a command, or no longer answers."""


class Qmp:
    """A client on a connected socket. Runs one command at a time, and keeps events until `wait_event()` takes them.

    Time limits are by the guest's `clock`. Errors show the guest's `log`.
    """

    def __init__(self, sock, clock, timeout=30.0, log=None):
        self._socket = sock
        self._clock = clock
        self._timeout = timeout
        self._log = log
        self._buffer = b""
        self._events = []
        greeting = self._receive(self._clock.now() + timeout, "greeting")
        if "QMP" not in greeting:
            raise QmpError(f"unexpected greeting {greeting}")
        self.execute("qmp_capabilities")

    def execute(self, command, **arguments):
        """Runs a command and returns its result."""
        message = {"execute": command}
        if arguments:
            message["arguments"] = arguments
        self._send(message)
        deadline = self._clock.now() + self._timeout
        while True:
            answer = self._receive(deadline, f"answer to {command}")
            if "event" in answer:
                self._events.append(answer)
            elif "error" in answer:
                raise QmpError(f"{command}: {answer['error'].get('desc')}")
            else:
                return answer.get("return")

    def monitor(self, line):
        """Runs a command of the human monitor (`info pci`, `xp ...`) and returns its text."""
        return self.execute("human-monitor-command", **{"command-line": line})

    def wait_event(self, name, timeout, accept=lambda data: True):
        """The data of the next event `name` that `accept` takes. Events that have come before the call count too."""
        deadline = self._clock.now() + timeout
        while True:
            for event in self._events:
                if event["event"] == name and accept(event.get("data", {})):
                    self._events.remove(event)
                    return event.get("data", {})
            answer = self._receive(deadline, f"event {name}")
            if "event" in answer:
                self._events.append(answer)

    def close(self):
        """Closes the connection."""
        self._socket.close()

    def _send(self, message):
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\r\n")
        except OSError as error:
            raise QmpError(f"QEMU is gone: {error}", log=self._log) from error

    def _receive(self, deadline, what):
        while b"\n" not in self._buffer:
            try:
                data = self._clock.receive(self._socket, deadline)
            except OSError as error:
                raise QmpError(f"QEMU is gone: {error}", log=self._log) from error
            if data is None:
                raise QmpError(f"no {what} comes from QEMU", log=self._log)
            if not data:
                raise QmpError("QEMU is gone", log=self._log)
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        return json.loads(line)
