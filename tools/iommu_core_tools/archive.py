# SPDX-License-Identifier: GPL-2.0
"""Finds the Debian archive to use: `MIRROR=`, or the archive that this machine's apt uses.

No address is built in. apt's configuration has two forms, one-line `.list` files and deb822
`.sources` files (sources.list(5)). Suites, components and signing key distinguish third-party sources
from Debian's.
"""

import os
import pathlib
import re
import subprocess

from .errors import ToolError

_SUITES = {
    "bookworm", "trixie", "forky", "sid",
    "oldstable", "stable", "testing", "unstable",
}  # fmt: skip


def address(apt_dir="/etc/apt", environ=os.environ):
    """The archive's base address."""
    mirror = environ.get("MIRROR", "").strip()
    if mirror:
        return mirror.rstrip("/")
    found = [source for source in sources(apt_dir) if _is_debian(source)]
    if not found:
        raise ToolError(
            f"no Debian archive in the apt configuration ({apt_dir})",
            hint="give one: make ... MIRROR=<address of a Debian archive>",
        )
    found.sort(key=_rank, reverse=True)
    return found[0]["uri"].rstrip("/")


def sources(apt_dir="/etc/apt"):
    """Every enabled binary source: dicts with uri, suite, components (a list) and options (a dict)."""
    apt_dir = pathlib.Path(apt_dir)
    files = [apt_dir / "sources.list", *sorted((apt_dir / "sources.list.d").glob("*"))]
    for file in files:
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        if file.suffix == ".list":
            yield from _one_line(text)
        elif file.suffix == ".sources":
            yield from _deb822(text)


def _one_line(text):
    for line in text.splitlines():
        line = line.split("#", 1)[0].strip()
        match = re.match(r"deb\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)\s*(.*)$", line)
        if not match:
            continue
        options = dict(
            pair.split("=", 1) for pair in (match[1] or "").split() if "=" in pair
        )
        options = {name.lower().rstrip("+-"): value for name, value in options.items()}
        yield {
            "uri": match[2],
            "suite": match[3],
            "components": match[4].split(),
            "options": options,
        }


def _deb822(text):
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in re.split(r"\n[ \t]*\n", "\n".join(lines)):
        fields = {}
        name = None
        for line in stanza.splitlines():
            if line[:1] in " \t" and name:
                fields[name] += "\n" + line.strip()
            elif ":" in line:
                name, value = line.split(":", 1)
                name = name.strip().lower()
                fields[name] = value.strip()
        if fields.get("enabled", "yes").lower() in ("no", "false", "0", "off", "without", "disable"):
            continue
        if "deb" not in fields.get("types", "").split():
            continue
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield {
                    "uri": uri,
                    "suite": suite,
                    "components": fields.get("components", "").split(),
                    "options": {"signed-by": fields.get("signed-by", "")},
                }


def _is_debian(source):
    if source["suite"].split("/", 1)[0] not in _SUITES or "main" not in source["components"]:
        return False
    if source["uri"].startswith("cdrom:"):
        return False
    # Third parties name their suites after Debian's too, but sign them with their own keys.
    key = source["options"].get("signed-by", "")
    return not key or "debian-archive" in key or "BEGIN PGP" in key


def _rank(source):
    """Debian's own archive is most often below a folder of that name, and has more components."""
    own_key = "debian-archive" in source["options"].get("signed-by", "")
    named = source["uri"].rstrip("/").endswith("/debian")
    return (own_key, named, len(source["components"]))


def apt_options():
    """The machine's own apt settings for fetching: proxies, certificates, checks; as option lines."""
    try:
        dump = subprocess.run(
            ["apt-config", "dump"], capture_output=True, text=True, check=False
        ).stdout
    except FileNotFoundError:
        return []
    keep = re.compile(r'Acquire::(https?|Check-[A-Za-z-]+|Retries)\b[^ ]* "[^"]+";')
    return [line for line in dump.splitlines() if keep.match(line)]


_UNREACHABLE = re.compile(
    r"(Could not connect to|Could not resolve|Temporary failure resolving|Connection (?:refused|timed out"
    r"|failed)|Network is unreachable|Unable to connect|does not have a Release file|File not found"
    r"|Could not handshake|Certificate verification failed|404 +Not Found|403 +Forbidden"
    r"|Cannot initiate the connection)[^\n]*"
)


def explain(log, uri):
    """If apt could not reach or trust the archive, turns its output into (what, hint). Otherwise None."""
    try:
        text = pathlib.Path(log).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    if "NO_PUBKEY" in text:
        return (
            f"the archive {uri} is signed with a key that this machine does not know",
            "apt-get install --only-upgrade debian-archive-keyring",
        )
    match = _UNREACHABLE.search(text)
    if match:
        return (
            f"the Debian archive {uri} cannot be reached: {match[0].strip()}",
            "check the network and the apt configuration, or give another archive: make ... MIRROR=<address>",
        )
    return None
