"""What requests and answers about batches look like."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, Field

from fileproc.api.fields import MAX_INPUTS, BatchId, HookUrl, LabelPair, Labels, Query, Request
from fileproc.api.job_models import Input
from fileproc.jobs import JobHook


class BatchWebhook(Request):
    """Where the end of this batch is told, once, as `batch.completed`."""

    url: HookUrl


class BatchRequest(Request):
    """Many jobs at once: `jobs`, or `each` for every one of `files`."""

    name: str | None = Field(None, max_length=200, description="Of yours, to tell it by.")
    labels: Labels = Field(default_factory=dict)
    metadata: dict[str, Any] = Field(
        default_factory=dict,
        description="Anything of yours, given back unchanged; at most 16 KiB as JSON.",
    )
    webhook: BatchWebhook | None = Field(
        None, description="Told of the end of the batch, signed by the webhook `jobs`."
    )
    jobs: list[dict[str, Any]] | None = Field(
        None, min_length=1, max_length=MAX_INPUTS, description="The jobs, each complete in itself."
    )
    each: dict[str, Any] | None = Field(
        None,
        description="What is done with each of the files: a job whose `inputs`, if there are any, "
        "come after the file.",
    )
    files: list[Input] | None = Field(
        None, min_length=1, max_length=MAX_INPUTS, fail_fast=True, description="A job for each."
    )


class BatchQuery(Query):
    """What can be said of a batch that is sent as a manifest."""

    name: str | None = Field(None, max_length=200, description="With a manifest: its name.")
    labels: list[LabelPair] = Field(
        [], max_length=8, description="With a manifest: `name=value`, repeated for several."
    )
    webhook: HookUrl | None = Field(
        None, description="With a manifest: where the end of the batch is told."
    )


class BatchCounts(BaseModel):
    """Jobs by state."""

    awaiting_upload: int
    queued: int
    delayed: int
    running: int
    succeeded: int
    failed: int
    canceled: int
    expired: int


class BatchProgress(BaseModel):
    done: int
    total: int
    unit: Literal["jobs"]
    percent: float


class BatchLinks(BaseModel):
    self: str
    jobs: str
    events: str
    cancel: str | None = Field(None, description="There while some of its jobs are not over.")


class BatchView(BaseModel):
    """A batch. The numbers are of all of its jobs, also of those that are deleted by now."""

    id: BatchId
    object: Literal["batch"]
    state: Literal["running", "completed"] = Field(
        description="`completed` once every job is over, however it ended."
    )
    name: str | None
    labels: dict[str, str]
    metadata: dict[str, Any]
    webhook: JobHook | None = Field(description="Where its end is told.")
    schedule: str | None = Field(description="Id of the schedule that made it.")
    total: int
    counts: BatchCounts
    progress: BatchProgress
    created_at: AwareDatetime
    finished_at: AwareDatetime | None
    expires_at: AwareDatetime | None = Field(description="When the record of the batch goes.")
    links: BatchLinks


class BatchList(BaseModel):
    """A page of batches, newest first."""

    data: list[BatchView]
    next_cursor: str | None = Field(description="For the next page; null on the last.")
