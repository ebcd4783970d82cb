"""Resource limits of a child, from the limits of its attempt."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from fileproc.operations import Limits
from fileproc.worker.zygote import libc

OPEN_FILES = 256
# Processes and threads more than its user has already, of a child that starts programs. Other
# containers' count as well, so this is generous; the worker counts each job's own (`sampler.py`).
MORE_PROCESSES = 1000
_AS_FACTOR = 4  # address space is a backstop: engines map far more than they use


def limits_of(limits: Limits) -> dict[int, tuple[int, int]]:
    """RLIMIT_... -> (soft, hard).

    DATA tracks what is really used about twice as well as AS does. The soft CPU limit comes a
    second before the hard one: SIGXCPU can be told from a stray SIGKILL.
    """
    space = limits.memory_bytes * _AS_FACTOR
    return {
        resource.RLIMIT_DATA: (limits.memory_bytes, limits.memory_bytes),
        resource.RLIMIT_AS: (space, space),
        resource.RLIMIT_CPU: (limits.cpu_s, limits.cpu_s + 1),
        resource.RLIMIT_FSIZE: (limits.scratch_bytes, limits.scratch_bytes),
        resource.RLIMIT_NOFILE: (OPEN_FILES, OPEN_FILES),
        # One byte, not none: of a program that takes core dumps (core_pattern with a "|") the
        # kernel asks for exactly this, see core(5).
        resource.RLIMIT_CORE: (1, 1),
    }


def apply(limits: Limits, *, may_exec: bool = False) -> None:
    """Set them on this process; a lower hard limit that is already in force stays."""
    wanted = limits_of(limits)
    if may_exec:
        most = _processes_of_user() + MORE_PROCESSES
        wanted[resource.RLIMIT_NPROC] = (most, most)
    for kind, (soft, hard) in wanted.items():
        _, ceiling = resource.getrlimit(kind)
        if ceiling != resource.RLIM_INFINITY:
            hard = min(hard, ceiling)  # noqa: PLW2901 - what was asked for is of no use then
        try:
            resource.setrlimit(kind, (min(soft, hard), hard))
        except (ValueError, OSError):
            if libc.LINUX:  # elsewhere not every limit exists, and what there is, is best effort
                raise


def _processes_of_user() -> int:
    """Threads that this user runs, as far as they can be seen from here."""
    count, user = 0, os.getuid()
    try:
        entries = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    except OSError:
        return 0
    for entry in entries:
        try:
            if entry.stat().st_uid == user:
                count += (entry / "task").stat().st_nlink - 2
        except OSError:
            continue  # it ended meanwhile
    return count
