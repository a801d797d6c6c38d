# SPDX-License-Identifier: GPL-2.0
"""Coverage-guided fuzzing of the parsers of firmware tables and of the decoders of hardware's records.

tests/host/fuzz has the layout of cargo-fuzz, which wants a nightly compiler for its sanitizers. The code under
test has no `unsafe`, so coverage is enough: rustc inserts it by options of LLVM, and libFuzzer's runtime comes
with the crate libfuzzer-sys. Inputs that reach new code stay in the cache for the next run.
"""

import pathlib

from . import cache, host_tests, root
from .errors import ToolError, last_lines
from .paths import CHECKOUT, jobs
from .progress import PROGRESS

SUITE = "fuzz"
FOLDER = CHECKOUT / "tests/host/fuzz"
# Each target, and the signature of the tables that it starts from.
TARGETS = {"dmar": b"DMAR", "ivrs": b"IVRS", "iort": b"IORT", "records": None}
_TRIPLE = "x86_64-unknown-linux-gnu"
_COVERAGE = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
]
# The longest input, and seconds that one may take.
_LONGEST, _SLOWEST = 4096, 10


def run(report, seconds=60, tables=None, only=None):
    """Fuzzes each target (or `only` one) for so many seconds, starting from the tables in a folder."""
    with report.suite(SUITE), cache.workspace("fuzz", cache.key_of(root=root.key())) as folder:
        binaries = _build(folder)
        for target, signature in TARGETS.items():
            if only not in (None, target):
                continue
            corpus = folder / "corpus" / target
            corpus.mkdir(parents=True, exist_ok=True)
            if tables and signature:
                _copy(pathlib.Path(tables), signature, corpus)
            with report.case(SUITE, target):
                _fuzz(binaries / target, corpus, folder, seconds)


def _build(folder):
    target = folder / "target"
    env = {
        "CARGO_TARGET_DIR": str(target),
        "CXX": "g++-14",
        "RUSTFLAGS": " ".join(_COVERAGE),
    }
    with PROGRESS.step("fuzz: build the targets") as step:
        host_tests.fetch(FOLDER)
        host_tests.own(target, folder=FOLDER, triple=_TRIPLE)
        # The triple keeps the options from build scripts.
        argv = ["cargo", "build", "--offline", "--locked", "--release", "--target", _TRIPLE, "-j", jobs()]
        if not host_tests.cargo(argv, env, folder=FOLDER, log=step.log):
            raise step.fail("the targets do not build")
    return target / _TRIPLE / "release"


def _copy(folder, signature, corpus):
    if not folder.is_dir():
        raise ToolError(f"{folder} is no folder")
    for path in folder.rglob("*"):
        if path.is_file() and (content := path.read_bytes())[:4] == signature:
            (corpus / path.name).write_bytes(content)


def _fuzz(binary, corpus, folder, seconds):
    found = folder / f"{binary.name}-"
    argv = [binary, f"-max_total_time={seconds}", f"-timeout={_SLOWEST}", f"-max_len={_LONGEST}",
            f"-artifact_prefix={found}", "-print_final_stats=1", corpus]  # fmt: skip
    with PROGRESS.step(f"fuzz: {binary.name}, {seconds} s") as step:
        result = root.get().run(argv, cwd=folder, log=step.log, timeout=seconds + 300)
        words = [line for line in result.output.splitlines() if "cov: " in line or "executed_units" in line]
        if not result:
            raise ToolError(
                "\n".join([f"the fuzzer has found something; the input is at {found}*", *last_lines(step.log)]),
                log=step.log,
            )
        step.done("; ".join(line.split(":: ")[-1].strip() for line in words[-2:]))
