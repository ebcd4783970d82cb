"""Batches: many jobs in one request, accepted all or none, counted and canceled together."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

from aiohttp import web
from pydantic_core import to_json

from fileproc.api.accepting import POLL_HINT_S, new_job
from fileproc.api.context import Api, Caller, api_of, caller_of
from fileproc.api.idempotency import claimed, fingerprint, key_of
from fileproc.api.manifest import Drafted, drafted, read_batch
from fileproc.api.pages import page_answer
from fileproc.api.path_ids import path_id
from fileproc.api.queries import NoQuery, PageQuery
from fileproc.api.reading import read_query
from fileproc.api.reuse import with_answer
from fileproc.crashpoints import crash_point
from fileproc.errors import IdempotencyMismatchError
from fileproc.ids import new_id
from fileproc.store import BatchDocument, NewBatch, NewJob, Replay
from fileproc.telemetry import SUBMITTED
from fileproc.views import batch_path, batch_view

_JSON = "application/json"
_AT_ONCE = 100

batch_id_of = partial(path_id, noun="batch")


async def create_batch(request: web.Request) -> web.StreamResponse:
    """`POST /v1/batches`."""
    api, caller = api_of(request), caller_of(request)
    key = key_of(request)
    document, asked = await read_batch(api, request)
    async with claimed(api, caller, key) as claim:
        jobs = await drafted(api, caller, asked, claim)
        mark = await _mark(document, jobs) if claim else "-"
        if isinstance(claim, Replay):
            batch_id, repeated = _replayed(claim, mark), True
        else:
            new = await new_batch(api, caller, document, jobs)
            new = replace(new, reservation=claim, fingerprint=mark)
            batch_id = await accept_batch(api, new)
            repeated = batch_id != new.id
    batch = await api.resources.store.batches.get(caller.owner, batch_id)
    headers = {"Location": batch_path(batch_id), "Retry-After": str(POLL_HINT_S)}
    if repeated:
        headers["Idempotency-Replayed"] = "true"
    return web.Response(
        body=to_json(batch_view(batch)), status=202, headers=headers, content_type=_JSON
    )


async def accept_batch(api: Api, new: NewBatch) -> str:
    """Write a batch and its jobs down, or nothing; returns its id, or that of an earlier one.

    Raises:
        FileprocError: as `Batches.accept`.
    """
    store = api.resources.store
    if new.document.webhook or any(job.document.webhook for job in new.jobs):
        await store.webhooks.ensure_jobs(new.owner)
    crash_point("before-accept")
    batch_id = await store.batches.accept(new)
    crash_point("accepted")
    if batch_id == new.id:
        for job in new.jobs:
            SUBMITTED.labels(job.document.operation).inc()
    return batch_id


async def new_batch(
    api: Api, caller: Caller, document: BatchDocument, jobs: list[Drafted]
) -> NewBatch:
    """A batch of these jobs, under a new id.

    Raises:
        UrlNotAllowedError, ForbiddenError, TooLargeError: see `new_job`.
    """
    batch_id = new_id("batch")

    async def made(job: Drafted) -> NewJob:
        new = new_job(api, caller, replace(job.draft, batch=batch_id), job.inputs, ())
        # One that has failed before shall not refuse all the others: it is tried again.
        return await with_answer(api, caller, job.draft, new)

    new: list[NewJob] = []
    for start in range(0, len(jobs), _AT_ONCE):
        await asyncio.sleep(0)  # others have requests too
        new += await asyncio.gather(*map(made, jobs[start : start + _AT_ONCE]))
    return NewBatch(id=batch_id, owner=caller.owner, document=document, jobs=new)


async def _mark(document: BatchDocument, jobs: list[Drafted]) -> str:
    """What makes it the same request; of each job for itself, as all of them may be long."""
    marks: list[str] = []
    for job in jobs:
        if len(marks) % _AT_ONCE == 0:
            await asyncio.sleep(0)
        marks.append(fingerprint(job.draft.asked(), [info.file_id for info in job.inputs]))
    return fingerprint("batch", document.model_dump(), marks)


def _replayed(claim: Replay, mark: str) -> str:
    if claim.fingerprint != mark:
        raise IdempotencyMismatchError(
            "The Idempotency-Key was used for another request: use a new key for this one."
        )
    return claim.job_id


async def get_batch(request: web.Request) -> web.StreamResponse:
    """`GET /v1/batches/{batch}`."""
    api, caller = api_of(request), caller_of(request)
    batch_id = batch_id_of(request)
    read_query(NoQuery, request.query)
    batch = await api.resources.store.batches.get(caller.owner, batch_id)
    headers = {} if batch.completed else {"Retry-After": str(POLL_HINT_S)}
    return web.Response(body=to_json(batch_view(batch)), headers=headers, content_type=_JSON)


async def list_batches(request: web.Request) -> web.StreamResponse:
    """`GET /v1/batches`."""
    api, caller = api_of(request), caller_of(request)
    query = read_query(PageQuery, request.query)
    page = await api.resources.store.batches.list(
        caller.owner, cursor=query.cursor, limit=query.limit
    )
    return page_answer(request, map(batch_view, page.batches), page.next_cursor)


async def cancel_batch(request: web.Request) -> web.StreamResponse:
    """`POST /v1/batches/{batch}/cancel`: 200 if it is over, 202 if workers are still told."""
    api, caller = api_of(request), caller_of(request)
    batch_id = batch_id_of(request)
    read_query(NoQuery, request.query)
    batch = await api.resources.store.batches.cancel(caller.owner, batch_id)
    return web.Response(
        body=to_json(batch_view(batch)),
        status=200 if batch.completed else 202,
        content_type=_JSON,
    )
