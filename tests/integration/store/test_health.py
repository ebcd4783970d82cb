"""What the store says of itself, as the server is set up."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from fileproc.dev.engines import Valkey
from fileproc.store import Heartbeat, Settlement, Store, open_store
from fileproc.store.health import _version
from support.clock import step_clock
from support.jobs import PROBLEM, make_job, make_result

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
    assert (health.reachable, health.durable) == (True, False)
    (said,) = health.warnings
    assert said.startswith(f"{name} is {value}")
    assert said.endswith(".")


async def test_server_that_hides_its_settings_counts_as_not_durable(
    settings: Settings, own: Valkey
) -> None:
    there = settings.model_copy(update={"redis_url": type(settings.redis_url)(own.url)})
    async with open_store(there) as store:
        await store.pipeline.command("ACL", "SETUSER", "guest", "on", ">p", "~*", "&*", "+@all")
        await store.pipeline.command("ACL", "SETUSER", "guest", "-config")
    url = f"redis://guest:p@127.0.0.1:{own.port}/0"
    async with open_store(
        there.model_copy(update={"redis_url": type(settings.redis_url)(url)})
    ) as s:
        health = await s.health()
    assert (health.reachable, health.durable, health.scripts_ok) == (True, False, True)
    assert (health.appendfsync, health.maxmemory_policy) == ("unknown", "unknown")
    assert len(health.warnings) == 1


async def test_numbers_say_where_the_jobs_stand(store: Store) -> None:
    for _ in range(20):
        await store.jobs.accept(make_job())
    await store.jobs.accept(make_job(lane="heavy"))
    done, late, running = await store.queue.claim("default", 0, 3, store.queue.next_call())
    await store.queue.settle(Settlement.complete(done, make_result(done)))
    await store.queue.settle(Settlement.retry(late, PROBLEM, 3600, make_result(late).prefix))
    stats = await store.queue_stats()
    assert stats == {
        "default": {"ready": 16, "owners_waiting": 1},
        "heavy": {"ready": 1, "owners_waiting": 0},
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


@pytest.mark.parametrize(
    ("info", "version"),
    [
        ({"redis_version": "7.2.4", "valkey_version": "9.1.2"}, "valkey 9.1.2"),
        ({"redis_version": "7.0.15"}, "redis 7.0.15"),
        ("# Server\r\nredis_version:6.2.1\r\nos:x\r\n", "redis 6.2.1"),
        ("redis_version:7.2.4\r\nvalkey_version:8.0.0", "valkey 8.0.0"),
        ({}, "redis unknown"),
    ],
)
def test_version_is_read_from_either_form_of_the_reply(
    info: str | dict[str, str], version: str
) -> None:
    assert _version(info) == version
