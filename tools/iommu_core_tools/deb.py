# SPDX-License-Identifier: GPL-2.0
"""Builds Debian packages: the module for each supported kernel, what boots it, and lsiommu.

The sources of the packages are in packaging/: `debian` for debhelper, and `root` with the files of iommu-core-common as
they lie on a machine. `make install` installs the same files.
"""

import email.utils
import getpass
import os
import shutil
import socket
import subprocess
import time

from . import cache, host, kernel, lsiommu, module, module_file, run, series
from .arch import AMD64
from .errors import ToolError
from .paths import CHECKOUT, PACKAGING
from .progress import PROGRESS
from .version import VERSION

_FOLDER = PACKAGING / "debian"
# Files of each package of a module: debhelper wants them with the package's name.
_OF_A_MODULE = ("install", "postinst", "postrm")


def build(arch=AMD64, wanted="", signed_with=None):
    """Builds the packages for an architecture. Returns their paths.

    `wanted` is the kernel that `KERNEL=` asks for. Without it, there is a package for the newest kernel of each supported
    series.
    """
    host.need("dpkg-buildpackage", "dh")
    built = _modules(arch, wanted)
    program = lsiommu.build(arch)
    with cache.workspace("deb", cache.key_of(checkout=str(CHECKOUT), arch=arch.name)) as folder:
        cache.remove_tree(folder)
        source = folder / f"iommu-core-{VERSION}"
        source.mkdir(parents=True)
        _fill(source, arch, built, program, signed_with)
        with PROGRESS.step("packages: dpkg-buildpackage") as step:
            argv = ["dpkg-buildpackage", "-b", "-us", "-uc", "-d", f"-a{arch.name}"]
            if not run.run(argv, cwd=source, env=_environment(), log=step.log):
                raise step.fail("the packages do not build")
        return sorted(folder.glob("*.deb"))


def _modules(arch, wanted):
    """The module for each kernel."""
    if wanted:
        return [module.build(arch, wanted=wanted)]
    built = []
    for number in series.SERIES:
        try:
            built.append(module.build(arch, wanted=number))
        except kernel.NotInArchive as error:
            PROGRESS.line(f"packages: none for {number}: {error.what}")
    if not built:
        raise ToolError(f"the archive has no kernel for {arch.name} of {series.supported()}")
    return built


def _fill(source, arch, built, program, signed_with):
    """Makes the folder that dpkg-buildpackage works in."""
    shutil.copytree(PACKAGING / "root", source / "root", symlinks=True)
    debian = source / "debian"
    debian.mkdir()
    for path in _FOLDER.iterdir():
        if not path.name.startswith(("control", "modules.")):
            shutil.copy(path, debian)
    control = _text("control", MAINTAINER=_maintainer())
    for each in built:
        release = each.stock.release
        words = {"RELEASE": release, "ARCH": arch.name, "KERNEL": each.stock.version}
        control += _text("control.modules", **words)
        for kind in _OF_A_MODULE:
            target = debian / f"iommu-core-modules-{release}.{kind}"
            target.write_text(_text(f"modules.{kind}", **words), encoding="utf-8")
        folder = source / "built" / release
        folder.mkdir(parents=True)
        module_file.make(each, folder, signed_with)
    (debian / "control").write_text(control, encoding="utf-8")
    (debian / "changelog").write_text(_changelog(), encoding="utf-8")
    shutil.copy(program, source / "built")
    shutil.copy(lsiommu.FOLDER / "lsiommu.8", source / "built")
    (source / "built/crates.txt").write_text(_notices(arch), encoding="utf-8")


def _text(name, **words):
    """A file of packaging/debian, in which each `@WORD@` is replaced."""
    text = (_FOLDER / name).read_text(encoding="utf-8")
    for word, value in words.items():
        text = text.replace(f"@{word}@", value)
    return text


def _maintainer():
    """Who builds the packages: as dpkg's other tools have it, or git, or the machine."""
    user = getpass.getuser()
    name = os.environ.get("DEBFULLNAME") or os.environ.get("NAME") or _git("config", "user.name") or user
    address = os.environ.get("DEBEMAIL") or os.environ.get("EMAIL") or _git("config", "user.email")
    address = address or f"{user}@{socket.getfqdn()}"
    return address if "<" in address else f"{name} <{address}>"


def _changelog():
    commit = _git("describe", "--always", "--dirty", "--exclude=*")
    what = f"Built from commit {commit}." if commit else "Built from a folder that git does not know."
    return (
        f"iommu-core ({VERSION}) unstable; urgency=medium\n\n  * {what}\n\n"
        f" -- {_maintainer()}  {email.utils.formatdate(_date(), localtime=False)}\n"
    )


def _date():
    """The date of the commit, so that the same sources give the same packages."""
    return int(_git("log", "-1", "--format=%ct") or time.time())


def _git(*words):
    try:
        result = subprocess.run(["git", "-C", CHECKOUT, *words], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""


def _environment():
    env = dict(os.environ, LC_ALL="C.UTF-8", SOURCE_DATE_EPOCH=str(_date()))
    # cargo has stripped lsiommu. The module must not be stripped after it was signed.
    env["DEB_BUILD_OPTIONS"] = "nostrip"
    # What `make` tells the programs that it starts is not meant for debian/rules.
    for name in ("MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS", "MAKELEVEL"):
        env.pop(name, None)
    return env


def _notices(arch):
    """The copyright notices of the crates in lsiommu, which their licence demands."""
    found = []
    for crate, path in lsiommu.crates(arch):
        # Each of them may be used under this licence, at choice or only.
        for notice in sorted(path.glob("LICENSE*MIT*")) or sorted(path.glob("LICENSE*")):
            found.append(f"{crate}:\n\n{notice.read_text(encoding='utf-8').strip()}\n")
    return "\n\n".join(found)
