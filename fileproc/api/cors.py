"""Pages of other origins: which of them a browser lets read our answers (the Fetch standard, CORS).

Keys travel in `Authorization`, never in a cookie, so no answer is ever made for credentials: what a
page may do here is what the key may that the page has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import hdrs, web

from fileproc.settings import names

if TYPE_CHECKING:
    from fileproc.settings import Settings

_METHODS: Final = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_ACCEPTED: Final = (
    "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, If-Range, "
    "Last-Event-ID, Prefer, Range, Tus-Resumable, Upload-Checksum, Upload-Concat, "
    "Upload-Defer-Length, Upload-Length, Upload-Metadata, Upload-Offset, "
    "X-HTTP-Method-Override, X-Request-ID"
)
_EXPOSED: Final = (
    "Accept-Ranges, Allow, Content-Disposition, Content-Location, Content-Range, ETag, "
    "Idempotency-Replayed, Link, "
    "Location, Preference-Applied, RateLimit, RateLimit-Policy, Retry-After, "
    "Tus-Checksum-Algorithm, Tus-Extension, Tus-Max-Size, Tus-Resumable, Tus-Version, "
    "Upload-Concat, Upload-Defer-Length, Upload-Expires, Upload-Length, Upload-Metadata, "
    "Upload-Offset, X-Request-ID"
)
_REMEMBERED_S: Final = "600"  # how long a browser need not ask again


def is_preflight(request: web.Request) -> bool:
    """Whether a browser asks what a page may do, before it does it."""
    headers = request.headers
    return (
        request.method == hdrs.METH_OPTIONS
        and hdrs.ORIGIN in headers
        and hdrs.ACCESS_CONTROL_REQUEST_METHOD in headers
    )


def preflight(settings: Settings) -> web.Response:
    """What such a page may ask; whether this is one of those, `allow` says."""
    response = web.Response(status=204)
    if settings.cors_origins:
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS] = _METHODS
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = _ACCEPTED
        response.headers[hdrs.ACCESS_CONTROL_MAX_AGE] = _REMEMBERED_S
    return response


def allow(settings: Settings, request: web.Request, response: web.StreamResponse) -> None:
    """Say on this answer whether the page that asked may read it."""
    if not settings.cors_origins:
        return
    allowed = names(settings.cors_origins)
    headers = response.headers
    if "*" in allowed:
        headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = "*"
    else:
        vary(response, "Origin")  # also where it is not allowed: a cache must not mix the two up
        origin = request.headers.get(hdrs.ORIGIN)
        if origin not in allowed:
            return
        headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
    headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = _EXPOSED


def vary(response: web.StreamResponse, name: str) -> None:
    """Add to what the answer depends on."""
    known = response.headers.get(hdrs.VARY)
    response.headers[hdrs.VARY] = f"{known}, {name}" if known else name
