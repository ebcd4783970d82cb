"""Buckets of others, by the connections that the operator has made."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fileproc.connections import Connection, parse_connections, place_of
from fileproc.errors import UrlNotAllowedError
from fileproc.objects.s3 import Clients, S3ObjectStore, bordered, open_clients
from fileproc.settings import Settings


class _Bucket(S3ObjectStore):
    """Keys are those of others, below a prefix."""

    def __init__(self, clients: Clients, settings: Settings, prefix: str) -> None:
        super().__init__(clients, settings)
        self._prefix = prefix

    def _target(self, key: str) -> dict[str, Any]:
        return {"Bucket": self._bucket, "Key": self._prefix + key}

    async def found(self, prefix: str) -> AsyncGenerator[Found]:
        """All objects below a prefix, in the order of their keys."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix + prefix
        )
        async for page in bordered(pages, "list_objects_v2"):
            for listed in page.get("Contents", []):
                key = listed["Key"].removeprefix(self._prefix)
                # Not every server has ETags; what is written anew differs in one of the two.
                mark = listed.get("ETag") or f"{listed['LastModified']} {listed['Size']}"
                yield Found(key, mark.strip('"'))


@dataclass(frozen=True, slots=True)
class Found:
    """An object as listed; `mark` changes with its content."""

    key: str
    mark: str


@dataclass(frozen=True, slots=True)
class Connections:
    """What `s3://<connection>/<key>` leads to."""

    _known: dict[str, Connection]
    _buckets: dict[str, _Bucket]

    def stream(self, owner: str, url: str) -> AsyncGenerator[bytes]:
        """The object's bytes.

        Raises:
            UrlNotAllowedError: the owner may not read there.
            ObjectMissingError, StorageUnavailableError: at the first step.
        """
        bucket, key = self._place(owner, url, write=False)
        return bucket.stream(key)

    async def put(
        self, owner: str, url: str, chunks: AsyncIterable[bytes], *, content_type: str
    ) -> None:
        """Store an object, over what is there.

        Raises:
            UrlNotAllowedError: the owner may not write there.
            StorageUnavailableError, InsufficientStorageError: the storage.
        """
        bucket, key = self._place(owner, url, write=True)
        await bucket.put_stream(key, chunks, content_type=content_type, shared=True)

    def list(self, owner: str, url: str) -> AsyncGenerator[Found]:
        """The objects whose keys begin as that of the URL; their keys are whole.

        Raises:
            UrlNotAllowedError: the owner may not read there.
            ObjectMissingError, StorageUnavailableError: at any step.
        """
        bucket, key = self._place(owner, url, write=False)
        return bucket.found(key)

    def check(self, owner: str, url: str, *, write: bool) -> None:
        """Raises UrlNotAllowedError if the owner may not use that."""
        self._place(owner, url, write=write)

    def _place(self, owner: str, url: str, *, write: bool) -> tuple[_Bucket, str]:
        name, key = place_of(url)
        connection = self._known.get(name)
        if connection is None or not connection.permits(owner, write=write):
            raise UrlNotAllowedError(f"There is no connection {name!r} that may be used so.")
        return self._buckets[name], key


@asynccontextmanager
async def open_connections(settings: Settings) -> AsyncIterator[Connections]:
    """A client for each; nothing is asked of them yet."""
    given = settings.connections
    known = parse_connections(given.get_secret_value() if given else "")
    async with AsyncExitStack() as stack:
        buckets = {}
        for name, connection in known.items():
            theirs = settings.model_copy(
                update={
                    "s3_endpoint": connection.endpoint,
                    "s3_region": connection.region,
                    "s3_bucket": connection.bucket,
                    "s3_addressing": connection.addressing,
                    "s3_access_key_id": connection.access_key_id,
                    "s3_secret_access_key": connection.secret_access_key,
                    "s3_sse": None,
                    "s3_public_endpoint": None,
                }
            )
            clients = await stack.enter_async_context(open_clients(theirs))
            buckets[name] = _Bucket(clients, theirs, connection.prefix)
        yield Connections(known, buckets)
