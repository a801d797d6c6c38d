# SPDX-License-Identifier: GPL-2.0
"""The command line of tools/ic."""

import argparse
import os
import pathlib
import signal
import sys

from . import (
    all_tests,
    arch,
    arrows,
    bench,
    cache,
    compile_fail,
    custom_kernel,
    deb,
    firmware_test,
    fuzz,
    guest_shell,
    guest_tests,
    host_tests,
    install,
    kernel,
    lint,
    lsiommu,
    module,
    module_file,
    mutants,
    native,
    native_calls,
    native_path_bench,
    native_symbols,
    package_test,
    path_bench,
    path_profile,
    paths,
    root,
    story,
    tools_tests,
    uml,
    version,
    viommu,
)
from .errors import ToolError, last_lines, of_system
from .progress import PROGRESS
from .report import Report


def main(argv=None):
    """Runs one command and returns the exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    arguments = _parser().parse_args(argv)
    try:
        paths.jobs()
        paths.sweep_logs()
        return arguments.call(arguments) or 0
    except ToolError as error:
        return _explain(error)
    except BrokenPipeError:
        # The reader of our output, such as head, has closed the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        explained = of_system(error)
        if not explained:
            raise
        return _explain(explained)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130


def _explain(error):
    print(f"\nerror: {error.what}", file=sys.stderr)
    if error.log:
        for line in [] if error.shown else last_lines(error.log):
            print(f"  | {line}", file=sys.stderr)
        print(f"log:   {error.log}", file=sys.stderr)
    if error.hint:
        print(f"next:  {error.hint}", file=sys.stderr)
    return 1


def _parser():
    parser = argparse.ArgumentParser(prog="tools/ic", description=__doc__)
    parser.add_argument("--version", action="version", version=f"iommu_core {version.VERSION}")
    commands = parser.add_subparsers(metavar="command", required=True)

    def add(name, call, text):
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(call=call)
        return command

    def kernel_option(command):
        command.add_argument("--kernel", default="", metavar="WHICH",
                             help="a series (7.2), a release or a suite (default: the newest supported kernel)")  # fmt: skip

    command = add("setup", _setup, "get the toolchain, QEMU and the stock kernel")
    command.add_argument("--update", action="store_true", help="look for a newer stock kernel")
    command.add_argument("--arch", choices=arch.ARCHES, default="amd64", help="default: amd64")
    kernel_option(command)

    command = add("build", _build, "build iommu_core.ko for the stock kernel")
    command.add_argument("--arch", choices=arch.ARCHES, default="amd64", help="default: amd64")
    kernel_option(command)
    command = add("install", _install, "install the module on this machine, or below INSTALL_MOD_PATH")
    command.add_argument("--arch", choices=arch.ARCHES, default="amd64", help="default: amd64")
    kernel_option(command)
    add("uninstall", _uninstall, "remove what install has installed on this machine, or below INSTALL_MOD_PATH")

    command = add("deb", _deb, "build Debian packages of the module and of lsiommu")
    command.add_argument("--arch", choices=arch.ARCHES, default="amd64", help="default: amd64")
    command.add_argument("--kernel", default="", metavar="WHICH",
                         help="a series (7.2), a release or a suite (default: the newest kernel of each supported series)")  # fmt: skip

    command = add("deb-test", _suite(package_test.run_all, "filter"),
                  "tests of the packages: lintian; install, upgrade, remove and purge in Debian roots; starts from disk")  # fmt: skip
    command.add_argument("--filter", help="only lintian, or machines whose name contains this text (dracut, disk)")

    command = add("run", _run, "boot the stock kernel in a guest and show the core at work")
    command.add_argument("--iommu", default="vtd", help="the kind of IOMMU (default: vtd)")
    command.add_argument("--driver", choices=("iommu_core", "stock"), default="iommu_core",
                         help="stock: the kernel's own driver, to compare")  # fmt: skip
    kernel_option(command)

    command = add("shell", _shell, "an interactive guest with the module loaded")
    command.add_argument("--iommu", default="vtd", help="the kind of IOMMU (default: vtd)")
    kernel_option(command)

    add("test", lambda _: all_tests.run(), "every test of the module")

    command = add("guest-test", _guest_test, "the tests that run in guests")
    command.add_argument("--iommu", nargs="+", default=["vtd"], help="kinds of IOMMU (default: vtd)")
    command.add_argument("--filter", help="only tests whose name contains this text")
    command.add_argument("--custom", action="store_true", help="only the tests on the custom kernel")
    command.add_argument(
        "--driver", choices=("iommu_core", "stock"), default="iommu_core",
        help="stock: run the tests on the kernel's own driver, to check the tests",
    )  # fmt: skip
    command.add_argument("--other-series", action="store_true",
                         help="only the story, on a kernel of each supported series but the newest")  # fmt: skip
    kernel_option(command)

    command = add("host-test", _suite(host_tests.run, "filter", "binary"), "tests of pure code with cargo")
    command.add_argument("--filter", help="only tests whose name contains this text")
    command.add_argument("--binary", help="only tests in these files of tests/host/tests (pgtable*)")

    command = add("lsiommu", _lsiommu, "build lsiommu, and print where it is")
    command.add_argument("--arch", choices=arch.ARCHES, default="amd64", help="default: amd64")
    add("lsiommu-test", _suite(lsiommu.test), "tests of lsiommu with cargo")

    command = add("firmware-test", _suite(firmware_test.run, "tables"),
                  "compare the drivers' parsers of firmware tables with ACPICA's disassembler")  # fmt: skip
    command.add_argument("--tables", metavar="FOLDER", help="a folder with tables (default: tables that the tree makes)")

    command = add("fuzz", _suite(fuzz.run, "seconds", "tables", "target"),
                  "fuzz the parsers of firmware tables and the decoders of records")  # fmt: skip
    command.add_argument("--seconds", type=int, default=60, help="seconds for each target (default: 60)")
    command.add_argument("--tables", metavar="FOLDER", help="a folder with tables to start from")
    command.add_argument("--target", choices=fuzz.TARGETS, help="fuzz only this target")

    command = add("mutants", _suite(mutants.run, "filter"),
                  "break laws and rules on purpose, one at a time: a test has to fail")  # fmt: skip
    command.add_argument("--filter", help="only breaks whose rule or file contains this text")

    add("compile-fail", _suite(compile_fail.run), "code that must not compile")
    add("tools-test", _suite(tools_tests.run), "tests of these tools")
    command = add("native", _native, "boot a kernel whose IOMMU layer is the core, and show it at work")
    command.add_argument("--iommu", help="the kind of IOMMU (default: vtd on amd64, smmuv3 on arm64)")
    command.add_argument("--arch", choices=arch.ARCHES, help="default: the architecture of the IOMMU, or amd64")
    command = add("native-test", _suite(native.test, "filter", "goes_on"),
                  "suites and guests, with the kernel's IOMMU layer and with the core as that layer")  # fmt: skip
    command.add_argument("--filter", help="only tests whose name contains this text")
    command.add_argument("--continue", action="store_true", dest="goes_on",
                         help="leave out what has passed already with the same kernel and the same tests")  # fmt: skip
    command = add("native-calls", _suite(native_calls.test, "filter"),
                  "which functions of the native frontend the suites call")  # fmt: skip
    command.add_argument("--filter", help="only suites whose name contains this text")
    command = add("native-symbols", _native_symbols, "compare the native frontend with the C code that it replaces")
    command.add_argument("objects", nargs="*", help="a vmlinux, or objects, that must define the symbols")
    command = add("arrows", _arrows, "files that import each other in a circle, or from a layer above")
    command.add_argument("names", nargs="*", metavar="file", help="show what a file or folder imports, and what imports it")
    command.add_argument("--dot", action="store_true", help="print the whole graph for graphviz")
    add("lint", _suite(lint.run_all), "rustfmt, clippy, files that may have unsafe, arrows between files, licence lines, shellcheck")
    add("fmt", lambda _: lint.rustfmt(write=True), "format the Rust sources")

    command = add("bench", _bench, "measure page tables and whole paths: the kernel's in C, and ours")
    what = command.add_mutually_exclusive_group()
    what.add_argument("--paths", action="store_true", help="only whole paths")
    what.add_argument("--native", action="store_true", help="only whole paths, with the core in place of the kernel's layer")
    what.add_argument("--profile", choices=path_profile.CALLS, help="only say which functions one call spends its instructions in")
    what.add_argument("--queue", action="store_true", help="only a command queue that several threads share")
    command.add_argument("--units", nargs="+", metavar="unit", help="only paths with these units (default: all)")
    command.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the figures of whole paths to a file")
    command.add_argument("--publish", action="store_true", help="write them into Documentation/")
    command.add_argument("--stock", action="store_true", help="with --profile: the kernel's own driver, not ours")

    command = add("kunit", _suite(uml.run, "filter"), "run the KUnit suites on User-mode Linux")
    command.add_argument("--filter", default="iommu_core*", help="suites and cases (default: all of ours)")

    add("kernel", _kernel, "build the custom x86-64 kernel with the suites and the debug options")

    command = add("root", _root, "run a command in the Debian 13 root, in the current folder")
    command.add_argument("argv", nargs=argparse.REMAINDER, metavar="command")

    command = add("cache", _cache, "list or remove the entries of the cache")
    command.add_argument("what", choices=("list", "clean"))
    command.add_argument("names", nargs="*", help="entries to remove (default: all)")
    return parser


def _setup(arguments):
    stock = kernel.stock(arch.ARCHES[arguments.arch], arguments.update, arguments.kernel)
    PROGRESS.line(f"ready: Linux {stock.release}, built modules go with KDIR={stock.build}")


def _build(arguments):
    print(module.path(arch.ARCHES[arguments.arch], arguments.kernel))


def _lsiommu(arguments):
    print(lsiommu.build(arch.ARCHES[arguments.arch]))


def _install(arguments):
    install.install(arch.ARCHES[arguments.arch], arguments.kernel, module_file.signing())


def _uninstall(_arguments):
    install.uninstall()


def _deb(arguments):
    for path in deb.build(arch.ARCHES[arguments.arch], arguments.kernel, module_file.signing()):
        print(path)


def _run(arguments):
    story.main(arguments.iommu, arguments.driver, module.path, arguments.kernel)


def _shell(arguments):
    guest_shell.run(arguments.iommu, module.path, arguments.kernel)


def _suite(run, *options):
    """Runs a suite with the values of these options."""

    def call(arguments):
        report = Report()
        run(report, *(getattr(arguments, name) for name in options))
        return report.finish()

    return call


def _guest_test(arguments):
    alone = [name for name in ("custom", "other_series") if getattr(arguments, name)]
    if alone and (arguments.kernel or len(alone) > 1):
        raise ToolError(f"--{alone[0].replace('_', '-')} says which kernels, so another option cannot")
    report = Report()
    if arguments.custom:
        plays = guest_tests.on_custom_kernel(report, arguments.filter, kinds=arguments.iommu)
    elif arguments.other_series:
        plays = guest_tests.on_other_series(report, kinds=arguments.iommu, build_module=module.path)
    else:
        plays = guest_tests.on_stock_kernel(
            report, arguments.filter, kinds=arguments.iommu, driver=arguments.driver,
            build_module=module.path, wanted=arguments.kernel,
        )  # fmt: skip
    guest_tests.play(report, plays)
    return report.finish()


def _bench(arguments):
    if (arguments.queue or arguments.profile) and (arguments.json or arguments.publish):
        raise ToolError("--queue and --profile have no figures to keep", hint="leave out --json and --publish")
    if arguments.stock and not arguments.profile:
        raise ToolError("--stock goes with --profile")
    if arguments.queue:
        if arguments.units:
            raise ToolError("--queue is for itself: it measures no paths")
        return host_tests.bench("command_queue")
    if arguments.profile:
        return path_profile.run(arguments.profile, arguments.units, ours=not arguments.stock)
    if arguments.native:
        return native_path_bench.run(arguments.units, target=arguments.json, publish=arguments.publish)
    if not arguments.paths and not arguments.units:
        bench.run()
    return path_bench.run(arguments.units, target=arguments.json, publish=arguments.publish)


def _native(arguments):
    asked = arch.ARCHES[arguments.arch or "amd64"]
    kind = viommu.get(arguments.iommu) if arguments.iommu else viommu.of_arch(asked)
    if arguments.arch and kind.arch != asked:
        raise ToolError(f"VIOMMU={kind.name} is for {kind.arch.name}, not for ARCH={asked.name}")
    story.main_native(kind)


def _arrows(arguments):
    return arrows.run(arguments.names, dot=arguments.dot)


def _native_symbols(arguments):
    report = Report()
    native_symbols.run(report)
    if arguments.objects:
        native_symbols.run_built(report, "these", arguments.objects)
    return report.finish()


def _kernel(_arguments):
    print(custom_kernel.build())


def _root(arguments):
    here = os.getcwd()
    argv = arguments.argv or ["bash"]
    root.get().interactive(argv, cwd=here, binds=[here])


def _cache(arguments):
    if arguments.what == "list":
        total = 0
        for name, size in cache.entries():
            total += size
            print(f"{size / (1 << 20):8.0f} MB  {name}")
        print(f"{total / (1 << 20):8.0f} MB  in {cache.cache_dir()}")
        return
    known = [name for name, _size in cache.entries()]
    if unknown := [name for name in arguments.names if name not in known]:
        raise ToolError(f"not in the cache: {' '.join(unknown)}", hint="tools/ic cache list")
    gone, left = cache.clean(arguments.names or None)
    for name in gone:
        print(f"removed {name}")
    for name in left:
        print(f"in use, left: {name}")
