"""Every error as a problem document (RFC 9457): `FileprocError` in, response out."""

from __future__ import annotations

import logging
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_exceptions import HTTPException
from pydantic_core import to_json

from fileproc.errors import (
    BadRequestError,
    FileprocError,
    MethodNotAllowedError,
    QuotaError,
    RouteNotFoundError,
    TooLargeError,
)
from fileproc.telemetry import LIMITS_HIT, get_logger

log = get_logger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
DEFAULT_RETRY_AFTER_S: Final = 5

# Trying the same again may help. Everything else needs another request, or another key.
RETRYABLE: Final = frozenset(
    {
        "backlog",
        "checksum_mismatch",
        "idempotency_in_flight",
        "identity_unavailable",
        "insufficient_storage",
        "internal_error",
        "link_locked",
        "not_finished",
        "quota_exceeded",
        "rate_limited",
        "request_timeout",
        "shutting_down",
        "storage_unavailable",
        "store_unavailable",
        "too_many_streams",
        "upload_incomplete",
        "upload_locked",
    }
)


def type_of(code: str) -> str:
    """The URI reference that names a code: its place on the documentation page."""
    return f"/docs#error-{code}"


def document(error: FileprocError, request_id: str) -> dict[str, Any]:
    """The members of the problem; `errors` only where there are some."""
    body: dict[str, Any] = {
        "type": type_of(error.code),
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "retryable": error.code in RETRYABLE,
        "request_id": request_id,
    }
    if error.errors:
        body["errors"] = error.errors
    for name, value in error.extra.items():
        body.setdefault(name, value)
    return body


def answer(error: FileprocError, request_id: str) -> web.Response:
    """The response to this error."""
    response = web.Response(
        body=to_json(document(error, request_id)), status=error.status, content_type=MEDIA_TYPE
    )
    retry_after_s = error.retry_after_s
    if retry_after_s is None and error.status in {429, 503}:
        retry_after_s = DEFAULT_RETRY_AFTER_S
    if retry_after_s is not None:
        response.headers["Retry-After"] = str(retry_after_s)
    if isinstance(error, QuotaError) and "window_s" in error.extra:
        told = error.extra
        left = max(0, told["allowed"] - told["used"])
        response.headers["RateLimit-Policy"] = (
            f'"{told["limit"]}";q={told["allowed"]};w={told["window_s"]}'
        )
        response.headers["RateLimit"] = f'"{told["limit"]}";r={left};t={retry_after_s}'
    return response


def too_large(limit: str, most: int, detail: str) -> TooLargeError:
    """The error for a limit that was hit; it names the limit, and is counted."""
    LIMITS_HIT.labels(limit).inc()
    return TooLargeError(detail, limit=limit, limit_value=most)


class PlainHttpError(FileprocError):
    """An HTTP error of aiohttp's own that has no class of ours."""

    def __init__(self, status: int, title: str) -> None:
        super().__init__(f"The request cannot be answered: {title.lower()}.")
        self.status = status  # type: ignore[misc] # a class variable in all the others
        self.title = title  # type: ignore[misc] # likewise
        self.code = "http_error"  # type: ignore[misc] # likewise


def translate(exc: Exception, request: web.Request) -> FileprocError:
    """What the client is told; what only an operator may know is logged here."""
    if isinstance(exc, FileprocError):
        level = logging.ERROR if exc.status == web.HTTPInternalServerError.status_code else None
        if level:
            log.error("request failed", code=exc.code, exc_info=exc)
        return exc
    if isinstance(exc, HTTPException):
        return _from_aiohttp(exc, request)
    if isinstance(exc, HttpProcessingError | web.RequestPayloadError):
        return BadRequestError("The body of the request is not well-formed HTTP.")
    log.error("unhandled error", method=request.method, exc_info=exc)
    return FileprocError("Something went wrong on our side. The request id finds it in our log.")


def _from_aiohttp(exc: HTTPException, request: web.Request) -> FileprocError:
    if exc.status == web.HTTPNotFound.status_code:
        return RouteNotFoundError("There is nothing at this address; /docs lists what there is.")
    if isinstance(exc, web.HTTPMethodNotAllowed):
        allowed = sorted(exc.allowed_methods)
        return MethodNotAllowedError(
            f"This address takes {', '.join(allowed)}, not {request.method[:20]}.", allowed=allowed
        )
    if isinstance(exc, web.HTTPRequestEntityTooLarge):
        return TooLargeError("The request is larger than this address takes.")
    return PlainHttpError(exc.status, exc.reason)
