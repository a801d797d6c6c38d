# SPDX-License-Identifier: GPL-2.0
"""Runs apt with its own configuration and state, to look up and download packages of a suite.

It needs no root rights and does not change the machine's package lists.
"""

import os
import pathlib

from . import archive, host, run

_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


class Apt:
    """Packages of `suite` for `arch`, through apt's tools. apt's files are below `folder`."""

    def __init__(self, folder, suite, arch):
        host.need("apt-get")
        self._folder = pathlib.Path(folder)
        self.uri = archive.address()
        for name in ("lists/partial", "cache/archives/partial"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        (self._folder / "status").touch()
        signed = f" signed-by={_KEYRING}" if os.path.exists(_KEYRING) else ""
        source = f"deb [arch={arch}{signed}] {self.uri} {suite} main\n"
        (self._folder / "sources.list").write_text(source, encoding="utf-8")
        lines = [
            f'Dir::State::lists "{self._folder}/lists";',
            f'Dir::State::status "{self._folder}/status";',
            f'Dir::Cache "{self._folder}/cache";',
            f'Dir::Etc::sourcelist "{self._folder}/sources.list";',
            'Dir::Etc::sourceparts "/dev/null";',
            'Dir::Etc::main "/dev/null";',
            'Dir::Etc::parts "/dev/null";',
            'Dir::Etc::preferences "/dev/null";',
            'Dir::Etc::preferencesparts "/dev/null";',
            f'APT::Architecture "{arch}";',
            f'APT::Architectures "{arch}";',
            'APT::Sandbox::User "root";',
            'Acquire::Languages "none";',
            *archive.apt_options(),
        ]
        config = self._folder / "apt.conf"
        config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self._env = dict(os.environ, APT_CONFIG=str(config), LC_ALL="C.UTF-8")

    def update(self, step):
        """Fetches the suite's package list."""
        argv = ["apt-get", "update", "--error-on=any"]
        self._checked(run.run(argv, env=self._env, log=step.log), step, "fetch the package list")

    def names(self, prefix):
        """The names of all packages that begin with `prefix`."""
        return run.run(["apt-cache", "pkgnames", prefix], env=self._env).output.split()

    def show(self, package):
        """The fields of a package's newest version as a dict (names in lower case), or None."""
        result = run.run(["apt-cache", "show", "--no-all-versions", package], env=self._env)
        if not result:
            return None
        fields = {}
        for line in result.output.splitlines():
            if line[:1].isspace() or ":" not in line:
                continue
            name, value = line.split(":", 1)
            fields.setdefault(name.lower(), value.strip())
        return fields if "package" in fields else None

    def download(self, packages, folder, step):
        """Downloads packages (`name=version`) as .deb files into `folder`."""
        before = _size_below(folder)
        total = sum(int(self.show(name.split("=")[0]).get("size", 0)) for name in packages)

        def watch():
            done = _size_below(folder) - before
            step.count(done >> 20, max(total, done) >> 20, " MB")

        step.watch = watch
        argv = ["apt-get", "download", *packages]
        result = run.run(argv, env=self._env, cwd=folder, log=step.log)
        step.watch = None
        self._checked(result, step, "download " + " ".join(packages))

    def _checked(self, result, step, what):
        if result:
            return
        reason, hint = archive.explain(step.log, self.uri) or (f"apt ended with {result.status}", None)
        raise step.fail(f"cannot {what}: {reason}", hint)


def _size_below(folder):
    total = 0
    for path, _folders, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(path, name)).st_size
            except OSError:
                pass
    return total
