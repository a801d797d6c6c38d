# SPDX-License-Identifier: GPL-2.0
"""Code that must not compile: tests/compile_fail/*.rs.

Each file is added to the crate as a module, and the crate is compiled with the command that builds the
kernel module. A line that ends with `//~ E0521` must give exactly this error, at least once, and there must be no
other error. Lifetime errors have no number: such a line has the message instead. A file without such a line is
a control and must compile. There must be a control, so that a harness which breaks every file fails.
"""

import concurrent.futures
import json
import pathlib
import re
import tempfile

from . import module, root
from .errors import ToolError
from .paths import CHECKOUT, cache_dir, jobs
from .progress import PROGRESS
from .sync import sync

SUITE = "compile-fail"
FOLDER = CHECKOUT / "tests/compile_fail"
_EXPECTED = re.compile(r"//~ (\S.*?)\s*$")


def run(report):
    """Runs every case."""
    with report.suite(SUITE):
        cases = sorted(FOLDER.glob("*.rs"))
        if not any(not expected_in(case.read_text(encoding="utf-8")) for case in cases):
            raise ToolError(f"{FOLDER.relative_to(CHECKOUT)} has no control (a file that must compile)")
        built = module.build()
        with PROGRESS.step(f"compile-fail: {len(cases)} cases") as step:
            # A copy, because another run may build the module meanwhile.
            with tempfile.TemporaryDirectory(prefix="compile-fail-", dir=cache_dir()) as folder:
                sync(folder, built.folder)

                def compile_one(case):
                    return _compile(built, pathlib.Path(folder), case, step.log)

                with concurrent.futures.ThreadPoolExecutor(jobs()) as pool:
                    outcomes = list(pool.map(compile_one, cases))
        for case, (found, said) in zip(cases, outcomes):
            with report.case(SUITE, case.stem):
                expected = expected_in(case.read_text(encoding="utf-8"))
                if found != expected:
                    raise ToolError(f"{difference(expected, found)}\n{said}")


def expected_in(text):
    """The errors that a file's comments announce: a sorted list of (line, code)."""
    lines = enumerate(text.splitlines(), 1)
    return sorted((number, match[1]) for number, line in lines if (match := _EXPECTED.search(line)))


def difference(expected, found):
    """The difference between two lists of errors, as text."""
    lines = [f"line {line}: {code} expected" for line, code in expected if (line, code) not in found]
    lines += [f"line {line}: {code} not expected" for line, code in found if (line, code) not in expected]
    return "\n".join(lines)


def errors_in(output, case):
    """The errors in rustc's JSON output: a sorted list of (line in `case` or place, code)."""
    found = []
    for text in output.splitlines():
        if not text.startswith("{"):
            continue
        message = json.loads(text)
        if message.get("level") != "error" or not message.get("spans"):
            continue
        span = next(span for span in message["spans"] if span["is_primary"])
        inside = span["file_name"].endswith(f"compile_fail/{case.name}")
        place = span["line_start"] if inside else f"{span['file_name']}:{span['line_start']}"
        found.append((place, (message.get("code") or {}).get("code", message["message"])))
    return sorted(set(found), key=lambda error: (isinstance(error[0], str), error))


def _compile(built, folder, case, log):
    """Compiles the crate in `folder` with the case in it. Returns (errors, rustc's output)."""
    # A copy of the crate's root with one more module. It is next to the real root, so that rustc
    # finds the root's modules.
    wrapper = folder / f"case_{case.stem}.rs"
    source = (folder / "iommu_core.rs").read_text(encoding="utf-8")
    wrapper.write_text(f'{source}\n#[path = "{case}"]\nmod compile_fail_case;\n', encoding="utf-8")
    # The command names the root relative to its folder.
    command, found = re.subn(r"(?<=\s)(\S*/)?iommu_core\.rs(?=\s|$)", str(wrapper), built.command)
    if found != 1:
        raise ToolError("the crate's root is not in the rustc command", log=log)
    command = re.sub(r" --emit=\S+", "", command)
    command = re.sub(r" --out-dir \S+", "", command)
    more = f" --crate-name iommu_core --emit=metadata=/tmp/{case.stem}.rmeta --error-format=json"
    argv = ["sh", "-c", command + more]
    result = root.get().run(argv, cwd=built.folder, env={"RUSTC_BOOTSTRAP": "1"}, log=log)
    found = errors_in(result.output, case)
    if bool(result) == bool(found):
        raise ToolError(f"rustc ended with status {result.status} and {len(found)} errors", log=log)
    rendered = [json.loads(line).get("rendered", "") for line in result.output.splitlines() if line.startswith("{")]
    return found, "".join(text for text in rendered if text.startswith("error"))
