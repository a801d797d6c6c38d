# SPDX-License-Identifier: GPL-2.0
"""The suites and guests for kernels whose IOMMU layer is the core, each with the kernel that it runs on."""

import dataclasses
import functools
import re
import shutil

from . import core_view, custom_kernel, guest_images, guest_pci, guest_programs, kernel, ktap, machine, root
from . import selftests, series, uml, viommu
from .arch import AMD64
from .guest import GuestError
from .guest_tests import custom, interrupts, power
from .progress import PROGRESS
from .report import FAILED, PASSED

NEVER, CORE, BOTH = "never", "core", "both"
# A case that each run adds to its suite: the log has no warning, and the results are complete.
CLEAN = "a clean log"
# The time limit of one program. Some programs of VFIO map and copy gigabytes in each of 35 cases,
# in an emulated guest, on a kernel that checks each access. The harness has a limit for each case,
# and the kernel reports a task that hangs.
_TIMEOUT = 5400


@dataclasses.dataclass(frozen=True)
class Bench:
    """Suites that one kernel runs in one go.

    `run(report, image, folder)` adds their cases to a report, with the kernel of a `guest_images.Image`.
    `family` is what the table of functions calls such suites.
    """

    name: str
    family: str
    kernel: custom_kernel.Kernel
    run: object
    # The same for the C layer, if that needs another driver of the unit.
    run_c: object = None
    # The kernel's own suites. A case may fail if it also fails with the C layer.
    theirs: bool = False
    # Suites and drivers of this tree. A kernel with the C layer does not have them.
    ours: bool = False
    # What `make test` runs: nothing, the bench with the core, or the bench with both layers.
    often: str = NEVER


def all_benches():
    """All benches: first those of the kernel that is built first, then the longest."""
    um, x86, arm64 = custom_kernel.UML_NATIVE, custom_kernel.NATIVE["amd64"], custom_kernel.NATIVE["arm64"]
    found = [
        Bench("UML, suites of the kernel", "KUnit", um, _uml, theirs=True, often=BOTH),
        Bench("UML, KUnit iommu_api*", "API", um, _call(_uml_kunit, "iommu_api*", parameters=_PAGES), often=BOTH),
        Bench("UML, KUnit iommu_core*", "KUnit", um, _call(_uml_kunit, "iommu_core*"), ours=True, often=CORE),
        Bench("x86-64, VFIO on igb", "VFIO", x86,
              _call(_vfio, "x86-64", guest_images.STOCK, viommu.NATIVE_VTD), theirs=True),
    ]  # fmt: skip
    for kind in map(viommu.natively, (_VTD, _AMDVI)):
        where = f"x86-64, Rust {kind.driver}"
        run = _call(_vfio, where, _OURS, kind)
        found.append(Bench(f"x86-64, VFIO on igb, Rust {kind.driver}", "VFIO", x86, run, ours=True))
        run, stock = (_call(_iommufd, where, x86.arch, driver, kind) for driver in (_OURS, guest_images.STOCK))
        found.append(Bench(f"x86-64, iommufd, Rust {kind.driver}", "iommufd", x86, run, theirs=True, run_c=stock))
    for kernel_, where in ((x86, "x86-64"), (arm64, "arm64")):
        for suite, kind, options in _GUESTS[where]:
            name = f"{where}, C {suite}"
            run = _call(custom.run_native, suite=name, kind=kind, options=options)
            often = CORE if kind is viommu.NATIVE_VTD else NEVER
            found.append(Bench(name, "guests", kernel_, run, often=often))
        for suite, kind in _TOPOLOGIES.get(where, ()):
            name = f"{where}, C {suite}, topology"
            run = _call(custom.run_native_topology, suite=name, kind=kind)
            found.append(Bench(name, "guests", kernel_, run))
        if where in _PARAMETERS:
            name = f"{where}, boot parameters"
            kind, options = _PARAMETERS[where]
            run = _call(custom.run_native_parameters, suite=name, kind=kind, options=options)
            found.append(Bench(name, "guests", kernel_, run))
        kind = viommu.NATIVE_VTD if kernel_ is x86 else _SMMUV3
        run = _call(_iommufd, where, kernel_.arch, guest_images.STOCK, kind)
        found.append(Bench(f"{where}, iommufd", "iommufd", kernel_, run, theirs=True))
    for pattern in _ARM64_KUNIT:
        name = f"arm64, KUnit {pattern}"
        run = _call(custom.run_native_kunit, suite=name, kind=_SMMUV3, pattern=pattern)
        found.append(Bench(name, "KUnit", arm64, run, theirs=True))
    for kernel_, where, kind in ((x86, "x86-64", _VTD), (x86, "x86-64", _AMDVI), (arm64, "arm64", _SMMUV3)):
        kind = viommu.natively(kind)
        often = CORE if kind.is_first else NEVER
        name = f"{where}, Rust {kind.driver}"
        run = _call(custom.run_native, suite=name, kind=kind, options=kind.plain, driver=_OURS)
        found.append(Bench(name, "guests", kernel_, run, ours=True, often=often))
        for what, options, tests in (*interrupts.native_guests(kind), *power.native_guests(kind)):
            name = f"{where}, Rust {kind.driver}, {what}"
            run = _call(custom.run_native_tests, suite=name, kind=kind, options=options, tests=tests)
            found.append(Bench(name, "guests", kernel_, run, ours=True))
        if where in _TOPOLOGIES:
            name = f"{where}, Rust {kind.driver}, topology"
            run = _call(custom.run_native_topology, suite=name, kind=kind, driver=_OURS)
            found.append(Bench(name, "guests", kernel_, run, ours=True))
        name = f"{where}, story with Rust {kind.driver}"
        run = _call(custom.run_native_story, suite=name, kind=kind)
        found.append(Bench(name, "guests", kernel_, run, ours=True, often=often))
        # Suites that need no hardware run once.
        pattern = f"iommu_core_{kind.driver}*" if kind is _AMDVI else "iommu_core*"
        name = f"{where}, KUnit {pattern}"
        run = _call(custom.run_native_kunit, suite=name, kind=kind, pattern=pattern, driver=_OURS)
        found.append(Bench(name, "KUnit", kernel_, run, ours=True))
    return found + _other_series(x86, arm64)


def _other_series(x86, arm64):
    """The story on the kernels of the other supported series, which are built for it.

    There the kernel's own code does not remap interrupts, so that no unit is shared.
    """
    found = []
    for number in series.SERIES[1:]:
        for kernel_, where, kind in ((x86, "x86-64", _VTD), (arm64, "arm64", _SMMUV3)):
            name = f"{where}, Linux {number}, story with Rust {kind.driver}"
            run = _call(custom.run_native_story, suite=name, kind=kind)
            found.append(Bench(name, "guests", kernel_.of_series(number), run, ours=True))
    return found


def often():
    """The benches of `make test`, with the layers that it runs."""
    return [
        dataclasses.replace(bench, ours=bench.often == CORE)
        for bench in all_benches()
        if bench.often != NEVER
    ]


_call = functools.partial
_OURS = guest_images.OURS
_VTD, _AMDVI, _SMMUV3 = (viommu.get(name) for name in ("vtd", "amdvi", "smmuv3"))

# The kernel's own drivers of units: the suite's name, the kind of unit, options of the machine.
_GUESTS = {
    "x86-64": (
        ("intel-iommu", viommu.NATIVE_VTD, viommu.NATIVE_VTD.plain),
        ("amd-iommu", _AMDVI, _AMDVI.plain),
        ("virtio-iommu", viommu.VIRTIO_AMD64, viommu.VIRTIO_AMD64.plain),
    ),
    "arm64": (
        ("arm-smmu-v3", _SMMUV3, _SMMUV3.plain),
        ("arm-smmu-v3, stage 2", _SMMUV3, _SMMUV3.stories["stage2-dt"]),
        ("arm-smmu-v3, ACPI", _SMMUV3, _SMMUV3.acpi),
        ("virtio-iommu", viommu.VIRTIO_ARM64, viommu.VIRTIO_ARM64.plain),
        ("virtio-iommu, ACPI", viommu.VIRTIO_ARM64, viommu.VIRTIO_ARM64.acpi),
    ),
}
# Guests of `topology`. The arm64 kernel has no support for virtual functions.
_TOPOLOGIES = {"x86-64": (("intel-iommu", viommu.NATIVE_VTD), ("amd-iommu", _AMDVI))}
# Guests for boot parameters, with caching mode off. With caching mode on, the driver never uses
# lazy invalidation.
_PARAMETERS = {"x86-64": (viommu.NATIVE_VTD, viommu.NATIVE_VTD.owners["caching-off-48bit"])}
# Without the suites of generic_pt: they count pages, and the counters of a kernel for several
# processors are not exact. User-mode Linux runs them.
_ARM64_KUNIT = ("arm-smmu-v3*", "io-pgtable*")
# The kernel then counts each mapped page, which is too slow for suites that map terabytes.
_PAGES = ("iommu.debug_pagealloc=1",)
_UML_KUNIT = ("*_iommu_test", "*_fmt_test")


# --- User-mode Linux --------------------------------------------------------------------------


def _uml(report, image, folder):
    """KUnit suites and iommufd's selftests on User-mode Linux."""
    for pattern in _UML_KUNIT:
        _uml_kunit(pattern, report, image, folder)
    programs = selftests.build(root.get(), kernel.stock().source)
    system = folder / f"uml-system-{image.kernel.parent.name}"
    (system / "suites").mkdir(parents=True)
    shutil.copy(guest_programs.build(root.get(), AMD64) / "suites", system / "init")
    for name in selftests.IOMMUFD:
        shutil.copy(programs / name, system / "suites" / name)
    output, log = _boot_uml(folder, image, "iommufd", "kunit.enable=0", "root=/dev/root", "rootfstype=hostfs",
                            f"rootflags={system}", "rw", "init=/init",
                            f"suites={','.join(selftests.IOMMUFD)}")  # fmt: skip
    _add_selftests(report, "UML", output, uml.splats(output.splitlines()), log)


def _uml_kunit(pattern, report, image, folder, parameters=()):
    """KUnit suites on User-mode Linux."""
    suite = f"UML, KUnit {pattern}"
    output, log = _boot_uml(folder, image, pattern, "kunit_shutdown=halt", "kunit.enable=1",
                            f"kunit.filter_glob={pattern}", *parameters)  # fmt: skip
    cases, problems = ktap.parse(output.splitlines())
    for case in cases:
        report.add(suite, f"{case.suite}.{case.name}", case.outcome, detail="\n".join(case.log[-20:]), log=log)
    _note(report, suite, problems + uml.splats(output.splitlines()), log)


def _boot_uml(folder, image, what, *arguments):
    """Boots User-mode Linux. Returns its output until it ends, and the log file."""
    with PROGRESS.step(f"native: {what} on User-mode Linux, {image.kernel.parent.name}") as step:
        argv = [image.kernel, "mem=1500M", "console=tty", f"uml_dir={folder}", *arguments]
        result = root.get().run(argv, cwd=folder, log=step.log, timeout=_TIMEOUT)
        if result.timed_out:
            raise step.fail(f"no end after {_TIMEOUT} s")
        return result.output, step.log


def _add_selftests(report, where, output, problems, log):
    """Adds the results in the output of `selftests`' programs. `problems` are those of the guest."""
    suites, wrong = selftests.results(output)
    for suite, cases in suites.items():
        for name, outcome in cases.items():
            report.add(f"{where}, {suite}", name, outcome, log=log)
    for suite in suites:
        mine = [line for line in wrong if line.startswith(f"{suite}:")]
        _note(report, f"{where}, {suite}", mine + problems, log)
        problems = []


def _note(report, suite, problems, log):
    """Adds the case `CLEAN` of a run, with problems such as incomplete output or a warning in the log."""
    report.add(suite, CLEAN, FAILED if problems else PASSED, detail="\n".join(problems), log=log)


# --- guests -----------------------------------------------------------------------------------


def _iommufd(where, arch, driver, kind, report, image, folder):
    """The selftests of iommufd, with huge pages."""
    programs = selftests.build(root.get(), kernel.stock().source, arch)
    own = kind.free if driver == _OURS else ()
    bench = machine.Machine(kind, memory=3072, parameters=[*own, "hugepages=200"])
    _run_programs(report, where, image, folder, bench, [programs / name for name in selftests.IOMMUFD])


def _vfio(where, driver, kind, report, image, folder):
    """The selftests of VFIO, on a network card that can have virtual functions."""
    programs = selftests.build_vfio(root.get(), kernel.stock().source)
    own, before = (kind.free, _ready_for_vfio) if driver == _OURS else (kind.stock, None)
    parameters = [*own, "hugepagesz=1G", "hugepages=1", "hugepagesz=2M", "hugepages=8",
                  "transparent_hugepage_shmem=always", "vfio_pci.enable_sriov=1"]  # fmt: skip
    bench = machine.Machine(kind, memory=4096, parameters=parameters)
    bench.root_port(machine.A).device("igb", bus=f"port{machine.A:x}")
    _run_programs(report, where, image, folder, bench, [programs / name for name in selftests.VFIO],
                  device=machine.A, before=before)  # fmt: skip


def _ready_for_vfio(guest, address):
    """Checks that VFIO takes the device because its interrupts are isolated. Returns what is wrong."""
    problems = []
    isolation = core_view.isolation(guest).get(address, "not known")
    if not isolation.startswith("isolated by "):
        problems.append(f"{address} is {isolation}")
    for module in ("vfio_iommu_type1", "iommufd"):
        parameter = f"/sys/module/{module}/parameters/allow_unsafe_interrupts"
        if guest.run(f"cat {parameter}").strip() != "N":
            problems.append(f"{parameter} is on")
    # One program compares what it maps with what the C driver shows in debugfs, if the C driver has
    # a folder there. With our driver that folder is empty.
    guest.run("umount /sys/kernel/debug")
    return problems


def _run_programs(report, where, image, folder, bench, programs, device=None, before=None):
    """Runs programs one after the other. With `device`, they get the address of the device behind this port.

    `before` is called with the guest and that address, and returns what is wrong.
    """
    name = re.sub(r"\W+", "-", f"{where} {programs[0].name} {image.kernel.parent.name}")
    image = image.with_programs(programs, folder / f"{name}.initramfs")
    bench.parameters += ["kunit.enable=0"]
    guest = image.start(bench, name)
    with PROGRESS.step(f"native: {len(programs)} selftests, {image.kernel.parent.name}") as step, guest:
        output, environment, problems = "", "", []
        if device is not None:
            address = guest_pci.behind(guest, device)
            guest_pci.give_to_vfio(guest, address)
            environment = f"VFIO_SELFTESTS_BDF={address} "
        if before:
            problems += before(guest, address)
        for number, program in enumerate(programs, 1):
            step.count(number, len(programs))
            output += f"suite {program.name}: begins\n"
            try:
                status, text = guest.status(f"{environment}/suites/{program.name} 2>&1", timeout=_TIMEOUT)
                output += f"{text}\nsuite {program.name}: exit {status}\n"
            except GuestError as error:
                problems.append(error.what)
                break
        problems += guest.alarms(custom.ALLOWED)
    log = guest.log.with_suffix(".output.log")
    log.write_text(output, encoding="utf-8")
    _add_selftests(report, where, output, problems, log)
