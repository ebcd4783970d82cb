"""Files on their way in: looked at in their first 64 KiB, then streamed to the storage, hashed.

Nothing of a request that is refused stays: `Uploads` forgets what it took unless it is told that
the job was accepted.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from fileproc.api import problems
from fileproc.crashpoints import crash_point
from fileproc.errors import EmptyFileError, FileprocError, TypeMismatchError
from fileproc.ids import new_id
from fileproc.jobs import FileInfo
from fileproc.objects import Stored, file_key
from fileproc.operations import clean_name, texts
from fileproc.operations.types import HEAD_BYTES, detect, extension_for_type
from fileproc.telemetry import UPLOADED, get_logger

if TYPE_CHECKING:
    from fileproc.api.context import Api
    from fileproc.api.drafts import Plan

log = get_logger(__name__)

_MAX_DECLARED = 100


class Uploads:
    """The files that one request brings; `async with` around all that may still refuse it.

    With `store` False the bytes are only hashed: the request is a repetition, and all that is
    asked is whether it is the same.
    """

    def __init__(self, api: Api, *, store: bool = True) -> None:
        self._api = api
        self._store = store
        self._keys: list[str] = []
        self._room = api.settings.max_upload_bytes

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._keys:
            # Shielded: a client that goes away, or a shutdown, must not leave the bytes behind.
            await asyncio.shield(self._api.in_background(self._forget(), name="forget-upload"))

    def kept(self) -> None:
        """The files belong to a job now, or may do: whoever finds them without one sweeps them."""
        self._keys = []

    async def _forget(self) -> None:
        crash_point("upload-refused")
        try:
            await self._api.resources.objects.delete(self._keys)
        except FileprocError:
            log.warning("files of a refused request stay until the sweep", count=len(self._keys))
            for key in self._keys:
                await self._api.resources.store.upkeep.discard(key)

    async def take(
        self,
        chunks: AsyncIterator[bytes],
        *,
        filename: str | None,
        declared: str | None,
        plan: Plan | None,
        pointer: str,
    ) -> FileInfo | None:
        """Take one file; `plan` None if it is not known yet (then check it later).

        Returns None for an empty file, which some operations do without.

        Raises:
            TypeMismatchError: it is not taken; known before the rest has arrived.
            TooLargeError: the files of the request together are more than one may be.
            StorageUnavailableError, InsufficientStorageError: the storage.
            whatever `chunks` raises.
        """
        async with aclosing(_Peeked(chunks, self._room)) as peeked:
            head, whole = await peeked.head()
            if not head:
                return None
            media_type = detect(head, name=filename, declared=declared, whole=whole)
            if plan is not None:
                check_type(plan, media_type, pointer)
            file_id = new_id("file")
            stored = await self._put(file_key(file_id), peeked, media_type)
        self._room -= stored.size
        UPLOADED.inc(stored.size)
        return FileInfo(
            file_id=file_id,
            name=clean_name(filename or "", fallback="file" + extension_for_type(media_type)),
            size=stored.size,
            sha256=stored.sha256,
            type=media_type,
            declared_type=declared[:_MAX_DECLARED] if declared else None,
        )

    async def _put(self, key: str, chunks: _Peeked, media_type: str) -> Stored:
        if not self._store:
            return await _digest(chunks)
        stored = await self._api.resources.objects.put_stream(key, chunks, content_type=media_type)
        self._keys.append(key)
        crash_point("file-stored")
        return stored


class _Peeked:
    """A bounded iterator whose beginning can be looked at before it is consumed."""

    def __init__(self, chunks: AsyncIterator[bytes], most: int) -> None:
        self._chunks = chunks
        self._most = most
        self._seen = 0
        self._first: list[bytes] = []

    async def head(self) -> tuple[bytes, bool]:
        """At least 64 KiB, or all there is; and whether that is all."""
        async for chunk in self._counted():
            self._first.append(chunk)
            if self._seen >= HEAD_BYTES:
                return b"".join(self._first), False
        return b"".join(self._first), True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self._first:
            yield self._first.pop(0)
        async for chunk in self._counted():
            yield chunk

    async def _counted(self) -> AsyncIterator[bytes]:
        async for chunk in self._chunks:
            self._seen += len(chunk)
            if self._seen > self._most:
                limit = "max_upload_bytes"
                detail = f"The files of a request may have {self._most} bytes together."
                raise problems.too_large(limit, self._most, detail)
            yield chunk

    async def aclose(self) -> None:
        close: Any = getattr(self._chunks, "aclose", None)
        if close is not None:
            await close()


async def _digest(chunks: _Peeked) -> Stored:
    digest = hashlib.sha256()
    size = 0
    async for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
    return Stored(size, digest.hexdigest())


def check_type(plan: Plan, media_type: str, pointer: str) -> None:
    """Refuse a file that the operation, or the pipeline, does not take.

    Raises:
        TypeMismatchError: it names what the file is, and what is taken.
    """
    if not plan.takes(media_type):
        accepted = list(plan.accepts)
        raise TypeMismatchError(
            f"The file is {media_type}; {plan.name} takes {', '.join(accepted)}."
            + _hint(media_type, accepted),
            errors=[{"pointer": pointer, "detail": f"It is {media_type}.", "allowed": accepted}],
            detected=media_type,
            accepted=accepted,
        )


def _hint(media_type: str, accepted: list[str]) -> str:
    """What to do about text whose bytes alone do not tell its kind, such as a single column."""
    if media_type == texts.JSON and texts.JSONL in accepted:
        return (
            " JSON lines have one object on each line; if it is such a file, say so by its name"
            " (?filename=data.jsonl) or its Content-Type."
        )
    if media_type != "text/plain" or not any(name.startswith("text/") for name in accepted):
        return ""
    return " If it is one of these, say so by its name (?filename=data.csv) or its Content-Type."


def empty_file(pointer: str) -> EmptyFileError:
    """The error for a file without a byte."""
    return EmptyFileError(
        "The file is empty.", errors=[{"pointer": pointer, "detail": "It has no bytes."}]
    )
