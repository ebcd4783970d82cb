"""What both roles need, opened and closed in one place."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass

from fileproc.objects import (
    Connections,
    ObjectStore,
    journal_root,
    open_connections,
    open_object_store,
)
from fileproc.outbound import Outbound, open_outbound
from fileproc.settings import Settings
from fileproc.store import Store, open_store


@dataclass(frozen=True, slots=True)
class Resources:
    settings: Settings
    store: Store
    objects: ObjectStore
    outbound: Outbound
    connections: Connections


@asynccontextmanager
async def open_resources(
    settings: Settings, *, worker: str | None = None
) -> AsyncIterator[Resources]:
    """Open the store and the object storage. Neither needs to be reachable yet."""
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_store(settings, worker=worker))
        objects = await stack.enter_async_context(open_object_store(settings))
        outbound = await stack.enter_async_context(open_outbound(settings))
        connections = await stack.enter_async_context(open_connections(settings))
        yield Resources(settings, store, objects, outbound, connections)


async def in_use(resources: Resources) -> bool:
    """Whether the store is in use; one that is new is marked so.

    False: it is empty, and the journal is not. It has lost everything, and nothing is accepted
    before it is built again.

    Raises:
        StoreUnavailableError, StorageUnavailableError: it cannot be told.
    """
    if not await resources.store.journal.empty():
        return True
    async with aclosing(resources.objects.list(journal_root())) as known:  # type: ignore[type-var] # a generator in truth
        async for _ in known:
            return False
    await resources.store.ensure_schema()
    return True
