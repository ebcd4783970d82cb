"""From the fields of a hash to a job, and what is said where that cannot be."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from fileproc.errors import CorruptRecordError, GoneError, NotFoundError
from fileproc.jobs import JobDocument, JobState, PipelineProblem, Progress, Step, StepState
from fileproc.store.records import job_from, when
from support.jobs import PROBLEM, make_job, make_result
from support.stage import make_lease

LEASE = make_lease("job_1")
RESULT = make_result(LEASE)
FIELDS = {
    "st": "succeeded",
    "own": "acme",
    "ln": "heavy",
    "v": "7",
    "at": "2",
    "ma": "3",
    "ca": "1000",
    "sa": "2000",
    "fa": "3500",
    "ex": "9000",
    "doc": make_job().document.model_dump_json(),
}


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def test_every_field_of_the_record_has_its_place() -> None:
    job = job_from("job_1", "acme", {**FIELDS, "res": RESULT.model_dump_json()})
    assert (job.id, job.owner, job.lane, job.version) == ("job_1", "acme", "heavy", 7)
    assert (job.state, job.attempt, job.max_attempts) == (JobState.SUCCEEDED, 2, 3)
    assert (job.created_at, job.started_at) == (moment(1), moment(2))
    assert (job.finished_at, job.expires_at) == (moment(3.5), moment(9))
    assert (job.document, job.result, job.usage) == (make_job().document, RESULT, RESULT.usage)
    assert (job.retry_at, job.progress, job.error, job.cancel_requested) == (
        *(None, None, None),
        False,
    )


def test_what_a_job_has_only_on_its_way_is_read_too() -> None:
    progress = Progress(phase="reading", done=1)
    on_its_way = {
        **{name: FIELDS[name] for name in ("own", "ln", "v", "at", "ma", "ca", "doc")},
        "st": "delayed",
        "due": "5000",
        "cq": "1",
        "pg": progress.model_dump_json(),
        "err": PROBLEM.model_dump_json(by_alias=True),
    }
    job = job_from("job_1", None, on_its_way)
    assert (job.retry_at, job.cancel_requested, job.progress) == (moment(5), True, progress)
    assert (job.error, job.result, job.usage) == (PROBLEM, None, None)
    assert (job.started_at, job.finished_at, job.expires_at) == (None, None, None)


def test_job_that_was_read_is_over_and_cannot_be_changed() -> None:
    job = job_from("job_1", "acme", {**FIELDS, "res": RESULT.model_dump_json()})
    assert job.state.final
    assert job.result is not None
    for record, name in ((job, "version"), (job.document, "operation"), (job.result, "prefix")):
        with pytest.raises((ValueError, AttributeError), match=r"frozen|can't set"):
            setattr(record, name, getattr(record, name))


def test_what_the_record_leaves_out_is_as_usual() -> None:
    result = RESULT.model_dump(exclude_unset=True, exclude_defaults=True, mode="json")
    job = job_from(
        "job_1", "acme", {**FIELDS, "doc": '{"operation":"x"}', "res": json.dumps(result)}
    )
    assert job.state.final
    assert job.result is not None
    assert (job.document.priority, job.document.params) == ("normal", {})
    assert (job.result.provenance.cached, job.result.provenance.engine) == (False, None)


@pytest.mark.parametrize(
    ("state", "attempts", "told"),
    [
        ("queued", 0, StepState.WAITING),
        ("delayed", 1, StepState.WAITING),
        ("canceled", 0, StepState.WAITING),  # it never began
        ("canceled", 2, StepState.UNKNOWN),  # nobody told
    ],
)
def test_steps_that_nobody_told_of_are_not_guessed(
    state: str, attempts: int, told: StepState
) -> None:
    steps = [Step(name="one", operation="file.probe", needs=["inputs"])]
    document = JobDocument(operation="pipeline", steps=steps).model_dump_json()
    fields = {**FIELDS, "st": state, "at": str(attempts), "doc": document}
    job = job_from("job_1", "acme", fields)
    assert [(step.name, step.state) for step in job.steps or ()] == [("one", told)]


def test_steps_of_a_failed_job_are_told_by_its_problem() -> None:
    steps = [Step(name="one", operation="file.probe", needs=["inputs"])]
    document = JobDocument(operation="pipeline", steps=steps)
    failed = [document.steps_untold(StepState.FAILED)[0]]
    problem = PipelineProblem(**dict(PROBLEM), steps=failed).model_dump_json(by_alias=True)
    fields = {**FIELDS, "st": "failed", "doc": document.model_dump_json(), "err": problem}
    assert job_from("job_1", "acme", fields).steps == failed


def test_no_record_and_anothers_record_look_the_same() -> None:
    said = []
    for owner, fields in (("acme", {}), (None, {}), ("mallory", FIELDS)):
        with pytest.raises(NotFoundError) as refused:
            job_from("job_1", owner, fields)
        said.append(refused.value.detail)
    assert len(set(said)) == 1


@pytest.mark.parametrize("fields", [{"st": "deleted", "own": "acme"}, {**FIELDS, "del": "1"}])
def test_deleted_job_is_gone_for_its_owner_only(fields: dict[str, str]) -> None:
    with pytest.raises(GoneError):
        job_from("job_1", "acme", fields)
    with pytest.raises(GoneError):
        job_from("job_1", None, fields)
    with pytest.raises(NotFoundError):
        job_from("job_1", "mallory", fields)


@pytest.mark.parametrize(
    "broken",
    [{"doc": "{"}, {"st": "nonesuch"}, {"v": "x"}, {"ca": ""}, {"res": "[]"}, {"err": "1"}],
)
def test_record_that_cannot_be_read_is_an_error_of_its_own(broken: dict[str, str]) -> None:
    with pytest.raises(CorruptRecordError, match="job_1"):
        job_from("job_1", "acme", {**FIELDS, **broken})


def test_record_without_its_fields_is_broken() -> None:
    for name in ("st", "v", "ln", "doc", "at", "ma", "ca"):
        with pytest.raises(CorruptRecordError):
            job_from("job_1", "acme", {n: value for n, value in FIELDS.items() if n != name})


def test_moment_is_read_from_milliseconds() -> None:
    assert when("1500") == moment(1.5)
    assert when(None) is None
    assert when("") is None
