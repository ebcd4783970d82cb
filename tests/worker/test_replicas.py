"""A replica that takes over, and rebuilds of a store that lives."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from fileproc.errors import FileprocError, GoneError, NotFoundError
from fileproc.jobs import JobState, Progress
from fileproc.store import Lease, Settlement, Store, Verdict
from fileproc.worker.janitor import Janitor
from fileproc.worker.rebuild import rebuild
from fileproc.worker.shipper import Shipper
from support.jobs import PROBLEM, make_file, make_job, make_result
from support.losses import (
    completed,
    copied,
    keys_below,
    leased,
    promote,
    shipped_jobs,
    store_object,
    take,
)

if TYPE_CHECKING:
    from fileproc.resources import Resources
    from fileproc.worker.shipper import Shipper
    from support.books import Books

pytestmark = pytest.mark.usefixtures("books")


# --- a replica that took over --------------------------------------------------------------------


async def test_job_that_ended_on_the_promoted_replica_stays_as_it_is(
    resources: Resources, shipper: Shipper, books: Books
) -> None:
    """Clients have seen that end, though the journal has a later version of another history."""
    store = resources.store
    await store.jobs.accept(make_job())
    before = copied(books)
    (old,) = await take(store)
    for done in range(5):
        progress = Progress(phase="p", done=done).model_dump_json()
        await store.queue.report_progress(old, "default", progress)
    await completed(resources, old)
    await shipper.ship()
    promote(books, before)
    (new,) = await take(store)
    output = await completed(resources, new, f"attempts/{new.job_id}/1-11111111/")
    await shipper.ship()
    for dry_run in (True, False):
        assert (await rebuild(resources, dry_run=dry_run)).present == 1
    shown = (await store.jobs.get("acme", new.job_id)).result
    assert shown is not None
    assert f"{shown.prefix}0" == output


async def test_an_end_that_the_replica_forgot_counts_however_far_it_has_counted_since(
    resources: Resources, shipper: Shipper, books: Books
) -> None:
    """Clients have seen the job succeed: it does not run again because the rebuild came late."""
    store = resources.store
    await store.jobs.accept(make_job())
    before = copied(books)
    (old,) = await take(store)
    output = await completed(resources, old)
    await shipper.ship()
    promote(books, before)
    (again,) = await take(store)
    for done in range(5):
        progress = Progress(phase="p", done=done).model_dump_json()
        await store.queue.report_progress(again, "default", progress)
    for dry_run in (True, False):
        assert (await rebuild(resources, dry_run=dry_run)).finished == 1
    job = await store.jobs.get("acme", old.job_id)
    assert (job.state, job.result and f"{job.result.prefix}0") == (JobState.SUCCEEDED, output)
    result = make_result(again)
    assert await store.queue.settle(Settlement.complete(again, result)) is Verdict.STALE


async def test_file_that_is_deleted_here_is_not_brought_back(
    resources: Resources, shipper: Shipper
) -> None:
    """Its owner was told so, though the journal has not heard of it yet."""
    store = resources.store
    kept = await store.files.put("acme", make_file(), 600)
    await shipper.ship()
    await store.files.delete("acme", kept.info.file_id)
    await rebuild(resources)
    with pytest.raises(GoneError):
        await store.files.get("acme", kept.info.file_id)


async def test_outputs_that_a_younger_job_has_too_are_counted_with_it(
    resources: Resources, shipper: Shipper, books: Books
) -> None:
    """One copy is in the journal and not here, another is here and not yet in the journal."""
    store = resources.store
    first = await leased(store)
    await completed(resources, first)
    await store.jobs.accept(make_job())
    before = copied(books)

    async def copy() -> str:
        known = await store.jobs.get("acme", first.job_id)
        return await store.jobs.accept(
            make_job(digest="d", answered_by=first.job_id, result=known.result)
        )

    there = await copy()
    await shipper.ship()
    promote(books, before)
    here = await copy()
    await rebuild(resources)
    assert books.complaints() == []
    prefix = books.jobs()[first.job_id]["pre"]
    for job_id in (first.job_id, there):
        await store.jobs.delete("acme", job_id)
        while await shipper.ship():
            pass
        assert prefix not in await store.upkeep.trash()
    books.wipe()
    await rebuild(resources)
    assert (await store.jobs.get("acme", here)).state is JobState.SUCCEEDED
    assert books.complaints() == []


async def test_job_that_failed_here_and_succeeded_there_has_one_end(
    resources: Resources, shipper: Shipper, books: Books
) -> None:
    store = resources.store
    await store.jobs.accept(make_job())
    before = copied(books)
    (old,) = await take(store)
    await store.queue.settle(Settlement.retry(old, PROBLEM, 0))
    await store.upkeep.tick()
    (old,) = await take(store)
    await store.queue.settle(Settlement.complete(old, make_result(old)))
    await shipper.ship()
    promote(books, before)
    (new,) = await take(store)
    await store.queue.settle(Settlement.fail(new, PROBLEM))
    await rebuild(resources)
    assert (await store.jobs.get("acme", new.job_id)).state is JobState.FAILED


async def test_restored_result_is_taken_out_of_the_trash(
    resources: Resources, shipper: Shipper, books: Books
) -> None:
    """The replica had the job running, and threw the attempt away when its lease ended."""
    store = resources.store
    old = await leased(store)
    before = copied(books)
    await store.queue.report_progress(old, "default", Progress(phase="p", done=1).model_dump_json())
    output = await completed(resources, old)
    await shipper.ship()
    promote(books, before)
    books.redis.zadd(books.key("leases"), {old.job_id: 1})
    await Janitor(resources, "test").round()
    assert (await rebuild(resources)).finished == 1
    if notes := books.zset("trash"):
        books.redis.zadd(books.key("trash"), dict.fromkeys(notes, 0))
    await shipper.ship()
    await Janitor(resources, "test").collect()
    assert await keys_below(resources, "attempts/") == [output]


async def test_file_of_a_restored_job_is_taken_out_of_the_trash(
    resources: Resources, shipper: Shipper, books: Books
) -> None:
    store = resources.store
    info = make_file()
    first = make_job(new_files=[info])
    await store.jobs.accept(first)
    await store_object(resources, f"files/{info.file_id}")
    before = copied(books)
    await store.jobs.accept(make_job(reused_files=[info.file_id]))
    await shipper.ship()
    promote(books, before)
    await store.jobs.delete("acme", first.id)
    await rebuild(resources)
    await shipper.ship()
    await Janitor(resources, "test").collect()
    assert await keys_below(resources, "files/") == [f"files/{info.file_id}"]


async def test_job_that_the_replica_had_popped_is_not_run_twice(
    resources: Resources, shipper: Shipper, books: Books
) -> None:
    store = resources.store
    for _ in range(2):
        await store.jobs.accept(make_job())
    assert await store.queue.wait("default")
    before = copied(books)
    first, second = await take(store, 2)
    await store.queue.settle(Settlement.complete(first, make_result(first)))
    await store.queue.settle(Settlement.release(second))
    await shipper.ship()
    promote(books, before)
    await rebuild(resources)
    (again,) = await take(store, 5)
    assert again.job_id == second.job_id
    done = Settlement.complete(again, make_result(again))
    assert await store.queue.settle(done) is Verdict.DONE


# --- a store that lives --------------------------------------------------------------------------


async def test_job_that_was_to_be_canceled_does_not_run_again(
    resources: Resources, shipper: Shipper, books: Books
) -> None:
    lease = await leased(resources.store)
    await resources.store.jobs.cancel("acme", lease.job_id)
    await shipper.ship()
    books.wipe()
    assert (await rebuild(resources)).finished == 1
    job = await resources.store.jobs.get("acme", lease.job_id)
    assert job.state is JobState.CANCELED
    assert job.finished_at


async def test_two_losses_in_a_row_hand_out_no_token_twice(
    resources: Resources, shipper: Shipper, books: Books
) -> None:
    store = resources.store
    await shipped_jobs(resources, shipper, 1)
    books.wipe()
    await rebuild(resources)
    (zombie,) = await take(store)
    books.wipe()
    await rebuild(resources)
    (heir,) = await take(store)
    assert heir.token != zombie.token
    assert await store.queue.settle(Settlement.fail(zombie, PROBLEM)) is Verdict.STALE


async def test_workers_may_go_on_while_two_rebuild_at_once(
    resources: Resources, shipper: Shipper, books: Books
) -> None:
    store = resources.store
    for number in range(60):
        await store.jobs.accept(make_job(owner=f"owner{number % 5}"))
    zombies = await take(store, 10)
    await shipper.ship()
    books.wipe()
    rebuilds = [asyncio.create_task(rebuild(resources)) for _ in range(2)]
    leases: list[Lease] = []
    while not all(task.done() for task in rebuilds) or len(leases) < 60:
        leases += await take(store, 4)
    assert len({lease.job_id for lease in leases}) == len(leases) == 60
    for lease in zombies:
        result = Settlement.complete(lease, make_result(lease))
        assert await store.queue.settle(result) is Verdict.STALE


@pytest.mark.parametrize("seed", [1, 2])
async def test_rebuild_of_a_living_store_changes_nothing(
    resources: Resources, shipper: Shipper, books: Books, seed: int
) -> None:
    """Rebuilt over and over while jobs come, run, are canceled and go: and lost at the end."""
    life = _Life(resources.store, random.Random(seed))
    living = True

    async def rebuilding() -> None:
        while living:
            await asyncio.gather(rebuild(resources), rebuild(resources))

    task = asyncio.create_task(rebuilding())
    for number in range(150):
        await life.step()
        if number % 7 == 0:
            await shipper.ship()
            await resources.store.upkeep.tick()
    await life.end()
    living = False
    await task
    await shipper.ship()
    await rebuild(resources)
    assert books.complaints() == []
    before = life.outcomes(books)
    assert before.keys() == set(life.jobs) - life.gone
    books.wipe()
    await rebuild(resources)
    assert life.outcomes(books) == before


class _Life:
    """Random steps of clients and workers."""

    def __init__(self, store: Store, rng: random.Random) -> None:
        self._store = store
        self._rng = rng
        self._leases: list[Lease] = []
        self._files: list[str] = []
        self.jobs: dict[str, str] = {}  # id -> owner
        self.gone: set[str] = set()

    async def step(self) -> None:
        steps = (self._submit, self._take, self._settle, self._delete, self._cancel)
        await self._rng.choices(steps, (35, 25, 20, 10, 10))[0]()

    async def _submit(self) -> None:
        owner = self._rng.choice(["acme", "other"])
        kind = self._rng.random()
        files: dict[str, Any] = {}
        if kind < 0.3:
            files["new_files"] = [info := make_file()]
            self._files.append(info.file_id)
        elif kind < 0.5 and self._files:
            files["reused_files"] = [self._rng.choice(self._files)]
        with suppress(NotFoundError):  # another owner's file, or one that is gone
            self.jobs[await self._store.jobs.accept(make_job(owner=owner, **files))] = owner

    async def _take(self) -> None:
        self._leases += await take(self._store, self._rng.randint(1, 3))

    async def _settle(self) -> None:
        if self._leases:
            lease = self._leases.pop(self._rng.randrange(len(self._leases)))
            ways = [
                Settlement.complete(lease, make_result(lease)),
                Settlement.fail(lease, PROBLEM),
                Settlement.retry(lease, PROBLEM, 0),
                Settlement.release(lease),
            ]
            await self._store.queue.settle(self._rng.choice(ways))

    async def _delete(self) -> None:
        if self.jobs:
            job_id = self._rng.choice(list(self.jobs))
            with suppress(FileprocError):
                await self._store.jobs.delete(self.jobs[job_id], job_id)
            self.gone.add(job_id)

    async def _cancel(self) -> None:
        if self.jobs:
            job_id = self._rng.choice(list(self.jobs))
            with suppress(FileprocError):
                await self._store.jobs.cancel(self.jobs[job_id], job_id)

    async def end(self) -> None:
        """Everything comes to its end."""
        while True:
            for lease in self._leases:
                await self._store.queue.settle(Settlement.complete(lease, make_result(lease)))
            await self._store.upkeep.tick()
            if not (leases := await take(self._store, 16)):
                return
            self._leases = leases

    def outcomes(self, books: Books) -> dict[str, tuple[str, str | None]]:
        records = books.jobs().items()
        return {
            job_id: (record["st"], record.get("res"))
            for job_id, record in records
            if record["st"] != "deleted"
        }
