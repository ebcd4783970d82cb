"""What every request goes through: its id, who is asking, metrics, and errors as problems.

One middleware, because each costs a coroutine per request; it reads as the list of what it does.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import re
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiohttp import hdrs, web
from multidict import istr

from fileproc.api import problems
from fileproc.api.access import check_access
from fileproc.api.compression import compress, is_long
from fileproc.api.context import API, CALLER, EMPTY_LIST, LOCAL, REQUEST_ID, Api, Caller
from fileproc.api.cors import allow, is_preflight, preflight
from fileproc.api.endpoints import RateClass
from fileproc.api.grants import check_grant
from fileproc.api.idempotency import HEADER
from fileproc.api.kept import answered_once
from fileproc.api.rates import STANDING
from fileproc.api.visitors import check_visitor
from fileproc.errors import (
    FileprocError,
    LinkPasswordError,
    MethodNotAllowedError,
    NotFoundError,
    StoreUnavailableError,
    UnauthorizedError,
)
from fileproc.settings import Auth
from fileproc.store import KeyInfo, lost
from fileproc.telemetry import REFUSED, REQUESTS, get_logger

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler, Middleware

    from fileproc.api.endpoints import Endpoint

log = get_logger(__name__)
_root_log = logging.getLogger()

_REQUEST_ID = re.compile(r"[A-Za-z0-9._~+/=-]{1,128}")
_PROCESS: Final = os.urandom(8).hex()
_numbers = itertools.count(1)
_TOKEN = re.compile(r"[Bb]earer +([A-Za-z0-9._~+/=-]{1,7000}) *")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})
_CLIENT_GONE: Final = 499  # nginx' number for it; only in metrics, nobody receives it

# On every response. JSON is no page: no browser shall ever render or frame it. Pages and
# downloads set stricter or other values of their own first.
SECURITY_HEADERS: Final = (
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
)
# The same as a mapping of headers compares names: not brought to one case for each answer anew.
_SECURITY: Final = tuple((istr(name), value) for name, value in SECURITY_HEADERS)
_X_REQUEST_ID: Final = istr("X-Request-ID")


def boundary(endpoints: dict[Handler, Endpoint]) -> Middleware:
    """The middleware for this table; a handler that is not in it needs a key."""

    @web.middleware
    async def handle(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = perf_counter()
        endpoint = endpoints.get(request.match_info.handler)
        request_id = request[REQUEST_ID] = _request_id(request)
        structlog.contextvars.bind_contextvars(request_id=request_id)
        api = request.app[API]
        api.open += 1
        status = _CLIENT_GONE
        try:
            response = await _answer(api, request, handler, endpoint)
            if is_long(response):
                await compress(request, response)
            status = response.status
        finally:
            api.answered()
            _observe(request, endpoint, status, perf_counter() - started)
        if api.draining:
            response.force_close()  # a connection kept alive would keep us
        return response

    return handle


async def _answer(
    api: Api, request: web.Request, handler: Handler, endpoint: Endpoint | None
) -> web.StreamResponse:
    try:
        return await _served(api, request, handler, endpoint)
    except ConnectionError:
        # Not the path: in that of a share link stands all that it takes to follow it.
        log.info("the client went away", method=request.method, route=endpoint and endpoint.path)
        return web.Response(status=_CLIENT_GONE)  # nobody receives it; the metrics do
    except (NotFoundError, UnauthorizedError) as exc:
        return _refuse(request, endpoint, await _or_lost(request, exc))
    except Exception as exc:  # noqa: BLE001 - the border: whatever it is becomes a problem
        return _refuse(request, endpoint, exc)


async def _or_lost(request: web.Request, exc: FileprocError) -> FileprocError:
    """What a store has not that lost everything may be there again soon: neither 404 nor 401."""
    with contextlib.suppress(StoreUnavailableError):
        if await request.app[API].resources.store.journal.empty():
            return lost()
    return exc


async def _admit(api: Api, request: web.Request, endpoint: Endpoint) -> None:
    """Let in who may come in, and not too often; before anything of the body is read."""
    rates = api.rates
    if endpoint.public:
        if endpoint.rate is not None:
            await rates.admit_address(request, endpoint.rate)
        return
    try:
        caller = request[CALLER] = await authenticate(api, request)
    except UnauthorizedError:
        await rates.admit_address(request, RateClass.SIGN_IN)
        raise
    if caller is not LOCAL:
        await rates.admit_key(request, endpoint, caller.counted_as)
    check_access(caller, endpoint)
    if caller.grant:
        await check_grant(api, caller, request)


async def _served(
    api: Api, request: web.Request, handler: Handler, endpoint: Endpoint | None
) -> web.StreamResponse:
    settings = api.settings
    if settings.auth is Auth.OFF:
        check_visitor(settings, request)
    if request.method == hdrs.METH_OPTIONS and is_preflight(request):
        return preflight(settings)
    if endpoint is None:
        return await _unmatched(request, handler)
    await _admit(api, request, endpoint)
    if endpoint.stores:
        await api.resources.store.reserve.check()
    if endpoint.keeps_answer and HEADER in request.headers:
        return await answered_once(request, endpoint, handler)
    response = await handler(request)
    if EMPTY_LIST in request and await api.resources.store.journal.empty():
        raise lost()  # who compares lists would conclude that everything was deleted
    return response


async def _unmatched(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Aiohttp's own handler raises 404 or 405; OPTIONS is answered at every address."""
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed as exc:
        if request.method != hdrs.METH_OPTIONS:
            raise
        allowed = sorted({*exc.allowed_methods, hdrs.METH_OPTIONS})
        return web.Response(status=204, headers={hdrs.ALLOW: ", ".join(allowed)})


def _refuse(request: web.Request, endpoint: Endpoint | None, exc: Exception) -> web.Response:
    error = problems.translate(exc, request)
    if endpoint is not None and endpoint.submits:
        REFUSED.labels(error.code).inc()
    response = problems.answer(error, request[REQUEST_ID])
    if isinstance(error, UnauthorizedError):
        response.headers["WWW-Authenticate"] = 'Bearer realm="fileproc"'
    if isinstance(error, LinkPasswordError):
        response.headers["WWW-Authenticate"] = 'Basic realm="link", charset="UTF-8"'
    if isinstance(error, MethodNotAllowedError):
        response.headers["Allow"] = ", ".join(error.extra["allowed"])
    if request.can_read_body and not request.content.is_eof():
        # A client that is still sending is told to stop; what is on its way is not worth reading.
        response.force_close()
    return response


async def authenticate(api: Api, request: web.Request) -> Caller:
    """Who is asking.

    Raises:
        UnauthorizedError: no key or token, or none that is valid; which of the two is not told.
        StoreUnavailableError, IdentityUnavailableError: it cannot be looked up now.
    """
    given = request.headers.getall(hdrs.AUTHORIZATION, ())
    match = _TOKEN.fullmatch(given[0]) if len(given) == 1 else None
    if api.settings.auth is Auth.OFF:
        # Whoever asks may do everything; an upload token says of itself what it is for.
        key = await api.resources.store.keys.authenticate(match[1]) if match else None
        return _caller_of(key) if key is not None and key.grant else LOCAL
    if match is None:
        raise UnauthorizedError("Send a key: `Authorization: Bearer fp_...`.")
    if api.tokens is not None and "." in match[1]:  # no key has a point, and every token two
        caller = await api.tokens.caller(match[1])
    else:
        key = await api.resources.store.keys.authenticate(match[1])
        caller = _caller_of(key) if key is not None else None
    if caller is None:
        raise UnauthorizedError("The key is not valid, has expired or was revoked.")
    return caller


def _caller_of(key: KeyInfo) -> Caller:
    return Caller(
        owner=key.owner,
        role=key.role,
        scopes=key.scopes,
        key_id=key.id,
        reuse=key.reuse,
        grant=key.grant,
        granted_by=key.granted_by,
        valid_until=key.valid_until,
    )


def _request_id(request: web.Request) -> str:
    given = request.headers.get(_X_REQUEST_ID)
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return f"{_PROCESS}-{next(_numbers):x}"


_children: dict[tuple[str, str, int], Any] = {}


def _observe(request: web.Request, endpoint: Endpoint | None, status: int, seconds: float) -> None:
    route = endpoint.path if endpoint is not None else "unmatched"
    method = request.method if request.method in _METHODS else "other"
    # `labels()` takes a lock and builds a key; its answer never changes. Routes x statuses.
    child = _children.get((method, route, status))
    if child is None:
        child = _children[method, route, status] = REQUESTS.labels(method, route, str(status))
    child.observe(seconds)
    if _root_log.isEnabledFor(logging.DEBUG):  # a line that is not wanted costs a microsecond, too
        log.debug("request", method=method, route=route, status=status, ms=round(seconds * 1000, 1))


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Signal before any response is sent, streams too."""
    headers = response.headers
    for name, value in _SECURITY:
        headers.setdefault(name, value)
    allow(request.app[API].settings, request, response)
    headers[hdrs.SERVER] = "fileproc"  # aiohttp has put its own name and version there
    request_id = request.get(REQUEST_ID)
    if request_id is not None:
        headers[_X_REQUEST_ID] = request_id
    standing = request.get(STANDING)
    if standing is not None:
        for name, value in standing.headers():  # beside a quota that refused the request
            headers[name] = f"{value}, {headers[name]}" if name in headers else value
