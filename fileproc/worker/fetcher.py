"""The inputs of an attempt, brought to its scratch folder: from the storage, or from URLs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from yarl import URL

from fileproc.connections import SCHEME
from fileproc.errors import (
    BadInput,
    JobError,
    ObjectMissingError,
    StorageUnavailableError,
    UrlNotAllowedError,
)
from fileproc.jobs import Fetched, FileInfo, JobDocument, Source
from fileproc.objects import file_key, removed_on_error, save
from fileproc.operations import Input, Operation, catalogue, clean_name
from fileproc.operations.types import HEAD_BYTES, detect, extension_for_type
from fileproc.outbound import Room, open_download, timed_out
from fileproc.resources import Resources
from fileproc.telemetry import FETCHED, LIMITS_HIT
from fileproc.worker.transfers import TRANSFERS_AT_ONCE, patiently, together


@dataclass(frozen=True, slots=True)
class _Terms:
    """What all sources of an attempt share; `deadline` is by the loop's clock."""

    owner: str
    room: Room
    deadline: float
    operation: Operation | None


class Fetcher:
    def __init__(self, resources: Resources) -> None:
        self._settings = resources.settings
        self._objects = resources.objects
        self._outbound = resources.outbound
        self._connections = resources.connections

    async def fetch(
        self, owner: str, document: JobDocument, folder: Path
    ) -> tuple[list[Input], list[Fetched]]:
        """All inputs in order, and what was found at those that are URLs.

        What comes from the storage is checked against size and digest; of what comes from a URL
        nothing is known before, so it is measured and judged here.

        Raises:
            JobError: one cannot be had, or is not taken.
            ObjectMissingError, StorageUnavailableError: from the storage.
        """
        gate = asyncio.Semaphore(TRANSFERS_AT_ONCE)
        fetched: list[Fetched] = []
        terms = _Terms(
            owner=owner,
            room=Room(self._settings.max_upload_bytes),
            deadline=asyncio.get_running_loop().time() + self._settings.import_timeout_s,
            operation=catalogue(debug=True).get(document.operation),
        )

        async def fetch(place: int, wanted: FileInfo | Source) -> Input:
            path = folder / "in" / str(place)
            async with gate:
                if isinstance(wanted, FileInfo):
                    return await self._stored(wanted, path)
                found = await self._from_source(wanted, path, terms)
            fetched.append(found)
            return Input(path, found.name, found.size, found.sha256, found.type)

        inputs = await together([fetch(*each) for each in enumerate(_in_order(document))])
        return inputs, sorted(fetched, key=lambda found: found.place)

    async def _stored(self, info: FileInfo, path: Path) -> Input:
        await patiently(
            lambda: self._objects.get_file(
                file_key(info.file_id), path, size=info.size, sha256=info.sha256
            )
        )
        return Input(path, info.name, info.size, info.sha256, info.type)

    async def _from_source(self, source: Source, path: Path, terms: _Terms) -> Fetched:
        try:
            async with (
                asyncio.timeout_at(terms.deadline),
                removed_on_error(path),
                self._opened(source.url, terms) as (declared, chunks),
                aclosing(chunks),
            ):
                stored = await save(chunks, path)
        except TimeoutError as exc:
            LIMITS_HIT.labels("import_timeout_s").inc()
            raise timed_out() from exc
        FETCHED.inc(stored.size)
        if not stored.size:
            raise BadInput("The URL answered with an empty file.", code="empty_file")
        head = await asyncio.to_thread(_head_of, path)
        name = source.name or URL(source.url).name
        found = detect(head, name=name, declared=declared, whole=stored.size <= len(head))
        operation = terms.operation
        if operation is not None and not operation.takes(found):  # steps judge for themselves
            accepted = ", ".join(operation.accepts)
            raise BadInput(
                f"The file at the URL is {found}; {operation.name} takes {accepted}.",
                code="type_mismatch",
            )
        return Fetched(
            place=source.place,
            name=clean_name(name, fallback="file" + extension_for_type(found)),
            size=stored.size,
            sha256=stored.sha256,
            type=found,
            declared_type=declared,
        )

    @asynccontextmanager
    async def _opened(
        self, url: str, terms: _Terms
    ) -> AsyncIterator[tuple[str | None, AsyncGenerator[bytes]]]:
        if url.startswith(SCHEME):
            yield None, self._from_connection(url, terms)
            return
        async with open_download(self._outbound, url) as download:
            yield download.declared_type, download.chunks(terms.room)

    async def _from_connection(self, url: str, terms: _Terms) -> AsyncGenerator[bytes]:
        try:
            async with aclosing(self._connections.stream(terms.owner, url)) as chunks:
                async for chunk in chunks:
                    terms.room.take(len(chunk))
                    yield chunk
        except UrlNotAllowedError as exc:  # it is no longer what it was at submission
            raise BadInput(exc.detail, code="url_not_allowed") from exc
        except ObjectMissingError as exc:
            raise BadInput("The connection has no such object.", code="fetch_refused") from exc
        except StorageUnavailableError as exc:
            raise JobError("The connection does not answer.", code="fetch_failed") from exc


def _in_order(document: JobDocument) -> Iterator[FileInfo | Source]:
    by_place = {source.place: source for source in document.sources}
    files = iter(document.inputs)
    for place in range(len(document.inputs) + len(by_place)):
        yield by_place[place] if place in by_place else next(files)


def _head_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)
