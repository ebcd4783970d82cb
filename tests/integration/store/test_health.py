"""What the store says of itself, as the server is set up."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from fileproc.dev.engines import Valkey
from fileproc.dev.processes import free_port
from fileproc.store import Heartbeat, JobFilter, Settlement, Store, StoreHealth, open_store
from fileproc.store import health as module
from fileproc.store.connection import Pipeline, connect
from fileproc.store.health import Health, _version
from fileproc.store.keys import Keys
from support.clock import step_clock
from support.jobs import PROBLEM, make_job, make_result
from support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fileproc.settings import Settings
    from support.books import Books


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A server whose settings may be changed."""
    engine = Valkey(tmp_path_factory.mktemp("own"))
    engine.start()
    yield engine
    engine.stop()


async def test_server_that_keeps_what_it_acknowledges_is_durable(store: Store) -> None:
    health = await store.health()
    assert (health.reachable, health.durable, health.scripts_ok) == (True, True, True)
    assert (health.appendonly, health.appendfsync) == (True, "always")
    assert health.maxmemory_policy == "noeviction"
    assert health.version.startswith(("valkey ", "redis "))
    assert health.version.split()[1][0].isdigit()
    assert health.warnings == []


@pytest.mark.parametrize(
    ("name", "value", "usual"),
    [
        ("appendfsync", "everysec", "always"),
        ("appendonly", "no", "yes"),
        ("maxmemory-policy", "allkeys-lru", "noeviction"),
    ],
)
async def test_setting_that_loses_jobs_is_named(
    settings: Settings, own: Valkey, name: str, value: str, usual: str
) -> None:
    there = settings.model_copy(update={"redis_url": type(settings.redis_url)(own.url)})
    async with open_store(there) as store:
        await store.pipeline.command("CONFIG", "SET", name, value)
        health = await store.health()
        await store.pipeline.command("CONFIG", "SET", name, usual)

        async def written() -> bool:  # a server that writes its first file refuses to stop
            info = await store.pipeline.command("INFO", "persistence")
            return not (info["aof_rewrite_in_progress"] or info["aof_rewrite_scheduled"])

        await eventually(written)
    assert (health.reachable, health.durable) == (True, False)
    (said,) = health.warnings
    assert said.startswith(f"{name} is {value}")
    assert said.endswith(".")


async def test_server_that_hides_its_settings_counts_as_not_durable(
    store: Store, settings: Settings
) -> None:
    guest = f"guest-{settings.s3_bucket}"
    acl = partial(store.pipeline.command, "ACL")
    await acl("SETUSER", guest, "on", ">p", "~*", "&*", "+@all", "-config")
    where = settings.redis_url.get_secret_value().rpartition("@")[2].removeprefix("redis://")
    there = settings.model_copy(update={"redis_url": SecretStr(f"redis://{guest}:p@{where}")})
    async with open_store(there) as other:
        health = await other.health()
    await acl("DELUSER", guest)
    assert (health.reachable, health.durable, health.scripts_ok) == (True, False, True)
    assert (health.appendonly, health.appendfsync) == (False, "unknown")
    assert health.maxmemory_policy == "unknown"
    assert len(health.warnings) == 1


async def test_nothing_is_claimed_of_a_server_that_is_away() -> None:
    nowhere = f"redis://127.0.0.1:{free_port('127.0.0.1')}/0"
    pipeline = Pipeline(connect(nowhere, retries=0), "{away}:")
    health = await Health(pipeline, Keys("{away}:")).check()
    await pipeline.close()
    (said,) = health.warnings
    assert "cannot be reached" in said
    assert health == StoreHealth(
        reachable=False,
        version="",
        appendonly=False,
        appendfsync="unknown",
        maxmemory_policy="unknown",
        durable=False,
        scripts_ok=False,
        warnings=[said],
    )


@pytest.mark.parametrize("protocol", [2, 3])
async def test_store_speaks_either_protocol(settings: Settings, protocol: int) -> None:
    url = SecretStr(f"{settings.redis_url.get_secret_value()}?protocol={protocol}")
    async with open_store(settings.model_copy(update={"redis_url": url})) as store:
        ids = [await store.jobs.accept(make_job()) for _ in range(3)]
        assert (await store.health()).durable
        page = await store.jobs.list("acme", JobFilter(), limit=2)
        rest = await store.jobs.list("acme", JobFilter(), cursor=page.next_cursor)
        assert {job.id for job in (*page.jobs, *rest.jobs)} == set(ids)
        assert len(await store.journal.unshipped()) == 3
        last = await store.feed._read("0-0")
        with store.feed.watch(ids[0]) as watch:
            await store.jobs.cancel("acme", ids[0])
            await store.feed._read(last)
            assert await watch.wait(0.01)


async def test_numbers_say_where_the_jobs_stand(store: Store) -> None:
    for _ in range(20):
        await store.jobs.accept(make_job())
    await store.jobs.accept(make_job(lane="heavy"))
    done, late, running = await store.queue.claim("default", 0, 3, store.queue.next_call())
    await store.queue.settle(Settlement.complete(done, make_result(done)))
    await store.queue.settle(Settlement.retry(late, PROBLEM, 3600, make_result(late).prefix))
    stats = await store.queue_stats()
    assert stats == {
        "default": {"ready": 16, "waiting": 1, "paused": 0},
        "heavy": {"ready": 1, "waiting": 0, "paused": 0},
        "all": {"running": 1, "delayed": 1, "finished": 1, "trash": 1, "events": 24},
    }
    await store.queue.settle(Settlement.release(running))


async def test_workers_that_are_alive_are_listed_with_what_they_say(
    settings: Settings, store: Store, books: Books
) -> None:
    for name, about in (("wrk_a", '{"slots": 2}'), ("wrk_b", "")):
        heart = Heartbeat(
            *(settings.redis_url.get_secret_value(), settings.redis_prefix),
            worker=name,
            lanes="default heavy",
            lease_s=10,
            beat_s=1,
            leases=dict,
            learned=lambda *_: None,
            about=lambda about=about: about,  # type: ignore[misc]  # bound now
        )
        await asyncio.to_thread(heart.beat)
    found = {worker["id"]: worker for worker in await store.status.workers()}
    assert found["wrk_a"] == {"id": "wrk_a", "lanes": "default heavy", "about": '{"slots": 2}'}
    assert json.loads(found["wrk_b"]["about"]) == {}
    step_clock(books.redis, books.prefix, 60_000)
    assert await store.status.workers() == []


async def test_only_so_many_workers_are_listed(
    store: Store, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_LISTED", 2)
    alive = books.look().now_ms + 60_000
    books.redis.zadd(books.key("workers"), {f"wrk_{n}": alive + n for n in range(3)})
    assert await store.status.workers() == [
        {"id": f"wrk_{n}", "lanes": "", "about": "{}"} for n in range(2)
    ]


@pytest.mark.parametrize(
    ("info", "version"),
    [
        ({"redis_version": "7.2.4", "valkey_version": "9.1.2"}, "valkey 9.1.2"),
        ({"redis_version": "7.0.15"}, "redis 7.0.15"),
        ({}, "redis unknown"),
    ],
)
def test_version_names_what_runs_there(info: dict[str, str], version: str) -> None:
    assert _version(info) == version
