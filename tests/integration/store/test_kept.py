"""What a failed job keeps of its steps: committed with the failure, there while it is needed."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fileproc.errors import NothingKeptError
from fileproc.jobs import PIPELINE, JobDocument, JobState, Step, StepState
from fileproc.store import Lease, NewJob, Settlement, Store, Verdict
from support.jobs import due_trash, make_failure, make_job

if TYPE_CHECKING:
    from support.books import Books

pytestmark = pytest.mark.usefixtures("books")

STEPS = [
    Step(name="first", operation="debug.sleep"),
    Step(name="second", operation="debug.fail", needs=["first"]),
]


async def take(store: Store) -> Lease:
    (lease,) = await store.queue.claim("default", 0, 1, store.queue.next_call())
    return lease


async def failed(store: Store) -> tuple[Lease, str]:
    """A pipeline that has failed, and where it has kept something."""
    document = JobDocument(operation=PIPELINE, steps=STEPS)
    await store.jobs.accept(make_job(document=document))
    lease = await take(store)
    problem, prefix = make_failure(lease)
    assert await store.queue.settle(Settlement.fail(lease, problem, "", prefix)) is Verdict.DONE
    return lease, prefix


async def repeated(store: Store, lease: Lease) -> NewJob:
    """A job that goes on from there, not yet accepted."""
    kept = (await store.jobs.get("acme", lease.job_id)).kept
    assert kept is not None
    document = JobDocument(operation=PIPELINE, steps=STEPS, retry_of=lease.job_id, resume=kept)
    return make_job(document=document)


async def test_a_failure_says_what_is_kept_and_deletion_takes_it_away(store: Store) -> None:
    lease, prefix = await failed(store)
    job = await store.jobs.get("acme", lease.job_id)
    assert job.kept is not None
    assert (job.state, job.kept.prefix, job.kept.steps) == (JobState.FAILED, prefix, ["first"])
    assert await store.upkeep.live_prefix(lease.job_id) == ("failed", lease.token, prefix)
    assert prefix not in await due_trash(store)
    await store.jobs.delete("acme", lease.job_id)
    assert prefix in await due_trash(store)


async def test_settling_a_failure_twice_spares_what_is_kept(store: Store) -> None:
    lease, prefix = await failed(store)
    problem, _ = make_failure(lease)
    again = Settlement.fail(lease, problem, "", prefix)
    assert await store.queue.settle(again) is Verdict.DONE_BEFORE
    late = Settlement.release(lease)  # a confused worker, after its own end
    assert await store.queue.settle(replace(late, kept=prefix)) is Verdict.STALE
    assert await due_trash(store) == []


async def test_whatever_else_comes_of_the_attempt_nothing_is_kept(store: Store) -> None:
    trashed = []
    for way in (Settlement.cancel, Settlement.release):
        await store.jobs.accept(make_job())
        lease = await take(store)
        _, prefix = make_failure(lease)
        await store.queue.settle(replace(way(lease), kept=prefix))
        trashed.append(prefix)
    lease = await take(store)  # it was handed back
    zombie = replace(lease, token="0")
    problem, prefix = make_failure(zombie)
    stale = Settlement.fail(zombie, problem, "", prefix)
    assert await store.queue.settle(stale) is Verdict.STALE
    assert set(await due_trash(store)) == {*trashed, prefix}


async def test_two_jobs_that_go_on_at_once_share_it_and_outlive_the_first(
    store: Store, books: Books
) -> None:
    lease, prefix = await failed(store)
    jobs = [await repeated(store, lease) for _ in range(2)]
    await asyncio.gather(*(store.jobs.accept(job) for job in jobs))
    await store.jobs.accept(jobs[0])  # its answer was lost
    assert books.look().hashes.get("shared") == {prefix: "3"}
    untold = (await store.jobs.get("acme", jobs[0].id)).steps
    assert [step.state for step in untold] == [StepState.REUSED, StepState.WAITING]
    await store.jobs.delete("acme", lease.job_id)
    assert prefix not in await due_trash(store)
    await store.jobs.cancel("acme", jobs[0].id)
    assert prefix not in await due_trash(store)
    again = await take(store)
    assert again.document.resume is not None
    assert again.document.resume.prefix == prefix
    await store.jobs.delete("acme", jobs[1].id)  # while it runs: it is still needed
    assert prefix not in await due_trash(store)
    await store.queue.settle(Settlement.cancel(again))
    assert prefix in await due_trash(store)


async def test_an_attempt_that_is_lost_or_tried_again_still_has_it(
    store: Store, books: Books
) -> None:
    lease, prefix = await failed(store)
    await store.jobs.accept(await repeated(store, lease))
    again = await take(store)
    problem, _ = make_failure(again)
    await store.queue.settle(Settlement.retry(again, problem, 0))
    await store.upkeep.tick()
    again = await take(store)
    await store.queue.settle(Settlement.release(again))
    assert books.look().hashes["shared"] == {prefix: "2"}
    await store.queue.settle(Settlement.cancel(await take(store)))
    assert books.look().hashes["shared"] == {prefix: "1"}
    assert await due_trash(store) == []


async def test_what_is_gone_or_of_another_cannot_be_gone_on_from(store: Store) -> None:
    lease, _ = await failed(store)
    job = await repeated(store, lease)
    other, _ = await failed(store)
    assert job.document.resume is not None
    foreign = job.document.model_copy(update={"retry_of": other.job_id})
    for wrong in (
        replace(job, owner="umbrella"),
        replace(job, document=foreign),
        replace(job, document=job.document.model_copy(update={"retry_of": None})),
    ):
        with pytest.raises(NothingKeptError):
            await store.jobs.accept(wrong)
    await store.jobs.delete("acme", lease.job_id)
    with pytest.raises(NothingKeptError):
        await store.jobs.accept(job)


async def test_a_job_deleted_while_it_runs_keeps_nothing(store: Store) -> None:
    await store.jobs.accept(make_job())
    lease = await take(store)
    await store.jobs.delete("acme", lease.job_id)
    problem, prefix = make_failure(lease)
    await store.queue.settle(Settlement.fail(lease, problem, "", prefix))
    await store.upkeep.purge()
    assert prefix in await due_trash(store)
