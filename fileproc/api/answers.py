"""What answers look like: jobs, operations, problems, health."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from fileproc.api.fields import JobId
from fileproc.jobs import (
    JobHook,
    JobState,
    KeptState,
    OutputInfo,
    Progress,
    Provenance,
    StepStatus,
    TargetStatus,
    Usage,
)
from fileproc.jobs import Problem as JobProblem


class StepView(StepStatus):
    """A step as it was asked for, and how far it has come in the latest attempt."""

    operation: str
    params: dict[str, Any] = Field(description="Complete with defaults.")
    needs: list[str] = Field(description="Steps whose outputs it takes; `inputs`: the job's files.")
    for_each: bool
    on_error: str
    output: bool = Field(description="Whether its files are outputs of the job.")


class InputView(BaseModel):
    """A file that a job works on. Of a URL the facts are known once the job has succeeded."""

    file_id: str | None = Field(description="None of a URL.")
    url: str | None = Field(description="Where it was fetched; a query is masked.")
    name: str | None = Field(description="Display name, cleaned.")
    size: int | None = Field(description="Bytes.")
    sha256: str | None = Field(description="Lower-case hex digest.")
    type: str | None = Field(description="Media type as detected from the bytes.")
    declared_type: str | None = Field(description="Media type that who sent the bytes named.")


class TargetView(TargetStatus):
    """A place that outputs are sent to, and how that went in the latest attempt."""

    url: str = Field(description="A query is masked.")
    output: int | None = Field(description="Place of the output; None: the only one.")


class Links(BaseModel):
    self: str
    result: str | None = Field(None, description="There once the job has succeeded.")
    archive: str | None = Field(None, description="All outputs as a ZIP; likewise.")
    events: str = Field(description="The job as a stream of events.")
    cancel: str | None = Field(None, description="There while the job can be canceled.")
    retry: str | None = Field(
        None, description="There once the job, or a delivery of it, has failed."
    )


class KeptStepsView(BaseModel):
    """What is kept of the finished steps of a job that has failed."""

    state: KeptState = Field(
        description="`kept`; `too_large`: it was more than is kept; `not_stored`: the storage did "
        "not take it in time."
    )
    steps: list[str] = Field(description="The steps that `retry` need not run again.")
    files: int = Field(description="Those that later steps, or the job, still need.")
    bytes: int


class JobView(BaseModel):
    """A job."""

    id: JobId
    object: Literal["job"]
    version: int = Field(description="Grows with every change.")
    state: JobState
    queue_position: int | None = Field(
        description="Place among your own waiting jobs of the lane, from 1; others take turns with "
        "you. Told where one job is asked for, while it is queued. Its changes change no ETag."
    )
    eta_s: float | None = Field(
        description="Seconds until it is done, by how long such jobs took and how fast yours were "
        "started lately; null where that is not known, or it takes longer. Told likewise."
    )
    cancel_requested: bool = Field(description="A cancel is on its way to the worker.")
    lane: str = Field(description="Which kind of worker slot it takes.")
    priority: str
    operation: str = Field(description="`pipeline` where the job has steps.")
    params: dict[str, Any] = Field(description="Complete with defaults.")
    steps: list[StepView] = Field(description="In the order they run; none of a plain job.")
    template: str | None = Field(description="Where the steps came from: `<name>@<version>`.")
    created_at: AwareDatetime
    started_at: AwareDatetime | None
    finished_at: AwareDatetime | None
    run_at: AwareDatetime | None = Field(description="It was not to start before.")
    start_before: AwareDatetime | None = Field(
        description="It expires if it has not started by then."
    )
    retry_at: AwareDatetime | None = Field(description="When the next attempt is due.")
    expires_at: AwareDatetime | None = Field(description="When record and files are deleted.")
    progress: Progress | None
    attempt: int = Field(description="Attempts so far.")
    max_attempts: int
    timeout_s: float | None = Field(description="Longest an attempt may take, where it was said.")
    retry_of: str | None = Field(description="The job that this one repeats.")
    retried_as: str | None = Field(description="The newest job that repeats this one.")
    kept: KeptStepsView | None = Field(
        description="What is left of a failed job of several steps, for a retry from the failed "
        "step."
    )
    batch: str | None = Field(description="The batch that it belongs to.")
    webhook: JobHook | None = Field(description="Where the events of this job are sent.")
    labels: dict[str, str]
    metadata: dict[str, Any]
    inputs: list[InputView]
    deliveries: list[TargetView] = Field(description="As asked for by `deliver`.")
    outputs: list[OutputInfo]
    error: JobProblem | None = Field(description="Why it failed.")
    usage: Usage | None
    provenance: Provenance | None
    links: Links


class JobList(BaseModel):
    """A page of jobs, newest first."""

    data: list[JobView]
    next_cursor: str | None = Field(description="For the next page; null on the last.")


class OperationView(BaseModel):
    """An operation and what it takes."""

    name: str
    object: Literal["operation"]
    summary: str
    description: str
    lane: str
    accepts: list[str] = Field(description="Media types, as detected; `*/*` takes every file.")
    accepts_later: list[str] = Field(
        description="Media types that files after the first may have as well."
    )
    produces: list[str]
    programs: list[str] = Field(description="What it needs installed beside fileproc.")
    service: str | None = Field(description="What it needs configured, such as clamd.")
    min_inputs: int
    max_inputs: int
    max_input_bytes: int
    timeout_s: float = Field(description="Longest an attempt may take.")
    errors: list[str] = Field(
        description="Codes of its own that a failed job can have; any job can meet the others."
    )
    params_schema: dict[str, Any] = Field(description="JSON Schema of `params`.")
    example: dict[str, Any] = Field(description="`params` of a useful job.")


class OperationList(BaseModel):
    data: list[OperationView]


class FieldError(BaseModel):
    """One thing that does not hold."""

    model_config = ConfigDict(extra="allow")

    pointer: str = Field(description="JSON pointer into the body, or name of the parameter.")
    detail: str
    allowed: list[Any] | None = Field(None, description="What would be accepted.")


class ProblemView(BaseModel):
    """An error (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="A URI reference that names the code.")
    title: str = Field(description="The same for every error of this code.")
    status: int
    detail: str = Field(description="A sentence about this occurrence.")
    code: str = Field(description="Stable and machine-readable.")
    retryable: bool = Field(description="Whether the same request could succeed later.")
    request_id: str = Field(description="Finds the request in the server's log.")
    errors: list[FieldError] | None = Field(None, description="One entry for each field.")


class Liveness(BaseModel):
    status: Literal["ok"]
    version: str


class Check(BaseModel):
    status: Literal["ok", "warning", "failed"]
    detail: str


class Readiness(BaseModel):
    """Whether requests can be served, and each thing that this needs by name."""

    status: Literal["ready", "not_ready"]
    version: str
    checks: dict[str, Check]
