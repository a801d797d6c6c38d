# SPDX-License-Identifier: GPL-2.0
"""The only failure that users see without a Python trace."""


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
