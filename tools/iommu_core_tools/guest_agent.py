# SPDX-License-Identifier: GPL-2.0
"""The host's end of the socket to a guest's agent (tools/guest/agent): requests and replies."""

from .errors import ToolError

# The seconds that a reply may take after the request was stopped.
_GRACE = 15
_KILLED = 137


class AgentError(ToolError):
    """The agent no longer works: the guest hangs or has ended, or the reply is not one to the request."""


class Killed(ToolError):
    """The agent killed a request's command because its time was over. `output` is its output until then."""

    def __init__(self, output):
        super().__init__("killed")
        self.output = output


class Agent:
    """A client on a connected socket. It makes one request at a time. Time limits are by the guest's clock."""

    def __init__(self, sock, clock):
        self._socket = sock
        self._clock = clock
        self._id = 0
        self._buffer = b""

    def close(self):
        """Closes the socket. The guest then powers itself off."""
        self._socket.close()

    def wait_ready(self, timeout):
        """Waits until the agent runs."""
        deadline = self._clock.now() + timeout
        while self._read_line(deadline, "while it started") != "ready":
            pass

    def ask(self, verb, text, timeout):
        """Makes a request and returns its status and output. Stops it when its time is over."""
        self._id += 1
        what = f"{text!r}"
        escaped = text.replace("\\", "\\\\").replace("\n", "\\n")
        self._send(f"{verb} {escaped}", what)
        deadline = self._clock.now() + timeout
        if not self._has_line(deadline, f"during {what}"):
            self._send("stop", what)
            deadline = self._clock.now() + _GRACE
        words = self._read_line(deadline, f"during {what}").split()
        if len(words) != 4 or words[0] != "reply" or words[1] != str(self._id):
            raise AgentError(f"the guest's agent answered {' '.join(words)!r} during {what}")
        output = self._read_bytes(int(words[3]), deadline, f"during {what}").decode(errors="replace")
        if int(words[2]) == _KILLED:
            raise Killed(output)
        return int(words[2]), output

    def _send(self, request, what):
        try:
            self._socket.settimeout(_GRACE)
            self._socket.sendall(f"{self._id} {request}\n".encode())
        except OSError as error:
            raise AgentError(f"the guest ended before {what}") from error

    def _has_line(self, deadline, what):
        """Whether a line comes before the deadline."""
        while b"\n" not in self._buffer:
            if not self._receive(deadline, what):
                return False
        return True

    def _read_line(self, deadline, what):
        if not self._has_line(deadline, what):
            raise AgentError(f"the guest hangs {what}")
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line.decode(errors="replace").strip("\r\0")

    def _read_bytes(self, count, deadline, what):
        while len(self._buffer) < count:
            if not self._receive(deadline, what):
                raise AgentError(f"the guest hangs {what}")
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    def _receive(self, deadline, what):
        """Waits for data. False if the deadline comes first."""
        try:
            data = self._clock.receive(self._socket, deadline)
        except OSError as error:
            raise AgentError(f"the guest ended {what}") from error
        if data == b"":
            raise AgentError(f"the guest ended {what}")
        self._buffer += data or b""
        return data is not None
