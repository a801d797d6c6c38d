# SPDX-License-Identifier: GPL-2.0
"""The kernel's own selftests of iommufd, as static programs, and what they print."""

import re

from . import cache, guest_files
from .arch import AMD64
from .progress import PROGRESS

# In the order in which they are run.
IOMMUFD = ("iommufd", "iommufd_fail_nth")
_FOLDER = "tools/testing/selftests"
_FLAGS = "-D_GNU_SOURCE -O2 -static -Wall -Wno-unused-function".split()
# The harness gives a case 30 s, which is not enough where locks are checked and the machine is
# busy.
_TIMEOUT = ("#define TEST_TIMEOUT_DEFAULT 30\n", "#define TEST_TIMEOUT_DEFAULT 600\n")

_RESULT = re.compile(r"^(not ok|ok) (\d+) ([^#]*?)\s*(?:# *(SKIP|XFAIL)\b ?(.*))?$")
_PLAN = re.compile(r"^1\.\.(\d+)")
_BEGINS = re.compile(r"^suite (\S+): begins$")
_ENDS = re.compile(r"^suite (\S+): (exit|signal|cannot) ?(.*)$")


def build(root, source, arch=AMD64):
    """The folder with the programs, compiled in the root from the kernel's source."""
    compiler = f"{arch.tools}gcc-14"
    libcap = ["-lcap"] if arch == AMD64 else ["-idirafter", "/usr/include", guest_files.libcap(arch)]
    tests = source / _FOLDER
    files = [tests / "iommu" / f"{name}.c" for name in IOMMUFD]
    key = cache.key_of(source=str(source), flags=_FLAGS, timeout=_TIMEOUT, files=IOMMUFD,
                       compiler=compiler, root=str(root.path))  # fmt: skip

    def make(folder):
        with PROGRESS.step(f"selftests: compile those of iommufd for {arch.name}") as step, cache.scratch("headers") as scratch:
            # Not in the source: a build in another folder refuses a source that was built in.
            headers = ["make", "-C", source, f"O={scratch}", f"ARCH={arch.kernel}", f"INSTALL_HDR_PATH={scratch}/usr"]
            if not root.run([*headers, "headers_install"], log=step.log):
                raise step.fail("the kernel's headers cannot be installed")
            harness = (tests / "kselftest_harness.h").read_text(encoding="utf-8")
            if _TIMEOUT[0] not in harness:
                raise step.fail("the time that the harness gives a case is not where it was")
            (scratch / "kselftest_harness.h").write_text(harness.replace(*_TIMEOUT), encoding="utf-8")
            includes = [f"-I{path}" for path in (scratch, scratch / "usr/include", tests)]
            for file in files:
                argv = [compiler, *_FLAGS, *includes, "-o", folder / file.stem]
                if not root.run([*argv, file, *libcap], log=step.log):
                    raise step.fail(f"{file.stem} does not compile")

    return cache.entry("selftests", key, make)


def results(output):
    """What the programs have printed: `{suite: {case: outcome}}`, and what is wrong with it, as lines.

    Outcomes are `passed`, `failed` and `skipped`. A suite that did not end as its results say is wrong.
    """
    suites, wrong = {}, []
    current, planned = None, None
    for raw in output.splitlines():
        # A message of the kernel may have come in between, never in the middle of such a line.
        line = raw.strip()
        if match := _BEGINS.match(line):
            current, planned = match[1], None
            suites[current] = {}
        elif current is None:
            continue
        elif match := _ENDS.match(line):
            cases = suites[current]
            if planned is not None and len(cases) != planned:
                wrong.append(f"{current}: {len(cases)} of {planned} cases ran")
            expected = "1" if "failed" in cases.values() else "0"
            if match[2] != "exit" or match[3] != expected:
                wrong.append(f"{current}: {match[2]} {match[3]}")
            current = None
        elif match := _PLAN.match(line):
            planned = int(match[1])
        elif match := _RESULT.match(line):
            outcome = "passed" if match[1] == "ok" else "failed"
            suites[current][match[3]] = "skipped" if match[4] else outcome
    if current is not None:
        wrong.append(f"{current}: did not end")
    return suites, wrong
