"""The way in: a stream cut into parts, at most three of them in flight.

aioboto3's `upload_fileobj` queues up to 100 parts (969 MB for a stream of 1 GiB) and leaves the
multipart upload and its tasks behind when it is cancelled; hence our own.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections import deque
from typing import TYPE_CHECKING, Any

from fileproc.crashpoints import crash_point
from fileproc.errors import TooLargeError
from fileproc.objects.border import border
from fileproc.objects.patience import see_through
from fileproc.objects.port import Stored

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator

    from types_aiobotocore_s3 import S3Client

MIB = 1024 * 1024
PART_BYTES = 8 * MIB
HASH_SLICE_BYTES = MIB  # about 1 ms: the event loop is nobody's for longer than that
PARTS_IN_FLIGHT = 3
MAX_PARTS = 10_000


class Parts:
    """Cuts a stream into bodies of 8 MiB, counting and hashing what passes."""

    def __init__(self, chunks: AsyncIterable[bytes]) -> None:
        self._chunks = aiter(chunks)
        self._rest = memoryview(b"")
        self._digest = hashlib.sha256()
        self._size = 0
        self.ended = False

    @property
    def stored(self) -> Stored:
        """What has passed so far."""
        return Stored(self._size, self._digest.hexdigest())

    async def __aiter__(self) -> AsyncIterator[io.BytesIO]:
        while not self.ended:
            yield await self.take()

    async def take(self) -> io.BytesIO:
        """The next part, rewound; it is the last one, and may be short or empty, if `ended`.

        To know that a full part is not the last it waits for one chunk more.
        """
        body = _room_for_a_part() if self._size > PART_BYTES else io.BytesIO()
        while await self._more() and (room := PART_BYTES - body.tell()):
            body.write(self._rest[:room])
            self._rest = self._rest[room:]
        body.truncate()
        body.seek(0)
        return body

    async def _more(self) -> bool:
        while not self._rest and not self.ended:
            try:
                chunk = await anext(self._chunks)
            except StopAsyncIteration:
                self.ended = True
            else:
                self._rest = memoryview(chunk)
                await self._hash(self._rest)
        return not self.ended

    async def _hash(self, chunk: memoryview) -> None:
        self._size += len(chunk)
        self._digest.update(chunk[:HASH_SLICE_BYTES])
        for start in range(HASH_SLICE_BYTES, len(chunk), HASH_SLICE_BYTES):
            await asyncio.sleep(0)
            self._digest.update(chunk[start : start + HASH_SLICE_BYTES])


def _room_for_a_part() -> io.BytesIO:
    """All of it at once: growing bit by bit it ends larger, and in pieces (9 MiB at the peak)."""
    body = io.BytesIO()
    body.seek(PART_BYTES - 1)
    body.write(b"\0")
    body.seek(0)
    return body


class Multipart:
    """One multipart upload. Begun, it ends by `complete`, or by `halt` and `abort`."""

    def __init__(
        self, client: S3Client, target: dict[str, Any], flights: asyncio.Semaphore
    ) -> None:
        self._client = client
        self._target = target  # {"Bucket": ..., "Key": ...}
        self._flights = flights  # of all uploads of this process
        self._upload_id: str | None = None
        self._flying: deque[asyncio.Task[None]] = deque()
        self._etags: dict[int, str] = {}
        self._sent = 0

    async def begin(self, headers: dict[str, Any]) -> None:
        # Seen through: an upload whose id we never learnt could not be aborted.
        await see_through(self._begin(headers))

    async def _begin(self, headers: dict[str, Any]) -> None:
        with border("create_multipart_upload"):
            reply = await self._client.create_multipart_upload(**self._target, **headers)
        self._upload_id = reply["UploadId"]
        crash_point("upload-begun")

    async def send(self, body: io.BytesIO) -> None:
        """Let a part fly; waits while three are in flight. Raises what befell an earlier one."""
        if self._sent == MAX_PARTS:
            limit = MAX_PARTS * PART_BYTES
            raise TooLargeError(f"An object can have at most {limit} bytes.", limit=limit)
        while len(self._flying) >= PARTS_IN_FLIGHT:
            await self._land()
        await self._flights.acquire()
        self._sent += 1
        part = asyncio.create_task(self._fly(self._sent, body))
        # Not by the task itself: one that is cancelled before its first step runs nothing at all.
        part.add_done_callback(lambda _: self._flights.release())
        self._flying.append(part)

    async def _fly(self, number: int, body: io.BytesIO) -> None:
        with border("upload_part"):
            reply = await self._client.upload_part(
                **self._target, UploadId=self._id, PartNumber=number, Body=body
            )
        self._etags[number] = reply["ETag"]
        crash_point("upload-part")

    async def _land(self) -> None:
        # The oldest, not any: `rclone serve s3` lets the request that writes to its disk write
        # what others bring meanwhile, too, and answers it when nothing more has come. With two
        # others always under way that is the upload's end: beyond every timeout.
        await asyncio.wait({self._flying[0]})
        self._flying[0].result()  # raises; the task stays in the line, for `halt`
        self._flying.popleft()

    async def complete(self) -> None:
        while self._flying:
            await self._land()
        # Seen through: cut off in the middle it might win against our `abort`.
        await see_through(self._complete())

    async def _complete(self) -> None:
        parts: Any = [
            {"PartNumber": number, "ETag": etag} for number, etag in sorted(self._etags.items())
        ]
        crash_point("upload-parts")
        with border("complete_multipart_upload"):
            await self._client.complete_multipart_upload(
                **self._target, UploadId=self._id, MultipartUpload={"Parts": parts}
            )

    async def halt(self) -> None:
        """Stop the parts in flight, and return when none is."""
        for task in self._flying:
            task.cancel()
        await asyncio.gather(*self._flying, return_exceptions=True)

    async def abort(self) -> None:
        """Let the storage forget the upload, if it was begun."""
        if self._upload_id is not None:
            with border("abort_multipart_upload"):
                await self._client.abort_multipart_upload(**self._target, UploadId=self._id)

    @property
    def _id(self) -> str:
        if self._upload_id is None:
            raise AssertionError
        return self._upload_id
