# SPDX-License-Identifier: GPL-2.0
"""A guest's console: everything that it prints goes to a log file at once."""

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
        """Writes something to the log that does not come from the guest."""
        with self._lock:
            if not self._log.closed:
                self._log.write(data)
                self._log.flush()

    def send(self, data):
        """Sends bytes to the guest, as a keyboard would."""
        self._socket.sendall(data)

    def close(self):
        """Closes the console after all earlier output is in the log."""
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
