"""`Idempotency-Key`: the same request sent twice is done once.

The key is reserved before the body is read, kept while it arrives, and tied to the job by the
script that accepts it. A repetition is compared by what it asks for and by its files' digests.
Where no job is made, the answer is kept (`kept.py`).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from fileproc.api.endpoints import RequestHeader
from fileproc.crashpoints import crash_point
from fileproc.errors import BadRequestError, FileprocError
from fileproc.store import Kept, Replay, Reservation
from fileproc.telemetry import get_logger

if TYPE_CHECKING:
    from aiohttp import web

    from fileproc.api.context import Api, Caller

log = get_logger(__name__)

HEADER: Final = "Idempotency-Key"
MAX_KEY: Final = 255
RENEW_S: Final = 10  # a reservation lives for 30 s: two renewals may fail
PATTERN: Final = rf"[!-~](?:[ -~]{{0,{MAX_KEY - 2}}}[!-~])?"
_KEY = re.compile(PATTERN)

REQUEST_HEADER: Final = RequestHeader(
    HEADER,
    "1 to 255 characters; the same request sent again is not done twice: you get its first answer.",
    PATTERN,
)

Claim = Reservation | Replay | None


def key_of(request: web.Request) -> str | None:
    """The key; the quotes that the draft of the standard asks for are no part of it.

    Raises:
        BadRequestError: there are several, or it is empty, too long or not printable ASCII.
    """
    given = request.headers.getall(HEADER, [])
    if not given:
        return None
    key = given[0].strip()
    if len(key) > 1 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if len(given) > 1 or not _KEY.fullmatch(key):
        raise BadRequestError(
            f"{HEADER} must be one value of 1 to {MAX_KEY} printable ASCII characters."
        )
    return key


@asynccontextmanager
async def claimed(api: Api, caller: Caller, key: str | None) -> AsyncIterator[Claim]:
    """As `held`, where the request makes a job."""
    async with held(api, caller, key) as claim:
        # Its fingerprint is no job's: whoever compares finds another request.
        yield Replay(claim.fingerprint, "") if isinstance(claim, Kept) else claim


@asynccontextmanager
async def held(api: Api, caller: Caller, key: str | None) -> AsyncIterator[Claim | Kept]:
    """Hold the key while the request is worked on; let it go if that fails.

    Raises:
        IdempotencyInFlightError: another request holds it.
    """
    if key is None:
        yield None
        return
    claim = await api.resources.store.idempotency.reserve(caller.owner, key)
    if not isinstance(claim, Reservation):
        yield claim
        return
    crash_point("key-reserved")
    renewal = _Renewal(api, claim)
    try:
        yield claim
    except BaseException:
        # It lets go of a reservation only: if the job was accepted after all, that stands.
        await asyncio.shield(api.in_background(_release(api, claim), name="release-key"))
        raise
    finally:
        renewal.stop()


async def _release(api: Api, claim: Reservation) -> None:
    try:
        await api.resources.store.idempotency.release(claim)
    except FileprocError:
        log.warning("a reservation stays until it ends by itself")


class _Renewal:
    """Keeps a reservation; a timer, since most requests are over before it would do anything."""

    def __init__(self, api: Api, claim: Reservation) -> None:
        self._api = api
        self._claim = claim
        self._timer = asyncio.get_running_loop().call_later(RENEW_S, self._again)

    def stop(self) -> None:
        self._timer.cancel()

    def _again(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(RENEW_S, self._again)
        self._api.in_background(self._renew(), name="renew-key")

    async def _renew(self) -> None:
        try:
            await self._api.resources.store.idempotency.renew(self._claim)
        except FileprocError:
            log.warning("a reservation was not renewed")


def fingerprint(*asked: Any) -> str:
    """What makes two requests the same: what they ask for, in any order of members."""
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
