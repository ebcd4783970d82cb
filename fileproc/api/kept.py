"""Answers that are kept for a day, for whoever sends the same again with its Idempotency-Key.

For everything but what makes jobs. The answer is kept after the work: a server that dies between
the two leaves the key to be reserved again after half a minute, and the work is then done twice.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from fileproc.api.body import BODY_DIGEST, Body
from fileproc.api.context import Api, Caller, api_of, caller_of
from fileproc.api.idempotency import fingerprint, held, key_of
from fileproc.errors import FileprocError, IdempotencyMismatchError
from fileproc.store import Kept, Reservation
from fileproc.telemetry import get_logger
from fileproc.views import MASK

if TYPE_CHECKING:
    from fileproc.api.endpoints import Endpoint, Handle

log = get_logger(__name__)

# What belongs to the one answer: the rest of its headers is the next one's own.
_HEADERS: Final = ("Content-Type", "Location", "ETag", "Retry-After", "Link", "Cache-Control")
_MOST_BYTES: Final = 64 * 1024


async def answered_once(
    request: web.Request, endpoint: Endpoint, handler: Handle
) -> web.StreamResponse:
    """What the handler answers, or has answered to the same request before.

    Raises:
        IdempotencyInFlightError: the first is still under way.
        IdempotencyMismatchError: the key was used for another request.
        BacklogError: Redis is nearly full.
        whatever the handler raises: then the key is free again.
    """
    api, caller = api_of(request), caller_of(request)
    key = key_of(request)
    if key is None:
        return await handler(request)
    request[BODY_DIGEST] = hashlib.sha256()
    async with held(api, caller, key) as claim:
        if isinstance(claim, Reservation):
            await api.resources.store.reserve.check()  # what is kept lies in Redis for a day
            response = await handler(request)
            mark = await _mark(request, api, caller)
            await _keep(api, endpoint, claim, mark, response)
            return response
        mark = await _mark(request, api, caller)
    if not isinstance(claim, Kept) or claim.fingerprint != mark:
        raise IdempotencyMismatchError(
            "The Idempotency-Key was used for another request: use a new key for this one."
        )
    return _told_again(claim)


async def _mark(request: web.Request, api: Api, caller: Caller) -> str:
    """What makes it the same request. What the handler left of the body is read for that."""
    if request.can_read_body and not request.content.at_eof():
        most = api.settings.max_upload_bytes
        async for _ in Body(request, api.settings).chunks(most, "max_upload_bytes", "A body"):
            pass
    query = sorted(request.query.items())
    body = request[BODY_DIGEST].hexdigest()
    return fingerprint("answer", str(caller.role), request.method, request.path, query, body)


async def _keep(
    api: Api, endpoint: Endpoint, claim: Reservation, mark: str, response: web.StreamResponse
) -> None:
    idempotency = api.resources.store.idempotency
    told = _written(endpoint, response)
    try:
        if told is None:
            await idempotency.release(claim)
        else:
            await idempotency.keep(claim, mark, told)
    except FileprocError:
        log.warning("an answer was not kept: its key is free again in half a minute")


def _written(endpoint: Endpoint, response: web.StreamResponse) -> str | None:
    """The answer as JSON of one line, without what is told once; None: not to be kept."""
    if not isinstance(response, web.Response) or response.status >= web.HTTPBadRequest.status_code:
        return None
    body = response.body or b""
    if not isinstance(body, bytes) or len(body) > _MOST_BYTES:
        return None
    if endpoint.secrets:
        members = json.loads(body)
        masked = {name: MASK for name in endpoint.secrets if members.get(name) is not None}
        body = json.dumps({**members, **masked}).encode()
    headers = {name: response.headers[name] for name in _HEADERS if name in response.headers}
    return json.dumps([response.status, headers, body.decode()])


def _told_again(kept: Kept) -> web.Response:
    status, headers, body = json.loads(kept.answer)
    told: dict[str, Any] = {**headers, "Idempotency-Replayed": "true"}
    return web.Response(status=status, body=body.encode(), headers=told)
