"""The queue of deliveries: made once, leased, logged, bounded, each owner's own."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from fileproc.errors import (
    NotFoundError,
    QuotaError,
    WebhookDisabledError,
    WebhookPendingError,
)
from fileproc.ids import new_id
from fileproc.store import DeliveryState, NewDelivery, Outcome, Posting, Store, open_store
from fileproc.webhooks import JOBS, LAST, is_secret
from support.jobs import make_job
from support.waiting import eventually

if TYPE_CHECKING:
    from fileproc.settings import Settings
    from support.books import Books

URL = "https://example.com/hook"


async def endpoint(store: Store, owner: str = "acme", **others: Any) -> str:
    events = [str(kind) for kind in LAST]
    return (await store.webhooks.create(owner, URL, events, **others))[0].id


def message(webhook_id: str, owner: str = "acme", **others: Any) -> NewDelivery:
    given: dict[str, Any] = {
        "id": new_id("msg"),
        "owner": owner,
        "webhook_id": webhook_id,
        "url": "",
        "type": "job.succeeded",
        "job_id": "",
        "body": "{}",
        **others,
    }
    return NewDelivery(**given)


async def put(store: Store, webhook_id: str, number: int = 1, **others: Any) -> list[str]:
    made = [message(webhook_id, **others) for _ in range(number)]
    assert await store.deliveries.queue(None, made) == (number, 0)
    return [each.id for each in made]


async def take_one(store: Store) -> Posting:
    (posting,) = await store.deliveries.take(1)
    return posting


async def test_endpoints_are_kept_changed_and_forgotten(store: Store) -> None:
    made, secret = await store.webhooks.create("acme", URL, ["job.failed"], description="ü")
    assert is_secret(secret)
    assert (made.url, made.events, made.enabled) == (URL, ("job.failed",), True)
    other = await endpoint(store)
    assert [each.id for each in await store.webhooks.list("acme")] == [made.id, other]
    two = ["job.started", "job.failed"]
    changed = await store.webhooks.change("acme", made.id, events=two, enabled=False)
    assert (changed.events, changed.disabled_reason) == (tuple(two), "owner")
    assert changed.description == "ü"
    again = await store.webhooks.change("acme", made.id, enabled=True)
    assert (again.enabled, again.disabled_reason, again.disabled_at) == (True, None, None)
    await store.webhooks.delete("acme", made.id)
    for call in (store.webhooks.get, store.webhooks.delete, store.webhooks.rotate):
        with pytest.raises(NotFoundError):
            await call("acme", made.id)
    with pytest.raises(NotFoundError):
        await store.webhooks.get("other", other)


async def test_an_owner_has_so_many_endpoints(settings: Settings) -> None:
    async with open_store(settings.model_copy(update={"max_webhooks": 2})) as store:
        await store.webhooks.ensure_jobs("acme")  # counts for none
        first, _ = [await endpoint(store) for _ in range(2)]
        with pytest.raises(QuotaError):
            await endpoint(store)
        await endpoint(store, "other")
        await store.webhooks.delete("acme", first)
        await endpoint(store)


async def test_owners_with_endpoints_are_known_while_they_have_one(store: Store) -> None:
    await store.webhooks.ensure_jobs("acme")
    assert await store.webhooks.owners(["acme", "other"]) == set()
    ids = [await endpoint(store) for _ in range(2)]
    for webhook_id in ids:
        assert await store.webhooks.owners(["acme", "other"]) == {"acme"}
        await store.webhooks.delete("acme", webhook_id)
    assert await store.webhooks.owners(["acme"]) == set()


async def test_two_secrets_live_during_a_rotation_and_never_three(store: Store) -> None:
    made, first = await store.webhooks.create("acme", URL, ["job.failed"])
    await put(store, made.id)
    assert (await take_one(store)).secrets == (first,)
    rotated, second = await store.webhooks.rotate("acme", made.id)
    assert rotated.old_secret_until is not None
    left = rotated.old_secret_until - datetime.now(UTC)
    assert timedelta(hours=23) < left < timedelta(hours=25)  # the default
    _, third = await store.webhooks.rotate("acme", made.id)
    await put(store, made.id)
    assert (await take_one(store)).secrets == (third, second)


async def test_the_old_secret_dies_in_time(settings: Settings) -> None:
    short = settings.model_copy(update={"webhook_secret_overlap_s": 0.001})
    async with open_store(short) as store:
        made, _ = await store.webhooks.create("acme", URL, ["job.failed"])
        _, new = await store.webhooks.rotate("acme", made.id)
        await asyncio.sleep(0.01)
        await put(store, made.id)
        assert (await take_one(store)).secrets == (new,)


async def test_what_waits_says_for_how_long_and_was_never_tried(store: Store) -> None:
    assert await store.deliveries.overdue_s() == 0
    hook = await endpoint(store)
    (delivery,) = await put(store, hook)
    assert (await store.deliveries.get("acme", hook, delivery)).attempts == 0
    assert await eventually(store.deliveries.overdue_s)


async def test_a_delivery_is_taken_once_and_settled(store: Store) -> None:
    hook = await endpoint(store)
    (delivery_id,) = await put(store, hook)
    posting = await take_one(store)
    assert (posting.id, posting.url, posting.attempt) == (delivery_id, URL, 1)
    assert await store.deliveries.take(5) == []
    assert await store.deliveries.settle(posting, Outcome.DONE, note="204 ") == 1
    assert await store.deliveries.settle(posting, Outcome.DONE, note="204 ") == 0
    shown = await store.deliveries.get("acme", hook, delivery_id)
    assert (shown.state, shown.attempts) == (DeliveryState.SUCCEEDED, 1)
    assert [(tried.status, tried.error) for tried in shown.tries] == [(204, None)]


async def test_a_retry_waits_and_keeps_its_id(store: Store) -> None:
    hook = await endpoint(store)
    (delivery_id,) = await put(store, hook)
    posting = await take_one(store)
    await store.deliveries.settle(posting, Outcome.RETRY, note="503 ", wait_s=0.05)
    assert await store.deliveries.take(1) == []
    shown = await store.deliveries.get("acme", hook, delivery_id)
    assert shown.next_attempt_at is not None
    await asyncio.sleep(0.06)
    again = await take_one(store)
    assert (again.id, again.attempt) == (delivery_id, 2)
    assert (await store.webhooks.get("acme", hook)).failing_since is not None
    await store.deliveries.settle(again, Outcome.DONE, note="200 ")
    assert (await store.webhooks.get("acme", hook)).failing_since is None


async def test_what_a_killed_sender_had_is_sent_by_another(
    settings: Settings, store: Store
) -> None:
    short = settings.model_copy(update={"webhook_timeout_s": -4.95})  # with the margin: 50 ms
    async with open_store(short) as killed:
        hook = await endpoint(killed)
        await put(killed, hook)
        lost = await take_one(killed)
    await asyncio.sleep(0.06)
    found = await take_one(store)
    assert (found.id, found.attempt) == (lost.id, 1)
    # It was not dead but slow: what it says late is not heard.
    assert await store.deliveries.settle(lost, Outcome.DEAD, note="500 ") == 0
    assert await store.deliveries.settle(found, Outcome.DONE, note="200 ") == 1


async def test_one_endpoint_that_hangs_holds_up_nobody_else(settings: Settings) -> None:
    few = {"webhook_endpoint_concurrency": 2, "webhook_owner_concurrency": 3}
    async with open_store(settings.model_copy(update=few)) as store:
        slow, quick = await endpoint(store), await endpoint(store)
        other = await endpoint(store, "other")
        await put(store, slow, 50)
        await put(store, quick, 50)
        await put(store, other, 1, owner="other")
        taken = await store.deliveries.take(100)
        numbers = {each: sum(p.webhook_id == each for p in taken) for each in (slow, quick, other)}
        assert numbers == {slow: 2, quick: 1, other: 1}
        assert await store.deliveries.take(100) == []
        await store.deliveries.settle(taken[0], Outcome.DONE, note="200 ")
        assert len(await store.deliveries.take(100)) == 1


async def test_all_is_sent_whatever_the_order(settings: Settings) -> None:
    few = {"webhook_endpoint_concurrency": 2, "webhook_owner_concurrency": 3}
    async with open_store(settings.model_copy(update=few)) as store:
        hooks = [(owner, await endpoint(store, owner)) for owner in "aabbc"]
        wanted = [i for owner, hook in hooks for i in await put(store, hook, 20, owner=owner)]
        sent: list[str] = []
        while postings := await store.deliveries.take(7):
            for posting in postings:
                sent.append(posting.id)
                await store.deliveries.settle(posting, Outcome.DONE, note="200 ")
        assert sorted(sent) == sorted(wanted)


async def test_gone_disables_and_what_waits_is_given_up(store: Store) -> None:
    hook = await endpoint(store)
    first, *others = await put(store, hook, 3)
    posting = await take_one(store)
    assert await store.deliveries.settle(posting, Outcome.GONE, note="410 ") == 2
    disabled = await store.webhooks.get("acme", hook)
    assert (disabled.enabled, disabled.disabled_reason) == (False, "gone")
    assert await store.deliveries.take(5) == []
    for delivery_id in {first, *others} - {posting.id}:
        given_up = await store.deliveries.get("acme", hook, delivery_id)
        assert (given_up.state, given_up.note) == (DeliveryState.FAILED, "disabled")
    assert await store.deliveries.queue(None, [message(hook)]) == (0, 0)
    with pytest.raises(WebhookDisabledError):
        await store.deliveries.redeliver("acme", hook, first)
    await store.webhooks.change("acme", hook, enabled=True)
    await store.deliveries.redeliver("acme", hook, first)
    assert (await take_one(store)).id == first


async def test_gone_ends_the_hook_of_one_job_and_not_of_all(store: Store) -> None:
    await store.webhooks.ensure_jobs("acme")
    await put(store, JOBS, url=URL)
    assert await store.deliveries.settle(await take_one(store), Outcome.GONE, note="410 ") == 1
    assert (await store.webhooks.get("acme", JOBS)).enabled


async def test_failing_for_days_disables_with_a_reason(settings: Settings) -> None:
    async with open_store(settings.model_copy(update={"webhook_disable_s": 0.02})) as store:
        hook = await endpoint(store)
        await put(store, hook, 3)
        for _ in range(2):
            posting = await take_one(store)
            assert await store.deliveries.settle(posting, Outcome.RETRY, wait_s=60) == 1
            done = await take_one(store)
            await store.deliveries.settle(done, Outcome.DONE, note="200 ")
            await put(store, hook)
            await asyncio.sleep(0.03)
        await store.deliveries.settle(await take_one(store), Outcome.RETRY, note="0 timeout")
        await asyncio.sleep(0.03)
        assert await store.deliveries.settle(await take_one(store), Outcome.DEAD, note="500 ") == 2
        assert (await store.webhooks.get("acme", hook)).disabled_reason == "failing"


async def test_an_owner_has_so_many_waiting_and_the_rest_is_counted(settings: Settings) -> None:
    async with open_store(settings.model_copy(update={"max_pending_deliveries": 5})) as store:
        hook, other = await endpoint(store), await endpoint(store, "other")
        assert await store.deliveries.queue(None, [message(hook) for _ in range(8)]) == (5, 3)
        assert await store.deliveries.queue(None, [message(other, "other")]) == (1, 0)
        assert (await store.webhooks.get("acme", hook)).skipped == 3
        postings = await store.deliveries.take(1)  # under way counts as well
        assert await store.deliveries.queue(None, [message(hook)]) == (0, 1)
        for posting in postings:
            await store.deliveries.settle(posting, Outcome.DONE, note="200 ")
        done = [p for p in postings if p.owner == "acme"]
        assert done
        assert await store.deliveries.queue(None, [message(hook)]) == (1, 0)
        with pytest.raises(QuotaError):
            await store.deliveries.redeliver("acme", hook, done[0].id)


async def test_the_log_is_paged_filtered_and_bounded(settings: Settings) -> None:
    async with open_store(settings.model_copy(update={"webhook_log_entries": 10})) as store:
        hook = await endpoint(store)
        ids = await put(store, hook, 30)
        while postings := await store.deliveries.take(5):
            for posting in postings:
                await store.deliveries.settle(posting, Outcome.DONE, note="200 ")
        waiting = await put(store, hook, 4)
        found, place = [], None
        for _ in range(10):
            page, place = await store.deliveries.list("acme", hook, before=place, limit=3)
            found += [each.id for each in page]
            if place is None:
                break
        assert len(found) == len(set(found)) == 14
        assert set(waiting) < set(found) < {*waiting, *ids}
        pending, _ = await store.deliveries.list("acme", hook, state=DeliveryState.PENDING)
        assert {each.id for each in pending} == set(waiting)
        assert await store.deliveries.list("other", hook) == ([], None)
        with pytest.raises(NotFoundError):
            await store.deliveries.get("other", hook, waiting[0])
        with pytest.raises(NotFoundError):
            await store.deliveries.redeliver("other", hook, waiting[0])
        with pytest.raises(WebhookPendingError):
            await store.deliveries.redeliver("acme", hook, waiting[0])


async def test_everything_of_a_deleted_endpoint_ends(store: Store, books: Books) -> None:
    hook = await endpoint(store)
    await put(store, hook, 5)
    posting, under_way = await store.deliveries.take(2)
    await store.webhooks.delete("acme", hook)
    assert await store.deliveries.settle(posting, Outcome.RETRY, wait_s=1) == 1
    assert await store.deliveries.settle(under_way, Outcome.RELEASE) == 1
    assert await store.deliveries.take(5) == []
    left = books.look()
    lasting = {name for name in left.names if name not in left.lives} - {"events", "schema"}
    assert lasting == set()


async def test_events_are_judged_once_by_two_readers(store: Store, settings: Settings) -> None:
    hook = await endpoint(store)
    for _ in range(3):
        await store.jobs.accept(make_job())
    async with open_store(settings) as other:
        lots = [await each.deliveries.unread(100, 2) for each in (store, other)]
        assert lots[0] == lots[1]
        assert len(lots[0].events) == 2  # in the middle of what there is
        new = [message(hook)]
        assert await store.deliveries.queue(lots[0], new) == (1, 0)
        assert await store.deliveries.queue(lots[0], new) is None  # its reply had got lost
        assert await other.deliveries.queue(lots[1], new) is None
        rest = await other.deliveries.unread(100, 100)
        assert rest.events[0].id > lots[0].events[-1].id
        assert len(rest.events) == 3  # jobs, and that a delivery was queued
        await other.deliveries.queue(rest, [])
        assert (await store.deliveries.unread(100, 100)).events == []
        assert await store.deliveries.lag_s() == 0


async def test_what_is_shipped_is_trimmed_where_no_reader_has_ever_begun(store: Store) -> None:
    for _ in range(300):
        await store.jobs.accept(make_job())
    newest = await store.pipeline.command("XREVRANGE", store.names.events, "+", "-", "COUNT", 1)
    await store.upkeep.trim_events(0)
    assert await store.pipeline.command("XLEN", store.names.events) == 300  # not in the journal
    await store.journal.shipped(newest[0][0])
    await asyncio.sleep(0.002)
    await store.upkeep.trim_events(0)
    assert await store.pipeline.command("XLEN", store.names.events) < 300


async def test_nothing_is_trimmed_that_no_reader_has_judged(store: Store) -> None:
    for _ in range(300):
        await store.jobs.accept(make_job())
    lot = await store.deliveries.unread(1, 1)
    await store.deliveries.queue(lot, [])
    last = (await store.deliveries.unread(1000, 1000)).events[-1].id.partition(".")[0]
    await store.journal.shipped(last)
    await asyncio.sleep(0.002)
    await store.upkeep.trim_events(0)
    rest = await store.deliveries.unread(1000, 1000)
    assert len(rest.events) == 299
    await store.deliveries.queue(rest, [])
    await store.upkeep.trim_events(0)
    assert await store.pipeline.command("XLEN", store.names.events) < 300
