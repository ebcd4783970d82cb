"""Batches in a store that is built again from the journal."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from fileproc.errors import GoneError, NotFoundError
from fileproc.ids import new_id
from fileproc.jobs import JobDocument, JobState
from fileproc.objects import journal_key
from fileproc.store import (
    Batch,
    BatchDocument,
    JobFilter,
    NewBatch,
    Replay,
    Reservation,
    Settlement,
    Store,
)
from fileproc.worker.rebuild import rebuild
from support.clock import step_clock
from support.jobs import PROBLEM, due_trash, make_file, make_job, make_result
from support.losses import store_object

if TYPE_CHECKING:
    from fileproc.resources import Resources
    from fileproc.store import Lease
    from fileproc.worker.shipper import Shipper
    from support.books import Books

pytestmark = pytest.mark.usefixtures("books")


async def accepted(store: Store, number: int, key: str | None = None) -> Batch:
    batch_id = new_id("batch")
    document = JobDocument(operation="debug.sleep", batch=batch_id)
    jobs = [make_job(document=document) for _ in range(number)]
    held: Any = await store.idempotency.reserve("acme", key) if key else None
    about = BatchDocument(name="ü", labels={"a": "b"})
    await store.batches.accept(NewBatch(batch_id, "acme", about, jobs, held, "f"))
    return await store.batches.get("acme", batch_id)


async def take(store: Store, free: int = 1) -> list[Lease]:
    return await store.queue.claim("default", 0, free, store.queue.next_call())


async def done(store: Store, lease: Lease) -> None:
    await store.queue.settle(Settlement.complete(lease, make_result(lease)))


async def test_of_two_with_one_key_the_second_is_the_first(resources: Resources) -> None:
    store = resources.store
    first = await accepted(store, 2, "a key")
    jobs = [make_job(document=JobDocument(operation="debug.sleep", batch=new_id("batch")))]
    late = NewBatch(
        str(jobs[0].document.batch),
        *("acme", BatchDocument(), jobs),
        Reservation("acme", hashlib.sha256(b"a key").hexdigest(), "another's"),
        "f",
    )
    assert await store.batches.accept(late) == first.id
    with pytest.raises((GoneError, NotFoundError)):
        await store.batches.get("acme", late.id)


@pytest.mark.parametrize("compacted", [True, False])
@pytest.mark.usefixtures("settled")
async def test_a_batch_goes_on_where_it_was(
    resources: Resources, shipper: Shipper, books: Books, *, compacted: bool
) -> None:
    store = resources.store
    batch = await accepted(store, 6, key="k")
    await shipper.ship()
    leases = await take(store, 4)
    await done(store, leases[0])
    await store.queue.settle(Settlement.fail(leases[1], PROBLEM))
    await done(store, leases[2])
    await store.jobs.delete("acme", leases[2].job_id)  # it counts all the same
    await shipper.ship()
    await store.jobs.accept(make_job())
    await shipper.ship()
    before = await store.batches.get("acme", batch.id)
    if compacted:
        assert await shipper.compact(least=2) == 2
    books.wipe()
    assert (await rebuild(resources)).batches == 1
    now = await store.batches.get("acme", batch.id)
    assert now.counts == {JobState.SUCCEEDED: 2, JobState.FAILED: 1, JobState.QUEUED: 3}
    assert (now.document, now.total, now.created_at) == (
        *(before.document, before.total, before.created_at),
    )
    assert [one.id for one in (await store.batches.list("acme")).batches] == [batch.id]
    assert await store.idempotency.reserve("acme", "k") == Replay("f", batch.id)
    assert books.complaints() == []
    for lease in await take(store, 10):
        await done(store, lease)
    ended = await store.batches.get("acme", batch.id)
    assert (ended.completed, ended.done) == (True, 6)
    lines = [line for _, some in await store.journal.unshipped() for line in some.split("\n")]
    assert sum(" batch_completed " in line for line in lines) == 1


@pytest.mark.usefixtures("settled")
async def test_a_completed_batch_is_not_ended_again(
    resources: Resources, shipper: Shipper, books: Books
) -> None:
    store = resources.store
    batch = await accepted(store, 2)
    for lease in await take(store, 2):
        await done(store, lease)
    await shipper.ship()
    before = await store.batches.get("acme", batch.id)
    books.wipe()
    await rebuild(resources)
    now = await store.batches.get("acme", batch.id)
    assert (now.counts, now.finished_at, now.expires_at) == (
        *(before.counts, before.finished_at, before.expires_at),
    )
    assert await store.journal.unshipped() == []
    assert isinstance(await store.idempotency.reserve("acme", "k"), Reservation)


async def test_a_promoted_replica_learns_what_became_of_its_batches(
    resources: Resources, shipper: Shipper, books: Books
) -> None:
    store = resources.store
    going, over = await accepted(store, 3), await accepted(store, 1)
    before = {key: books.redis.dump(key) for key in books.redis.scan_iter(books.key("*"))}
    late = await accepted(store, 1)
    for lease in await take(store, 4):
        await done(store, lease)
    await shipper.ship()
    kept = {
        batch.id: (await store.batches.get("acme", batch.id)).counts
        for batch in (going, over, late)
    }
    books.wipe()
    for key, dump in before.items():
        books.redis.restore(key, 0, dump)
    await rebuild(resources)
    for batch_id, counts in kept.items():
        assert (await store.batches.get("acme", batch_id)).counts == counts
    assert (await store.batches.get("acme", over.id)).completed
    assert books.complaints() == []


async def test_a_batch_whose_retention_is_over_stays_away(
    resources: Resources, shipper: Shipper, books: Books
) -> None:
    store = resources.store
    batch = await accepted(store, 1)
    (lease,) = await take(store)
    await done(store, lease)
    await shipper.ship()
    step_clock(books.redis, books.prefix, 3_600_001)
    await store.upkeep.purge()
    assert await store.batches.end() == 1
    await shipper.ship()
    books.wipe()
    report = await rebuild(resources)
    assert report.batches == 0
    assert not [name for name in books.look().names if batch.id in name]


@pytest.mark.parametrize("broken", [False, True])
async def test_jobs_of_a_batch_that_was_never_whole_are_withdrawn(
    resources: Resources, shipper: Shipper, books: Books, *, broken: bool
) -> None:
    """Its api died, or was still at it: nobody was told, and whoever asks again asks for all."""
    store = resources.store
    whole, half = await accepted(store, 2), new_id("batch")
    document = JobDocument(operation="debug.sleep", batch=half)
    jobs = [make_job(document=document) for _ in range(3)]
    brought = make_file()
    jobs[0] = replace(jobs[0], new_files=[brought])
    await store.batches._open(NewBatch(half, "acme", BatchDocument(), [*jobs, make_job()]))
    for job in jobs:
        await store.jobs.accept(job)
    await shipper.ship()
    books.wipe()
    if broken:  # what is missing may have told that it was whole
        await store_object(resources, journal_key("1-0_2-0"), b"no gzip")
    for dry_run in (True, False):
        report = await rebuild(resources, dry_run=dry_run)
        assert (report.queued, report.withdrawn) == ((5, 0) if broken else (2, 3))
    if not broken:
        assert {lease.document.batch for lease in await take(store, 9)} == {whole.id}
        await shipper.ship()
        assert f"files/{brought.file_id}" in await due_trash(store)
        books.wipe()
        assert (await rebuild(resources)).withdrawn == 0  # the journal has been told


async def test_a_cancel_misses_none_where_others_are_forgotten_meanwhile(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fileproc.store.batches.AT_ONCE", 2)
    batch = await accepted(store, 6)
    first, *_ = sorted((await store.jobs.list("acme", JobFilter())).jobs, key=lambda job: job.id)
    real = store.pipeline.script

    async def forgetful(name: str, *given: Any) -> Any:
        answer = await real(name, *given)
        if name == "cancel" and given[0] == first.id:
            await store.jobs.delete("acme", first.id)
        return answer

    monkeypatch.setattr(store.pipeline, "script", forgetful)
    assert (await store.batches.cancel("acme", batch.id)).completed
