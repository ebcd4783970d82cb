"""The port: what the roles need of an object storage, and no more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
    from datetime import datetime
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Stored:
    """What arrived: `size` in bytes, `sha256` in lower-case hex."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object as listed; `modified` and `age_s` (seconds) are by the storage's own clock."""

    key: str
    size: int
    modified: datetime
    age_s: float


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A PUT that needs no key. `headers` are signed: they must be sent as they are."""

    url: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Part:
    """A part that the storage has, of a multipart upload."""

    number: int
    size: int
    etag: str


class DirectUploads(Protocol):
    """Uploads that take several requests, by clients themselves or through us.

    Every method raises as those of `ObjectStore`; those that name an upload raise
    ObjectMissingError where the storage does not know it (any more).
    """

    async def presign_put(
        self, key: str, *, size: int, content_type: str, sha256: str | None, ttl_s: int
    ) -> SignedRequest:
        """A PUT of one object of exactly this size and type, at the public endpoint.

        With `sha256` (hex) a storage that checks it takes no other content.
        """

    async def presign_part(
        self, key: str, upload_id: str, number: int, *, size: int, ttl_s: int
    ) -> SignedRequest:
        """A PUT of one part (from 1) of exactly this size."""

    async def begin(self, key: str, *, content_type: str) -> str:
        """Begin a multipart upload; returns its id. The sweep aborts what is never completed."""

    async def put_part(self, key: str, upload_id: str, number: int, body: bytes) -> str:
        """Store a part, of at least 5 MiB unless it is the last; returns its ETag."""

    async def parts(self, key: str, upload_id: str) -> list[Part]:
        """The parts that are there, by number."""

    async def complete(self, key: str, upload_id: str, etags: Sequence[str]) -> None:
        """Make the object of the parts 1, 2, ... with these ETags."""

    async def abort(self, key: str, upload_id: str) -> None:
        """Forget the upload and its parts; one that is gone is fine."""

    async def size_of(self, key: str) -> int:
        """Size of an object in bytes.

        Raises:
            ObjectMissingError: there is no such object.
        """


class ObjectStore(Protocol):
    """Objects under keys of our own (see `keys.py`); an object is whole or not there.

    Every method raises StorageUnavailableError when the storage cannot be reached or refuses,
    and ValueError for a key or prefix that is not ours.

    Attributes:
        direct: uploads that take several requests.
    """

    @property
    def direct(self) -> DirectUploads: ...

    async def put_stream(
        self, key: str, chunks: AsyncIterable[bytes], *, content_type: str, shared: bool = False
    ) -> Stored:
        """Store what `chunks` yields, in flat memory: 8 MiB filling and at most 24 in flight.

        `shared`: others may store the same under this key, so an error leaves what is there.

        What `chunks` raises comes out unchanged. After any error, and after a cancel, neither the
        object nor a part of it is left (unless the storage is gone: then `abort_uploads` and the
        sweep of orphans find it). A cancel takes effect after that, within a few seconds.

        Raises:
            InsufficientStorageError: there is no room.
            TooLargeError: more than 10,000 parts, 78 GiB.
        """

    async def put_file(
        self, key: str, path: Path, *, content_type: str, shared: bool = False
    ) -> Stored:
        """Store a file, as `put_stream` does; raises also JobError if `path` is no regular file."""

    async def get_file(self, key: str, path: Path, *, size: int, sha256: str) -> None:
        """Fetch an object to `path`, which is there afterwards only if it is what it should be.

        Raises:
            ObjectMissingError: there is no such object.
            JobError: twice it was not what was stored (`input_changed`, permanent).
            OutOfResources: the disk of `path` is full (`scratch_full`).
        """

    def stream(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from `start` up to, not including, `end` (None: the object's end).

        Raises (at the first step):
            ObjectMissingError: there is no such object.
        """

    async def presign_get(
        self, key: str, *, name: str, content_type: str, ttl_s: int, inline: bool = False
    ) -> str:
        """A URL at the public endpoint that answers GET for `ttl_s` seconds, without any other key.

        It fixes the type and the name the client sees. `inline` is heeded for types that cannot
        run scripts. Pure computation, about 0.1 ms.
        """

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete at most 1,000 objects; what is not there is fine."""

    async def delete_prefix(self, prefix: str) -> int:
        """Delete everything below; returns how many there were."""

    def list(self, prefix: str, *, start_after: str = "") -> AsyncIterator[ObjectInfo]:
        """All objects below, in the order of their keys, `start_after` excluded."""

    async def abort_uploads(
        self, *, older_than_s: float, wanted: Callable[[str], Awaitable[bool]] | None = None
    ) -> int:
        """Abort multipart uploads begun longer ago; returns how many.

        One is left alone if it is `wanted`, by the key of its object.
        """

    async def check(self) -> None:
        """Return within 3 s if the bucket answers; else raise StorageUnavailableError."""

    async def ensure_bucket(self) -> None:
        """Make the bucket unless it is there."""
