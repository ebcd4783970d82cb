"""A pipeline that fails for good keeps what was done; one that repeats it goes on from there."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

import pytest

from fileproc.errors import BadInput, Crashed, JobError, StorageUnavailableError
from fileproc.jobs import (
    JOB_INPUTS,
    PIPELINE,
    Job,
    JobDocument,
    JobState,
    KeptState,
    Step,
    StepState,
)
from fileproc.operations import Output
from fileproc.worker.janitor import Janitor
from fileproc.worker.sandbox import ZygoteLost
from support.clock import step_clock
from support.commands import run
from support.jobs import due_trash, make_job
from support.stage import Report, Stage, ending, failing, put, slowly

if TYPE_CHECKING:
    from pathlib import Path

    from fileproc.resources import Resources
    from fileproc.settings import Settings
    from fileproc.store import Lease
    from fileproc.worker.sandbox import Assignment, Ending
    from support.books import Books

pytestmark = pytest.mark.usefixtures("books")

NO = BadInput("No.", code="corrupt_input")
WAITING, FAILED, REUSED = StepState.WAITING, StepState.FAILED, StepState.REUSED
SUCCEEDED, SKIPPED = StepState.SUCCEEDED, StepState.SKIPPED


def step(name: str, *needs: str, **others: Any) -> Step:
    return Step(name=name, operation=f"test.{name}", needs=list(needs), **others)


STEPS = [step("first"), step("second", "first")]


class Play:
    """Each operation makes the files that are said, or fails; what was run is written down."""

    def __init__(self, **fails: JobError) -> None:
        self.fails = fails
        self.ran: list[tuple[str, list[str]]] = []
        self.makes = {"first": ["a.txt"]}

    async def __call__(self, assignment: Assignment, report: Report) -> Ending:
        del report
        name = assignment.operation.removeprefix("test.")
        given = [file.path.read_text(encoding="utf-8") for file in assignment.inputs]
        self.ran.append((name, given))
        for about in (name, *given):
            if about in self.fails:
                return ending(error=self.fails[about])
        (assignment.folder / "out").mkdir()
        made = []
        for number, output in enumerate(self.makes.get(name, [f"{name}.txt"])):
            path = assignment.folder / "out" / str(number)
            path.write_text(f"{name}{number}" if not given else f"{name}({','.join(given)})")
            made.append(Output(path, output, "text/plain"))
        return ending(*made)


async def played(stage: Stage, play: Play, steps: list[Step] = STEPS, **others: Any) -> Job:
    """A job through its only attempt."""
    stage.child.part = play
    document = JobDocument(**{"operation": PIPELINE, "steps": steps, **others})
    lease = await stage.lease(document=document, max_attempts=1)
    await stage.executor.execute(lease)
    return await stage.job(lease)


async def repeated(stage: Stage, job: Job, play: Play) -> Job:
    assert job.kept is not None
    more = {"retry_of": job.id, "resume": job.kept}
    return await played(stage, play, **{**dict(job.document), **more})


async def stored(stage: Stage) -> list[str]:
    return await stage.stored("attempts/")


def states(job: Job) -> list[StepState]:
    return [status.state for status in job.steps]


async def contents(stage: Stage, job: Job) -> list[str]:
    assert job.result is not None, job.error
    found = []
    for number, _ in enumerate(job.result.outputs):
        chunks = [chunk async for chunk in stage.objects.stream(f"{job.result.prefix}{number}")]
        found.append(b"".join(chunks).decode())
    return found


async def test_a_retry_goes_on_from_the_step_that_failed(stage: Stage) -> None:
    job = await played(stage, Play(second=NO))
    assert (job.state, states(job)) == (JobState.FAILED, [SUCCEEDED, FAILED])
    assert job.kept is not None
    assert (job.kept.state, job.kept.steps, job.kept.files) == (KeptState.KEPT, ["first"], 1)
    assert job.kept.bytes == len("first0")
    assert await stored(stage) == [f"{job.kept.prefix}0", f"{job.kept.prefix}1"]
    play = Play()
    again = await repeated(stage, job, play)
    assert states(again) == [REUSED, SUCCEEDED]
    assert play.ran == [("second", ["first0"])]
    assert await contents(stage, again) == ["second(first0)"]
    first, second = again.steps
    assert (first.outputs, first.engine, first.usage) == (1, "an engine", None)
    assert again.usage == second.usage


async def test_a_retry_that_fails_as_well_keeps_all_that_is_done_by_then(stage: Stage) -> None:
    steps = [*STEPS, step("third", "second", "first")]
    job = await played(stage, Play(second=NO), steps)
    later = await repeated(stage, job, Play(third=NO))
    assert states(later) == [REUSED, SUCCEEDED, FAILED]
    assert later.kept is not None
    assert (later.kept.steps, later.kept.files) == (["first", "second"], 2)
    await stage.store.jobs.delete("acme", job.id)  # it stands for itself
    play = Play()
    last = await repeated(stage, later, play)
    assert states(last) == [REUSED, REUSED, SUCCEEDED]
    assert play.ran == [("third", ["second(first0)", "first0"])]


async def test_fans_joins_and_skipped_files_are_as_they_were(stage: Stage) -> None:
    steps = [
        step("fan"),
        step("each", "fan", for_each=True, on_error="skip"),
        step("lost", "fan", on_error="skip"),
        step("join", "each", "fan", "lost"),
    ]
    play = Play(join=NO, lost=NO, fan1=NO)
    play.makes = {"fan": ["same.txt", "same.txt", "odd.txt"], "each": ["e.txt", "f.txt"]}
    job = await played(stage, play, steps)
    assert states(job) == [SUCCEEDED, SUCCEEDED, SKIPPED, FAILED]
    again = Play()
    done = await repeated(stage, job, again)
    assert states(done) == [REUSED, REUSED, REUSED, SUCCEEDED]
    ((name, given),) = again.ran
    assert name == "join"
    assert given == ["each(fan0)"] * 2 + ["each(fan2)"] * 2 + ["fan0", "fan1", "fan2"]
    each, lost = done.steps[1:3]
    assert (each.outputs, each.skipped) == (4, 1)
    assert lost.error is not None
    assert (lost.outputs, lost.skipped, lost.error.code) == (0, 3, "corrupt_input")


async def test_a_step_of_which_some_runs_were_done_begins_anew(stage: Stage) -> None:
    steps = [step("fan"), step("each", "fan", for_each=True)]
    play = Play(fan1=NO)
    play.makes = {"fan": ["a.txt", "b.txt"]}
    job = await played(stage, play, steps)
    assert job.kept is not None
    assert (job.kept.steps, job.kept.files) == (["fan"], 2)
    again = Play()
    assert states(await repeated(stage, job, again)) == [REUSED, SUCCEEDED]
    assert [given for _, given in again.ran] == [["fan0"], ["fan1"]]


async def test_outputs_of_the_job_are_kept_and_what_nobody_needs_is_not(stage: Stage) -> None:
    steps = [
        step("first"),
        step("shown", "first", output=True),
        step("last", "shown", output=True),
    ]
    job = await played(stage, Play(last=NO), steps)
    assert job.kept is not None
    assert (job.kept.steps, job.kept.files) == (["first", "shown"], 1)
    again = Play()
    done = await repeated(stage, job, again)
    assert await contents(stage, done) == ["shown(first0)", "last(shown(first0))"]
    assert again.ran == [("last", ["shown(first0)"])]


async def test_inputs_are_fetched_again_only_where_a_step_still_needs_them(stage: Stage) -> None:
    info = await put(stage, b"the input")
    steps = [step("first", JOB_INPUTS), step("second", "first")]
    job = await played(stage, Play(second=NO), steps, inputs=[info])
    await stage.objects.delete([f"files/{info.file_id}"])
    assert states(await repeated(stage, job, Play())) == [REUSED, SUCCEEDED]
    steps = [step("first"), step("second", "first", JOB_INPUTS)]
    info = await put(stage, b"another")
    job = await played(stage, Play(second=NO), steps, inputs=[info])
    play = Play()
    await repeated(stage, job, play)
    assert play.ran == [("second", ["first0", "another"])]


async def test_nothing_is_kept_where_nothing_is_done_or_another_attempt_follows(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await played(stage, Play(first=NO))).kept is None
    stage.child.part = Play(second=JobError("Later."))
    lease = await stage.lease(document=JobDocument(operation=PIPELINE, steps=STEPS))
    await stage.executor.execute(lease)
    assert (await stage.job(lease)).state is JobState.DELAYED
    broken = Crashed("It broke the rules.", code="protocol_broken")
    assert (await played(stage, Play(second=broken))).kept is None
    monkeypatch.setattr(stage.executor._keeper, "_most_bytes", 0)
    assert (await played(stage, Play(second=NO))).kept is None
    assert await stored(stage) == []


async def test_more_than_is_kept_is_told_and_not_stored(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage.executor._keeper, "_most_bytes", len("first0") - 1)
    job = await played(stage, Play(second=NO))
    assert job.kept is not None
    assert (job.kept.state, job.kept.bytes, job.kept.prefix) == (KeptState.TOO_LARGE, 6, "")
    assert await stored(stage) == []


async def test_the_job_fails_with_its_own_error_where_nothing_can_be_stored(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage.executor._keeper, "_timeout_s", 0.3)
    for error in (
        StorageUnavailableError("It is away."),
        OSError(28, "No space left on device"),
        None,  # it does not answer
    ):
        with monkeypatch.context() as patch:
            if error is None:
                slowly(patch, stage.objects, "put_file")
            else:
                failing(patch, stage.objects, "put_file", *[error] * 1000)
            job = await played(stage, Play(second=NO))
        assert (job.state, states(job)) == (JobState.FAILED, [SUCCEEDED, FAILED])
        assert job.error is not None
        assert job.error.code == "corrupt_input"
        assert job.kept is not None
        assert (job.kept.state, job.kept.prefix) == (KeptState.NOT_STORED, "")
        trash = [what for what in await due_trash(stage.store) if job.id in what]
        assert len(trash) == 2  # where outputs would be, and what was to be kept


async def test_a_cancel_while_it_keeps_wins_and_leaves_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.child.part = Play(second=NO)
    document = JobDocument(operation=PIPELINE, steps=STEPS)
    lease = await stage.lease(document=document, max_attempts=1)
    begun, _ = slowly(monkeypatch, stage.objects, "put_file")
    task = stage.begin(lease)
    await begun.wait()
    await stage.store.jobs.cancel("acme", lease.job_id)
    await beat(stage, lease)
    await task
    assert (await stage.job(lease)).state is JobState.CANCELED
    prefixes = await due_trash(stage.store)
    assert all(prefix.startswith(f"attempts/{lease.job_id}/") for prefix in prefixes)
    assert len(prefixes) == 2  # of its outputs, and of what it was to keep


async def beat(stage: Stage, lease: Lease) -> None:
    """What the heartbeat's thread does when it hears of a cancel."""
    from fileproc.store import Pulse

    stage.held.learned(lease.job_id, lease.token, Pulse.CANCEL)
    await asyncio.sleep(0)


async def test_what_was_done_when_the_template_process_died_is_kept(stage: Stage) -> None:
    play = Play()

    async def dies(assignment: Assignment, report: Report) -> Ending:
        if assignment.operation == "test.second":
            raise ZygoteLost("It died.")
        return await play(assignment, report)

    stage.child.part = dies
    document = JobDocument(operation=PIPELINE, steps=STEPS)
    lease = await stage.lease(document=document, max_attempts=1)
    await stage.executor.execute(lease)
    assert (await stage.job(lease)).state is JobState.QUEUED
    await stage.executor.execute(await stage.take())
    job = await stage.job(lease)
    assert (job.state, states(job)[0]) == (JobState.FAILED, SUCCEEDED)
    assert job.kept is not None
    assert job.kept.state is KeptState.KEPT


async def test_what_is_no_longer_stored_or_has_changed_fails_with_its_own_code(
    stage: Stage,
) -> None:
    job = await played(stage, Play(second=NO))
    assert job.kept is not None

    async def other(content: bytes) -> Any:
        yield content

    file, told = (f"{job.kept.prefix}{number}" for number in (0, 1))
    await stage.objects.put_stream(file, other(b"secret"), content_type="text/plain")
    changed = await repeated(stage, job, Play())
    await stage.objects.put_stream(told, other(b"{}"), content_type="text/plain")
    forged = await repeated(stage, job, Play())
    await stage.objects.delete([file, told])
    gone = await repeated(stage, job, Play())
    for again in (changed, forged, gone):
        assert again.error is not None
        assert (again.error.code, again.error.retryable) == ("kept_missing", False)
        assert (states(again), again.kept) == ([REUSED, StepState.UNKNOWN], None)


async def test_names_of_files_never_become_paths_or_keys(stage: Stage) -> None:
    play = Play(second=NO)
    play.makes = {"first": ["../../../etc/passwd", "a/b", "\u202e.txt", "x" * 200]}
    job = await played(stage, play, [step("__proto__"), step("second", "__proto__", output=True)])
    steps = [step("first"), step("a-_9", "first"), step("second", "a-_9")]
    job = await played(stage, play, steps)
    assert job.kept is not None
    assert await stored(stage) == sorted({*await stored(stage), f"{job.kept.prefix}0"})
    again = await repeated(stage, job, Play())
    assert again.state is JobState.SUCCEEDED
    assert list(stage.scratch.folder.iterdir()) == []


async def test_a_worker_that_is_killed_while_it_keeps_leaves_nothing_behind(
    resources: Resources, settings: Settings, books: Books, tmp_path: Path
) -> None:
    store = resources.store
    await store.ensure_schema()
    make = Step(name="first", operation="debug.sleep", params={"seconds": 0, "output_bytes": 9})
    fail = {"class": "permanent", "times": 9}
    steps = [make, Step(name="second", operation="debug.fail", params=fail, needs=["first"])]
    document = JobDocument(operation=PIPELINE, steps=steps)
    job_id = await store.jobs.accept(make_job(document=document, max_attempts=3))
    given = environment_of(settings)
    killed = await worker(tmp_path, {**given, "FILEPROC_CRASH_AT": "output-stored"})
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (orphan,) = [entry.key async for entry in resources.objects.list("attempts/")]
    assert (await store.jobs.get("acme", job_id)).state is JobState.RUNNING
    step_clock(books.redis, books.prefix, 100_000)
    janitor = Janitor(resources, "test")
    await janitor.round()
    done = await worker(tmp_path, given)
    assert done.returncode == 0, done.stderr
    job = await store.jobs.get("acme", job_id)
    assert job.kept is not None
    assert (job.state, job.attempt, job.kept.state) == (JobState.FAILED, 2, KeptState.KEPT)
    step_clock(books.redis, books.prefix, 100_000)
    await due_trash(store)
    await janitor.collect()
    left = [entry.key async for entry in resources.objects.list("attempts/")]
    assert left == [f"{job.kept.prefix}{number}" for number in (0, 1)]
    assert orphan not in left


def environment_of(settings: Settings) -> dict[str, str]:
    """What makes a process use the engines of the test."""
    secret = {
        "FILEPROC_REDIS_URL": settings.redis_url,
        "FILEPROC_S3_ACCESS_KEY_ID": settings.s3_access_key_id,
        "FILEPROC_S3_SECRET_ACCESS_KEY": settings.s3_secret_access_key,
    }
    plain = {
        "FILEPROC_REDIS_PREFIX": settings.redis_prefix,
        "FILEPROC_S3_ENDPOINT": settings.s3_endpoint,
        "FILEPROC_S3_BUCKET": settings.s3_bucket,
        "FILEPROC_SCRATCH_DIR": str(settings.scratch_dir),
        "FILEPROC_DEBUG_OPERATIONS": "1",
    }
    shown = {name: value.get_secret_value() for name, value in secret.items() if value}
    return {**{name: value for name, value in plain.items() if value}, **shown}


async def worker(folder: Path, given: dict[str, str]) -> Any:
    return await asyncio.to_thread(
        run, "worker", "--burst", "--port", "0", cwd=folder, settings=given
    )
