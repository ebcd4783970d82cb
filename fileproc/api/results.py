"""`GET /v1/jobs/{id}/result`: the way to an output, straight from the storage or through us."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from fileproc.api.accepting import POLL_HINT_S
from fileproc.api.context import Api, api_of, caller_of
from fileproc.api.jobs import job_id_of
from fileproc.api.queries import ResultQuery
from fileproc.api.reading import read_query
from fileproc.crashpoints import crash_point
from fileproc.errors import (
    ChooseOutputError,
    FileprocError,
    GoneError,
    InvalidRequestError,
    NoResultError,
    NotFinishedError,
    NotFoundError,
    ObjectMissingError,
)
from fileproc.jobs import Job, JobResult, JobState, OutputInfo
from fileproc.objects import content_disposition
from fileproc.settings import Downloads
from fileproc.telemetry import get_logger
from fileproc.views import job_path

log = get_logger(__name__)

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
_SANDBOXED: Final = "default-src 'none'; frame-ancestors 'none'; sandbox"
# What a browser may run or render as a page is handed out as bytes; so is what we do not know.
_SAFE_KINDS = ("image/", "audio/", "video/", "font/")
_SAFE_TYPES: Final = frozenset(
    {
        "application/gzip",
        "application/json",
        "application/pdf",
        "application/x-ndjson",
        "application/zip",
        "text/csv",
        "text/plain",
        "text/tab-separated-values",
    }
)


@dataclass(frozen=True, slots=True)
class Chosen:
    """One output, or another file, and where it lies."""

    output: OutputInfo
    key: str
    content_type: str
    index: int = 0


async def get_result(request: web.Request) -> web.StreamResponse:
    """Redirect to the output, or stream it (FILEPROC_DOWNLOADS=proxy)."""
    api, caller = api_of(request), caller_of(request)
    job_id = job_id_of(request)
    query = read_query(ResultQuery, request.query)
    job = await api.resources.store.jobs.get(caller.owner, job_id)
    return await hand_out(api, request, choose(job, query), job.expires_at)


async def hand_out(
    api: Api, request: web.Request, chosen: Chosen, expires_at: datetime | None
) -> web.StreamResponse:
    """Redirect to an object, or stream it; no URL outlives `expires_at`."""
    if api.settings.downloads is Downloads.PROXY:
        return await _stream(api, request, chosen)
    return await redirect(api, chosen, expires_at)


def safe_type(media_type: str) -> str:
    """The media type that an output is handed out under."""
    media_type = media_type.partition(";")[0].strip().lower()
    if media_type.endswith("+xml"):
        return "application/octet-stream"
    known = media_type in _SAFE_TYPES or media_type.startswith((*_SAFE_KINDS, "application/vnd."))
    return media_type if known else "application/octet-stream"


def choose(job: Job, query: ResultQuery) -> Chosen:
    """The output that is meant.

    Raises:
        NotFinishedError, NoResultError, ChooseOutputError, NotFoundError, InvalidRequestError.
    """
    result = outputs_of(job)
    index = _index(job, result.outputs, query)
    output = result.outputs[index]
    return Chosen(output, f"{result.prefix}{index}", safe_type(output.type), index)


def outputs_of(job: Job) -> JobResult:
    """What the job made.

    Raises:
        NotFinishedError, NoResultError.
    """
    if not job.state.final:
        raise NotFinishedError(
            f"The job is {job.state}.", retry_after_s=POLL_HINT_S, state=str(job.state)
        )
    if job.state is not JobState.SUCCEEDED or job.result is None:
        error = job.error.model_dump(mode="json", by_alias=True) if job.error else None
        raise NoResultError(
            job.error.detail if job.error else f"The job is {job.state}.",
            state=str(job.state),
            error=error,
        )
    return job.result


def _index(job: Job, outputs: list[OutputInfo], query: ResultQuery) -> int:
    if query.name is not None and query.index is not None:
        raise InvalidRequestError("Choose an output by `name` or by `index`, not by both.")
    if query.index is not None:
        if query.index < len(outputs):
            return query.index
        raise NotFoundError(f"The job has {len(outputs)} outputs, counted from 0.")
    if query.name is not None:
        for index, output in enumerate(outputs):
            if output.name == query.name:
                return index
        raise NotFoundError("The job has no output of this name.")
    if len(outputs) == 1:
        return 0
    if not outputs:
        raise NoResultError("The job succeeded and made no file.", state=str(job.state))
    raise ChooseOutputError(
        f"The job has {len(outputs)} outputs: choose one by ?index= or ?name=.",
        outputs=[
            {
                "index": index,
                "name": output.name,
                "size": output.size,
                "type": output.type,
                "url": f"{job_path(job.id)}/result?index={index}",
            }
            for index, output in enumerate(outputs)
        ],
    )


async def redirect(api: Api, chosen: Chosen, ends_at: datetime | None) -> web.Response:
    """To the storage, by a URL that does not outlive what it leads to."""
    ttl_s = api.settings.url_ttl_s
    if ends_at is not None:
        left = int((ends_at - datetime.now(UTC)).total_seconds())
        ttl_s = max(1, min(ttl_s, left))
    url = await api.resources.objects.presign_get(
        chosen.key, name=chosen.output.name, content_type=chosen.content_type, ttl_s=ttl_s
    )
    return web.Response(status=302, headers={"Location": url, "Cache-Control": "no-store"})


async def _stream(api: Api, request: web.Request, chosen: Chosen) -> web.StreamResponse:
    size, tag = chosen.output.size, f'"{chosen.output.sha256}"'
    headers = {
        "Content-Disposition": content_disposition(chosen.output.name),
        "Content-Security-Policy": _SANDBOXED,
        "Accept-Ranges": "bytes",
        "ETag": tag,
        "Cache-Control": "private, no-cache",
    }
    given = request.if_none_match
    if given and any(etag.value in {"*", chosen.output.sha256} for etag in given):
        return web.Response(status=304, headers=headers)
    part = _wanted_range(request, size, tag)
    if part is None:
        headers["Content-Range"] = f"bytes */{size}"
        return web.Response(status=416, headers=headers)
    start, end = part
    status = 200
    if (start, end) != (0, size):
        status = 206
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    response = web.StreamResponse(status=status, headers=headers)
    response.content_type = chosen.content_type
    response.content_length = end - start
    if request.method == "HEAD" or start == end:
        await response.prepare(request)
        return response
    return await _send(api, request, response, chosen.key, (start, end if end < size else None))


async def stream_whole(
    api: Api, request: web.Request, chosen: Chosen, headers: Mapping[str, str]
) -> web.StreamResponse:
    """All of an output, and no parts of it.

    Raises:
        GoneError: it is no longer stored.
    """
    response = web.StreamResponse(
        headers={
            **headers,
            "Content-Disposition": content_disposition(chosen.output.name),
            "Content-Security-Policy": _SANDBOXED,
            "Cache-Control": "no-store",
        }
    )
    response.content_type = chosen.content_type
    response.content_length = chosen.output.size
    if request.method == "HEAD" or not chosen.output.size:
        await response.prepare(request)
        return response
    return await _send(api, request, response, chosen.key, (0, None))


def _wanted_range(request: web.Request, size: int, tag: str) -> tuple[int, int] | None:
    """First byte and the one after the last; None if the range lies outside.

    More than one range, or a malformed one, is passed over (RFC 9110, 14.2): all of it is sent.
    """
    header = request.headers.get("Range")
    condition = request.headers.get("If-Range")
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or (condition is not None and condition != tag):
        return 0, size
    first, last = match[1], match[2]
    if not first and not last:
        return 0, size
    if not first:
        length = min(int(last), size)
        return (size - length, size) if length else None
    start = int(first)
    end = min(int(last) + 1, size) if last else size
    if start >= size:
        return None
    return (start, end) if start < end else (0, size)


async def _send(
    api: Api,
    request: web.Request,
    response: web.StreamResponse,
    key: str,
    part: tuple[int, int | None],
) -> web.StreamResponse:
    stream = api.resources.objects.stream(key, start=part[0], end=part[1])
    async with aclosing(stream) as chunks:  # type: ignore[type-var] # a generator in truth
        try:
            first = await anext(chunks)
        except ObjectMissingError as exc:
            raise GoneError("The file is no longer stored.") from exc
        # Only now: what fails before the first byte can still be told as a problem.
        await response.prepare(request)
        try:
            await write_in_time(api, response, first)
            crash_point("download")
            async for chunk in chunks:
                await write_in_time(api, response, chunk)
        except (FileprocError, TimeoutError) as exc:
            # The answer has begun: only a broken connection can still say that it is not whole.
            log.warning("a download broke off", key=key, kind=type(exc).__name__)
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError("the download broke off") from exc
    await response.write_eof()
    return response


async def write_in_time(api: Api, response: web.StreamResponse, chunk: bytes) -> None:
    """Send a piece; TimeoutError if the client takes nothing for too long."""
    async with asyncio.timeout(api.settings.upload_idle_s):
        await response.write(chunk)
