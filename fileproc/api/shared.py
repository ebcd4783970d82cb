"""`/d/{code}`: where a share link leads. Public: whoever has the code may ask.

An unbounded link is a redirect to the storage, counted. One with a maximum is streamed by the api,
since an address of the storage could be used more than once. Browsers get a page with a button
where a look must not count (programs that preview links press none), or a password is needed.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import replace
from typing import Final
from urllib.parse import parse_qs

from aiohttp import web

from fileproc.api import archive, results
from fileproc.api.body import Body, media_type_of
from fileproc.api.context import Api, api_of
from fileproc.api.links import code_of
from fileproc.api.passwords import matches
from fileproc.api.queries import ResultQuery
from fileproc.api.results import Chosen
from fileproc.api.shared_page import page
from fileproc.errors import (
    BadRequestError,
    FileprocError,
    GoneError,
    LinkPasswordError,
    NoResultError,
    NotFoundError,
    UnsupportedMediaTypeError,
)
from fileproc.jobs import Job
from fileproc.settings import Downloads
from fileproc.store import Link
from fileproc.telemetry import get_logger

MAX_FORM_BYTES: Final = 4 * 1024
MAX_PASSWORD: Final = 200
_FORM: Final = "application/x-www-form-urlencoded"
_ENDED: Final = "The link has ended."
# No search engine shall keep it, and no other site learn of it.
_QUIET: Final = {"X-Robots-Tag": "noindex, nofollow, noarchive", "Referrer-Policy": "no-referrer"}

log = get_logger(__name__)


async def follow_link(request: web.Request) -> web.StreamResponse:
    """`GET /d/{code}`; the password, if there is one, by Basic authentication."""
    api, link = await _live(request)
    given = _basic(request)
    if given is None and "text/html" in request.headers.get("Accept", "") and _asks_first(link):
        return _page(link, 401 if link.password else 200)
    await _check(api, link, given)
    return await _hand_out(api, request, link)


async def press_link(request: web.Request) -> web.StreamResponse:
    """`POST /d/{code}`: the button of the page was pressed."""
    api, link = await _live(request)
    given = await _from_form(api, request) if link.password else None
    try:
        await _check(api, link, given)
    except LinkPasswordError:
        return _page(link, 401, wrong=given is not None)
    return await _hand_out(api, request, link)


async def _live(request: web.Request) -> tuple[Api, Link]:
    api = api_of(request)
    link = await api.resources.store.links.get(code_of(request))
    if link.state != "live":
        raise GoneError(_ENDED)
    return api, link


def _asks_first(link: Link) -> bool:
    return link.password is not None or link.most is not None


def _page(link: Link, status: int, *, wrong: bool = False) -> web.Response:
    return web.Response(
        body=page(link.name, password=link.password is not None, wrong=wrong).encode(),
        status=status,
        headers={
            **_QUIET,
            "Content-Security-Policy": "default-src 'none'; style-src 'self'; "
            "frame-ancestors 'none'; base-uri 'none'",
        },
        content_type="text/html",
        charset="utf-8",
    )


# --- the password ------------------------------------------------------------------------------


def _basic(request: web.Request) -> str | None:
    """The password of a Basic Authorization, whatever the name beside it (RFC 7617)."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(value.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    return text.partition(":")[2]


async def _from_form(api: Api, request: web.Request) -> str | None:
    if media_type_of(request) != _FORM:
        raise UnsupportedMediaTypeError("Send the password as a form.", accepted=[_FORM])
    body = await Body(request, api.settings).read(MAX_FORM_BYTES, "max_link_bytes", "The form")
    try:
        fields = parse_qs(body.decode(), max_num_fields=10, strict_parsing=bool(body))
    except ValueError as exc:
        raise BadRequestError("The form cannot be read.") from exc
    return fields.get("password", [None])[0]


async def _check(api: Api, link: Link, given: str | None) -> None:
    """The try is counted before it is judged: of a thousand at once, ten are judged."""
    if link.password is None:
        return
    if given is None:
        raise LinkPasswordError("This link asks for a password.")
    links = api.resources.store.links
    await links.try_password(link.code)
    if len(given) > MAX_PASSWORD or not await matches(given, link.password):
        raise LinkPasswordError("The password is wrong.")
    await links.password_was_right(link.code)


# --- the file ----------------------------------------------------------------------------------


async def _hand_out(api: Api, request: web.Request, link: Link) -> web.StreamResponse:
    """Count, then send. What the owner could be told of is not told to strangers."""
    try:
        job = await api.resources.store.jobs.get(link.owner, link.job_id)
        result = results.outputs_of(job)
        chosen = None
        if link.index is not None:
            chosen = results.choose(job, ResultQuery(index=link.index))
    except (NotFoundError, GoneError, NoResultError) as exc:
        raise GoneError(_ENDED) from exc
    if request.method != "HEAD":
        await _count(api, link)
    if chosen is None:
        return await archive.send_archive(api, request, job, result, name=link.name, headers=_QUIET)
    chosen = replace(chosen, output=chosen.output.model_copy(update={"name": link.name}))
    if link.most is not None or api.settings.downloads is Downloads.PROXY:
        return await results.stream_whole(api, request, chosen, headers=_QUIET)
    return await _redirect(api, job, link, chosen)


async def _count(api: Api, link: Link) -> None:
    """Of a bounded link before anything is sent: killed in between, there was one too few."""
    if link.most is None:
        api.in_background(_note(api, link), name="count a download")
        return
    try:
        await api.resources.store.links.take(link.code)
    except NotFoundError as exc:
        raise GoneError(_ENDED) from exc


async def _note(api: Api, link: Link) -> None:
    try:
        await api.resources.store.links.note(link.code)
    except FileprocError as exc:  # it has ended since, or Redis is away
        log.warning("a download was not counted", code=exc.code)


async def _redirect(api: Api, job: Job, link: Link, chosen: Chosen) -> web.Response:
    ends = min(moment for moment in (job.expires_at, link.ends_at) if moment is not None)
    response = await results.redirect(api, chosen, ends)
    response.headers.update(_QUIET)
    if response.status == 302 and link.password is not None:  # noqa: PLR2004 - found
        response.set_status(303)  # the form was sent by POST, the storage wants a GET
    return response
