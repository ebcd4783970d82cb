"""Settings of what is told to those who listen."""

from __future__ import annotations

from pydantic import BaseModel, Field, field_validator

from fileproc.settings.fields import Positive, PositiveSeconds
from fileproc.webhooks import schedule


class Telling(BaseModel):
    """Event streams and webhooks."""

    events_window_s: PositiveSeconds = Field(
        300, description="How long an event stays readable in Redis."
    )
    max_streams: Positive = Field(
        10_000, description="Event streams that one api process keeps open."
    )
    max_streams_per_owner: Positive = Field(
        1_000, description="Event streams of one owner on one api process."
    )
    stream_life_s: PositiveSeconds = Field(
        900, description="An event stream ends after so long; its reader comes back, with its key."
    )
    moves_remembered: Positive = Field(
        20_000,
        description="Latest moves of jobs that an api process keeps for readers who come back.",
    )
    webhook_schedule_s: str = Field(
        "5,300,1800,7200,18000,36000,50400,72000,86400",
        description="Waits between the attempts of a delivery to a webhook, each lengthened by up"
        " to a fifth at random.",
    )
    webhook_timeout_s: PositiveSeconds = Field(
        15, description="A webhook must have answered in so long."
    )
    webhook_concurrency: Positive = Field(64, description="Deliveries that a worker has under way.")
    webhook_owner_concurrency: Positive = Field(
        16, description="Deliveries of one owner under way at once."
    )
    webhook_endpoint_concurrency: Positive = Field(
        4, description="Deliveries to one endpoint under way at once."
    )
    webhook_disable_s: PositiveSeconds = Field(
        432_000, description="A webhook to which no delivery succeeds for so long is disabled."
    )
    webhook_secret_overlap_s: PositiveSeconds = Field(
        86_400, description="A secret that was rotated signs so long beside the new one."
    )
    webhook_log_s: Positive = Field(
        604_800, description="A delivery can be looked at, and repeated, so long after its end."
    )
    webhook_log_entries: Positive = Field(
        200, description="Deliveries that are over, kept for one endpoint."
    )
    max_webhooks: Positive = Field(20, description="Webhooks of one owner.")
    max_pending_deliveries: Positive = Field(
        10_000, description="Deliveries of one owner that may wait; what exceeds them is skipped."
    )
    max_webhook_bytes: Positive = Field(
        64 * 1024, description="Largest body sent to a webhook; a larger job is sent in short."
    )

    @field_validator("webhook_schedule_s")
    @classmethod
    def _schedule(cls, value: str) -> str:
        schedule(value)
        return value
