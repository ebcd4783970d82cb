"""What a request for a job looks like: as a body, and as the `job` part of a form."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from fileproc.api.fields import (
    MAX_DELIVERIES,
    MAX_DELIVERY_HEADERS,
    MAX_INPUTS,
    MAX_VARIABLES,
    TEMPLATE_REFERENCE,
    DeliveryHeader,
    DeliveryHeaderValue,
    ExpiresIn,
    FileId,
    HookUrl,
    JobEvent,
    Labels,
    MaxAttempts,
    Moment,
    Priority,
    Request,
    Retention,
    Reuse,
    Scalar,
    StepName,
    Timeout,
    VariableName,
)
from fileproc.outbound import MAX_URL_CHARS
from fileproc.pipelines import MAX_STEPS


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
    reuse: Reuse = None
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
