"""Jobs that answer one another, or repeat one another, in a store that is built again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fileproc.errors import ErrorClass
from fileproc.jobs import PIPELINE, JobDocument, Step
from fileproc.store import Settlement
from fileproc.worker.rebuild import rebuild
from support.jobs import PROBLEM, due_trash, make_failure, make_job, make_result
from support.losses import copied, promote

if TYPE_CHECKING:
    from fileproc.resources import Resources
    from fileproc.store import Lease, Store
    from fileproc.worker.shipper import Shipper
    from support.books import Books

pytestmark = pytest.mark.usefixtures("books")

DIGEST = "d" * 64


async def taken(store: Store, **others: Any) -> Lease:
    await store.jobs.accept(make_job(**others))
    (lease,) = await store.queue.claim("default", 0, 1, store.queue.next_call())
    return lease


@pytest.mark.parametrize("original_deleted", [True, False])
async def test_outputs_that_two_jobs_have_stay_with_the_second(
    resources: Resources, shipper: Shipper, books: Books, *, original_deleted: bool
) -> None:
    store = resources.store
    lease = await taken(store, digest=DIGEST)
    result = make_result(lease)
    await store.queue.settle(Settlement.complete(lease, result))
    await store.jobs.accept(
        copy := make_job(digest=DIGEST, answered_by=lease.job_id, result=result)
    )
    if original_deleted:
        await store.jobs.delete("acme", lease.job_id)
    before = await store.jobs.get("acme", copy.id)
    await shipper.ship()
    books.wipe()
    await rebuild(resources)
    job = await store.jobs.get("acme", copy.id)
    assert (job.state, job.result, job.expires_at) == (before.state, result, before.expires_at)
    assert books.look().hashes["shared"] == {result.prefix: "1" if original_deleted else "2"}
    known = await store.jobs.answers("acme", DIGEST)
    assert known is not None
    assert known.id == copy.id
    if not original_deleted:
        await store.jobs.delete("acme", lease.job_id)
        assert result.prefix not in await due_trash(store)
    await store.jobs.delete("acme", copy.id)
    assert result.prefix in await due_trash(store)


@pytest.mark.parametrize("original_deleted", [True, False])
async def test_what_is_kept_for_a_retry_stays_with_whoever_needs_it(
    resources: Resources, shipper: Shipper, books: Books, *, original_deleted: bool
) -> None:
    store = resources.store
    steps = [Step(name="first", operation="debug.sleep")]
    lease = await taken(store, document=JobDocument(operation=PIPELINE, steps=steps))
    problem, prefix = make_failure(lease)
    await store.queue.settle(Settlement.fail(lease, problem, "", prefix))
    kept = (await store.jobs.get("acme", lease.job_id)).kept
    again = JobDocument(operation=PIPELINE, steps=steps, retry_of=lease.job_id, resume=kept)
    ended = await taken(store, document=again)
    await store.queue.settle(Settlement.complete(ended, make_result(ended)))
    running = await taken(store, document=again)
    replica = copied(books)
    if original_deleted:
        await store.jobs.delete("acme", lease.job_id)
    await shipper.ship()
    for left in ({}, replica):  # nothing; or what a replica had that was behind
        promote(books, left)
        await rebuild(resources)
        counted = {prefix: "1" if original_deleted else "2"}
        assert books.look().hashes["shared"] == counted
        assert books.look().jobs[running.job_id]["kp"] == prefix
        assert prefix not in await due_trash(store)
    if not original_deleted:
        assert (await store.jobs.get("acme", lease.job_id)).kept == kept
        await store.jobs.delete("acme", lease.job_id)
        assert prefix not in await due_trash(store)
    await store.queue.settle(Settlement.cancel(running))
    assert prefix in await due_trash(store)


async def test_what_failed_for_good_and_what_repeats_it_is_remembered(
    resources: Resources, shipper: Shipper, books: Books
) -> None:
    store = resources.store
    lasting = PROBLEM.model_copy(update={"error_class": ErrorClass.PERMANENT})
    lease = await taken(store, digest=DIGEST)
    await store.queue.settle(Settlement.fail(lease, lasting))
    passing = await taken(store, digest="e" * 64)
    await store.queue.settle(Settlement.fail(passing, PROBLEM))
    again = make_job(document=JobDocument(operation="debug.sleep", retry_of=lease.job_id))
    await store.jobs.accept(again)
    await shipper.ship()
    books.wipe()
    await rebuild(resources)
    known = await store.jobs.answers("acme", DIGEST)
    assert known is not None
    assert (known.id, known.retried_as) == (lease.job_id, again.id)
    assert await store.jobs.answers("acme", "e" * 64) is None
