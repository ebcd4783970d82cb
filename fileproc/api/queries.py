"""What may stand in the query of an address."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from fileproc.api.fields import (
    LINK_CODE,
    MAX_PAGE,
    BatchId,
    DryRun,
    ExpiresIn,
    Force,
    LabelPair,
    MaxAttempts,
    Moment,
    Priority,
    Query,
    Retention,
    Reuse,
    Timeout,
    Wait,
)
from fileproc.jobs import JobState


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
    reuse: Reuse = None
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


class LinkListQuery(Query):
    """Place of a page of links."""

    cursor: Annotated[str, StringConstraints(pattern=LINK_CODE)] | None = Field(
        None, description="`next_cursor` of the page before this one."
    )
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = Field(50, description="Links on a page.")


class NoQuery(Query):
    """Takes nothing."""


class TemplateQuery(Query):
    """Which version."""

    version: Annotated[int, Field(ge=1, lt=10**9)] | None = Field(
        None, description="Omitted: the newest."
    )
