"""Putting the layers on, in the one order that works."""

from __future__ import annotations

import os
import platform
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from fileproc.operations import Limits
from fileproc.worker.zygote import landlock, libc, rlimits, seccomp
from fileproc.worker.zygote.kernel import Kernel

# The zygote's own limit of open files: children close everything up to it.
MAX_DESCRIPTORS = 4096


@dataclass(frozen=True, slots=True)
class Confinement:
    """What can be made ready once, before there is a child.

    Attributes:
        readable: open folders that every child may read.
        calls: the seccomp filter; None where the kernel takes none.
    """

    kernel: Kernel
    readable: tuple[landlock.Rule, ...]
    calls: seccomp.Filter | None

    @classmethod
    def of(cls, kernel: Kernel) -> Confinement:
        """Open the folders and assemble the filter, as far as this kernel needs them."""
        rules = tuple(landlock.readable_rules()) if kernel.landlock else ()
        return cls(kernel, rules, seccomp.build() if kernel.seccomp else None)

    def enter(self, folder: Path, limits: Limits, *, parent: int, keep: set[int]) -> None:
        """Confine this process to `folder` and `limits`, for good; only `keep` stays open.

        Raises:
            OSError, ValueError: a layer could not be put on; the process must end.
        """
        _stand_apart(folder, parent)
        if libc.LINUX:
            libc.refuse_new_privileges()
            self._give_up_rights()
        if self.kernel.rlimits:
            rlimits.apply(limits)
        if self.kernel.landlock:
            landlock.restrict(self.kernel.landlock, self.readable, folder)
        _close_all_but(keep)
        if self.calls is not None:
            seccomp.install(self.calls.for_process(os.getpid()))

    def _give_up_rights(self) -> None:
        libc.drop_capabilities(platform.machine())
        # With both layers no other child can look at this one; the worker must be able to, since
        # a deleted file that is still open is found in /proc/<pid>/fd only.
        if self.kernel.landlock and self.kernel.seccomp:
            libc.show_process()


def _stand_apart(folder: Path, parent: int) -> None:
    """Own session and group, scratch as the working directory, dead with the zygote."""
    os.setsid()
    if libc.LINUX:
        libc.die_with_parent(signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the zygote died before the signal of its death was asked for")
    os.chdir(folder)
    os.umask(0o077)


def _close_all_but(keep: set[int]) -> None:
    start = 3
    for descriptor in sorted(keep):
        os.closerange(start, descriptor)
        start = descriptor + 1
    os.closerange(start, MAX_DESCRIPTORS)
