# SPDX-License-Identifier: GPL-2.0
"""Kernels that boot another kernel (kexec): the next one finds the unit as the one before has left it."""

from .. import core_view, dma_probe, guest_io, machine, next_kernel, units
from .scenario import Scenario

# How much of a dump is written, in MiB: no more than what a disk of the bench has room for.
_DUMP = 24
# The kernel's report of a crash that was asked for.
_CRASH = (r"Kernel panic - not syncing: sysrq triggered crash", r"Call Trace:", r"sysrq: Trigger a crash")


def _disk(run):
    return guest_io.nvme_disk(run.guest, run.at(machine.DISK))


def _takes_over(run, was_on):
    """Loads the module. `was_on`: whether the unit was left on, as the module has to say then."""
    mark = run.guest.mark()
    run.load()
    messages = core_view.messages(run.guest.kernel_log(mark))
    lines = [line for line in messages if "left on" in line]
    run.check(len(lines) == was_on, f"{int(was_on)} lines say that the unit was left on", messages)
    status = units.status(run.guest)
    run.check(status.translates and status.queue_runs, "the unit translates", status)


def _devices_work(run):
    """Loads drivers; the disk keeps what is written, the network passes traffic."""
    run.load_drivers()
    for address in (run.at(machine.DISK), run.at(machine.NET)):
        run.check(run.type_of(address).startswith("DMA"), f"{address} is translated",
                  run.type_of(address))  # fmt: skip
    guest_io.write_and_read(run.guest, _disk(run), 2)
    name = guest_io.interface(run.guest, run.at(machine.NET))
    guest_io.network_up(run.guest, name)
    guest_io.echo(run.guest, 256)


def _restart(run):
    """Boots the next kernel, in which the module can have the unit."""
    next_kernel.load(run.guest, [*run.kind.free, *_spared(run)])
    next_kernel.execute(run.guest)


def _spared(run):
    """Parameters that keep the next kernel off the table with which an emulated unit that is off goes on."""
    found = units.table_of_a_unit_that_is_off(run.guest)
    if not found:
        return []
    table, pages = found
    return [f"memmap={pages * 4}K${table:#x}"]


def devices_work_with_the_kernels_own_driver(run):
    run.load_drivers()
    guest_io.write_and_read(run.guest, _disk(run), 2)
    status = units.status(run.guest)
    run.check(status.translates, "the kernel's own driver has the unit", status)


def the_module_takes_the_unit_after_a_kernel_with_its_own_driver(run):
    _restart(run)
    _takes_over(run, was_on=run.kind.restart_leaves_queue)
    _devices_work(run)


def the_module_takes_the_unit_after_a_kernel_with_the_module(run):
    _restart(run)
    status = units.status(run.guest)
    run.check(not status.translates and not status.queue_runs, "the unit is off", status)
    _takes_over(run, was_on=False)
    _devices_work(run)


def _crash(run):
    """Crashes the kernel, while a disk does DMA, into one that leaves the unit as it finds it."""
    words = [*run.kind.free_as_found, "nr_cpus=1", "iomem=relaxed", "iommu.strict=1"]
    next_kernel.load(run.guest, words, crash=True)
    run.guest.run(f"dd if={_disk(run)} of=/dev/null bs=64k iflag=direct >/dev/null 2>&1 &")
    next_kernel.crash(run.guest)
    run.check(run.guest.works("[ -s /proc/vmcore ]"), "it is a crash kernel")
    status = units.status(run.guest)
    run.check(status.translates and status.queue_runs, "the unit is as it was", status)


def a_kernel_with_the_module_crashes_while_devices_do_DMA(run):
    run.load()
    _devices_work(run)
    _crash(run)


def a_kernel_with_its_own_driver_crashes_while_devices_do_DMA(run):
    run.load_drivers()
    guest_io.write_and_read(run.guest, _disk(run), 2)
    _crash(run)


def the_module_takes_the_unit_and_DMA_of_before_never_reaches_memory(run):
    dma_probe.start(run, run.at(machine.TEST))
    run.check(dma_probe.changes(run) == ["blocked"], "the old tables block", dma_probe.changes(run))
    _takes_over(run, was_on=True)
    dma_probe.goes_on(run)
    run.check(dma_probe.changes(run) == ["blocked"], "it was blocked all the time",
              dma_probe.changes(run))  # fmt: skip


def a_dump_is_written(run):
    run.load_drivers()
    disk = _disk(run)
    run.check(run.type_of(run.at(machine.DISK)).startswith("DMA"), "the disk is translated")
    script = f"""
        set -e
        dd if=/proc/vmcore of={disk} bs=1M count={_DUMP} oflag=direct conv=fsync 2>/dev/null
        dd if=/proc/vmcore bs=1M count={_DUMP} 2>/dev/null | sha256sum
    """
    wanted = run.guest.run(script, timeout=60).split()[0]
    run.check(guest_io.image_checksum(run.guest, "disk", _DUMP) == wanted, "the host's disk has it")
    with open(run.guest.disk_image("disk"), "rb") as image:
        begin = image.read(_DUMP << 20)
    run.check(begin.startswith(b"\x7fELF") and b"VMCOREINFO" in begin and b"OSRELEASE=" in begin,
              "it is a dump", begin[:16])  # fmt: skip


def _bench(kind):
    # The tables of Arm's interrupt controller stay where they are when another kernel starts. It is
    # told by UEFI where that is.
    return machine.bench(kind, **kind.acpi)


def _bench_that_crashes(kind):
    return machine.bench(kind, memory=1280, **kind.acpi)


def scenarios(kind):
    """Restarts, and crashes of a kernel with either driver."""
    dump = [
        the_module_takes_the_unit_and_DMA_of_before_never_reaches_memory,
        a_dump_is_written,
    ]
    crash = {
        "parameters": (next_kernel.CRASH_MEMORY,), "allowed": _CRASH, "next_kernel": True,
    }  # fmt: skip
    return [
        Scenario("kexec", _bench, [
            devices_work_with_the_kernels_own_driver,
            the_module_takes_the_unit_after_a_kernel_with_its_own_driver,
            the_module_takes_the_unit_after_a_kernel_with_the_module,
        ], instead_of_free=kind.stock, next_kernel=True),
        Scenario("kdump", _bench_that_crashes,
                 [a_kernel_with_the_module_crashes_while_devices_do_DMA, *dump], **crash),
        Scenario("kdump-stock", _bench_that_crashes,
                 [a_kernel_with_its_own_driver_crashes_while_devices_do_DMA, *dump],
                 instead_of_free=kind.stock, **crash),
    ]  # fmt: skip
