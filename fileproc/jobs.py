"""A job, its states and its moves. No I/O.

The table `MOVES` is the only truth about what may become of a job. The scripts of the store get
it as a Lua table generated from here (`store/scripts.py`), the documentation its state diagram.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from fileproc.errors import ErrorClass


class JobState(StrEnum):
    AWAITING_UPLOAD = "awaiting_upload"
    QUEUED = "queued"
    RUNNING = "running"
    DELAYED = "delayed"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"

    @property
    def final(self) -> bool:
        """Whether no move leaves this state."""
        return self in FINAL


FINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELED, JobState.EXPIRED})
UNSTARTED = frozenset({JobState.AWAITING_UPLOAD, JobState.QUEUED, JobState.DELAYED})


class Move(StrEnum):
    SUBMIT = "submit"
    UPLOADED = "uploaded"
    CLAIM = "claim"
    COMPLETE = "complete"
    FAIL = "fail"
    RETRY = "retry"
    RELEASE = "release"
    RECOVER = "recover"
    PROMOTE = "promote"
    CANCEL = "cancel"
    EXPIRE = "expire"
    REUSE = "reuse"


@dataclass(frozen=True, slots=True)
class Transition:
    """From any of `sources` (none: the job is new) to one of `targets`."""

    sources: frozenset[JobState]
    targets: frozenset[JobState]


def _transition(sources: set[JobState], *targets: JobState) -> Transition:
    return Transition(frozenset(sources), frozenset(targets))


_S = JobState
MOVES: dict[Move, Transition] = {
    Move.SUBMIT: _transition(set(), _S.QUEUED, _S.AWAITING_UPLOAD, _S.DELAYED),
    Move.UPLOADED: _transition({_S.AWAITING_UPLOAD}, _S.QUEUED),
    Move.CLAIM: _transition({_S.QUEUED}, _S.RUNNING),
    Move.COMPLETE: _transition({_S.RUNNING}, _S.SUCCEEDED),
    Move.FAIL: _transition({_S.RUNNING}, _S.FAILED),
    Move.RETRY: _transition({_S.RUNNING}, _S.DELAYED),
    Move.RELEASE: _transition({_S.RUNNING}, _S.QUEUED),
    Move.RECOVER: _transition({_S.RUNNING}, _S.QUEUED),
    Move.PROMOTE: _transition({_S.DELAYED}, _S.QUEUED),
    Move.CANCEL: _transition({*UNSTARTED, _S.RUNNING}, _S.CANCELED),
    Move.EXPIRE: _transition(set(UNSTARTED), _S.EXPIRED),
    Move.REUSE: _transition({_S.QUEUED}, _S.SUCCEEDED),
}

LANES = ("default", "heavy")

# How often a job may be attempted in all before this class of error is its end.
ATTEMPTS: dict[ErrorClass, int] = {
    ErrorClass.PERMANENT: 1,
    ErrorClass.TRANSIENT: 3,
    ErrorClass.RESOURCE: 2,
    ErrorClass.CRASH: 2,
    ErrorClass.WORKER_LOST: 3,
}

BACKOFF_BASE_S = 1.0
BACKOFF_CAP_S = 60.0


def may_retry(error_class: ErrorClass, attempt: int, max_attempts: int) -> bool:
    """Whether an attempt (counted from 1) that failed this way is followed by another."""
    return attempt < min(ATTEMPTS[error_class], max_attempts)


def backoff_s(attempt: int, uniform: random.Random | None = None) -> float:
    """Seconds to wait after this attempt: exponential, capped, with full jitter.

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015: uniform in
    [0, min(cap, base * 2 ** (attempt - 1))].
    """
    ceiling = min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2 ** (attempt - 1))
    return (uniform or random).uniform(0, ceiling)


# --- what a job says about itself ------------------------------------------------------------


class Record(BaseModel):
    """Base of what is stored as JSON in Redis: unknown members of newer versions are kept out."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class FileInfo(Record):
    """A file as a job takes it."""

    file_id: str
    name: str = Field(description="Cleaned display name; never a path.")
    size: int = Field(description="Bytes.")
    sha256: str = Field(description="Lower-case hex digest, computed while the file streamed in.")
    type: str = Field(description="Media type as detected from the bytes.")
    declared_type: str | None = Field(default=None, description="Media type the client named.")


class Source(Record):
    """An input that a worker fetches, anew for each attempt."""

    place: int = Field(description="Among all inputs of the job, from 0.")
    url: str = Field(description="http, https, or s3://<connection>/<key>. It may hold a secret.")
    name: str | None = Field(default=None, description="Display name; None: from the URL.")


class Fetched(Record):
    """What the attempt found at a source."""

    place: int
    name: str
    size: int = Field(description="Bytes.")
    sha256: str
    type: str = Field(description="Media type as detected from the bytes.")
    declared_type: str | None = Field(default=None, description="Media type the other end named.")


class OutputInfo(Record):
    """A file as a job made it."""

    name: str
    size: int = Field(description="Bytes.")
    sha256: str
    type: str


class Problem(Record):
    """Why a job failed, as a problem object (RFC 9457)."""

    type: str = Field(description="A URI reference that names the code.")
    title: str
    status: int
    detail: str
    code: str
    error_class: ErrorClass = Field(alias="class", serialization_alias="class")
    retryable: bool = Field(description="Whether submitting the same again could help.")
    attempt: int

    model_config = ConfigDict(
        frozen=True, extra="ignore", validate_by_name=True, validate_by_alias=True
    )


class Progress(Record):
    phase: str
    done: float
    total: float | None = None
    unit: str | None = None
    percent: float | None = None


class Usage(Record):
    """What the last attempt used."""

    wall_s: float
    cpu_s: float
    peak_rss_bytes: int


class Provenance(Record):
    """What made the outputs."""

    engine: str | None = None
    fileproc: str
    build: str | None = Field(
        default=None, description="Changes with the version of anything that is installed there."
    )
    cached: bool = Field(
        default=False, description="The outputs are those of an earlier job that asked the same."
    )


# What a step needs to get the files of the job; no step has this name.
JOB_INPUTS = "inputs"
# What stands for the operation of a job that has steps.
PIPELINE = "pipeline"


class Step(Record):
    """One operation of a pipeline, and whose files it works on."""

    name: str
    operation: str
    params: dict[str, Any] = {}
    needs: list[str] = Field(
        default=[], description="Steps whose outputs it takes; `inputs` is the job's files."
    )
    for_each: bool = Field(default=False, description="Run once for each file, not once for all.")
    on_error: Literal["fail", "skip"] = "fail"
    output: bool = Field(default=False, description="Its files are outputs of the job.")


class StepState(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    REUSED = "reused"
    UNKNOWN = "unknown"


class StepError(Record):
    """Why a step, or one run of it, failed."""

    code: str
    detail: str
    input: str | None = Field(default=None, description="Name of the file that it was about.")


class StepStatus(Record):
    """How far a step has come in the latest attempt."""

    name: str
    state: StepState = Field(
        default=StepState.WAITING,
        description="`skipped`: it failed, and was to be skipped then. `reused`: the job that this "
        "one repeats has done it, and the numbers are of then. `unknown`: the job ended from "
        "outside, and how far the step came was not noted.",
    )
    progress: Progress | None = Field(default=None, description="While it runs.")
    outputs: int = Field(default=0, description="Files that it made.")
    skipped: int = Field(default=0, description="Files for which it failed and was skipped.")
    error: StepError | None = Field(default=None, description="The first failure.")
    engine: str | None = Field(default=None, description="What made the files.")
    usage: Usage | None = Field(default=None, description="All runs of the step together.")


class KeptState(StrEnum):
    KEPT = "kept"
    TOO_LARGE = "too_large"
    NOT_STORED = "not_stored"


class KeptSteps(Record):
    """What the finished steps of a failed job have made, for a job that goes on from there.

    File i is the object `prefix + str(i)`; the object after the last tells of all of them, and of
    the steps: its size and digest stand here, so that nothing else is taken for it.
    """

    state: KeptState = Field(
        description="`too_large`: it was more than is kept. `not_stored`: the storage did not take "
        "it in time."
    )
    steps: list[str] = Field(description="The steps that need not run again.")
    files: int = Field(description="Those that later steps, or the job, still need.")
    bytes: int = Field(description="Of these files.")
    prefix: str = ""
    list_size: int = 0
    list_sha256: str = ""


class Target(Record):
    """Where outputs are to be sent at the end of the job."""

    url: str = Field(description="Takes a PUT; or s3://<connection>/<prefix>/. May hold a secret.")
    output: int | None = Field(default=None, description="Place of the output; None: all of them.")
    headers: dict[str, str] = Field(default_factory=dict)


class Made(Record):
    """What an earlier job has made, for one that only delivers it once more."""

    prefix: str = Field(description="Output i is the object `prefix + str(i)`.")
    outputs: list[OutputInfo]
    steps: list[StepStatus] | None = None
    provenance: Provenance


class TargetState(StrEnum):
    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"


class TargetStatus(Record):
    """How a delivery went; a job that succeeds keeps its outputs, however that was."""

    state: TargetState = TargetState.WAITING
    files: int = Field(default=0, description="Outputs that arrived.")
    error: StepError | None = Field(default=None, description="Why it failed.")


class Trail(Record):
    """The part of a result, a failure or a progress that tells how its parts got on.

    None: it has no such parts, or they were not come to.
    """

    steps: list[StepStatus] | None = None
    deliveries: list[TargetStatus] | None = None


class PipelineProgress(Progress, Trail):
    """Of a job with steps."""


class PipelineProblem(Problem, Trail):
    """Of a job with steps, or with deliveries."""

    kept: KeptSteps | None = None


class JobHook(Record):
    """Where the events of one job are sent."""

    url: str
    events: list[str] = Field(description="Their types, such as `job.succeeded`.")


class JobDocument(Record):
    """What the client asked for; written once, at accept.

    `sources` stand at their places among all inputs, `inputs` at the places that are left.

    With `steps` the operation is `pipeline`; each step comes after those it needs. `template` is
    where they came from, `<name>@<version>`. `resume` is what the job it repeats has kept.
    """

    operation: str
    # Factories, since pydantic copies any other mutable default, deeply, for each record.
    params: dict[str, Any] = Field(default_factory=dict)
    steps: list[Step] = Field(default_factory=list)
    template: str | None = None
    inputs: list[FileInfo] = Field(default_factory=list)
    sources: list[Source] = Field(default_factory=list)
    deliver: list[Target] = Field(default_factory=list)
    labels: dict[str, str] = Field(default_factory=dict)
    metadata: dict[str, Any] = Field(default_factory=dict)
    priority: str = "normal"
    timeout_s: float | None = None
    run_at: datetime | None = None
    expires_in: int | None = None
    retention_s: int | None = None
    retry_of: str | None = None
    resume: KeptSteps | None = None
    made: Made | None = None
    batch: str | None = None
    webhook: JobHook | None = None

    def steps_untold(self, state: StepState = StepState.WAITING) -> list[StepStatus]:
        """The steps where no attempt has told of them."""
        reused = self.resume.steps if self.resume else ()
        return [
            StepStatus(name=step.name, state=StepState.REUSED if step.name in reused else state)
            for step in self.steps
        ]


class JobResult(Trail):
    """What a successful attempt made; written once, by `complete`.

    `prefix` is where the outputs lie in object storage: output i is the object `prefix + str(i)`.
    """

    prefix: str
    outputs: list[OutputInfo]
    usage: Usage
    provenance: Provenance
    fetched: list[Fetched] | None = None


class Job(NamedTuple):
    """A job as read from the store: one consistent snapshot. Times are Redis' clock, in UTC.

    A tuple, since one is made for each read: a frozen model takes several times as long.
    """

    id: str
    owner: str
    version: int
    state: JobState
    lane: str
    document: JobDocument
    attempt: int
    max_attempts: int
    cancel_requested: bool
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None
    retry_at: datetime | None
    retried_as: str | None
    progress: Progress | None
    result: JobResult | None
    error: Problem | None
    usage: Usage | None
    steps: list[StepStatus]
    deliveries: list[TargetStatus]
    kept: KeptSteps | None
