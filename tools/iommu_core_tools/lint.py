# SPDX-License-Identifier: GPL-2.0
"""Checks that need no running kernel: format, clippy, `unsafe`, arrows, licence lines, the tools."""

import ast
import functools
import re
import shutil

from . import arrows, cache, custom_kernel, intree, lsiommu, module, root, run, uml, unsafe_rooms
from .arch import ARCHES
from .errors import ToolError
from .paths import CHECKOUT
from .progress import PROGRESS

SUITE = "lint"
# The kernels for guests that clippy sees: those that `make test` builds anyway.
CLIPPY_KERNELS = (custom_kernel.HOSTED, custom_kernel.NATIVE["amd64"])


def run_all(report):
    """Runs every check; each is a case."""
    with report.suite(SUITE):
        for name, check in (
            ("rustfmt", rustfmt),
            ("unsafe rooms", _checked(unsafe_rooms.check)),
            ("arrows between files", _checked(arrows.check)),
            ("licence lines", _checked(licence_lines)),
            ("no archive or registry named", _checked(registry_names)),
            ("width of comments", _checked(comment_widths)),
            ("Python and shell syntax", _checked(syntax)),
            ("shellcheck", shellcheck),
            *(
                (f"clippy, module for {arch.name}", functools.partial(clippy_module, arch))
                for arch in ARCHES.values()
            ),
            ("clippy, lsiommu", lsiommu.clippy),
            ("clippy, with the suites", clippy_suites),
            *(
                (f"clippy, built into {kernel.name}", functools.partial(clippy_kernel, kernel))
                for kernel in CLIPPY_KERNELS
            ),
        ):
            with report.case(SUITE, name):
                check()


def _checked(check):
    def run_check():
        wrong = check()
        if wrong:
            raise ToolError("\n".join(wrong))

    return run_check


# --- Rust -------------------------------------------------------------------------------------


def rust_files():
    """Every Rust file of the repository."""
    return [name for name in files() if name.endswith(".rs")]


def rustfmt(*, write=False):
    """Checks the format of all Rust files with the kernel's settings. With `write`, formats them."""
    names = rust_files()
    with PROGRESS.step(f"{'fmt' if write else 'lint'}: rustfmt, {len(names)} files") as step:
        argv = ["rustfmt", "--config-path", ".rustfmt.toml", "--color", "never"]
        argv += [] if write else ["--check"]
        result = root.get().run([*argv, *names], cwd=CHECKOUT, log=step.log)
        if not result:
            what = "rustfmt failed" if write else "not formatted as the kernel's settings say"
            PROGRESS.plain(_each_once(result.output.replace(f"{CHECKOUT}/", "")))
            raise step.fail(what, None if write else "make fmt", shown=True)


def _each_once(differences, most=100):
    """Removes duplicates from rustfmt's differences: it checks a file twice if a `mod` line names it as well."""
    once = dict.fromkeys(re.split(r"^(?=Diff in )", differences, flags=re.M))
    lines = "".join(once).rstrip().splitlines()
    return "\n".join(lines[:most] + ([f"... {len(lines) - most} more lines"] if len(lines) > most else []))


def clippy_module(arch):
    """clippy with warnings as errors, on the module for an architecture's stock kernel."""
    module.build(arch, clippy=True)


def clippy_suites():
    """clippy on a kernel for tests, which has the suites and the mock driver."""
    with uml.built() as build:
        clippy_built(build)


def clippy_kernel(kernel):
    """clippy on a kernel for guests. Builds only what clippy needs of it."""
    with kernel.built(intree.CRATE) as build:
        clippy_built(build)


def clippy_built(build):
    """clippy on the kernel that was built in the folder `build`."""
    with PROGRESS.step("lint: clippy on what is built in") as step:
        text = (build / intree.FOLDER / ".iommu_core.o.cmd").read_text(encoding="utf-8")
        line = re.search(r"^savedcmd_\S*iommu_core\.o := (.*)$", text, re.M)[1]
        command = line.split(" ; ", 1)[0]
        command = re.sub(r"(^| )rustc ", r"\1clippy-driver ", command, count=1)
        command = re.sub(r" --emit=\S+", "", command)
        command = re.sub(r" --out-dir \S+", "", command)
        argv = ["sh", "-c", f"{command} --emit=metadata=/tmp/clippy.rmeta -Dwarnings"]
        env = {"CLIPPY_CONF_DIR": str(intree.SOURCE), "RUSTC_BOOTSTRAP": "1"}
        result = root.get().run(argv, cwd=intree.BUILD, env=env, binds=intree.binds(build), log=step.log)
        if not result:
            module.show_compiler_output(result.output, intree.SOURCE / intree.FOLDER)
            raise step.fail("clippy found something", shown=True)


# --- everything -------------------------------------------------------------------------------


def files():
    """The repository's files: those that git tracks or would add; without git, all files."""
    listing = None
    if (CHECKOUT / ".git").exists() and shutil.which("git"):
        listing = run.run(["git", "-C", CHECKOUT, "ls-files", "-co", "--exclude-standard"])
    if listing:
        names = listing.output.splitlines()
    else:
        names = [str(path.relative_to(CHECKOUT)) for path in CHECKOUT.rglob("*") if path.is_file()]
        names = [name for name in names if not name.startswith(".git/") and "/target/" not in name]
    return sorted(name for name in names if (CHECKOUT / name).is_file())


def _text(name):
    try:
        return (CHECKOUT / name).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


_NO_LICENCE_LINE = re.compile(r"(^|/)(COPYING|Cargo\.lock|debian/copyright|.*\.md|.*\.bin|.*\.txt)$|proptest-regressions/")


def licence_lines():
    """Files without a licence in their first lines."""
    wrong = []
    for name in files():
        text = _text(name)
        if text is None or _NO_LICENCE_LINE.search(name):
            continue
        head = "\n".join(text.splitlines()[:3])
        if "SPDX-License-Identifier: GPL-2.0" not in head:
            wrong.append(f"{name}:1: lacks SPDX-License-Identifier: GPL-2.0")
    return wrong


# The archive and the registry come from the machine's configuration. What may be named: places
# where one reads. cargo writes its own registry's name into the lock file.
_HOST = re.compile(r"\b(?:[\w-]+\.)*(?:debian\.(?:org|net)|crates\.io|ubuntu\.com|pypi\.org)\b")
_READING = re.compile(r"https?://(?:(?:www|wiki|packages|tracker|bugs)\.debian\.org)\b")


def registry_names():
    """Lines that name an archive or a registry."""
    wrong = []
    for name in files():
        text = _text(name)
        if text is None or name.endswith("Cargo.lock") or name == "tools/iommu_core_tools/lint.py":
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if match := _HOST.search(_READING.sub("", line)):
                wrong.append(f"{name}:{number}: names {match[0]}")
    return wrong


# rustfmt leaves comments as they are. A table's row is as wide as it has to be.
_WIDTH = 100
_COMMENT = {"rs": re.compile(r"\s*//(?![/!]? ?\|)"), "py": re.compile(r"\s*#(?!!)"), "sh": re.compile(r"\s*#(?!!)")}


def wide_comments(name, text):
    """Comments of a file, on lines of their own, that are too wide."""
    comment = _COMMENT.get(name.rpartition(".")[2], _COMMENT["sh"])
    return [
        f"{name}:{number}: a comment of {len(line)} columns, {_WIDTH} is the most"
        for number, line in enumerate(text.splitlines(), 1)
        if len(line) > _WIDTH and comment.match(line)
    ]


def comment_widths():
    """Comments that are too wide, in code."""
    code = re.compile(r"\.(rs|py|sh)$|(^|/)(Makefile|Kbuild|Kconfig|ic|debian/rules)$")
    names = [name for name in files() if code.search(name)] + shell_files()
    return [line for name in dict.fromkeys(names) for line in wide_comments(name, _text(name))]


def syntax():
    """Python and shell files that do not parse."""
    wrong = []
    for name in files():
        text = _text(name)
        if text is None:
            continue
        first = text.split("\n", 1)[0]
        if name.endswith(".py") or (first.startswith("#!") and "python3" in first):
            try:
                ast.parse(text, name)
            except SyntaxError as error:
                wrong.append(f"{name}:{error.lineno}: {error.msg}")
        elif _is_shell(name, first):
            shell = "bash" if "bash" in first else "sh"
            result = run.run([shell, "-n", CHECKOUT / name])
            if not result:
                wrong.append(result.output)
    return wrong


def _is_shell(name, first):
    return name.endswith(".sh") or re.match(r"#!\s*/bin/(ba|da)?sh\b|#!/usr/bin/env bash", first)


def shell_files():
    """Every shell script of the repository."""
    texts = ((name, _text(name)) for name in files())
    return [name for name, text in texts if text is not None and _is_shell(name, text.split("\n", 1)[0])]


def shellcheck():
    """shellcheck on all shell scripts. What has to be as it is says so with a comment."""
    names = shell_files()
    layer = root.with_packages("shellcheck", ("shellcheck",), "lint: get shellcheck")
    with cache.scratch("shellcheck") as folder, PROGRESS.step(f"lint: shellcheck, {len(names)} files") as step:
        argv = ["shellcheck", "--color=never", "--format=gcc", *names]
        result = root.get().layered(folder, layer).run(argv, cwd=CHECKOUT, log=step.log)
        if not result:
            PROGRESS.plain(result.output)
            raise step.fail("shellcheck found something", shown=True)
