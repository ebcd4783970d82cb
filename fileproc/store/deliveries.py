"""Deliveries to webhooks: made from the event stream, leased to senders, logged.

The queue is a sorted set for each endpoint and one of the endpoints by the time when they are due,
so that one that hangs holds up nobody else. A message's id comes from its event and its endpoint:
whoever makes it again makes the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from fileproc.errors import (
    GoneError,
    NotFoundError,
    QuotaError,
    WebhookDisabledError,
    WebhookPendingError,
)
from fileproc.ids import id_of
from fileproc.settings import Settings
from fileproc.store.connection import Pipeline
from fileproc.store.events import Event, flat, parse
from fileproc.store.keys import Keys
from fileproc.store.records import when
from fileproc.telemetry import LIMITS_HIT

BEGINNING = "0-0.0"
MARGIN_S = 5.0  # by so much a lease outlives the deadline of an attempt


class Outcome(StrEnum):
    """How an attempt ended."""

    DONE = "done"
    RETRY = "retry"
    DEAD = "dead"
    GONE = "gone"  # 410: nothing more is to be sent there
    RELEASE = "release"  # it was not tried


class DeliveryState(StrEnum):
    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """What is to be sent. `url` "" stands for the endpoint's, `job_id` "" for none."""

    id: str
    owner: str
    webhook_id: str
    url: str
    type: str
    job_id: str
    body: str


@dataclass(frozen=True, slots=True)
class Posting:
    """A delivery that a sender has leased. `attempt` counts from 1 since it was (re)queued."""

    id: str
    token: str
    owner: str
    webhook_id: str
    url: str
    type: str
    body: bytes
    attempt: int
    secrets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Attempt:
    """When it was tried and how that ended: a status, or a class of failure."""

    at: datetime | None
    status: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message as the log shows it. `next_attempt_at` None: it is over, or under way."""

    id: str
    webhook_id: str
    type: str
    about: str | None  # id of a job or a batch
    url: str | None
    state: DeliveryState
    created_at: datetime | None
    finished_at: datetime | None
    next_attempt_at: datetime | None
    note: str | None
    attempts: int
    tries: tuple[Attempt, ...]
    body: str


@dataclass(frozen=True, slots=True)
class Lot:
    """Events that a reader has yet to judge, and the positions before and after them."""

    before: str
    after: str
    events: Sequence[Event]


def message_id(event_id: str, webhook_id: str) -> str:
    """Of the message that an event makes for an endpoint."""
    return id_of("msg", f"{event_id} {webhook_id}")


class Deliveries:
    def __init__(self, pipeline: Pipeline, keys: Keys, settings: Settings) -> None:
        self._pipeline = pipeline
        self._keys = keys
        self._most_pending = settings.max_pending_deliveries
        self._disable_ms = int(settings.webhook_disable_s * 1000)
        self._limits = (
            settings.webhook_owner_concurrency,
            settings.webhook_endpoint_concurrency,
            int((settings.webhook_timeout_s + MARGIN_S) * 1000),
            settings.max_pending_deliveries,
            int(settings.webhook_log_s),
            settings.webhook_log_entries,
        )

    async def _script(self, verb: str, *args: Any) -> Any:
        return await self._pipeline.script("delivery", verb, *self._limits, *args)

    # --- from the events -----------------------------------------------------------------------

    async def unread(self, most_entries: int, most_events: int) -> Lot:
        """The oldest events that no reader has judged; none: there are none now."""
        before = await self._pipeline.command("GET", self._keys.webhooks_read)
        entry, _, line = (before or BEGINNING).rpartition(".")
        reply = await self._pipeline.command(
            "XRANGE", self._keys.events, entry, "+", "COUNT", most_entries + 1
        )
        events: list[Event] = []
        after = before or BEGINNING
        for name, fields in flat(reply):
            found = parse(name, fields["l"])
            start = int(line) if name == entry else 0
            chosen = found[start : start + most_events - len(events)]
            if chosen:
                events += chosen
                after = f"{name}.{start + len(chosen)}"
            if len(events) >= most_events:
                break
        return Lot(before or "", after, events)

    async def queue(
        self,
        lot: Lot | None,
        deliveries: Sequence[NewDelivery],
        hooks: Mapping[str, str] | None = None,
    ) -> tuple[int, int] | None:
        """Put them into the queue and move on in the events, in one step; safe to send twice.

        Args:
            lot: what they were made from; None: something else than events.
            deliveries: what to send; one that is there already is left alone.
            hooks: of jobs, by id, to remember as JSON, or "" to forget.

        Returns:
            How many were queued and how many dropped, as too many of the owner's were waiting.
            None: another reader has judged these events.
        """
        args: list[Any] = [lot.before, lot.after] if lot else ["*", ""]
        args.append(len(hooks or {}))
        for job_id, hook in (hooks or {}).items():
            args += [job_id, hook]
        for new in deliveries:
            args += [new.id, new.owner, new.webhook_id, new.url, new.type, new.job_id, new.body]
        reply = await self._script("queue", *args)
        if reply[0] == "stale":
            return None
        if int(reply[2]):
            LIMITS_HIT.labels("max_pending_deliveries").inc(int(reply[2]))
        return int(reply[1]), int(reply[2])

    async def any_hooks(self) -> bool:
        """Whether a job that is not over has a hook of its own."""
        return bool(await self._pipeline.command("EXISTS", self._keys.hooked))

    async def hooks(self, job_ids: Sequence[str]) -> dict[str, Any]:
        """Hooks of jobs that are not known to be over, by id."""
        if not job_ids:
            return {}
        found = await self._pipeline.command("HMGET", self._keys.hooked, *job_ids)
        return {job: json.loads(hook) for job, hook in zip(job_ids, found, strict=True) if hook}

    async def lag_s(self) -> float:
        """Age of the oldest event that is not judged; 0 if all are."""
        lot = await self.unread(1, 1)
        if not lot.events:
            return 0.0
        made = int(lot.events[0].id.partition("-")[0])
        return max(0.0, (await self._pipeline.now_ms() - made) / 1000)

    async def overdue_s(self) -> float:
        """By how much the endpoint that is looked at next is late; 0 if none is."""
        head = await self._pipeline.command("ZRANGE", self._keys.webhooks_due, 0, 0, "WITHSCORES")
        if not head:
            return 0.0
        score = float(head[0][1] if isinstance(head[0], list | tuple) else head[1])
        return max(0.0, (await self._pipeline.now_ms() - score) / 1000)

    # --- to the senders ------------------------------------------------------------------------

    async def take(self, most: int) -> list[Posting]:
        """Lease what is due; who does not settle in time loses it to another sender."""
        values = await self._script("take", most)
        return [_posting(values[at : at + 10]) for at in range(0, len(values), 10)]

    async def settle(
        self, posting: Posting, outcome: Outcome, *, note: str = "", wait_s: float = 0
    ) -> int:
        """Say how it went: 0 somebody else has it, 1 noted, 2 and that disabled the endpoint."""
        return int(
            await self._script(
                "settle",
                *(posting.owner, posting.webhook_id, posting.id, posting.token),
                *(str(outcome), note, int(wait_s * 1000), self._disable_ms),
            )
        )

    # --- the log -------------------------------------------------------------------------------

    async def get(self, owner: str, webhook_id: str, delivery_id: str) -> Delivery:
        """One message.

        Raises:
            NotFoundError: the endpoint has none with this id (any more).
        """
        fields = await self._pipeline.command("HGETALL", self._keys.delivery(delivery_id))
        if not fields or (fields.get("own"), fields.get("ep")) != (owner, webhook_id):
            raise NotFoundError(f"There is no delivery {delivery_id}.")
        due = await self._pipeline.command(
            "ZSCORE", self._keys.outbox(owner, webhook_id), delivery_id
        )
        return _delivery(delivery_id, fields, due)

    async def list(
        self,
        owner: str,
        webhook_id: str,
        *,
        state: DeliveryState | None = None,
        before: tuple[int, str] | None = None,
        limit: int = 50,
    ) -> tuple[list[Delivery], tuple[int, str] | None]:
        """A page, newest first, and where the next one begins; at most 1,000 are looked at."""
        top = str(before[0]) if before else "+inf"
        found: list[Delivery] = []
        offset, seen = 0, 0
        last = before
        while seen < _MOST_SCANNED:
            entries = _pairs(
                await self._pipeline.command(
                    *("ZRANGE", self._keys.delivery_log(owner, webhook_id), top, "-inf"),
                    *("BYSCORE", "REV", "LIMIT", offset, limit + 1, "WITHSCORES"),
                )
            )
            offset += len(entries)
            for delivery_id, made in entries:
                if before and (made, delivery_id) >= before:
                    continue
                seen += 1
                shown = await self._shown(owner, webhook_id, delivery_id, state)
                if shown is not None:
                    if len(found) == limit:
                        return found, last
                    found.append(shown)
                last = (made, delivery_id)
            if len(entries) <= limit:
                return found, None
        return found, last

    async def _shown(
        self, owner: str, webhook_id: str, delivery_id: str, state: DeliveryState | None
    ) -> Delivery | None:
        try:
            found = await self.get(owner, webhook_id, delivery_id)
        except (NotFoundError, GoneError):
            return None
        return found if state is None or found.state is state else None

    async def redeliver(self, owner: str, webhook_id: str, delivery_id: str) -> Delivery:
        """Send it again, with the same id, beginning at once.

        Raises:
            NotFoundError: as `get`.
            WebhookPendingError: it is still being tried.
            WebhookDisabledError: the endpoint takes nothing.
            QuotaError: too many of the owner's deliveries are waiting.
        """
        reply = await self._script("redeliver", owner, webhook_id, delivery_id)
        match reply[0]:
            case "absent":
                raise NotFoundError(f"There is no delivery {delivery_id}.")
            case "pending":
                raise WebhookPendingError("The delivery is not over: it will be tried again.")
            case "disabled":
                raise WebhookDisabledError("The webhook is disabled: enable it first.")
            case "quota":
                raise self.full(int(reply[1]))
        return await self.get(owner, webhook_id, delivery_id)

    def full(self, used: int) -> QuotaError:
        """Too many of an owner's deliveries are waiting."""
        LIMITS_HIT.labels("max_pending_deliveries").inc()
        return QuotaError(
            f"{used} deliveries of yours are waiting; at most {self._most_pending} may.",
            retry_after_s=60,
            limit="max_pending_deliveries",
            allowed=self._most_pending,
            used=used,
        )


_MOST_SCANNED = 1_000


def _pairs(reply: Any) -> list[tuple[str, int]]:
    if reply and not isinstance(reply[0], list | tuple):
        reply = list(zip(reply[::2], reply[1::2], strict=True))
    return [(str(member), int(float(score))) for member, score in reply]


def _posting(values: Sequence[str]) -> Posting:
    delivery_id, token, owner, webhook_id, url, kind, body, tried, secret, older = values
    return Posting(
        id=delivery_id,
        token=token,
        owner=owner,
        webhook_id=webhook_id,
        url=url,
        type=kind,
        body=body.encode(),
        attempt=int(tried) + 1,
        secrets=(secret, older) if older else (secret,),
    )


def _delivery(delivery_id: str, fields: Mapping[str, str], due: Any) -> Delivery:
    lines = fields["tries"].split("\n") if fields.get("tries") else []
    return Delivery(
        id=delivery_id,
        webhook_id=fields["ep"],
        type=fields["ty"],
        about=fields.get("job") or None,
        url=fields.get("url") or None,
        state=DeliveryState(fields["st"]),
        created_at=when(fields.get("ca")),
        finished_at=when(fields.get("fin")),
        next_attempt_at=datetime.fromtimestamp(float(due) / 1000, UTC) if due else None,
        note=fields.get("note"),
        attempts=int(fields.get("at", 0)),
        tries=tuple(_attempt(line) for line in lines),
        body=fields.get("body", ""),
    )


def _attempt(line: str) -> Attempt:
    moment, status, error = line.split(" ", 2)
    return Attempt(when(moment), int(status) or None, error or None)
