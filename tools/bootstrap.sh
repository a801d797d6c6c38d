#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The tools are written in Python. This script runs before them. If python3 (3.11 or newer) is
# installed, it changes nothing. Otherwise it installs python3 as root, or says what to do.

python=${PYTHON:-python3}

good() {
	command -v "$python" >/dev/null 2>&1 &&
		"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

good && exit 0

if command -v "$python" >/dev/null 2>&1; then
	echo "$python is older than 3.11, which the tools need. Give a newer one: make PYTHON=<path> ..." >&2
	exit 1
fi
if [ "$(id -u)" != 0 ]; then
	echo "python3 is missing. Next: apt-get install python3 (as root), then again." >&2
	exit 1
fi

echo "host: installing python3"
log=$(mktemp)
if { apt-get update && apt-get install -y --no-install-recommends python3; } >"$log" 2>&1 && good; then
	rm -f "$log"
	exit 0
fi
tail -n 5 "$log" >&2
echo "host: could not install python3 (3.11 or newer); log: $log" >&2
exit 1
