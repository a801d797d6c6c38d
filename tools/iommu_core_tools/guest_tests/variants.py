# SPDX-License-Identifier: GPL-2.0
"""The story that `make run` shows, with other variants of the unit."""

import re

from .. import machine
from ..story import STEPS, Story
from .scenario import Scenario, TestFailure, after


def _test(number, step):
    def test(run):
        if number == 0:
            run.story = Story(run.guest, run.ours, show=lambda _text: None)
        if run.story.steps != number:
            raise TestFailure("not run: a step before it failed", log=run.guest.log)
        step(run.story)
        run.story.steps += 1

    # What comes before the first colon or semicolon.
    test.__name__ = re.match("[^:;]*", step.__doc__)[0]
    return test


def scenarios(kind):
    """A guest for each variant."""
    tests = [_test(number, step) for number, step in enumerate(STEPS)]
    for before, test in zip(tests, tests[1:]):
        after(before, test)
    return [
        Scenario(f"story-{name}", lambda kind, name=name: machine.bench(kind, **kind.stories[name]),
                 tests, ours_only=False)
        for name in kind.stories
    ]  # fmt: skip
