"""Who fires a schedule: one for each moment that is due, whoever comes at once, dies or is late."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from fileproc.errors import GoneError, NotFoundError, QuotaError
from fileproc.ids import new_id
from fileproc.jobs import JobDocument
from fileproc.store import (
    BatchDocument,
    Claim,
    Fired,
    NewBatch,
    Run,
    RunOutcome,
    Store,
    Trigger,
    open_store,
)
from support.clock import step_clock
from support.jobs import make_job

if TYPE_CHECKING:
    from fileproc.settings import Settings
    from support.books import Books

pytestmark = pytest.mark.usefixtures("books")
LATER = datetime(2100, 1, 1, tzinfo=UTC)
PAST = datetime(2020, 1, 1, tzinfo=UTC)


async def due(store: Store, next_at: datetime | None = PAST, owner: str = "acme") -> str:
    schedule_id = new_id("sched")
    await store.schedules.create(owner, schedule_id, '{"a":1}', next_at=next_at)
    return schedule_id


async def claimed(store: Store, schedule_id: str) -> Claim:
    claim = await store.schedules.claim(schedule_id, 30)
    assert claim is not None
    return claim


def ended(claim: Claim, outcome: RunOutcome = RunOutcome.NOTHING, **others: Any) -> Fired:
    batch_id = others.pop("batch_id", None)
    run = Run(
        trigger=claim.trigger,
        scheduled_for=claim.due,
        started_at=claim.now,
        outcome=outcome,
        batch_id=batch_id,
    )
    given: dict[str, Any] = {"next_at": LATER, **others}
    return Fired(claim.schedule_id, claim.number, run, **given)


def batch_for(claim: Claim, number: int = 3, **others: Any) -> NewBatch:
    batch_id = new_id("batch")
    document = JobDocument(operation="debug.sleep", batch=batch_id)
    fired = ended(claim, RunOutcome.ACCEPTED, batch_id=batch_id, **others)
    about = BatchDocument(schedule=claim.schedule_id)
    jobs = [make_job(document=document) for _ in range(number)]
    return NewBatch(batch_id, claim.owner, about, jobs, fired=fired)


async def test_of_many_that_come_at_once_one_claims_it(store: Store, settings: Settings) -> None:
    schedule_id = await due(store)
    async with open_store(settings) as other:
        claims = await asyncio.gather(
            *(each.schedules.claim(schedule_id, 30) for each in (store, other) * 20)
        )
    (claim,) = [claim for claim in claims if claim is not None]
    assert (claim.trigger, claim.due, claim.tries) == (Trigger.CRON, PAST, 1)
    assert (claim.owner, claim.definition, claim.last_due) == ("acme", '{"a":1}', None)
    batch = batch_for(claim, taken=["a", "b"])
    assert await store.batches.accept(batch) == batch.id
    assert await store.schedules.due(10) == []
    assert await store.schedules.claim(schedule_id, 30) is None
    now = await store.schedules.get("acme", schedule_id)
    assert (now.next_at, now.last_due, now.firing, now.runs[0].batch_id) == (
        *(LATER, PAST, False, batch.id),
    )
    assert now.runs[0].finished_at
    assert now.runs[0].finished_at >= claim.now
    assert await store.schedules.taken(schedule_id) == {"a", "b"}
    assert (await store.batches.get("acme", batch.id)).document.schedule == schedule_id


async def test_a_firing_that_is_silent_is_taken_over_and_can_do_nothing_any_more(
    store: Store, books: Books
) -> None:
    schedule_id = await due(store)
    silent = await claimed(store, schedule_id)
    assert await store.schedules.hold(silent, 60)
    step_clock(books.redis, books.prefix, 61_000)
    taker = await claimed(store, schedule_id)
    assert (taker.tries, taker.trigger) == (2, Trigger.CRON)
    assert int(taker.number) > int(silent.number)
    late = batch_for(silent)
    with pytest.raises(GoneError):
        await store.batches.accept(late)
    with pytest.raises(NotFoundError):
        await store.batches.get("acme", late.id)
    assert not await store.schedules.hold(silent, 60)
    assert not await store.schedules.end(ended(silent))
    with pytest.raises(GoneError):
        await store.schedules.forget(silent, ["x"])
    batch = batch_for(taker)
    await store.batches.accept(batch)
    assert await store.batches._seal(batch) == batch.id  # sent again after its reply was lost
    assert not await store.schedules.end(ended(taker))
    runs = (await store.schedules.get("acme", schedule_id, runs=10)).runs
    assert [run.batch_id for run in runs] == [batch.id]
    step_clock(books.redis, books.prefix, 61_000)
    await store.batches.end()  # what the silent one had begun
    assert [one.id for one in (await store.batches.list("acme")).batches] == [batch.id]


async def test_what_its_owner_changes_during_a_firing_holds(store: Store) -> None:
    paused, moved, gone = [await due(store) for _ in range(3)]
    claims = [await claimed(store, each) for each in (paused, moved, gone)]
    known = await store.schedules.get("acme", paused)
    assert await store.schedules.change(known, "{}", next_at=None)
    assert not await store.schedules.change(known, "{}", next_at=LATER)  # it was read before that
    sooner = LATER - timedelta(days=1)
    assert await store.schedules.change(
        await store.schedules.get("acme", moved), "{}", next_at=sooner
    )
    await store.schedules.delete("acme", gone)
    assert [await store.schedules.end(ended(claim)) for claim in claims] == [True, True, False]
    assert (await store.schedules.get("acme", paused)).next_at is None
    assert (await store.schedules.get("acme", moved)).next_at == sooner
    with pytest.raises(NotFoundError):
        await store.schedules.change(await store.schedules.get("acme", gone), "", next_at=None)


async def test_what_is_asked_for_is_done_once_also_while_it_is_paused(store: Store) -> None:
    schedule_id = await due(store, None)
    assert await store.schedules.claim(schedule_id, 30) is None
    for _ in range(3):
        await store.schedules.ask("acme", schedule_id)
    assert await store.schedules.due(10) == [schedule_id]
    claim = await claimed(store, schedule_id)
    assert claim.trigger is Trigger.MANUAL
    assert await store.schedules.end(ended(claim, RunOutcome.REFUSED, next_at=LATER))
    now = await store.schedules.get("acme", schedule_id)
    assert (now.active, now.next_at, now.failures, now.asked) == (False, None, 1, False)
    assert await store.schedules.due(10) == []
    # What the clock says goes on as it was.
    running = await due(store)
    claim = await claimed(store, running)
    await store.schedules.ask("acme", running)
    assert await store.schedules.end(ended(claim, RunOutcome.REFUSED))
    claim = await claimed(store, running)
    assert claim.trigger is Trigger.MANUAL
    assert await store.schedules.end(ended(claim, next_at=PAST))
    now = await store.schedules.get("acme", running)
    assert (now.next_at, now.last_due, now.failures) == (LATER, PAST, 0)


async def test_schedules_are_their_owners_and_bounded(settings: Settings) -> None:
    async with open_store(settings.model_copy(update={"max_schedules_per_owner": 3})) as store:
        mine = [await due(store, LATER) for _ in range(3)]
        with pytest.raises(QuotaError, match="at most 3"):
            await due(store)
        theirs = await due(store, owner="other")
        first = await store.schedules.list("acme", limit=2)
        rest = await store.schedules.list("acme", cursor=first.next_cursor, limit=2)
        assert {one.id for page in (first, rest) for one in page.schedules} == set(mine)
        assert rest.next_cursor is None
        for call in (store.schedules.get, store.schedules.ask, store.schedules.delete):
            with pytest.raises(NotFoundError):
                await call("acme", theirs)
        assert await store.schedules.claim(new_id("sched"), 1) is None
        await store.schedules.delete("acme", mine[0])
        await due(store)


async def test_only_the_last_runs_are_kept_and_thousands_of_objects(store: Store) -> None:
    schedule_id = await due(store, LATER)
    digests = [f"d{number}" for number in range(2500)]
    for _ in range(102):
        await store.schedules.ask("acme", schedule_id)
        claim = await claimed(store, schedule_id)
        assert await store.schedules.end(ended(claim, taken=digests))
        digests = []
    assert len((await store.schedules.get("acme", schedule_id, runs=1000)).runs) == 100
    assert len(await store.schedules.taken(schedule_id)) == 2500
    await store.schedules.ask("acme", schedule_id)
    claim = await claimed(store, schedule_id)
    await store.schedules.forget(claim, [f"d{number}" for number in range(2499)])
    assert await store.schedules.taken(schedule_id) == {"d2499"}
