# SPDX-License-Identifier: GPL-2.0
"""Debian's stock kernel: its packages, its source, and a build folder for modules.

`series.Wanted` says which one: the newest supported one in the archive, or what `KERNEL=` asks for. The choice is
stored, so that later runs need no network. `setup --update` looks again.
"""

import concurrent.futures
import contextlib
import functools
import json
import os
import pathlib
import re
import shutil

from . import cache, host, root, run, series
from .apt import Apt
from .arch import AMD64, ARCHES
from .errors import ToolError
from .paths import cache_dir, jobs
from .progress import PROGRESS


class StockKernel:
    """The stock kernel in the cache."""

    def __init__(self, version, packages, source, build):
        self.arch = _arch_of(version["release"])
        self.release = version["release"]  # as `uname -r` says: 7.3.4+deb13-amd64
        self.version = version["version"]  # of its packages: 7.3.4-1~bpo13+1
        self.series = version["series"]
        self.suite = _suite_of(version)
        self.compilers = _compilers_of(version)
        self.image = packages / "vmlinuz"
        self.modules = packages / "modules" / self.release  # as below /lib/modules
        self.config = packages / "config"
        self.source = source  # the clean source tree; never built in
        self.build = build  # what KDIR= is for modules


def stock(arch=AMD64, update=False, wanted=""):
    """Returns the stock kernel, ready to boot and to build modules for. Downloads what is missing.

    `wanted` is what `KERNEL=` asks for.
    """
    return _stock(arch, update, wanted)


# What a kernel (source, packages, build folder) and a root need on the disk while they are made.
_KERNEL_SPACE, _ROOT_SPACE = 3 << 30, 3 << 30


@functools.cache
def _stock(arch, update, wanted):
    """It makes the root and downloads the packages at the same time."""
    asked = series.Wanted(wanted, arch)
    if (known := _known(asked)) and not update and (found := _all_there(known)):
        _warn_untried(known)
        return found
    host.need_space(_KERNEL_SPACE + (0 if root.exists() else _ROOT_SPACE))
    root.need_programs()
    host.need("apt-get", "dpkg-deb", "tar", "xz")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        made = pool.submit(root.get)
        version = resolve(asked, update)
        name = _compilers_of(version).name
        other = pool.submit(root.get, name) if name != series.ROOT.name else made
        packages, source = packages_of(version), source_of(version)
        made.result()
        other.result()
    return StockKernel(version, packages, source, _build_of(version, packages, source))


def _all_there(version):
    if not root.exists() or not root.exists(_compilers_of(version).name):
        return None
    packages = cache.find("linux-packages", _key(version))
    source = cache.find("linux-source", _source_key(version))
    build = cache.find("linux-build", _build_key(version))
    if not (packages and source and build):
        return None
    return StockKernel(version, packages, source / "linux", build)


# --- which version ----------------------------------------------------------------------------


def resolve(asked, update=False):
    """The stock kernel's version: a dict with release (as uname -r), version (of the package), series and suite."""
    known = _known(asked)
    if known and not update:
        _warn_untried(known)
        return known
    found = _search(asked)
    path = _stored(asked)
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(found), encoding="ascii")
    partial.rename(path)
    _warn_untried(found)
    return found


def _search(asked):
    seen = {}
    for suite in asked.suites:
        with PROGRESS.step(f"kernel: look for {asked.text or 'the newest'} in {suite.name}") as step:
            with _apt(asked.arch, suite.name) as apt:
                apt.update(step)
                found, seen[suite.name] = newest(apt, asked, suite.name)
            step.done(found["release"] if found else "none")
        if found:
            return found
    raise _not_found(asked, seen, apt.uri)


def newest(apt, asked, suite):
    """The newest version in a suite that fits, or None; and the releases that are there."""
    prefix = "linux-headers-"
    releases = [name.removeprefix(prefix) for name in apt.names(prefix)]
    releases = [name for name in releases if re.fullmatch(rf"\d+\.\d+\.\d+\S*-{asked.arch.name}", name)]
    release = asked.newest(releases)
    headers = apt.show(f"{prefix}{release}") if release else None
    if not headers:
        return None, releases
    found = {"release": release, "version": headers["version"], "series": series.series_of(release), "suite": suite}
    return found, releases


class NotInArchive(ToolError):
    """The archive has no kernel that fits."""


def _not_found(asked, seen, uri):
    what = asked.text or series.supported()
    there = "; ".join(f"{suite} has {_plain(releases, asked.arch) or 'none'}" for suite, releases in seen.items())
    return NotInArchive(
        f"Linux {what} is not in the archive {uri} ({asked.arch.name}): {there}",
        hint="one that is there: make ... KERNEL=<release>, or another archive: make ... MIRROR=<address>",
    )


def _plain(releases, arch):
    """The releases without a flavour, newest first, in words."""
    found = [name.removesuffix(f"-{arch.name}") for name in releases]
    return ", ".join(sorted((name for name in found if "-" not in name), key=series.numbers, reverse=True))


def _stored(asked):
    return cache_dir() / f"stock-{asked.arch.name}{asked.text and '-'}{asked.text}.json"


def _known(asked):
    """The version that was found before, if this version of the tools would take it."""
    try:
        with open(_stored(asked), encoding="ascii") as file:
            version = json.load(file)
    except (OSError, ValueError):
        return None
    if not isinstance(version, dict):
        return None
    is_known = version.get("suite", series.SUITES[0].name) in [suite.name for suite in series.SUITES]
    return version if is_known and asked.newest([version.get("release", "")]) else None


def _warn_untried(version):
    if version["series"] not in series.SERIES:
        PROGRESS.line(
            f"kernel: {version['release']} is untried: this version of iommu_core is for {series.supported()}"
        )


def _suite_of(version):
    return series.suite(version.get("suite", series.SUITES[0].name))


def _compilers_of(version):
    return series.ROOTS[_suite_of(version).root]


def _arch_of(release):
    return ARCHES[release.rpartition("-")[2]]


@contextlib.contextmanager
def _apt(arch, suite):
    """apt with the packages of a suite for an architecture, for this process alone."""
    name = f"apt-{suite}-{arch.name}"
    with cache.locked(name):
        yield Apt(cache_dir() / name, suite, arch.name)


def _key(version):
    return cache.key_of(version=version["version"], release=version["release"], recipe=1)


def _source_key(version):
    """The key of the source. All architectures share one source, with the key of the first."""
    base = version["release"].partition("-")[0]
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
        name = f"linux-source-{version['series']}"
        _download(version, [name], debs, f"kernel: download the source of {version['series']}")
        with PROGRESS.step(f"kernel: unpack the source of {version['series']}") as step:
            (deb,) = debs.iterdir()
            unpack_source(deb, f"./usr/src/{name}.tar.xz", folder / "linux", step)
            cache.remove_tree(debs)

    return cache.entry("linux-source", _source_key(version), make) / "linux"


def unpack_source(deb, member, folder, step):
    """Unpacks the archive `member` of a package to `folder`."""
    folder.mkdir()
    # The first tar ends before its input does, which would look like a failure of dpkg-deb.
    script = (
        'dpkg-deb --fsys-tarfile "$1" | { tar -xO "$2" && cat >/dev/null; } | xz -dc -T0 |'
        ' tar -x --strip-components=1 --no-same-owner -C "$3"'
    )
    argv = ["bash", "-o", "pipefail", "-c", script, "unpack", deb, member, folder]
    if not run.run(argv, log=step.log):
        raise step.fail(f"cannot unpack {deb.name}: it is damaged")


def _download(version, names, folder, text):
    with PROGRESS.step(text) as step, _apt(_arch_of(version["release"]), _suite_of(version).name) as apt:
        if not apt.show(names[0]):
            apt.update(step)
        wanted = [f"{name}={version['version']}" for name in names]
        apt.download(wanted, folder, step)


# --- the build folder -------------------------------------------------------------------------


def make_arguments(release, compilers=series.ROOT):
    """The arguments of every `make` for the stock kernel, so that modules match it."""
    arch = _arch_of(release)
    local = release[re.match(r"[0-9.]+", release).end():]
    return [*arch.make, f"CC={arch.tools}{compilers.gcc}", f"HOSTCC={compilers.gcc}", f"LOCALVERSION={local}"]


def _build_key(version):
    toolchain = root.toolchain(_arch_of(version["release"]), _compilers_of(version).name)
    return cache.key_of(source=_key(version), toolchain=toolchain, recipe=1)


def _build_of(version, packages, source):
    release, compilers = version["release"], _compilers_of(version)
    without = _arch_of(release).without

    def make(folder):
        check_rustc(packages / "config", release, compilers)
        shutil.copy(packages / "config", folder / ".config")
        shutil.copy(packages / "Module.symvers", folder)
        with PROGRESS.step(f"kernel: prepare {release} for modules") as step:
            base = ["make", "-C", source, f"O={folder}", *make_arguments(release, compilers)]
            checked_make([*base, "olddefconfig"], step, compilers.name)
            checked_make([*base, f"-j{jobs()}", "prepare", "modules_prepare"], step, compilers.name)
            differences = config_differences(packages / "config", folder / ".config")
            if differences := [name for name in differences if name not in without]:
                raise step.fail(
                    f"the source of {release} does not take the stock configuration as it is: "
                    + ", ".join(differences[:8])
                )

    return cache.entry("linux-build", _build_key(version), make)


def checked_make(argv, step, where=series.ROOT.name, **options):
    """Runs a `make` in a root, counts what it builds, and fails with its first error line."""
    built = 0

    def on_line(line):
        nonlocal built
        if re.match(r"  [A-Z]", line):
            built += 1
            step.counter = f"{built} built, {line.strip()[:40]}"

    result = root.get(where).run(argv, log=step.log, on_line=on_line, **options)
    if not result:
        match = re.search(r"^.*(?:\berror\b|\*\*\*).*$", result.output, re.M)
        raise step.fail(match[0].strip() if match else f"make ended with status {result.status}")
    return result


def check_rustc(config, release, compilers=series.ROOT):
    """Fails unless the root's rustc is the version that built the kernel."""
    text = pathlib.Path(config).read_text(encoding="utf-8")
    match = re.search(r'^CONFIG_RUSTC_VERSION_TEXT="(.*)"$', text, re.M)
    if "CONFIG_RUST=y" not in text or not match:
        raise ToolError(f"the stock kernel {release} was built without Rust (CONFIG_RUST)")
    asked = root.get(compilers.name).run(["rustc", "--version"])
    ours = asked.output.strip()
    if not asked:
        raise ToolError(f"rustc does not run in the {compilers.title} root: {ours}")
    if ours != match[1]:
        raise ToolError(
            f"rustc in {compilers.suites[0]} is '{ours}', but the kernel {release} was built with '{match[1]}';"
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
