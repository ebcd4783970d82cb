"""What the operator grants each owner, and what is granted where nothing is said.

Every change is an event, so the journal has it and a rebuild brings it back. The scripts read it
where they decide: it holds at once, in every process.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, Final, Self

from fileproc.errors import QuotaError
from fileproc.jobs import LANES
from fileproc.settings import Settings
from fileproc.store.connection import Pipeline
from fileproc.store.keys import Keys
from fileproc.store.records import when
from fileproc.telemetry import LIMITS_HIT

MOST_LISTED: Final = 1_000
OWNER_NAME: Final = "[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}"
OWNER: Final = re.compile(OWNER_NAME)

# Name here, name in the scripts, factor between the two.
_IN_REDIS: Final = (
    ("max_queued", "queued", 1),
    ("max_running", "running", 1),
    ("weight", "weight", 1),
    ("jobs_per_day", "jobs", 1),
    ("bytes_per_day", "bytes", 1),
    ("cpu_s_per_day", "cpu", 1000),
)


@dataclass(frozen=True, slots=True)
class Grant:
    """What is set for one owner; None: as for everybody.

    Attributes:
        weight: share of the workers' turns beside other owners, who have 1.
        max_running: jobs that may run at once in one lane.
        max_queued: jobs that may wait at once.
        jobs_per_day, bytes_per_day, cpu_s_per_day: quotas of a day (UTC).
    """

    weight: int | None = None
    max_running: int | None = None
    max_queued: int | None = None
    jobs_per_day: int | None = None
    bytes_per_day: int | None = None
    cpu_s_per_day: int | None = None

    def given(self) -> dict[str, int]:
        """What is set, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class Limits:
    """What holds for an owner. 0: no limit. Units as in `Grant`."""

    weight: int
    max_running: int
    max_queued: int
    jobs_per_day: int
    bytes_per_day: int
    cpu_s_per_day: int

    @classmethod
    def of_everybody(cls, settings: Settings) -> Self:
        return cls(
            weight=1,
            max_running=settings.max_running_per_owner,
            max_queued=settings.max_queued_per_owner,
            jobs_per_day=settings.quota_jobs_per_day,
            bytes_per_day=settings.quota_bytes_per_day,
            cpu_s_per_day=settings.quota_cpu_s_per_day,
        )

    def with_grant(self, grant: Grant) -> Limits:
        return Limits(**{**asdict(self), **grant.given()})

    def for_scripts(self) -> str:
        """As `limits_of` of the prelude reads them."""
        return " ".join(str(getattr(self, name) * factor) for name, _, factor in _IN_REDIS)


@dataclass(frozen=True, slots=True)
class Owner:
    """An owner with settings of its own; `changed_at` None: it has none."""

    name: str
    grant: Grant
    changed_at: datetime | None


class Owners:
    def __init__(self, pipeline: Pipeline, keys: Keys, everybody: Limits) -> None:
        self._pipeline = pipeline
        self._keys = keys
        self.everybody = everybody

    async def get(self, name: str) -> Owner:
        """What is set for an owner; nobody is unknown, whoever has no settings has none."""
        key = self._keys.owner(name)
        names = [field for _, field, _ in _IN_REDIS]
        changed, *values = await self._pipeline.command("HMGET", key, "changed", *names)
        given = {
            name: int(value) // factor
            for (name, _, factor), value in zip(_IN_REDIS, values, strict=True)
            if value is not None
        }
        return Owner(name, Grant(**given), when(changed))

    async def set(self, name: str, grant: Grant) -> Owner:
        """Set all of it at once; an empty grant takes everything back."""
        given = grant.given()
        arguments: list[Any] = [name, self.everybody.for_scripts(), " ".join(LANES)]
        arguments.append(json.dumps(given, separators=(",", ":")) if given else "")
        for mine, field, factor in _IN_REDIS:
            if mine in given:
                arguments += [field, given[mine] * factor]
        changed = await self._pipeline.script("owner", *arguments)
        return Owner(name, grant, when(str(changed)) if given else None)

    async def list(self) -> list[Owner]:
        """All that have settings of their own, by name; at most 1,000."""
        names = await self._pipeline.command("ZRANGE", self._keys.owners, 0, MOST_LISTED - 1)
        return [await self.get(name) for name in sorted(names)]

    async def restore(self, name: str, grant: Grant, changed_ms: int) -> None:
        """Write back what the journal knows, unless it was set anew since."""
        known = (await self.get(name)).changed_at
        if known is not None and known.timestamp() * 1000 >= changed_ms - SAME_CALL_MS:
            return
        if known is not None or grant.given():
            await self.set(name, grant)

    async def check_room(self, name: str, size: int, *, jobs: int = 1) -> None:
        """Ask before files of so many bytes are uploaded; accept asks once more.

        Raises:
            QuotaError: so many jobs, or bytes, of this owner would be refused.
            StoreUnavailableError: Redis is away.
        """
        reply = await self._pipeline.script("room", name, self.everybody.for_scripts(), size, jobs)
        if reply[0] == "quota":
            raise quota_error(reply)


SAME_CALL_MS: Final = 1_000  # by so much a record may be older than its event, at most


def grant_of(given: dict[str, Any]) -> Grant:
    """From the journal; what another version wrote and this one does not know is passed over."""
    known = {field.name for field in fields(Grant)}
    return Grant(**{name: value for name, value in given.items() if name in known})


_SENTENCES: Final = {
    "queued": (
        "max_queued_per_owner",
        "{used:,} of your jobs are waiting; at most {allowed:,} may. Try again when some are done.",
    ),
    "jobs": (
        "quota_jobs_per_day",
        "You have submitted {used:,} jobs today; {allowed:,} a day are yours.",
    ),
    "bytes": (
        "quota_bytes_per_day",
        "You have uploaded {used:,} bytes today; this is more than is left of {allowed:,} a day.",
    ),
    "cpu": (
        "quota_cpu_s_per_day",
        "Your jobs have used {used:,} CPU seconds today; {allowed:,} a day are yours.",
    ),
}
DAY_S: Final = 86_400
WAIT_S: Final = 30  # for a place in the queue, which nobody can foretell


def quota_error(reply: list[Any], wanted: int = 1) -> QuotaError:
    """What the scripts' `refusal` means."""
    _, which, allowed, used, left_ms = reply
    limit, sentence = _SENTENCES[which]
    LIMITS_HIT.labels(limit).inc()
    factor = 1000 if which == "cpu" else 1
    figures: dict[str, Any] = {"allowed": int(allowed) // factor, "used": int(used) // factor}
    detail = sentence.format(**figures)
    if wanted > 1:
        detail = f"{wanted:,} jobs are too many now. {detail}"
    if not left_ms:
        return QuotaError(detail, retry_after_s=WAIT_S, limit=limit, **figures)
    seconds = int(left_ms) // 1000 + 1
    return QuotaError(
        f"{detail} A new day begins at 00:00 UTC, in {_in_words(seconds)}.",
        retry_after_s=seconds,
        limit=limit,
        window_s=DAY_S,
        **figures,
    )


def _in_words(seconds: int) -> str:
    minutes = max(1, seconds // 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"  # noqa: PLR2004 - an hour
