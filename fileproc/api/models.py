"""What requests and answers look like. The requests' models validate, the answers' describe.

A request model is strict (a string is no number) and refuses names it does not know. The models of
queries are lax, since everything in a query is text.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
)

from fileproc.jobs import (
    JobHook,
    JobState,
    OutputInfo,
    Progress,
    Provenance,
    StepStatus,
    TargetStatus,
    Usage,
)
from fileproc.jobs import Problem as JobProblem
from fileproc.outbound import MAX_URL_CHARS
from fileproc.pipelines import MAX_STEPS
from fileproc.webhooks import EventType

MAX_WAIT_S = 60
MAX_PAGE = 200
MAX_LABELS = 32
MAX_INPUTS = 10_000  # of any deployment; FILEPROC_MAX_INPUTS is the limit that bites
MAX_METADATA_BYTES = 16 * 1024
MAX_DELIVERIES = 100
MAX_DELIVERY_HEADERS = 16

JOB_ID = "job_01kqb4h0nme8atrb9rgb0yvm3j"
BATCH_ID = "batch_01kqb4h0nme8atrb9rgb0yvm3m"
UPLOAD_ID = "upload_01kqb4h0nme8atrb9rgb0yvm3k"
FILE_ID = "file_01kqb4h0nme8atrb9rgb0yvm3k"
_ID = "_[0-7][0-9a-hjkmnp-tv-z]{25}$"

JobId = Annotated[str, StringConstraints(pattern="^job" + _ID), Field(examples=[JOB_ID])]
BatchId = Annotated[str, StringConstraints(pattern="^batch" + _ID), Field(examples=[BATCH_ID])]
FileId = Annotated[str, StringConstraints(pattern="^file" + _ID), Field(examples=[FILE_ID])]
UploadId = Annotated[str, StringConstraints(pattern="^upload" + _ID), Field(examples=[UPLOAD_ID])]


def _signable(name: str) -> str:
    """Others would change what the request is, or whom it is for."""
    plain = {"content-type", "content-disposition", "content-language", "cache-control"}
    if name.lower() not in plain and not name.lower().startswith(("x-amz-", "x-goog-", "x-ms-")):
        raise ValueError("This header cannot be sent along")
    return name


DeliveryHeader = Annotated[
    str, StringConstraints(pattern="^[A-Za-z0-9-]{1,64}$"), AfterValidator(_signable)
]
DeliveryHeaderValue = Annotated[str, StringConstraints(max_length=1000, pattern="^[\\x20-\\x7e]*$")]
LabelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$")]
LabelValue = Annotated[str, StringConstraints(max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$")]
Labels = Annotated[
    dict[LabelName, LabelValue],
    Field(max_length=MAX_LABELS, description="Names and values to find the job by."),
]
# A name of a step needs no escape in a JSON pointer.
StepName = Annotated[str, StringConstraints(pattern="^[a-z][a-z0-9_-]{0,39}$")]
VariableName = StepName
MAX_VARIABLES = 32
TEMPLATE_NAME = "[a-z][a-z0-9_-]{0,39}"
TEMPLATE_REFERENCE = f"^{TEMPLATE_NAME}(@[1-9][0-9]{{0,8}})?$"
LINK_CODE = "^[A-Za-z0-9][A-Za-z0-9_-]{5,63}$"
Priority = Literal["high", "normal", "low"]
Wait = Annotated[
    int,
    Field(
        ge=0,
        le=MAX_WAIT_S,
        description="Seconds to wait for the job to end before answering.",
    ),
]


ExpiresIn = Annotated[
    int,
    Field(
        ge=1,
        description="A job that has not started so many seconds after it was accepted, or after "
        "`run_at`, is `expired`.",
    ),
]
Timeout = Annotated[
    int,
    Field(ge=1, description="Seconds that an attempt may take; the lane has a limit of its own."),
]
MaxAttempts = Annotated[
    int, Field(ge=1, le=20, description="Attempts at most; the server has a limit of its own.")
]
Reuse = Annotated[
    bool,
    Field(
        description="Answer with the outputs of an earlier job of yours that asked the same of the "
        "same files, if there is one; refuse what has failed for good before. Both jobs must say "
        "so."
    ),
]
Force = Annotated[
    bool, Field(description="With `reuse`: do the work, whatever has come of it before.")
]
DryRun = Annotated[
    bool,
    Field(description="Judge the request and say what it would take; nothing is accepted."),
]
Retention = Annotated[
    int,
    Field(
        ge=60,
        description="Record and files go so many seconds after the job's end; sooner than usual.",
    ),
]


def _rfc3339(value: object) -> object:
    """Pydantic would also take seconds since 1970, and dates without a time."""
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise ValueError("must be a time with its offset, such as 2026-11-22T08:15:30Z")
    return value


_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9:.]{8,18}([Zz]|[+-][0-9]{2}:[0-9]{2})")
Moment = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_rfc3339)]

# `key=value`; split here so that a wrong one is named by its place.
LabelPair = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}=[^\x00-\x1f\x7f]{0,255}$")
]


# --- requests ----------------------------------------------------------------------------------


class Request(BaseModel):
    """Base of bodies."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Query(BaseModel):
    """Base of queries."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FileRef(Request):
    """A file of yours that is stored: uploaded on its own, or brought by another job."""

    file_id: FileId


class UrlRef(Request):
    """A file that the worker fetches, anew for each attempt."""

    url: str = Field(
        min_length=1,
        max_length=MAX_URL_CHARS,
        description="http or https, to an address that is reachable from everywhere; redirects are "
        "followed. Its query is not shown again.",
        examples=["https://example.com/report.pdf"],
    )
    name: str | None = Field(
        None, min_length=1, max_length=200, description="Display name; omitted: from the URL."
    )


class PartRef(Request):
    """A part of this form."""

    part: str = Field(min_length=1, max_length=200, description="Name of the form part.")


def _kind_of(value: object) -> str:
    """Which reference is meant: else what is wrong with one would be said of all."""
    if not isinstance(value, dict):
        return type(value).__name__ if isinstance(value, Request) else "FileRef"
    return "UrlRef" if "url" in value else "PartRef" if "part" in value else "FileRef"


Input = Annotated[
    Annotated[FileRef, Tag("FileRef")] | Annotated[UrlRef, Tag("UrlRef")],
    Discriminator(lambda value: _kind_of(value).replace("PartRef", "FileRef")),
]
FormInput = Annotated[
    Annotated[PartRef, Tag("PartRef")]
    | Annotated[FileRef, Tag("FileRef")]
    | Annotated[UrlRef, Tag("UrlRef")],
    Discriminator(_kind_of),
]


def _each_once(events: list[EventType]) -> list[EventType]:
    return list(dict.fromkeys(events))


Events = Annotated[
    list[Annotated[EventType, Field(strict=False)]],  # as JSON has it: text
    Field(min_length=1, max_length=50, description="What is sent there."),
    AfterValidator(_each_once),
]
HookUrl = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_URL_CHARS,
        description="Where it is sent: http or https, reachable from everywhere.",
        examples=["https://example.com/hooks/fileproc"],
    ),
]


JobEvent = Literal[
    "job.accepted", "job.started", "job.succeeded", "job.failed", "job.canceled", "job.expired"
]


def _ends() -> list[JobEvent]:
    return ["job.succeeded", "job.failed", "job.canceled", "job.expired"]


class JobWebhook(Request):
    """Where the events of this job are sent."""

    url: HookUrl
    events: list[JobEvent] = Field(
        default_factory=_ends,
        min_length=1,
        max_length=50,
        description="Omitted: its end.",
    )


class TargetAsked(Request):
    """A place that an output is sent to, before the job succeeds; again with each attempt."""

    url: str = Field(
        min_length=1,
        max_length=MAX_URL_CHARS,
        description="A URL that takes a PUT, such as a presigned one. Its query is not shown "
        "again.",
        examples=["https://bucket.s3.example.com/report.txt?X-Amz-Signature=..."],
    )
    output: Annotated[int, Field(ge=0, lt=MAX_INPUTS)] | None = Field(
        None, description="Place of the output, from 0; omitted: the only one."
    )
    headers: dict[DeliveryHeader, DeliveryHeaderValue] = Field(
        default_factory=dict,
        max_length=MAX_DELIVERY_HEADERS,
        description="Headers that were signed into the URL: Content-Type, Content-Disposition, "
        "Content-Language, Cache-Control, and what begins with x-amz-, x-goog- or x-ms-.",
    )


class JobOptions(Request):
    """What can be said of any job, whatever it does."""

    # Factories, since pydantic copies any other mutable default, deeply, for each request.
    labels: Labels = Field(default_factory=dict)
    metadata: dict[str, Any] = Field(
        default_factory=dict,
        description="Anything of yours, given back unchanged; at most 16 KiB as JSON.",
    )
    priority: Priority = Field(
        "normal", description="A head start within your own jobs of the same lane."
    )
    run_at: Moment | None = Field(
        None, description="Not before this time: until then the job is `delayed`."
    )
    expires_in: ExpiresIn | None = None
    timeout_s: Timeout | None = None
    max_attempts: MaxAttempts | None = None
    retention_s: Retention | None = None
    webhook: JobWebhook | None = Field(
        None, description="Sent beside those to your endpoints, signed by the webhook `jobs`."
    )
    reuse: Reuse = False
    deliver: list[TargetAsked] = Field(
        default_factory=list,
        max_length=MAX_DELIVERIES,
        fail_fast=True,
        description="Places to send the outputs to.",
    )


class OneOperation(Request):
    operation: str = Field(
        min_length=1, max_length=100, description="Name from the list of operations."
    )
    params: dict[str, Any] = Field(default_factory=dict, description="Parameters of the operation.")


class StepAsked(OneOperation):
    """One operation of a pipeline, and whose files it works on."""

    needs: list[StepName] | None = Field(
        None,
        max_length=MAX_STEPS,
        description="Steps whose outputs it takes, in this order; `inputs` stands for the files "
        "of the job. Omitted: these.",
    )
    for_each: bool = Field(
        False,
        description="Run once for each file. Otherwise one run takes all of them.",
    )
    on_error: Literal["fail", "skip"] = Field(
        "fail",
        description="`skip`: where it fails, go on without (with `for_each`: without that file). "
        "Failures that pass by themselves, and the end of the job's time, are not skipped.",
    )
    output: bool = Field(
        False,
        description="Its files are outputs of the job. Where no step says so, those of the steps "
        "that no other needs are.",
    )


Steps = Annotated[
    dict[StepName, StepAsked],
    Field(
        min_length=1,
        max_length=MAX_STEPS,
        description="Operations by names of yours (but `inputs`). Each runs after those it "
        "needs, one at a time, in one attempt.",
    ),
]


class SeveralSteps(Request):
    steps: Steps


# The bases stand in the reverse of the order in which their members are shown.


class OperationAsked(JobOptions, OneOperation):
    """What both ways to describe a job of one operation have in common."""


class PipelineAsked(JobOptions, SeveralSteps):
    """What both ways to describe a pipeline have in common."""


class _FilesByReference(Request):
    inputs: list[Input] = Field(
        default_factory=list,
        max_length=MAX_INPUTS,
        fail_fast=True,  # of thousands of wrong ones, one complaint is enough
        description="Files to work on, in this order.",
    )


class _FilesOfForm(Request):
    inputs: list[FormInput] | None = Field(
        None,
        max_length=MAX_INPUTS,
        fail_fast=True,
        description="Files to work on. Omitted: all file parts, in their order.",
    )


class JobRequest(_FilesByReference, OperationAsked):
    """A job over files that are there already."""


class FormJobRequest(_FilesOfForm, OperationAsked):
    """The `job` part of a form."""


class PipelineRequest(_FilesByReference, PipelineAsked):
    """A pipeline over files that are there already."""


class FormPipelineRequest(_FilesOfForm, PipelineAsked):
    """A pipeline as the `job` part of a form."""


Scalar = str | int | float | bool


class Variable(Request):
    """A value that a job gives to a template."""

    type: Literal["string", "integer", "number", "boolean"]
    default: Scalar | None = Field(None, description="Without it every job has to give a value.")
    description: str = Field("", max_length=500)


class TemplateRequest(Request):
    """A pipeline to be kept. `{"$var": "width"}` in the parameters stands for a variable."""

    description: str = Field("", max_length=500)
    variables: dict[VariableName, Variable] = Field(
        default_factory=dict, max_length=MAX_VARIABLES, description="By their names."
    )
    steps: Steps


class _OfTemplate(Request):
    template: str = Field(
        pattern=TEMPLATE_REFERENCE,
        description="Name of a template of yours, `thumbs`, for its newest version; `thumbs@3` for "
        "that one.",
    )
    variables: dict[VariableName, Scalar] = Field(
        default_factory=dict, max_length=MAX_VARIABLES, description="Values, by name."
    )


class TemplateAsked(JobOptions, _OfTemplate):
    """What both ways to describe a job from a template have in common."""


class TemplateJobRequest(_FilesByReference, TemplateAsked):
    """A pipeline from a template, over files that are there already."""


class FormTemplateJobRequest(_FilesOfForm, TemplateAsked):
    """A pipeline from a template, as the `job` part of a form."""


def job_of_body(value: object) -> type[JobRequest | PipelineRequest | TemplateJobRequest]:
    """The model that a body, not judged yet, is meant to fit."""
    if isinstance(value, dict) and "template" in value:
        return TemplateJobRequest
    return PipelineRequest if isinstance(value, dict) and "steps" in value else JobRequest


def job_of_form(
    value: object,
) -> type[FormJobRequest | FormPipelineRequest | FormTemplateJobRequest]:
    """As `job_of_body`, for the `job` part of a form."""
    if isinstance(value, dict) and "template" in value:
        return FormTemplateJobRequest
    return FormPipelineRequest if isinstance(value, dict) and "steps" in value else FormJobRequest


class PageQuery(Query):
    """Place of a page."""

    cursor: str | None = Field(
        None, max_length=200, description="`next_cursor` of the page before this one."
    )
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = Field(50, description="Entries on a page.")


class RetryQuery(Query):
    """What may stand in the query of a retry."""

    wait: Wait | None = None


class SubmitQuery(Query):
    """What may stand in the query of `POST /v1/jobs`."""

    wait: Wait | None = None
    force: Force = False
    dry_run: DryRun = False


class PutQuery(Query):
    """Our own names in the query of `PUT /v1/jobs/{operation}`; all others are parameters."""

    filename: str | None = Field(
        None, description="Display name of the file; outputs are named after it."
    )
    wait: Wait | None = None
    labels: list[LabelPair] = Field(
        [], max_length=8, description="`name=value`, repeated for several."
    )
    priority: Priority = "normal"
    run_at: Moment | None = Field(
        None, description="Not before this time: until then the job is `delayed`."
    )
    expires_in: ExpiresIn | None = None
    timeout_s: Timeout | None = None
    max_attempts: MaxAttempts | None = None
    retention_s: Retention | None = None
    reuse: Reuse = False
    force: Force = False
    dry_run: DryRun = False


class ListQuery(Query):
    """Filters and place of a page of jobs."""

    state: JobState | None = Field(None, description="Only jobs in this state.")
    operation: str | None = Field(None, max_length=100, description="Only jobs of this operation.")
    label: list[LabelPair] = Field(
        [],
        max_length=8,
        description="Only jobs with this `name=value`; repeated: with all of them.",
    )
    batch: BatchId | None = Field(None, description="Only jobs of this batch.")
    created_after: Moment | None = Field(None, description="Only jobs accepted later.")
    created_before: Moment | None = Field(None, description="Only jobs accepted earlier.")
    cursor: str | None = Field(
        None, max_length=200, description="`next_cursor` of the page before this one."
    )
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = Field(50, description="Jobs on a page.")


class GetQuery(Query):
    """How long to wait for news."""

    wait: Wait = Field(0, description="Seconds to wait for the job to end before answering.")


class StreamQuery(Query):
    """How long to follow."""

    wait: Annotated[int, Field(ge=0, le=86_400)] | None = Field(
        None,
        description="Seconds after which the stream ends; 0: with what there is. Omitted, or more "
        "than the server allows: the server's own.",
    )


class ResultQuery(Query):
    """Which output; needed where there are several."""

    name: str | None = Field(None, max_length=200, description="Name of the output.")
    index: Annotated[int, Field(ge=0)] | None = Field(
        None, description="Place of the output in `outputs`, from 0."
    )


class LinkRequest(Request):
    """What a share link leads to, and for whom."""

    job_id: JobId
    output: str | None = Field(
        None, max_length=200, description="Name of the output; needed where there are several."
    )
    index: Annotated[int, Field(ge=0, lt=10**6)] | None = Field(
        None, description="Its place in `outputs` instead, from 0."
    )
    archive: bool = Field(False, description="Lead to all outputs, as a ZIP.")
    name: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = Field(
        None, description="What the download is called; by default as the output is."
    )
    code: Annotated[str, StringConstraints(pattern=LINK_CODE)] | None = Field(
        None,
        description="A code of your choice, which others may guess. Omitted: a random one, which "
        "nobody can.",
    )
    expires_in_s: Annotated[int, Field(ge=1, le=366 * 86_400)] | None = Field(
        None, description="It ends so long from now; at the latest, and by default, with the job."
    )
    password: Annotated[str, StringConstraints(min_length=8, max_length=200)] | None = Field(
        None, description="Asked for before the download. Only a hash of it is kept."
    )
    max_downloads: Annotated[int, Field(ge=1, le=10**9)] | None = Field(
        None, description="It ends with this download. The file then comes through the server."
    )


class LinkListQuery(Query):
    """Place of a page of links."""

    cursor: Annotated[str, StringConstraints(pattern=LINK_CODE)] | None = Field(
        None, description="`next_cursor` of the page before this one."
    )
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = Field(50, description="Links on a page.")


class NoQuery(Query):
    """Takes nothing."""


# --- answers -----------------------------------------------------------------------------------


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
    retry: str | None = Field(None, description="There once the job has ended without success.")


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


class TemplateQuery(Query):
    """Which version."""

    version: Annotated[int, Field(ge=1, lt=10**9)] | None = Field(
        None, description="Omitted: the newest."
    )


class TemplateView(BaseModel):
    """One version of a template."""

    name: str
    object: Literal["template"]
    version: int
    created_at: AwareDatetime
    description: str
    variables: dict[str, Variable]
    steps: dict[str, StepAsked]


class TemplateList(BaseModel):
    """The newest version of each, by name."""

    data: list[TemplateView]


class LinkView(BaseModel):
    """A share link."""

    code: str
    object: Literal["link"]
    state: Literal["live", "expired", "used_up", "revoked"]
    path: str = Field(description="Where it leads from, on this server: `/d/<code>`.")
    job_id: JobId
    index: int | None = Field(description="Which output; null: all, as a ZIP.")
    name: str = Field(description="What the download is called.")
    has_password: bool
    max_downloads: int | None
    downloads: int = Field(description="How often it was followed.")
    created_at: AwareDatetime
    expires_at: AwareDatetime
    last_download_at: AwareDatetime | None
    revoked_at: AwareDatetime | None


class LinkList(BaseModel):
    """A page of links, newest first."""

    data: list[LinkView]
    next_cursor: str | None = Field(description="For the next page; null on the last.")


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
