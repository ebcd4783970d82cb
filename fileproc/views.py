"""How things read on the wire. Built as plain dicts: this runs for every answer."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from pydantic_core import to_json

from fileproc.jobs import (
    Fetched,
    FileInfo,
    Job,
    JobState,
    KeptSteps,
    Source,
    Target,
    TargetState,
)
from fileproc.operations import Operation, secret_params
from fileproc.pipelines import output_steps
from fileproc.settings import Settings
from fileproc.store import Batch, StoredFile
from fileproc.webhooks import TEST

MASK = "********"


def job_body(job: Job) -> bytes:
    """A job as JSON."""
    return to_json(job_view(job))


def with_outlook(body: bytes, position: int | None, eta_s: float | None) -> bytes:
    """The text of a job with what is known of its end; nothing of a client's comes before that."""
    told = {"queue_position": position, "eta_s": eta_s}
    return body.replace(_UNKNOWN_TEXT, to_json(told)[1:-1], 1)


_UNKNOWN: Final = {"queue_position": None, "eta_s": None}
_UNKNOWN_TEXT: Final = to_json(_UNKNOWN)[1:-1]


def job_view(job: Job) -> dict[str, Any]:
    """The members of `JobView`; pydantic's JSON writes times and models among them."""
    document = job.document
    return {
        "id": job.id,
        "object": "job",
        "version": job.version,
        "state": job.state,
        **_UNKNOWN,
        "cancel_requested": job.cancel_requested,
        "lane": job.lane,
        "priority": document.priority,
        "operation": document.operation,
        "params": shown_params(document.operation, document.params),
        "steps": _steps(job) if document.steps else [],
        "template": document.template,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "run_at": document.run_at,
        "start_before": _start_before(job),
        "retry_at": job.retry_at if job.attempt else None,
        "expires_at": job.expires_at,
        "progress": job.progress,
        "attempt": job.attempt,
        "max_attempts": job.max_attempts,
        "timeout_s": document.timeout_s,
        "retry_of": document.retry_of,
        "retried_as": job.retried_as,
        "kept": _kept(job.kept) if job.kept else None,
        "batch": document.batch,
        "webhook": document.webhook,
        "labels": document.labels,
        "metadata": document.metadata,
        "inputs": _inputs(job),
        "deliveries": _deliveries(job) if document.deliver else [],
        "outputs": job.result.outputs if job.result else [],
        "error": job.error,
        "usage": job.usage,
        "provenance": job.result.provenance if job.result else None,
        "links": _links(job),
    }


def _start_before(job: Job) -> datetime | None:
    """As `accept.lua` has it."""
    document = job.document
    if document.expires_in is None:
        return None
    begins = max(job.created_at, document.run_at or job.created_at)
    return begins + timedelta(seconds=document.expires_in)


def event_body(kind: str, at: datetime, job: Job, most_bytes: int) -> bytes:
    """A job as webhooks get it: its view, or where that is too long, what it is about in short."""
    view = job_view(job)
    body = to_json({"type": kind, "timestamp": at, "data": view})
    if len(body) <= most_bytes:
        return body
    short = {name: view[name] for name in _IN_SHORT} | {"truncated": True}
    return to_json({"type": kind, "timestamp": at, "data": short})


def batch_event_body(kind: str, at: datetime, batch: Batch) -> bytes:
    """A batch as webhooks get it; its jobs are told of each for itself."""
    return to_json({"type": kind, "timestamp": at, "data": batch_view(batch)})


def lost_event_body(kind: str, at: datetime, lost_id: str) -> bytes:
    """As `event_body`, of a job or batch that was deleted meanwhile."""
    of, _, state = kind.partition(".")
    data = {"id": lost_id, "object": of, "state": state, "deleted": True}
    return to_json({"type": kind, "timestamp": at, "data": data})


def test_body(at: datetime, webhook_id: str) -> str:
    """What is sent to try a webhook, as JSON."""
    body = {"type": TEST, "timestamp": at, "data": {"webhook_id": webhook_id}}
    return to_json(body).decode()


_IN_SHORT = (
    *("id", "object", "version", "state", "lane", "operation", "created_at", "started_at"),
    *("finished_at", "expires_at", "attempt", "max_attempts", "retry_of", "labels", "error"),
    "links",
)


def shown_params(operation: str, params: dict[str, Any]) -> dict[str, Any]:
    """The parameters as they were understood; a password is told to the worker only."""
    secrets = secret_params(operation)
    if not secrets:
        return params
    return {
        name: MASK if name in secrets and value is not None else value
        for name, value in params.items()
    }


def _steps(job: Job) -> list[dict[str, Any]]:
    statuses = {status.name: status for status in job.steps}
    marked = output_steps(job.document.steps)
    return [
        {
            **dict(step),
            "params": shown_params(step.operation, step.params),
            "output": step.name in marked,
            **dict(statuses[step.name]),
        }
        for step in job.document.steps
    ]


def _kept(kept: KeptSteps) -> dict[str, Any]:
    return {
        "state": kept.state,
        "steps": kept.steps,
        "files": kept.files,
        "bytes": kept.bytes,
    }


def _inputs(job: Job) -> list[dict[str, Any]]:
    views = [_input_view(info) for info in job.document.inputs]
    if job.document.sources:
        known = (job.result.fetched if job.result else None) or []
        fetched = {found.place: found for found in known}
        for source in sorted(job.document.sources, key=lambda source: source.place):
            views.insert(source.place, _source_view(source, fetched.get(source.place)))
    return views


def _source_view(source: Source, found: Fetched | None) -> dict[str, Any]:
    return {
        "file_id": None,
        "url": masked_url(source.url),
        "name": found.name if found else source.name,
        "size": found.size if found else None,
        "sha256": found.sha256 if found else None,
        "type": found.type if found else None,
        "declared_type": found.declared_type if found else None,
    }


def _deliveries(job: Job) -> list[dict[str, Any]]:
    return [
        {"url": masked_url(asked.url), "output": asked.output, **dict(status)}
        for asked, status in zip(job.document.deliver, job.deliveries, strict=True)
    ]


def masked_url(url: str) -> str:
    """Without what may be a signature or a token: anybody who reads the job could use it."""
    path, mark, _ = url.partition("#")[0].partition("?")
    return f"{path}?{MASK}" if mark else path


def _input_view(info: FileInfo) -> dict[str, Any]:
    return {
        "file_id": info.file_id,
        "url": None,
        "name": info.name,
        "size": info.size,
        "sha256": info.sha256,
        "type": info.type,
        "declared_type": info.declared_type,
    }


def file_path(file_id: str) -> str:
    """The address of a file."""
    return f"/v1/files/{file_id}"


def file_view(file: StoredFile) -> dict[str, Any]:
    """The members of `FileView`."""
    info = file.info
    path = file_path(info.file_id)
    return {
        "id": info.file_id,
        "object": "file",
        "name": info.name,
        "size": info.size,
        "sha256": info.sha256,
        "type": info.type,
        "declared_type": info.declared_type,
        "created_at": file.created_at,
        "expires_at": file.expires_at,
        "jobs": file.jobs,
        "links": {"self": path, "content": path + "/content"},
    }


def job_path(job_id: str) -> str:
    """The address of a job."""
    return f"/v1/jobs/{job_id}"


def _links(job: Job) -> dict[str, str]:
    path = job_path(job.id)
    links = {"self": path, "events": path + "/events"}
    if job.state is JobState.SUCCEEDED:
        links["result"] = path + "/result"
        links["archive"] = path + "/archive"
        if undelivered(job):
            links["retry"] = path + "/retry"
    elif job.state.final:
        links["retry"] = path + "/retry"
    else:
        links["cancel"] = path + "/cancel"
    return links


def undelivered(job: Job) -> list[Target]:
    """Places to which the outputs of a job that has succeeded could not be sent."""
    pairs = zip(job.document.deliver, job.deliveries, strict=True)
    return [target for target, status in pairs if status.state is not TargetState.DELIVERED]


def batch_path(batch_id: str) -> str:
    """The address of a batch."""
    return f"/v1/batches/{batch_id}"


def batch_view(batch: Batch) -> dict[str, Any]:
    """The members of `BatchView`."""
    path = batch_path(batch.id)
    links = {
        "self": path,
        "jobs": f"/v1/jobs?batch={batch.id}",
        "events": path + "/events",
    }
    if not batch.completed:
        links["cancel"] = path + "/cancel"
    return {
        "id": batch.id,
        "object": "batch",
        "state": "completed" if batch.completed else "running",
        "name": batch.document.name,
        "labels": batch.document.labels,
        "metadata": batch.document.metadata,
        "webhook": batch.document.webhook,
        "schedule": batch.document.schedule,
        "total": batch.total,
        **batch_progress(batch),
        "created_at": batch.created_at,
        "finished_at": batch.finished_at,
        "expires_at": batch.expires_at,
        "links": links,
    }


def batch_progress(batch: Batch) -> dict[str, Any]:
    """The members of `BatchView` that change with its jobs."""
    return {
        "counts": {state: batch.counts.get(state, 0) for state in JobState},
        "progress": {
            "done": batch.done,
            "total": batch.total,
            "unit": "jobs",
            "percent": round(batch.done / batch.total * 100, 1),
        },
    }


def operation_view(operation: Operation, settings: Settings) -> dict[str, Any]:
    """The members of `OperationView`."""
    heavy = operation.lane == "heavy"
    return {
        "name": operation.name,
        "object": "operation",
        "summary": operation.summary,
        "description": operation.description,
        "lane": operation.lane,
        "accepts": list(operation.accepts),
        "accepts_later": list(operation.accepts_later),
        "produces": list(operation.produces),
        "programs": list(operation.programs),
        "service": operation.service,
        "min_inputs": operation.min_inputs,
        "max_inputs": min(operation.max_inputs, settings.max_inputs),
        "max_input_bytes": settings.max_upload_bytes,
        "timeout_s": settings.heavy_job_timeout_s if heavy else settings.job_timeout_s,
        "errors": list(operation.error_codes),
        "params_schema": operation.params.model_json_schema(),
        "example": dict(operation.example),
    }
