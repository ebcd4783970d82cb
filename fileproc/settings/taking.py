"""Settings of what the api takes, and how much of it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field, field_validator

from fileproc.rates import parse_rate
from fileproc.settings.fields import GIB, MIB, Positive, PositiveSeconds


class Taking(BaseModel):
    """What is taken, and how much of it."""

    max_upload_bytes: Positive = Field(5 * GIB, description="Largest file taken.")
    max_json_bytes: Positive = Field(1 * MIB, description="Largest JSON body or `job` part.")
    max_job_bytes: Positive = Field(
        256 * 1024, description="What one job may ask for, as JSON, with the steps of its template."
    )
    max_batch_bytes: Positive = Field(64 * MIB, description="The same of all jobs of a batch.")
    max_manifest_bytes: Positive = Field(
        16 * MIB, description="Largest manifest of a batch (a job on each line)."
    )
    max_batch_jobs: Positive = Field(10_000, description="Jobs in one batch.")
    max_inputs: Positive = Field(100, description="Files in one job.")
    upload_idle_s: PositiveSeconds = Field(
        60,
        description="An upload that sends, or a download that takes, nothing for so long is cut.",
    )
    upload_life_s: Positive = Field(
        86_400,
        description="An upload in several requests must be complete so long after its begin.",
    )
    max_delay_s: Positive = Field(
        30 * 86_400, description="How far ahead `run_at` and `expires_in` of a job may lie."
    )
    rate_read: str = Field(
        "6000/minute", description="Requests of one key that only read: N/second, /minute or /30s."
    )
    rate_write: str = Field(
        "6000/minute", description="Other requests of one key that change something; or off."
    )
    rate_submit: str = Field("6000/minute", description="Submissions and uploads of one key.")
    rate_sign_in: str = Field(
        "600/minute", description="Requests without a valid key from one address; more: 429."
    )
    rate_public: str = Field(
        "600/minute", description="Requests of one address to links that need no key."
    )
    rate_patience_s: PositiveSeconds = Field(
        0.25, description="Longer no request waits for Redis to be counted: it is let through."
    )
    max_queued_per_owner: Positive = Field(
        100_000, description="Jobs of one owner that may wait at once."
    )
    max_running_per_owner: int = Field(
        0, ge=0, description="Jobs of one owner that may run at once in a lane; 0: any number."
    )
    quota_jobs_per_day: int = Field(
        0, ge=0, description="Jobs that one owner may submit in a day (UTC); 0: any number."
    )
    quota_bytes_per_day: int = Field(
        0, ge=0, description="Bytes that one owner may upload in a day; 0: any number."
    )
    quota_cpu_s_per_day: int = Field(
        0, ge=0, description="CPU seconds of one owner after which that day takes no more; 0: any."
    )
    max_event_backlog: Positive = Field(
        500_000, description="Entries in the event stream above which new jobs are refused."
    )
    max_files_per_owner: Positive = Field(
        10_000, description="Files of one owner that were uploaded on their own."
    )
    max_uploads_per_owner: Positive = Field(
        1_000, description="Such uploads of one owner that may be under way at once."
    )
    max_upload_tokens_per_owner: Positive = Field(
        10_000, description="Upload tokens of one owner that may live at once, used or not."
    )
    max_links_per_owner: Positive = Field(
        10_000, description="Share links that one owner may have, with those of the last week."
    )
    max_schedules_per_owner: Positive = Field(50, description="Schedules that one owner may have.")
    min_schedule_interval_s: Positive = Field(
        60, description="The least time between two firings of a schedule, by its cron expression."
    )
    max_schedule_jobs: Annotated[int, Field(ge=1, le=10_000)] = Field(
        1000, description="Jobs that one firing of a schedule makes; the next one gets the rest."
    )
    max_schedule_objects: Positive = Field(
        20_000, description="Objects below the prefix of a schedule, all of which it remembers."
    )

    @field_validator("rate_read", "rate_write", "rate_submit", "rate_sign_in", "rate_public")
    @classmethod
    def _rate(cls, value: str) -> str:
        parse_rate(value)
        return value
