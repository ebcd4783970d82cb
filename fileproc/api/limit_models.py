"""What requests and answers about limits look like."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, BaseModel, Field

from fileproc.api.fields import Query, Request
from fileproc.store import MOST_DAYS

_MOST_BYTES = 10**15
_MOST = 10**9


class UsageQuery(Query):
    """How far to look back."""

    days: Annotated[int, Field(ge=1, le=MOST_DAYS)] = Field(
        7, description="Days to show, today among them."
    )


class OwnerRequest(Request):
    """What is granted to an owner. What is left out is as for everybody."""

    weight: Annotated[int, Field(ge=1, le=100)] | None = Field(
        None, description="Share of the workers' turns beside other owners, who have 1."
    )
    max_running: Annotated[int, Field(ge=1, le=_MOST)] | None = Field(
        None, description="Jobs that may run at once in one lane."
    )
    max_queued: Annotated[int, Field(ge=1, le=_MOST)] | None = Field(
        None, description="Jobs that may wait at once."
    )
    jobs_per_day: Annotated[int, Field(ge=1, le=_MOST)] | None = Field(
        None, description="Jobs that may be submitted in a day (UTC)."
    )
    bytes_per_day: Annotated[int, Field(ge=1, le=_MOST_BYTES)] | None = Field(
        None, description="Bytes that may be uploaded in a day."
    )
    cpu_s_per_day: Annotated[int, Field(ge=1, le=_MOST)] | None = Field(
        None, description="CPU seconds after which jobs are refused that day."
    )


class GrantView(BaseModel):
    """What is set for an owner; null: as for everybody."""

    weight: int | None
    max_running: int | None
    max_queued: int | None
    jobs_per_day: int | None
    bytes_per_day: int | None
    cpu_s_per_day: int | None


class OwnerLimits(BaseModel):
    """What holds for an owner; null: no limit."""

    weight: int = Field(description="Share of the workers' turns beside other owners.")
    max_running: int | None = Field(description="Jobs that may run at once in one lane.")
    max_queued: int = Field(description="Jobs that may wait at once.")
    jobs_per_day: int | None = Field(description="Jobs that may be submitted in a day (UTC).")
    bytes_per_day: int | None = Field(description="Bytes that may be uploaded in a day.")
    cpu_s_per_day: int | None = Field(
        description="CPU seconds after which jobs are refused that day."
    )


class OwnerView(BaseModel):
    """An owner as the operator sees it."""

    owner: str
    object: Literal["owner"]
    settings: GrantView
    limits: OwnerLimits
    paused_lanes: list[str] = Field(description="Lanes from which nothing of it is taken.")
    changed_at: AwareDatetime | None = Field(description="When the settings were made.")


class OwnerList(BaseModel):
    """The owners that have settings of their own, by name; at most 1,000."""

    data: list[OwnerView]


class LaneView(BaseModel):
    """A kind of worker slots."""

    lane: str
    object: Literal["lane"]
    paused: bool = Field(description="Nothing is taken from it; what runs goes on.")
    ready: int = Field(description="Jobs that are next.")
    waiting: int = Field(description="Jobs that wait behind those, of all owners.")
    owners_waiting: int = Field(description="Owners that have such jobs, and whose turn comes.")


class LaneList(BaseModel):
    data: list[LaneView]


class RateView(BaseModel):
    requests: int = Field(description="In any window, at most.")
    window_s: int


class RatesView(BaseModel):
    """Of this key; null: not limited."""

    read: RateView | None = Field(description="Requests that only read.")
    write: RateView | None = Field(description="Requests that change something.")
    submit: RateView | None = Field(description="Submissions and uploads.")


class FileLimits(BaseModel):
    max_upload_bytes: int
    max_json_bytes: int
    max_job_bytes: int = Field(description="What a job may ask for, as JSON, with its steps.")
    max_batch_bytes: int = Field(description="The same of all jobs of a batch.")
    max_inputs: int = Field(description="Files of one job.")
    max_output_files: int
    upload_idle_s: float = Field(description="An upload that sends nothing for so long is cut.")


class JobLimits(BaseModel):
    max_attempts: int
    timeout_s: float = Field(description="Of one attempt.")
    heavy_timeout_s: float = Field(description="Of one attempt in the lane `heavy`.")
    retention_s: int = Field(description="Job and files go so long after its end, at most.")
    max_memory_bytes: int
    max_scratch_bytes: int
    max_kept_bytes: int = Field(description="Of the steps of a failed job, for `retry`.")
    max_pixels: int
    max_wait_s: int = Field(description="Longest `wait` of a request.")


class LimitsView(BaseModel):
    """All that bounds what you can do here."""

    object: Literal["limits"]
    owner: str
    rates: RatesView
    limits: OwnerLimits
    files: FileLimits
    jobs: JobLimits


class QuotaView(BaseModel):
    used: float
    allowed: int | None = Field(description="null: any amount.")
    left: float | None


class QuotasView(BaseModel):
    """Of the day that ends at `resets_at`."""

    jobs: QuotaView
    bytes: QuotaView
    cpu_s: QuotaView = Field(description="Of attempts that have ended.")


class UnfinishedView(BaseModel):
    queued: int
    running: int
    delayed: int
    awaiting_upload: int


class DayView(BaseModel):
    day: dt.date = Field(description="In UTC.")
    jobs: int
    bytes: int
    cpu_s: float


class UsageView(BaseModel):
    """What an owner has used."""

    object: Literal["usage"]
    owner: str
    jobs: UnfinishedView = Field(description="Jobs that are not over, by state.")
    paused_lanes: list[str] = Field(description="Lanes in which your jobs are held back.")
    quotas: QuotasView
    resets_at: AwareDatetime = Field(description="When the quotas begin anew: 00:00 UTC.")
    days: list[DayView] = Field(description="The newest first, which is today.")


OWNER_SETTINGS: Final = {
    "weight": 3,
    "max_running": 4,
    "max_queued": None,
    "jobs_per_day": 5000,
    "bytes_per_day": None,
    "cpu_s_per_day": 7200,
}
OWNER: Final = {
    "owner": "acme",
    "object": "owner",
    "settings": OWNER_SETTINGS,
    "limits": {**OWNER_SETTINGS, "max_queued": 100_000},
    "paused_lanes": [],
    "changed_at": "2026-11-22T08:15:30Z",
}
OWNER_SAMPLE: Final = """curl -X PUT "$FILEPROC_URL/v1/admin/owners/acme" \\
  -H 'Content-Type: application/json' -d '{"weight": 3, "jobs_per_day": 5000}'"""
LANE: Final = {
    "lane": "heavy",
    "object": "lane",
    "paused": True,
    "ready": 0,
    "waiting": 340,
    "owners_waiting": 2,
}
LIMITS: Final = {
    "object": "limits",
    "owner": "acme",
    "rates": {kind: {"requests": 6000, "window_s": 60} for kind in ("read", "write", "submit")},
    "limits": OWNER["limits"],
    "files": {
        "max_upload_bytes": 5_368_709_120,
        "max_json_bytes": 1_048_576,
        "max_job_bytes": 262_144,
        "max_batch_bytes": 67_108_864,
        "max_inputs": 100,
        "max_output_files": 2000,
        "upload_idle_s": 60.0,
    },
    "jobs": {
        "max_attempts": 3,
        "timeout_s": 300.0,
        "heavy_timeout_s": 3600.0,
        "retention_s": 86_400,
        "max_memory_bytes": 2_147_483_648,
        "max_scratch_bytes": 21_474_836_480,
        "max_kept_bytes": 1_073_741_824,
        "max_pixels": 200_000_000,
        "max_wait_s": 60,
    },
}
USAGE: Final = {
    "object": "usage",
    "owner": "acme",
    "jobs": {"queued": 12, "running": 4, "delayed": 0, "awaiting_upload": 0},
    "paused_lanes": [],
    "quotas": {
        "jobs": {"used": 1200, "allowed": 5000, "left": 3800},
        "bytes": {"used": 7_340_032, "allowed": None, "left": None},
        "cpu_s": {"used": 81.5, "allowed": 7200, "left": 7118.5},
    },
    "resets_at": "2026-11-23T00:00:00Z",
    "days": [{"day": "2026-11-22", "jobs": 1200, "bytes": 7_340_032, "cpu_s": 81.5}],
}
