"""What requests and answers about schedules look like."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, Discriminator, Field, StringConstraints, Tag

from fileproc.api.batch_models import BatchWebhook
from fileproc.api.fields import BATCH_ID, BatchId, Request
from fileproc.cron import MAX_CHARS
from fileproc.outbound import MAX_URL_CHARS
from fileproc.store import Run, RunError

SCHEDULE_ID: Final = "sched_01kqb4h0nme8atrb9rgb0yvm3s"
PATTERN: Final = "^sched_[0-7][0-9a-hjkmnp-tv-z]{25}$"

ScheduleId = Annotated[str, StringConstraints(pattern=PATTERN), Field(examples=[SCHEDULE_ID])]
Name = Annotated[str, Field(max_length=200, description="Of yours, to tell it by.")]
CronText = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_CHARS,
        description="Minute, hour, day, month, day of week, as cron has them. There is a least "
        "time between two firings.",
        examples=["30 4 * * MON-FRI"],
    ),
]
Zone = Annotated[
    str,
    Field(
        max_length=MAX_CHARS,
        description="Of the IANA's: by its clock the expression is read.",
        examples=["Europe/Berlin"],
    ),
]
JobAsked = Annotated[
    dict[str, Any],
    Field(
        description="What is done with each file: a job as `POST /v1/jobs` takes it, with all of "
        "its options but `run_at`. Its `inputs`, if there are any, come after the file."
    ),
]
Hook = Annotated[
    BatchWebhook, Field(description="Told of the end of each batch, as `batch.completed`.")
]


class UrlSource(Request):
    """One file, fetched anew each time."""

    url: str = Field(
        min_length=1,
        max_length=MAX_URL_CHARS,
        description="http or https, reachable from everywhere; or `s3://<connection>/<key>`.",
        examples=["https://example.com/rates.csv"],
    )
    name: str | None = Field(
        None, min_length=1, max_length=200, description="Display name; omitted: from the URL."
    )


class PrefixSource(Request):
    """The objects below a prefix, a job for each."""

    prefix: str = Field(
        min_length=1,
        max_length=1000,
        pattern="^s3://",
        description="`s3://<connection>/<beginning of keys>`.",
        examples=["s3://inbox/scans/"],
    )
    suffix: str = Field("", max_length=100, description="How their keys must end, such as `.pdf`.")
    take: Literal["changed", "all"] = Field(
        "changed",
        description="`changed`: only what is new, or has another ETag, since it had its job. "
        "`all`: everything, each time.",
    )
    max_objects: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        None, description="At most so many each time, in the order of their keys."
    )


Source = Annotated[
    Annotated[UrlSource, Tag("UrlSource")] | Annotated[PrefixSource, Tag("PrefixSource")],
    Discriminator(
        lambda value: (
            "PrefixSource"
            if isinstance(value, PrefixSource) or (isinstance(value, dict) and "prefix" in value)
            else "UrlSource"
        )
    ),
]


class ScheduleRequest(Request):
    """A recurring job: when, over what, and what."""

    name: Name | None = None
    cron: CronText
    timezone: Zone = "UTC"
    source: Source
    job: JobAsked
    webhook: Hook | None = None
    paused: bool = Field(False, description="It waits until it is resumed.")


class SchedulePatch(Request):
    """What is to be another; the rest stays. `null` takes the name or the webhook away."""

    name: Name | None = None
    cron: CronText | None = None
    timezone: Zone | None = None
    source: Source | None = None
    job: JobAsked | None = None
    webhook: Hook | None = None


class RunView(Run):
    """What came of one firing."""

    finished_at: AwareDatetime
    batch_id: BatchId | None = Field(description="The batch that it made.")
    jobs: int = Field(description="Jobs in it.")
    left: int = Field(description="Objects beyond the most, which the next run gets.")
    skipped: int = Field(description="Objects with keys that no job could name.")
    error: RunError | None = Field(description="Why it was refused.")


class ScheduleLinks(BaseModel):
    self: str
    runs: str
    last_batch: str | None = Field(None, description="There once it has made one.")


class ScheduleView(BaseModel):
    """A schedule. Parameters that are secret, and queries of URLs, are not shown again."""

    id: ScheduleId
    object: Literal["schedule"]
    version: int = Field(description="Rises with every change and every firing.")
    state: Literal["active", "paused"]
    name: str | None
    cron: str
    timezone: str
    source: Source
    job: dict[str, Any]
    webhook: BatchWebhook | None
    next_run_at: AwareDatetime | None
    running: bool = Field(description="It is being fired, or will be at once.")
    last_run: RunView | None
    last_error: RunError | None = Field(description="Of the last run, if that was refused.")
    failures: int = Field(description="Runs refused since the last that was not.")
    created_at: AwareDatetime
    updated_at: AwareDatetime
    links: ScheduleLinks


class ScheduleList(BaseModel):
    """A page of schedules, newest first."""

    data: list[ScheduleView]
    next_cursor: str | None = Field(description="For the next page; null on the last.")


class RunList(BaseModel):
    """The last runs, newest first; at most 100."""

    data: list[RunView]


RUN: Final[dict[str, Any]] = {
    "trigger": "cron",
    "scheduled_for": "2026-11-22T03:30:00Z",
    "started_at": "2026-11-22T03:30:00.210000Z",
    "finished_at": "2026-11-22T03:30:00.640000Z",
    "outcome": "accepted",
    "batch_id": BATCH_ID,
    "jobs": 12,
    "left": 0,
    "skipped": 0,
    "error": None,
}
SCHEDULE: Final[dict[str, Any]] = {
    "id": SCHEDULE_ID,
    "object": "schedule",
    "version": 9,
    "state": "active",
    "name": "scans of the night",
    "cron": "30 4 * * MON-FRI",
    "timezone": "Europe/Berlin",
    "source": {
        "prefix": "s3://inbox/scans/",
        "suffix": ".pdf",
        "take": "changed",
        "max_objects": None,
    },
    "job": {"operation": "pdf.optimize", "deliver": [{"url": "s3://archive/small/"}]},
    "webhook": None,
    "next_run_at": "2026-11-23T03:30:00Z",
    "running": False,
    "last_run": RUN,
    "last_error": None,
    "failures": 0,
    "created_at": "2026-11-20T08:15:30.120000Z",
    "updated_at": "2026-11-20T08:15:30.120000Z",
    "links": {
        "self": f"/v1/schedules/{SCHEDULE_ID}",
        "runs": f"/v1/schedules/{SCHEDULE_ID}/runs",
    },
}
SAMPLE: Final = """\
curl "$FILEPROC_URL/v1/schedules" -H 'Content-Type: application/json' \\
  -d '{"cron": "30 4 * * MON-FRI", "timezone": "Europe/Berlin", \
"source": {"prefix": "s3://inbox/scans/", "suffix": ".pdf"}, "job": {"operation": "pdf.optimize"}}'\
"""
