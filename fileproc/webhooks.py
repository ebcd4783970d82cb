"""What is sent to webhooks, how it is signed, and when it is sent again. No I/O.

Source: Standard Webhooks 1.0 (github.com/standard-webhooks/standard-webhooks): the headers
`webhook-id`, `webhook-timestamp` (seconds) and `webhook-signature`; each signature is `v1,` and the
base64 of HMAC-SHA256 over `id.timestamp.body`; a secret is `whsec_` and base64 of 24 to 64 bytes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import random
import secrets
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final

JOBS: Final = "jobs"  # the endpoint that each owner has, from which the hooks of jobs are sent
PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32
JITTER: Final = 0.2
MAX_RETRY_AFTER_S: Final = 86_400


class EventType(StrEnum):
    """What is told of jobs and batches."""

    ACCEPTED = "job.accepted"
    STARTED = "job.started"
    SUCCEEDED = "job.succeeded"
    FAILED = "job.failed"
    CANCELED = "job.canceled"
    EXPIRED = "job.expired"
    DELIVERY_FAILED = "job.delivery_failed"
    BATCH_COMPLETED = "batch.completed"


TEST: Final = "webhook.test"  # sent to whoever asks for it, subscribed to or not
OF_MOVE: Final = {  # moves of fileproc/jobs.py
    "submit": EventType.ACCEPTED,
    "claim": EventType.STARTED,
    "complete": EventType.SUCCEEDED,
    "reuse": EventType.SUCCEEDED,
    "fail": EventType.FAILED,
    "cancel": EventType.CANCELED,
    "expire": EventType.EXPIRED,
    "batch_completed": EventType.BATCH_COMPLETED,
}
# What is told of a move besides, where it left outputs of the job undelivered.
OF_DELIVERIES: Final = frozenset({"complete", "fail"})
LAST: Final = (EventType.SUCCEEDED, EventType.FAILED, EventType.CANCELED, EventType.EXPIRED)


def new_secret() -> str:
    """A fresh secret for signatures."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def signed_headers(
    message_id: str, timestamp_s: int, body: bytes, keys: Iterable[str]
) -> dict[str, str]:
    """The three headers; one signature for each live secret, the newest first."""
    signed = b"%s.%d.%s" % (message_id.encode(), timestamp_s, body)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(_signature(key, signed) for key in keys),
    }


def _signature(key: str, signed: bytes) -> str:
    raw = base64.b64decode(key.removeprefix(PREFIX))
    return "v1," + base64.b64encode(hmac.new(raw, signed, hashlib.sha256).digest()).decode()


def is_secret(text: str) -> bool:
    """Whether it has the form of a secret."""
    try:
        raw = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (ValueError, binascii.Error):
        return False
    return text.startswith(PREFIX) and 24 <= len(raw) <= 64  # noqa: PLR2004 - see above


def schedule(text: str) -> tuple[float, ...]:
    """Seconds between attempts, from `5,300,1800`.

    Raises:
        ValueError: something in it is not a positive number.
    """
    waits = tuple(float(item) for item in text.split(","))
    if not all(0 < wait <= MAX_RETRY_AFTER_S for wait in waits):
        raise ValueError(f"must be seconds above 0 and up to {MAX_RETRY_AFTER_S}, with commas")
    return waits


def delay_s(waits: Sequence[float], attempt: int, uniform: random.Random | None = None) -> float:
    """Seconds from this attempt (counted from 1) to the next, with jitter upwards.

    Raises:
        IndexError: there is no next one.
    """
    return waits[attempt - 1] * (1 + (uniform or random).uniform(0, JITTER))


def retry_after_s(header: str | None, now: datetime | None = None) -> float:
    """Seconds that a `Retry-After` asks for (RFC 9110, 10.2.3), a day at most; 0 if it is none."""
    text = (header or "").strip()
    if text.isascii() and text.isdecimal():
        return float(min(int(text[:9]), MAX_RETRY_AFTER_S))
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, IndexError, TypeError):
        return 0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    left = (moment - (now or datetime.now(UTC))).total_seconds()
    return min(max(left, 0), MAX_RETRY_AFTER_S)
