"""A storage, a way to look behind it, and a cable that can be cut."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from fileproc.dev.engines import S3Server
from fileproc.objects import S3ObjectStore, file_key, open_object_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from fileproc.settings import Settings


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[S3Server]:
    """A server that a test may take down."""
    server = S3Server(tmp_path / "s3")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def key() -> str:
    return file_key("file_under_test")


class Books:
    """What the storage really holds; asked of S3 itself, past the code under test."""

    def __init__(self, objects: S3ObjectStore) -> None:
        self._client: Any = objects._client
        self._bucket = objects._bucket

    async def keys(self) -> list[str]:
        reply = await self._client.list_objects_v2(Bucket=self._bucket)
        return [found["Key"] for found in reply.get("Contents", [])]

    async def uploads(self) -> list[str]:
        try:
            reply = await self._client.list_multipart_uploads(Bucket=self._bucket)
        except self._client.exceptions.NoSuchUpload:  # rclone's way to say that there is none
            return []
        return [found["Key"] for found in reply.get("Uploads", [])]

    async def begin_upload(self, key: str) -> None:
        await self._client.create_multipart_upload(Bucket=self._bucket, Key=key)

    async def overwrite(self, key: str, data: bytes) -> None:
        await self._client.put_object(Bucket=self._bucket, Key=key, Body=data)


@pytest.fixture
def books(objects: S3ObjectStore) -> Books:
    return Books(objects)


class Cable:
    """A TCP relay to the storage. It cuts the next `cuts` answers longer than 1 MiB after 1 MiB."""

    def __init__(self, endpoint: str) -> None:
        host, _, port = endpoint.removeprefix("http://").partition(":")
        self._upstream = (host, int(port))
        self.endpoint = ""
        self.cuts = 0

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self._upstream)
        pumps = [
            asyncio.create_task(self._pump(reader, back, cut=False)),
            asyncio.create_task(self._pump(there, writer, cut=True)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in (writer, back):
                end.transport.abort()  # a close would wait until everything is read
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, cut: bool
    ) -> None:
        passed = 0
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
            passed += len(data)
            if cut and self.cuts and passed > 1024 * 1024:
                self.cuts -= 1
                return

    @asynccontextmanager
    async def plugged_in(self) -> AsyncIterator[None]:
        relays: set[asyncio.Task[None]] = set()

        def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            relays.add(asyncio.create_task(self._relay(reader, writer)))

        server = await asyncio.start_server(relay, "127.0.0.1", 0)
        self.endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield
        finally:
            server.close()
            for task in relays:
                task.cancel()
            await asyncio.gather(*relays, return_exceptions=True)
            await asyncio.sleep(0)  # aborted sockets are closed a turn later


@pytest.fixture
async def cable(s3_server: S3Server) -> AsyncIterator[Cable]:
    cable = Cable(s3_server.endpoint)
    async with cable.plugged_in():
        yield cable


@pytest.fixture
async def far_objects(
    settings: Settings, objects: S3ObjectStore, cable: Cable
) -> AsyncIterator[S3ObjectStore]:
    """The storage of `objects` at the other end of `cable`."""
    del objects  # made the bucket
    far = settings.model_copy(update={"s3_endpoint": cable.endpoint})
    async with open_object_store(far) as opened:
        yield opened
