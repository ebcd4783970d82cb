"""Batches: many jobs from one request, counted together, ended together."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import Field, ValidationError

from fileproc.crashpoints import crash_point
from fileproc.errors import (
    CorruptRecordError,
    FileprocError,
    GoneError,
    IdempotencyInFlightError,
    IdempotencyMismatchError,
    NotFoundError,
)
from fileproc.jobs import FINAL, JobHook, JobState, Record
from fileproc.store.batch_memory import RememberedBatch
from fileproc.store.connection import Pipeline
from fileproc.store.cursors import decode_cursor, encode_cursor, entries_below
from fileproc.store.idempotency import LIFE_S, Reservation
from fileproc.store.jobs import TOMBSTONE_S, Jobs, NewJob
from fileproc.store.keys import Keys
from fileproc.store.owners import Limits, quota_error
from fileproc.store.records import when
from fileproc.store.schedules import Fired

OPEN_S = 60  # a batch whose maker died is withdrawn after this; it is renewed with each portion
AT_ONCE = 200  # jobs in a portion
ENDED_AT_ONCE = 20


class BatchDocument(Record):
    """What its owner says of a batch; `schedule` is the id of the one that made it."""

    name: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    metadata: dict[str, Any] = Field(default_factory=dict)
    webhook: JobHook | None = None
    schedule: str | None = None


@dataclass(frozen=True, slots=True)
class NewBatch:
    """A batch to accept; the jobs name it in their documents.

    `fired` is what ends the firing of the schedule that makes it: it is valid only if that is.
    """

    id: str
    owner: str
    document: BatchDocument
    jobs: list[NewJob]
    reservation: Reservation | None = None
    fingerprint: str = "-"
    fired: Fired | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """As read from the store. `counts` are jobs by state; those of no state are left out."""

    id: str
    owner: str
    completed: bool
    document: BatchDocument
    total: int
    counts: dict[JobState, int]
    created_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None

    @property
    def done(self) -> int:
        """Jobs that are over."""
        return sum(number for state, number in self.counts.items() if state in FINAL)


@dataclass(frozen=True, slots=True)
class BatchPage:
    batches: list[Batch] = field(default_factory=list)
    next_cursor: str | None = None


class Batches:
    def __init__(self, pipeline: Pipeline, keys: Keys, jobs: Jobs, everybody: Limits) -> None:
        self._pipeline = pipeline
        self._keys = keys
        self._jobs = jobs
        self._everybody = everybody.for_scripts()

    async def accept(self, new: NewBatch) -> str:
        """Write the batch and all of its jobs down, or nothing; returns its id.

        All or nothing though it takes many calls: the batch is open until the last job is there,
        and one that stays open is withdrawn with its jobs (`end`), whoever dies when.

        Raises:
            QuotaError, BacklogError, NotFoundError, StoreUnavailableError: see `Jobs.accept`.
            IdempotencyInFlightError, IdempotencyMismatchError: another request has the key.
            GoneError: it took too long, or another has taken its firing over.
        """
        await self._open(new)
        try:
            for start in range(0, len(new.jobs), AT_ONCE):
                await self._accept_some(new.jobs[start : start + AT_ONCE])
                crash_point("batch-open")
                await self._pipeline.script("batch", "renew", new.id, OPEN_S * 1000)
            batch_id = await self._seal(new)
        except BaseException:
            await asyncio.shield(self._drop(new.id))
            raise
        if batch_id != new.id:
            await self._drop(new.id)  # another request with the same key was faster
        return batch_id

    async def _open(self, new: NewBatch) -> None:
        document = new.document.model_dump_json(exclude_defaults=True)
        retention_ms = max(job.retention_s for job in new.jobs) * 1000
        reply = await self._pipeline.script(
            *("batch", "open", new.id, new.owner, len(new.jobs), document, retention_ms),
            *(OPEN_S * 1000, self._everybody),
        )
        if reply[0] == "quota":
            raise quota_error(reply, wanted=len(new.jobs))

    async def _accept_some(self, jobs: list[NewJob]) -> None:
        outcomes = await asyncio.gather(
            *(self._jobs.accept(job) for job in jobs), return_exceptions=True
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _seal(self, new: NewBatch) -> str:
        held = new.reservation
        reply = await self._pipeline.script(
            *("batch", "seal", new.id, held.key_hash if held else "", new.fingerprint),
            *(held.token if held else "", LIFE_S),
            *((new.fired.schedule_id, *new.fired.for_scripts()) if new.fired else ()),
        )
        match reply:
            case ["ok", _]:
                return new.id
            case ["known", fingerprint, batch_id]:
                if fingerprint != new.fingerprint:
                    raise IdempotencyMismatchError(
                        "The Idempotency-Key was used for another request: use a new key."
                    )
                return str(batch_id)
            case ["in_flight"]:
                raise IdempotencyInFlightError(
                    "A request with this Idempotency-Key is still under way.", retry_after_s=1
                )
        raise GoneError("The batch took too long to be accepted, and was withdrawn: send it again.")

    async def _drop(self, batch_id: str) -> None:
        try:
            await self._pipeline.script("batch", "drop", batch_id)
        except FileprocError:
            return  # it is withdrawn when it has been open for too long

    async def get(self, owner: str, batch_id: str) -> Batch:
        """One batch.

        Raises:
            NotFoundError: there is none, it is another owner's, or its retention is over.
        """
        fields = await self._pipeline.command("HGETALL", self._keys.batch(batch_id))
        if fields.get("own") != owner or fields.get("st") not in {"running", "completed"}:
            raise NotFoundError(f"There is no batch {batch_id}.")
        try:
            return _batch(batch_id, fields)
        except (ValidationError, KeyError, ValueError) as exc:
            raise CorruptRecordError(f"The record of {batch_id} cannot be read.") from exc

    async def cancel(self, owner: str, batch_id: str) -> Batch:
        """Cancel what of it is not over; running jobs end within two seconds.

        Raises:
            NotFoundError: as `get`.
        """
        await self.get(owner, batch_id)
        # All at once, at most `max_batch_jobs`: page by page those that are forgotten meanwhile
        # would move others to where we have been.
        ids: list[str] = await self._pipeline.command("ZRANGE", self._keys.members(batch_id), 0, -1)
        for start in range(0, len(ids), AT_ONCE):
            some = ids[start : start + AT_ONCE]
            await asyncio.gather(
                *(self._pipeline.script("cancel", job_id, owner) for job_id in some)
            )
        return await self.get(owner, batch_id)

    async def restore(self, batch: RememberedBatch, forgotten: Mapping[str, int]) -> None:
        """Write a batch back, before its jobs, which count themselves in.

        `forgotten`: how those of its jobs ended that do not come back: state -> number.
        """
        ends = [item for pair in forgotten.items() for item in pair]
        await self._pipeline.script(
            *("restore_batch", batch.id, batch.owner, batch.total, batch.document),
            *(batch.retention_ms, batch.created, batch.completed or "", batch.idempotency),
            *(LIFE_S, *ends),
        )

    async def end(self) -> int:
        """Withdraw batches that were never whole, forget those whose retention is over."""
        return int(await self._pipeline.script("batch_ends", ENDED_AT_ONCE, AT_ONCE, TOMBSTONE_S))

    async def list(self, owner: str, *, cursor: str | None = None, limit: int = 50) -> BatchPage:
        """A page of an owner's batches, newest first.

        Raises:
            BadRequestError: the cursor is not one of ours.
        """
        after = decode_cursor(cursor) if cursor else None
        top: str | int = after[0] if after else "+inf"
        index = self._keys.batches(owner)
        entries = await entries_below(self._pipeline, index, top, "-inf", limit + 1, after)
        found = await asyncio.gather(
            *(self.get(owner, batch_id) for batch_id, _ in entries[:limit]), return_exceptions=True
        )
        for outcome in found:
            if isinstance(outcome, BaseException) and not isinstance(outcome, NotFoundError):
                raise outcome
        batches = [batch for batch in found if isinstance(batch, Batch)]
        if len(entries) <= limit:
            return BatchPage(batches)
        last_id, created = entries[limit - 1]
        return BatchPage(batches, encode_cursor(created, last_id))


def _batch(batch_id: str, fields: dict[str, str]) -> Batch:
    counts = {state: int(fields.get(state, 0)) for state in JobState}
    return Batch(
        id=batch_id,
        owner=fields["own"],
        completed=fields["st"] == "completed",
        document=BatchDocument.model_validate_json(fields["doc"]),
        total=int(fields["n"]),
        counts={state: number for state, number in counts.items() if number},
        created_at=when(fields["ca"]),
        finished_at=when(fields.get("fa")),
        expires_at=when(fields.get("ex")),
    )
