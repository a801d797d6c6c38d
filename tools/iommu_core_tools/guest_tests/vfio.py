# SPDX-License-Identifier: GPL-2.0
"""Domains of user programs: sharing, page sizes, wrong arguments, random mappings compared with a model."""

import random
import re

from .. import core_view, guest_pci, machine
from ..report import Skip
from ..vfio_user import VfioUser
from .scenario import Scenario, after

_PAGE = 4096
_MIB = 1 << 20
_BASE = 0x10000000
_SEED = 20260
# The interval, in seconds, of the limit on printed faults of a group (fault.rs).
_FAULT_INTERVAL = 5


class _Held:
    """A user program that has opened iommu-testdev, edu or both in a container, for one test.

    `container` is "container" or "iommufd".
    """

    def __init__(self, run, name, devices=("test",), container="container"):
        self.run = run
        self.user = VfioUser(run.guest, name)
        self.user.say(f"{container} c")
        slots = {"test": (machine.TEST, "testdev"), "a": (machine.A, "edu")}
        for i, device in enumerate(devices):
            slot, kind = slots[device]
            address = run.at(slot)
            self.user.script([f"group {device} {run.group(address)}", f"set-container {device} c"])
            if i == 0:
                self.user.say("set-iommu c type1v2")
            self.user.say(f"device {device} {device} {address} {kind}")

    def __enter__(self):
        return self.user

    def __exit__(self, *exception):
        # A failed test leaves its program running. A skipped test does not.
        if exception[0] in (None, Skip):
            self.user.quit()


def _reaches(user, iova, buffer, offset, length=_PAGE):
    """Whether iommu-testdev reaches these bytes of a buffer at `iova`."""
    return user.say(f"testdev-run test {iova:#x} {buffer} {offset:#x} {length}") == "result 0"


def _ranges(user):
    """The first and last address of each range that VFIO allows to map."""
    found = re.findall(r"(0x[0-9a-f]+|0)-(0x[0-9a-f]+)", user.say("ranges c"))
    return [(int(first, 16), int(last, 16)) for first, last in found]


def the_module_and_vfio_are_loaded(run):
    run.load()
    guest_pci.load_vfio(run.guest)
    for slot in (machine.TEST, machine.A):
        guest_pci.give_to_vfio(run.guest, run.at(slot))


def DMA_reaches_both_ends_of_a_mapping_and_nothing_beyond(run):
    with _Held(run, "ends") as user:
        user.script(["buffer b 0x4000", f"map c b 0x1000 0x2000 {_BASE:#x} rw"])
        run.check(_reaches(user, _BASE, "b", 0x1000), "the first page is reached")
        run.check(_reaches(user, _BASE + 0x1000, "b", 0x2000), "the last page is reached")
        run.check(not _reaches(user, _BASE - _PAGE, "b", 0), "the page before is not")
        run.check(not _reaches(user, _BASE + 0x2000, "b", 0x3000), "the page after is not")


def a_read_only_mapping_cannot_be_written(run):
    with _Held(run, "readonly", ("test", "a")) as user:
        user.script(["buffer b 0x3000", f"map c b 0 0x1000 {_BASE:#x} r",
                     f"map c b 0x1000 0x1000 {_BASE + _PAGE:#x} rw", "fill b 0 4096 5"])  # fmt: skip
        run.check(not _reaches(user, _BASE, "b", 0), "a write is blocked")
        run.check(user.say("check b 0 4096 5") == "match", "the page is unchanged")
        user.say(f"edu-copy a {_BASE:#x} {_BASE + _PAGE:#x} 4096")
        run.check(user.say("check b 4096 4096 5") == "match", "a read works")


def both_ends_of_the_aperture_can_be_mapped(run):
    with _Held(run, "aperture") as user:
        ranges = _ranges(user)
        run.check(ranges, "VFIO says which addresses may be mapped")
        user.say("buffer b 0x2000")
        first, last = ranges[0][0], ranges[-1][1] - _PAGE + 1
        for iova in (first, last):
            user.say(f"map c b 0 0x1000 {iova:#x} rw")
            run.check(_reaches(user, iova, "b", 0), f"DMA at {iova:#x} works")
            user.say(f"unmap c {iova:#x} 0x1000")
            run.check(not _reaches(user, iova, "b", 0), f"DMA at {iova:#x} is blocked afterwards")
        for low, high in zip(ranges, ranges[1:]):
            hole = low[1] + 1
            run.check(hole < high[0], "ranges have holes between them")
            run.check(user.errno(f"map c b 0 0x1000 {hole:#x} rw") == "EINVAL",
                      f"{hole:#x} in the hole is refused")  # fmt: skip
        run.check(user.errno(f"map c b 0 0x1000 {last + _PAGE:#x} rw") == "EINVAL",
                  "the page above the aperture is refused")  # fmt: skip


def large_and_small_pages_mix(run):
    with _Held(run, "large") as user:
        size = 12 * _MIB
        user.script([f"buffer b {size}", f"map c b 0 {size} {_BASE:#x} rw"])
        for offset in (0, 2 * _MIB - _PAGE, 2 * _MIB, 7 * _MIB + 5 * _PAGE, size - _PAGE):
            run.check(_reaches(user, _BASE + offset, "b", offset), f"offset {offset:#x} is reached")
        run.check(int(user.say(f"unmap c {_BASE:#x} {size}")) == size, "all of it is unmapped")
        for offset in (0, 2 * _MIB, size - _PAGE):
            run.check(not _reaches(user, _BASE + offset, "b", offset), "nothing is left")
        # The same range again, with an offset that allows no large pages.
        user.say(f"map c b 0 {8 * _MIB} {_BASE + _PAGE:#x} rw")
        run.check(_reaches(user, _BASE + _PAGE, "b", 0), "the range can be mapped again")


def one_domain_serves_two_groups(run):
    with _Held(run, "two", ("test", "a")) as user:
        user.script(["buffer b 0x4000", f"map c b 0 0x4000 {_BASE:#x} rw", "fill b 0 4096 8"])
        user.say(f"edu-copy a {_BASE:#x} {_BASE + 0x1000:#x} 4096")
        run.check(user.say("check b 4096 4096 8") == "match", "edu's group reaches the mapping")
        run.check(_reaches(user, _BASE + 0x2000, "b", 0x2000), "iommu-testdev's group reaches the mapping")
        if run.ours:
            names = {core_view.group_of(run.guest, run.at(slot)).domain
                     for slot in (machine.A, machine.TEST)}  # fmt: skip
            run.check(len(names) == 1, "debugfs shows one domain for both", names)


def a_group_that_joins_later_sees_what_is_mapped(run):
    with _Held(run, "later") as user:
        user.script(["buffer b 0x4000", f"map c b 0 0x4000 {_BASE:#x} rw", "fill b 0 4096 8"])
        address = run.at(machine.A)
        user.script([f"group a {run.group(address)}", "set-container a c",
                     f"device a a {address} edu",
                     f"edu-copy a {_BASE:#x} {_BASE + 0x1000:#x} 4096"])  # fmt: skip
        run.check(user.say("check b 4096 4096 8") == "match", "DMA of the group that has joined works")
        user.script(["close-device a", "close-group a"])
        run.check(_reaches(user, _BASE, "b", 0), "DMA of the first group works after the other has left")


def an_interrupt_reaches_the_program(run):
    if not run.kind.vfio_interrupts:
        run.skip("VFIO's containers have no interrupts with this unit")
    with _Held(run, "interrupt", ("a",)) as user:
        run.check(user.say("edu-interrupts a 2") == "arrived 2", "two interrupts arrive")


def an_iommufd_serves_two_groups_and_interrupts(run):
    with _Held(run, "iommufd", ("test", "a"), "iommufd") as user:
        user.script(["buffer b 0x4000", f"map c b 0 0x4000 {_BASE:#x} rw", "fill b 0 4096 8"])
        user.say(f"edu-copy a {_BASE:#x} {_BASE + 0x1000:#x} 4096")
        run.check(user.say("check b 4096 4096 8") == "match", "edu's group reaches the mapping")
        run.check(_reaches(user, _BASE + 0x2000, "b", 0x2000), "iommu-testdev's group reaches the mapping")
        run.check(user.say("edu-interrupts a 2") == "arrived 2", "two interrupts arrive")
        user.say(f"unmap c {_BASE:#x} 0x4000")
        run.check(not _reaches(user, _BASE, "b", 0), "unmapped memory is not reached")


def wrong_arguments_get_the_right_errno(run):
    top = (1 << 64) - _PAGE
    read_write = 3
    with _Held(run, "wrong") as user:
        user.script(["buffer b 0x4000", f"map c b 0 0x2000 {_BASE:#x} rw"])
        # An address at which the program has no memory.
        nowhere = 0x1000
        beyond = _ranges(user)[-1][1] + 1
        # AMD-Vi's version 1 tables can grow to six levels, which cover all addresses.
        too_high = [(f"map c b 0 0x1000 {beyond:#x} rw", "EINVAL")] if beyond <= top else []
        for command, errno in (
            (f"map c b 0 0x1000 {_BASE + 0x10001:#x} rw", "EINVAL"),
            (f"map c b 0 0x800 {_BASE + 0x10000:#x} rw", "EINVAL"),
            (f"map c b 0x10 0x1000 {_BASE + 0x10000:#x} rw", "EINVAL"),
            (f"map c b 0 0 {_BASE + 0x10000:#x} rw", "EINVAL"),
            (f"map c b 0 0x1000 {_BASE + 0x10000:#x} -", "EINVAL"),
            (f"map c b 0 0x1000 {_BASE:#x} rw", "EEXIST"),
            (f"map c b 0 0x2000 {_BASE - _PAGE:#x} rw", "EEXIST"),
            (f"map c b 0 0x2000 {top:#x} rw", "EOVERFLOW"),
            (f"map-raw c {nowhere:#x} {_BASE + 0x10000:#x} 0x1000 {read_write}", "EFAULT"),
            (f"map-raw c {top:#x} {_BASE + 0x10000:#x} 0x2000 {read_write}", "EOVERFLOW"),
            (f"map-raw c {nowhere:#x} {_BASE + 0x10000:#x} 0x1000 0x100", "EINVAL"),
            *too_high,
            (f"map c b 0 0x1000 {run.kind.interrupts:#x} rw", "EINVAL"),
            (f"unmap c {_BASE + 1:#x} 0x1000", "EINVAL"),
            (f"unmap c {_BASE:#x} 0x10", "EINVAL"),
            (f"unmap c {_BASE:#x} 0", "EINVAL"),
            (f"unmap c {_BASE:#x} 0x1000", "EINVAL"),
            (f"unmap c {top:#x} 0x2000", "EOVERFLOW"),
        ):
            seen = user.errno(command)
            run.check(seen == errno, f"{command!r} gives {errno}", seen)
        run.check(user.say(f"unmap c {_BASE + 0x100000:#x} 0x1000") == "0",
                  "an unmap of a range without mappings unmaps 0 bytes")  # fmt: skip
        run.check(_reaches(user, _BASE + 0x1000, "b", 0x1000), "the first mapping is still there")
        run.check(not _reaches(user, _BASE + 0x10000, "b", 0), "no other address is mapped")


def a_failed_mapping_leaves_no_trace(run):
    with _Held(run, "trace") as user:
        # The program has no memory at the second half of this range.
        user.script(["buffer b 0x200000", "buffer c 0x1000"])
        before = core_view.domains(run.guest) if run.ours else None
        start = int(user.say("where b"), 16)
        run.check(user.errno(f"map-raw c {start:#x} {_BASE:#x} 0x400000 3") == "EFAULT", "EFAULT")
        run.check(not _reaches(user, _BASE, "b", 0), "the first page is not reached")
        if run.ours:
            run.check(core_view.domains(run.guest) == before, "no bytes are counted as mapped",
                      core_view.domains(run.guest))  # fmt: skip
        user.say(f"map c b 0 0x200000 {_BASE:#x} rw")
        run.check(_reaches(user, _BASE, "b", 0), "the range can be mapped afterwards")


def random_mappings_agree_with_a_model(run):
    random_source = random.Random(_SEED)
    pages, mapped = 512, {}
    commands, expected = [], []

    def overlaps(first, count):
        return any(start < first + count and first < start + length
                   for start, (_offset, length) in mapped.items())  # fmt: skip

    for _ in range(600):
        first = random_source.randrange(pages)
        if random_source.random() < 0.6:
            count = random_source.choice((1, 1, 2, 3, 7, 16, 64))
            offset = random_source.randrange(pages - count)
            commands.append(f"map c b {offset * _PAGE} {count * _PAGE} {_BASE + first * _PAGE:#x} rw")
            if overlaps(first, count):
                expected.append("error EEXIST File exists")
            else:
                mapped[first] = (offset, count)
                expected.append("ok")
        elif mapped:
            start = random_source.choice(sorted(mapped))
            _offset, count = mapped.pop(start)
            commands.append(f"unmap c {_BASE + start * _PAGE:#x} {count * _PAGE}")
            expected.append(f"ok {count * _PAGE}")
        # One access of the device to a random page.
        page, at = random_source.randrange(pages), random_source.randrange(pages)
        for start, (offset, count) in mapped.items():
            if start <= page < start + count:
                at = offset + page - start
        commands.append(f"testdev-run test {_BASE + page * _PAGE:#x} b {at * _PAGE} 64")
        reached = any(start <= page < start + count for start, (_o, count) in mapped.items())
        expected.append("ok result 0" if reached else "ok result 0xdead0002")

    with _Held(run, "random") as user:
        user.say(f"buffer b {pages * _PAGE}")
        answers = []
        for i in range(0, len(commands), 40):
            answers += user.many(commands[i : i + 40])
        for i, (command, answer, want) in enumerate(zip(commands, answers, expected)):
            run.check(answer == want, f"step {i} (seed {_SEED}): {command!r} gives {want!r}", answer)


def a_killed_program_frees_everything(run):
    before = set(core_view.domains(run.guest)) if run.ours else None
    held = _Held(run, "killed", ("test", "a"))
    held.user.script(["buffer b 0x200000", f"map c b 0 0x200000 {_BASE:#x} rw"])
    held.user.kill()
    if run.ours:
        after = set(core_view.domains(run.guest))
        run.check(not after - before, "the program's domain is freed", after - before)
    with _Held(run, "next", ("test", "a")) as user:
        user.script(["buffer b 0x1000", f"map c b 0 0x1000 {_BASE:#x} rw"])
        run.check(_reaches(user, _BASE, "b", 0), "the next program can use the devices")


def faults_are_counted_and_do_not_flood_the_log(run):
    # After the interval, earlier faults of the group no longer count towards the limit.
    run.guest.run(f"sleep {_FAULT_INTERVAL}")
    mark = run.guest.mark()
    address = run.at(machine.TEST)
    device, recorded = run.kind.recorded(address, _BASE)
    before = core_view.group_of(run.guest, device).faults if run.ours else 0
    with _Held(run, "faults") as user:
        user.say("buffer b 0x1000")
        length = 64
        command = f"testdev-run test {_BASE:#x} b 0 {length}"
        for _ in range(10):
            user.many([command] * 40)
        run.guest.run("sleep 0.5")
        log = run.guest.kernel_log(mark)
        run.need_ours()
        lines = core_view.faults(log)
        run.check(lines, "faults are in the log")
        run.check(len(lines) <= 60, "400 faults give few lines", len(lines))
        # Some units split an access, and record a fault for each part.
        wrong = [line for line in lines if line.device != device
                 or not recorded <= line.address < recorded + length]  # fmt: skip
        run.check(not wrong, "each line names device and address", wrong)
        count = core_view.group_of(run.guest, device).faults - before
        run.check(count >= len(lines), "debugfs counts at least as many faults as there are lines", count)


def vfio_user_says_what_it_takes(run):
    status, said = run.guest.status("vfio-user help")
    run.check(status == 0 and "set-container    GROUP CONTAINER" in said, "as an argument, help lists the commands", said)
    status, said = run.guest.status("vfio-user map")
    run.check(status == 2 and "standard input" in said, "other arguments are refused", said)


TESTS = [
    the_module_and_vfio_are_loaded,
    *after(
        the_module_and_vfio_are_loaded,
        DMA_reaches_both_ends_of_a_mapping_and_nothing_beyond,
        a_read_only_mapping_cannot_be_written,
        both_ends_of_the_aperture_can_be_mapped,
        large_and_small_pages_mix,
        one_domain_serves_two_groups,
        a_group_that_joins_later_sees_what_is_mapped,
        an_interrupt_reaches_the_program,
        vfio_user_says_what_it_takes,
        wrong_arguments_get_the_right_errno,
        a_failed_mapping_leaves_no_trace,
        random_mappings_agree_with_a_model,
        a_killed_program_frees_everything,
        faults_are_counted_and_do_not_flood_the_log,
    ),
]


# For kernels with iommufd. The stock kernel does not have it.
IOMMUFD_TESTS = after(the_module_and_vfio_are_loaded, an_iommufd_serves_two_groups_and_interrupts)


def scenarios(kind):
    """A guest with the tests for each variant of the unit."""
    return [
        Scenario(f"vfio-{name}", lambda kind, name=name: machine.bench(kind, **kind.owners[name]),
                 TESTS, ours_only=False)
        for name in kind.owners
    ]  # fmt: skip
