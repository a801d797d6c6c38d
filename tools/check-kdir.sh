#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Checks that a kernel build folder can build the module: check-kdir.sh <folder> <rustc>. rustc
# would answer with dozens of errors.

kdir=$1 rustc=$2
list=$(dirname "$0")/config/series.toml

refuse() {
	echo "$1" >&2
	shift
	for line; do echo "$line" >&2; done
	exit 1
}

if ! test -e "$kdir/rust/libkernel.rmeta"; then
	what="$kdir: no such kernel build folder."
	test -d "$kdir/" && what="$kdir: no Rust metadata (rust/libkernel.rmeta), so no Rust module can be built there."
	refuse "$what" \
		"Debian's linux-headers packages have no Rust metadata. Either" \
		"  make build            builds iommu_core.ko for Debian's stock kernel (fetches all it needs), or" \
		"  make KDIR=<folder>    with a kernel tree that has CONFIG_RUST=y and was built or 'modules_prepare'd."
fi

# 7.3.4+deb13-amd64 is of the series 7.3.
release=$(cat "$kdir/include/config/kernel.release" 2>/dev/null)
series=$(echo "$release" | sed -n 's/^\([0-9]*\.[0-9]*\).*/\1/p')
supported=$(sed -n 's/^series = \[\(.*\)\]/\1/p' "$list" | tr -d '",')
older() {
	test "${1%.*}" -lt "${2%.*}" || { test "${1%.*}" -eq "${2%.*}" && test "${1#*.}" -lt "${2#*.}"; }
}
if test -n "$series"; then
	known='' too_old=yes
	for one in $supported; do
		test "$one" = "$series" && known=yes
		older "$series" "$one" || too_old=
	done
	test -z "$too_old" || refuse \
		"$kdir: Linux $release is older than what this version of iommu_core supports: $supported."
	test -n "$known" ||
		echo "$kdir: Linux $release is untried: this version of iommu_core is for $supported." >&2
fi

# rustc reads no metadata of another version.
built=$(sed -n 's/^CONFIG_RUSTC_VERSION_TEXT="\(.*\)"$/\1/p' "$kdir/include/config/auto.conf" 2>/dev/null)
test -n "$built" || exit 0
# The command may have arguments.
ours=$($rustc --version 2>/dev/null) || refuse "$kdir was built with '$built', and '$rustc' does not run here." \
	"Install that rustc, or name it: make RUSTC=<path> KDIR=$kdir"
test "$ours" = "$built" || refuse "$kdir was built with '$built', but '$rustc' is '$ours'." \
	"A module needs the same one: make RUSTC=<path> KDIR=$kdir, or build the kernel tree with yours."
