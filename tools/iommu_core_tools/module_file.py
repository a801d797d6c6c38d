# SPDX-License-Identifier: GPL-2.0
"""The file of the module as it is installed: stripped, signed if asked for, and compressed as the kernel's own modules."""

import dataclasses
import os
import pathlib
import shutil

from . import kernel, root
from .errors import ToolError
from .progress import PROGRESS

# As the kernel's scripts/Makefile.modinst has it.
_COMPRESSORS = {
    "GZIP": (".gz", ["gzip", "-n", "-f"]),
    "XZ": (".xz", ["xz", "--check=crc32", "--lzma2=dict=1MiB", "-f"]),
    "ZSTD": (".zst", ["zstd", "-T0", "--rm", "-f", "-q"]),
}

NAME = "iommu_core.ko"


@dataclasses.dataclass(frozen=True)
class Signing:
    """What modules are signed with: a private key, and the certificate that the machine knows."""

    key: pathlib.Path
    certificate: pathlib.Path


def signing(environ=os.environ):
    """What `SIGN_KEY=` and `SIGN_CERT=` ask for, or None. Fails if a file cannot be read."""
    names = ("SIGN_KEY", "SIGN_CERT")
    given = {name: environ.get(name, "").strip() for name in names}
    if not any(given.values()):
        return None
    if missing := [name for name in names if not given[name]]:
        raise ToolError(
            f"{missing[0]}= is missing: a module is signed with a key (SIGN_KEY=) and a certificate (SIGN_CERT=)",
            hint="Documentation/install.md, Secure Boot, says how to make them",
        )
    files = {name: pathlib.Path(value).absolute() for name, value in given.items()}
    for name, path in files.items():
        try:
            path.open("rb").close()
        except OSError as error:
            raise ToolError(f"{name}={path} cannot be read: {error.strerror}") from error
    return Signing(files["SIGN_KEY"].resolve(), files["SIGN_CERT"].resolve())


def make(built, folder, signed_with=None):
    """Makes the file of a `module.Build` in a folder of the cache. Returns its path."""
    stock = built.stock
    here = root.get(stock.compilers.name)
    options = kernel.config_options(stock.config)
    path = folder / NAME
    shutil.copyfile(built.ko, path)
    with PROGRESS.step(f"module: file for {stock.release}") as step:

        def run(what, argv, **more):
            if not here.run(argv, cwd=folder, log=step.log, **more):
                raise step.fail(f"cannot {what} the module")

        run("strip", [f"{stock.arch.tools}strip", "--strip-debug", path])
        if signed_with:
            digest = options["CONFIG_MODULE_SIG_HASH"].strip('"')
            pin = {name: os.environ[name] for name in ("KBUILD_SIGN_PIN",) if name in os.environ}
            argv = [stock.build / "scripts/sign-file", digest, signed_with.key, signed_with.certificate, path]
            run("sign", argv, env=pin, binds=dict.fromkeys((signed_with.key, signed_with.certificate)))
        for name, (suffix, argv) in _COMPRESSORS.items():
            if options.get(f"CONFIG_MODULE_COMPRESS_{name}") == "y":
                run("compress", [*argv, path])
                path = path.with_name(NAME + suffix)
        step.done(f"{path.stat().st_size >> 10} KB{', signed' if signed_with else ''}")
    return path
