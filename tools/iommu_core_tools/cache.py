# SPDX-License-Identifier: GPL-2.0
"""Keeps results between runs. The key of a result is made from its inputs.

- An *entry* is a folder `<name>-<key>` that does not change once it is complete. It is made at its final
  path, because kernel builds store absolute paths. The file `.complete` is written last; a folder without
  this file was left by a killed run, and is made again.
- A *workspace* is a folder that one tool changes in place, and can continue with after it was killed (a
  kernel build).
- A *shared* folder belongs to a tool that several processes can use at the same time (compiled files).

A file lock guards entries and workspaces. The system releases the lock when its holder and all programs that
the holder started have ended.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import stat
import subprocess
import tempfile

from . import run
from .paths import cache_dir
from .progress import PROGRESS


def key_of(**inputs):
    """Makes a short key from an entry's inputs: JSON values, and paths as text."""
    text = json.dumps(inputs, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def file_hash(path):
    """The SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def locked(name, with_programs=True):
    """Holds the lock `name`. Says so if the wait for another holder takes long.

    Programs that any thread starts meanwhile hold it, too, until they end; not if `with_programs` is false.
    """
    folder = cache_dir() / "locks"
    folder.mkdir(exist_ok=True)
    with open(folder / name, "w", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with PROGRESS.step(f"cache: wait for another run that uses {name}"):
                fcntl.flock(file, fcntl.LOCK_EX)
        with run.kept(file.fileno()) if with_programs else contextlib.nullcontext():
            yield


_MARK = ".complete"
_in_use = {}


def _use(folder):
    """Marks an entry as in use until this process ends; `clean` does not remove it."""
    if folder.name not in _in_use:
        locks = cache_dir() / "locks"
        locks.mkdir(exist_ok=True)
        file = open(locks / f"use-{folder.name}", "w", encoding="ascii")  # held, not leaked
        fcntl.flock(file, fcntl.LOCK_SH)
        _in_use[folder.name] = file
    return folder


def entry(name, key, make):
    """Returns the folder of an entry. If there is none yet, `make(folder)` fills an empty folder."""
    if found := find(name, key):
        return found
    with locked(f"{name}-{key}"):
        if found := find(name, key):
            return found
        folder = cache_dir() / f"{name}-{key}"
        remove_tree(folder)
        folder.mkdir()
        try:
            make(folder)
            (folder / _MARK).touch()
        except BaseException:
            remove_tree(folder)
            raise
    return _use(folder)


@contextlib.contextmanager
def workspace(name, key):
    """Gives this process exclusive use of a workspace."""
    with locked(f"work-{name}-{key}"):
        folder = cache_dir() / f"work-{name}-{key}"
        folder.mkdir(exist_ok=True)
        yield folder


def shared(name):
    """Gives this process the use of a shared folder. `clean` does not remove it until this process ends."""
    folder = cache_dir() / name
    folder.mkdir(exist_ok=True)
    return _use(folder)


def find(name, key):
    """The folder of an entry if it is complete, else None."""
    folder = cache_dir() / f"{name}-{key}"
    return _use(folder) if (folder / _MARK).exists() else None


def remove_tree(path):
    """Removes a folder that may hold read-only folders and files of the root's subordinate users."""
    path = pathlib.Path(path)
    if not path.exists() and not path.is_symlink():
        return

    def make_writable(function, name, _info):
        parent = os.path.dirname(name)
        os.chmod(parent, os.stat(parent).st_mode | stat.S_IRWXU)
        if os.path.isdir(name) and not os.path.islink(name):
            os.chmod(name, os.stat(name).st_mode | stat.S_IRWXU)
        function(name)

    if os.geteuid() == 0:
        shutil.rmtree(path, onerror=make_writable)
        return
    try:
        shutil.rmtree(path, onerror=make_writable)
    except OSError:
        # Files of mapped users: only the same user name space may remove them.
        subprocess.run(["unshare", "--map-auto", "--map-root-user", "rm", "-rf", str(path)], check=True)


def entries():
    """Every entry and workspace: (name, bytes on disk)."""
    for folder in sorted(cache_dir().iterdir()):
        if folder.is_dir() and folder.name != "locks":
            yield folder.name, disk_usage(folder)


@contextlib.contextmanager
def scratch(name):
    """A folder for one run. The end of the context removes it, and those that killed runs have left."""
    # Locked: a folder that is not marked as in use yet looks like one that was left. A guest
    # that another thread starts must not hold the lock for as long as it runs.
    with locked("scratch", with_programs=False):
        if left := [folder.name for folder in cache_dir().glob(f"{name}-scratch-*")]:
            clean(left)
        folder = pathlib.Path(tempfile.mkdtemp(prefix=f"{name}-scratch-", dir=cache_dir()))
        _use(folder)
    try:
        yield folder
    finally:
        remove_tree(folder)
        _in_use.pop(folder.name).close()
        (cache_dir() / "locks" / f"use-{folder.name}").unlink()  # never used again, unlike an entry's


def prune(name, keep):
    """Removes all but the `keep` newest entries of a name. Entries in use stay."""
    # Another name may begin with this one.
    marks = [mark for mark in cache_dir().glob(f"{name}-*/{_MARK}") if mark.parent.name.rpartition("-")[0] == name]
    newest = sorted(marks, key=lambda mark: mark.stat().st_mtime, reverse=True)
    clean([mark.parent.name for mark in newest[keep:]])


def disk_usage(folder):
    """Bytes on disk below `folder`."""
    out = subprocess.run(
        ["du", "-sk", "--", str(folder)], capture_output=True, text=True, check=False
    ).stdout.split()
    return int(out[0]) * 1024 if out else 0


def clean(names=None):
    """Removes the given entries, or all if None. Leaves those that a run uses or makes. Returns (removed, left)."""
    gone, left = [], []
    for name in [name for name, _size in entries()] if names is None else names:
        with _try_lock(name) as making, _try_lock(f"use-{name}") as using:
            if making and using:
                remove_tree(cache_dir() / name)
                gone.append(name)
            else:
                left.append(name)
    return gone, left


@contextlib.contextmanager
def _try_lock(name):
    locks = cache_dir() / "locks"
    locks.mkdir(exist_ok=True)
    with open(locks / name, "w", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield True
        except BlockingIOError:
            yield False
