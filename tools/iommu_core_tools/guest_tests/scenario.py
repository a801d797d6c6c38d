# SPDX-License-Identifier: GPL-2.0
"""Scenarios. A scenario is a guest that boots once, and the tests that run in this guest one after the other.

- A test is a function with one argument, a `Run`. Its name says which behaviour it checks.
- A test fails if it raises an exception, such as the one of `Run.check()`.
- The first test usually loads the module. If the first test fails, or the guest ends, the other tests are
  not run and fail.
- `after()` marks a test that depends on an earlier test. Whoever runs only the later test gets both.
"""

import dataclasses

from .. import core_view, guest_pci, next_kernel, units
from ..errors import ToolError
from ..guest import GuestError
from ..guest_images import OURS
from ..machine import Machine
from ..progress import PROGRESS
from ..report import Skip


SUITE = "guests"


class TestFailure(ToolError):
    """A check of a test failed."""


@dataclasses.dataclass
class Scenario:
    """One guest.

    `machine(kind)` makes its machine. `tests` run in their order. `parameters` are for the kernel, besides
    those that leave the unit to our module. `allowed` are patterns of alarms in the kernel's log that do not
    fail a test. `ours_only` says that no test makes sense with the kernel's own driver.
    """

    name: str
    machine: object
    tests: list
    parameters: tuple = ()
    # Replaces the parameters that leave the unit to our module, for a unit that another driver
    # uses.
    instead_of_free: tuple | None = None
    allowed: tuple = ()
    ours_only: bool = True
    # ACPI tables to replace, by name.
    tables: dict | None = None
    # Makes programs for an architecture, which the guest finds in /suites. Returns their paths.
    programs: object = None
    # Whether the guest boots another kernel: see `next_kernel`.
    next_kernel: bool = False

    def parameters_for(self, kind, driver):
        """The kernel's parameters."""
        if driver != OURS:
            return [*kind.stock, *self.parameters]
        free = kind.free if self.instead_of_free is None else self.instead_of_free
        return [*free, *self.parameters]


class Run:
    """The argument of a test: the running guest, and shorthands."""

    def __init__(self, guest, kind, driver, modular):
        self.guest = guest
        self.kind = kind
        self._modular = modular
        self.ours = driver == OURS
        # The `Story`, if the tests are its steps.
        self.story = None

    def check(self, holds, claim, seen=None):
        """Fails the test with "not so: <claim>" if the claim does not hold."""
        if not holds:
            text = f"not so: {claim}" if seen is None else f"not so: {claim}; instead: {seen}"
            raise TestFailure(text, log=self.guest.log)

    def load(self, parameters=""):
        """Loads the module (unless the kernel's own driver is tested)."""
        if self.ours and self._modular:
            self.guest.run(f"modprobe iommu_core {parameters}".strip())

    def load_drivers(self, *names):
        """Loads device drivers. By default, those of all devices that the machines have."""
        if self._modular:
            names = names or ("nvme", "ahci", "sd_mod", "e1000e")
            self.guest.run(f"modprobe -a {' '.join(names)}")

    def refusal(self, parameters=""):
        """Tries to load the module, which must fail. Returns the shell's text and the module's messages."""
        mark = self.guest.mark()
        status, output = self.guest.status(f"modprobe iommu_core {parameters}".strip())
        self.check(status, "loading the module fails")
        self.check(not self.guest.works("grep -q ^iommu_core /proc/modules"), "it is not loaded")
        return output.strip(), "\n".join(core_view.messages(self.guest.kernel_log(mark)))

    def unload(self):
        """Releases every unit and unloads the module. Devices must have no drivers."""
        if self.ours:
            for name in units.names(self.guest):
                units.release(self.guest, name)
            self.guest.run("rmmod iommu_core")

    def at(self, slot, function=0):
        """The PCI address of the device behind a root port."""
        return guest_pci.behind(self.guest, slot, function)

    def group(self, address):
        """The number of a device's group."""
        return guest_pci.group(self.guest, address)

    def type_of(self, address):
        """The type of a device's group: identity, DMA, DMA-FQ."""
        return self.guest.run(f"cat /sys/bus/pci/devices/{address}/iommu_group/type").strip()

    def skip(self, why):
        """Ends the test as skipped."""
        raise Skip(why)

    def need_ours(self):
        """Skips the test if the kernel's own driver is tested."""
        if not self.ours:
            self.skip("only iommu_core does this")


def after(earlier, *tests):
    """Marks tests as dependent on `earlier`, a test of the same scenario. Returns the tests as a list."""
    for test in tests:
        test.after = earlier
    return list(tests)


def picked(tests, is_wanted):
    """The wanted tests of a scenario, with the tests on which they depend, in order."""
    found = set()
    for test in filter(is_wanted, tests):
        # All tests depend on the first one, which loads the module.
        found.add(tests[0])
        while test and test not in found:
            found.add(test)
            test = getattr(test, "after", None)
    return [test for test in tests if test in found]


def small(kind, **options):
    """A machine that has an IOMMU and no other device, for tests that need no DMA."""
    return Machine(kind, memory=512, cpus=1, **options)


def play(scenario, image, kind, driver, report, only, folder, suite=SUITE):
    """Boots a scenario's guest and runs its tests. Each test is a case of the report's `suite`."""
    tests = picked(scenario.tests, lambda test: not only or only in _case(kind, scenario, test))
    if not tests:
        return
    if scenario.ours_only and driver != OURS:
        for test in tests:
            with report.case(suite, _case(kind, scenario, test)):
                raise Skip("only iommu_core does this")
        return
    name = f"{kind.name}-{scenario.name}"
    if scenario.tables:
        image = image.with_acpi_tables(scenario.tables, folder / f"{name}.initramfs")
    if scenario.programs:
        image = image.with_programs(scenario.programs(kind.arch), folder / f"{name}.programs")
    machine = scenario.machine(kind)
    machine.parameters += scenario.parameters_for(kind, driver)
    if scenario.next_kernel:
        next_kernel.add(machine, image)
    guest = image.start(machine, name)
    with PROGRESS.step(f"guest {name}") as step:
        _play(scenario, tests, guest, Run(guest, kind, driver, image.modular), report, suite, step)


def _play(scenario, tests, guest, run, report, suite, step):
    dead = None
    seen = []
    try:
        for i, test in enumerate(tests):
            with report.case(suite, _case(run.kind, scenario, test)):
                if dead:
                    raise TestFailure(dead, log=guest.log)
                try:
                    if i == 0:
                        guest.start()
                    step.count(i + 1, len(tests))
                    _one(test, run, scenario, seen)
                except ToolError:
                    if i == 0:
                        dead = f"not run: {test.__name__} failed"
                    elif not _alive(guest):
                        dead = f"not run: the guest ended during {test.__name__}"
                    raise
    finally:
        guest.stop()


def _one(test, run, scenario, seen):
    """Runs a test, and fails it for new alarms in the kernel's log. `seen` has the alarms so far."""
    found = []
    try:
        test(run)
    finally:
        found += run.guest.alarms(scenario.allowed)[len(seen) :]
        seen += found
    if found:
        raise TestFailure(f"the kernel reports a defect: {found[0].strip()}", log=run.guest.log)


def _alive(guest):
    try:
        return guest.works("true")
    except GuestError:
        return False


def _case(kind, scenario, test):
    return f"{kind.name}-{scenario.name}: {test.__name__.replace('_', ' ')}"
