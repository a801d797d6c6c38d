# SPDX-License-Identifier: GPL-2.0
"""Runs the story of `make run` with variants of the unit."""

import re

from .. import machine
from ..story import NATIVE_STEPS, STEPS, Story
from .scenario import Scenario, TestFailure, after


def _test(steps, number):
    step = steps[number]

    def test(run):
        if number == 0:
            native = steps is NATIVE_STEPS
            run.story = Story(run.guest, run.ours, show=lambda _text: None, native=native)
        if run.story.steps != number:
            raise TestFailure("not run: an earlier step failed", log=run.guest.log)
        step(run.story)
        run.story.steps += 1

    # The step's title up to the first colon or semicolon.
    test.__name__ = re.match("[^:;]*", step.__doc__)[0]
    return test


def tests_of(steps):
    """The story's steps as tests."""
    tests = [_test(steps, number) for number in range(len(steps))]
    for before, test in zip(tests, tests[1:]):
        after(before, test)
    return tests


def scenarios(kind):
    """A guest for each variant."""
    tests = tests_of(STEPS)
    return [
        Scenario(f"story-{name}", lambda kind, name=name: machine.bench(kind, **kind.stories[name]),
                 tests, ours_only=False)
        for name in kind.stories
    ]  # fmt: skip
