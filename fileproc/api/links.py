"""Share links, as their owners see them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web
from pydantic_core import to_json

from fileproc.api.context import api_of, caller_of
from fileproc.api.link_models import LinkRequest
from fileproc.api.pages import page_answer
from fileproc.api.passwords import hashed
from fileproc.api.payload import read_payload
from fileproc.api.queries import LinkListQuery, NoQuery, ResultQuery
from fileproc.api.reading import read_query
from fileproc.api.results import choose, outputs_of
from fileproc.errors import GoneError, InvalidRequestError, NoResultError, NotFoundError
from fileproc.jobs import Job
from fileproc.objects import clean_name
from fileproc.store import Link, NewLink

_JSON = "application/json"
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{5,63}")


def code_of(request: web.Request) -> str:
    """The code in the address.

    Raises:
        NotFoundError: it cannot be one; answered exactly as one that does not exist.
    """
    code = request.match_info["code"]
    if not _CODE.fullmatch(code):
        raise NotFoundError("There is no such link.")
    return code


async def create_link(request: web.Request) -> web.StreamResponse:
    """`POST /v1/links`."""
    api, caller = api_of(request), caller_of(request)
    read_query(NoQuery, request.query)
    asked = await read_payload(request, LinkRequest)
    job = await api.resources.store.jobs.get(caller.owner, asked.job_id)
    index, name = _led_to(job, asked)
    made = await api.resources.store.links.make(
        NewLink(
            owner=caller.owner,
            job_id=job.id,
            index=index,
            name=clean_name(asked.name or name),
            ends_at=_end_of(job, asked),
            code=asked.code,
            password=await hashed(asked.password) if asked.password is not None else None,
            most=asked.max_downloads,
        )
    )
    return web.Response(
        body=to_json(_view(made)),
        status=201,
        headers={"Location": f"/v1/links/{made.code}"},
        content_type=_JSON,
    )


def _led_to(job: Job, asked: LinkRequest) -> tuple[int | None, str]:
    """Index (None: all, as an archive) and name of what the link leads to; raises as `choose`."""
    if asked.archive:
        if asked.output is not None or asked.index is not None:
            raise InvalidRequestError("Ask for an output or for the archive of all, not for both.")
        if not outputs_of(job).outputs:
            raise NoResultError("The job succeeded and made no file.", state=str(job.state))
        return None, f"{job.id}.zip"
    chosen = choose(job, ResultQuery(name=asked.output, index=asked.index))
    return chosen.index, chosen.output.name


def _end_of(job: Job, asked: LinkRequest) -> datetime:
    """No link outlives what it leads to."""
    if job.expires_at is None:
        raise GoneError(f"The job {job.id} is deleted or expired.")
    if asked.expires_in_s is None:
        return job.expires_at
    return min(job.expires_at, datetime.now(UTC) + timedelta(seconds=asked.expires_in_s))


async def list_links(request: web.Request) -> web.StreamResponse:
    """`GET /v1/links`."""
    api, caller = api_of(request), caller_of(request)
    query = read_query(LinkListQuery, request.query)
    links, more = await api.resources.store.links.list(
        caller.owner, after=query.cursor, limit=query.limit
    )
    onward = links[-1].code if more and links else None
    return page_answer(request, map(_view, links), onward)


async def get_link(request: web.Request) -> web.StreamResponse:
    """`GET /v1/links/{code}`."""
    api, caller = api_of(request), caller_of(request)
    code = code_of(request)
    read_query(NoQuery, request.query)
    link = await api.resources.store.links.of(caller.owner, code)
    return web.Response(body=to_json(_view(link)), content_type=_JSON)


async def revoke_link(request: web.Request) -> web.StreamResponse:
    """`DELETE /v1/links/{code}`: it leads nowhere from now on; what it counted stays."""
    api, caller = api_of(request), caller_of(request)
    code = code_of(request)
    read_query(NoQuery, request.query)
    await api.resources.store.links.revoke(caller.owner, code)
    return web.Response(status=204)


def _view(link: Link) -> dict[str, Any]:
    """The members of `LinkView`."""
    return {
        "code": link.code,
        "object": "link",
        "state": link.state,
        "path": f"/d/{link.code}",
        "job_id": link.job_id,
        "index": link.index,
        "name": link.name,
        "has_password": link.password is not None,
        "max_downloads": link.most,
        "downloads": link.taken,
        "created_at": link.created_at,
        "expires_at": link.ends_at,
        "last_download_at": link.last_at,
        "revoked_at": link.revoked_at,
    }
