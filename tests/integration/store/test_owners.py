"""What owners are granted and what they use: exact, at once, and not lost."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from fileproc.errors import QuotaError
from fileproc.jobs import JobState
from fileproc.store import Grant, Lease, Settlement, Store
from fileproc.store.owners import quota_error
from support.jobs import PROBLEM, make_file, make_job, make_result

if TYPE_CHECKING:
    from fileproc.settings import Settings
    from support.books import Books

pytestmark = pytest.mark.usefixtures("books")


async def take(store: Store, free: int = 50, lane: str = "default") -> list[Lease]:
    return await store.queue.claim(lane, 0, free, store.queue.next_call())


async def refused(store: Store, **others: Any) -> QuotaError:
    with pytest.raises(QuotaError) as caught:
        await store.jobs.accept(make_job(**others))
    assert caught.value.retry_after_s is not None
    return caught.value


async def test_caps_and_quotas_hold_over_many_processes_at_once(
    settings: Settings, books: Books
) -> None:
    from fileproc.store import open_store

    async with (
        open_store(settings) as one,
        open_store(settings) as two,
        open_store(settings) as three,
    ):
        stores = (one, two, three)
        await one.owners.set("acme", Grant(jobs_per_day=50))
        await one.owners.set("other", Grant(max_queued=30))
        jobs = [
            store.jobs.accept(make_job(owner=owner))
            for store in stores
            for _ in range(40)
            for owner in ("acme", "other")
        ]
        outcomes = await asyncio.gather(*jobs, return_exceptions=True)
        quotas = [outcome for outcome in outcomes if isinstance(outcome, QuotaError)]
        assert len(outcomes) - len(quotas) == 50 + 30
        assert {error.extra["limit"] for error in quotas} == {
            "quota_jobs_per_day",
            "max_queued_per_owner",
        }
    assert len(books.zset("jobs:acme")) == 50
    assert len(books.zset("jobs:other")) == 30


async def test_quotas_of_the_day_are_exact(store: Store, books: Books) -> None:
    await store.owners.set("acme", Grant(jobs_per_day=3, bytes_per_day=100))
    await store.jobs.accept(make_job(new_files=[make_file(content=b"x" * 60)]))
    error = await refused(store, new_files=[make_file(content=b"x" * 41)])
    told = {name: error.extra[name] for name in ("limit", "allowed", "used")}
    assert told == {"limit": "quota_bytes_per_day", "allowed": 100, "used": 60}
    assert 0 < (error.retry_after_s or 0) <= 86_400
    await store.jobs.accept(make_job(new_files=[make_file(content=b"x" * 40)]))
    await refused(store, new_files=[make_file(content=b"x")])
    again = make_job()  # without a file of its own
    await store.jobs.accept(again)
    await store.jobs.accept(again)  # sent again: it is there, and no other
    assert (await refused(store)).extra["used"] == 3
    for job_id in books.zset("jobs:acme"):  # what was submitted stays submitted
        await store.jobs.cancel("acme", job_id)
        await store.jobs.delete("acme", job_id)
    assert (await refused(store)).extra["limit"] == "quota_jobs_per_day"
    await store.jobs.accept(make_job(owner="other"))
    used = await store.usage.of("acme", 2)
    assert (used.days[0].jobs, used.days[0].bytes, used.days[1].jobs) == (3, 100, 0)
    assert used.resets_at - timedelta(days=1) <= datetime.now(UTC) <= used.resets_at


async def test_files_that_are_uploaded_on_their_own_count_as_well(store: Store) -> None:
    await store.owners.set("acme", Grant(bytes_per_day=10, cpu_s_per_day=1, max_queued=1))
    await store.jobs.accept(make_job())  # nothing else may wait, and no job is made here
    kept = make_file(content=b"x" * 6)
    await store.files.put("acme", kept, 3600)
    await store.files.put("acme", kept, 3600)  # sent again: it is there
    with pytest.raises(QuotaError) as caught:
        await store.files.put("acme", make_file(content=b"x" * 5), 3600)
    assert (caught.value.extra["limit"], caught.value.extra["used"]) == ("quota_bytes_per_day", 6)
    await store.files.put("acme", make_file(content=b"x" * 4), 3600)
    assert (await store.usage.of("acme", 1)).days[0].bytes == 10


async def test_yesterday_does_not_count(store: Store) -> None:
    today = await store.pipeline.now_ms() // 86_400_000
    await store.usage.restore("acme", today - 1, {"jobs": 500, "cpu": 9_000_000})
    await store.owners.set("acme", Grant(jobs_per_day=1, cpu_s_per_day=1))
    await store.jobs.accept(make_job())
    days = (await store.usage.of("acme", 3)).days
    assert [(day.jobs, day.cpu_s) for day in days] == [(1, 0), (500, 9000), (0, 0)]


async def test_cpu_is_counted_once_for_each_attempt(store: Store) -> None:
    await store.owners.set("acme", Grant(cpu_s_per_day=10))
    for _ in range(3):
        await store.jobs.accept(make_job())
    done, failed, put_off = await take(store)
    ends = [
        Settlement.complete(done, make_result(done)),
        Settlement.fail(failed, PROBLEM),
        Settlement.retry(put_off, PROBLEM, 3600),
    ]
    for end in ends:
        costs = dataclasses.replace(end, cpu_ms=3_335)
        await store.queue.settle(costs)
        await store.queue.settle(costs)  # its reply was lost
    await store.queue.settle(dataclasses.replace(ends[0], token="99", cpu_ms=50_000))
    assert (await store.usage.of("acme", 1)).days[0].cpu_s == pytest.approx(10.005)
    error = await refused(store)
    assert (error.extra["limit"], error.extra["allowed"]) == ("quota_cpu_s_per_day", 10)
    assert "00:00 UTC" in error.detail


def test_quota_of_a_day_says_when_the_next_one_begins() -> None:
    error = quota_error(["quota", "jobs", "10", "10", "1500"])
    assert (error.retry_after_s, error.extra["used"]) == (2, 10)
    assert error.detail.endswith("A new day begins at 00:00 UTC, in 1 min.")
    later = quota_error(["quota", "cpu", "10000", "10999", str(7_500_000)])
    assert later.detail.endswith("00:00 UTC, in 2 h 5 min.")
    assert (later.extra["allowed"], later.extra["used"]) == (10, 10)
    waiting = quota_error(["quota", "queued", "10", "9", 0], wanted=3)
    assert waiting.retry_after_s == 30
    assert waiting.detail.startswith("3 jobs are too many now. 9 of your jobs are waiting")


async def test_room_is_asked_for_as_accept_decides(store: Store) -> None:
    await store.owners.set("acme", Grant(bytes_per_day=10, max_queued=1))
    await store.owners.check_room("acme", 10)
    with pytest.raises(QuotaError):
        await store.owners.check_room("acme", 11)
    await store.jobs.accept(make_job())
    with pytest.raises(QuotaError):
        await store.owners.check_room("acme", 1)
    await store.owners.check_room("other", 10**15)


async def test_what_the_operator_sets_holds_at_once_for_what_waits(
    store: Store, books: Books
) -> None:
    await store.owners.set("acme", Grant(max_running=2))
    for _ in range(10):
        await store.jobs.accept(make_job())
    assert len(await take(store)) == 2
    await store.owners.set("acme", Grant(max_running=5))
    assert len(await take(store)) == 3
    assert books.complaints() == []
    await store.owners.set("acme", Grant(max_running=1))  # takes nothing away
    assert await take(store) == []
    await store.owners.set("acme", Grant())
    assert len(await take(store)) == 5
    assert (await store.owners.get("acme")).changed_at is None
    assert await store.owners.list() == []


async def test_owner_of_weight_three_gets_three_turns_of_four(store: Store) -> None:
    await store.owners.set("three", Grant(weight=3))
    for _ in range(120):
        for owner in ("one", "three"):
            await store.jobs.accept(make_job(owner=owner))
    order = [lease.owner for _ in range(20) for lease in await take(store, 4)]
    assert 14 <= order[16:].count("one") <= 18  # a fourth, but for the first short list


async def test_setting_for_everybody_holds_where_nothing_else_is_said(
    settings: Settings, books: Books
) -> None:
    from fileproc.store import open_store

    chosen = settings.model_copy(update={"max_running_per_owner": 1, "quota_jobs_per_day": 4})
    async with open_store(chosen) as store:
        await store.owners.set("free", Grant(max_running=3, jobs_per_day=100))
        for _ in range(4):
            for owner in ("free", "bound"):
                await store.jobs.accept(make_job(owner=owner))
        owners = [lease.owner for lease in await take(store)]
        assert sorted(owners) == ["bound", "free", "free", "free"]
        await refused(store, owner="bound")
        await store.jobs.accept(make_job(owner="free"))
    assert books.complaints() == []


async def test_paused_owner_waits_in_every_lane_and_others_go_on(store: Store) -> None:
    for lane in ("default", "heavy"):
        await store.jobs.accept(make_job(lane=lane))
        await store.jobs.accept(make_job(owner="other", lane=lane))
        await store.upkeep.pause(lane, "acme")
    usage = await store.usage.of("acme", 1)
    assert usage.paused_lanes == ["default", "heavy"]
    assert usage.jobs[JobState.QUEUED] == 2
    taken = [*await take(store), *await take(store, lane="heavy")]
    assert [lease.owner for lease in taken] == ["other", "other"]
    for lane in ("default", "heavy"):
        await store.upkeep.resume(lane, "acme")
    taken = [*await take(store), *await take(store, lane="heavy")]
    assert [lease.owner for lease in taken] == ["acme", "acme"]
