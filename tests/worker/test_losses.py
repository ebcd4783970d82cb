"""What may go wrong around a loss: late writers, clocks, broken objects, sweeps, revocations."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from fileproc.errors import GoneError, SchemaError
from fileproc.jobs import JobDocument, JobState
from fileproc.objects import journal_key
from fileproc.resources import open_resources
from fileproc.store import Role, Settlement
from fileproc.worker.janitor import Janitor
from fileproc.worker.rebuild import rebuild
from fileproc.worker.shipper import Shipper, read_spans
from support import commands
from support.jobs import make_file, make_job, make_result
from support.losses import (
    SlowPut,
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
    from collections.abc import AsyncIterator
    from pathlib import Path
    from subprocess import CompletedProcess

    from fileproc.objects import ObjectInfo
    from fileproc.resources import Resources
    from support.books import Books

pytestmark = pytest.mark.usefixtures("books")
AT_ONCE = timedelta(seconds=-60)


# --- the journal ---------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["503", "stopped"])
async def test_put_that_fails_late_leaves_the_batch_that_another_stored(
    resources: Resources,
    shipper: Shipper,
    books: Books,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    for _ in range(3):
        await resources.store.jobs.accept(make_job())
    slow = SlowPut(resources, monkeypatch)
    late = asyncio.create_task(shipper.ship())
    await slow.begun()
    async with open_resources(
        resources.settings
    ) as others:  # the lock has ended: another worker ships
        assert await Shipper(others, "other").ship() == 3
        await slow.ends(late, how=how)
        assert len(await read_spans(others.objects)) == 1
        books.wipe()
        assert (await rebuild(others)).queued == 3


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("how", ["503", "stopped"])
async def test_compaction_that_fails_late_leaves_the_snapshot_of_another(
    resources: Resources,
    shipper: Shipper,
    books: Books,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    await shipped_jobs(resources, shipper, 4)
    slow = SlowPut(resources, monkeypatch)
    late = asyncio.create_task(shipper.compact(least=2))
    await slow.begun()
    async with open_resources(resources.settings) as others:
        assert await Shipper(others, "other").compact(least=2) == 3
        await slow.ends(late, how=how)
        books.wipe()
        assert (await rebuild(others)).queued == 4


async def test_one_worker_compacts_at_a_time_however_long_it_takes(
    resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fileproc.worker.shipper.LOCK_S", 0.5)
    monkeypatch.setattr("fileproc.worker.shipper.ROUND_S", 0.05)
    under_way, most = 0, 0

    async def slow_compact(_: Shipper, *, least: int) -> int:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(1.5)
        under_way -= 1
        return least

    monkeypatch.setattr(Shipper, "compact", slow_compact)
    often = resources.settings.model_copy(update={"journal_compact_s": 0.01})
    shippers = [Shipper(replace(resources, settings=often), name) for name in "abc"]
    tasks = [asyncio.create_task(one.run()) for one in shippers]
    await asyncio.sleep(2)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert most == 1


async def test_compaction_is_due_for_all_workers_together(resources: Resources) -> None:
    journal = resources.store.journal

    async def begun(ago_ms: int) -> None:
        now = await resources.store.upkeep.now_ms()
        key = f"{resources.settings.redis_prefix}compacted"
        await resources.store.pipeline.command("SET", key, now - ago_ms)

    assert await journal.compaction_due(600)  # nobody has ever compacted
    assert not await journal.compaction_due(600)
    await begun(ago_ms=590_000)
    assert not await journal.compaction_due(600)
    await begun(ago_ms=600_000)
    assert await journal.compaction_due(600)
    assert not await journal.compaction_due(600)
    await begun(ago_ms=-3_600_000)
    assert await journal.compaction_due(600)  # a clock was wrong: no reason to wait for it


@pytest.mark.usefixtures("settled")
async def test_compaction_deletes_only_what_it_has_read(
    resources: Resources, shipper: Shipper, books: Books
) -> None:
    """The batch of a replica that took over begins before, and ends after, that of the old one."""
    store = resources.store
    await store.jobs.accept(make_job())
    before = copied(books)
    await shipper.ship()
    missed = await store.jobs.accept(make_job())
    await shipper.ship()
    promote(books, before)
    assert (await rebuild(resources)).queued == 1
    await store.jobs.accept(make_job())
    await shipper.ship()
    await shipper.compact(least=2)
    books.wipe()
    await rebuild(resources)
    assert (await store.jobs.get("acme", missed)).state is JobState.QUEUED


async def test_broken_object_costs_what_was_in_it_and_no_more(
    resources: Resources, shipper: Shipper, books: Books
) -> None:
    await shipped_jobs(resources, shipper, 2)
    _, second = sorted(await read_spans(resources.objects))
    await store_object(resources, journal_key(second.name), b"\x1f\x8b\x08\x00 cut")
    books.wipe()
    report = await rebuild(resources)
    assert (report.queued, report.objects, report.broken) == (1, 2, 1)


async def test_command_of_the_rebuild_fails_where_objects_are_broken(
    resources: Resources, shipper: Shipper, s3_server: Any, tmp_path: Path
) -> None:
    await shipped_jobs(resources, shipper, 2)
    settings = resources.settings
    given = {
        "FILEPROC_REDIS_URL": settings.redis_url.get_secret_value(),
        "FILEPROC_REDIS_PREFIX": settings.redis_prefix,
        "FILEPROC_S3_BUCKET": settings.s3_bucket,
        "AWS_ENDPOINT_URL_S3": s3_server.endpoint,
        "AWS_ACCESS_KEY_ID": s3_server.access_key,
        "AWS_SECRET_ACCESS_KEY": s3_server.secret_key,
    }

    async def command(*arguments: str) -> CompletedProcess[str]:
        return await asyncio.to_thread(
            commands.run, "rebuild", *arguments, cwd=tmp_path, settings=given
        )

    whole = await command()
    assert (whole.returncode, whole.stderr) == (0, "")
    assert "2 jobs are there already" in whole.stdout
    _, second = sorted(await read_spans(resources.objects))
    await store_object(resources, journal_key(second.name), b"\x1f\x8b\x08\x00 cut")
    for arguments in ((), ("--json",), ("--dry-run",)):
        damaged = await command(*arguments)
        assert damaged.returncode == 1
        assert "1 objects of the journal cannot be read" in damaged.stderr
    assert json.loads((await command("--json")).stdout)["broken"] == 1


@pytest.mark.usefixtures("settled")
async def test_broken_object_is_never_compacted_away(
    resources: Resources, shipper: Shipper
) -> None:
    await shipped_jobs(resources, shipper, 3)
    first, *_ = sorted(await read_spans(resources.objects))
    await store_object(resources, journal_key(first.name), b"no gzip")
    with pytest.raises(OSError, match="gzip"):
        await shipper.compact(least=2)
    assert len(await read_spans(resources.objects)) == 3


async def test_events_after_a_server_whose_clock_was_ahead_are_not_taken_for_old(
    resources: Resources, shipper: Shipper, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fileproc.worker.shipper.SETTLED_S", -1e7)
    ahead = int(books.redis.time()[0]) * 1000 + 3_600_000
    for number in range(3):
        entry = f"{ahead + number}-0"
        books.redis.xadd(books.key("events"), {"l": "job_x cancel_requested acme 1 "}, id=entry)
        await shipper.ship()
    assert await shipper.compact(least=2) == 2
    books.wipe()
    await rebuild(resources)  # on a server whose clock is right
    new = await resources.store.jobs.accept(make_job())
    assert await shipper.ship() == 2
    books.wipe()
    await rebuild(resources)
    assert (await resources.store.jobs.get("acme", new)).state is JobState.QUEUED


@pytest.mark.usefixtures("settled")
async def test_file_of_a_forgotten_job_comes_back_with_the_job_that_uses_it(
    resources: Resources, shipper: Shipper, books: Books
) -> None:
    shipper._keep_s = -60
    store = resources.store
    info = make_file()
    await store.jobs.accept(make_job(new_files=[info]))
    (lease,) = await take(store)
    await store.queue.settle(Settlement.complete(lease, make_result(lease)))
    await shipped_jobs(resources, shipper, 1)
    await shipper.compact(least=1)
    document = JobDocument(operation="file.probe", inputs=[info])
    await store.jobs.accept(make_job(reused_files=[info.file_id], document=document))
    await shipper.ship()
    books.wipe()
    assert (await rebuild(resources)).queued == 2
    assert await store.files.get("acme", info.file_id) == info


async def test_store_of_a_newer_version_is_not_written_to(
    resources: Resources, shipper: Shipper, books: Books
) -> None:
    await shipped_jobs(resources, shipper, 1)
    books.wipe()
    books.redis.set(books.key("schema"), 2)
    with pytest.raises(SchemaError):
        await rebuild(resources)
    assert books.jobs() == {}


# --- what was deleted or revoked -----------------------------------------------------------------


async def test_sweep_stops_when_redis_is_lost_meanwhile(
    resources: Resources, shipper: Shipper, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = await leased(resources.store)
    output = await completed(resources, lease)
    await shipper.ship()
    listed = resources.objects.list

    async def lost_meanwhile(prefix: str) -> AsyncIterator[ObjectInfo]:
        async for entry in listed(prefix):
            books.wipe()
            yield entry

    monkeypatch.setattr(resources.objects, "list", lost_meanwhile)
    assert await Janitor(resources, "test").sweep(AT_ONCE) == 0
    monkeypatch.undo()
    await rebuild(resources)
    assert (await resources.store.jobs.get("acme", lease.job_id)).state is JobState.SUCCEEDED
    assert await keys_below(resources, "attempts/") == [output]


async def test_objects_go_after_the_journal_knows_that_they_are_deleted(
    resources: Resources, shipper: Shipper
) -> None:
    lease = await leased(resources.store)
    output = await completed(resources, lease)
    await shipper.ship()
    await resources.store.jobs.delete("acme", lease.job_id)
    janitor = Janitor(resources, "test")
    assert await janitor.collect() == 0
    assert await keys_below(resources, "attempts/") == [output]
    await shipper.ship()
    assert await janitor.collect() == 1
    assert await keys_below(resources, "attempts/") == []


@pytest.mark.usefixtures("settled")
async def test_job_deleted_before_the_last_snapshot_stays_deleted(
    resources: Resources, shipper: Shipper, books: Books
) -> None:
    gone = await resources.store.jobs.accept(make_job())
    await shipper.ship()
    before = copied(books)
    await resources.store.jobs.delete("acme", gone)
    await shipper.ship()
    await shipped_jobs(resources, shipper, 1)
    assert await shipper.compact(least=2) == 2
    promote(books, before)
    assert (await rebuild(resources)).deleted == 1
    with pytest.raises(GoneError):
        await resources.store.jobs.get("acme", gone)


async def test_key_whose_revocation_the_replica_missed_is_revoked_again(
    resources: Resources, shipper: Shipper, books: Books
) -> None:
    keys = resources.store.keys
    key = await keys.create("acme", Role.ADMIN)
    before = copied(books)
    await keys.revoke(key.info.id)
    await shipper.ship()
    promote(books, before)
    await rebuild(resources)
    assert await keys.authenticate(key.token) is None


@pytest.mark.usefixtures("settled")
async def test_revocation_outlives_a_snapshot_and_another_history(
    resources: Resources, shipper: Shipper, books: Books
) -> None:
    await shipped_jobs(resources, shipper, 1)
    key = await resources.store.keys.create("acme", Role.USER)
    before = copied(books)
    await resources.store.keys.revoke(key.info.id)
    await shipper.ship()
    promote(books, before)
    await shipped_jobs(resources, shipper, 1)  # with the key, once more
    assert await shipper.compact(least=2) == 2
    books.wipe()
    await rebuild(resources)
    assert await resources.store.keys.authenticate(key.token) is None


async def test_first_admin_key_that_was_revoked_stays_so(
    resources: Resources, shipper: Shipper, books: Books
) -> None:
    token = "fp_" + "a" * 12 + "_" + "s" * 40
    keys = resources.store.keys
    await keys.ensure_admin(token)
    await keys.revoke("a" * 12)
    await shipper.ship()
    books.wipe()
    await keys.ensure_admin(token)  # an api starts before the rebuild
    await rebuild(resources)
    assert await keys.authenticate(token) is None


async def test_key_that_a_broken_off_rebuild_left_half_is_made_whole(
    resources: Resources, shipper: Shipper, books: Books
) -> None:
    key = await resources.store.keys.create("acme", Role.USER)
    await shipper.ship()
    books.wipe()
    books.redis.zadd(books.key("keys"), {key.info.id: 1})
    await rebuild(resources)
    assert await resources.store.keys.authenticate(key.token) == key.info
