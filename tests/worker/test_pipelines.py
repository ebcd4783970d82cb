"""What the record of a job tells of its steps, while it runs and at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fileproc.errors import BadInput, JobError
from fileproc.jobs import PIPELINE, Job, JobDocument, JobState, Progress, Step, StepState
from fileproc.operations import Output
from fileproc.store import Settlement
from fileproc.worker.sandbox import Assignment, Ending
from support.jobs import make_job
from support.stage import Report, Stage, ending, failing
from support.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from fileproc.resources import Resources
    from fileproc.store import Lease

pytestmark = pytest.mark.usefixtures("books")

WAITING, SUCCEEDED, FAILED = StepState.WAITING, StepState.SUCCEEDED, StepState.FAILED
STEPS = [
    Step(name="first", operation="debug.sleep"),
    Step(name="second", operation="file.hash", needs=["first"]),
]


@pytest.fixture
async def stage(resources: Resources, tmp_path: Path) -> Stage:
    stage = Stage(resources, tmp_path)
    stage.child.part = plays_along
    return stage


async def plays_along(assignment: Assignment, report: Report) -> Ending:
    """Makes one file, `<operation>.txt`."""
    del report
    path = assignment.folder / "out" / "0"
    path.parent.mkdir()
    path.write_text("made", encoding="ascii")
    return ending(Output(path, f"{assignment.operation}.txt", "text/plain"))


async def lease_of(stage: Stage, **others: Any) -> Lease:
    return await stage.lease(document=JobDocument(operation=PIPELINE, steps=STEPS), **others)


def states(job: Job) -> list[StepState]:
    assert [status.name for status in job.steps] == [step.name for step in STEPS]
    return [status.state for status in job.steps]


async def test_only_the_last_steps_files_are_stored(stage: Stage) -> None:
    lease = await lease_of(stage)
    assert states(await stage.job(lease)) == [WAITING, WAITING]
    await stage.executor.execute(lease)
    job = await stage.job(lease)
    assert job.result is not None
    assert [output.name for output in job.result.outputs] == ["file.hash.txt"]
    assert await stage.stored(job.result.prefix) == [f"{job.result.prefix}0"]
    assert states(job) == [SUCCEEDED, SUCCEEDED]
    assert [(status.outputs, status.engine) for status in job.steps] == [(1, "an engine")] * 2
    assert job.result.usage.wall_s == 3.0
    assert [given.operation for given in stage.child.given] == ["debug.sleep", "file.hash"]
    assert [len(given.inputs) for given in stage.child.given] == [0, 1]


async def test_a_failed_job_tells_which_step_it_was(stage: Stage) -> None:
    async def fail(assignment: Assignment, report: Report) -> Ending:
        if assignment.operation == "file.hash":
            return ending(error=BadInput("No.", code="corrupt_input"))
        return await plays_along(assignment, report)

    stage.child.part = fail
    lease = await lease_of(stage)
    await stage.executor.execute(lease)
    job = await stage.job(lease)
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert (job.error.code, "Step second" in job.error.detail) == ("corrupt_input", True)
    assert states(job) == [SUCCEEDED, FAILED]
    assert job.steps[1].error is not None
    assert job.steps[1].error.detail == "No."


async def test_a_job_that_is_tried_again_begins_with_the_first_step(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fileproc.jobs.BACKOFF_BASE_S", 0.0)
    errors: list[JobError] = [JobError("Later.")]

    async def fail_once(assignment: Assignment, report: Report) -> Ending:
        if assignment.operation == "file.hash" and errors:
            return ending(error=errors.pop())
        return await plays_along(assignment, report)

    stage.child.part = fail_once
    lease = await lease_of(stage)
    await stage.executor.execute(lease)
    delayed = await stage.job(lease)
    assert (delayed.state, states(delayed)) == (JobState.DELAYED, [SUCCEEDED, FAILED])
    await stage.store.upkeep.tick()
    again = await stage.take()
    assert states(await stage.job(again)) == [WAITING, WAITING]
    await stage.executor.execute(again)
    assert states(await stage.job(again)) == [SUCCEEDED, SUCCEEDED]
    assert [given.operation for given in stage.child.given] == ["debug.sleep", "file.hash"] * 2


async def test_progress_of_the_job_and_of_its_steps_is_seen_while_it_runs(stage: Stage) -> None:
    lease = await lease_of(stage)

    async def tell(assignment: Assignment, report: Report) -> Ending:
        if assignment.operation == "file.hash":
            report(Progress(phase="reading", done=1, total=4, percent=25))
            await eventually(shown)
        return await plays_along(assignment, report)

    async def shown() -> bool:
        job = await stage.job(lease)
        told = job.steps[1].progress
        if told is None or job.progress is None:
            return False
        assert (job.progress.phase, job.progress.unit) == ("second", "steps")
        assert (job.progress.done, job.progress.total) == (1, 2)
        assert job.progress.percent == 62.5
        assert (told.phase, told.percent) == ("reading", 25)
        assert states(job) == [SUCCEEDED, StepState.RUNNING]
        return True

    stage.child.part = tell
    await stage.executor.execute(lease)
    assert (await stage.job(lease)).state is JobState.SUCCEEDED


async def test_outputs_that_cannot_be_stored_leave_the_steps_as_they_were(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, stage.objects, "put_file", RuntimeError("nobody planned for this"))
    lease = await lease_of(stage)
    await stage.executor.execute(lease)
    job = await stage.job(lease)
    assert (job.state, states(job)) == (JobState.DELAYED, [SUCCEEDED, SUCCEEDED])


async def test_how_far_a_canceled_job_came_is_not_made_up(stage: Stage) -> None:
    document = JobDocument(operation=PIPELINE, steps=STEPS)
    never_begun = await stage.store.jobs.accept(make_job(document=document))
    assert states(await stage.store.jobs.cancel("acme", never_begun)) == [WAITING, WAITING]
    lease = await lease_of(stage)
    await stage.store.queue.settle(Settlement.cancel(lease))
    assert states(await stage.job(lease)) == [StepState.UNKNOWN] * 2


async def test_scratch_is_empty_afterwards(stage: Stage) -> None:
    await stage.executor.execute(await lease_of(stage))
    assert list(stage.scratch.folder.iterdir()) == []
