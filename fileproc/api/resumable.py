"""The bytes of a resumable upload, on their way into parts of one object.

Every part but the last has 8 MiB, so part n always holds the same bytes, whoever sends it, and
sending it again does no harm. What comes after the last whole part is kept as an object of its own
until there is more. What the record says is safe in the storage before it is written down: after
`kill -9` a client goes on where the record ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

from fileproc.api.examination import Content, became_file, give_up, read_content
from fileproc.crashpoints import crash_point
from fileproc.errors import FileprocError, GoneError, ObjectMissingError, UploadLockedError
from fileproc.objects import file_key, tail_key
from fileproc.operations.types import HEAD_BYTES, UNKNOWN
from fileproc.telemetry import get_logger

if TYPE_CHECKING:
    from fileproc.api.context import Api
    from fileproc.api.holds import Held

log = get_logger(__name__)

PART_BYTES: Final = 8 * 1024 * 1024


class Writer:
    """Takes what one request brings. Memory: one part filling, and one under way.

    Attributes:
        offset: of the next byte.
    """

    def __init__(self, api: Api, held: Held, *, at_once: bool = False) -> None:
        """Prepare; with `at_once` nothing is written down before `save` or `finish`."""
        upload = held.upload
        self._api = api
        self._held = held
        self._at_once = at_once
        self._key = file_key(upload.file_id)
        self._type = upload.document.type or UNKNOWN
        self._multipart = upload.multipart
        self._etags = list(upload.etags)
        self._tail = upload.tail
        self._unloaded = bool(upload.tail)
        self._pending = bytearray()
        self._news: dict[str, Any] = {}
        self._noted = self.offset = upload.offset
        # Of all bytes, where this request brings all; else the object is read at the end.
        self._digest = None if self.offset else hashlib.sha256()
        self._head = bytearray()

    async def take(self, chunk: bytes) -> None:
        """Take more bytes.

        Raises:
            StorageUnavailableError, InsufficientStorageError: the storage.
            UploadLockedError: another has the upload.
            GoneError: the storage has lost the upload.
        """
        await self._load()
        self._pending += chunk
        self.offset += len(chunk)
        if self._digest is not None:
            self._digest.update(chunk)
            self._head += chunk[: max(0, HEAD_BYTES - len(self._head))]
        while len(self._pending) >= PART_BYTES:
            try:
                await self._put_part()
            except ObjectMissingError as exc:
                raise await self._lost() from exc
            if not self._at_once:
                await self._note("")

    async def save(self) -> None:
        """Make safe what has come; raises as `take`."""
        if self.offset == self._noted:
            return
        tail = ""
        if self._pending:
            tail = tail_key(self._held.upload.id)
            await self._put(tail, bytes(self._pending))
            crash_point("tus-tail")
        await self._note(tail)

    async def finish(self) -> None:
        """All has come: the upload becomes a file.

        Raises:
            as `take` and `became_file`; what came is safe then, if the storage is there.
        """
        await self._load()
        try:
            content = await (self._assembled() if self._etags else self._put_whole())
            await became_file(self._api, self._held, content)
        except GoneError:
            raise
        except FileprocError:
            await self.save()
            raise

    async def _put_whole(self) -> Content:
        whole = bytes(self._pending)
        await self._put(self._key, whole)
        return Content(len(whole), hashlib.sha256(whole).hexdigest(), whole[:HEAD_BYTES])

    async def _assembled(self) -> Content:
        direct = self._api.resources.objects.direct
        try:
            if self._pending:
                await self._put_part()
            if self._news:
                await self._note("")
            await direct.complete(self._key, self._multipart, self._etags)
        except ObjectMissingError:
            # One of us has done it, and died before this was written down; or it is lost.
            self._digest = None
        if self._digest is not None:
            return Content(self.offset, self._digest.hexdigest(), bytes(self._head))
        try:
            content = await read_content(self._api, self._key)
        except ObjectMissingError as exc:
            raise await self._lost() from exc
        if content.size != self.offset:
            raise await self._lost()
        return content

    async def _load(self) -> None:
        """What the last request left, which is the beginning of the next part."""
        if not self._unloaded:
            return
        try:
            async for chunk in self._api.resources.objects.stream(self._tail):
                self._pending += chunk
        except ObjectMissingError as exc:
            raise await self._lost() from exc
        self._unloaded = False

    async def _put_part(self) -> None:
        direct = self._api.resources.objects.direct
        if not self._multipart:
            # Seen through: a client that is cut off now would leave one that nobody knows of.
            beginning = self._api.in_background(self._begun(), name="begin-multipart")
            self._multipart = await asyncio.shield(beginning)
        number = len(self._etags) + 1
        body = bytes(self._pending[:PART_BYTES])
        etag = await direct.put_part(self._key, self._multipart, number, body)
        crash_point("tus-part")
        del self._pending[:PART_BYTES]
        self._etags.append(etag)
        self._news[f"e{number}"] = etag

    async def _begun(self) -> str:
        """A multipart upload that is written down."""
        direct, uploads = self._api.resources.objects.direct, self._api.resources.store.uploads
        multipart = await direct.begin(self._key, content_type=self._type)
        crash_point("tus-begun")
        try:
            await uploads.note(self._held.upload.id, self._held.holder, mp=multipart)
        except UploadLockedError:  # another has the upload: this one is nobody's
            with contextlib.suppress(FileprocError):
                await direct.abort(self._key, multipart)
            raise
        return multipart

    async def _note(self, tail: str) -> None:
        """Write down what is safe: the parts, and the tail behind them."""
        safe = self.offset if tail else self.offset - len(self._pending)
        await self._api.resources.store.uploads.note(
            self._held.upload.id, self._held.holder, off=safe, tail=tail, **self._news
        )
        crash_point("tus-noted")
        old, self._tail = self._tail, tail
        self._news, self._noted = {}, safe
        if old:
            self._api.in_background(self._drop(old), name="drop-tail")

    async def _drop(self, tail: str) -> None:
        try:
            await self._api.resources.objects.delete([tail])
        except FileprocError:
            log.warning("the end of an upload stays until the upload is over", key=tail)

    async def _put(self, key: str, body: bytes) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            yield body

        # Shared: where this fails late, the file may be there by another who went on meanwhile, or
        # by our own next try. What nobody counts on goes with the upload.
        await self._api.resources.objects.put_stream(
            key, chunks(), content_type=self._type, shared=True
        )

    async def _lost(self) -> GoneError:
        """The storage has lost what was counted on: nothing but a new upload will do."""
        log.error("the storage has lost an upload", upload=self._held.upload.id)
        await give_up(self._api, self._held)
        return GoneError("The storage has lost what had arrived: begin anew.")
