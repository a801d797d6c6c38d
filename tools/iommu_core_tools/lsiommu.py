# SPDX-License-Identifier: GPL-2.0
"""Builds, tests and checks lsiommu, the program in tools/lsiommu. It is linked statically, so it runs anywhere."""

import json
import pathlib

from . import cache, guest_files, host_tests, root, series
from .arch import AMD64
from .paths import TOOLS, jobs
from .progress import PROGRESS

SUITE = "lsiommu"
FOLDER = TOOLS / "lsiommu"
_TARGETS = {"amd64": "x86_64-unknown-linux-gnu", "arm64": "aarch64-unknown-linux-gnu"}
_TIMEOUT = 1500


def build(arch=AMD64):
    """Builds the program for an architecture. Returns its path."""
    target = _TARGETS[arch.name]
    flags = "-Ctarget-feature=+crt-static"
    if arch != AMD64:
        flags += f" --sysroot={guest_files.rust_library(arch)}"
    upper = target.upper().replace("-", "_")
    env = {
        f"CARGO_TARGET_{upper}_RUSTFLAGS": flags,
        f"CARGO_TARGET_{upper}_LINKER": f"{arch.tools}{series.ROOT.gcc}",
    }
    with _workspace() as folder:
        with PROGRESS.step(f"lsiommu: build for {arch.name}") as step:
            argv = ["cargo", "build", "--offline", "--locked", "--release", "--target", target, "-j", jobs()]
            if not _cargo(argv, env, folder, step):
                raise step.fail("lsiommu does not build")
        built = folder / target / "release/lsiommu"
        # Another build may replace it, while a guest's file system is made of it.
        key = cache.key_of(program=cache.file_hash(built))

        def make(entry):
            (entry / "lsiommu").write_bytes(built.read_bytes())
            (entry / "lsiommu").chmod(0o755)

        return cache.entry(f"lsiommu-{arch.name}", key, make) / "lsiommu"


def crates(arch=AMD64):
    """The crates that the program is made of: name with version, and folder."""
    argv = ["cargo", "metadata", "--offline", "--locked", "--format-version", "1", "--filter-platform", _TARGETS[arch.name]]
    with _workspace() as folder, PROGRESS.step("lsiommu: look at its crates") as step:
        result = _cargo(argv, {}, folder, step)
        if not result:
            raise step.fail("cargo does not say what lsiommu is made of")
    data = json.loads(next(line for line in result.output.splitlines() if line.startswith("{")))
    packages = {package["id"]: package for package in data["packages"]}
    needs = {node["id"]: node["deps"] for node in data["resolve"]["nodes"]}
    waiting, found = [data["resolve"]["root"]], {}
    while waiting:
        for need in needs[waiting.pop()]:
            if need["pkg"] not in found and any(kind["kind"] is None for kind in need["dep_kinds"]):
                found[need["pkg"]] = packages[need["pkg"]]
                waiting.append(need["pkg"])
    return sorted(
        (f"{package['name']} {package['version']}", pathlib.Path(package["manifest_path"]).parent)
        for package in found.values()
    )


def test(report):
    """Runs its tests, against records of machines."""
    with report.suite(SUITE), _workspace() as folder:
        with PROGRESS.step("lsiommu: cargo test") as step:
            argv = ["cargo", "test", "--offline", "--locked", "--no-fail-fast", "-j", jobs()]
            result = _cargo(argv, {}, folder, step)
            passed = host_tests.add_results(report, result, step.log, SUITE)
            step.done(f"{passed} passed in {result.took:.0f} s")


def clippy():
    """clippy with warnings as errors."""
    with _workspace() as folder:
        with PROGRESS.step("lint: clippy, lsiommu") as step:
            argv = ["cargo", "clippy", "--offline", "--locked", "--all-targets", "--", "-Dwarnings"]
            if not _cargo(argv, {}, folder, step):
                raise step.fail("clippy found something")


def _workspace():
    host_tests.fetch(FOLDER)
    return cache.workspace("lsiommu", cache.key_of(root=root.key(), folder=str(FOLDER)))


def _cargo(argv, env, target, step):
    env = {**env, "CARGO_TARGET_DIR": str(target)}
    return host_tests.cargo(argv, env, folder=FOLDER, log=step.log, timeout=_TIMEOUT)
