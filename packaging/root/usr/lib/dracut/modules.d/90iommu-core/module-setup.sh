#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# For dracut: the module, and the script that loads it before udev loads drivers for devices, go
# into each initramfs of a kernel that has the module.

check() {
	# shellcheck disable=SC2154 # dracut sets it.
	[[ -x /usr/lib/iommu-core/boot ]] && /usr/lib/iommu-core/boot has "$kernel"
}

depends() {
	return 0
}

installkernel() {
	# Also if the machine that makes the initramfs does not use the module now.
	hostonly='' instmods iommu_core
}

install() {
	inst_multiple cat modinfo uname
	inst_simple /usr/lib/iommu-core/load
	# shellcheck disable=SC2154 # dracut sets it.
	inst_hook pre-udev 00 "$moddir/iommu-core-load.sh"
}
