# SPDX-License-Identifier: GPL-2.0
"""Debian's stock kernel: its packages, its source, and a build folder for modules.

The version is the newest one that `linux-headers-<arch>` in trixie-backports depends on. It is stored, so that
later runs need no network. `setup --update` looks again.
"""

import concurrent.futures
import contextlib
import functools
import json
import os
import pathlib
import re
import shutil

from . import cache, host, root, run
from .apt import Apt
from .arch import AMD64, ARCHES
from .errors import ToolError
from .paths import cache_dir, jobs
from .progress import PROGRESS

# The kernel series that the module is written for.
SERIES = "7.3"


class StockKernel:
    """The stock kernel in the cache."""

    def __init__(self, version, packages, source, build):
        self.arch = _arch_of(version["release"])
        self.release = version["release"]  # as `uname -r` says: 7.3.4+deb13-amd64
        self.image = packages / "vmlinuz"
        self.modules = packages / "modules" / self.release  # as below /lib/modules
        self.config = packages / "config"
        self.source = source  # the clean source tree; never built in
        self.build = build  # what KDIR= is for modules


@functools.cache
def stock(arch=AMD64, update=False):
    """Returns the stock kernel, ready to boot and to build modules for. Downloads what is missing.

    It makes the root and downloads the packages at the same time.
    """
    if (known := _known(arch)) and not update and (found := _all_there(known)):
        return found
    host.need_space(12 << 30)
    root.need_programs()
    host.need("apt-get", "dpkg-deb", "tar", "xz")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        made = pool.submit(root.get)
        version = resolve(arch, update)
        packages, source = packages_of(version), source_of(version)
        made.result()
    return StockKernel(version, packages, source, _build_of(version, packages, source))


def _all_there(version):
    if not root.exists():
        return None
    packages = cache.find("linux-packages", _key(version))
    source = cache.find("linux-source", _source_key(version))
    build = cache.find("linux-build", _build_key(version))
    if not (packages and source and build):
        return None
    return StockKernel(version, packages, source / "linux", build)


# --- which version ----------------------------------------------------------------------------


def resolve(arch, update=False):
    """The stock kernel's version: a dict with release (as uname -r) and version (of the package)."""
    known = _known(arch)
    if known and not update:
        return known
    with PROGRESS.step("kernel: look for the newest in trixie-backports") as step:
        with _apt(arch) as apt:
            apt.update(step)
            version = newest(apt, arch)
        step.done(version["release"])
    path = cache_dir() / f"stock-{arch.name}.json"
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(version), encoding="ascii")
    partial.rename(path)
    return version


def newest(apt, arch):
    """The version that `linux-headers-<arch>` depends on. Fails if this is not the supported series."""
    name = f"linux-headers-{arch.name}"
    meta = apt.show(name)
    match = re.search(r"linux-headers-(\S+)", (meta or {}).get("depends", ""))
    if not match:
        raise ToolError(f"{name} is not in {root.BACKPORTS} of {apt.uri}")
    release = match[1]
    series = ".".join(release.split(".")[:2])
    if series != SERIES:
        raise ToolError(
            f"{root.BACKPORTS} now has Linux {release}; this version of iommu_core supports {SERIES}.x",
            hint=f"an archive that still has {SERIES}.x: make ... MIRROR=<address>, or a newer iommu_core",
        )
    headers = apt.show(f"linux-headers-{release}")
    if not headers:
        raise ToolError(f"linux-headers-{release} is not in {root.BACKPORTS} of {apt.uri}")
    return {"release": release, "version": headers["version"], "series": series}


def _known(arch):
    try:
        with open(cache_dir() / f"stock-{arch.name}.json", encoding="ascii") as file:
            version = json.load(file)
    except (OSError, ValueError):
        return None
    return version if version.get("series") == SERIES else None


def _arch_of(release):
    return ARCHES[release.rpartition("-")[2]]


@contextlib.contextmanager
def _apt(arch):
    """apt with an architecture's packages, for this process alone."""
    name = f"apt-{arch.name}"
    with cache.locked(name):
        yield Apt(cache_dir() / name, root.BACKPORTS, arch.name)


def _key(version):
    return cache.key_of(version=version["version"], release=version["release"], recipe=1)


def _source_key(version):
    """The key of the source. All architectures share one source, with the key of the first."""
    base = version["release"].rpartition("-")[0]
    return _key({**version, "release": f"{base}-{AMD64.name}"})


# --- packages and source ----------------------------------------------------------------------


def packages_of(version):
    """The entry with the stock kernel's image, modules, configuration and exported symbols."""
    release = version["release"]

    def make(folder):
        names = [f"linux-{part}-{release}" for part in ("binary", "modules", "headers")]
        debs = folder / "debs"
        debs.mkdir()
        _download(version, names, debs, f"kernel: download {release}")
        with PROGRESS.step(f"kernel: unpack {release}") as step:
            tree = folder / "tree"
            for deb in debs.iterdir():
                if not run.run(["dpkg-deb", "-x", deb, tree], log=step.log):
                    raise step.fail(f"cannot unpack {deb.name}")
            headers = tree / f"usr/src/linux-headers-{release}"
            (headers / ".config").rename(folder / "config")
            (headers / "Module.symvers").rename(folder / "Module.symvers")
            modules = tree / "usr/lib/modules" / release
            (modules / "vmlinuz").rename(folder / "vmlinuz")
            (folder / "modules").mkdir()
            modules.rename(folder / "modules" / release)
            cache.remove_tree(tree)
            cache.remove_tree(debs)

    return cache.entry("linux-packages", _key(version), make)


def source_of(version):
    """The clean source tree that the stock kernel was built from."""

    def make(folder):
        debs = folder / "debs"
        debs.mkdir()
        _download(version, [f"linux-source-{SERIES}"], debs, f"kernel: download the source of {SERIES}")
        with PROGRESS.step(f"kernel: unpack the source of {SERIES}") as step:
            (deb,) = debs.iterdir()
            member = f"./usr/src/linux-source-{SERIES}.tar.xz"
            (folder / "linux").mkdir()
            script = (
                'dpkg-deb --fsys-tarfile "$1" | tar -xO "$2" | xz -dc -T0 |'
                ' tar -x --strip-components=1 --no-same-owner -C "$3"'
            )
            argv = ["bash", "-o", "pipefail", "-c", script, "unpack", deb, member, folder / "linux"]
            result = run.run(argv, log=step.log)
            if not result and not (folder / "linux/Makefile").exists():
                raise step.fail("cannot unpack the kernel source")
            cache.remove_tree(debs)

    return cache.entry("linux-source", _source_key(version), make) / "linux"


def _download(version, names, folder, text):
    with PROGRESS.step(text) as step, _apt(_arch_of(version["release"])) as apt:
        if not apt.show(names[0]):
            apt.update(step)
        wanted = [f"{name}={version['version']}" for name in names]
        apt.download(wanted, folder, step)


# --- the build folder -------------------------------------------------------------------------


def make_arguments(release):
    """The arguments of every `make` for the stock kernel, so that modules match it."""
    arch = _arch_of(release)
    local = release[re.match(r"[0-9.]+", release).end():]
    return [*arch.make, f"CC={arch.tools}gcc-14", "HOSTCC=gcc-14", f"LOCALVERSION={local}"]


def _build_key(version):
    toolchain = root.toolchain(_arch_of(version["release"]))
    return cache.key_of(source=_key(version), toolchain=toolchain, recipe=1)


def _build_of(version, packages, source):
    release = version["release"]
    without = _arch_of(release).without

    def make(folder):
        check_rustc(packages / "config", release)
        shutil.copy(packages / "config", folder / ".config")
        shutil.copy(packages / "Module.symvers", folder)
        with PROGRESS.step(f"kernel: prepare {release} for modules") as step:
            base = ["make", "-C", source, f"O={folder}", *make_arguments(release)]
            checked_make([*base, "olddefconfig"], step)
            checked_make([*base, f"-j{jobs()}", "prepare", "modules_prepare"], step)
            differences = config_differences(packages / "config", folder / ".config")
            if differences := [name for name in differences if name not in without]:
                raise step.fail(
                    f"the source of {release} does not take the stock configuration as it is: "
                    + ", ".join(differences[:8])
                )

    return cache.entry("linux-build", _build_key(version), make)


def checked_make(argv, step, **options):
    """Runs a `make` in the root, counts what it builds, and fails with its first error line."""
    built = 0

    def on_line(line):
        nonlocal built
        if re.match(r"  [A-Z]", line):
            built += 1
            step.counter = f"{built} built, {line.strip()[:40]}"

    result = root.get().run(argv, log=step.log, on_line=on_line, **options)
    if not result:
        match = re.search(r"^.*(?:\berror\b|\*\*\*).*$", result.output, re.M)
        raise step.fail(match[0].strip() if match else f"make ended with status {result.status}")
    return result


def check_rustc(config, release):
    """Fails unless the root's rustc is the version that built the kernel."""
    text = pathlib.Path(config).read_text(encoding="utf-8")
    match = re.search(r'^CONFIG_RUSTC_VERSION_TEXT="(.*)"$', text, re.M)
    if "CONFIG_RUST=y" not in text or not match:
        raise ToolError(f"the stock kernel {release} was built without Rust (CONFIG_RUST)")
    asked = root.get().run(["rustc", "--version"])
    ours = asked.output.strip()
    if not asked:
        raise ToolError(f"rustc does not run in the Debian 13 root: {ours}")
    if ours != match[1]:
        raise ToolError(
            f"rustc in {root.SUITE} is '{ours}', but the kernel {release} was built with '{match[1]}';"
            " such a module would not load",
            hint="wait until the archive has a matching pair, then: tools/ic setup --update",
        )


def config_differences(wanted, got):
    """The options that differ between two kernel configurations, tool versions aside."""
    first, second = config_options(wanted), config_options(got)
    names = sorted(name for name in first | second if first.get(name, "n") != second.get(name, "n"))
    return [name for name in names if not re.search(r"VERSION|_HAS_|_CAN_", name)]


def config_unmet(fragment, config):
    """The options of a configuration fragment that a configuration does not have."""
    got = config_options(config)
    wanted = config_options(fragment)
    return [f"{name}={value}" for name, value in wanted.items() if got.get(name, "n") != value]


def config_options(path):
    """The options of a kernel configuration file: name to value, `n` for those that are not set.

    The last line about an option counts, as in the kernel.
    """
    text = pathlib.Path(path).read_text(encoding="utf-8")
    lines = re.findall(r"^(?:(CONFIG_\w+)=(.*)|# (CONFIG_\w+) is not set)$", text, re.M)
    return {name or unset: value if name else "n" for name, value, unset in lines}
