"""Real jobs through a real worker: Redis, S3 and the sandbox are the real ones."""

from __future__ import annotations

import asyncio
import os
import resource
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import ClientSession

from fileproc.dev.processes import free_port
from fileproc.errors import GoneError
from fileproc.ids import new_id
from fileproc.jobs import FileInfo, Job, JobDocument, JobState, Move
from fileproc.objects import file_key
from fileproc.store import Settlement
from fileproc.telemetry import LIMITS_HIT
from fileproc.worker.app import Worker, open_worker
from fileproc.worker.health import readiness, serving
from fileproc.worker.janitor import Janitor
from support.books import Books
from support.jobs import make_job
from support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from fileproc.resources import Resources
    from fileproc.settings import Settings

pytestmark = pytest.mark.usefixtures("books")


IN_USE_NAME = "fileproc_store_in_use"


@asynccontextmanager
async def working(settings: Settings, **others: Any) -> AsyncIterator[Worker]:
    """A worker that works for the life of the context, then drains."""
    async with open_worker(settings.model_copy(update={"grace_s": 0.1, **others})) as worker:
        running = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            worker.stop()
            await running


async def submit(resources: Resources, operation: str, **params: Any) -> str:
    document = JobDocument(operation=operation, params=params)
    return await resources.store.jobs.accept(make_job(document=document))


async def put(resources: Resources, name: str, content: bytes, media_type: str) -> FileInfo:
    async def chunks() -> AsyncIterator[bytes]:
        yield content

    file_id = new_id("file")
    stored = await resources.objects.put_stream(
        file_key(file_id), chunks(), content_type=media_type
    )
    return FileInfo(
        file_id=file_id, name=name, size=stored.size, sha256=stored.sha256, type=media_type
    )


async def submit_csv(resources: Resources, content: bytes = b"a,b\n1,2\n") -> tuple[str, FileInfo]:
    info = await put(resources, "t.csv", content, "text/csv")
    document = JobDocument(operation="table.convert", params={"to": "jsonl"}, inputs=[info])
    new = make_job(document=document, new_files=[info])
    return await resources.store.jobs.accept(new), info


async def ended(resources: Resources, job_id: str) -> Job:
    async def look() -> Job | None:
        job = await resources.store.jobs.get(None, job_id)
        return job if job.state.final else None

    job: Job = await eventually(look, within_s=60)
    return job


async def in_state(resources: Resources, job_id: str, *states: JobState) -> Job:
    async def look() -> Job | None:
        job = await resources.store.jobs.get(None, job_id)
        return job if job.state in states else None

    job: Job = await eventually(look, within_s=60)
    return job


async def objects_below(resources: Resources, prefix: str) -> list[str]:
    return [entry.key async for entry in resources.objects.list(prefix)]


async def test_file_goes_in_and_its_result_comes_out(
    resources: Resources, settings: Settings
) -> None:
    job_id, _ = await submit_csv(resources)
    async with working(settings):
        job = await ended(resources, job_id)
    assert (job.state, job.attempt, job.error) == (JobState.SUCCEEDED, 1, None)
    assert job.result is not None
    (output,) = job.result.outputs
    body = b"".join([chunk async for chunk in resources.objects.stream(job.result.prefix + "0")])
    assert body == b'{"a":"1","b":"2"}\n'
    assert output.size == len(body)
    assert job.result.usage.wall_s > 0
    assert job.result.provenance.engine


async def test_nothing_is_left_on_scratch(
    resources: Resources, settings: Settings, tmp_path: Path
) -> None:
    job_id, _ = await submit_csv(resources)
    async with working(settings):
        await ended(resources, job_id)
    assert list((tmp_path / "scratch").iterdir()) == []


async def test_transient_failure_is_tried_again(resources: Resources, settings: Settings) -> None:
    job_id = await submit(resources, "debug.fail", **{"class": "transient", "times": 1})
    async with working(settings):
        job = await ended(resources, job_id)
    assert (job.state, job.attempt, job.error) == (JobState.SUCCEEDED, 2, None)


@pytest.mark.parametrize(("error_class", "attempts"), [("permanent", 1), ("resource", 2)])
async def test_class_of_the_error_decides_how_often_it_is_tried(
    resources: Resources, settings: Settings, error_class: str, attempts: int
) -> None:
    job_id = await submit(resources, "debug.fail", **{"class": error_class, "times": 9})
    async with working(settings):
        job = await ended(resources, job_id)
    assert (job.state, job.attempt) == (JobState.FAILED, attempts)
    assert job.error is not None
    assert (str(job.error.error_class), job.error.attempt) == (error_class, attempts)
    assert job.error.retryable == (error_class != "permanent")


async def test_crash_costs_the_job_and_not_the_worker(
    resources: Resources, settings: Settings
) -> None:
    async with working(settings):
        job = await ended(resources, await submit(resources, "debug.crash"))
        assert (job.state, job.attempt) == (JobState.FAILED, 2)
        assert job.error is not None
        assert job.error.error_class == "crash"
        after = await ended(resources, await submit(resources, "debug.sleep", seconds=0))
        assert after.state is JobState.SUCCEEDED


async def test_damaged_input_fails_for_good_with_a_sentence(
    resources: Resources, settings: Settings
) -> None:
    info = await put(resources, "x.jpg", b"\xff\xd8\xff\xe0" + b"\0" * 500, "image/jpeg")
    document = JobDocument(operation="image.resize", params={"width": 10}, inputs=[info])
    job_id = await resources.store.jobs.accept(make_job(document=document, new_files=[info]))
    async with working(settings):
        job = await ended(resources, job_id)
    assert (job.state, job.attempt) == (JobState.FAILED, 1)
    assert job.error is not None
    assert (job.error.code, job.error.retryable) == ("corrupt_input", False)
    assert job.error.detail.endswith(".")


async def test_canceled_job_is_killed_while_it_runs(
    resources: Resources, settings: Settings
) -> None:
    job_id = await submit(resources, "debug.sleep", seconds=600)
    async with working(settings):
        await in_state(resources, job_id, JobState.RUNNING)
        await resources.store.jobs.cancel("acme", job_id)
        async with asyncio.timeout(10):  # the goal is 2 s
            job = await ended(resources, job_id)
    assert job.state is JobState.CANCELED


async def test_deleted_job_is_killed_and_forgotten(
    resources: Resources, settings: Settings, books: Books
) -> None:
    job_id = await submit(resources, "debug.sleep", seconds=600)
    async with working(settings):
        await in_state(resources, job_id, JobState.RUNNING)
        await resources.store.jobs.delete("acme", job_id)
        with pytest.raises(GoneError):
            await resources.store.jobs.get("acme", job_id)
        await eventually(lambda: books.jobs()[job_id]["st"] == "deleted")


async def test_job_that_takes_too_long_is_stopped(resources: Resources, settings: Settings) -> None:
    document = JobDocument(operation="debug.sleep", params={"seconds": 600}, timeout_s=0.3)
    job_id = await resources.store.jobs.accept(make_job(document=document))
    async with working(settings):
        job = await ended(resources, job_id)
    assert (job.state, job.attempt) == (JobState.FAILED, 2)
    assert job.error is not None
    assert (job.error.code, job.error.error_class) == ("timeout", "resource")


async def test_shutdown_hands_back_without_spending_an_attempt(
    resources: Resources, settings: Settings
) -> None:
    job_id = await submit(resources, "debug.sleep", seconds=600)
    async with working(settings):
        await in_state(resources, job_id, JobState.RUNNING)
    job = await resources.store.jobs.get("acme", job_id)
    assert (job.state, job.attempt) == (JobState.QUEUED, 0)


async def test_shutdown_lets_short_jobs_end(resources: Resources, settings: Settings) -> None:
    job_id = await submit(resources, "debug.sleep", seconds=0.5)
    async with working(settings, grace_s=30):
        await in_state(resources, job_id, JobState.RUNNING)
    job = await resources.store.jobs.get("acme", job_id)
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 1)


async def test_job_that_was_taken_away_is_stopped_and_publishes_nothing(
    resources: Resources, settings: Settings
) -> None:
    job_id = await submit(resources, "debug.sleep", seconds=600)
    async with working(settings, concurrency="default=1,heavy=1") as worker:
        await in_state(resources, job_id, JobState.RUNNING)
        (token,) = (await eventually(worker._held.tokens)).values()
        taken = Settlement(job_id, token, Move.CANCEL)  # as if another had ended it
        await resources.store.queue.settle(taken)
        await eventually(lambda: not worker._held.tokens())
    assert await objects_below(resources, "attempts/") == []


async def test_progress_reaches_the_record(resources: Resources, settings: Settings) -> None:
    job_id = await submit(resources, "debug.sleep", seconds=5)

    async def halfway() -> Job | None:
        job = await resources.store.jobs.get(None, job_id)
        return job if job.progress and job.progress.done else None

    async with working(settings):
        job: Job = await eventually(halfway)
        await resources.store.jobs.cancel("acme", job_id)
        await ended(resources, job_id)
    assert job.progress is not None
    assert 0 < job.progress.done <= (job.progress.total or 0)


async def test_input_that_was_changed_behind_our_back_is_refused(
    resources: Resources, settings: Settings
) -> None:
    job_id, info = await submit_csv(resources)

    async def other() -> AsyncIterator[bytes]:
        yield b"a,b\n6,6\n"

    key = file_key(info.file_id)
    await resources.objects.put_stream(key, other(), content_type="text/csv")
    async with working(settings):
        job = await ended(resources, job_id)
    assert job.error is not None
    assert (job.state, job.error.code) == (JobState.FAILED, "input_changed")


async def test_missing_input_is_said(resources: Resources, settings: Settings) -> None:
    job_id, info = await submit_csv(resources)
    await resources.objects.delete([file_key(info.file_id)])
    async with working(settings):
        job = await ended(resources, job_id)
    assert job.error is not None
    assert (job.state, job.attempt, job.error.code) == (JobState.FAILED, 1, "input_missing")


async def test_burst_ends_when_the_queue_is_empty(resources: Resources, settings: Settings) -> None:
    ids = [await submit(resources, "debug.sleep", seconds=0) for _ in range(12)]
    async with open_worker(settings) as worker:
        async with asyncio.timeout(60):
            await worker.run(burst=True)
    for job_id in ids:
        job = await resources.store.jobs.get("acme", job_id)
        assert job.state is JobState.SUCCEEDED


async def test_slots_bound_what_runs_at_once(
    resources: Resources, settings: Settings, books: Books
) -> None:
    ids = [await submit(resources, "debug.sleep", seconds=600) for _ in range(5)]
    async with working(settings, concurrency="default=2,heavy=1"):
        await eventually(lambda: len(books.zset("leases")) == 2)
        running = await asyncio.gather(*(resources.store.jobs.get(None, i) for i in ids))
    assert [job.state for job in running].count(JobState.RUNNING) == 2


async def test_worker_of_a_store_that_has_lost_everything_is_not_ready(
    settings: Settings, books: Books
) -> None:
    async with open_worker(settings) as worker:
        await worker.resources.objects.ensure_bucket()
        await worker.resources.store.ensure_schema()
        ready, checks = await readiness(worker)
        assert ready, checks
        books.wipe()
        ready, checks = await readiness(worker)
        assert not ready
        assert "lost its data" in checks["redis"]["detail"]


async def test_figures_of_a_worker_tell_how_the_store_stands_now(
    settings: Settings, books: Books
) -> None:
    async with (
        open_worker(settings) as worker,
        serving(worker, "127.0.0.1", port := free_port()),
        ClientSession(f"http://127.0.0.1:{port}") as client,
    ):

        async def told() -> str:
            text = await (await client.get("/metrics")).text()
            return next(line for line in text.splitlines() if line.startswith(f"{IN_USE_NAME} "))

        books.wipe()
        assert await told() == f"{IN_USE_NAME} 0.0"
        await worker.resources.store.ensure_schema()
        assert await told() == f"{IN_USE_NAME} 1.0"


async def test_full_scratch_disk_takes_no_job(resources: Resources, settings: Settings) -> None:
    job_id = await submit(resources, "debug.sleep", seconds=0)
    async with working(settings, scratch_floor_bytes=2**62) as worker:
        assert not worker.scratch.has_room
        await resources.store.upkeep.tick()
        assert (await resources.store.jobs.get(None, job_id)).state is JobState.QUEUED
    async with working(settings):
        assert (await ended(resources, job_id)).state is JobState.SUCCEEDED


@contextmanager
def next_to_no_descriptors() -> Iterator[None]:
    """This process may open eight more files, and no more."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 9, limits[1]))
    full = [os.open(os.devnull, os.O_RDONLY) for _ in range(free_descriptors() - 8)]
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for descriptor in full:
            os.close(descriptor)


def free_descriptors() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft - len(list(Path("/proc/self/fd").iterdir()))


async def test_worker_that_may_open_no_more_files_leaves_jobs_to_others(
    resources: Resources, settings: Settings
) -> None:
    async with working(settings):
        # One that waits for a job when it runs short, not one that looks before it waits.
        first = await submit(resources, "debug.sleep", seconds=0)
        assert (await ended(resources, first)).state is JobState.SUCCEEDED
        before = hits("open_files")
        with next_to_no_descriptors():
            job_id = await submit(resources, "debug.sleep", seconds=0)
            await eventually(lambda: hits("open_files") >= before + 2)
            job = await resources.store.jobs.get(None, job_id)
            assert (job.state, job.attempt) == (JobState.QUEUED, 0)
        assert (await ended(resources, job_id)).attempt == 1


def hits(limit: str) -> Any:
    return LIMITS_HIT.labels(limit)._value.get()


async def test_expired_job_leaves_no_object(resources: Resources, settings: Settings) -> None:
    info = await put(resources, "t.csv", b"a\n1\n", "text/csv")
    document = JobDocument(operation="table.convert", params={"to": "tsv"}, inputs=[info])
    new = make_job(document=document, new_files=[info], retention_s=0)
    await resources.store.jobs.accept(new)
    async with working(settings):

        async def all_gone() -> bool:
            left = await objects_below(resources, "files/") + await objects_below(
                resources, "attempts/"
            )
            return not left

        await eventually(all_gone, within_s=60)
    with pytest.raises(GoneError):
        await resources.store.jobs.get("acme", new.id)


async def test_sweep_deletes_what_nothing_points_to_and_nothing_else(
    resources: Resources, settings: Settings
) -> None:
    job_id, info = await submit_csv(resources)
    async with working(settings):
        job = await ended(resources, job_id)
    assert job.result is not None

    async def chunk() -> AsyncIterator[bytes]:
        yield b"orphan"

    for key in (
        file_key(new_id("file")),
        f"attempts/{job_id}/9-00000000/0",
        f"attempts/{new_id('job')}/1-00000000/0",
    ):
        await resources.objects.put_stream(key, chunk(), content_type="text/plain")
    janitor = Janitor(resources, "test")
    assert await janitor.sweep(timedelta(hours=1)) == 0  # too young: its record may be on the way
    assert await janitor.sweep(timedelta(seconds=-60)) == 3
    assert await objects_below(resources, "files/") == [file_key(info.file_id)]
    assert await objects_below(resources, "attempts/") == [job.result.prefix + "0"]
