"""From the hash `job:<id>` to a `Job`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from fileproc.errors import CorruptRecordError, GoneError, NotFoundError
from fileproc.jobs import (
    FINAL,
    Job,
    JobDocument,
    JobResult,
    JobState,
    KeptSteps,
    PipelineProblem,
    Problem,
    Progress,
    StepState,
    StepStatus,
    TargetStatus,
    Trail,
)
from fileproc.telemetry import get_logger

log = get_logger(__name__)

# Where a job tells of its steps, by its state. A job that is queued again begins anew.
_TRAILS = {"running": "pg", "delayed": "err", "succeeded": "res", "failed": "err"}


def when(milliseconds: str | None) -> datetime | None:
    """An aware datetime from ms since 1970 as Redis keeps them."""
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC) if milliseconds else None


def job_from(job_id: str, owner: str | None, fields: Mapping[str, str]) -> Job:
    """Build the snapshot; `owner` None reads for any owner.

    Raises:
        NotFoundError: no such job, or another owner's: both look the same.
        GoneError: it is deleted, or is about to be.
        CorruptRecordError: somebody has broken the record; the log says how.
    """
    if not fields or (owner is not None and fields.get("own") != owner):
        raise NotFoundError(f"There is no job {job_id}.")
    if fields.get("st") == "deleted" or "del" in fields:
        raise GoneError(f"The job {job_id} is deleted or expired.")
    try:
        return _job(job_id, fields)
    except (ValueError, KeyError) as exc:
        log.error("a job's record cannot be read", job=job_id, error=repr(exc)[:300])  # noqa: TRY400
        raise CorruptRecordError(f"The record of the job {job_id} cannot be read.") from exc


def _job(job_id: str, fields: Mapping[str, str]) -> Job:
    result = JobResult.model_validate_json(fields["res"]) if "res" in fields else None
    document = JobDocument.model_validate_json(fields["doc"])
    return Job(
        id=job_id,
        owner=fields["own"],
        version=int(fields["v"]),
        state=JobState(fields["st"]),
        lane=fields["ln"],
        document=document,
        attempt=int(fields["at"]),
        max_attempts=int(fields["ma"]),
        cancel_requested="cq" in fields,
        created_at=datetime.fromtimestamp(int(fields["ca"]) / 1000, UTC),
        started_at=when(fields.get("sa")),
        finished_at=when(fields.get("fa")),
        expires_at=when(fields.get("ex")),
        retry_at=when(fields.get("due")),
        retried_as=fields.get("rb"),
        progress=Progress.model_validate_json(fields["pg"]) if "pg" in fields else None,
        result=result,
        error=Problem.model_validate_json(fields["err"]) if "err" in fields else None,
        usage=result.usage if result else None,
        steps=_steps(document, fields) if document.steps else [],
        deliveries=_deliveries(document, fields) if document.deliver else [],
        kept=_kept(fields) if document.steps else None,
    )


def _kept(fields: Mapping[str, str]) -> KeptSteps | None:
    failed = fields["st"] == JobState.FAILED
    return PipelineProblem.model_validate_json(fields["err"]).kept if failed else None


def _deliveries(document: JobDocument, fields: Mapping[str, str]) -> list[TargetStatus]:
    trail = fields.get(_TRAILS.get(fields["st"], ""))
    if trail is not None and (known := Trail.model_validate_json(trail).deliveries):
        return known
    return [TargetStatus() for _ in document.deliver]


def _steps(document: JobDocument, fields: Mapping[str, str]) -> list[StepStatus]:
    trail = fields.get(_TRAILS.get(fields["st"], ""))
    if trail is not None and (known := Trail.model_validate_json(trail).steps):
        return known
    ended = fields["st"] in FINAL and int(fields["at"]) > 0
    return document.steps_untold(StepState.UNKNOWN if ended else StepState.WAITING)
