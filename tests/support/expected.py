"""What the queue should have done: its rules once more, in Python, without any list or index."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fileproc.jobs import FINAL, UNSTARTED, JobState, Move
from fileproc.store import Verdict

if TYPE_CHECKING:
    from support.snapshot import Fields, Snapshot

DELETED = "deleted"
LOST_WORKERS = 3  # attempts that lost workers may cost
TOMBSTONE_MS = 7 * 86_400_000
SETTLED = {
    Move.COMPLETE: JobState.SUCCEEDED,
    Move.FAIL: JobState.FAILED,
    Move.CANCEL: JobState.CANCELED,
    Move.RETRY: JobState.DELAYED,
    Move.RELEASE: JobState.QUEUED,
}


@dataclass
class ExpectedJob:
    """Times are in ms on the model's clock; None: never."""

    id: str
    owner: str
    lane: str
    state: str
    max_attempts: int
    retention_ms: int
    files: tuple[str, ...] = ()
    due: int | None = None
    deadline: int | None = None
    token: int = 0
    attempt: int = 0
    cancel_requested: bool = False
    delete_requested: bool = False
    lease_end: int = 0
    leaves: int = 0
    prefix: str = ""  # of the published outputs

    @property
    def over(self) -> bool:
        return self.state in FINAL

    @property
    def unstarted(self) -> bool:
        return self.state in UNSTARTED


@dataclass
class Expected:
    """The clock stands still but for steps: every margin is far above a test's duration."""

    clock: int = 0
    jobs: dict[str, ExpectedJob] = field(default_factory=dict)
    file_owners: dict[str, str] = field(default_factory=dict)

    def of(self, owner: str, *states: str) -> list[ExpectedJob]:
        return [job for job in self.jobs.values() if job.owner == owner and job.state in states]

    def usable(self, owner: str, file: str) -> bool:
        used: Counter[str] = Counter()
        for job in self.jobs.values():
            used.update(() if job.state == DELETED else job.files)
        return self.file_owners[file] == owner and used[file] > 0

    def claim(self, job_id: str, lease_ms: int) -> ExpectedJob:
        job = self.jobs[job_id]
        assert job.state == JobState.QUEUED, f"{job} was claimed"
        job.state, job.deadline = JobState.RUNNING, None
        job.token += 1
        job.attempt += 1
        job.lease_end = self.clock + lease_ms
        return job

    def settle(self, job_id: str, token: int, move: Move, prefix: str, delay_ms: int) -> Verdict:
        job = self.jobs[job_id]
        if job.state == DELETED or job.token != token:
            return Verdict.STALE
        if job.state != JobState.RUNNING:
            ended = job.state == JobState.CANCELED and job.cancel_requested
            before = job.state == SETTLED[move] or (ended and move in (Move.RETRY, Move.RELEASE))
            return Verdict.DONE_BEFORE if before else Verdict.STALE
        if job.cancel_requested and move in (Move.RETRY, Move.RELEASE):
            move = Move.CANCEL
        if move is Move.RETRY:
            job.due = self.clock + delay_ms
        elif move is Move.RELEASE:
            job.attempt -= 1
        elif move is Move.COMPLETE:
            job.prefix = prefix
        self._become(job, SETTLED[move])
        return Verdict.DONE

    def _become(self, job: ExpectedJob, state: str) -> None:
        job.state = state
        if state != JobState.DELAYED:
            job.due = None
        if job.over:
            job.deadline = None
            job.leaves = self.clock + (0 if job.delete_requested else job.retention_ms)

    def cancel(self, job_id: str) -> None:
        job = self.jobs[job_id]
        if job.state == JobState.RUNNING:
            job.cancel_requested = True
        elif job.unstarted:
            self._become(job, JobState.CANCELED)

    def delete(self, job_id: str) -> None:
        job = self.jobs[job_id]
        if job.state == JobState.RUNNING:
            job.cancel_requested = job.delete_requested = True
        else:
            self._forget(job)

    def _forget(self, job: ExpectedJob) -> None:
        job.state, job.leaves = DELETED, self.clock + TOMBSTONE_MS
        job.due = job.deadline = None

    def uploaded(self, job_id: str) -> None:
        job = self.jobs[job_id]
        if job.state == JobState.AWAITING_UPLOAD:
            job.state, job.deadline = JobState.QUEUED, None

    def recover(self) -> int:
        late = [j for j in self.jobs.values() if j.state == "running" and j.lease_end <= self.clock]
        for job in late:
            if job.cancel_requested:
                self._become(job, JobState.CANCELED)
            elif job.attempt >= min(job.max_attempts, LOST_WORKERS):
                self._become(job, JobState.FAILED)
            else:
                self._become(job, JobState.QUEUED)
        return len(late)

    def tick(self) -> tuple[int, int]:
        """(promoted, expired)"""
        promoted = expired = 0
        for job in self.jobs.values():
            if job.deadline is not None and job.deadline <= self.clock:
                self._become(job, JobState.EXPIRED)
                expired += 1
            elif job.state == JobState.DELAYED and (job.due or 0) <= self.clock:
                self._become(job, JobState.QUEUED)
                promoted += 1
        return promoted, expired

    def purge(self) -> int:
        due = [job for job in self.jobs.values() if job.over and job.leaves <= self.clock]
        for job in due:
            self._forget(job)
        return len(due)

    def facts(self, job: ExpectedJob) -> tuple[object, ...]:
        """As `facts_of` should find them in the record."""
        if job.state == DELETED:
            return (None if self.vanished(job) else DELETED,)
        marks = (job.cancel_requested, job.delete_requested)
        return (job.state, job.token, job.attempt, *marks, job.prefix)

    def vanished(self, job: ExpectedJob) -> bool:
        """Whether not even the tombstone is left."""
        return job.state == DELETED and job.leaves <= self.clock


def facts_of(record: Fields | None) -> tuple[object, ...]:
    """What the model knows of a job, from its record."""
    if record is None or record["st"] == DELETED:
        return (record and DELETED,)
    marks = ("cq" in record, "del" in record)
    return (record["st"], int(record["tok"]), int(record["at"]), *marks, record.get("pre", ""))


def takeable_by(now: Snapshot, worker: str, lane: str, free: int) -> tuple[set[str], int]:
    """Ids that a claim may take at this moment, and how many it must."""
    strays = set(now.popped.get((worker, lane), [])) & now.queued
    takeable = strays | set(now.ready(lane))
    number = len(takeable)
    for (of_lane, owner), ids in now.waiting.items():
        if of_lane == lane and not now.paused(lane) and now.may_take_turns(lane, owner):
            takeable |= ids.keys()
            flow = now.flows.get((lane, owner), {})
            cap = int(flow.get("cap", 0))
            number += min(len(ids), cap - int(flow.get("adm", 0))) if cap else len(ids)
    return takeable, min(free, len(strays) if len(strays) >= free else number)
