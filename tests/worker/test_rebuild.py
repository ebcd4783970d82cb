"""The journal, and the store built again from it after Redis has lost everything."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from fileproc.errors import (
    GoneError,
    NoJournalError,
    NotFoundError,
    QuotaError,
    StorageUnavailableError,
)
from fileproc.jobs import JobDocument, JobState
from fileproc.store import (
    Grant,
    Kept,
    Lease,
    Replay,
    Reservation,
    Role,
    Settlement,
    Store,
    Verdict,
    stream_id,
)
from fileproc.worker import shipper as shipper_module
from fileproc.worker.janitor import Janitor
from fileproc.worker.rebuild import found_empty, rebuild
from fileproc.worker.shipper import Shipper, read_spans
from support.books import Books
from support.jobs import PROBLEM, make_file, make_job, make_result
from support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fileproc.objects import ObjectStore
    from fileproc.resources import Resources
    from fileproc.store import Span

pytestmark = pytest.mark.usefixtures("books")


async def take(store: Store, free: int = 1) -> list[Lease]:
    return await store.queue.claim("default", 0, free, store.queue.next_call())


async def mixed_jobs(store: Store) -> dict[str, str]:
    """One job in each state; name -> id."""
    ids: dict[str, str] = {}

    async def leased(name: str, **others: Any) -> Lease:
        ids[name] = await store.jobs.accept(make_job(**others))
        (lease,) = await take(store)
        return lease

    done = await leased("succeeded", new_files=[make_file()])
    await store.queue.settle(Settlement.complete(done, make_result(done)))
    await store.queue.settle(Settlement.fail(await leased("failed"), PROBLEM))
    await store.queue.settle(Settlement.retry(await leased("delayed"), PROBLEM, 3600))
    await store.queue.settle(Settlement.release(await leased("handed back")))
    await take(store)  # and it runs again
    await leased("running", document=JobDocument(operation="file.probe", labels={"a": "ü\n\u2028"}))
    gone = await leased("deleted")
    await store.queue.settle(Settlement.fail(gone, PROBLEM))
    await store.jobs.delete("acme", ids["deleted"])
    ids["queued"] = await store.jobs.accept(make_job())
    ids["canceled"] = await store.jobs.accept(make_job())
    await store.jobs.cancel("acme", ids["canceled"])
    return ids


UNFINISHED = ("delayed", "handed back", "running", "queued")


async def test_everything_comes_back_after_a_wipe(
    resources: Resources, shipper: Shipper, books: Books
) -> None:
    store = resources.store
    ids = await mixed_jobs(store)
    before = {
        name: await store.jobs.get("acme", job_id)
        for name, job_id in ids.items()
        if name != "deleted"
    }
    assert await shipper.ship() > 0
    books.wipe()
    report = await rebuild(resources)
    assert (report.queued, report.finished, report.present) == (4, 3, 0)
    assert report.up_to is not None
    for name, was in before.items():
        job = await store.jobs.get("acme", ids[name])
        assert job.state == (JobState.QUEUED if name in UNFINISHED else was.state)
        assert (job.document, job.created_at) == (was.document, was.created_at)
        assert job.attempt == was.attempt
        assert job.version > was.version
        if job.state.final:
            assert (job.result, job.error) == (was.result, was.error)
            assert (job.finished_at, job.expires_at) == (was.finished_at, was.expires_at)
    with pytest.raises((GoneError, NotFoundError)):
        await store.jobs.get("acme", ids["deleted"])
    info = before["succeeded"].document.inputs
    assert info == []
    assert len(await take(store, 10)) == 4


@pytest.mark.parametrize("shipped", [True, False])
async def test_zombie_of_before_the_wipe_settles_nothing(
    resources: Resources, shipper: Shipper, books: Books, *, shipped: bool
) -> None:
    store = resources.store
    await store.jobs.accept(make_job())
    await shipper.ship()
    (zombie,) = await take(store)
    if shipped:  # else the journal does not know that this token was handed out
        await shipper.ship()
    books.wipe()
    await rebuild(resources)
    (heir,) = await take(store)
    late = Settlement.complete(zombie, make_result(zombie))
    assert await store.queue.settle(late) is Verdict.STALE
    done = Settlement.complete(heir, make_result(heir))
    assert await store.queue.settle(done) is Verdict.DONE


async def test_settings_pauses_and_use_of_owners_come_back(
    resources: Resources, shipper: Shipper, books: Books
) -> None:
    store = resources.store
    await store.owners.set("acme", Grant(weight=3, max_running=1, jobs_per_day=3))
    await store.owners.set("gone", Grant(weight=2))
    await store.owners.set("gone", Grant())
    await store.upkeep.pause("heavy")
    await store.upkeep.pause("default", "held")
    for owner in ("acme", "acme", "held"):
        await store.jobs.accept(make_job(owner=owner, new_files=[make_file()]))
    (lease,) = await take(store)
    await store.queue.settle(
        dataclasses.replace(Settlement.complete(lease, make_result(lease)), cpu_ms=100)
    )
    await store.jobs.delete("acme", lease.job_id)
    before = await store.usage.of("acme", 1)
    await shipper.ship()
    books.wipe()
    assert (await rebuild(resources)).owners == 1
    assert await store.usage.of("acme", 1) == before
    assert before.days[0].cpu_s == pytest.approx(0.1)
    assert (await store.owners.get("acme")).grant == Grant(weight=3, max_running=1, jobs_per_day=3)
    assert [owner.name for owner in await store.owners.list()] == ["acme"]
    assert (await store.upkeep.lane("heavy")).paused
    assert (await store.usage.of("held", 1)).paused_lanes == ["default"]
    await store.jobs.accept(make_job())
    assert [lease.owner for lease in await take(store, 9)] == ["acme"]  # its cap is one
    with pytest.raises(QuotaError):
        await store.jobs.accept(make_job())
    # What is set since is not undone by another rebuild.
    await store.owners.set("acme", Grant(weight=9))
    await rebuild(resources)
    assert (await store.owners.get("acme")).grant == Grant(weight=9)


async def test_rebuild_twice_changes_nothing(
    resources: Resources, shipper: Shipper, books: Books
) -> None:
    await mixed_jobs(resources.store)
    await shipper.ship()
    books.wipe()
    await rebuild(resources)
    before = books.jobs()
    again = await rebuild(resources)
    assert (again.queued, again.finished, again.present) == (0, 0, 7)
    assert books.jobs() == before


async def test_promoted_replica_that_missed_the_last_writes_is_brought_up_to_date(
    resources: Resources, shipper: Shipper, books: Books
) -> None:
    """Taken back to a moment before its last events, the store gets them from the journal."""
    store = resources.store
    ids = {name: await store.jobs.accept(make_job()) for name in ("done", "deleted", "running")}
    (kept,) = [await store.jobs.accept(make_job(new_files=[make_file()]))]
    before = {key: books.redis.dump(key) for key in books.redis.scan_iter(books.key("*"))}
    leases = {lease.job_id: lease for lease in await take(store, 3)}
    done = leases[ids["done"]]
    await store.queue.settle(Settlement.complete(done, make_result(done)))
    gone = leases[ids["deleted"]]
    await store.queue.settle(Settlement.fail(gone, PROBLEM))
    await store.jobs.delete("acme", ids["deleted"])
    late = await store.jobs.accept(make_job())
    await shipper.ship()
    books.wipe()
    for key, dump in before.items():
        books.redis.restore(key, 0, dump)

    expected = {"queued": 2, "finished": 1, "present": 1, "deleted": 1}
    for dry_run in (True, False):
        report = await rebuild(resources, dry_run=dry_run)
        assert {name: getattr(report, name) for name in expected} == expected
    assert books.complaints() == []
    assert (await store.jobs.get("acme", ids["done"])).state is JobState.SUCCEEDED
    with pytest.raises(GoneError):
        await store.jobs.get("acme", ids["deleted"])
    for job_id in (ids["running"], late, kept):
        assert (await store.jobs.get("acme", job_id)).state is JobState.QUEUED
    zombie = leases[ids["running"]]
    heirs = {lease.job_id: lease for lease in await take(store, 10)}
    assert set(heirs) == {ids["running"], late, kept}
    result = Settlement.complete(zombie, make_result(zombie))
    assert await store.queue.settle(result) is Verdict.STALE
    again = await rebuild(resources)
    assert (again.queued, again.finished, again.present, again.deleted) == (0, 0, 4, 0)


async def test_replica_that_had_a_job_running_or_delayed_gives_it_up(
    resources: Resources, shipper: Shipper, books: Books
) -> None:
    store = resources.store
    ids = [await store.jobs.accept(make_job()) for _ in range(2)]
    first, second = await take(store, 2)
    await store.queue.settle(Settlement.retry(second, PROBLEM, 3600))
    before = {key: books.redis.dump(key) for key in books.redis.scan_iter(books.key("*"))}
    await store.queue.settle(Settlement.complete(first, make_result(first)))
    await store.jobs.cancel("acme", second.job_id)
    await shipper.ship()
    books.wipe()
    for key, dump in before.items():
        books.redis.restore(key, 0, dump)
    report = await rebuild(resources)
    assert (report.queued, report.finished, report.present) == (0, 2, 0)
    assert books.complaints() == []
    states = {(await store.jobs.get("acme", job_id)).state for job_id in ids}
    assert states == {JobState.SUCCEEDED, JobState.CANCELED}
    assert await take(store, 5) == []


async def test_dry_run_says_what_it_would_do_and_does_nothing(
    resources: Resources, shipper: Shipper, books: Books
) -> None:
    await mixed_jobs(resources.store)
    await shipper.ship()
    books.wipe()
    report = await rebuild(resources, dry_run=True)
    assert (report.queued, report.finished) == (4, 3)
    assert books.jobs() == {}
    assert await resources.store.journal.empty()


async def test_keys_files_and_idempotency_come_back(
    resources: Resources, shipper: Shipper, books: Books
) -> None:
    store = resources.store
    key = await store.keys.create("acme", Role.USER, label="ci")
    dead = await store.keys.create("acme", Role.USER)
    await store.keys.revoke(dead.info.id)
    held = await store.idempotency.reserve("acme", "k")
    assert isinstance(held, Reservation)
    info = make_file()
    first = make_job(new_files=[info], reservation=held, fingerprint="f")
    await store.jobs.accept(first)
    second = make_job(reused_files=[info.file_id])
    await store.jobs.accept(second)
    await store.jobs.delete("acme", first.id)  # the file's record came with this one
    await shipper.ship()
    books.wipe()
    await rebuild(resources)
    assert await store.keys.authenticate(key.token) == key.info
    assert await store.keys.authenticate(dead.token) is None
    assert await store.files.get("acme", info.file_id) == info
    await store.jobs.delete("acme", second.id)
    with pytest.raises(NotFoundError):
        await store.files.get("acme", info.file_id)


async def test_job_with_a_set_time_still_waits_for_it_after_a_rebuild(
    resources: Resources, shipper: Shipper, books: Books
) -> None:
    store = resources.store
    later = datetime.now(UTC) + timedelta(hours=1)
    document = JobDocument(operation="debug.sleep", run_at=later, expires_in=60)
    await store.jobs.accept(waiting := make_job(document=document))
    await store.jobs.accept(
        hurried := make_job(document=document.model_copy(update={"run_at": None}))
    )
    before = {name: books.zset(name) for name in ("delayed", "deadlines")}
    await shipper.ship()
    books.wipe()
    await rebuild(resources)
    assert {name: books.zset(name) for name in ("delayed", "deadlines")} == before
    assert (await store.jobs.get("acme", waiting.id)).state == JobState.DELAYED
    (lease,) = await take(store, 10)
    assert lease.job_id == hurried.id
    assert set(books.zset("deadlines")) == {waiting.id}


async def test_job_that_had_started_in_time_does_not_expire_because_it_was_handed_back(
    resources: Resources, shipper: Shipper, books: Books
) -> None:
    store = resources.store
    document = JobDocument(operation="debug.sleep", expires_in=60)
    await store.jobs.accept(make_job(document=document))
    (lease,) = await take(store)
    await store.queue.settle(Settlement.release(lease))
    assert books.zset("deadlines") == {}
    await shipper.ship()
    books.wipe()
    await rebuild(resources)
    assert books.zset("deadlines") == {}


@pytest.mark.usefixtures("settled")
async def test_journal_that_is_compacted_while_it_is_read_is_read_again(
    resources: Resources, shipper: Shipper, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(4):
        await resources.store.jobs.accept(make_job())
        await shipper.ship()
    real = shipper_module.read_spans
    compacted = False

    async def slow(objects: ObjectStore) -> list[Span]:
        nonlocal compacted
        spans = await real(objects)
        if not compacted:
            compacted = True
            await shipper.compact(least=2)
        return spans

    monkeypatch.setattr(shipper_module, "read_spans", slow)
    books.wipe()
    assert (await rebuild(resources)).queued == 4


async def test_lost_store_is_not_compacted_before_it_is_rebuilt(
    shipper: Shipper, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has forgotten when that was done last, and somebody may be reading."""
    begun: list[int] = []

    async def compact(*, least: int) -> int:
        begun.append(least)
        return 0

    monkeypatch.setattr(shipper, "compact", compact)
    monkeypatch.setattr(shipper_module, "ROUND_S", 0.01)
    books.wipe()
    running = asyncio.create_task(shipper.run())
    await asyncio.sleep(0.2)
    assert begun == []
    books.mark()
    await eventually(lambda: begun)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("replica", [False, True])
@pytest.mark.parametrize("compacted", [False, True])
async def test_files_on_their_own_come_back_as_they_were(
    resources: Resources,
    shipper: Shipper,
    books: Books,
    monkeypatch: pytest.MonkeyPatch,
    *,
    replica: bool,
    compacted: bool,
) -> None:
    """Kept ones, one that was deleted, and one that was deleted while a job needs it."""
    store = resources.store
    infos = {name: make_file() for name in ("kept", "used", "gone", "needed", "spent")}
    for info in infos.values():
        await store.files.put("acme", info, 3600)
    jobs = {name: make_job(reused_files=[infos[name].file_id]) for name in ("spent", "used")}
    for new in jobs.values():
        await store.jobs.accept(new)
    before = {key: books.redis.dump(key) for key in books.redis.scan_iter(books.key("*"))}
    jobs["needed"] = make_job(reused_files=[infos["needed"].file_id])
    await store.jobs.accept(jobs["needed"])
    await store.jobs.cancel("acme", jobs["spent"].id)
    for name in ("gone", "needed", "spent"):
        await store.files.delete("acme", infos[name].file_id)
    kept = {name: await store.files.look("acme", infos[name].file_id) for name in ("kept", "used")}
    await shipper.ship()
    if compacted:
        monkeypatch.setattr("fileproc.worker.shipper.SETTLED_S", -60)
        await store.jobs.accept(make_job())  # the newest batch is left alone
        await shipper.ship()
        assert await shipper.compact(least=1) > 0
    books.wipe()
    for key, dump in before.items() if replica else ():
        books.redis.restore(key, 0, dump)

    assert (await rebuild(resources)).files == 2
    assert books.complaints() == []
    for name, was in kept.items():
        assert await store.files.look("acme", infos[name].file_id) == was
    for name in ("gone", "needed", "spent"):
        with pytest.raises(GoneError):
            await store.files.get("acme", infos[name].file_id)
    trash = set(books.zset("trash"))
    assert {f"files/{infos[name].file_id}" for name in ("gone", "spent")} <= trash
    assert f"files/{infos['needed'].file_id}" not in trash
    await store.jobs.cancel("acme", jobs["needed"].id)
    assert f"files/{infos['needed'].file_id}" in books.zset("trash")
    assert (await rebuild(resources)).files == 2
    assert books.complaints() == []


async def test_templates_come_back_with_their_versions(
    resources: Resources, shipper: Shipper, books: Books
) -> None:
    templates = resources.store.templates
    await templates.put("acme", "thumbs", '{"description":"ü"}')
    await templates.put("acme", "thumbs", '{"description":"new"}')
    await templates.put("acme", "gone", "{}")
    await templates.delete("acme", "gone")
    kept = [await templates.get("acme", "thumbs", version) for version in (1, 2)]
    await shipper.ship()
    books.wipe()
    assert (await rebuild(resources)).templates == 1
    assert [await templates.get("acme", "thumbs", version) for version in (1, 2)] == kept
    assert await templates.list("acme") == kept[1:]
    assert (await templates.put("acme", "thumbs", '{"description":"newer"}')).version == 3
    with pytest.raises(NotFoundError):
        await templates.get("acme", "gone")


@pytest.mark.parametrize("compacted", [True, False])
async def test_replica_that_missed_what_became_of_templates_is_told(
    resources: Resources,
    shipper: Shipper,
    books: Books,
    monkeypatch: pytest.MonkeyPatch,
    *,
    compacted: bool,
) -> None:
    monkeypatch.setattr("fileproc.worker.shipper.SETTLED_S", -60.0)
    templates = resources.store.templates
    for name in ("gone", "other", "more"):
        await templates.put("acme", name, '{"description":"old"}')
    await shipper.ship()
    before = {key: books.redis.dump(key) for key in books.redis.scan_iter(books.key("*"))}
    await templates.delete("acme", "gone")
    await templates.delete("acme", "other")
    await templates.put("acme", "other", '{"description":"another"}')
    await templates.put("acme", "more", '{"description":"new"}')
    await shipper.ship()
    await templates.put("acme", "late", "{}")
    await shipper.ship()
    if compacted:
        assert await shipper.compact(least=2) == 2
    kept = await templates.list("acme")
    books.wipe()
    for key, dump in before.items():
        books.redis.restore(key, 0, dump)
    assert len(await templates.list("acme")) == 3
    await rebuild(resources)
    assert await templates.list("acme") == kept
    versions = {template.name: template.version for template in kept}
    assert versions == {"late": 1, "more": 2, "other": 1}
    with pytest.raises(NotFoundError):
        await templates.get("acme", "gone")


async def test_idempotency_key_of_a_living_job_still_names_it(
    resources: Resources, shipper: Shipper, books: Books
) -> None:
    store = resources.store
    held = await store.idempotency.reserve("acme", "k")
    assert isinstance(held, Reservation)
    new = make_job(reservation=held, fingerprint="f")
    await store.jobs.accept(new)
    await shipper.ship()
    books.wipe()
    await rebuild(resources)
    assert await store.idempotency.reserve("acme", "k") == Replay("f", new.id)


@pytest.mark.parametrize("compacted", [True, False])
async def test_answer_that_a_key_has_is_told_again_after_a_rebuild(
    resources: Resources,
    shipper: Shipper,
    books: Books,
    monkeypatch: pytest.MonkeyPatch,
    *,
    compacted: bool,
) -> None:
    monkeypatch.setattr("fileproc.worker.shipper.SETTLED_S", -60.0)
    keys = resources.store.idempotency
    for key, answer in (("k", '[200, {}, "a b"]'), ("l", '[201, {}, ""]')):
        held = await keys.reserve("acme", key)
        assert isinstance(held, Reservation)
        await keys.keep(held, "f", answer)
        await shipper.ship()
    await resources.store.jobs.accept(make_job())
    await shipper.ship()
    if compacted:
        assert await shipper.compact(least=2) == 2
    books.wipe()
    await rebuild(resources)
    assert await keys.reserve("acme", "k") == Kept("f", '[200, {}, "a b"]')
    assert await keys.reserve("acme", "l") == Kept("f", '[201, {}, ""]')
    assert isinstance(await keys.reserve("umbrella", "k"), Reservation)
    lives = [life for name, life in books.look().lives.items() if name.startswith("idem:")]
    assert all(86_000_000 < life <= 86_400_000 for life in lives if life > 30_000)


async def test_compaction_keeps_what_is_needed_and_nothing_else(
    resources: Resources, shipper: Shipper, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fileproc.worker.shipper.SETTLED_S", -60.0)
    store = resources.store
    key = await store.keys.create("acme", Role.ADMIN)
    ids = await mixed_jobs(store)
    await shipper.ship()
    await store.jobs.accept(late := make_job())
    await shipper.ship()
    await store.jobs.delete("acme", ids["canceled"])
    await shipper.ship()
    await store.jobs.accept(last := make_job())
    await shipper.ship()
    assert len(await read_spans(resources.objects)) == 4
    assert await shipper.compact(least=2) == 3
    spans = await read_spans(resources.objects)
    assert sum(span.folded for span in spans) == 1
    assert len(spans) == 2
    books.wipe()
    report = await rebuild(resources)
    assert (report.queued, report.finished, report.keys) == (6, 2, 1)
    assert await store.keys.authenticate(key.token) == key.info
    for job in (late, last):
        assert (await store.jobs.get("acme", job.id)).state is JobState.QUEUED


async def test_batch_that_survived_its_compaction_brings_nothing_back(
    resources: Resources, shipper: Shipper, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fileproc.worker.shipper.SETTLED_S", -60.0)
    store = resources.store
    new = make_job()
    await store.jobs.accept(new)
    await shipper.ship()
    await store.jobs.delete("acme", new.id)
    await shipper.ship()
    await store.jobs.accept(make_job())
    await shipper.ship()

    delete = shipper._objects.delete

    async def crash(keys: Sequence[str]) -> None:
        await delete(sorted(keys)[1:])  # the batch with the accept is what stays
        raise RuntimeError

    monkeypatch.setattr(shipper._objects, "delete", crash)
    with pytest.raises(RuntimeError):
        await shipper.compact(least=2)
    monkeypatch.undo()
    assert len(await read_spans(resources.objects)) == 3
    books.wipe()
    assert (await rebuild(resources)).queued == 1


async def test_ended_job_is_forgotten_by_the_journal_in_the_end(
    resources: Resources, shipper: Shipper, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fileproc.worker.shipper.SETTLED_S", -60.0)
    shipper._keep_s = -60
    ids = await mixed_jobs(resources.store)
    await shipper.ship()
    await resources.store.jobs.accept(make_job())
    await shipper.ship()
    await shipper.compact(least=1)
    books.wipe()
    assert (await rebuild(resources)).finished == 0
    with pytest.raises(NotFoundError):
        await resources.store.jobs.get("acme", ids["succeeded"])


async def test_what_is_shipped_and_old_is_trimmed_and_nothing_else(
    resources: Resources, shipper: Shipper
) -> None:
    store = resources.store
    for _ in range(150):  # trimming is by whole nodes of the stream, 100 entries each
        await store.jobs.accept(make_job())
    await store.upkeep.trim_events(-60)
    assert (await store.queue_stats())["all"]["events"] == 150
    await shipper.ship()
    await store.upkeep.trim_events(3600)
    assert (await store.queue_stats())["all"]["events"] == 150
    await store.upkeep.trim_events(-60)
    assert (await store.queue_stats())["all"]["events"] < 150
    assert await store.journal.lag_s() == 0


async def test_lag_is_the_age_of_the_oldest_event_that_is_not_shipped(
    store: Store, books: Books
) -> None:
    assert await store.journal.lag_s() == 0
    await store.jobs.accept(make_job())
    await store.jobs.accept(make_job())
    oldest = await store.journal.unshipped_since()
    assert oldest is not None
    (first, _), _ = await store.journal.unshipped()
    assert stream_id(first) == oldest
    for _ in range(5):
        before = books.redis.time()
        lag_s = await store.journal.lag_s()
        after = books.redis.time()
        begun_s = oldest[0] / 1000 + 1e-5
        assert before[0] + before[1] / 1e6 <= begun_s + lag_s
        assert lag_s <= after[0] + after[1] / 1e6 - begun_s + 2e-5
    ahead = f"{oldest[0] + 3_600_000}-0"  # of a server whose clock was set back since
    await store.journal.shipped(first)
    await store.pipeline.command("XADD", store.names.events, ahead, "l", "job_x cancel acme 1 ")
    await store.journal.shipped(f"{oldest[0] + 3_599_999}-0")
    assert await store.journal.lag_s() == 0


async def test_two_shippers_at_once_ship_everything_once(
    resources: Resources, shipper: Shipper, books: Books
) -> None:
    for _ in range(20):
        await resources.store.jobs.accept(make_job())
    await asyncio.gather(shipper.ship(), Shipper(resources, "other").ship())
    assert await shipper.ship() == 0
    books.wipe()
    assert (await rebuild(resources)).queued == 20


async def test_batch_that_could_not_be_stored_is_shipped_later(
    resources: Resources, shipper: Shipper, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    await resources.store.jobs.accept(make_job())

    async def away(*_: object, **__: object) -> None:
        raise StorageUnavailableError("Away.")

    with monkeypatch.context() as patch:
        patch.setattr(shipper._objects, "put_stream", away)
        with pytest.raises(StorageUnavailableError):
            await shipper.ship()
    assert await shipper.ship() == 1
    assert await shipper.ship() == 0
    books.wipe()
    assert (await rebuild(resources)).queued == 1


async def test_compaction_that_cannot_store_its_snapshot_deletes_nothing(
    resources: Resources, shipper: Shipper, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fileproc.worker.shipper.SETTLED_S", -60.0)
    for _ in range(3):
        await resources.store.jobs.accept(make_job())
        await shipper.ship()

    async def away(*_: object, **__: object) -> None:
        raise StorageUnavailableError("Away.")

    with monkeypatch.context() as patch:
        patch.setattr(shipper._objects, "put_stream", away)
        with pytest.raises(StorageUnavailableError):
            await shipper.compact(least=2)
    assert len(await read_spans(resources.objects)) == 3
    books.wipe()
    assert (await rebuild(resources)).queued == 3


async def test_batch_of_a_slow_shipper_takes_nothing_back(
    resources: Resources, shipper: Shipper, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lost its lock while it stored; what another has shipped meanwhile begins the same way."""
    put, has_read, go_on = shipper._put, asyncio.Event(), asyncio.Event()

    async def slow(*what: Any) -> None:
        has_read.set()
        await go_on.wait()
        await put(*what)

    monkeypatch.setattr(shipper, "_put", slow)
    for _ in range(5):
        await resources.store.jobs.accept(make_job())
    late = asyncio.create_task(shipper.ship())
    await has_read.wait()
    for _ in range(5):
        await resources.store.jobs.accept(make_job())
    assert await Shipper(resources, "other").ship() == 10
    go_on.set()
    assert await late == 5
    books.wipe()
    assert (await rebuild(resources)).queued == 10


async def test_lost_store_is_not_swept_until_it_is_rebuilt(
    resources: Resources, shipper: Shipper, books: Books
) -> None:
    store = resources.store
    await store.jobs.accept(make_job())
    await shipper.ship()

    async def chunk() -> Any:
        yield b"result"

    await resources.objects.put_stream(
        "attempts/job_0/1-00000000/0", chunk(), content_type="text/plain"
    )
    books.wipe()
    await found_empty(resources)  # as a worker that starts now
    assert await store.journal.empty()
    assert await Janitor(resources, "test").sweep(timedelta(seconds=-60)) == 0
    await rebuild(resources)
    assert not await store.journal.empty()


async def test_empty_store_is_rebuilt_at_start_where_the_setting_allows(
    resources: Resources, shipper: Shipper, books: Books
) -> None:
    new = make_job()
    await resources.store.jobs.accept(new)
    await shipper.ship()
    books.wipe()
    allowed = resources.settings.model_copy(update={"rebuild_empty": True})
    await found_empty(dataclasses.replace(resources, settings=allowed))
    assert (await resources.store.jobs.get("acme", new.id)).state is JobState.QUEUED


@pytest.mark.parametrize("dry_run", [True, False])
async def test_nothing_is_put_into_use_where_there_is_no_journal(
    resources: Resources, books: Books, *, dry_run: bool
) -> None:
    """The bucket may be another's."""
    books.wipe()
    with pytest.raises(NoJournalError, match=r"FILEPROC_S3_BUCKET.*A new deployment"):
        await rebuild(resources, dry_run=dry_run)
    assert await resources.store.journal.empty()
    await resources.store.ensure_schema()
    assert (await rebuild(resources, dry_run=dry_run)).objects == 0


async def test_new_store_is_marked_as_in_use(resources: Resources, books: Books) -> None:
    books.wipe()
    await found_empty(resources)
    assert not await resources.store.journal.empty()
