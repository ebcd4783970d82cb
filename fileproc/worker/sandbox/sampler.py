"""What rlimits do not count: shared memory, and the scratch files of an attempt together."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass

from fileproc import telemetry
from fileproc.errors import JobError
from fileproc.operations import Limits
from fileproc.worker.sandbox import groups, outcome, scratch
from fileproc.worker.sandbox.attempt import Attempt

EVERY_S = 0.2
MAX_THREADS = 512  # of all its processes; RLIMIT_NPROC counts those of other jobs as well

_log = telemetry.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Target:
    attempt: Attempt
    pid: int
    limits: Limits


class Sampler:
    """Looks at all running attempts five times a second, in a thread, and kills the greedy."""

    def __init__(self, attempts: Collection[Attempt]) -> None:
        self._attempts = attempts

    async def watch(self) -> None:
        """For as long as the sandbox is open."""
        while True:
            await asyncio.sleep(EVERY_S)
            targets = [
                _Target(attempt, attempt.pid, attempt.limits)
                for attempt in self._attempts
                if attempt.pid is not None
            ]
            if not targets:
                continue
            try:
                verdicts = await asyncio.to_thread(_judge_all, targets)
            except Exception:  # noqa: BLE001 - without us, jobs would be free to fill the disk
                _log.exception("The sandbox could not look at its jobs.")
                continue
            for target, verdict in zip(targets, verdicts, strict=True):
                if verdict is not None:
                    target.attempt.stop(verdict)


def _judge_all(targets: list[_Target]) -> list[JobError | None]:
    many = groups.members({target.pid for target in targets if target.attempt.starts_programs})
    return [_judge(target, many.get(target.pid) or [target.pid]) for target in targets]


def _judge(target: _Target, pids: list[int]) -> JobError | None:
    """Whether it, with all its processes, uses too much.

    The process may be gone and its number another's by now: what follows from this verdict is for
    the attempt alone, and then does nothing.
    """
    if len(pids) > MAX_THREADS:
        return outcome.too_many_threads()
    memory, threads = map(sum, zip(*map(scratch.memory_and_threads, pids), strict=True))
    if memory > target.limits.memory_bytes:
        return outcome.memory_exceeded()
    if threads > MAX_THREADS:
        return outcome.too_many_threads()
    try:
        used = scratch.used_bytes(target.attempt.folder, pids)
    except scratch.Unreasonable:
        return outcome.scratch_exceeded()
    except OSError:  # taken away meanwhile: the attempt is over
        return None
    return outcome.scratch_exceeded() if used > target.limits.scratch_bytes else None
