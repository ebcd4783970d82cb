"""Jobs that are there: read, list, cancel, delete."""

from __future__ import annotations

from functools import partial

from aiohttp import ETag, hdrs, web
from multidict import CIMultiDict, istr

from fileproc.api.accepting import POLL_HINT_S, follow
from fileproc.api.context import api_of, caller_of
from fileproc.api.pages import page_answer
from fileproc.api.path_ids import path_id
from fileproc.api.queries import GetQuery, ListQuery, NoQuery
from fileproc.api.reading import read_query
from fileproc.crashpoints import crash_point
from fileproc.store import JobFilter
from fileproc.views import job_body, job_view, with_outlook

_JSON = "application/json"
_POLL_HINT = str(POLL_HINT_S)
_ETAG = istr("ETag")

job_id_of = partial(path_id, noun="job", place="name")


async def get_job(request: web.Request) -> web.StreamResponse:
    """`GET /v1/jobs/{id}`."""
    api, caller = api_of(request), caller_of(request)
    job_id = job_id_of(request)
    wait_s = read_query(GetQuery, request.query).wait if request.query_string else 0
    outlooks, place = api.resources.store.outlooks, None
    if wait_s:
        job = await follow(api, request, job_id, caller.owner, wait_s)
        body = job_body(job)
    else:
        place = outlooks.ahead(caller.owner, job_id)
        job, body = await api.resources.store.jobs.read(caller.owner, job_id, job_body)
    tag = str(job.version)
    headers = CIMultiDict({_ETAG: f'"{tag}"', hdrs.CACHE_CONTROL: "private, no-cache"})
    if not job.state.final:
        outlook = await outlooks.of(job, place)
        body = with_outlook(body, outlook.position, outlook.eta_s)
        headers[hdrs.RETRY_AFTER] = _POLL_HINT
    if _matches(request.if_none_match, tag):
        return web.Response(status=304, headers=headers)
    headers[hdrs.CONTENT_TYPE] = _JSON
    return web.Response(body=body, headers=headers)


def _matches(tags: tuple[ETag, ...] | None, tag: str) -> bool:
    return tags is not None and any(given.value in {"*", tag} for given in tags)


async def list_jobs(request: web.Request) -> web.StreamResponse:
    """`GET /v1/jobs`."""
    api, caller = api_of(request), caller_of(request)
    query = read_query(ListQuery, request.query)
    wanted = JobFilter(
        state=query.state,
        operation=query.operation,
        labels=dict(pair.split("=", 1) for pair in query.label),
        batch=query.batch,
        created_after=query.created_after,
        created_before=query.created_before,
    )
    page = await api.resources.store.jobs.list(
        caller.owner, wanted, cursor=query.cursor, limit=query.limit
    )
    return page_answer(request, map(job_view, page.jobs), page.next_cursor)


async def cancel_job(request: web.Request) -> web.StreamResponse:
    """`POST /v1/jobs/{id}/cancel`: 200 if it is canceled, 202 if its worker is still told."""
    api, caller = api_of(request), caller_of(request)
    job_id = job_id_of(request)
    read_query(NoQuery, request.query)
    job = await api.resources.store.jobs.cancel(caller.owner, job_id)
    crash_point("cancel-noted")
    return web.Response(
        body=job_body(job), status=200 if job.state.final else 202, content_type=_JSON
    )


async def delete_job(request: web.Request) -> web.StreamResponse:
    """`DELETE /v1/jobs/{id}`: record and objects go; from now on it is 410."""
    api, caller = api_of(request), caller_of(request)
    job_id = job_id_of(request)
    read_query(NoQuery, request.query)
    await api.resources.store.jobs.delete(caller.owner, job_id)
    crash_point("delete-noted")
    return web.Response(status=204)
