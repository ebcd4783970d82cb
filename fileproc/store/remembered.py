"""A job as the journal remembers it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from fileproc.jobs import FINAL, MOVES, JobState, Move
from fileproc.store.events import Event


@dataclass(slots=True)
class Remembered:
    """A job as its events leave it. Times in ms since 1970."""

    id: str
    owner: str
    version: int
    state: str
    lane: str
    document: str
    max_attempts: int
    retention_ms: int
    score: int
    created: int
    attempt: int = 0
    token: int = 0
    started: int | None = None
    finished: int | None = None
    result: str = ""
    problem: str = ""
    prefix: str = ""
    idempotency: str = ""
    batch: str = ""
    retried_as: str = ""
    digest: str = ""
    cancel_requested: int | None = None  # then it is not to run again
    due: int = 0  # the set time; of a retry it is not remembered
    deadline: int = 0  # to have started by
    files: dict[str, str] = field(
        default_factory=dict
    )  # id -> record; '' if another job brought it
    uploads: list[str] = field(default_factory=list)  # ids of files uploaded on their own

    @property
    def over(self) -> bool:
        return self.state in FINAL

    @property
    def expires(self) -> int | None:
        return self.finished + self.retention_ms if self.finished else None

    @property
    def waits_until(self) -> int:
        """The set time, of a job that has not come so far; else 0."""
        return self.due if self.state == JobState.DELAYED and not self.attempt else 0

    @property
    def takes_over(self) -> str:
        """Prefix of what an earlier job has kept for it, while it is not over; else ''."""
        return "" if self.over else _prefix_of(json.loads(self.document).get("resume"))


def _prefix_of(kept: dict[str, Any] | None) -> str:
    return str(kept.get("prefix", "")) if kept else ""


def advance(job: Remembered, event: Event, now: int) -> None:
    """Take in what became of it (ms since 1970)."""
    job.version = event.version
    if event.move not in MOVES:
        job.cancel_requested = now  # what comes of it is an event of its own, if the worker lives
        return
    (job.state, *others) = sorted(MOVES[Move(event.move)].targets)
    assert not others  # noqa: S101 - only submit has several, and it is not folded here
    match event.move:
        case Move.CLAIM:
            claimed = json.loads(event.data)
            job.attempt, job.token, job.started = claimed["attempt"], claimed["token"], now
        case Move.RELEASE:
            job.attempt -= 1
        case Move.RETRY:
            job.problem = event.data
        case Move.UPLOADED:
            job.document = event.data
        case Move.COMPLETE | Move.REUSE:
            job.result, job.problem = event.data, ""
            job.prefix = json.loads(event.data)["prefix"]
        case Move.FAIL:
            job.problem = event.data
            job.prefix = _prefix_of(json.loads(event.data or "{}").get("kept"))
    if job.over:
        job.finished = now
    else:  # as another history had it, before a replica took over
        job.finished, job.result, job.prefix = None, "", ""
