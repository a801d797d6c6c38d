# SPDX-License-Identifier: GPL-2.0
"""Checks what this machine needs: a few programs, and disk space."""

import os
import shutil
import subprocess
import sys
import threading

from . import run
from .errors import ELSEWHERE, ToolError
from .paths import cache_dir, free_bytes
from .progress import PROGRESS

# program: the Debian package that has it
_PACKAGE = {
    "mmdebstrap": "mmdebstrap",
    "newuidmap": "uidmap",
    "unshare": "util-linux",
    "mount": "mount",
    "patch": "patch",
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "dpkg-buildpackage": "dpkg-dev",
    "dh": "debhelper",
    "lintian": "lintian",
    "xz": "xz-utils",
    "tar": "tar",
    "du": "coreutils",
}


_installing = threading.Lock()


def need(*programs):
    """Installs missing programs if it has the rights; otherwise fails and names them."""
    with _installing:
        _need(programs)


def _need(programs):
    missing = sorted({_PACKAGE[name] for name in programs if not _present(name)})
    if not missing:
        return
    words = " ".join(missing)
    if os.geteuid() == 0:
        _install(missing, [])
    elif shutil.which("sudo") and sys.stdin.isatty():
        PROGRESS.line(f"host: {words} missing; asking sudo to install")
        _install(missing, ["sudo"])
    else:
        raise ToolError(
            f"this machine lacks: {words}",
            hint=f"apt-get install {words} (as root), then again",
        )
    still = [name for name in programs if not _present(name)]
    if still:
        raise ToolError(f"{words} installed, yet not found: {' '.join(still)}", hint="check PATH")


def _present(name):
    return shutil.which(name) or any(
        os.access(os.path.join(folder, name), os.X_OK) for folder in ("/usr/sbin", "/sbin")
    )


def _install(missing, prefix):
    words = " ".join(missing)
    with PROGRESS.step(f"host: install {words}") as step:
        env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
        install = [*prefix, "apt-get", "install", "-y", "--no-install-recommends", *missing]
        if prefix:
            subprocess.run([*prefix, "-v"], check=False)
        if not run.run(install, env=env, log=step.log):
            # The package lists may be old or empty, as in a fresh container.
            run.run([*prefix, "apt-get", "update"], env=env, log=step.log)
            if not run.run(install, env=env, log=step.log):
                raise step.fail(f"cannot install {words} on this machine", f"apt-get install {words}")


def need_space(size):
    """Fails unless the cache's file system has `size` bytes free."""
    folder = cache_dir()
    free = free_bytes(folder)
    if free < size:
        raise ToolError(
            f"{folder} has {free / (1 << 30):.1f} GiB free, {size / (1 << 30):.0f} GiB are needed",
            hint=f"free some space, or {ELSEWHERE}",
        )
