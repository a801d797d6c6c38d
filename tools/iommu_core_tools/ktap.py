# SPDX-License-Identifier: GPL-2.0
"""Reads KTAP, the test output of the kernel (Documentation/dev-tools/ktap.rst)."""

import re

_TIME = re.compile(r"^(?:<\d+>)?\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ")
_RESULT = re.compile(r"^( *)(not ok|ok) (\d+)(?: -)? ?([^#]*?)\s*(?:# *(SKIP|TODO)\b ?(.*))?$")
_PLAN = re.compile(r"^( *)1\.\.(\d+)$")
_SUBTEST = re.compile(r"^( *)# Subtest: (.+)$")


class Case:
    """One test case: suite, name, outcome (`passed`, `failed` or `skipped`) and its log lines."""

    def __init__(self, suite, name, outcome, log, reason=""):
        self.suite = suite
        self.name = name
        self.outcome = outcome
        self.log = log
        self.reason = reason


def parse(lines):
    """Every case in the output, and what is wrong with the output itself: (cases, problems).

    A suite that ends without the number of cases that its plan names, or that never ends (a crash),
    is a problem, and so is output without KTAP at all.
    """
    cases, problems = [], []
    suite, planned, seen, log = None, None, 0, []
    started = ended = 0
    top_plan = None
    found = False
    for raw in lines:
        line = _TIME.sub("", raw.rstrip())
        if line.strip() in ("KTAP version 1", "TAP version 14"):
            found = True
            continue
        if match := _SUBTEST.match(line):
            if len(match[1]) == 4:
                if suite is not None:
                    problems.append(f"suite {suite} did not end")
                suite, planned, seen, log = match[2].strip(), None, 0, []
                started += 1
            continue
        if match := _PLAN.match(line):
            if not match[1] and found and top_plan is None:
                top_plan = int(match[2])
            elif len(match[1]) == 4 and suite is not None:
                planned = int(match[2])
            continue
        match = _RESULT.match(line)
        if match and found:
            depth = len(match[1]) // 4
            if depth == 1 and suite is not None:
                outcome = "passed" if match[2] == "ok" else "failed"
                if match[5] == "SKIP":
                    outcome = "skipped"
                seen += 1
                cases.append(Case(suite, match[4], outcome, log, match[6] or ""))
                log = []
                continue
            if depth == 0:
                ended += 1
                if suite is not None:
                    if planned is not None and seen != planned:
                        problems.append(f"suite {suite} ran {seen} of {planned} cases")
                    if seen == 0 and match[2] == "not ok":
                        problems.append(f"suite {suite} failed before its first case")
                suite, log = None, []
                continue
        log.append(line)
    if not found:
        problems.append("no KTAP output")
    if suite is not None:
        problems.append(f"suite {suite} did not end (a crash?); its last lines:\n" + "\n".join(log[-20:]))
    elif top_plan is not None and ended < top_plan:
        problems.append(f"{ended} of {top_plan} suites ended")
    return cases, problems
