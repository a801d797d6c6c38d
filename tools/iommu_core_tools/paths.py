# SPDX-License-Identifier: GPL-2.0
"""Paths of the checkout, the cache and the logs."""

import os
import pathlib
import time

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
TOOLS = CHECKOUT / "tools"
CONFIG = TOOLS / "config"


def cache_dir():
    """The folder of all downloads and builds. Made if it does not exist."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = pathlib.Path(base).absolute() / "iommu_core"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def log_dir():
    """The folder of the logs of every step."""
    folder = cache_dir() / "logs"
    folder.mkdir(exist_ok=True)
    return folder


def sweep_logs(days=14):
    """Removes old logs."""
    oldest = time.time() - days * 86400
    for log in log_dir().glob("*.log"):
        if log.stat().st_mtime < oldest:
            log.unlink(missing_ok=True)


def jobs():
    """How many jobs a build may run at once (`JOBS=`)."""
    try:
        given = int(os.environ.get("JOBS") or 0)
    except ValueError:
        given = 0
    return given if given > 0 else len(os.sched_getaffinity(0))


def free_bytes(folder):
    """The free space that we may use in the file system of `folder`."""
    stat = os.statvfs(folder)
    return stat.f_bavail * stat.f_frsize
