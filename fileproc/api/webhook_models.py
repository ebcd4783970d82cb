"""What requests and answers about webhooks look like."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, Field

from fileproc.api.fields import MAX_PAGE, Events, HookUrl, Query, Request
from fileproc.store import DeliveryState
from fileproc.webhooks import LAST

WEBHOOK_ID = "wh_01kqb4h0nme8atrb9rgb0yvm3n"
DELIVERY_ID = "msg_7x3qk2m9vb0c4nfd8hj5tz1wye"

Description = Annotated[str, Field(max_length=200, description="What it is for.")]


class WebhookRequest(Request):
    """An endpoint to be made."""

    url: HookUrl
    events: Events = Field(default_factory=lambda: list(LAST), description="Omitted: ends of jobs.")
    description: Description = ""
    enabled: bool = Field(True, description="Whether anything is sent.")


class WebhookPatch(Request):
    """What is to be changed; the rest stays as it is."""

    url: HookUrl | None = None
    events: Events | None = None
    description: Description | None = None
    enabled: bool | None = Field(
        None, description="`true` also forgets that it was failing or gone."
    )


class WebhookView(BaseModel):
    """An endpoint, without its secret."""

    id: str = Field(description="`jobs`: the one that sends what single jobs ask for.")
    object: Literal["webhook"]
    url: str | None = Field(description="None of `jobs`.")
    events: list[str]
    description: str
    enabled: bool
    disabled_reason: Literal["owner", "gone", "failing"] | None = Field(
        description="`gone`: it answered 410; `failing`: nothing could be delivered for days."
    )
    disabled_at: AwareDatetime | None
    failing_since: AwareDatetime | None = Field(description="Nothing has been delivered since.")
    skipped: int = Field(description="Events not sent, since too many deliveries were waiting.")
    created_at: AwareDatetime | None
    updated_at: AwareDatetime | None
    old_secret_until: AwareDatetime | None = Field(
        description="Until then the secret from before the rotation signs as well."
    )


class NewWebhookView(WebhookView):
    """An endpoint that has just got a secret."""

    secret: str = Field(description="What messages are signed with; never shown again.")


class WebhookList(BaseModel):
    """All of them, oldest first."""

    data: list[WebhookView]


class DeliveriesQuery(Query):
    """Which deliveries."""

    state: DeliveryState | None = Field(None, description="Only those in this state.")
    cursor: str | None = Field(
        None, max_length=200, description="`next_cursor` of the page before this one."
    )
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = Field(50, description="Deliveries on a page.")


class TryView(BaseModel):
    """An attempt. What the receiver said is not kept."""

    at: AwareDatetime | None
    status: int | None = Field(description="HTTP status, if there was an answer.")
    error: Literal["timeout", "connection", "redirect", "url_not_allowed"] | None


class DeliveryView(BaseModel):
    """A message and what became of it."""

    id: str = Field(description="The same at every attempt: `webhook-id`.")
    object: Literal["delivery"]
    webhook_id: str
    type: str
    job_id: str | None
    batch_id: str | None
    url: str | None = Field(description="Of the hook of a job; else it is the webhook's.")
    state: DeliveryState
    created_at: AwareDatetime | None
    finished_at: AwareDatetime | None
    next_attempt_at: AwareDatetime | None = Field(description="None: it is over, or under way.")
    attempts: int
    tries: list[TryView] = Field(description="Oldest first.")
    note: Literal["disabled"] | None = Field(description="Why it ended without an attempt.")


class DeliveryDetail(DeliveryView):
    """A message with what it says."""

    payload: dict[str, Any] = Field(description="The body that is sent.")


class DeliveryList(BaseModel):
    """A page of deliveries, newest first."""

    data: list[DeliveryView]
    next_cursor: str | None = Field(description="For the next page; null on the last.")
