"""A Redis that fills up takes no new job, and lets those finish that it has."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from pydantic import SecretStr
from redis import Redis

from fileproc.dev.engines import Valkey
from fileproc.errors import BacklogError
from fileproc.settings import Settings
from fileproc.store import Settlement, Store, Verdict, open_store
from support.jobs import make_file, make_job, make_result


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A server whose memory may be limited.

    It holds 32 MB from the start: what is left of a limit then has room for a few connections.
    """
    engine = Valkey(tmp_path_factory.mktemp("small"))
    engine.start()
    with Redis.from_url(engine.url) as client:
        client.set("ballast", bytes(32 << 20))
    yield engine
    engine.stop()


@pytest.fixture
async def small(own: Valkey, settings: Settings) -> AsyncIterator[Store]:
    there = settings.model_copy(update={"redis_url": SecretStr(own.url), "redis_reserve": 0.25})
    async with open_store(there) as store:
        await store.ensure_schema()
        yield store
        await store.pipeline.command("CONFIG", "SET", "maxmemory", 0)


async def fill(store: Store, share: float) -> None:
    """Limit the memory so that this share of it is in use."""
    used = int((await store.pipeline.command("INFO", "memory"))["used_memory"])
    await store.pipeline.command("CONFIG", "SET", "maxmemory", int(used / share))
    store.jobs._reserve._next = 0.0  # look now, not in a second


async def test_new_jobs_are_refused_while_running_ones_finish(small: Store) -> None:
    await small.jobs.accept(make_job())
    (lease,) = await small.queue.claim("default", 0, 1, small.queue.next_call())
    await fill(small, 0.8)
    with pytest.raises(BacklogError, match="kept for jobs") as refused:
        await small.jobs.accept(make_job())
    assert refused.value.retry_after_s
    with pytest.raises(BacklogError, match="kept for jobs"):
        await small.files.put("acme", make_file(), 3600)
    done = await small.queue.settle(Settlement.complete(lease, make_result(lease)))
    assert done is Verdict.DONE


async def test_jobs_are_taken_again_when_there_is_room(small: Store) -> None:
    await fill(small, 0.8)
    with pytest.raises(BacklogError):
        await small.jobs.accept(make_job())
    await fill(small, 0.5)
    assert await small.jobs.accept(make_job())


async def test_memory_is_looked_at_once_a_second(
    small: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = small.pipeline._round_trip
    sent: list[str] = []

    async def seen(commands: list[tuple[Any, ...]]) -> list[Any]:
        sent.extend(command[0] for command in commands)
        return await real(commands)

    monkeypatch.setattr(small.pipeline, "_round_trip", seen)
    monkeypatch.setattr("fileproc.store.reserve.LOOK_S", 3600)
    for _ in range(3):
        await small.jobs.accept(make_job())
    assert sent.count("INFO") == 1
    small.jobs._reserve._next = 0.0
    await small.jobs.accept(make_job())
    assert sent.count("INFO") == 2


async def test_without_a_limit_there_is_nothing_to_keep(small: Store) -> None:
    assert await small.jobs.accept(make_job())
    assert small.jobs._reserve._most == 0


async def test_server_that_tells_nothing_of_its_memory_takes_jobs(
    small: Store, own: Valkey, settings: Settings
) -> None:
    await fill(small, 0.8)
    await small.pipeline.command("ACL", "SETUSER", "mute", "on", ">p", "~*", "&*", "+@all", "-info")
    url = SecretStr(f"redis://mute:p@127.0.0.1:{own.port}/0")
    async with open_store(
        settings.model_copy(update={"redis_url": url, "redis_reserve": 0.25})
    ) as store:
        assert await store.jobs.accept(make_job())
