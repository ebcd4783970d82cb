"""The api as a server on loopback, over the real store and the real storage."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from fileproc.api import make_app
from fileproc.objects import open_connections
from fileproc.outbound import open_outbound
from fileproc.resources import Resources
from fileproc.store import open_store
from support.books import Books
from support.http import Hands

if TYPE_CHECKING:
    from fileproc.objects import ObjectStore
    from fileproc.settings import Settings
    from fileproc.store import Store

Client = TestClient[Any, Any]
Serve = Callable[..., Awaitable[Client]]


@pytest.fixture(autouse=True)
def _balanced(books: Books) -> None:
    """The books are checked after every test here."""
    del books


@pytest.fixture
async def serve(settings: Settings, objects: ObjectStore) -> AsyncIterator[Serve]:
    """Starts an api whose settings differ by the keywords given; redirects are not followed."""
    clients: list[Client] = []

    @asynccontextmanager
    async def opener(chosen: Settings) -> AsyncIterator[Resources]:
        # The storage is shared: it is slow to open.
        async with (
            open_store(chosen) as store,
            open_outbound(chosen) as outbound,
            open_connections(chosen) as connections,
        ):
            yield Resources(chosen, store, objects, outbound, connections)

    async def start(**others: Any) -> Client:
        app = make_app(settings.model_copy(update=others), opener)
        client: Client = TestClient(TestServer(app))
        await client.start_server()
        clients.append(client)
        return client

    yield start
    for client in clients:
        await client.close()


@pytest.fixture
async def api(serve: Serve) -> Client:
    return await serve()


@pytest.fixture
def hands(store: Store, objects: ObjectStore) -> Hands:
    return Hands(store, objects)
