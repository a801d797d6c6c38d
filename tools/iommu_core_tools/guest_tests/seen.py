# SPDX-License-Identifier: GPL-2.0
"""What people see: the files in sysfs, the kernel's trace points, and what lsiommu makes of them.

With LSIOMMU_RECORDS=<folder> in the environment, records of the guests are written there. tools/lsiommu/tests/records
has such records.
"""

import json
import os
import pathlib
import re

from .. import core_view, guest_io, guest_pci, lsiommu, machine, units, version
from ..vfio_user import VfioUser
from .scenario import Scenario

_DEVICES = "/sys/bus/pci/devices"
_UNITS = "/sys/class/iommu"
_TRACE = "/sys/kernel/tracing"
_OF_UNIT = {"driver", "version", "state", "features", "held", "stray_faults"}
_OF_DEVICE = {"owner", "domain", "reason", "ids", "interrupts", "faults", "last_fault"}
_IOVA = 0x10000000


def _files(run, folder):
    """`{name: content}` of the files in a folder of sysfs, each of which has one line."""
    text = run.guest.run(f"cd {folder} && grep '' *")
    found = dict(line.split(":", 1) for line in text.splitlines())
    run.check(len(found) == len(text.splitlines()), "each file has one line", text)
    return found


def _of_device(run, address):
    return _files(run, f"{_DEVICES}/{address}/iommu_core")


def _vendor(run):
    return run.kind.driver.replace("_", "-")


def _unit_of(run, address):
    return run.guest.run(f"basename $(readlink {_DEVICES}/{address}/iommu)").strip()


def the_module_is_loaded(run):
    run.load()
    run.load_drivers()
    guest_pci.load_vfio(run.guest)
    guest_io.nvme_disk(run.guest, run.at(machine.DISK))


def every_place_has_the_same_version(run):
    run.need_ours()
    unit = _unit_of(run, run.at(machine.DISK))
    places = ("/sys/module/iommu_core/version", f"{_UNITS}/{unit}/iommu_core/version", f"{core_view.FOLDER}/version")
    for place in places:
        seen = run.guest.run(f"cat {place}").strip()
        run.check(seen == version.VERSION, f"{place} has version {version.VERSION}", seen)


def a_unit_has_its_files_and_they_are_right(run):
    run.need_ours()
    unit = _unit_of(run, run.at(machine.DISK))
    files = _files(run, f"{_UNITS}/{unit}/iommu_core")
    run.check(set(files) == _OF_UNIT, "these are the files", files)
    run.check(files["driver"] == _vendor(run), "the driver is right", files)
    run.check(files["state"] == "translates", "the unit translates", files)
    text = run.guest.run(f"cat {core_view.FOLDER}/units")
    run.check(f"  held     {files['held']}\n" in text, "debugfs has as many held devices", text)
    run.check(f"can: {files['features']}\n" in text and files["features"],
              "debugfs has the same features", (files, text))  # fmt: skip
    modes = run.guest.run(f"stat -c %a {_UNITS}/{unit}/iommu_core/* {_DEVICES}/*/iommu_core/*").split()
    run.check(set(modes) == {"444"}, "everybody may read all files", set(modes))


def each_device_of_a_group_has_its_files_and_they_are_right(run):
    run.need_ours()
    groups = core_view.groups(run.guest)
    debug = run.guest.run(f"cat {core_view.FOLDER}/groups")
    seen = 0
    for number, (_kind, members) in guest_pci.groups(run.guest).items():
        group = groups[f"group {number}"]
        for address in members:
            files = _of_device(run, address)
            seen += 1
            run.check(set(files) == _OF_DEVICE, f"these are the files of {address}", files)
            run.check(files["domain"] == group.domain, "debugfs has the same domain", (files, group))
            owner = files["owner"].split(":")[0]
            run.check(owner == group.owner, "debugfs has the same owner", (files, group))
            run.check(int(files["faults"]) == group.faults, "debugfs has as many faults", (files, group))
            line = next(line for line in debug.splitlines() if f"  member   {address} " in line)
            run.check(line.endswith(f", ids {files['ids']}: {files['reason']}"),
                      "debugfs has the same ids and reason", (files, line))  # fmt: skip
    run.check(seen > 5, "there are devices", seen)
    disk = _of_device(run, run.at(machine.DISK))
    run.check(disk["owner"] == f"kernel (1 driver): nvme of {run.at(machine.DISK)}", "the driver is named", disk)


def an_owner_and_a_fault_are_seen_and_no_address(run):
    run.need_ours()
    address = run.at(machine.TEST)
    guest_pci.give_to_vfio(run.guest, address)
    user = VfioUser(run.guest, "owner")
    user.script(["container c", f"group g {run.group(address)}", "set-container g c",
                 "set-iommu c type1v2", f"device d g {address} testdev",
                 "buffer b 0x2000", f"map c b 0 0x2000 {_IOVA:#x} rw"])  # fmt: skip
    files = _of_device(run, address)
    run.check(re.fullmatch(r"vfio-user \(pid \d+\)", files["owner"]), "the owner is named", files)
    run.check(files["domain"].startswith("paging domain "), "it is attached to a paging domain", files)
    run.check((files["faults"], files["last_fault"]) == ("0", "none"), "there was no fault", files)
    user.say(f"testdev-run d {_IOVA + 0x100000:#x} b 0 64")
    where, _ = run.kind.recorded(address, 0)
    if not run.kind.half_records:
        run.guest.wait_for(f"[ $(cat {_DEVICES}/{address}/iommu_core/faults) -gt 0 ]", 5)
        files = _of_device(run, address)
        run.check(int(files["faults"]) > 0, f"the fault of {where} is counted", files)
        run.check("not mapped" in files["last_fault"], "the last fault is described", files)
        run.check("0x1" not in files["last_fault"].replace("(reason 0x10)", ""), "it has no address", files)
    user.quit()
    files = _of_device(run, address)
    run.check(files["owner"] == "nobody", "nobody holds the group afterwards", files)
    guest_pci.unbind(run.guest, address)


def the_trace_points_of_the_kernel_fire(run):
    guest = run.guest
    guest.run(f"grep -q {_TRACE} /proc/mounts || mount -t tracefs trace {_TRACE}")
    guest.run(f"echo 1 >{_TRACE}/events/iommu/enable; echo >{_TRACE}/trace")
    address = run.at(machine.TEST)
    guest_pci.give_to_vfio(guest, address)
    user = VfioUser(guest, "traced")
    user.script(["container c", f"group g {run.group(address)}", "set-container g c",
                 "set-iommu c type1v2", f"device d g {address} testdev",
                 "buffer b 0x2000", f"map c b 0 0x2000 {_IOVA:#x} rw"])  # fmt: skip
    user.say(f"testdev-run d {_IOVA + 0x100000:#x} b 0 64")
    user.say(f"unmap c {_IOVA:#x} 0x2000")
    user.quit()
    guest_pci.unbind(guest, address)
    # The thread that reads the records of faults may still be at it.
    seen = f"cat {_TRACE}/trace"
    if not run.kind.half_records or not run.ours:
        guest.wait_for(f"{seen} | grep -q 'io_page_fault:'", 5)
    guest.run(f"echo 0 >{_TRACE}/events/iommu/enable")
    text = guest.run(seen)
    first = f"{_IOVA:#018x}"
    patterns = {
        "attach": rf"attach_device_to_domain: IOMMU: device={address}",
        "map": rf"map: IOMMU: iova={first} - ",
        "unmap": rf"unmap: IOMMU: iova={first} - ",
    }
    if run.ours and not run.kind.half_records:
        patterns["fault"] = rf"io_page_fault: IOMMU:.* {address} iova={_IOVA + 0x100000:#018x} flags="
    for name, pattern in patterns.items():
        run.check(re.search(pattern, text), f"{name} is traced", text[-3000:])


def _lsiommu(run, words=""):
    """Runs lsiommu as a user who is not root. Returns its status and its output."""
    run.guest.run("[ -e /etc/passwd ] || echo nobody:x:65534:65534::/:/bin/sh >/etc/passwd")
    return run.guest.status(f"su nobody -s /bin/sh -c '/suites/lsiommu {words}'", timeout=60)


def _answer(run, words=""):
    status, text = _lsiommu(run, words)
    run.check(status == 0, f"lsiommu {words} works without root", (status, text))
    return text


def _link(run, path):
    status, target = run.guest.status(f"readlink {path}")
    return None if status else target.strip().rsplit("/", 1)[-1]


def lsiommu_shows_what_sysfs_says(run):
    seen = json.loads(_answer(run, "--json"))
    groups = guest_pci.groups(run.guest)
    run.check({group["number"]: (group["type"], sorted(group["devices"])) for group in seen["groups"]}
              == {number: (kind, sorted(members)) for number, (kind, members) in groups.items()},
              "the groups are those of sysfs", seen["groups"])  # fmt: skip
    addresses = run.guest.run(f"ls {_DEVICES}").split()
    devices = {device["name"]: device for device in seen["devices"]}
    run.check({name for name, device in devices.items() if device["pci"]} == set(addresses),
              "the devices are those of sysfs", sorted(devices))  # fmt: skip
    for name in addresses:
        for key, link in (("driver", "driver"), ("unit", "iommu"), ("group", "iommu_group")):
            is_so = _link(run, f"{_DEVICES}/{name}/{link}")
            run.check(str(devices[name][key]) == str(is_so), f"the {key} of {name} is right", (devices[name], is_so))
    names = run.guest.run(f"ls {_UNITS}").split()
    run.check([unit["name"] for unit in seen["units"]] == names, "the units are those of sysfs", seen["units"])
    run.check(seen["layer"] == {"kind": "hosted" if run.ours else "kernel",
                                "version": version.VERSION if run.ours else None}, "the layer is right", seen["layer"])  # fmt: skip
    if run.ours:
        for group in seen["groups"]:
            files = _of_device(run, group["devices"][0])
            run.check((group["owner"], group["domain"], str(group["faults"]))
                      == (files["owner"], files["domain"], files["faults"]), "the group is as its files say", group)  # fmt: skip
        run.check({unit["driver"] for unit in seen["units"]} == {_vendor(run)}, "the driver is right", seen["units"])
    disk = run.at(machine.DISK)
    lines = [line for line in _answer(run).splitlines() if f" {disk} " in line]
    run.check(len(lines) == 1 and " nvme " in lines[0] and " DMA" in lines[0], "the list has the disk", lines)


def lsiommu_answers_every_question(run):
    disk, free = run.at(machine.DISK), run.at(machine.TEST)
    why = _answer(run, f"why {disk.removeprefix('0000:')}")
    run.check(f"is in group {run.group(disk)}" in why, "it says why", why)
    status, text = _lsiommu(run, f"check {disk}")
    run.check("WARN" in text and f"{disk}: driver: nvme uses it" in text, "the disk has a driver", text)
    run.check("next: " in text, "there is a next step", text)
    guest_pci.give_to_vfio(run.guest, free)
    status, text = _lsiommu(run, f"check {free}")
    run.check(status == 0 and f"PASS  {free}: driver: vfio-pci" in text, "a device of VFIO passes", (status, text))
    user = VfioUser(run.guest, "checked")
    user.script(["container c", f"group g {run.group(free)}", "set-container g c", "set-iommu c type1v2",
                 f"device d g {free} testdev", "buffer b 0x1000", f"map c b 0 0x1000 {_IOVA:#x} rw"])  # fmt: skip
    user.say(f"testdev-run d {_IOVA + 0x100000:#x} b 0 64")
    status, faults = _lsiommu(run, "faults")
    if run.ours:
        run.check("vfio-user (pid" in _answer(run), "the list has the owner")
        if not run.kind.half_records:
            run.check(f"group {run.group(free)} ({free}): " in faults and "not mapped" in faults, "the fault is shown", faults)
    else:
        run.check(status == 1 and "dmesg" in faults, "without counts it names dmesg", faults)
    if folder := os.environ.get("LSIOMMU_RECORDS"):
        name = f"{run.kind.name}-{'iommu_core' if run.ours else 'kernel'}.txt"
        text = run.guest.run("/suites/lsiommu record", timeout=60)
        (pathlib.Path(folder) / name).write_text(text, encoding="utf-8")
    user.quit()
    guest_pci.unbind(run.guest, free)
    status, text = _lsiommu(run, "why 7f:1f.7")
    run.check(status == 2 and "no device 7f:1f.7" in text, "a device that is not there is named", (status, text))
    for words in ("--tree", "--dot", "--svg", "--prometheus", f"--group {run.group(disk)}", "--driver nvme"):
        run.check(disk in _answer(run, words) or words == "--prometheus", f"lsiommu {words} has the disk")
    metrics = _answer(run, "--prometheus")
    run.check(f'iommu_group_devices{{group="{run.group(disk)}"' in metrics, "the metrics have the group", metrics)


def lsiommu_works_while_devices_come_and_go(run):
    address = run.at(machine.TEST)
    script = f"""
        for i in 1 2 3 4 5 6; do
            echo 1 >{_DEVICES}/{address}/remove; echo 1 >/sys/bus/pci/rescan
        done
    """
    run.guest.ask("start", f"hotplug exec sh -c '{script}'")
    for _ in range(6):
        seen = json.loads(_answer(run, "--json"))
        run.check(len(seen["devices"]) > 5, "the others are there", seen)
    run.guest.wait_for(f"[ -e {_DEVICES}/{address}/iommu_group ]")
    run.guest.ask("kill", "hotplug")


def files_go_with_the_unit_and_come_back(run):
    run.need_ours()
    guest = run.guest
    for address in guest_pci.devices(guest):
        guest_pci.unbind(guest, address)
    # Readers that never stop, while all that they read goes and comes.
    guest.ask("start", "reader exec sh -c 'while :; do cat "
              f"{_DEVICES}/*/iommu_core/* {_UNITS}/*/iommu_core/* >/dev/null 2>&1; done'")  # fmt: skip
    for _ in range(3):
        for name in units.names(guest):
            units.release(guest, name)
            left = guest.run(f"ls -d {_DEVICES}/*/iommu_core {_UNITS}/*/iommu_core 2>/dev/null; true")
            run.check(not left, "no folder is left", left)
            units.take(guest, name)
        address = run.at(machine.TEST)
        run.check(set(_of_device(run, address)) == _OF_DEVICE, "the files are back")
        guest.run(f"echo 1 >{_DEVICES}/{address}/remove; echo 1 >/sys/bus/pci/rescan")
        run.check(set(_of_device(run, run.at(machine.TEST))) == _OF_DEVICE, "the files of a new device are there")
    for _ in range(3):
        run.unload()
        run.load()
    guest.ask("kill", "reader")


def scenarios(_kind):
    """One machine."""
    return [Scenario(
        "seen", machine.bench,
        [
            the_module_is_loaded,
            every_place_has_the_same_version,
            a_unit_has_its_files_and_they_are_right,
            each_device_of_a_group_has_its_files_and_they_are_right,
            an_owner_and_a_fault_are_seen_and_no_address,
            the_trace_points_of_the_kernel_fire,
            lsiommu_shows_what_sysfs_says,
            lsiommu_answers_every_question,
            lsiommu_works_while_devices_come_and_go,
            files_go_with_the_unit_and_come_back,
        ],
        programs=lambda arch: [lsiommu.build(arch)], ours_only=False,
    )]  # fmt: skip
