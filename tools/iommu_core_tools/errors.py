# SPDX-License-Identifier: GPL-2.0
"""The only failure that users see without a Python trace."""

import errno
import os

class ToolError(Exception):
    """A failure that the user can understand: what failed, why, and the next step.

    `log` is the file with the whole output. Its last lines are shown with the message, unless `shown` says that the
    relevant lines were shown before.
    """

    def __init__(self, what, *, log=None, hint=None, shown=False):
        super().__init__(what)
        self.what = what
        self.log = log
        self.hint = hint
        self.shown = shown


# What to do if the disk with the cache is full or cannot be written.
ELSEWHERE = "put the cache elsewhere: XDG_CACHE_HOME=<folder>"

_OF_THE_DISK = {
    errno.ENOSPC: f"free some space, or {ELSEWHERE}",
    errno.EDQUOT: f"free some space, or {ELSEWHERE}",
    errno.EROFS: ELSEWHERE,
    errno.EACCES: f"make it writable for you, or {ELSEWHERE}",
    errno.EPERM: f"make it writable for you, or {ELSEWHERE}",
    errno.EIO: ELSEWHERE,
}


def of_system(error):
    """The ToolError for an OSError that is about the disk and not about the tools; otherwise None."""
    if error.errno not in _OF_THE_DISK or error.filename is None and error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    where = f"{error.filename}: " if error.filename is not None else ""
    return ToolError(f"{where}{os.strerror(error.errno)}", hint=_OF_THE_DISK[error.errno])


def last_lines(path, count=15):
    """The last `count` lines of a log; an empty list if there is no log."""
    try:
        with open(path, "rb") as log:
            log.seek(0, 2)
            log.seek(max(0, log.tell() - 64 * 1024))
            text = log.read().decode(errors="replace")
    except OSError:
        return []
    return [line.rstrip() for line in text.splitlines()][-count:]
