# SPDX-License-Identifier: GPL-2.0
"""The native frontend on arm64: the same guests with the C layer and with the core.

The kernel has KASAN off: guests are slow enough without, and the x86-64 ones have it on.
"""

import dataclasses

from . import cache, custom_kernel, guest_images, kernel, machine, root, selftests, viommu
from .arch import ARM64
from .guest_tests import custom
from .report import FAILED, Report

_SMMUV3 = viommu.get("smmuv3")
_VIRTIO = viommu.VIRTIO_ARM64

# What a suite is called, the kind of unit, options of the machine.
_GUESTS = (
    ("arm64, C arm-smmu-v3", _SMMUV3, _SMMUV3.plain),
    ("arm64, C arm-smmu-v3, stage 2", _SMMUV3, _SMMUV3.stories["stage2-dt"]),
    ("arm64, C arm-smmu-v3, ACPI", _SMMUV3, _SMMUV3.acpi),
    ("arm64, C virtio-iommu", _VIRTIO, _VIRTIO.plain),
    ("arm64, C virtio-iommu, ACPI", _VIRTIO, _VIRTIO.acpi),
)
_OURS = ("arm64, Rust arm-smmu-v3", _SMMUV3, _SMMUV3.plain)
# Not those of generic_pt: they count pages, and the counters of a kernel for several processors,
# which every arm64 one is, are not exact.
_KUNIT = ("arm-smmu-v3*", "io-pgtable*", "iommu_core*")
_IOMMUFD = "arm64, iommufd"
_BOOT_TIMEOUT = 600.0
_SUITE_TIMEOUT = 1800


def image(option):
    """What guests boot, with a line of the configuration that says which layer."""
    layer = dataclasses.replace(custom_kernel.NATIVE["arm64"], more=option)
    return guest_images.custom(layer)


def outcomes(option, only="", ours=False):
    """`{suite: {case: outcome}}` of the guests whose suite has `only` in its name.

    `ours`: with our own driver of units, too, which only the core has.
    """
    report = Report()
    booted = image(option)
    with cache.scratch("native-arm64") as folder:
        for pattern in _KUNIT:
            suite = f"arm64, KUnit {pattern}"
            if only in suite:
                custom.run_native_kunit(report, booted, _SMMUV3, folder, suite, pattern)
        for suite, kind, options in _GUESTS:
            if only in suite:
                custom.run_native(report, booted, kind, folder, suite, options=options)
        if ours and only in _OURS[0]:
            suite, kind, options = _OURS
            custom.run_native(report, booted, kind, folder, suite, options=options,
                              driver=guest_images.OURS)  # fmt: skip
        if only in _IOMMUFD:
            found, problems = _iommufd(booted, folder)
            for problem in problems:
                report.add(_IOMMUFD, "ends as its results say", FAILED, detail=problem)
            return {**report.outcomes(), **found}
    return report.outcomes()


def _iommufd(booted, folder):
    """The kernel's selftests of iommufd, in a guest with huge pages: outcomes, and what is wrong."""
    programs = selftests.build(root.get(), kernel.stock().source, ARM64)
    files = [programs / name for name in selftests.IOMMUFD]
    booted = booted.with_programs(files, folder / "iommufd.initramfs")
    bench = machine.Machine(_SMMUV3, memory=3072, parameters=["kunit.enable=0", "hugepages=200"])
    output = ""
    with booted.start(bench, "arm64-iommufd", boot_timeout=_BOOT_TIMEOUT) as guest:
        for name in selftests.IOMMUFD:
            _status, text = guest.status(f"/suites/{name} 2>&1", timeout=_SUITE_TIMEOUT)
            output += f"suite {name}: begins\n{text}suite {name}: exit {_status}\n"
        problems = guest.alarms(custom.ALLOWED)
    found, wrong = selftests.results(output)
    return {f"arm64, {suite}": cases for suite, cases in found.items()}, [*problems, *wrong]
