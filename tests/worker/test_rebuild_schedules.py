"""Schedules in a store that is built again from the journal."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from fileproc.errors import NotFoundError, StoreUnavailableError
from fileproc.ids import new_id
from fileproc.store import Fired, Run, RunOutcome, Store
from fileproc.store.schedules import Schedules
from fileproc.worker.rebuild import rebuild

if TYPE_CHECKING:
    from fileproc.resources import Resources
    from fileproc.worker.shipper import Shipper
    from support.books import Books

pytestmark = pytest.mark.usefixtures("books")
PAST, LATER = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


async def made(store: Store, next_at: datetime | None = PAST) -> str:
    schedule_id = new_id("sched")
    await store.schedules.create("acme", schedule_id, '{"name":"ü\\u2028"}', next_at=next_at)
    return schedule_id


async def fire(store: Store, schedule_id: str, *taken: str, forgotten: str = "") -> None:
    claim = await store.schedules.claim(schedule_id, 30)
    assert claim
    await store.schedules.forget(claim, forgotten.split())
    run = Run(
        trigger=claim.trigger,
        scheduled_for=claim.due,
        started_at=claim.now,
        outcome=RunOutcome.NOTHING,
    )
    assert await store.schedules.end(Fired(schedule_id, claim.number, run, LATER, taken))


@pytest.mark.parametrize("compacted", [True, False])
@pytest.mark.usefixtures("settled")
async def test_a_schedule_goes_on_where_it_was(
    resources: Resources, shipper: Shipper, books: Books, *, compacted: bool
) -> None:
    store = resources.store
    schedule_id, paused, gone, asked = [await made(store) for _ in range(4)]
    many = [f"m{number}" for number in range(2100)]
    await fire(store, schedule_id, "a", "b", "c", *many)
    await shipper.ship()
    await store.schedules.ask("acme", schedule_id)
    await fire(store, schedule_id, "d", forgotten="a b")
    known = await store.schedules.get("acme", paused)
    assert await store.schedules.change(known, "{}", next_at=None)
    await store.schedules.ask("acme", asked)
    await shipper.ship()
    await store.schedules.delete("acme", gone)
    await shipper.ship()
    ids = (schedule_id, paused, asked)
    before = [await store.schedules.get("acme", each, runs=9) for each in ids]
    if compacted:
        assert await shipper.compact(least=2) == 2
    # One that is claimed when all is lost is fired afterwards: what it would have made is lost too.
    assert await store.schedules.claim(asked, 30)
    books.wipe()
    assert (await rebuild(resources)).schedules == 3
    assert [await store.schedules.get("acme", each, runs=9) for each in ids] == before
    assert await store.schedules.taken(schedule_id) == {"c", "d", *many}
    assert await store.schedules.due(10) == [asked]
    assert {one.id for one in (await store.schedules.list("acme")).schedules} == set(ids)
    await rebuild(resources)  # once more changes nothing
    assert [await store.schedules.get("acme", each, runs=9) for each in ids] == before
    assert books.complaints() == []
    with pytest.raises(NotFoundError):
        await store.schedules.get("acme", gone)
    await fire(store, asked, "x")
    assert (await store.schedules.get("acme", asked)).runs[0].trigger == "manual"


async def test_a_promoted_replica_fires_nothing_that_was_fired(
    resources: Resources, shipper: Shipper, books: Books
) -> None:
    store = resources.store
    fired, gone = await made(store), await made(store, LATER)
    before = {key: books.redis.dump(key) for key in books.redis.scan_iter(books.key("*"))}
    await fire(store, fired, "a")
    await store.schedules.delete("acme", gone)
    await shipper.ship()
    books.wipe()
    for key, dump in before.items():
        books.redis.restore(key, 0, dump)
    assert await store.schedules.due(10) == [fired]
    await rebuild(resources)
    assert await store.schedules.due(10) == []
    assert (await store.schedules.get("acme", fired)).next_at == LATER
    assert await store.schedules.taken(fired) == {"a"}
    with pytest.raises(NotFoundError):
        await store.schedules.get("acme", gone)


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("call", range(5))
async def test_a_rebuild_that_was_cut_off_is_made_good_by_the_next(
    resources: Resources,
    shipper: Shipper,
    books: Books,
    monkeypatch: pytest.MonkeyPatch,
    call: int,
) -> None:
    """Whichever of its calls was the last: no object is taken again, no run is told twice."""
    store = resources.store
    schedule_id = await made(store)
    many = {f"m{number}" for number in range(2100)}
    await fire(store, schedule_id, *many)
    await shipper.ship()
    before = await store.schedules.get("acme", schedule_id, runs=9)
    books.wipe()
    honest, calls = Schedules._script, itertools.count()

    async def cut(self: Schedules, verb: str, *args: Any) -> Any:
        if next(calls) == call:
            raise StoreUnavailableError("redis is away")
        return await honest(self, verb, *args)

    with monkeypatch.context() as patched:
        patched.setattr(Schedules, "_script", cut)
        with pytest.raises(StoreUnavailableError):
            await rebuild(resources)
    await rebuild(resources)
    assert await store.schedules.get("acme", schedule_id, runs=9) == before
    assert await store.schedules.taken(schedule_id) == many
    assert books.redis.keys(books.key("*").replace("{", "[{]").replace("}", "[}]") + ":new") == []
