"""Process groups, seen from outside: a job that starts a program is more than one process."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Collection
from pathlib import Path

_PIDFD_SIGNAL_PROCESS_GROUP = 4  # Linux 6.9


def members(leaders: Collection[int]) -> dict[int, list[int]]:
    """The processes of each group, by its leader, whoever their parents are by now."""
    found: dict[int, list[int]] = {leader: [] for leader in leaders}
    if not leaders:
        return found
    with contextlib.suppress(OSError), os.scandir("/proc") as entries:
        for entry in entries:
            if entry.name.isdigit() and (group := _group(entry.path)) in found:
                found[group].append(int(entry.name))
    return found


def _group(folder: str) -> int | None:
    """The group that /proc/<pid>/stat names; None if the process is gone."""
    try:
        text = Path(folder, "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[2])  # the name before it may hold anything


def kill(pidfd: int, leader: int) -> None:
    """Kill a leader and its whole group; harmless when they are gone.

    Older kernels know groups by their number only. It is given to no other process as long as it
    names a group.
    """
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL, None, _PIDFD_SIGNAL_PROCESS_GROUP)
    except ProcessLookupError:
        pass  # nobody is left
    except OSError:  # an older kernel, or one that asks for rights we have over our own
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, signal.SIGKILL)
