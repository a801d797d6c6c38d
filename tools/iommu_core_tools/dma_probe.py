# SPDX-License-Identifier: GPL-2.0
"""The guests' program dma-probe: a device that writes where nobody told it to, all the time.

Its kernel needs the parameter "iomem=relaxed".
"""

import time

_OUT = "/run/probe"


def start(run, address):
    """Has the iommu-testdev at a PCI address write to memory until the guest ends."""
    run.guest.run(f"dma-probe {address} >{_OUT} 2>{_OUT}.err & echo $! >{_OUT}.pid; sleep 0.5")


def changes(run):
    """What the probe saw so far: "reached" and "blocked" in turn."""
    return [line.split()[0] for line in run.guest.run(f"cat {_OUT}").splitlines()]


def goes_on(run):
    """Lets some time pass, and checks that the probe still runs."""
    # It prints only changes; that it lives and that some time passed is all there is to see.
    time.sleep(0.5)
    run.check(run.guest.works(f"kill -0 $(cat {_OUT}.pid)"), "the probe still runs",
              run.guest.run(f"cat {_OUT}.err"))  # fmt: skip
