#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# dracut sources it. The boot goes on if the module does not load.

/usr/lib/iommu-core/load || true
