"""Open files (files, pipes, connections): how many this process may have, and if there is room."""

from __future__ import annotations

import contextlib
import os
import resource

NEEDED = 32  # for a job: its pipes, its files, a few connections, with some to spare


def raise_limit() -> None:
    """As many as we may have: the soft limit of a shell, 1,024, is for old programs."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError):  # macOS says that there is no limit, and has one
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def to_spare(number: int = NEEDED) -> bool:
    """Whether so many could be opened now: found by opening them, which is sure and quick."""
    opened: list[int] = []
    try:
        opened.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        while len(opened) < number:
            opened.append(os.dup(opened[0]))
    except OSError:
        return False
    finally:
        for descriptor in opened:
            os.close(descriptor)
    return True
