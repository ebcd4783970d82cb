"""Jobs that are repeated: one, or the dead letters in bulk."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from pydantic_core import to_json

from fileproc.api.accepting import accept, answer, wish_of
from fileproc.api.context import Api, Caller, api_of, caller_of
from fileproc.api.drafts import Draft, Plan, deliveries, operation_of
from fileproc.api.idempotency import claimed, key_of
from fileproc.api.jobs import job_id_of
from fileproc.api.payload import read_payload
from fileproc.api.queries import NoQuery, RetryQuery
from fileproc.api.reading import read_query
from fileproc.api.retry_models import RetryFrom, RetryRequest, RetryStart
from fileproc.errors import (
    BacklogError,
    BadRequestError,
    CorruptRecordError,
    FileprocError,
    GoneError,
    NotFoundError,
    NothingKeptError,
    QuotaError,
    StoreUnavailableError,
    WrongStateError,
)
from fileproc.ids import is_id
from fileproc.jobs import FileInfo, Job, JobDocument, JobState, KeptState, KeptSteps, Made
from fileproc.pipelines import planned, pointer_to
from fileproc.store import JobFilter, Replay
from fileproc.views import undelivered

if TYPE_CHECKING:
    from fileproc.store import Store

_MOST_SCANNED: Final = 1_000  # dead letters that one call looks at
_AT_ONCE: Final = 100
_JSON: Final = "application/json"


async def retry_job(request: web.Request) -> web.StreamResponse:
    """`POST /v1/jobs/{id}/retry`: a new job that asks for the same, or for what is left of it."""
    api, caller = api_of(request), caller_of(request)
    job_id = job_id_of(request)
    query = read_query(RetryQuery, request.query)
    asked = await read_payload(request, RetryFrom, optional=True)
    wish = wish_of(request, query.wait)
    key = key_of(request)
    job = await api.resources.store.jobs.get(caller.owner, job_id)
    delivered = job.state is JobState.SUCCEEDED and not (asked.deliver or undelivered(job))
    if not job.state.final or delivered:
        raise WrongStateError(
            f"The job {_is(job.state)}; only a failed, canceled or expired job can be retried, or "
            "one whose outputs could not all be delivered, or are to go elsewhere (`deliver`).",
            state=str(job.state),
        )
    draft = _again(api, job, asked.start)
    if asked.deliver:
        draft = replace(draft, deliver=deliveries(api, asked.deliver))
    async with claimed(api, caller, key) as claim:
        if not isinstance(claim, Replay):
            await _check_files(api, caller, job)
        accepted = await accept(
            api, caller, draft, inputs=_inputs_of(draft, job), brought=[], claim=claim
        )
    return await answer(api, request, caller, accepted, wish)


def _is(state: JobState) -> str:
    return "has succeeded" if state is JobState.SUCCEEDED else f"is {state}"


def _inputs_of(draft: Draft, job: Job) -> list[FileInfo]:
    """What only delivers reads no inputs."""
    return [] if draft.made is not None else job.document.inputs


def _again(api: Api, job: Job, start: RetryStart) -> Draft:
    """What it did, or if its outputs are there, to deliver them where that has failed."""
    document = job.document
    made = document.made
    if made is None and job.result is not None:
        made = Made(
            prefix=job.result.prefix,
            outputs=job.result.outputs,
            steps=job.result.steps,
            provenance=job.result.provenance,
        )
    return Draft(
        plan=_plan_again(api, document),
        template=document.template,
        params=document.params,
        labels=document.labels,
        metadata=document.metadata,
        priority=document.priority,
        max_attempts=job.max_attempts,
        retention_s=document.retention_s,
        expires_in=document.expires_in,
        timeout_s=document.timeout_s,
        retry_of=job.id,
        resume=_kept_of(job) if start == "failed" and made is None else None,
        sources=() if made is not None else tuple(document.sources),
        webhook=document.webhook,
        deliver=tuple(document.deliver if job.result is None else undelivered(job)),
        made=made,
    )


def _kept_of(job: Job) -> KeptSteps:
    """What a job goes on from that repeats this one from the failed step.

    Raises:
        NothingKeptError: it cannot.
    """
    kept = job.kept
    if kept is not None and kept.state is KeptState.KEPT:
        return kept
    if not job.document.steps:
        why = "The job has no steps"
    elif kept is None:
        why = "Nothing is kept of the job: it ended from outside, or before a step was done"
    elif kept.state is KeptState.TOO_LARGE:
        why = f"What its steps had made was too large to be kept ({kept.bytes:,} bytes)"
    else:
        why = "The storage did not take in time what its steps had made"
    raise NothingKeptError(f'{why}. Repeat it whole: leave out `"from": "failed"`.')


def _plan_again(api: Api, document: JobDocument) -> Plan:
    if not document.steps:
        return operation_of(api, document.operation)
    return planned(
        document.steps,
        {
            step.name: operation_of(api, step.operation, pointer_to(step.name, "operation"))
            for step in document.steps
        },
    )


async def _check_files(api: Api, caller: Caller, job: Job) -> None:
    """Raise GoneError if an input is gone. `accept` makes sure once more, atomically."""
    if job.result is not None:
        return  # they have done what they were for
    for info in job.document.inputs:
        try:
            await api.resources.store.files.get(caller.owner, info.file_id)
        except (NotFoundError, GoneError) as exc:
            raise GoneError(
                f"The input {info.name!r} is no longer stored: submit it again.",
                file_id=info.file_id,
            ) from exc


# --- dead letters ------------------------------------------------------------------------------


@dataclass(slots=True)
class _Place:
    """How far the dead letters are gone through; `until`: those that failed later are left."""

    until: int
    after: tuple[int, str] = (-1, "")

    @classmethod
    def read(cls, cursor: str) -> _Place:
        """Raises BadRequestError."""
        until, _, rest = cursor.partition(".")
        ended, _, job_id = rest.partition(".")
        numbers = (until, ended)
        if not all(part.isascii() and part.isdecimal() and len(part) < 16 for part in numbers):  # noqa: PLR2004 - ms
            raise BadRequestError("The cursor is not one that this server gave out.")
        if not is_id(job_id, "job"):
            raise BadRequestError("The cursor is not one that this server gave out.")
        return cls(int(until), (int(ended), job_id))

    def __str__(self) -> str:
        return f"{self.until}.{self.after[0]}.{self.after[1]}"


@dataclass(slots=True)
class _Sweep:
    """One call's way through the dead letters."""

    api: Api
    caller: Caller
    asked: RetryRequest
    retried: list[dict[str, str]] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
    stopped: dict[str, Any] | None = None

    async def go(self, place: _Place) -> bool:
        """Repeat what is wanted from `place` on, which moves; True if there may be more."""
        store = self.api.resources.store
        for _ in range(_MOST_SCANNED // _AT_ONCE):
            entries = await store.jobs.dead(
                self.caller.owner, after=place.after, until=place.until, count=_AT_ONCE
            )
            jobs = await _read(store, self.caller.owner, [job_id for job_id, _ in entries])
            for (job_id, ended), job in zip(entries, jobs, strict=True):
                if len(self.retried) >= self.asked.limit or not await self._take(job):
                    return True
                place.after = (ended, job_id)
            if len(entries) < _AT_ONCE:
                return False
        return True

    async def _take(self, job: Job | None) -> bool:
        """Repeat the job if it is wanted; False: a limit is met, this one is not done."""
        if job is None or not _wanted(self.asked, job):
            return True
        try:
            draft = _again(self.api, job, self.asked.start)
            await _check_files(self.api, self.caller, job)
            accepted = await accept(
                *(self.api, self.caller, draft),
                inputs=_inputs_of(draft, job),
                brought=[],
                once=not self.asked.again,
            )
        except (QuotaError, BacklogError, StoreUnavailableError) as exc:
            if not self.retried:
                raise
            after_s = exc.retry_after_s
            self.stopped = {"code": exc.code, "detail": exc.detail, "retry_after_s": after_s}
            return False
        except FileprocError as exc:
            self.skipped.append({"job_id": job.id, "code": exc.code, "detail": exc.detail})
        else:
            self.retried.append({"job_id": job.id, "retried_as": accepted.job_id})
        return True


async def retry_jobs(request: web.Request) -> web.StreamResponse:
    """`POST /v1/jobs/retry`: repeat failed jobs, a bounded number, from a cursor on."""
    api, caller = api_of(request), caller_of(request)
    read_query(NoQuery, request.query)
    asked = await read_payload(request, RetryRequest, optional=True)
    if asked.cursor:
        place = _Place.read(asked.cursor)
    else:
        place = _Place(until=await api.resources.store.upkeep.now_ms())
    if asked.failed_before:
        place.until = min(place.until, _milliseconds(asked.failed_before) - 1)
    if asked.failed_after:
        place.after = max(place.after, (_milliseconds(asked.failed_after), "~"))
    sweep = _Sweep(api, caller, asked)
    more = await sweep.go(place)
    body = {
        "retried": sweep.retried,
        "skipped": sweep.skipped,
        "stopped": sweep.stopped,
        "next_cursor": str(place) if more and place.after[1] else None,
    }
    return web.Response(body=to_json(body), content_type=_JSON)


async def _read(store: Store, owner: str, ids: Sequence[str]) -> list[Job | None]:
    async def one(job_id: str) -> Job | None:
        try:
            return await store.jobs.get(owner, job_id)
        except (NotFoundError, GoneError, CorruptRecordError):
            return None  # deleted meanwhile, or not to be read

    return await asyncio.gather(*(one(job_id) for job_id in ids))


def _wanted(asked: RetryRequest, job: Job) -> bool:
    shown = JobFilter(operation=asked.operation, labels=asked.labels).shows(job)
    return (
        shown
        and (asked.batch is None or job.document.batch == asked.batch)
        and (asked.code is None or (job.error is not None and job.error.code == asked.code))
        and (asked.again or job.retried_as is None)
    )


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
