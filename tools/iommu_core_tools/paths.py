# SPDX-License-Identifier: GPL-2.0
"""Paths of the checkout, the cache and the logs."""

import os
import pathlib
import time

from .errors import ELSEWHERE, ToolError

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
TOOLS = CHECKOUT / "tools"
CONFIG = TOOLS / "config"
PACKAGING = CHECKOUT / "packaging"


def cache_dir():
    """The folder of all downloads and builds. Made if it does not exist."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = pathlib.Path(base).absolute() / "iommu_core"
    _make(folder, "the cache")
    return folder


def _make(folder, what):
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ToolError(f"{what} {folder} cannot be made: {error.strerror}", hint=ELSEWHERE) from error


def log_dir():
    """The folder of the logs of every step."""
    folder = cache_dir() / "logs"
    _make(folder, "the folder of the logs")
    return folder


def sweep_logs(days=14):
    """Removes old logs."""
    oldest = time.time() - days * 86400
    for log in log_dir().glob("*.log"):
        try:
            if log.stat().st_mtime < oldest:
                log.unlink(missing_ok=True)
        except OSError:
            # Another run has removed it, or it is another user's.
            continue


def jobs():
    """How many jobs a build may run at once (`JOBS=`)."""
    given = os.environ.get("JOBS", "").strip()
    if not given:
        return len(os.sched_getaffinity(0))
    if not given.isdecimal() or int(given) < 1:
        raise ToolError(f"JOBS={given} is no number of jobs", hint="JOBS=4, or leave it out: one job per processor")
    return int(given)


def free_bytes(folder):
    """The free space that we may use in the file system of `folder`."""
    stat = os.statvfs(folder)
    return stat.f_bavail * stat.f_frsize
