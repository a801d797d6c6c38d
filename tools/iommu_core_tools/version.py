# SPDX-License-Identifier: GPL-2.0
"""The version of iommu_core, which version.rs has."""

import re

from .paths import CHECKOUT

VERSION = re.search(r'VERSION: &str = "(.+)"', (CHECKOUT / "version.rs").read_text(encoding="utf-8"))[1]
