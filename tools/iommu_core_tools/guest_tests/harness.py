# SPDX-License-Identifier: GPL-2.0
"""Tests of the guest runner itself: that it notices when something goes wrong, and what it says then."""

import dataclasses
import pathlib
import subprocess
import sys

from .. import guest_log, initramfs, root, viommu
from ..arch import AMD64
from ..errors import ToolError
from ..guest import CommandError, GuestError
from ..paths import TOOLS
from ..root import Root
from .scenario import SUITE, Scenario, TestFailure, small

_ALARMS = """\
[    1.0] WARNING: CPU: 0 PID: 1 at drivers/iommu/iommu.c:100 f+0x1/0x2
[    1.0] WARNING: possible circular locking dependency detected
[    1.0] BUG: KASAN: slab-use-after-free in f+0x1/0x2
[    1.0] BUG: unable to handle page fault for address: 0
[    1.0] Oops: 0000 [#1] SMP
[    1.0] Call Trace:
[    1.0] Kernel panic - not syncing: f
[    1.0] kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)
[    1.0] INFO: task f:1 blocked for more than 20 seconds.
[    1.0] rust_kernel: panicked at f.rs:1:1:
[    1.0] BUG: sleeping function called from invalid context at f.c:1
"""

_HARMLESS = """\
[    1.0] Lock dependency validator: Copyright (c) 2006 Red Hat, Inc., Ingo Molnar
[    1.0] Kernel command line: panic=-1 WARNING:
[    1.0] iommu_core: dmar0: fault: 0000:04:00.0 (group 11): write at 0x1000: blocked (reason 0x05)
"""


def _fails_with(words, function):
    try:
        function()
    except ToolError as error:
        missing = [word for word in words if word not in error.what]
        if missing:
            raise TestFailure(f"the message lacks {missing}: {error.what}") from error
        return
    raise TestFailure("the call did not fail")


def _each_alarm_of_a_kernel_is_noticed(_image, _kind):
    for line in _ALARMS.splitlines():
        if not guest_log.alarms(line):
            raise TestFailure(f"not noticed: {line}")


def _harmless_lines_are_not_taken_for_alarms(_image, _kind):
    if found := guest_log.alarms(_HARMLESS):
        raise TestFailure(f"taken for an alarm: {found[0]}")


def _an_unknown_kind_of_IOMMU_is_named(_image, _kind):
    _fails_with(["VIOMMU=none"], lambda: viommu.get("none"))


def _a_missing_QEMU_is_named(image, kind):
    arch = dataclasses.replace(kind.arch, qemu="qemu-system-absent")
    absent = dataclasses.replace(kind, arch=arch)
    guest = image.start(small(absent), "no-qemu")
    _fails_with(["QEMU does not start", "qemu-system-absent"], lambda: _start(guest))


def _a_missing_kernel_is_named(image, kind):
    absent = dataclasses.replace(image, kernel=pathlib.Path("/absent/vmlinuz"))
    guest = absent.start(small(kind), "no-kernel")
    _fails_with(["QEMU does not start", "/absent/vmlinuz"], lambda: _start(guest))


def _a_device_that_QEMU_does_not_have_is_named(image, kind):
    guest = image.start(small(kind).device("absent-device"), "no-device")
    _fails_with(["QEMU does not start", "absent-device"], lambda: _start(guest))


def _a_root_without_busybox_is_named(_image, _kind):
    class Empty(Root):
        """The root, with a path that has no files."""

        def __init__(self):
            super().__init__(root.get().path)
            self.path = pathlib.Path("/absent")

    _fails_with(["busybox"], lambda: initramfs.build(Empty(), AMD64, "none"))


def _a_pipe_into_the_root_may_have_any_number(_image, _kind):
    # In a process of its own, where all descriptor numbers are free.
    script = """
import os, sys
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
from iommu_core_tools import root
for number in range(3, 30):
    inside, outside = os.pipe()
    os.write(outside, b"hello")
    os.close(outside)
    if inside != number:
        os.dup2(inside, number)
        os.close(inside)
    os.set_inheritable(number, True)
    result = root.get().run(["sh", "-c", f"cat </proc/self/fd/{number}"], pass_fds=(number,))
    if result.output != "hello":
        sys.exit(f"{number}: {result.output}")
    os.close(number)
"""
    argv = [sys.executable, "-c", script, str(TOOLS)]
    result = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    if result.returncode:
        raise TestFailure(result.stderr.strip())


def _start(guest):
    try:
        guest.start()
    finally:
        guest.stop()


def output_and_status_of_a_command_come_back_unchanged(run):
    for text in ("", "one\n", "no newline", "reply 1 0 4\nabc", "back\\slash \\n 'quotes' \"two\"",
                 "x" * 20000, "many\n" * 2000):  # fmt: skip
        run.guest.run(f"cat >/tmp/text <<'END'\n{text[:500]}\nEND")
        seen = run.guest.run("cat /tmp/text")
        run.check(seen == text[:500] + "\n", f"{text[:30]!r} comes back", seen[:60])
    run.check(len(run.guest.run("yes | head -c 200000")) == 200000, "long output comes back whole")
    status, output = run.guest.status("echo before; exit 7")
    run.check((status, output) == (7, "before\n"), "the status comes back", (status, output))


def a_command_that_hangs_is_ended_and_named(run):
    try:
        run.guest.run("sleep 100", timeout=2)
    except CommandError as error:
        run.check("sleep 100" in error.what, "the command is named", error.what)
    else:
        run.check(False, "the command fails")
    run.check(run.guest.works("true"), "the guest goes on")


def a_program_answers_until_it_ends(run):
    ask = run.guest.ask
    ask("start", "echo exec cat")
    run.check(ask("say", "echo 2 one\ntwo\n") == (0, "one\ntwo\n"), "the program answers")
    ask("start", "brief read -r line; exit 3")
    run.check(ask("say", "echo 1 three\n") == (0, "three\n"), "the program answers also beside a second one")
    status, _output = ask("say", "brief 1 x\n")
    run.check(status, "a program that ends without an answer gives an error", status)
    run.check(ask("end", "brief ")[0] == 3, "the agent returns the status of a program that has ended")
    try:
        ask("say", "echo 1 no line feed", timeout=1)
    except CommandError as error:
        run.check("no line feed" in error.what, "the error names a request without an answer", error.what)
    else:
        run.check(False, "a request without an answer fails")
    run.check(ask("kill", "echo")[0] == 0 and not run.guest.works("pidof cat"), "the agent kills a program")
    run.check(ask("say", "echo 1 x\n")[0], "a request to a killed program fails")


def background_processes_do_not_disturb_the_agent(run):
    for i in range(30):
        run.guest.run("for i in 1 2 3; do sleep 0.05 & done")
        run.check(run.guest.run(f"echo {i}") == f"{i}\n", "the answer is right")


def a_panic_is_reported_with_its_cause(run):
    try:
        run.guest.run("echo c >/proc/sysrq-trigger")
    except GuestError as error:
        run.check("panic" in error.what or "Oops" in error.what or "BUG" in error.what,
                  "the message has the kernel's alarm", error.what)  # fmt: skip
        run.check(error.log == run.guest.log, "the error has the path of the log")
        return
    run.check(False, "the command fails")


def a_guest_that_hangs_is_reported(run):
    run.guest.qmp.execute("stop")
    try:
        run.guest.run("true", timeout=1)
    except GuestError as error:
        run.check("hangs" in error.what, "the message says that the guest hangs", error.what)
        return
    run.check(False, "the command fails")


PLAIN = [
    _each_alarm_of_a_kernel_is_noticed,
    _harmless_lines_are_not_taken_for_alarms,
    _an_unknown_kind_of_IOMMU_is_named,
    _a_missing_QEMU_is_named,
    _a_missing_kernel_is_named,
    _a_device_that_QEMU_does_not_have_is_named,
    _a_root_without_busybox_is_named,
    _a_pipe_into_the_root_may_have_any_number,
]


def run_plain(report, image, kind, only):
    """The tests that need no running guest."""
    for test in PLAIN:
        name = test.__name__.strip("_").replace("_", " ")
        if not only or only in name:
            with report.case(SUITE, f"tools: {name}"):
                test(image, kind)


def scenarios(kind):
    """A guest for the tests of the agent, and a guest that panics."""
    if not kind.is_first:
        return []
    return [
        Scenario("agent", small, [
            output_and_status_of_a_command_come_back_unchanged,
            a_command_that_hangs_is_ended_and_named,
            a_program_answers_until_it_ends,
            background_processes_do_not_disturb_the_agent,
            a_guest_that_hangs_is_reported,
        ], ours_only=False),
        Scenario("panic", small, [a_panic_is_reported_with_its_cause],
                 allowed=(r".",), ours_only=False),  # fmt: skip
    ]  # fmt: skip
