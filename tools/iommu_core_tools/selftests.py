# SPDX-License-Identifier: GPL-2.0
"""Builds the kernel's own selftests of iommufd and VFIO as static programs, and reads their output."""

import re
import shutil

from . import cache, guest_files, series
from .arch import AMD64
from .errors import ToolError
from .progress import PROGRESS

# In the order in which they are run.
IOMMUFD = ("iommufd", "iommufd_fail_nth")
VFIO = (
    "vfio_pci_device_test", "vfio_iommufd_setup_test", "vfio_dma_mapping_test",
    "vfio_dma_mapping_mmio_test", "vfio_pci_device_init_perf_test", "vfio_pci_driver_test",
    "vfio_pci_sriov_uapi_test",
)  # fmt: skip
_FOLDER = "tools/testing/selftests"
_FLAGS = "-D_GNU_SOURCE -O2 -static -Wall -Wno-unused-function".split()
# The harness ends a case after 30 s, and one case of VFIO's after 60 s. These limits are too short
# on an emulated machine with a kernel that checks every access.
_TIMEOUT = ("#define TEST_TIMEOUT_DEFAULT 30\n", "#define TEST_TIMEOUT_DEFAULT 600\n")
_VFIO_TIMEOUT = ("vfio_pci_driver_test", "memcpy_storm, 60)\n", "memcpy_storm, 600)\n")

# The exit status of a program that skips all its cases.
_SKIPPED = "4"

_RESULT = re.compile(r"^(not ok|ok) (\d+) ([^#]*?)\s*(?:# *(SKIP|XFAIL)\b ?(.*))?$")
_PLAN = re.compile(r"^1\.\.(\d+)")
_BEGINS = re.compile(r"^suite (\S+): begins$")
_ENDS = re.compile(r"^suite (\S+): (exit|signal|cannot) ?(.*)$")


def build(root, source, arch=AMD64):
    """The folder with the programs of iommufd. Compiles them in the root from the kernel's source."""
    libcap = ["-lcap"] if arch == AMD64 else ["-idirafter", "/usr/include", guest_files.libcap(arch)]
    folder = source / _FOLDER / "iommu"
    return _programs(root, source, arch, "iommufd", IOMMUFD, lambda _scratch, name: [folder / f"{name}.c", *libcap])


def build_vfio(root, source):
    """The same for VFIO. Only for amd64, because the root has the library that they need only for amd64."""

    def words(scratch, name):
        # Some programs include the harness by a path through their parent folder.
        tests = scratch / "vfio"
        if not tests.exists():
            shutil.copytree(source / _FOLDER / "vfio", tests)
            shutil.copy(source / _FOLDER / "kselftest.h", scratch)
            program, *timeout = _VFIO_TIMEOUT
            _replace(tests / f"{program}.c", tests / f"{program}.c", *timeout)
        library = sorted((tests / "lib").rglob("*.c"))
        includes = [f"-I{tests / 'lib/include'}", f"-I{source / 'tools/include'}"]
        return [*includes, "-pthread", tests / f"{name}.c", *library, "-luuid"]

    return _programs(root, source, AMD64, "vfio", VFIO, words)


def _replace(file, target, old, new):
    """Writes a copy of a file to `target`, with a text replaced. Fails if the file does not have the text."""
    text = file.read_text(encoding="utf-8")
    if old not in text:
        raise ToolError(f"{file.name}: does not have the expected line with a case's time limit")
    target.write_text(text.replace(old, new), encoding="utf-8")


def _programs(root, source, arch, what, names, words):
    """A cache entry with programs. `words(scratch, name)` are the compiler's arguments for a program."""
    compiler = f"{arch.tools}{series.ROOT.gcc}"
    tests = source / _FOLDER
    key = cache.key_of(source=str(source), flags=_FLAGS, timeout=_TIMEOUT, files=names, recipe=cache.file_hash(__file__),
                       compiler=compiler, root=str(root.path))  # fmt: skip

    def make(folder):
        text = f"selftests: compile those of {what} for {arch.name}"
        with PROGRESS.step(text) as step, cache.scratch("headers") as scratch:
            # Not in the source folder: builds in other folders refuse a source that has build
            # results.
            headers = ["make", "-C", source, f"O={scratch}", f"ARCH={arch.kernel}", f"INSTALL_HDR_PATH={scratch}/usr"]
            if not root.run([*headers, "headers_install"], log=step.log):
                raise step.fail("the kernel's headers cannot be installed")
            _replace(tests / "kselftest_harness.h", scratch / "kselftest_harness.h", *_TIMEOUT)
            includes = [f"-I{scratch}", f"-I{tests}", "-isystem", scratch / "usr/include"]
            for name in names:
                argv = [compiler, *_FLAGS, *includes, "-o", folder / name, *words(scratch, name)]
                if not root.run(argv, log=step.log):
                    raise step.fail(f"{name} does not compile")

    return cache.entry("selftests", key, make)


def results(output):
    """The results in the programs' output, `{suite: {case: outcome}}`, and the errors in the output, as lines.

    Outcomes are `passed`, `failed` and `skipped`. It is an error if a suite's exit status does not fit its results.
    """
    suites, wrong = {}, []
    current, planned = None, None
    for raw in output.splitlines():
        # Messages of the kernel may come between these lines, but never inside of one.
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
            if planned == 0:
                cases["all of it"], expected = "skipped", _SKIPPED
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
