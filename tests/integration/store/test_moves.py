"""Every move, through the real scripts on a real server; the books are checked after each test."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from fileproc.errors import (
    GoneError,
    IdempotencyInFlightError,
    IdempotencyMismatchError,
    NotFoundError,
    QuotaError,
    WrongStateError,
)
from fileproc.ids import new_id
from fileproc.jobs import FINAL, MOVES, JobState, Move
from fileproc.store import (
    Grant,
    Lease,
    NewJob,
    Replay,
    Reservation,
    Settlement,
    Store,
    Verdict,
    open_store,
)
from fileproc.store.scripts import moves_table
from support.clock import step_clock
from support.jobs import PROBLEM, due_trash, make_file, make_job, make_result, settlement_of

if TYPE_CHECKING:
    from fileproc.settings import Settings
    from support.books import Books


async def take(store: Store, free: int = 10, lane: str = "default") -> list[Lease]:
    return await store.queue.claim(lane, 0, free, store.queue.next_call())


async def one(store: Store, **others: Any) -> Lease:
    await store.jobs.accept(make_job(**others))
    (lease,) = await take(store, 1)
    return lease


async def state(store: Store, lease: Lease) -> JobState:
    return (await store.jobs.get(lease.owner, lease.job_id)).state


def test_no_move_leaves_a_final_state() -> None:
    for move, transition in MOVES.items():
        assert not transition.sources & FINAL, move


def test_every_state_can_be_reached_and_every_other_left() -> None:
    reached = {target for transition in MOVES.values() for target in transition.targets}
    left = {source for transition in MOVES.values() for source in transition.sources}
    assert reached == set(JobState)
    assert left == set(JobState) - FINAL


def test_scripts_get_the_table_of_moves_whole() -> None:
    table = moves_table()
    for move in Move:
        assert f"  {move} = {{from = {{" in table


async def test_accepted_job_is_queued_and_says_what_was_asked(store: Store) -> None:
    new = make_job()
    assert await store.jobs.accept(new) == new.id
    job = await store.jobs.get("acme", new.id)
    assert (job.state, job.version, job.attempt) == (JobState.QUEUED, 1, 0)
    assert job.document == new.document


async def test_accept_sent_twice_makes_one_job(store: Store, books: Books) -> None:
    new = make_job(new_files=[make_file()])
    assert await store.jobs.accept(new) == await store.jobs.accept(new)
    assert len(await take(store)) == 1
    assert len(books.jobs()) == 1


async def test_bell_rings_and_claim_takes_what_was_popped(store: Store, books: Books) -> None:
    new = make_job()
    await store.jobs.accept(new)
    assert await store.queue.wait("default")
    assert books.complaints() == []
    (lease,) = await take(store, 1)
    assert (lease.job_id, lease.token, lease.attempt) == (new.id, "1", 1)


async def test_claim_takes_as_many_more_as_there_are_slots(store: Store) -> None:
    for _ in range(30):
        await store.jobs.accept(make_job())
    assert await store.queue.wait("default")
    assert len(await take(store, 20)) == 20
    assert len(await take(store, 20)) == 10


async def test_claim_whose_reply_was_lost_gives_the_same_leases_again(store: Store) -> None:
    for _ in range(5):
        await store.jobs.accept(make_job())
    number = store.queue.next_call()
    first = await store.queue.claim("default", 0, 3, number)
    assert await store.queue.claim("default", 0, 3, number) == first
    assert len(await take(store)) == 2


async def test_answers_of_two_flights_are_kept_apart(store: Store) -> None:
    for _ in range(4):
        await store.jobs.accept(make_job())
    numbers = store.queue.next_call(), store.queue.next_call()
    answers = [await store.queue.claim("default", i, 1, numbers[i]) for i in range(2)]
    heavy = await store.queue.claim("heavy", 0, 1, store.queue.next_call())
    for i in (0, 1):
        assert await store.queue.claim("default", i, 1, numbers[i]) == answers[i]
    assert heavy == []
    assert len(await take(store)) == 2


async def test_strays_of_a_worker_without_slots_go_back(store: Store) -> None:
    await store.jobs.accept(make_job())
    assert await store.queue.wait("default")
    assert await take(store, 0) == []
    assert len(await take(store, 1)) == 1


async def test_completed_job_has_its_outputs_and_no_error(store: Store) -> None:
    lease = await one(store)
    result = make_result(lease)
    assert await store.queue.settle(Settlement.complete(lease, result)) is Verdict.DONE
    job = await store.jobs.get(lease.owner, lease.job_id)
    assert (job.state, job.result, job.error) == (JobState.SUCCEEDED, result, None)
    assert job.expires_at is not None
    assert job.finished_at is not None


async def test_settling_twice_changes_nothing_and_keeps_the_objects(store: Store) -> None:
    lease = await one(store)
    complete = Settlement.complete(lease, make_result(lease))
    assert await store.queue.settle(complete) is Verdict.DONE
    before = await store.jobs.get(lease.owner, lease.job_id)
    assert await store.queue.settle(complete) is Verdict.DONE_BEFORE
    assert await store.jobs.get(lease.owner, lease.job_id) == before
    assert await due_trash(store) == []


async def test_hand_back_after_complete_spares_the_published_objects(store: Store) -> None:
    lease = await one(store)
    result = make_result(lease)
    await store.queue.settle(Settlement.complete(lease, result))
    late = Settlement.release(lease, result.prefix)
    assert await store.queue.settle(late) is Verdict.STALE
    assert await due_trash(store) == []


async def test_zombie_is_refused_and_its_objects_go_to_the_trash(store: Store) -> None:
    zombie = await one(store)
    assert await store.queue.settle(Settlement.release(zombie)) is Verdict.DONE
    (heir,) = await take(store, 1)
    assert (heir.attempt, heir.token) == (1, "2")  # a hand-back costs no attempt, the token counts
    late = make_result(zombie)
    assert await store.queue.settle(Settlement.complete(zombie, late)) is Verdict.STALE
    assert await due_trash(store) == [late.prefix]
    assert await store.queue.settle(Settlement.complete(heir, make_result(heir))) is Verdict.DONE


async def test_retry_waits_and_is_promoted_with_its_error_shown(store: Store, books: Books) -> None:
    lease = await one(store)
    assert await store.queue.settle(Settlement.retry(lease, PROBLEM, 0.0)) is Verdict.DONE
    job = await store.jobs.get(lease.owner, lease.job_id)
    assert (job.state, job.error) == (JobState.DELAYED, PROBLEM)
    assert books.complaints() == []
    assert await store.upkeep.tick() == (1, 0)
    (again,) = await take(store, 1)
    assert (again.job_id, again.attempt) == (lease.job_id, 2)


async def test_retry_is_not_promoted_before_it_is_due(store: Store) -> None:
    lease = await one(store)
    await store.queue.settle(Settlement.retry(lease, PROBLEM, 3600))
    assert await store.upkeep.tick() == (0, 0)
    assert await take(store) == []


async def test_failed_job_is_a_dead_letter(store: Store, books: Books) -> None:
    lease = await one(store)
    await store.queue.settle(Settlement.fail(lease, PROBLEM))
    assert await state(store, lease) is JobState.FAILED
    assert list(books.zset("dead:acme")) == [lease.job_id]


@pytest.mark.parametrize("move", ["fail", "retry"])
async def test_record_says_why_it_failed_as_the_client_will_see_it(
    store: Store, books: Books, move: str
) -> None:
    lease = await one(store)
    await store.queue.settle(settlement_of(lease, Move(move), 0))
    written = json.loads(books.jobs()[lease.job_id]["err"])
    assert written["class"] == "transient"
    assert "error_class" not in written


async def test_result_is_written_without_what_is_not_known(store: Store, books: Books) -> None:
    lease = await one(store)
    await store.queue.settle(Settlement.complete(lease, make_result(lease)))
    assert "null" not in books.jobs()[lease.job_id]["res"]


async def test_only_a_retry_waits(store: Store) -> None:
    lease = await one(store)
    for move in (Move.COMPLETE, Move.FAIL, Move.CANCEL, Move.RELEASE):
        settlement = settlement_of(lease, move)
        assert (settlement.move, settlement.delay_ms) == (move, 0)
        assert settlement.prefix == make_result(lease).prefix
    assert Settlement.retry(lease, PROBLEM, 3600).delay_ms == 3_600_000
    await store.queue.settle(settlement)


async def test_lease_lasts_as_long_as_the_setting_says(settings: Settings, books: Books) -> None:
    longer = settings.model_copy(update={"lease_s": 3600.0})
    async with open_store(longer, worker="wrk_mine") as store:
        lease = await one(store)
        left = books.zset("leases")[lease.job_id] - books.look().now_ms
        assert 3_590_000 < left <= 3_600_000
        assert store.queue.worker == "wrk_mine"
    async with open_store(settings) as store:
        assert store.queue.worker.startswith("wrk_")


async def test_version_counts_the_moves(store: Store) -> None:
    lease = await one(store)
    assert await store.upkeep.known(lease.job_id) == ("running", 2)
    assert await store.upkeep.known("job_unknown") == (None, 0)
    await store.queue.settle(Settlement.complete(lease, result := make_result(lease)))
    shown = await store.upkeep.live_prefix(lease.job_id)
    assert shown == ("succeeded", lease.token, result.prefix)
    await store.jobs.delete("acme", lease.job_id)
    assert await store.upkeep.known(lease.job_id) == ("deleted", 0)


@pytest.mark.parametrize("popped", [False, True])
async def test_canceled_job_is_never_run(store: Store, books: Books, *, popped: bool) -> None:
    new = make_job()
    await store.jobs.accept(new)
    if popped:  # canceled between the pop and the claim
        assert await store.queue.wait("default")
    job = await store.jobs.cancel("acme", new.id)
    assert job.state is JobState.CANCELED
    assert books.complaints() == []
    assert await take(store) == []


async def test_canceled_while_waiting_behind_the_short_list(store: Store) -> None:
    news = [make_job() for _ in range(20)]
    for new in news:
        await store.jobs.accept(new)
    await store.jobs.cancel("acme", news[-1].id)
    await store.jobs.cancel("acme", news[0].id)
    assert {lease.job_id for lease in await take(store, 30)} == {n.id for n in news[1:-1]}


async def test_cancel_of_a_running_job_is_a_wish_until_its_worker_settles(store: Store) -> None:
    lease = await one(store)
    job = await store.jobs.cancel("acme", lease.job_id)
    assert (job.state, job.cancel_requested) == (JobState.RUNNING, True)
    await store.queue.settle(Settlement.cancel(lease))
    assert await state(store, lease) is JobState.CANCELED
    assert (await store.jobs.cancel("acme", lease.job_id)).state is JobState.CANCELED


async def test_retry_of_a_job_that_is_to_be_canceled_ends_it(store: Store) -> None:
    lease = await one(store)
    await store.jobs.cancel("acme", lease.job_id)
    assert await store.queue.settle(Settlement.retry(lease, PROBLEM, 0)) is Verdict.DONE
    assert await state(store, lease) is JobState.CANCELED


async def test_complete_wins_over_a_cancel_that_comes_late(store: Store) -> None:
    lease = await one(store)
    await store.jobs.cancel("acme", lease.job_id)
    await store.queue.settle(Settlement.complete(lease, make_result(lease)))
    assert await state(store, lease) is JobState.SUCCEEDED
    with pytest.raises(WrongStateError):
        await store.jobs.cancel("acme", lease.job_id)


async def test_result_that_comes_after_the_cancel_is_not_published(store: Store) -> None:
    lease = await one(store)
    await store.jobs.cancel("acme", lease.job_id)
    assert await store.queue.settle(Settlement.cancel(lease)) is Verdict.DONE
    late = make_result(lease)
    assert await store.queue.settle(Settlement.complete(lease, late)) is Verdict.STALE
    assert await due_trash(store) == [late.prefix]


async def test_deleted_job_is_gone_and_its_objects_are_trash(store: Store) -> None:
    info = make_file()
    lease = await one(store, new_files=[info])
    result = make_result(lease)
    await store.queue.settle(Settlement.complete(lease, result))
    await store.jobs.delete("acme", lease.job_id)
    with pytest.raises(GoneError):
        await store.jobs.get("acme", lease.job_id)
    assert sorted(await due_trash(store)) == sorted([result.prefix, f"files/{info.file_id}"])
    with pytest.raises(NotFoundError):
        await store.jobs.get("someone else", lease.job_id)


async def test_job_deleted_while_it_runs_goes_when_its_worker_lets_go(
    store: Store, books: Books
) -> None:
    lease = await one(store)
    await store.jobs.delete("acme", lease.job_id)
    with pytest.raises(GoneError):
        await store.jobs.get("acme", lease.job_id)
    await store.queue.settle(Settlement.cancel(lease))
    assert await store.upkeep.purge() == 1
    assert books.jobs()[lease.job_id]["st"] == "deleted"


async def test_file_lives_as_long_as_the_last_job_that_uses_it(store: Store) -> None:
    info = make_file()
    first = await one(store, new_files=[info])
    second = await one(store, reused_files=[info.file_id])
    for lease in (first, second):
        await store.queue.settle(Settlement.fail(lease, PROBLEM))
    await store.jobs.delete("acme", first.job_id)
    assert (await store.files.get("acme", info.file_id)) == info
    await store.jobs.delete("acme", second.job_id)
    with pytest.raises(NotFoundError):
        await store.files.get("acme", info.file_id)


async def test_file_of_another_owner_cannot_be_used(store: Store) -> None:
    info = make_file()
    await one(store, new_files=[info])
    with pytest.raises(NotFoundError):
        await store.jobs.accept(make_job(owner="mallory", reused_files=[info.file_id]))
    with pytest.raises(NotFoundError):
        await store.files.get("mallory", info.file_id)


async def test_job_of_another_owner_looks_like_none_and_stays_as_it_is(store: Store) -> None:
    lease = await one(store)
    before = await store.jobs.get("acme", lease.job_id)
    for call in (store.jobs.get, store.jobs.cancel, store.jobs.delete):
        with pytest.raises(NotFoundError) as foreign:
            await call("mallory", lease.job_id)
        with pytest.raises(NotFoundError) as unknown:
            await call("mallory", unknown_id := new_id("job"))
        assert foreign.value.detail.replace(lease.job_id, unknown_id) == unknown.value.detail
        assert await store.jobs.get("acme", lease.job_id) == before


async def test_retention_ends_record_and_objects(store: Store, books: Books) -> None:
    lease = await one(store, retention_s=0)
    await store.queue.settle(Settlement.complete(lease, make_result(lease)))
    assert await store.upkeep.purge() == 1
    with pytest.raises(GoneError):
        await store.jobs.get("acme", lease.job_id)
    assert books.zset("jobs:acme") == {}


async def test_retry_that_waits_counts_for_the_quota(store: Store) -> None:
    await store.owners.set("acme", Grant(max_queued=1))
    lease = await one(store)
    await store.queue.settle(Settlement.retry(lease, PROBLEM, 3600))
    with pytest.raises(QuotaError):
        await store.jobs.accept(make_job())


async def test_quota_of_waiting_jobs_is_exact(store: Store) -> None:
    await store.owners.set("acme", Grant(max_queued=3))
    for _ in range(3):
        await store.jobs.accept(make_job())
    with pytest.raises(QuotaError) as refused:
        await store.jobs.accept(make_job())
    assert refused.value.extra["allowed"] == 3
    await store.jobs.accept(make_job(owner="other"))


class TestIdempotency:
    async def reserved(self, store: Store, key: str = "k1") -> Reservation:
        held = await store.idempotency.reserve("acme", key)
        assert isinstance(held, Reservation)
        return held

    def job(self, held: Reservation, fingerprint: str = "f1") -> NewJob:
        return make_job(reservation=held, fingerprint=fingerprint)

    async def test_second_request_in_flight_is_refused(self, store: Store) -> None:
        await self.reserved(store)
        with pytest.raises(IdempotencyInFlightError):
            await store.idempotency.reserve("acme", "k1")

    async def test_after_accept_the_key_names_its_job(self, store: Store) -> None:
        new = self.job(await self.reserved(store))
        await store.jobs.accept(new)
        assert await store.idempotency.reserve("acme", "k1") == Replay("f1", new.id)

    async def test_key_that_another_request_holds_by_now_is_not_taken_from_it(
        self, store: Store
    ) -> None:
        slow = await self.reserved(store)
        await store.idempotency.release(slow)  # as its expiry would
        fast = await self.reserved(store)
        with pytest.raises(IdempotencyInFlightError):
            await store.jobs.accept(self.job(slow))
        new = self.job(fast)
        assert await store.jobs.accept(new) == new.id

    async def test_released_key_is_free(self, store: Store) -> None:
        await store.idempotency.release(await self.reserved(store))
        await self.reserved(store)

    async def test_release_by_a_former_holder_takes_nothing_away(self, store: Store) -> None:
        former = await self.reserved(store)
        await store.idempotency.release(former)
        await self.reserved(store)
        await store.idempotency.release(former)
        with pytest.raises(IdempotencyInFlightError):
            await store.idempotency.reserve("acme", "k1")

    async def test_keys_of_two_owners_are_two_keys(self, store: Store) -> None:
        await self.reserved(store)
        assert isinstance(await store.idempotency.reserve("other", "k1"), Reservation)

    async def test_reservation_that_ended_meanwhile_does_not_make_a_twin(
        self, store: Store
    ) -> None:
        slow = await self.reserved(store)
        await store.idempotency.release(slow)  # as its expiry would
        fast = self.job(await self.reserved(store))
        await store.jobs.accept(fast)
        assert await store.jobs.accept(self.job(slow)) == fast.id
        with pytest.raises(IdempotencyMismatchError):
            await store.jobs.accept(self.job(slow, "f2"))


async def test_many_jobs_with_many_files_are_forgotten_in_one_call(
    store: Store, books: Books
) -> None:
    """Their entries in one index are more than Lua hands over at once."""
    jobs = []
    for _ in range(200):
        job = make_job(new_files=[make_file() for _ in range(25)], retention_s=60)
        await store.jobs.accept(job)
        jobs.append(job.id)
    await asyncio.gather(*(store.jobs.cancel("acme", job_id) for job_id in jobs))
    step_clock(books.redis, books.prefix, 120_000)
    assert await store.upkeep.purge() == 200
    assert books.redis.zcard(books.key("trash")) >= 5_000
    assert books.redis.zcard(books.key("jobs:acme")) == 0
