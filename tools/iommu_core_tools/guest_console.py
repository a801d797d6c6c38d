# SPDX-License-Identifier: GPL-2.0
"""A guest's console: everything that it says goes to a log file as it comes."""

import shlex
import threading


class Console:
    """Reads a connected socket until it ends. `watch` gets the same bytes as the log file."""

    def __init__(self, sock, path, command):
        self._socket = sock
        self._lock = threading.Lock()
        self._log = open(path, "ab")  # closed by close()
        self.watch = None
        self.note(f"$ {shlex.join(command)}\n".encode())
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def note(self, data):
        """Writes something to the log that the guest did not say."""
        with self._lock:
            if not self._log.closed:
                self._log.write(data)
                self._log.flush()

    def send(self, data):
        """Types bytes."""
        self._socket.sendall(data)

    def close(self):
        """Ends it, with all that was said before in the log."""
        self._reader.join(2)
        self._socket.close()
        with self._lock:
            self._log.close()

    def _read(self):
        while True:
            try:
                data = self._socket.recv(65536)
            except OSError:
                return
            if not data:
                return
            self.note(data)
            if self.watch:
                self.watch(data)
