"""What requests and answers about repeated jobs look like."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from fileproc.api.fields import MAX_DELIVERIES, MAX_PAGE, BatchId, Labels, Moment, Request
from fileproc.api.job_models import TargetAsked

RetryStart = Literal["start", "failed"]
_Start = Annotated[
    RetryStart,
    Field(
        alias="from",
        description="`failed`: a job of several steps goes on from the one that failed, with what "
        "was kept of those before it (`kept` of the job). `start`: all of it is done again.",
    ),
]


class RetryFrom(Request):
    """How to repeat a job; no body stands for `{}`."""

    start: _Start = "start"
    deliver: list[TargetAsked] = Field(
        default_factory=list,
        max_length=MAX_DELIVERIES,
        fail_fast=True,
        description="Places to send the outputs to, instead of those of before: of a job that has "
        "succeeded too, whatever became of the first ones.",
    )


class RetryRequest(Request):
    """Which failed jobs to repeat; all of those conditions that are given hold."""

    operation: str | None = Field(None, max_length=100, description="Only of this operation.")
    labels: Labels = Field(default_factory=dict, description="Only with all of these.")
    batch: BatchId | None = Field(None, description="Only of this batch.")
    code: str | None = Field(None, max_length=100, description="Only where `error.code` is this.")
    failed_after: Moment | None = Field(None, description="Only those that ended later.")
    failed_before: Moment | None = Field(None, description="Only those that ended earlier.")
    again: bool = Field(False, description="Also those that another job repeats already.")
    start: _Start = "start"
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = Field(100, description="Jobs made at most.")
    cursor: str | None = Field(
        None, max_length=200, description="`next_cursor` of the answer before this one."
    )


class Retried(BaseModel):
    job_id: str
    retried_as: str


class NotRetried(BaseModel):
    job_id: str
    code: str
    detail: str


class RetryStopped(BaseModel):
    code: str
    detail: str
    retry_after_s: int | None


class RetriedView(BaseModel):
    """What became of a part of the dead letters, the oldest first."""

    retried: list[Retried]
    skipped: list[NotRetried] = Field(description="Those that cannot be repeated, and why.")
    stopped: RetryStopped | None = Field(
        description="A limit that was met on the way: go on from the cursor when it allows."
    )
    next_cursor: str | None = Field(
        description="Where to go on; null when no failed job is left of those that there were at "
        "the first call."
    )
