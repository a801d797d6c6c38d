# SPDX-License-Identifier: GPL-2.0
"""Installs the module on this machine, with a boot entry that loads it before device drivers; and uninstalls it.

The files besides the module are those of the package iommu-core-common, at the same places: packaging/root.
"""

import os
import pathlib
import platform
import shutil

from . import cache, kernel, module, module_file, run, series
from .arch import AMD64, of_machine
from .errors import ToolError
from .paths import PACKAGING
from .progress import PROGRESS

_FILES = PACKAGING / "root"
# On the machine. `boot update` makes modules.dep, the initramfs and the boot entry of a kernel.
_BOOT = "usr/lib/iommu-core/boot"
# People change it.
_SETTINGS = "etc/default/iommu-core"
# What earlier versions have installed. It loads the module without being asked for.
_FORMER = ("etc/initramfs-tools/hooks/iommu_core", "etc/initramfs-tools/scripts/init-top/iommu_core")
_INITRAMFS_TOOLS = ("usr/sbin/update-initramfs", "usr/bin/dracut", "sbin/update-initramfs", "bin/dracut")
_SECURE_BOOT = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"


def install(arch=AMD64, wanted="", signed_with=None):
    """Installs the module for an architecture below /lib/modules of its kernel: on this machine, or below the
    root of another machine (INSTALL_MOD_PATH). `wanted` is the kernel that `KERNEL=` asks for.

    Refuses what cannot work before it changes anything. If a step fails, undoes those before it.
    """
    _check_machine(arch)
    release = kernel.resolve(series.Wanted(wanted, arch))["release"]
    _check_root(release, signed_with)
    built = module.build(arch, wanted=wanted)
    with cache.scratch("install") as folder:
        file = module_file.make(built, folder, signed_with)
        changes = _Changes()
        try:
            _copy_all(changes, release, file)
            _refresh(release)
        except BaseException:
            changes.undo()
            raise
    _say_what_is_next(release)


def uninstall():
    """Removes everything that `install()` has installed."""
    base, owned = _base(), _Owned()
    files = [path for path in _targets().values() if path.exists() and path not in owned]
    files += [base / name for name in _FORMER if (base / name).exists()]
    modules = [path for path in _modules() if path not in owned]
    for path in [*modules, *files]:
        _need_writable(path.parent)
    for path in modules:
        path.unlink()
        PROGRESS.line(f"module: removed {path}")
    # While the scripts are there: they leave out the boot entry.
    for release in dict.fromkeys(_release_of(path) for path in modules):
        _refresh(release)
    for path in files:
        path.unlink()
        PROGRESS.line(f"boot: removed {path}")
    for path in [*modules, *files]:
        _remove_empty(path.parent, owned)


# --- what is refused --------------------------------------------------------------------------


def _check_machine(arch):
    if of_machine() is not AMD64:
        raise ToolError(
            f"these tools build on amd64 machines, and this is another one ({platform.machine()})",
            hint="on an amd64 machine: make deb ARCH=arm64; install the packages that it names here",
        )
    if arch is not AMD64 and _is_here():
        raise ToolError(
            f"a module for {arch.name} is of no use to this machine",
            hint="INSTALL_MOD_PATH=<root of the other machine's file system>, or make deb and copy the packages",
        )


def _check_root(release, signed_with):
    base = _base()
    target = base / "lib/modules" / release
    running = platform.release()
    if not target.is_dir():
        hint = f"apt-get install linux-image-{release} (-t {series.SUITES[0].name}, or the suite that has it), then again"
        if _is_here() and series.series_of(running) in series.SERIES:
            hint += f"; or for the kernel that runs: make install KERNEL={running}"
        raise ToolError(f"{target} is not there: the kernel that the module is built for is not installed", hint=hint)
    if _is_here() and running != release:
        PROGRESS.line(f"install: for Linux {release}; this machine runs {running}, which stays as it is")
    if not _find_depmod():
        raise ToolError("this machine lacks depmod, without which modprobe does not find the module",
                        hint="apt-get install kmod (as root), then again")  # fmt: skip
    if not any((base / name).exists() for name in _INITRAMFS_TOOLS):
        raise ToolError(
            f"{base} has neither initramfs-tools nor dracut: nothing would load the module before device drivers",
            hint="apt-get install initramfs-tools (as root), then again",
        )
    if packaged := [path for path in [*_modules(release), *_targets().values()] if path in _Owned()]:
        raise ToolError(f"{packaged[0]} belongs to a package of iommu_core",
                        hint="apt-get purge iommu-core-common, then again; or make deb, and install the new packages")  # fmt: skip
    if _is_here() and _secure_boot_is_on() and not signed_with:
        raise ToolError(
            "Secure Boot is on: the kernel loads only signed modules",
            hint="make install SIGN_KEY=<key> SIGN_CERT=<certificate>; Documentation/install.md says how to make them",
        )
    for folder in (target, base / "etc", base / "usr/lib"):
        _need_writable(folder)


def _secure_boot_is_on():
    try:
        return (_base() / _SECURE_BOOT).read_bytes()[4:] == b"\1"
    except OSError:
        return False


def _find_depmod():
    return shutil.which("depmod", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _need_writable(folder):
    while not folder.exists():
        folder = folder.parent
    if not os.access(folder, os.W_OK):
        raise ToolError(f"{folder} is not writable", hint="run it as root")


# --- what is installed ------------------------------------------------------------------------


def _base():
    return pathlib.Path(os.environ.get("INSTALL_MOD_PATH") or "/")


def _is_here():
    return not os.environ.get("INSTALL_MOD_PATH")


def _targets():
    """Each of our files, and its path on the machine."""
    files = sorted(path for path in _FILES.rglob("*") if path.is_file())
    return {path: _base() / path.relative_to(_FILES) for path in files}


def _modules(release="*"):
    """The module's files on the machine, for a kernel or for all; their suffix says how they are compressed."""
    return sorted(_base().glob(f"lib/modules/{release}/updates/{module_file.NAME}*"))


def _release_of(path):
    return path.parts[-3]


class _Owned:
    """The paths that packages on the machine have. dpkg knows them as they are in the package: /lib is in /usr."""

    def __init__(self):
        lists = (_base() / "var/lib/dpkg/info").glob("*.list")
        self._paths = {line for path in lists for line in path.read_text(encoding="utf-8").splitlines()}

    def __contains__(self, path):
        inside = f"/{path.relative_to(_base())}"
        return inside in self._paths or f"/usr{inside}" in self._paths


class _Changes:
    """Changes of files, which can be undone."""

    def __init__(self):
        self._undo = []

    def write(self, source, target):
        """Copies a file with its mode, or a link. Makes the folders that it needs."""
        self._make_folder(target.parent)
        self.remove(target)
        self._undo.append(lambda: target.unlink(missing_ok=True))
        # Whoever looks finds the old file, or the whole new one.
        partial = target.with_name(f".{target.name}.new")
        self._undo.append(lambda: partial.unlink(missing_ok=True))
        shutil.copy(source, partial, follow_symlinks=False)
        partial.rename(target)
        PROGRESS.line(f"install: {target}")

    def remove(self, path):
        """Removes a file or a link, if it is there."""
        if path.is_symlink():
            link = os.readlink(path)
            self._undo.append(lambda: path.symlink_to(link))
        elif path.exists():
            content, mode = path.read_bytes(), path.stat().st_mode

            def restore():
                path.write_bytes(content)
                path.chmod(mode)

            self._undo.append(restore)
        else:
            return
        path.unlink()

    def _make_folder(self, folder):
        missing = [each for each in (folder, *folder.parents) if not each.exists()]
        for each in reversed(missing):
            each.mkdir()
            self._undo.append(each.rmdir)

    def on_undo(self, call):
        """Calls `call` when the changes from here on are undone, and those before are not yet."""
        self._undo.append(call)

    def undo(self):
        """Undoes all changes, the last one first."""
        PROGRESS.line("install: failed; what was changed is put back")
        while self._undo:
            self._undo.pop()()


def _copy_all(changes, release, file):
    for name in _FORMER:
        changes.remove(_base() / name)
    for source, target in _targets().items():
        if target != _base() / _SETTINGS or not target.exists():
            changes.write(source, target)
    # By then the module is as before, and the scripts still make what suits it.
    changes.on_undo(lambda: _refresh_after_undo(release))
    for former in _modules(release):
        changes.remove(former)
    changes.write(file, _base() / "lib/modules" / release / "updates" / file.name)


def _remove_empty(folder, owned):
    """Removes the folders that are empty now, and that no package has."""
    while folder != _base() and folder not in owned and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


# --- modules.dep, initramfs, boot entry -------------------------------------------------------


def _refresh(release):
    """After the module came or went."""
    base = _base()
    if not _is_here() or not (base / _BOOT).exists():
        with PROGRESS.step(f"module: depmod for {release}") as step:
            if not run.run([_find_depmod() or "depmod", "-b", str(base), release], log=step.log):
                raise step.fail("depmod failed")
        return
    with PROGRESS.step(f"boot: modules.dep, initramfs and boot entry of {release}") as step:
        result = run.run([base / _BOOT, "update", release], log=step.log)
        if not result:
            raise step.fail(f"{base / _BOOT} failed")
    for line in result.output.splitlines():
        if line.startswith("iommu_core: "):
            PROGRESS.line(line)


def _refresh_after_undo(release):
    """The module is as before; what is made of it is made again."""
    try:
        _refresh(release)
    except ToolError as error:
        PROGRESS.line(f"install: {error.what}, also now: look at the boot menu before you restart")


def _say_what_is_next(release):
    if _is_here():
        PROGRESS.line(f"next: restart, and choose the boot entry of {release} with iommu_core")
    else:
        PROGRESS.line(f"next: on that machine, as root: /{_BOOT} update {release}")
