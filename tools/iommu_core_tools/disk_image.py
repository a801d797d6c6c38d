# SPDX-License-Identifier: GPL-2.0
"""Whole Debian systems on emulated disks, and the machines that start from them.

A system is a root of its own, with systemd, Debian's kernels and Debian's boot loader. Its disk has an EFI system partition
and an ext4 file system, as Debian's installer makes them. The tools write them without loop devices, and need no root
rights for it.
"""

import dataclasses
import pathlib
import shutil
import uuid
from collections.abc import Callable

from . import cache, debian_root, guest, guest_programs, kernel, machine, module_file, root, series
from .arch import AMD64
from .debian_root import Inside
from .progress import PROGRESS

# Packages for the tools' own root: firmware, and what makes disks.
_TOOLS = ("ovmf", "mtools", "dosfstools", "fdisk", "python3-virt-firmware", "openssl")

# Packages of every system, besides those that its suite counts as required.
_BASE = ("systemd-sysv", "udev", "mount", "kmod", "e2fsprogs", "passwd", "pci.ids")

FILE_SYSTEM = "8a1b2c3d-0000-4000-8000-000000000002"
_MACHINE_ID = "8a1b2c3d000040008000000000000003"
ESP = "/boot/efi"

# The folder of the firmware, and the name in certificates.
_OVMF = "/usr/share/OVMF"
_OWNER = "Owner of the disk"
# The seconds until systemd has started the agent.
_BOOT_TIMEOUT = 900.0

_MIB = 1 << 20
# In MiB. Files without content need no space.
_ESP_AT, _ESP_SIZE = 1, 256
_ROOT_AT, _ROOT_SIZE = 257, 3072

# There is no disk while GRUB's configuration is made.
_GRUB_PROBE = f"""#!/bin/sh
case "$*" in
*target=device*) echo /dev/nvme0n1p2 ;;
*target=fs_uuid*) echo {FILE_SYSTEM} ;;
*target=partmap*) echo gpt ;;
*target=fs\\ *|*target=fs) echo ext2 ;;
esac
"""
# The firmware may have written to the agent's line too. What it wrote must not be the beginning of
# what the agent writes.
_UNIT = f"""[Unit]
Description=Agent of the tests

[Service]
ExecStart=/bin/sh -c 'echo >/dev/{AMD64.agent}; exec /usr/local/libexec/agent /dev/{AMD64.agent}'

[Install]
WantedBy=multi-user.target
"""
# On a busy host a guest's clock goes on while the guest stands still, so its own time limits mean
# nothing: the defaults, and those that systemd's own services have besides. dracut's initramfs has
# systemd too.
_LIMITS = {
    "etc/systemd/system.conf.d/limits.conf": "[Manager]\nDefaultTimeoutStartSec=infinity\nDefaultDeviceTimeoutSec=infinity\n",
    "etc/systemd/system/service.d/limits.conf": "[Service]\nTimeoutSec=infinity\nWatchdogSec=0\n",
}
# They take time in an emulated machine, and a prompt would wait for ever.
_MASKED = ("getty.target", "timers.target", "systemd-firstboot.service")


# Hooks of boot loaders do nothing in a container.
_NO_CONTAINER = ("/usr/bin/systemd-detect-virt", "#!/bin/sh\nexit 1\n")


@dataclasses.dataclass(frozen=True)
class Loader:
    """A boot loader of Debian."""

    name: str
    packages: str
    # Writes it to the EFI system partition.
    install: str
    # `(path, text)` of programs in whose place others are as long as there is no machine.
    stubs: tuple
    # Makes the boot entries of a kernel on a machine.
    remake: str
    # Its configuration, and what reads boot entries in that: (title, release, parameters).
    configuration: str
    entries: Callable


# Debian has signed GRUB, and Microsoft shim, which starts it.
GRUB = Loader(
    name="grub",
    packages="grub-efi-amd64 grub-efi-amd64-signed shim-signed",
    # As grub-install --removable does with shim, and with a GRUB that Debian has signed.
    install=f"""
mkdir -p {ESP}/EFI/BOOT {ESP}/EFI/debian /boot/grub
cp -r /usr/lib/grub/x86_64-efi /boot/grub
cp /usr/lib/shim/shimx64.efi.signed {ESP}/EFI/BOOT/BOOTX64.EFI
cp /usr/lib/shim/mmx64.efi.signed {ESP}/EFI/BOOT/mmx64.efi
cp /usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed {ESP}/EFI/BOOT/grubx64.efi
cat >{ESP}/EFI/debian/grub.cfg <<'EOF'
search.fs_uuid {FILE_SYSTEM} root
set prefix=($root)'/boot/grub'
configfile $prefix/grub.cfg
EOF
update-grub
""",
    stubs=(_NO_CONTAINER, ("/usr/sbin/grub-probe", _GRUB_PROBE)),
    remake="update-grub",
    configuration="/boot/grub/grub.cfg",
    entries=debian_root.boot_entries,
)
SYSTEMD_BOOT = Loader(
    name="systemd-boot",
    packages="systemd-boot systemd-boot-efi",
    install=f"bootctl install --no-variables; echo timeout 0 >{ESP}/loader/loader.conf",
    stubs=(_NO_CONTAINER,),
    # Without the last word it may make another initramfs.
    remake="kernel-install add {release} /boot/vmlinuz-{release} /boot/initrd.img-{release}",
    configuration=f"{ESP}/loader/entries/*.conf",
    entries=debian_root.loader_entries,
)


def parameters():
    """The parameters of every kernel on the disk."""
    return " ".join(machine.base_parameters(AMD64))


@dataclasses.dataclass(frozen=True)
class System:
    """A Debian system that starts from disk."""

    # The root of series.toml that has its suites.
    root: str
    initramfs: str
    loader: Loader
    # What `KERNEL=` would be for the kernel that it is installed with, and for those of which the
    # first that is newer comes later.
    first: str
    newer: tuple

    @property
    def name(self):
        """Its name in results."""
        return f"disk of {self.root}, {self.initramfs}, {self.loader.name}"

    def stock(self):
        """The kernel that it is installed with."""
        return kernel.stock(AMD64, wanted=self.first)

    def inside(self, folder):
        """The installed system, as a root whose changes are kept in `folder`."""
        inside = Inside(self, self._root().layered(folder / "layer", self._installed()), self.stock(), folder)
        shutil.copytree(self._installed() / "esp", folder / "esp", dirs_exist_ok=True)
        _with_boot_loader(inside, folder)
        return inside

    def _root(self):
        """The root without kernels and boot loader."""
        made = series.ROOTS[self.root]
        key = cache.key_of(suites=made.suites, newer=made.newer, packages=_BASE, recipe=1)

        def make(folder):
            with PROGRESS.step(f"disk: a system of {made.title}") as step:
                root.debootstrap(made, _BASE, folder / "root", step)

        return root.Root(cache.entry("disk-root", key, make) / "root", made)

    def _installed(self):
        """The layer with kernel and boot loader."""
        stock, below = self.stock(), self._root()
        programs = guest_programs.build(root.get(), AMD64)
        files = _files()
        packages = f"{self.loader.packages} linux-base {self.initramfs} zstd"
        key = cache.key_of(
            below=below.path.parent.name, files=files, programs=programs.name, packages=packages,
            release=stock.release, version=stock.version, script=self.loader.install, stubs=self.loader.stubs, recipe=1,
        )  # fmt: skip

        def make(folder):
            for name, text in files.items():
                _write(folder / "files" / name, text)
            agent = folder / "files/usr/local/libexec/agent"
            agent.parent.mkdir(parents=True)
            shutil.copy(programs / "agent", agent)
            inside = Inside(self, below.layered(folder), stock, folder)
            inside.sh(f"cp -r --no-preserve=ownership {folder}/files/. /; systemctl mask {' '.join(_MASKED)}; "
                      "systemctl enable agent.service; apt-get update -q; "
                      f"apt-get install -q -y --no-install-recommends {packages}",
                      "install a boot loader")  # fmt: skip
            _with_boot_loader(inside, folder)
            inside.sh(self.loader.install, "write to the EFI system partition")
            inside.sh(f"apt-get install -q -y --no-install-recommends linux-image-{stock.release}={stock.version}",
                      f"install {stock.release}")  # fmt: skip

        entry = cache.entry("disk-system", key, make)
        cache.prune("disk-system", 6)
        return entry


def _files():
    """`{path: text}` of what is configured before anything is installed."""
    return {
        "etc/fstab": f"UUID={FILE_SYSTEM} / ext4 defaults 0 1\nLABEL=ESP {ESP} vfat umask=0077 0 1\n",
        "etc/hostname": "disk\n",
        "etc/machine-id": f"{_MACHINE_ID}\n",
        "etc/systemd/system/agent.service": _UNIT,
        **_LIMITS,
        "etc/default/grub.d/disk.cfg": f'GRUB_TIMEOUT=0\nGRUB_TERMINAL=console\nGRUB_CMDLINE_LINUX="{parameters()}"\n',
        "etc/kernel/install.conf": "layout=bls\n",
        "etc/kernel/cmdline": f"root=UUID={FILE_SYSTEM} ro {parameters()}\n",
        # An archive with the modules of all disks takes minutes to make and to load.
        "etc/initramfs-tools/conf.d/modules": "MODULES=list\n",
        "etc/initramfs-tools/modules": "nvme\next4\n",
        "etc/dracut.conf.d/disk.conf": 'hostonly="no"\ndrivers="nvme ext4"\n'
        f'install_items+=" {" ".join(f"/{name}" for name in _LIMITS)} "\n',
    }


def _with_boot_loader(inside, folder):
    """Lets the boot loader's programs work in a root: `folder` has the EFI system partition, and stubs."""
    esp = folder / "esp"
    esp.mkdir(exist_ok=True)
    inside.binds.append((esp, ESP))
    for path, text in inside.machine.loader.stubs:
        stub = folder / "stubs" / path.rsplit("/", 1)[-1]
        _write(stub, text, 0o755)
        inside.binds.append((stub, path))
    # 10_linux names the file system only if it sees this one.
    inside.prelude = (
        f"mkdir -p /dev/disk/by-uuid; : >/dev/disk/by-uuid/{FILE_SYSTEM}; "
        f"export SYSTEMD_RELAX_ESP_CHECKS=1 SYSTEMD_ESP_PATH={ESP}; "
    )


def _write(path, text, mode=0o644):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


# --- disks ------------------------------------------------------------------------------------


def tools():
    """The folder of the layer with firmware, and with what makes disks. Over the root of the tools."""
    return root.with_packages("disk-tools", _TOOLS, "disk: get firmware, and what makes disks")


def with_tools(folder):
    """The tools' root with these packages. What programs change there is kept in `folder`."""
    return root.get().layered(folder / "tools", tools())


def make(inside, folder):
    """Writes the disk of a system, of which `inside` and `folder` are what `System.inside()` was called with."""
    path = folder / "disk.img"
    path.unlink(missing_ok=True)
    with open(path, "wb") as file:
        file.truncate((_ROOT_AT + _ROOT_SIZE + 1) * _MIB)
    # Only the root's own files: what is mounted below is left out.
    inside.sh(
        f"touch /etc/.updated /var/.updated; mount --bind / /mnt; "
        f"mke2fs -q -F -t ext4 -U {FILE_SYSTEM} -E offset={_ROOT_AT * _MIB},root_owner=0:0 -d /mnt {path} {_ROOT_SIZE}M",
        "write the file system",
    )
    table = (
        f"label: gpt\nstart={_ESP_AT}MiB, size={_ESP_SIZE}MiB, type=U\n"
        f"start={_ROOT_AT}MiB, size={_ROOT_SIZE}MiB, type=L\n"
    )
    esp = f"{path}@@{_ESP_AT}M"
    script = (
        f"printf '{table}' | sfdisk -q {path}; mformat -i {esp} -F -v ESP -T {_ESP_SIZE * _MIB // 512} ::; "
        f"mcopy -i {esp} -s -Q {folder}/esp/* ::"
    ).replace("\n", "\\n")
    with PROGRESS.step("disk: write the partitions") as step:
        if not with_tools(folder).run(["sh", "-ec", script], binds=[folder], log=step.log):
            raise step.fail("cannot write the partitions")
    return path


@dataclasses.dataclass(frozen=True)
class Keys:
    """What the owner of a machine with Secure Boot has: the pair that modules are signed with, and the firmware's variables.

    The variables have Microsoft's keys, which the firmware wants of shim, and the owner's certificate for shim (MOK).
    """

    signing: module_file.Signing
    variables: pathlib.Path


def keys(folder):
    """Makes new keys in a folder."""
    key, certificate, variables = folder / "signing.key", folder / "signing.der", folder / "variables.fd"
    script = (
        f"openssl req -new -x509 -newkey rsa:2048 -nodes -days 3650 -subj '/CN={_OWNER}/' -keyout {key} -outform DER "
        f"-out {certificate}; openssl x509 -inform DER -in {certificate} -out {folder}/signing.pem; "
        f"virt-fw-vars --input {_OVMF}/OVMF_VARS_4M.ms.fd --output {variables} --add-mok {uuid.uuid4()} {folder}/signing.pem"
    )
    with PROGRESS.step("disk: make keys for Secure Boot") as step:
        if not with_tools(folder).run(["sh", "-ec", script], binds=[folder], log=step.log):
            raise step.fail("cannot make keys for Secure Boot")
    return Keys(module_file.Signing(key, certificate), variables)


@dataclasses.dataclass
class DiskMachine(machine.Machine):
    """A machine that starts from disk through UEFI firmware. What it writes to the disk is lost."""

    image: pathlib.Path | None = None
    # The variables with which firmware enforces Secure Boot. Without them it does not.
    secure: pathlib.Path | None = None

    def boots(self, folder, _kernel, _initramfs):
        """QEMU's arguments that say what the machine boots."""
        variables = folder / "variables.fd"
        shutil.copy(self.secure or tools() / f"upper{_OVMF}/OVMF_VARS_4M.fd", variables)
        words = [
            "-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={_OVMF}/OVMF_CODE_4M{'.secboot' if self.secure else ''}.fd",
            "-drive", f"if=pflash,unit=1,format=raw,file={variables}",
            "-drive", f"if=none,id=disk,format=raw,cache=unsafe,snapshot=on,file={self.image}",
        ]  # fmt: skip
        if self.secure:
            # Only firmware in system management mode changes the variables.
            words += ["-global", "driver=cfi.pflash01,property=secure,value=on", "-global", "ICH9-LPC.disable_s3=1"]
        return words


def machine_of(kind, image, secure=None):
    """A machine with the disk, and a device that tests can give away."""
    if secure:
        kind = dataclasses.replace(kind, machine=f"{kind.machine},smm=on")
    made = DiskMachine(kind, image=image, secure=secure, **kind.plain)
    for slot in (machine.DISK, machine.TEST):
        made.root_port(slot)
    made.device("nvme", serial="disk", drive="disk", bus=f"port{machine.DISK:x}", bootindex=1)
    return made.device("iommu-testdev", id="test", bus=f"port{machine.TEST:x}")


def started(made, folder, name):
    """A guest, which starts when its context is entered."""
    return guest.Guest(with_tools(folder), made, None, None, name, boot_timeout=_BOOT_TIMEOUT)
