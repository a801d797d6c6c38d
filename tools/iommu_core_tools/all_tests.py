# SPDX-License-Identifier: GPL-2.0
"""All tests of the module, the quick ones first: `make test`.

It runs only the quick ones of the suites that compare the native frontend with the C layer. `make native-test`
runs all of them.
"""

from . import compile_fail, firmware_test, guest_tests, host_tests, lint, lsiommu, module, native, native_benches, native_symbols
from . import tools_tests, uml
from .report import Report


# The kinds of IOMMU in guests of the stock kernels, and in guests of the custom kernel.
_KINDS = ("vtd", "amdvi", "smmuv3")
# Further kinds, of which only the stories run here; `tools/ic guest-test --iommu` runs all tests.
_STORY_KINDS = ("vtd-scalable", "vtd-first-stage")
_CUSTOM_KINDS = ("vtd", "amdvi")
# The kinds of IOMMU in guests of the kernels of other series: one for each architecture.
_SERIES_KINDS = ("vtd", "smmuv3")


def run():
    """Runs everything and returns the exit status."""
    report = Report()
    tools_tests.run(report)
    host_tests.run(report)
    lsiommu.test(report)
    firmware_test.run(report)
    compile_fail.run(report)
    uml.run(report)
    lint.run_all(report)
    native_symbols.run(report)
    compared = native.Comparison(report, native_benches.often())
    plays = guest_tests.on_custom_kernel(report, kinds=_CUSTOM_KINDS) + compared.plays()
    plays += guest_tests.on_stock_kernel(report, kinds=_KINDS, build_module=module.path)
    plays += guest_tests.on_stock_kernel(report, "story", kinds=_STORY_KINDS, build_module=module.path)
    plays += guest_tests.on_other_series(report, kinds=_SERIES_KINDS, build_module=module.path)
    guest_tests.play(report, plays)
    compared.finish()
    return report.finish()
