"""What the api does with jobs: accept, read, list, cancel, delete."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from fileproc.errors import (
    BacklogError,
    CorruptRecordError,
    GoneError,
    IdempotencyInFlightError,
    IdempotencyMismatchError,
    NotFoundError,
    NothingKeptError,
    WrongStateError,
)
from fileproc.jobs import FileInfo, Job, JobDocument, JobResult, JobState
from fileproc.store.connection import Pipeline
from fileproc.store.cursors import Entries, decode_cursor, encode_cursor, entries_below, pairs
from fileproc.store.idempotency import LIFE_S, Reservation
from fileproc.store.keys import Keys
from fileproc.store.owners import Limits, quota_error
from fileproc.store.records import job_from, when
from fileproc.store.reserve import Reserve
from fileproc.store.seen import Seen, Write
from fileproc.telemetry import LIMITS_HIT

TOMBSTONE_S = 7 * 86_400
HEAD_START_MS = {"high": 60_000, "normal": 0, "low": -60_000}
MOST_SCANNED = 1_000


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to accept. The api makes the id before it first sends, so sending twice makes one job.

    Attributes:
        new_files: uploaded with this request; their objects are in the storage already.
        reused_files: ids of files that other jobs brought.
        digest: of what it asks for, where its answer may be given to others that ask the same.
        answered_by: the job that has done so already; then `result` is the result.
        once: refuse to repeat a job (`document.retry_of`) that another has repeated.
        reservation, fingerprint: of the Idempotency-Key, if there was one.
    """

    id: str
    owner: str
    lane: str
    document: JobDocument
    max_attempts: int
    retention_s: int
    new_files: list[FileInfo] = field(default_factory=list)
    reused_files: list[str] = field(default_factory=list)
    reservation: Reservation | None = None
    fingerprint: str = "-"
    once: bool = False
    digest: str = ""
    answered_by: str = ""
    result: JobResult | None = None

    @property
    def due_ms(self) -> int:
        """When it may start, ms since 1970; 0: at once."""
        return _milliseconds(self.document.run_at) if self.document.run_at else 0


@dataclass(frozen=True, slots=True)
class JobPage:
    jobs: list[Job]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs of an owner a list shows; None and {} show all."""

    state: JobState | None = None
    operation: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    batch: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None

    def shows(self, job: Job) -> bool:
        """Whether a job passes what the index cannot decide."""
        document = job.document
        if self.batch is not None and self.state not in {None, job.state}:
            return False  # the index of a batch has all states
        return (self.operation is None or document.operation == self.operation) and all(
            document.labels.get(name) == value for name, value in self.labels.items()
        )


class Jobs:
    def __init__(
        self,
        pipeline: Pipeline,
        keys: Keys,
        *,
        everybody: Limits,
        max_event_backlog: int,
        reserve: Reserve,
    ) -> None:
        self._pipeline = pipeline
        self._keys = keys
        self._reserve = reserve
        self._everybody = everybody.for_scripts()
        self._max_event_backlog = max_event_backlog
        self._seen = Seen()

    async def accept(self, new: NewJob) -> str:
        """As `accept_at`, for callers who have no use for the moment."""
        return (await self.accept_at(new))[0]

    async def accept_at(self, new: NewJob) -> tuple[str, datetime | None]:
        """Write the job down, durably.

        Returns its id and when it was accepted, by Redis' clock; the id of the first, without a
        moment, if the Idempotency-Key has made a job before.

        Raises:
            QuotaError: the owner has too many jobs waiting, or a quota of the day is used up.
            BacklogError: the events are not shipped fast enough, or Redis is nearly full.
            NotFoundError: a file that was to be used again is gone.
            WrongStateError: the job was to be repeated once, and has been.
            NothingKeptError: what it was to go on from is gone.
            IdempotencyInFlightError, IdempotencyMismatchError: another request has the key.
            StoreUnavailableError: nothing is known to be accepted.
        """
        await self._reserve.check()
        reply = await self._pipeline.script("accept", *self._arguments(new))
        match reply:
            case ["ok", job_id, accepted]:
                return str(job_id), when(str(accepted)) if accepted else None
            case ["known", fingerprint, job_id]:
                if fingerprint != new.fingerprint:
                    raise IdempotencyMismatchError(
                        "The Idempotency-Key was used for another request: use a new key."
                    )
                return str(job_id), None
            case ["not_there"]:  # it was deleted meanwhile
                return await self.accept_at(replace(new, answered_by="", result=None))
        raise self._refusal(new, reply)

    def _refusal(self, new: NewJob, reply: Any) -> Exception:  # noqa: PLR0911 - one for each way
        """The error that stands for this reply."""
        match reply:
            case ["in_flight"]:
                return IdempotencyInFlightError(
                    "A request with this Idempotency-Key is still under way.", retry_after_s=1
                )
            case ["backlog", entries]:
                LIMITS_HIT.labels("max_event_backlog").inc()
                return BacklogError(
                    f"The server has {entries} events to write out and takes no new job until "
                    f"there are fewer than {self._max_event_backlog}.",
                    retry_after_s=30,
                )
            case ["quota", *_]:
                return quota_error(reply)
            case ["repeated", job_id]:
                return WrongStateError(
                    f"The job has been repeated already, by {job_id}.", retried_as=str(job_id)
                )
            case ["not_kept"]:
                return NothingKeptError("What was kept of the job is gone: repeat it whole.")
            case ["no_batch"]:
                return GoneError(f"The batch {new.document.batch} takes no more jobs.")
            case ["no_file", file_id]:
                return NotFoundError(f"There is no file {file_id}.")
        return AssertionError(f"accept answered {reply!r}")

    def _arguments(self, new: NewJob) -> Any:
        held = new.reservation
        arguments: Any = [
            new.id,
            new.owner,
            new.lane,
            HEAD_START_MS[new.document.priority],
            new.document.model_dump_json(exclude_defaults=True),
            held.key_hash if held else "",
            new.fingerprint,
            held.token if held else "",
            LIFE_S,
            self._everybody,
            self._max_event_backlog,
            new.max_attempts,
            new.retention_s * 1000,
            new.due_ms,
            f"+{new.document.expires_in * 1000}" if new.document.expires_in else 0,
            sum(info.size for info in new.new_files),
            0,  # no upload is to come
            *(new.document.batch or "", new.document.retry_of or "", int(new.once)),
            *(
                new.digest,
                new.answered_by,
                new.result.model_dump_json(exclude_none=True) if new.result else "",
            ),
            new.document.resume.prefix if new.document.resume else "",
        ]
        for info in new.new_files:
            arguments += [info.file_id, info.model_dump_json(exclude_none=True)]
        for file_id in new.reused_files:
            arguments += [file_id, ""]
        return arguments

    async def get(self, owner: str | None, job_id: str) -> Job:
        """One consistent snapshot; `owner` None reads for anybody.

        Raises:
            NotFoundError: there is none, or it is another owner's.
            GoneError: it was deleted, or its retention is over.
        """
        fields = await self._pipeline.command("HGETALL", self._keys.job(job_id))
        return job_from(job_id, owner, fields)

    async def read(self, owner: str, job_id: str, write: Write) -> tuple[Job, bytes]:
        """As `get`, and the text that `write` makes of the job; a job always has the same text."""
        fields = await self._pipeline.command("HGETALL", self._keys.job(job_id))
        return self._seen.read(job_id, owner, fields, write)

    async def list(
        self, owner: str, wanted: JobFilter, *, cursor: str | None = None, limit: int = 50
    ) -> JobPage:
        """A page of an owner's jobs, newest first.

        At most 1,000 entries are looked at for one page: where filters leave few, a page may be
        short (even empty) and still have a cursor.

        Raises:
            BadRequestError: the cursor is not one of ours.
        """
        index = self._keys.jobs(owner, wanted.state)
        if wanted.batch is not None:
            batch = self._keys.batch(wanted.batch)
            if await self._pipeline.command("HGET", batch, "own") != owner:
                return JobPage([], None)  # another's looks like none, its length included
            index = self._keys.members(wanted.batch)
        top: str | int = "+inf"
        after: tuple[int, str] | None = None
        if cursor:
            after = decode_cursor(cursor)
            top = after[0]
        elif wanted.created_before:
            top = f"({_milliseconds(wanted.created_before)}"
        bottom = _milliseconds(wanted.created_after) if wanted.created_after else "-inf"
        found: Any = []
        seen = 0
        while seen < MOST_SCANNED:
            entries = await entries_below(self._pipeline, index, top, bottom, limit + 1, after)
            jobs = await asyncio.gather(*(self._shown(owner, job, wanted) for job, _ in entries))
            for (job_id, score), job in zip(entries, jobs, strict=True):
                seen += 1
                if job is not None:
                    if len(found) == limit:
                        return JobPage(found, encode_cursor(*after) if after else None)
                    found.append(job)
                after = (score, job_id)
                top = score
            if len(entries) < limit + 1:
                return JobPage(found, None)
        return JobPage(found, encode_cursor(*after) if after else None)

    async def _shown(self, owner: str, job_id: str, wanted: JobFilter) -> Job | None:
        try:
            job = await self.get(owner, job_id)
        except (NotFoundError, GoneError, CorruptRecordError):
            return None  # purged between the index and the record, or not to be read
        return job if wanted.shows(job) else None

    async def dead(self, owner: str, *, after: tuple[int, str], until: int, count: int) -> Entries:
        """(id, finished ms) of failed jobs, the oldest first, beyond `after` up to `until` (ms)."""
        offset = 0
        out: Entries = []
        while len(out) < count:
            reply = await self._pipeline.command(
                *("ZRANGE", self._keys.dead(owner), after[0], until, "BYSCORE"),
                *("LIMIT", offset, count, "WITHSCORES"),
            )
            found = pairs(reply)
            out += [pair for pair in found if (pair[1], pair[0]) > after]
            if len(found) < count:
                break
            offset += count
        return out[:count]

    async def counts(self, owner: str) -> dict[str, int]:
        """How many jobs an owner has in each state."""
        counted = await asyncio.gather(
            *(self._pipeline.command("ZCARD", self._keys.jobs(owner, state)) for state in JobState)
        )
        return {str(state): int(n) for state, n in zip(JobState, counted, strict=True)}

    async def answers(self, owner: str, digest: str) -> Job | None:
        """The newest job that has an answer for this, if it is still there."""
        job_id = await self._pipeline.command("GET", self._keys.reuse(owner, digest))
        try:
            return await self.get(owner, job_id) if job_id else None
        except (NotFoundError, GoneError, CorruptRecordError):
            return None

    async def cancel(self, owner: str, job_id: str) -> Job:
        """Cancel; a running job ends within two seconds, a canceled one stays as it is.

        Raises:
            NotFoundError, GoneError: as `get`.
            WrongStateError: the job is over already.
        """
        state = await self._pipeline.script("cancel", job_id, owner)
        job = await self.get(owner, job_id)
        if job.state.final and state != JobState.CANCELED:
            raise WrongStateError(f"The job is over: it {job.state}.", state=str(job.state))
        return job

    async def delete(self, owner: str, job_id: str) -> None:
        """Delete record and objects; a running job is canceled first.

        Raises:
            NotFoundError, GoneError: as `get`.
        """
        state = await self._pipeline.script("delete", job_id, owner, TOMBSTONE_S)
        if not state:
            raise NotFoundError(f"There is no job {job_id}.")
        if state == "deleted":
            raise GoneError(f"The job {job_id} is deleted or expired.")


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
