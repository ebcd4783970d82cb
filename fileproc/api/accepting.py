"""The moment that counts: a draft and its files become a job, or nothing."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Final

from aiohttp import web

from fileproc.api import problems
from fileproc.api.access import check_scopes
from fileproc.api.drafts import check_permitted
from fileproc.api.dry_runs import answer_dry
from fileproc.api.fields import MAX_WAIT_S
from fileproc.api.idempotency import Claim, fingerprint
from fileproc.api.reuse import with_answer
from fileproc.crashpoints import crash_point
from fileproc.errors import FileprocError, IdempotencyMismatchError, StoreUnavailableError
from fileproc.ids import new_id
from fileproc.jobs import FileInfo, Job, JobDocument, JobState, TargetStatus
from fileproc.store import NewJob, Replay
from fileproc.telemetry import SUBMITTED
from fileproc.views import job_body, job_path

if TYPE_CHECKING:
    from fileproc.api.context import Api, Caller
    from fileproc.api.drafts import Draft
    from fileproc.api.uploads import Uploads

LOOK_AGAIN_S: Final = 5.0  # an event that got lost costs a waiter this much, not its whole wait
POLL_HINT_S: Final = 1
_PREFERENCE = re.compile(r'\s*([A-Za-z-]+)\s*(?:=\s*"?([^",;\s]*)"?)?[^,]*')


@dataclass(frozen=True, slots=True)
class Accepted:
    """`job` is what we wrote ourselves; None where an earlier request made the job.

    `dry` is what was not written, as that was not wanted.
    """

    job_id: str
    job: Job | None
    dry: NewJob | None = None


async def accept(
    api: Api,
    caller: Caller,
    draft: Draft,
    *,
    inputs: Sequence[FileInfo],
    brought: Sequence[FileInfo],
    claim: Claim = None,
    uploads: Uploads | None = None,
    once: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> Accepted:
    """Write the job down. When this returns, it is safe.

    `inputs` are all files in order, `brought` those among them that came with this request;
    `uploads`, which took those, is told to keep them once they may belong to a job. `once` refuses
    to repeat a job that has been repeated, `force` does the work whatever came of it before,
    `dry_run` stops before anything is written.

    Raises:
        ForbiddenError: the caller's key is bound to other operations.
        IdempotencyMismatchError: the key was used for another request.
        KnownFailureError: the same has failed for good before, and `reuse` was asked for.
        QuotaError, BacklogError, NotFoundError, WrongStateError, StoreUnavailableError: see
            `Jobs.accept`.
    """
    fresh = {info.file_id for info in brought}
    new = replace(new_job(api, caller, draft, inputs, fresh), once=once)
    if claim is not None:
        mark = fingerprint(draft.asked(), [_mark_of(info, fresh) for info in inputs])
        if isinstance(claim, Replay):
            return _replayed(claim, mark)
        new = replace(new, reservation=claim, fingerprint=mark)
    new = await with_answer(api, caller, draft, new, force=force, refuse=True)
    if dry_run:
        return Accepted("", None, new)
    if draft.webhook is not None:  # what signs it must be there before it can be due
        await api.resources.store.webhooks.ensure_jobs(caller.owner)
    crash_point("before-accept")
    job_id, accepted_at = await _written(api, new, uploads)
    crash_point("accepted")
    if job_id != new.id or accepted_at is None:
        return Accepted(job_id, None)
    SUBMITTED.labels(draft.plan.name).inc()
    if new.answered_by:
        return Accepted(job_id, await api.resources.store.jobs.get(caller.owner, job_id))
    return Accepted(job_id, _snapshot(new, accepted_at))


async def _written(api: Api, new: NewJob, uploads: Uploads | None) -> tuple[str, datetime | None]:
    if uploads is None:
        return await api.resources.store.jobs.accept_at(new)
    try:
        job_id, accepted_at = await api.resources.store.jobs.accept_at(new)
    except FileprocError as exc:
        if isinstance(exc, StoreUnavailableError):
            # Redis may have acted and its answer got lost. A job without its files would be worse
            # than files without a job: those the sweep finds.
            uploads.kept()
        raise
    except BaseException:
        uploads.kept()  # cut off in the middle: as above
        raise
    if job_id == new.id:
        uploads.kept()
    return job_id, accepted_at


def _check_size(api: Api, draft: Draft) -> None:
    """What a job asks for is in Redis for long; raises TooLargeError where that is too much."""
    size, most = draft.size, api.settings.max_job_bytes
    if size > most:
        raise problems.too_large(
            "max_job_bytes",
            most,
            f"The job asks for {size:,} bytes of JSON, with defaults and steps; at most {most:,} "
            "are kept of one.",
        )


def new_job(
    api: Api, caller: Caller, draft: Draft, inputs: Sequence[FileInfo], fresh: Collection[str]
) -> NewJob:
    """The job of a draft, under a new id; `fresh` are ids of files that came with the request.

    Raises:
        UrlNotAllowedError: it names a connection that is not the caller's.
        ForbiddenError: the caller's key is bound to other operations.
        TooLargeError: it asks for more than a record may hold.
    """
    check_scopes(caller, draft)  # asked earlier where that spares an upload; here for every way in
    _check_size(api, draft)
    check_permitted(api, caller.owner, draft)
    ids = dict.fromkeys(info.file_id for info in inputs)
    return NewJob(
        id=new_id("job"),
        owner=caller.owner,
        lane=draft.plan.lane,
        document=JobDocument(
            operation=draft.plan.name,
            params=draft.params,
            steps=draft.steps,
            template=draft.template,
            inputs=list(inputs),
            sources=list(draft.sources),
            deliver=list(draft.deliver),
            labels=draft.labels,
            metadata=draft.metadata,
            priority=draft.priority,
            retention_s=draft.retention_s,
            run_at=draft.run_at,
            expires_in=draft.expires_in,
            timeout_s=draft.timeout_s,
            retry_of=draft.retry_of,
            resume=draft.resume,
            made=draft.made,
            batch=draft.batch,
            webhook=draft.webhook,
        ),
        max_attempts=draft.max_attempts or api.settings.max_attempts,
        retention_s=draft.retention_s or api.settings.retention_s,
        new_files=[info for info in inputs if info.file_id in fresh],
        reused_files=[file_id for file_id in ids if file_id not in fresh],
    )


def _mark_of(info: FileInfo, fresh: Collection[str]) -> list[str]:
    """A file by its content where it came along (its id is new each time), else by its id."""
    return [info.name, info.sha256] if info.file_id in fresh else [info.file_id]


def _replayed(claim: Replay, mark: str) -> Accepted:
    if claim.fingerprint != mark:
        raise IdempotencyMismatchError(
            "The Idempotency-Key was used for another request: use a new key for this one."
        )
    return Accepted(claim.job_id, None)


def _snapshot(new: NewJob, accepted_at: datetime) -> Job:
    """The job as it was written, without asking Redis again."""
    run_at = new.document.run_at
    delayed = run_at is not None and run_at > accepted_at
    return Job(
        id=new.id,
        owner=new.owner,
        version=1,
        state=JobState.DELAYED if delayed else JobState.QUEUED,
        lane=new.lane,
        document=new.document,
        attempt=0,
        max_attempts=new.max_attempts,
        cancel_requested=False,
        created_at=accepted_at,
        started_at=None,
        finished_at=None,
        expires_at=None,
        retry_at=run_at if delayed else None,
        retried_as=None,
        progress=None,
        result=None,
        error=None,
        usage=None,
        steps=new.document.steps_untold(),
        deliveries=[TargetStatus() for _ in new.document.deliver],
        kept=None,
    )


# --- waiting and answering ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wish:
    """How long the client would wait for the end; `applied` goes into Preference-Applied."""

    seconds: int
    applied: str | None


def wish_of(request: web.Request, wait: int | None) -> Wish:
    """From `?wait=`, which wins, or `Prefer: wait=N, respond-async` (RFC 7240).

    A preference is no demand: what cannot be met (too long, not a number) is cut or passed over.
    """
    if wait is not None:
        return Wish(wait, None)
    header = ",".join(request.headers.getall("Prefer", ()))
    if not header:
        return Wish(0, None)
    asked = {name.lower(): value for name, value in _PREFERENCE.findall(header[:1000])}
    seconds = asked.get("wait", "")
    if seconds.isascii() and seconds.isdecimal() and len(seconds) < 10:  # noqa: PLR2004 - digits
        waited = min(int(seconds), MAX_WAIT_S)
        return Wish(waited, f"wait={waited}")
    return Wish(0, "respond-async" if "respond-async" in asked else None)


async def follow(api: Api, request: web.Request, job_id: str, owner: str, seconds: float) -> Job:
    """The job once it is final, or as it is when the time is over or the api drains.

    Raises:
        NotFoundError, GoneError, StoreUnavailableError: as `Jobs.get`.
    """
    store = api.resources.store
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    # Watch first, read then: no move falls between the two.
    with store.feed.watch(job_id) as watch:
        job = await store.jobs.get(owner, job_id)
        while not job.state.final and (left := deadline - loop.time()) > 0:
            if api.draining or request.transport is None:
                break
            try:
                async with api.interruptible(left):
                    await watch.wait(min(left, LOOK_AGAIN_S))
            except TimeoutError:
                pass
            job = await store.jobs.get(owner, job_id)
    return job


async def answer(
    api: Api, request: web.Request, caller: Caller, accepted: Accepted, wish: Wish
) -> web.Response:
    """202 with the job, or 200 if it ended while the client was willing to wait."""
    if accepted.dry is not None:
        return await answer_dry(api, accepted.dry)
    job = accepted.job
    if job is None or wish.seconds:
        try:
            job = await follow(api, request, accepted.job_id, caller.owner, wish.seconds)
        except FileprocError:
            # The job is safe: that Redis went away since does not make the answer an error.
            if job is None:
                raise
    done = job.state.final and (wish.seconds > 0 or accepted.job is not None)
    headers = {"Location": job_path(job.id)}
    if not done:
        headers["Retry-After"] = str(POLL_HINT_S)
    if wish.applied:
        headers["Preference-Applied"] = wish.applied
    if accepted.job is None:
        headers["Idempotency-Replayed"] = "true"
    return web.Response(
        body=job_body(job),
        status=200 if done else 202,
        headers=headers,
        content_type="application/json",
    )
