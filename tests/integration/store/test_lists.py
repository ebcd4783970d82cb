"""Pages of an owner's jobs: by time, by state, across equal moments."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from fileproc.errors import BacklogError, GoneError, WrongStateError
from fileproc.ids import new_id
from fileproc.jobs import Job
from fileproc.store import JobFilter, Replay, Reservation, Settlement, Store
from fileproc.store.cursors import decode_cursor, encode_cursor, pairs
from fileproc.store.idempotency import LIFE_S, RESERVED_S
from support.clock import step_clock
from support.jobs import make_file, make_job, make_result

if TYPE_CHECKING:
    from support.books import Books

SECOND = timedelta(seconds=1)


async def pages(store: Store, wanted: JobFilter, limit: int) -> list[list[Job]]:
    found, cursor = [], None
    while True:
        page = await store.jobs.list("acme", wanted, cursor=cursor, limit=limit)
        found.append(page.jobs)
        cursor = page.next_cursor
        if cursor is None:
            return found


async def made_at(store: Store, books: Books, *moments_s: int) -> list[str]:
    """Jobs whose records say that they were made at these moments."""
    ids = []
    for moment in moments_s:
        new = make_job()
        await store.jobs.accept(new)
        books.redis.hset(books.key(f"job:{new.id}"), "ca", moment * 1000)
        for index in ("jobs:acme", "jobs:acme:queued"):
            books.redis.zadd(books.key(index), {new.id: moment * 1000})
        ids.append(new.id)
    return ids


async def test_jobs_of_one_moment_are_all_shown_once(store: Store, books: Books) -> None:
    ids = await made_at(store, books, 5, 5, 5, 5, 5, 5, 5, 9, 1)
    shown = await pages(store, JobFilter(), 2)
    assert [len(page) for page in shown] == [2, 2, 2, 2, 1]
    flat = [job.id for page in shown for job in page]
    assert flat == [ids[7], *sorted(ids[:7], reverse=True), ids[8]]


async def test_page_that_is_just_full_is_the_last(store: Store, books: Books) -> None:
    await made_at(store, books, 1, 2, 3)
    assert [len(page) for page in await pages(store, JobFilter(), 3)] == [3]
    assert [len(page) for page in await pages(store, JobFilter(), 1)] == [1, 1, 1]


async def test_files_of_one_moment_are_all_shown_once(store: Store, books: Books) -> None:
    ids = []
    for _ in range(5):
        info = make_file()
        await store.files.put("acme", info, 3600)
        books.redis.hset(books.key(f"file:{info.file_id}"), "ca", 5)
        books.redis.zadd(books.key("files:acme"), {info.file_id: 5})
        ids.append(info.file_id)
    shown: list[str] = []
    cursor = None
    while True:
        page = await store.files.list("acme", cursor=cursor, limit=2)
        shown += [file.info.file_id for file in page.files]
        if (cursor := page.next_cursor) is None:
            break
    assert shown == sorted(ids, reverse=True)


async def test_failed_jobs_of_one_moment_are_all_found_and_none_twice(
    store: Store, books: Books
) -> None:
    ids = [new_id("job") for _ in range(7)]
    books.redis.zadd(books.key("dead:acme"), dict.fromkeys(ids, 5))
    try:
        found: list[str] = []
        after = (0, "")
        while entries := await store.jobs.dead("acme", after=after, until=9, count=2):
            found += [job_id for job_id, _ in entries]
            after = (entries[-1][1], entries[-1][0])
        assert found == sorted(ids)
    finally:
        books.redis.delete(books.key("dead:acme"))


async def test_page_has_fifty_jobs_unless_it_is_said_how_many(store: Store) -> None:
    await asyncio.gather(*(store.jobs.accept(make_job()) for _ in range(51)))
    page = await store.jobs.list("acme", JobFilter())
    assert len(page.jobs) == 50
    assert page.next_cursor is not None


@pytest.mark.parametrize("reply", [["a", "1", "b", "2"], [["a", 1.0], ["b", 2.0]]])
def test_members_and_scores_are_found_in_either_protocols_reply(reply: list[Any]) -> None:
    assert pairs(reply) == [("a", 1), ("b", 2)]
    assert pairs([]) == []
    with pytest.raises(ValueError, match="shorter"):
        pairs(["a", "1", "b"])


async def test_jobs_are_found_by_when_they_were_made(store: Store, books: Books) -> None:
    ids = await made_at(store, books, 10, 20, 30)
    twenty = datetime.fromtimestamp(20, UTC)

    async def found(**bounds: datetime) -> list[str]:
        page = await store.jobs.list("acme", JobFilter(**bounds))  # type: ignore[arg-type]  # datetimes
        return [job.id for job in page.jobs]

    assert await found(created_after=twenty) == [ids[2], ids[1]]  # the moment itself belongs to it
    assert await found(created_before=twenty) == [ids[0]]  # and not here
    assert await found(created_after=twenty - SECOND, created_before=twenty + SECOND) == [ids[1]]
    assert await found(created_after=twenty + SECOND, created_before=twenty) == []


async def test_second_page_keeps_to_the_bounds(store: Store, books: Books) -> None:
    ids = await made_at(store, books, 10, 20, 30, 40)
    bounds = JobFilter(
        created_after=datetime.fromtimestamp(20, UTC),
        created_before=datetime.fromtimestamp(40, UTC),
    )
    assert [[job.id for job in page] for page in await pages(store, bounds, 1)] == [
        [ids[2]],
        [ids[1]],
    ]


@pytest.mark.parametrize("most", [3, 4])
async def test_one_page_looks_at_a_thousand_at_most(
    store: Store, books: Books, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr("fileproc.store.jobs.MOST_SCANNED", most)
    ids = await made_at(store, books, *range(1, 10))
    rare = await made_at(store, books, 0)
    document = make_job().document.model_copy(update={"labels": {"a": "b"}})
    books.redis.hset(books.key(f"job:{rare[0]}"), "doc", document.model_dump_json())
    shown = await pages(store, JobFilter(labels={"a": "b"}), 1)
    assert [job.id for page in shown for job in page] == rare
    # Two at a time, as one more than the limit is read: short pages of four, with a cursor.
    assert [len(page) for page in shown] == [0, 0, 1]
    everything = await pages(store, JobFilter(), 2)
    assert len([job for page in everything for job in page]) == len(ids) + 1


async def test_all_labels_must_agree_and_the_operation_too(store: Store) -> None:
    document = make_job().document
    both = document.model_copy(update={"labels": {"a": "1", "b": "2"}, "operation": "file.probe"})
    first, second = make_job(document=both), make_job(document=document)
    for new in (first, second):
        await store.jobs.accept(new)

    async def found(**wanted: Any) -> set[str]:
        return {job.id for job in (await store.jobs.list("acme", JobFilter(**wanted))).jobs}

    assert await found(labels={"a": "1"}) == {first.id}
    assert await found(labels={"a": "1", "b": "3"}) == set()
    assert await found(labels={"a": "1"}, operation="debug.sleep") == set()
    assert await found(operation="debug.sleep") == {second.id}
    assert await found() == {first.id, second.id}


async def test_deleted_while_listed_is_left_out(store: Store, books: Books) -> None:
    ids = await made_at(store, books, 1, 2, 3)
    books.redis.zadd(books.key("jobs:acme"), {"job_gone": 2500})
    shown = await store.jobs.list("acme", JobFilter())
    books.redis.zrem(books.key("jobs:acme"), "job_gone")
    assert [job.id for job in shown.jobs] == ids[::-1]


def test_cursor_is_opaque_and_short() -> None:
    cursor = encode_cursor(1_700_000_000_000, "job_1")
    assert "=" not in cursor
    assert base64.urlsafe_b64decode(cursor + "==") == b"1700000000000 job_1"
    for job_id in ("j", "jo", "job", "job_"):
        assert decode_cursor(encode_cursor(5, job_id)) == (5, job_id)


async def test_backlog_of_events_refuses_new_jobs(store: Store) -> None:
    store.jobs._max_event_backlog = 2
    for _ in range(2):
        await store.jobs.accept(make_job())
    with pytest.raises(BacklogError, match="2 events") as refused:
        await store.jobs.accept(make_job())
    assert refused.value.retry_after_s


async def test_accept_tells_when_by_the_servers_clock(store: Store) -> None:
    new = make_job()
    job_id, accepted = await store.jobs.accept_at(new)
    job = await store.jobs.get("acme", job_id)
    assert accepted == job.created_at
    assert await store.jobs.accept_at(new) == (job_id, accepted)  # sent again


async def test_wrong_state_names_the_state(store: Store) -> None:
    await store.jobs.accept(make_job())
    (lease,) = await store.queue.claim("default", 0, 1, store.queue.next_call())
    await store.queue.settle(Settlement.complete(lease, make_result(lease)))
    with pytest.raises(WrongStateError) as refused:
        await store.jobs.cancel("acme", lease.job_id)
    assert refused.value.extra == {"state": "succeeded"}


async def test_documents_and_limits_arrive_as_they_were_given(store: Store, books: Books) -> None:
    document = make_job().document.model_copy(
        update={"priority": "low", "metadata": {"n": None}, "timeout_s": 3.5, "retention_s": 60}
    )
    new = make_job(document=document, max_attempts=7, retention_s=60, lane="heavy")
    await store.jobs.accept(new)
    job = await store.jobs.get("acme", new.id)
    assert (job.document, job.max_attempts, job.lane) == (document, 7, "heavy")
    record = books.jobs()[new.id]
    assert "null" not in record["doc"].replace('"n":null', "")  # the usual is left out
    assert record["rt"] == "60000"
    assert int(record["sc"]) == int(record["ca"]) + 60_000  # low: a minute behind


@pytest.mark.parametrize(("priority", "head_start"), [("high", 60_000), ("normal", 0)])
async def test_priority_is_a_head_start_of_a_minute(
    store: Store, books: Books, priority: str, head_start: int
) -> None:
    document = make_job().document.model_copy(update={"priority": priority})
    await store.jobs.accept(new := make_job(document=document))
    record = books.jobs()[new.id]
    assert int(record["ca"]) - int(record["sc"]) == head_start


async def test_plain_job_has_no_times_to_keep_and_an_ordinary_weight(
    store: Store, books: Books
) -> None:
    info = make_file()
    await store.jobs.accept(new := make_job(new_files=[info]))
    assert await store.upkeep.tick() == (0, 0)
    now = books.look()
    assert (now.zset("deadlines"), now.zset("delayed")) == ({}, {})
    flow = now.flows["default", "acme"]
    assert (flow.get("cap", "0"), flow.get("weight", "1")) == ("0", "1")
    assert now.jobs[new.id].get("due") is None
    assert "null" not in now.hashes[f"file:{info.file_id}"]["meta"]


async def test_files_are_known_for_as_long_as_they_are_used(store: Store) -> None:
    info = make_file()
    assert await store.files.exists(info.file_id) is False
    await store.jobs.accept(new := make_job(new_files=[info]))
    assert await store.files.exists(info.file_id) is True
    await store.jobs.delete("acme", new.id)
    assert await store.files.exists(info.file_id) is False


async def test_deleted_job_cannot_be_deleted_again(store: Store) -> None:
    await store.jobs.accept(new := make_job())
    await store.jobs.delete("acme", new.id)
    with pytest.raises(GoneError):
        await store.jobs.delete("acme", new.id)


async def test_tombstone_stays_for_a_week(store: Store, books: Books) -> None:
    await store.jobs.accept(new := make_job())
    await store.jobs.delete("acme", new.id)
    assert books.look().lives[f"job:{new.id}"] == pytest.approx(7 * 86_400_000, rel=0.01)


async def test_reservation_ends_by_itself_and_a_renewed_one_does_not(
    store: Store, books: Books
) -> None:
    held = await store.idempotency.reserve("acme", "k")
    assert isinstance(held, Reservation)
    (name,) = books.look().strings.keys() - {"schema"}
    assert books.look().lives[name] == pytest.approx(RESERVED_S * 1000, rel=0.1)
    step_clock(books.redis, books.prefix, 20_000)
    await store.idempotency.renew(held)
    step_clock(books.redis, books.prefix, 20_000)
    assert name in books.look().strings
    step_clock(books.redis, books.prefix, 20_000)
    assert isinstance(await store.idempotency.reserve("acme", "k"), Reservation)


async def test_key_names_its_job_for_a_day(store: Store, books: Books) -> None:
    held = await store.idempotency.reserve("acme", "k")
    assert isinstance(held, Reservation)
    await store.jobs.accept(new := make_job(reservation=held, fingerprint="f"))
    (name,) = books.look().strings.keys() - {"schema"}
    assert books.look().lives[name] == pytest.approx(LIFE_S * 1000, rel=0.01)
    step_clock(books.redis, books.prefix, 80_000_000)
    assert await store.idempotency.reserve("acme", "k") == Replay("f", new.id)
    step_clock(books.redis, books.prefix, 10_000_000)
    assert isinstance(await store.idempotency.reserve("acme", "k"), Reservation)
