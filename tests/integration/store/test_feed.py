"""The event stream wakes who waits, across quiet times and lost connections."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.exceptions import ConnectionError as LostConnectionError

from fileproc.errors import StoreUnavailableError
from fileproc.store import Break, Position, Store, Topic
from fileproc.store import events as module
from fileproc.store.events import flat
from support.jobs import make_job
from support.waiting import eventually


async def test_only_those_who_wait_for_the_job_are_woken(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK_MS", 20)
    mine, other = make_job(), make_job()
    for new in (mine, other):
        await store.jobs.accept(new)
    last = await store.feed._read("$")
    with store.feed.watch(mine.id) as one, store.feed.watch(mine.id) as two:
        with store.feed.watch(other.id) as third:
            await store.jobs.cancel("acme", mine.id)
            await store.feed._read(last)
            assert await one.wait(0.01)
            assert await two.wait(0.01)
            assert not await third.wait(0.01)
        assert other.id not in store.feed._watches


async def test_feed_that_runs_wakes_and_ends(store: Store) -> None:
    new = make_job()
    await store.jobs.accept(new)
    async with store.feed.running():
        with store.feed.watch(new.id) as watch:

            async def heard() -> bool:
                # Again: what is said before the feed has found its place is not told.
                await _say(store, new.id)
                return await watch.wait(0.05)

            await eventually(heard)
        (feed,) = (task for task in asyncio.all_tasks() if task.get_name() == "event-feed")
    assert feed.done()


async def _say(store: Store, job_id: str) -> None:
    line = f"{job_id} cancel_requested acme 1 "
    await store.pipeline.command("XADD", store.names.events, "*", "l", line)


async def test_wait_ends_after_its_time_and_forgets_what_it_has_told(store: Store) -> None:
    with store.feed.watch("job_x") as watch:
        assert await watch.wait(0.01) is False
        watch.wake()
        assert await watch.wait(0.01) is True
        assert not await watch.wait(0.01)
        assert set(store.feed._watches) == {"job_x"}
    assert not store.feed._watches


async def test_moves_of_before_wake_nobody(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_MS", 20)
    new = make_job()
    await store.jobs.accept(new)
    last = await store.feed._read("$")
    with store.feed.watch(new.id) as watch:
        await store.jobs.cancel("acme", new.id)
        assert await store.feed._read(last) != last
        assert await watch.wait(0.01)
        assert not await watch.wait(0.01)


async def test_first_event_of_an_empty_stream_is_not_missed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK_MS", 20)
    assert await store.feed._read("$") == "0-0"
    new = make_job()
    with store.feed.watch(new.id) as watch:
        await store.jobs.accept(new)
        await store.feed._read("0-0")
        assert await watch.wait(0.01)


async def test_lost_connection_wakes_everybody_and_the_feed_goes_on(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RECONNECT_S", 0.0123)
    real, broken, asked, marked = store.feed._read, 2, [], []
    sleep, slept = asyncio.sleep, []

    async def noted(delay_s: float) -> None:
        slept.append(delay_s)
        await sleep(delay_s)

    monkeypatch.setattr(asyncio, "sleep", noted)

    async def read(last: str) -> str:
        nonlocal broken
        asked.append(last)
        marked.append(store.feed._broke)
        if broken:
            broken -= 1
            raise LostConnectionError("away")
        return await real(last)

    monkeypatch.setattr(store.feed, "_read", read)
    new = make_job()
    await store.jobs.accept(new)
    async with store.feed.running():
        with store.feed.watch(new.id) as watch:
            assert await watch.wait(30)  # told to look for itself
            await eventually(lambda: not broken)
            assert slept.count(0.0123) >= 1  # a server that comes back is not run over
            assert marked[:2] == [False, True]  # entries may be missing
            assert asked[:2] == ["$", "$"]  # from now on, until there is something to go on from

            async def heard() -> bool:
                await _say(store, new.id)
                return await watch.wait(0.1)

            while await watch.wait(0.05):
                pass
            assert await eventually(heard)


def entry(number: int) -> list[Any]:
    return [f"{number}-0", {"l": "x"}]


@pytest.mark.parametrize(
    "group", [[entry(1), entry(2)], [[entry(1), entry(2)]], [tuple(entry(1)), tuple(entry(2))]]
)
def test_entries_are_found_in_either_protocols_reply(group: list[Any]) -> None:
    assert flat(group) == [("1-0", {"l": "x"}), ("2-0", {"l": "x"})]
    assert flat([]) == []


async def test_who_follows_is_cut_off_where_entries_were_missed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK_MS", 20)
    new = make_job()
    await store.jobs.accept(new)
    last = await store.feed._read("$")
    with store.feed.subscribe(Topic.job(new.id)) as whole, store.feed.subscribe(Topic.owner("x")):
        store.feed._broke = True  # Redis was away
        await store.jobs.cancel("acme", new.id)
        last = await store.feed._read(last)
        assert [moved.move for moved in whole.take()[0]] == ["cancel"]
        assert [whole.broken] == [None]
        store.feed._broke = True
        await store.jobs.accept(make_job())
        await store.pipeline.command("XTRIM", store.names.events, "MAXLEN", 0)
        await store.jobs.accept(make_job())
        before = store.feed.history.position
        await store.feed._read(last)
        assert whole.broken is Break.GAP
        assert store.feed.history.since(before, lambda _: True) is None
    assert not store.feed._subscriptions


async def test_position_is_not_known_before_the_stream_is(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PLACED_WITHIN_S", 0.05)
    with pytest.raises(StoreUnavailableError):
        await store.feed.position()
    await store.feed._read("$")
    assert await store.feed.position() == Position(0, 0, 0)
