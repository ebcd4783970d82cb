"""Holding an upload while one request works on it; another that comes has it handed over soon.

A client whose connection was cut comes back before the server has noticed. So whoever holds an
upload is asked to let go, and its connection, which then is most likely dead, is closed.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from fileproc.api.context import caller_of
from fileproc.errors import FileprocError, NotFoundError
from fileproc.store import KEEP_S, Upload
from fileproc.store.uploads import lost
from fileproc.telemetry import get_logger

if TYPE_CHECKING:
    from aiohttp import web

    from fileproc.api.context import Api

log = get_logger(__name__)

WAIT_S: Final = 7.0  # for another to let go, who is asked within a second, or dead for five
LOOK_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Held:
    """An upload in our hands, as it was when we took it."""

    upload: Upload
    holder: str

    def of_size(self, size: int) -> Held:
        """The same, now that the client has said how long it is."""
        document = self.upload.document.model_copy(update={"size": size})
        return Held(replace(self.upload, document=document), self.holder)


@asynccontextmanager
async def held(
    api: Api,
    request: web.Request,
    upload_id: str,
    kind: Literal["direct", "tus"],
    *,
    yields: bool = False,
) -> AsyncIterator[Held]:
    """Hold an upload; with `yields` the connection is closed when somebody else wants it.

    Raises:
        NotFoundError, GoneError: as `Uploads.get`; one of the other kind is not found.
        UploadLockedError: another does not let go.
    """
    uploads, caller = api.resources.store.uploads, caller_of(request)
    known = await uploads.get(caller.owner, upload_id)
    if known.document.kind != kind:
        raise NotFoundError(f"There is no such upload {upload_id} here.")
    holder = secrets.token_hex(8)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + WAIT_S
    while not await uploads.hold(caller.owner, upload_id, holder):
        if loop.time() > deadline:
            raise lost()
        await asyncio.sleep(LOOK_S)
    renewal = _Renewal(api, request, upload_id, holder, yields=yields)
    try:
        yield Held(await uploads.get(caller.owner, upload_id), holder)
    finally:
        renewal.stop()
        # Shielded: a hold that nobody has ends by itself, but its client would wait for that.
        await asyncio.shield(
            api.in_background(_release(api, upload_id, holder), name="release-upload")
        )


async def _release(api: Api, upload_id: str, holder: str) -> None:
    try:
        await api.resources.store.uploads.release(upload_id, holder)
    except FileprocError:
        log.warning("a hold stays until it ends by itself")


class _Renewal:
    """Keeps a hold; a timer, since most requests are over before it would do anything."""

    def __init__(
        self, api: Api, request: web.Request, upload_id: str, holder: str, *, yields: bool
    ) -> None:
        self._api = api
        self._request = request
        self._upload_id = upload_id
        self._holder = holder
        self._yields = yields
        self._timer = asyncio.get_running_loop().call_later(KEEP_S, self._again)

    def stop(self) -> None:
        self._timer.cancel()

    def _again(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(KEEP_S, self._again)
        self._api.in_background(self._keep(), name="keep-upload")

    async def _keep(self) -> None:
        try:
            answer = await self._api.resources.store.uploads.keep(self._upload_id, self._holder)
        except FileprocError:
            log.warning("a hold was not renewed")
            return
        if answer != "kept" and self._yields and self._request.transport is not None:
            self._request.transport.abort()  # the reader of the body learns of it
