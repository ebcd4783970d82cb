"""Putting the layers on, in the one order that works."""

from __future__ import annotations

import os
import platform
import signal
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fileproc.operations import Limits
from fileproc.operations.programs import Program
from fileproc.worker.zygote import landlock, libc, rlimits, seccomp
from fileproc.worker.zygote.kernel import Kernel

# Programs take all cores there are; the worker's heartbeat and its zygote come before them.
_NICER = 5
# The zygote's own limit of open files: children close everything up to it.
MAX_DESCRIPTORS = 4096


@dataclass(frozen=True, slots=True)
class Confinement:
    """What can be made ready once, before there is a child.

    A child that may execute programs gets another filter, and the rules of its programs.

    Attributes:
        programs: those that are installed, by name.
        readable: open folders that every child may read.
        executable: open files and folders of each program.
        calls: the seccomp filters, by whether programs may be executed, and whether one of them
            gets a socket that leads nowhere; empty where the kernel takes none.
    """

    kernel: Kernel
    programs: Mapping[str, Program]
    readable: tuple[landlock.Rule, ...]
    executable: Mapping[str, tuple[landlock.Rule, ...]]
    calls: Mapping[tuple[bool, bool], seccomp.Filter]

    @classmethod
    def of(cls, kernel: Kernel, programs: Mapping[str, Program]) -> Confinement:
        """Open the folders and assemble the filters, as far as this kernel needs them."""
        profiles = {(False, False), *((True, each.mute_socket) for each in programs.values())}
        return cls(
            kernel,
            programs,
            tuple(landlock.readable_rules()) if kernel.landlock else (),
            {
                name: tuple(landlock.program_rules(program))
                for name, program in programs.items()
                if kernel.landlock
            },
            {
                (exec_, socket): seccomp.build(may_exec=exec_, mute_socket=socket)
                for exec_, socket in profiles
                if kernel.seccomp
            },
        )

    def enter(
        self,
        folder: Path,
        limits: Limits,
        *,
        parent: int,
        keep: set[int],
        programs: Iterable[str] = (),
    ) -> None:
        """Confine this process to `folder` and `limits`, for good; only `keep` stays open.

        It may execute the programs of these names, as far as they are installed.

        Raises:
            OSError, ValueError: a layer could not be put on; the process must end.
        """
        allowed = [name for name in programs if name in self.programs]
        _stand_apart(folder, parent)
        if allowed:
            os.nice(_NICER)
        if libc.LINUX:
            libc.refuse_new_privileges()
            self._give_up_rights()
        if self.kernel.rlimits:
            rlimits.apply(limits, may_exec=bool(allowed))
        if self.kernel.landlock:
            rules = [rule for name in allowed for rule in self.executable[name]]
            landlock.restrict(self.kernel.landlock, [*self.readable, *rules], folder)
        _close_all_but(keep)
        if self.calls:
            muted = any(self.programs[name].mute_socket for name in allowed)
            seccomp.install(self.calls[bool(allowed), muted].for_process(os.getpid()))

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
