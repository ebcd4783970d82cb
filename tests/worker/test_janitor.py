"""One round of the janitor does all that is due, on the real store and storage."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from fileproc.errors import GoneError
from fileproc.jobs import JobState
from fileproc.objects import file_key
from fileproc.store import Heartbeat, Lease, Settlement, Store
from fileproc.worker.janitor import Janitor
from fileproc.worker.shipper import Shipper
from support.books import Books
from support.clock import step_clock
from support.jobs import PROBLEM, make_file, make_job, make_result

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fileproc.resources import Resources
    from fileproc.settings import Settings

LONG_MS = 60_000

pytestmark = pytest.mark.usefixtures("books")


@pytest.fixture
async def janitor(resources: Resources) -> Janitor:
    await resources.store.ensure_schema()
    return Janitor(resources, "test")


async def lease_of(store: Store, **others: Any) -> Lease:
    await store.jobs.accept(make_job(**others))
    (lease,) = await store.queue.claim("default", 0, 1, store.queue.next_call())
    return lease


async def put(resources: Resources, key: str) -> None:
    async def chunk() -> AsyncIterator[bytes]:
        yield b"x"

    await resources.objects.put_stream(key, chunk(), content_type="text/plain")


async def stored(resources: Resources) -> list[str]:
    listed = resources.objects.list
    return [entry.key for root in ("files/", "attempts/") async for entry in listed(root)]


async def test_job_whose_worker_is_silent_is_taken_back(
    resources: Resources, janitor: Janitor, books: Books
) -> None:
    lease = await lease_of(resources.store)
    await janitor.round()
    assert (await resources.store.jobs.get(None, lease.job_id)).state is JobState.RUNNING
    step_clock(books.redis, books.prefix, LONG_MS)
    await janitor.round()
    job = await resources.store.jobs.get(None, lease.job_id)
    assert (job.state, job.attempt) == (JobState.QUEUED, 1)


async def test_popped_job_of_a_silent_worker_is_put_back(
    resources: Resources, janitor: Janitor, settings: Settings, books: Books
) -> None:
    store = resources.store
    heart = Heartbeat(
        *(settings.redis_url.get_secret_value(), settings.redis_prefix),
        worker=store.queue.worker,
        lanes="default",
        lease_s=10,
        beat_s=1,
        leases=dict,
        learned=lambda *_: None,
        about=lambda: "{}",
    )
    await asyncio.to_thread(heart.beat)
    new = make_job()
    await store.jobs.accept(new)
    assert await store.queue.wait("default")
    await janitor.round()
    assert books.look().ready("default") == []
    step_clock(books.redis, books.prefix, LONG_MS)
    await janitor.round()
    assert books.look().ready("default") == [new.id]


async def test_retry_that_is_due_is_queued_and_what_is_over_is_forgotten(
    resources: Resources, janitor: Janitor
) -> None:
    store = resources.store
    again = await lease_of(store)
    await store.queue.settle(Settlement.retry(again, PROBLEM, 0))
    old = await lease_of(store, retention_s=0)
    await store.queue.settle(Settlement.fail(old, PROBLEM))
    await janitor.round()
    assert (await store.jobs.get(None, again.job_id)).state is JobState.QUEUED
    with pytest.raises(GoneError):
        await store.jobs.get(None, old.job_id)


async def test_trash_is_emptied_and_what_is_shown_stays(
    resources: Resources, janitor: Janitor, shipper: Shipper, books: Books
) -> None:
    store, info = resources.store, make_file()
    await put(resources, file_key(info.file_id))
    spoiled = await lease_of(store, new_files=[info])
    shown = await lease_of(store)
    for lease in (spoiled, shown):
        for number in range(2):
            await put(resources, f"{make_result(lease).prefix}{number}")
    await store.queue.settle(Settlement.fail(spoiled, PROBLEM, make_result(spoiled).prefix))
    await store.queue.settle(Settlement.complete(shown, make_result(shown)))
    await store.jobs.delete("acme", spoiled.job_id)
    await shipper.ship()
    assert await janitor.collect() == 2
    assert books.zset("trash") == {}
    assert await stored(resources) == [f"{make_result(shown).prefix}{i}" for i in range(2)]


async def test_what_is_thrown_away_by_name_is_due_at_once(store: Store, books: Books) -> None:
    await store.upkeep.discard("attempts/job_0/1-")
    assert books.zset("trash") == {"attempts/job_0/1-": 0}
    assert await store.upkeep.trash() == ["attempts/job_0/1-"]
    await store.upkeep.trashed([])
    await store.upkeep.trashed(["attempts/job_0/1-"])
    assert await store.upkeep.trash() == []


async def test_time_is_the_servers(store: Store, books: Books) -> None:
    for _ in range(20):
        before, now, after = books.redis.time(), await store.upkeep.now_ms(), books.redis.time()
        assert before[0] * 1000 + before[1] // 1000 <= now <= after[0] * 1000 + after[1] // 1000


async def test_note_of_what_could_not_be_deleted_is_kept(
    resources: Resources,
    janitor: Janitor,
    shipper: Shipper,
    books: Books,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lease = await lease_of(resources.store)
    prefix = make_result(lease).prefix
    await resources.store.queue.settle(Settlement.fail(lease, PROBLEM, prefix))
    await shipper.ship()

    async def broken(_: str) -> int:
        raise RuntimeError

    monkeypatch.setattr(resources.objects, "delete_prefix", broken)
    with pytest.raises(RuntimeError):
        await janitor.collect()
    assert list(books.zset("trash")) == [prefix]


async def test_only_one_of_two_works_and_the_other_takes_over(
    resources: Resources, books: Books
) -> None:
    upkeep = resources.store.upkeep
    assert await upkeep.lock("janitor", "one", 5)
    assert await upkeep.lock("janitor", "one", 5)
    assert not await upkeep.lock("janitor", "two", 5)
    step_clock(books.redis, books.prefix, LONG_MS)
    assert await upkeep.lock("janitor", "two", 5)
    assert await upkeep.lock("sweep", "one", 3600)
    assert 3_590_000 < books.look().lives["lock:sweep"] <= 3_600_000
