"""What the kernel that we run on can hold a process with."""

from __future__ import annotations

import errno
import platform
from dataclasses import dataclass

from fileproc.worker.zygote import landlock, libc, syscalls

_PR_SET_SECCOMP = 22
_MODE_FILTER = 2


@dataclass(frozen=True, slots=True)
class Kernel:
    """The layers to put on; tests name fewer than there are.

    Attributes:
        landlock: its ABI, 0 without.
        seccomp: whether it takes filters, and we have the numbers of this architecture.
        rlimits: off in measurements only.
    """

    landlock: int
    seccomp: bool
    rlimits: bool = True

    @property
    def enough(self) -> bool:
        """Whether untrusted files may be worked on: below this, sockets are open."""
        return self.seccomp or self.landlock >= landlock.NETWORK_ABI


def detect() -> Kernel:
    """Ask the kernel; changes nothing about this process."""
    return Kernel(landlock=landlock.abi(), seccomp=_takes_filters())


def _takes_filters() -> bool:
    if not libc.LINUX or platform.machine() not in syscalls.DENIED:
        return False
    try:
        libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, None)
    except OSError as exc:
        return exc.errno == errno.EFAULT  # it would have read a filter from there
    return True
