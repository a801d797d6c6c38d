# SPDX-License-Identifier: GPL-2.0
"""Tests of pure code with cargo on the build machine: tests/host.

The tests use the root's cargo and rustc, so that every machine runs the same versions. The user's cargo
configuration says where crates come from. They are fetched once for each Cargo.lock.
"""

import contextlib
import os
import pathlib
import re

from . import cache, root
from .errors import ToolError
from .paths import CHECKOUT, cache_dir, jobs
from .progress import PROGRESS

SUITE = "host"
FOLDER = CHECKOUT / "tests/host"
_TIMEOUT = 1500
_LINE = re.compile(r"test (\S+)(?: - should panic)? \.\.\. (ok|FAILED|ignored)(?:, (.*))?$")
_BINARY = re.compile(r"\s*(?:Running (?:unittests )?(\S+)|Doc-tests (\S+))")
# How many lines of a failed test's output are reported.
_SHOWN = 60


@contextlib.contextmanager
def workspace():
    """The folder for what cargo builds of tests/host. All checkouts share it, one at a time."""
    # Cargo needs the crates also to remove what it has built of another checkout.
    fetch()
    with cache.workspace("host-tests", cache.key_of(root=root.key())) as target:
        own(target)
        yield target


def own(target, folder=FOLDER, triple=None):
    """Makes sure that what cargo has built of tests/host in the folder `target` is this checkout's.

    Cargo knows sources outside of the package by their whole path. Of another checkout's build it would
    look whether those have changed, and take that build for this checkout's.
    """
    target.mkdir(exist_ok=True)
    mark = target / "checkout"
    if mark.exists() and mark.read_text(encoding="utf-8") == str(CHECKOUT):
        return
    argv = ["cargo", "clean", "--offline", "--locked", "-p", "iommu_core_host"]
    argv += ["--target", triple] if triple else []
    if not cargo(argv, {"CARGO_TARGET_DIR": str(target)}, folder=folder):
        raise ToolError("cargo cannot remove what it built of another checkout", hint=f"remove {target}")
    mark.write_text(str(CHECKOUT), encoding="utf-8")


def run(report, pattern=None, binary=None):
    """Runs the tests (whose name contains `pattern`; in the files of tests/host/tests that match `binary`)."""
    with report.suite(SUITE):
        with workspace() as target:
            with PROGRESS.step("host: cargo test") as step:
                argv = ["cargo", "test", "--offline", "--locked", "--no-fail-fast", "-j", jobs()]
                argv += ["--test", binary] if binary else []
                argv += ["--", pattern] if pattern else []
                ended = 0

                def on_line(line):
                    nonlocal ended
                    ended += bool(_LINE.match(line))
                    step.count(ended, unit=" tests ended")

                env = {"CARGO_TARGET_DIR": str(target)}
                result = cargo(argv, env, log=step.log, on_line=on_line, timeout=_TIMEOUT)
                passed = add_results(report, result, step.log)
                step.done(f"{passed} passed in {result.took:.0f} s")


def bench(name):
    """Runs a benchmark of tests/host/benches, and prints its table."""
    with workspace() as target, PROGRESS.step(f"host: cargo bench, {name}") as step:
        argv = ["cargo", "bench", "--offline", "--locked", "-j", jobs(), "--bench", name]
        result = cargo(argv, {"CARGO_TARGET_DIR": str(target)}, log=step.log, timeout=_TIMEOUT)
        if not result:
            raise step.fail("the benchmark fails")
    _, _, table = result.output.partition(f"Running benches/{name}.rs")
    PROGRESS.plain("\n".join(table.splitlines()[1:]))


def fetch(folder=FOLDER):
    """Fetches the crates that a folder's Cargo.lock names, once for each Cargo.lock."""
    key = cache.file_hash(folder / "Cargo.lock")[:12]
    done = _cargo_home() / f"fetched-{key}"
    if done.exists():
        return
    with PROGRESS.step("host: fetch crates") as step:
        result = cargo(["cargo", "fetch", "--locked"], {}, folder=folder, log=step.log, timeout=600)
        if not result:
            raise step.fail(
                f"cannot fetch the crates of {folder.relative_to(CHECKOUT)}",
                "check the network; another registry goes into the cargo configuration ($CARGO_HOME/config.toml)",
            )
    done.touch()


def add_results(report, result, log, suite=SUITE):
    """Adds the results in cargo's output to a suite. Returns how many tests passed."""
    lines = result.output.splitlines()
    binary, passed, failed = "", 0, 0
    for line in lines:
        if match := _BINARY.match(line):
            binary = pathlib.PurePath(match[1] or "doc").stem
        elif match := _LINE.match(line):
            name = f"{binary}: {match[1]}"
            if match[2] == "ok":
                passed += 1
                report.add(suite, name, "passed")
            elif match[2] == "ignored":
                report.add(suite, name, "skipped", detail=match[3] or "marked so")
            else:
                failed += 1
                report.add(suite, name, "failed", detail=_output_of(match[1], lines), log=log)
    if result.timed_out:
        report.add(suite, "ends", "failed", detail=f"no end after {_TIMEOUT} s", log=log)
    elif not result and not failed:
        detail = "\n".join(line for line in lines if line)[-4000:]
        report.add(suite, "cargo test", "failed", detail=f"cargo ended with {result.status}\n{detail}", log=log)
    elif not passed and not failed:
        report.add(suite, "cargo test", "failed", detail="no test ran", log=log)
    return passed


def _output_of(name, lines):
    """The output of a failed test: how it begins and how it ends, where a property test prints its smallest input."""
    try:
        start = lines.index(f"---- {name} stdout ----")
    except ValueError:
        return ""
    text = []
    for line in lines[start + 1 :]:
        if line.startswith("---- ") or line == "failures:":
            break
        text.append(line)
    if len(text) > _SHOWN:
        text[_SHOWN // 3 : -_SHOWN * 2 // 3] = ["[...]"]
    return "\n".join(text)


def _cargo_home():
    home = cache_dir() / "cargo"
    home.mkdir(exist_ok=True)
    return home


def cargo(argv, env, folder=FOLDER, **options):
    """Runs cargo in the root, in a folder, with our own home folder that has the user's configuration."""
    home = _cargo_home()
    users = pathlib.Path(os.environ.get("CARGO_HOME") or os.path.expanduser("~/.cargo"))
    binds = [
        (users / name, home / "config.toml")
        for name in ("config.toml", "config")
        if (users / name).is_file()
    ][:1]
    prefixes = ("CARGO_HTTP_", "CARGO_NET_", "CARGO_SOURCE_", "CARGO_REGISTR", "PROPTEST_")
    env = dict(env)
    env.update((name, value) for name, value in os.environ.items() if name.startswith(prefixes))
    env.update(CARGO_HOME=str(home), CARGO_TERM_COLOR="never")
    return root.get().run(argv, cwd=folder, env=env, binds=binds, **options)
