"""Losses of the store, and what others do meanwhile."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from fileproc.errors import StorageUnavailableError
from fileproc.objects import S3ObjectStore
from fileproc.store import Lease, Settlement, Store
from fileproc.worker.shipper import Shipper
from support.jobs import make_job, make_result

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fileproc.resources import Resources
    from support.books import Books


async def take(store: Store, free: int = 1) -> list[Lease]:
    return await store.queue.claim("default", 0, free, store.queue.next_call())


async def leased(store: Store) -> Lease:
    await store.jobs.accept(make_job())
    (lease,) = await take(store)
    return lease


async def shipped_jobs(resources: Resources, shipper: Shipper, number: int) -> None:
    """So many jobs, each in a batch of its own."""
    for _ in range(number):
        await resources.store.jobs.accept(make_job())
        await shipper.ship()


def copied(books: Books) -> dict[str, bytes]:
    """What a replica has that is cut off now."""
    return {key: books.redis.dump(key) for key in books.redis.scan_iter(books.key("*"))}


def promote(books: Books, before: dict[str, bytes]) -> None:
    books.wipe()
    for key, value in before.items():
        books.redis.restore(key, 0, value)


async def store_object(resources: Resources, key: str, body: bytes = b"x") -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield body

    await resources.objects.put_stream(key, chunks(), content_type="text/plain")


async def keys_below(resources: Resources, prefix: str) -> list[str]:
    return [entry.key async for entry in resources.objects.list(prefix)]


async def completed(resources: Resources, lease: Lease, prefix: str | None = None) -> str:
    """Settle with one output that is there; returns its key."""
    result = make_result(lease)
    if prefix:
        result = result.model_copy(update={"prefix": prefix})
    await store_object(resources, f"{result.prefix}0")
    await resources.store.queue.settle(Settlement.complete(lease, result))
    return f"{result.prefix}0"


class SlowPut:
    """The next put of this worker hangs until it is told how to end."""

    def __init__(self, resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
        assert isinstance(resources.objects, S3ObjectStore)
        self._real = resources.objects._put
        self._begun, self._go_on = asyncio.Event(), asyncio.Event()
        self._error: Exception | None = None
        monkeypatch.setattr(resources.objects, "_put", self._put)

    async def _put(self, **request: Any) -> None:
        self._begun.set()
        await self._go_on.wait()
        if self._error:
            raise self._error
        await self._real(**request)

    async def ends(self, late: asyncio.Task[int], *, how: str) -> None:
        """By an error of the storage, or because the worker is stopped."""
        if how == "503":
            self._error = StorageUnavailableError("503 Slow Down")
        else:
            late.cancel()
            await asyncio.sleep(0)
        self._go_on.set()
        with pytest.raises((StorageUnavailableError, asyncio.CancelledError)):
            await late

    async def begun(self) -> None:
        await self._begun.wait()
