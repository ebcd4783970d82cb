"""What an owner has used, day by day (UTC), and what stands in the queue now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from fileproc.jobs import LANES, JobState
from fileproc.store.connection import Pipeline
from fileproc.store.keys import Keys

DAY_S: Final = 86_400
DAY_MS: Final = DAY_S * 1000
MOST_DAYS: Final = 92  # the scripts keep each for a day longer
_FIELDS: Final = ("jobs", "bytes", "cpu")
_UNFINISHED: Final = (
    JobState.AWAITING_UPLOAD,
    JobState.QUEUED,
    JobState.DELAYED,
    JobState.RUNNING,
)


@dataclass(frozen=True, slots=True)
class DayUsage:
    """What counts for the quotas of one day."""

    day: date
    jobs: int
    bytes: int
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Usage:
    """`days`: the newest first, which is today; `jobs`: those that are not over, by state."""

    days: list[DayUsage]
    jobs: dict[JobState, int]
    resets_at: datetime
    paused_lanes: list[str]


class Usages:
    def __init__(self, pipeline: Pipeline, keys: Keys) -> None:
        self._pipeline = pipeline
        self._keys = keys

    async def of(self, owner: str, days: int) -> Usage:
        """What an owner has used in so many days, today among them, by Redis' clock."""
        today = await self._pipeline.now_ms() // 1000 // DAY_S
        used = [await self._day(owner, today - back) for back in range(days)]
        jobs = {
            state: int(await self._pipeline.command("ZCARD", self._keys.jobs(owner, state)))
            for state in _UNFINISHED
        }
        resets_at = datetime.fromtimestamp((today + 1) * DAY_S, UTC)
        return Usage(used, jobs, resets_at, await self.paused_lanes(owner))

    async def _day(self, owner: str, day: int) -> DayUsage:
        values = await self._pipeline.command("HMGET", self._keys.usage(owner, day), *_FIELDS)
        jobs, size, cpu_ms = (int(value or 0) for value in values)
        return DayUsage(date(1970, 1, 1) + timedelta(days=day), jobs, size, cpu_ms / 1000)

    async def paused_lanes(self, owner: str) -> list[str]:
        """Lanes in which this owner is paused."""
        return [
            lane
            for lane in LANES
            if await self._pipeline.command("HGET", self._keys.flow(lane, owner), "paused")
        ]

    async def restore(self, owner: str, day: int, used: dict[str, int]) -> None:
        """Write back what the journal knows; what is there and more stays."""
        pairs = [part for pair in used.items() for part in pair]
        await self._pipeline.script("usage", owner, day, *pairs)
