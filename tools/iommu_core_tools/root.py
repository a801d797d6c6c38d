# SPDX-License-Identifier: GPL-2.0
"""The Debian roots with compilers and Rust. Each is made once and never changes.

The first root of tools/config/series.toml, which also has QEMU, is for all builds and guests; the others are for modules
of kernels that other compilers have built.

`Root.run()` and `Root.start()` run programs in the root, in their own mount and process name space, so that the host
sees no mount and a killed run leaves no process. The root is read-only there, unless `Root.layered()` puts a folder for
what changes over it. The cache, the checkout and the paths in `binds` are at the same paths as on the host. Without root
rights, a user name space is used.
"""

import functools
import os
import pathlib
import shlex

from . import archive, cache, host, run, series
from .arch import ARCHES
from .paths import CHECKOUT, cache_dir
from .progress import PROGRESS

SUITE = series.ROOT.suites[0]

# Packages of every root.
_PACKAGES = {
    "kernel build": "make {gcc} ccache libc6-dev flex bison bc pahole libelf-dev libssl-dev kmod rsync perl gawk python3",
    "Clang kernel build": "clang-{llvm} lld-{llvm} llvm-{llvm} libclang-{llvm}-dev",
    "Rust": "rustc rust-src rustfmt rust-clippy bindgen cargo ca-certificates",
    "archives": "cpio xz-utils zstd bzip2",
    "arm64": "{gcc}-aarch64-linux-gnu libc6-dev-arm64-cross",
}

# Packages of the first root.
_GUEST_PACKAGES = {
    "guests": "qemu-system-x86 qemu-system-arm busybox-static libcap-dev uuid-dev",
    "firmware tables": "acpica-tools g++-14",
}

# The packages, besides the C compilers, on whose versions kernel builds depend.
_TOOLCHAIN = ("{gcc}", "clang-{llvm}", "rustc", "bindgen", "pahole")

# Files of the host that programs in the root need to reach the network as the host does.
_HOST_FILES = ("/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs/ca-certificates.crt")

_PASSED_ON = (
    "TERM", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
    "all_proxy", "ALL_PROXY",
)  # fmt: skip

# Runs as the first process of the name spaces: $1 is the root, $2 the folder to start in, $3 the
# number of a pipe that ends when the tool dies, or nothing, $4 a folder that keeps what is changed
# in the root, or nothing, $5 another such folder, whose changes are seen but stay as they are, or
# nothing, then come pairs of a bind's source and path up to "--", then the command. It stays as the
# parent, since the first process of a name space ignores signals that it has no handler for.
_ENTER = r"""
set -e
root=$1 dir=$2 alive=$3 layer=$4 below=$5; shift 5
if [ -n "$alive" ]; then
	(read -r _ <"/proc/self/fd/$alive" || kill -9 -1) &
fi
mount --make-rprivate /
if [ -n "$layer" ]; then
	mkdir -p "$layer/upper" "$layer/work" "$layer/root"
	mount -t overlay overlay -o "lowerdir=${below:+$below/upper:}$root,upperdir=$layer/upper,workdir=$layer/work" "$layer/root"
	root=$layer/root
else
	mount --bind "$root" "$root"
fi
cd /
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for node in null zero full random urandom tty; do
	: >"$root/dev/$node"
	mount --bind "/dev/$node" "$root/dev/$node"
done
if [ -e /dev/net/tun ]; then
	mkdir "$root/dev/net"
	: >"$root/dev/net/tun"
	mount --bind /dev/net/tun "$root/dev/net/tun"
fi
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s fd/0 "$root/dev/stdin"
ln -s fd/1 "$root/dev/stdout"
ln -s fd/2 "$root/dev/stderr"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
while [ "$1" != -- ]; do
	if [ -d "$1" ]; then
		mkdir -p "$root$2"
	else
		mkdir -p "$root${2%/*}"
		[ -e "$root$2" ] || : >"$root$2"
	fi
	mount --rbind "$1" "$root$2"
	shift 2
done
shift
[ -n "$layer" ] || mount -o remount,bind,ro "$root"
set +e
chroot "$root" /bin/sh -c 'cd "$0" && exec "$@"' "$dir" "$@"
exit $?
"""


def packages(made=series.ROOT):
    """Every package that a root has, sorted."""
    words = list(_PACKAGES.values()) + (list(_GUEST_PACKAGES.values()) if made is series.ROOT else [])
    return sorted(" ".join(words).format(gcc=made.gcc, llvm=made.llvm).split())


def toolchain(arch, name=series.ROOT.name):
    """The versions of the tools that build kernels for `arch`, as text, for the keys of builds."""
    return (get(name).path.parent / f"toolchain-{arch.name}").read_text(encoding="utf-8")


def key(name=series.ROOT.name):
    """The key of a root's cache entry."""
    made = series.ROOTS[name]
    return cache.key_of(
        suites=made.suites,
        pins=_pins(made),
        packages=packages(made),
        mode="root" if os.geteuid() == 0 else "unshare",
        recipe=1,
    )


def _pins(made):
    """apt's preferences: which packages come from the last suite."""
    if not made.newer:
        return ""
    names = " ".join(f"src:{name}" for name in made.newer)
    return f"Package: {names}\nPin: release n={made.suites[-1]}\nPin-Priority: 700\n"


class Root:
    """A Debian root in the cache."""

    def __init__(self, path, made=series.ROOT, layers=()):
        self.path = pathlib.Path(path)
        self._made = made
        self._layers = layers

    def layered(self, folder, below=None):
        """This root, in which programs can change files. What they change is kept in `folder`, and not in the root.

        `below` is the folder of another one that is not in use, and does not change.
        """
        return Root(self.path, self._made, (folder, below or ""))

    def command(self, argv, *, cwd=None, env=None, binds=(), alive=None):
        """The host's command line that runs `argv` in the root.

        `cwd`: a folder inside (default `/`). `env`: added to a small clean environment. `binds`:
        host paths that are at the same place inside, or pairs (host path, path inside). `alive`:
        the number of a pipe; when it is closed, everything in the root is killed.
        """
        pairs = [(cache_dir(), cache_dir()), (CHECKOUT, CHECKOUT)]
        pairs += [(os.path.realpath(name), name) for name in _HOST_FILES if os.path.exists(name)]
        pairs += [bind if isinstance(bind, tuple) else (bind, bind) for bind in binds]
        words = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        if os.geteuid() != 0:
            words += ["--map-auto", "--map-root-user"]
        words += ["--", "sh", "-c", _ENTER, "enter", str(self.path), str(cwd or "/")]
        words += ["" if alive is None else str(alive), *map(str, self._layers or ("", ""))]
        for source, inside in pairs:
            words += [str(source), str(inside)]
        words += ["--", "env", "-i"]
        words += [f"{name}={value}" for name, value in self._environment(env).items()]
        return words + [str(word) for word in argv]

    def start(self, argv, *, cwd=None, env=None, binds=(), pass_fds=(), **options):
        """Starts `argv` in the root; a `run.Process` (its options: log, on_line, timeout, stdin)."""
        # Our end of the pipe closes whenever this process ends; no program in the root outlives it.
        theirs, ours = os.pipe()
        try:
            command = self.command(argv, cwd=cwd, env=env, binds=binds, alive=theirs)
            process = run.Process(command, pass_fds=(theirs, *pass_fds), shown=argv, **options)
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        process.on_end(lambda: os.close(ours))
        return process

    def run(self, argv, *, cwd=None, env=None, binds=(), **options):
        """Runs `argv` in the root until it ends. Returns a `run.Result`."""
        return self.start(argv, cwd=cwd, env=env, binds=binds, **options).wait()

    def interactive(self, argv, **where):
        """Replaces this process by `argv` in the root, on the user's terminal."""
        words = self.command(argv, **where)
        os.execvp(words[0], words)

    def _environment(self, more):
        env = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/tmp",
            "LANG": "C.UTF-8",
            "LIBCLANG_PATH": f"/usr/lib/llvm-{self._made.llvm}/lib",
        }
        env.update((name, os.environ[name]) for name in _PASSED_ON if name in os.environ)
        env.update(more or {})
        return env


def get(name=series.ROOT.name):
    """Returns a root. Makes it (about a minute) if it does not exist."""
    return _get(name)


@functools.cache
def _get(name):
    need_programs()
    made = series.ROOTS[name]
    return Root(cache.entry("root", key(name), functools.partial(_make, made)) / "root", made)


def need_programs():
    """Makes sure that the host has the programs that make and enter the root."""
    host.need("mmdebstrap", "unshare", "mount", *(() if os.geteuid() == 0 else ("newuidmap",)))


def with_packages(name, names, text):
    """The folder of a layer over the first root with further packages, for `Root.layered()`.

    `name` is that of its entry in the cache, and `text` says what is done if there is none yet.
    """

    def make(folder):
        script = f"apt-get update -q; apt-get install -q -y --no-install-recommends {' '.join(names)}"
        with PROGRESS.step(text) as step:
            here = get().layered(folder)
            if not here.run(["sh", "-ec", script], env={"DEBIAN_FRONTEND": "noninteractive"}, log=step.log):
                raise step.fail("cannot install packages")

    return cache.entry(name, cache.key_of(root=key(), packages=names, recipe=1), make)


def exists(name=series.ROOT.name):
    """Whether a root exists."""
    return cache.find("root", key(name)) is not None


def debootstrap(made, names, folder, step, hooks=()):
    """Makes a Debian root at `folder`, which is not there yet, with packages from the suites of `made`.

    `hooks` are further options of mmdebstrap.
    """
    uri = archive.address()
    # The mount points of the host's files must exist, because roots are read-only later.
    points = " ".join(f'"$1"{name}' for name in _HOST_FILES)
    pins = folder.parent / "pins"
    pins.write_text(_pins(made), encoding="ascii")
    argv = [
        "mmdebstrap",
        "--mode=root" if os.geteuid() == 0 else "--mode=unshare",
        "--variant=apt",
        "--format=directory",
        '--aptopt=APT::Install-Recommends "false"',
        # A root that is not complete is made again, so the order of writes to disk does not matter.
        "--dpkgopt=force-unsafe-io",
        *[f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "info", "locale", "man")],
        *[f"--aptopt={line}" for line in archive.apt_options()],
        "--setup-hook=mkdir -p \"$1\"/etc/apt/preferences.d",
        f"--setup-hook=copy-in {shlex.quote(str(pins))} /etc/apt/preferences.d",
        *hooks,
        f'--customize-hook=rm -f "$1"/etc/resolv.conf; mkdir -p "$1"/etc/ssl/certs; touch {points}',
        f"--include={','.join(names)}",
        made.suites[0],
        str(folder),
        *[f"deb {uri} {suite} main" for suite in made.suites],
    ]

    def watch(line):
        if line.startswith(("Get:", "Setting up", "I: ")):
            step.counter = line[:60].removeprefix("I: ")

    result = run.run(argv, log=step.log, on_line=watch)
    if not result:
        what, hint = archive.explain(step.log, uri) or (
            f"mmdebstrap ended with status {result.status}",
            None,
        )
        raise step.fail(f"cannot make the {made.title} root: {what}", hint)


def _make(made, folder):
    host.need_space(3 << 30)
    what = "compilers, Rust and QEMU" if made is series.ROOT else "compilers and Rust"
    with PROGRESS.step(f"root: {made.title} with {what} ({len(packages(made))} packages)") as step:
        debootstrap(made, packages(made), folder / "root", step)
        for arch in ARCHES.values():
            names = [name.format(gcc=made.gcc, llvm=made.llvm) for name in _TOOLCHAIN]
            query = ["dpkg-query", "-W", *dict.fromkeys([*names, made.gcc_for(arch)])]
            versions = Root(folder / "root", made).run(query, log=step.log)
            if not versions:
                raise step.fail(f"the {made.title} root does not work")
            path = folder / f"toolchain-{arch.name}"
            path.write_text(f"{versions.output}\n", encoding="utf-8")
