"""Dead and silent workers, fairness, pauses."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from fileproc.dev.processes import free_port
from fileproc.jobs import JobState
from fileproc.store import Heartbeat, Lease, Pulse, Settlement, Store, Verdict, open_store
from support.clock import step_clock
from support.jobs import accept_arguments, make_job, make_result
from support.waiting import eventually

if TYPE_CHECKING:
    from fileproc.settings import Settings
    from support.books import Books


async def take(store: Store, free: int = 10, lane: str = "default") -> list[Lease]:
    return await store.queue.claim(lane, 0, free, store.queue.next_call())


def beat(settings: Settings, worker: str, **others: Any) -> Heartbeat:
    given: dict[str, Any] = {
        "worker": worker,
        "lanes": "default heavy",
        "lease_s": settings.lease_s,
        "beat_s": settings.beat_s,
        "leases": dict,
        "learned": lambda *_: None,
        "about": lambda: "{}",
        **others,
    }
    return Heartbeat(settings.redis_url.get_secret_value(), settings.redis_prefix, **given)


def with_lease(settings: Settings, lease_s: float) -> Settings:
    return settings.model_copy(update={"lease_s": lease_s})


async def test_job_of_a_silent_worker_is_taken_over(settings: Settings, books: Books) -> None:
    async with open_store(with_lease(settings, 0.05)) as dead, open_store(settings) as alive:
        new = make_job()
        await dead.jobs.accept(new)
        (lost,) = await take(dead)
        await eventually(alive.upkeep.recover)
        assert books.complaints() == []
        (heir,) = await take(alive)
        assert (heir.job_id, heir.attempt, heir.token) == (new.id, 2, "2")
        zombie = Settlement.complete(lost, make_result(lost))
        assert await dead.queue.settle(zombie) is Verdict.STALE
        trash = books.zset("trash")
        assert f"attempts/{new.id}/1-" in trash


async def test_job_that_loses_its_worker_three_times_fails(
    settings: Settings, books: Books
) -> None:
    async with open_store(with_lease(settings, 0.01)) as store:
        new = make_job(max_attempts=5)
        await store.jobs.accept(new)
        for attempt in (1, 2, 3):
            (lease,) = await take(store)
            assert lease.attempt == attempt
            await eventually(store.upkeep.recover)
        job = await store.jobs.get("acme", new.id)
        assert job.state is JobState.FAILED
        assert job.error is not None
        assert (job.error.code, job.error.attempt) == ("worker_lost", 3)
        assert (job.error.status, job.error.retryable) == (500, True)
        assert '"class":"worker_lost"' in books.jobs()[new.id]["err"]


async def test_lease_that_was_extended_is_not_taken(settings: Settings) -> None:
    async with open_store(with_lease(settings, 0.05)) as store:
        await store.jobs.accept(make_job())
        (lease,) = await take(store)
        heart = beat(settings, store.queue.worker, leases=lambda: {lease.job_id: lease.token})
        await asyncio.to_thread(heart.beat)
        assert await store.upkeep.recover() == 0


async def test_heartbeat_learns_of_cancel_and_of_a_lost_lease(
    store: Store, settings: Settings
) -> None:
    leases: list[Lease] = []
    for _ in range(3):
        await store.jobs.accept(make_job())
    leases = await take(store)
    await store.jobs.cancel("acme", leases[0].job_id)
    await store.queue.settle(Settlement.release(leases[1]))
    learned: dict[str, Pulse] = {}
    heart = beat(
        settings,
        store.queue.worker,
        leases=lambda: {lease.job_id: lease.token for lease in leases},
        learned=lambda job, _, pulse: learned.update({job: pulse}),
    )
    await asyncio.to_thread(heart.beat)
    assert learned == {leases[0].job_id: Pulse.CANCEL, leases[1].job_id: Pulse.LOST}


async def test_heartbeat_tells_the_script_to_a_server_that_forgot_it(
    store: Store, settings: Settings
) -> None:
    await store.jobs.accept(make_job())
    (lease,) = await take(store)
    await store.jobs.cancel("acme", lease.job_id)
    await store.pipeline.command("SCRIPT", "FLUSH")
    learned: list[tuple[str, str, Pulse]] = []
    heart = beat(
        settings,
        store.queue.worker,
        leases=lambda: {lease.job_id: lease.token},
        learned=lambda *told: learned.append(told),
    )
    await asyncio.to_thread(heart.beat)
    assert learned == [(lease.job_id, lease.token, Pulse.CANCEL)]


async def test_beat_keeps_worker_and_leases_for_as_long_as_it_says(
    store: Store, settings: Settings, books: Books
) -> None:
    await store.jobs.accept(make_job())
    (lease,) = await take(store)
    leases = {lease.job_id: lease.token}
    heart = beat(
        with_lease(settings, 3600), store.queue.worker, leases=lambda: leases, lease_s=3600
    )
    await asyncio.to_thread(heart.beat)
    now = books.look()
    for ends in (now.zset("workers")[store.queue.worker], now.zset("leases")[lease.job_id]):
        assert 3_590_000 < ends - now.now_ms <= 3_600_000


async def test_heart_beats_in_a_thread_of_its_own_until_it_is_stopped(
    settings: Settings, books: Books
) -> None:
    asked = itertools.count()
    heart = beat(settings, "wrk_a", beat_s=0.001, about=lambda: f"[{next(asked)}]")
    assert (heart.name, heart.daemon) == ("heartbeat", True)  # it keeps no process from ending
    heart.start()
    await eventually(lambda: books.look().hashes.get("worker:wrk_a", {}).get("about", "") > "[2]")
    heart.stop()
    await asyncio.to_thread(heart.join, 10)
    assert not heart.is_alive()
    connections = heart._client.connection_pool._available_connections
    assert connections
    assert not any(connection.is_connected for connection in connections)


async def test_worker_is_known_before_its_first_pop(settings: Settings, books: Books) -> None:
    heart = beat(settings, "wrk_a")
    answers = [True, False]
    await asyncio.to_thread(heart.register, answers.pop)
    assert answers == [True]  # it was not asked again: it is done
    assert "wrk_a" in books.zset("workers")


async def test_worker_waits_for_redis_until_it_gives_up(settings: Settings) -> None:
    nowhere = SecretStr(f"redis://127.0.0.1:{free_port('127.0.0.1')}/0")
    heart = beat(settings.model_copy(update={"redis_url": nowhere}), "wrk_a", beat_s=0.05)
    answers = [False, False, True]
    begun = time.monotonic()
    await asyncio.to_thread(heart.register, lambda: answers.pop(0))
    assert answers == []
    assert time.monotonic() - begun >= 0.1
    arguments = heart._client.connection_pool.connection_kwargs
    assert arguments["retry"].get_retries() == 0  # a beat that is late is of no use


async def test_popped_and_never_claimed_is_adopted(settings: Settings, books: Books) -> None:
    async with open_store(settings) as dead, open_store(settings) as alive:
        heart = beat(with_lease(settings, 0.05), dead.queue.worker)
        await asyncio.to_thread(heart.beat)
        new = make_job()
        await alive.jobs.accept(new)
        assert await dead.queue.wait("default")
        assert books.complaints() == []
        await eventually(alive.upkeep.adopt)
        (lease,) = await take(alive)
        assert (lease.job_id, lease.attempt) == (new.id, 1)


async def test_dead_workers_that_popped_the_whole_short_list_stall_nobody(
    settings: Settings, books: Books
) -> None:
    """The only stall that the prototype found: nobody is left who would feed the lane."""
    async with open_store(settings) as alive:
        for _ in range(40):
            await alive.jobs.accept(make_job())
        for _ in range(16):
            async with open_store(settings) as dead:
                await asyncio.to_thread(beat(with_lease(settings, 0.01), dead.queue.worker).beat)
                assert await dead.queue.wait("default")
        await alive.upkeep.tick()
        assert books.complaints() == []
        assert await alive.queue.wait("default")
        taken = len(await take(alive, 100))
        while taken < 40:
            taken += await eventually(alive.upkeep.adopt) and len(await take(alive, 100))
        assert taken == 40


async def test_worker_that_died_lately_is_found_behind_many_dead_ones(
    settings: Settings, books: Books
) -> None:
    """Dead workers are kept for an hour, a round looks at 200: the fresh ones come first."""
    past = books.look().now_ms - 60_000
    books.redis.zadd(books.key("workers"), {f"wrk_{number}": past for number in range(300)})
    async with open_store(settings) as dead, open_store(settings) as alive:
        await asyncio.to_thread(beat(settings, dead.queue.worker).beat)
        await alive.jobs.accept(make_job())
        assert await dead.queue.wait("default")
        step_clock(books.redis, books.prefix, 60_000)
        assert await alive.upkeep.adopt() == 1
        assert len(await take(alive)) == 1


async def test_popped_job_is_adopted_though_everything_was_down_for_hours(
    settings: Settings, books: Books
) -> None:
    async with open_store(settings) as dead, open_store(settings) as alive:
        await asyncio.to_thread(beat(settings, dead.queue.worker).beat)
        await alive.jobs.accept(make_job())
        assert await dead.queue.wait("default")
        step_clock(books.redis, books.prefix, 5 * 3_600_000)
        assert await alive.upkeep.adopt() == 1
        assert books.zset("workers") == {}


async def test_job_of_a_paused_lane_that_is_recovered_or_handed_back_waits(
    store: Store, books: Books
) -> None:
    for _ in range(3):
        await store.jobs.accept(make_job())
    assert await store.queue.wait("default")
    lost, handed_back = await take(store, 2)
    assert await store.queue.wait("default")
    await store.upkeep.pause("default")
    await store.queue.settle(Settlement.release(handed_back))
    assert await take(store, 0) == []  # a stray
    step_clock(books.redis, books.prefix, 60_000)
    assert await store.upkeep.recover() == 1
    assert await take(store) == []
    assert books.complaints() == []
    await store.upkeep.resume("default")
    assert {lost.job_id, handed_back.job_id} < {lease.job_id for lease in await take(store)}


async def test_cap_bounds_what_an_owner_has_running(store: Store, books: Books) -> None:
    async def accept(count: int, cap: int) -> None:
        for _ in range(count):
            await store.pipeline.script("accept", *accept_arguments(store, make_job(), cap=cap))

    await store.upkeep.pause("default")  # so that all come into turn at once
    await accept(6, 2)
    await store.upkeep.resume("default")
    running = await take(store)
    assert len(running) == 2
    assert await take(store) == []
    await store.queue.settle(Settlement.complete(running[0], make_result(running[0])))
    assert len(await take(store)) == 1
    await accept(1, 4)  # a higher cap lets those run that wait
    assert len(await take(store)) == 2
    await accept(1, 1)  # a lower one takes nothing away
    assert await take(store) == []
    assert books.complaints() == []


async def test_weights_divide_the_turns(store: Store) -> None:
    for _ in range(120):
        for owner, weight in (("one", 1), ("three", 3)):
            new = make_job(owner=owner)
            await store.pipeline.script("accept", *accept_arguments(store, new, weight=weight))
    order: list[str] = []
    while len(order) < 80:
        batch = await take(store, 4)
        order += [lease.owner for lease in batch]
        for lease in batch:
            await store.queue.settle(Settlement.complete(lease, make_result(lease)))
    assert 14 <= order[16:].count("one") <= 18  # a fourth, but for the first short list
    assert len(await take(store, 200)) == 160


async def test_pause_of_an_owner_outlives_all_its_jobs(store: Store, books: Books) -> None:
    await store.jobs.accept(make_job())
    (lease,) = await take(store)
    await store.upkeep.pause("default", "acme")
    await store.queue.settle(Settlement.complete(lease, make_result(lease)))
    step_clock(books.redis, books.prefix, 30 * 86_400_000)
    await store.jobs.accept(make_job())
    assert await take(store) == []


async def test_small_owners_do_not_wait_behind_a_big_one(store: Store) -> None:
    for owner, count in (("big", 200), ("mid", 20), ("small", 5)):
        for _ in range(count):
            await store.jobs.accept(make_job(owner=owner))
    order: list[str] = []
    while batch := await take(store, 4):
        order += [lease.owner for lease in batch]
        for lease in batch:
            await store.queue.settle(Settlement.complete(lease, make_result(lease)))
    assert len(order) == 225
    last_small = max(i for i, owner in enumerate(order) if owner == "small")
    last_mid = max(i for i, owner in enumerate(order) if owner == "mid")
    assert last_small < 16 + 3 * 5 + 4
    assert last_mid < 16 + 3 * 20 + 4


async def test_priority_is_a_head_start_within_an_owner(store: Store) -> None:
    document = make_job().document
    for _ in range(40):
        await store.jobs.accept(make_job())
    urgent = make_job(document=document.model_copy(update={"priority": "high"}))
    await store.jobs.accept(urgent)
    order = [lease.job_id for lease in await take(store, 100)]
    assert order.index(urgent.id) == 16  # behind the short list, before all that waits


async def test_paused_lane_gives_nothing_and_loses_nothing(store: Store, books: Books) -> None:
    for _ in range(20):
        await store.jobs.accept(make_job())
    assert await store.upkeep.pause("default") == 16
    assert await take(store) == []
    assert books.complaints() == []
    await store.upkeep.resume("default")
    assert len(await take(store, 100)) == 20


async def test_paused_owner_waits_while_others_run(store: Store, books: Books) -> None:
    for owner in ("held", "free"):
        for _ in range(12):
            await store.jobs.accept(make_job(owner=owner))
    await store.upkeep.pause("default", "held")
    assert {lease.owner for lease in await take(store, 100)} == {"free"}
    assert books.complaints() == []
    await store.upkeep.resume("default", "held")
    assert len(await take(store, 100)) == 12


async def test_two_janitors_at_once_do_everything_once(settings: Settings) -> None:
    async with open_store(with_lease(settings, 0.01)) as a, open_store(settings) as b:
        for _ in range(50):
            await a.jobs.accept(make_job())
        assert len(await take(a, 50)) == 50
        looked = 0
        while looked < 50:
            once = await asyncio.gather(a.upkeep.recover(), b.upkeep.recover(), a.upkeep.recover())
            looked += sum(once)
        assert looked == 50
        leases = await take(b, 100)
        assert len({lease.job_id for lease in leases}) == 50
        assert {lease.attempt for lease in leases} == {2}


async def test_many_calls_of_one_tick_share_pipelines(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    real = store.pipeline._round_trip

    async def counted(commands: list[Any]) -> list[Any]:
        sent.append(len(commands))
        return await real(commands)

    monkeypatch.setattr(store.pipeline, "_round_trip", counted)
    await store.pipeline.load_scripts()
    await store.jobs.accept(make_job())  # which looks at the memory, too
    sent.clear()
    await asyncio.gather(*(store.jobs.accept(make_job()) for _ in range(100)))
    assert sum(sent) == 100
    assert len(sent) <= 3


@pytest.mark.parametrize("broken", ["document", "no fields", "another type", "gone"])
async def test_broken_record_stops_nobody_else(store: Store, books: Books, broken: str) -> None:
    ids = [await store.jobs.accept(make_job()) for _ in range(5)]
    key = store.names.job(ids[2])
    match broken:
        case "document":
            books.redis.hset(key, "doc", "{")
        case "no fields":
            books.redis.hdel(key, "own", "ca", "ln")
        case "another type":
            books.redis.delete(key)
            books.redis.set(key, "x")
        case "gone":
            books.redis.delete(key)
    assert await store.queue.wait("default")
    taken = {lease.job_id for lease in await take(store, 10)}
    assert taken == set(ids) - {ids[2]}
    await store.upkeep.tick()
    await store.upkeep.recover()
    if broken == "document":
        job = books.redis.hgetall(key)
        assert job["st"] == "failed"
        told = json.loads(job["err"])
        assert (told["code"], told["class"]) == ("corrupt_record", "permanent")
        assert (told["status"], told["retryable"], told["attempt"]) == (500, False, 1)
    else:  # what is left of it is out of the way; the accounts of its owner are not to be trusted
        books.redis.delete(key)
        for name in ("jobs:acme", "jobs:acme:queued", "jobs:acme:running"):
            books.redis.zrem(books.key(name), ids[2])
        books.redis.hincrby(books.key("flow:default:acme"), "adm", -1)
