"""How an unfinished job stands: its place in the queue, and when it may be done.

Both are looked up when somebody asks, never written down. What cannot be known is not guessed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final, NamedTuple

from fileproc.jobs import Job, JobState, Move
from fileproc.store.connection import Pipeline
from fileproc.store.costs import Costs, Sums
from fileproc.store.history import History
from fileproc.store.keys import Keys
from fileproc.store.moved import Position

LEAST_SAMPLES: Final = 3
PACE_S: Final = 60  # of which starts of jobs are counted
FRESH_S: Final = 1.0  # so long an answer is given again
_MOST_KEPT: Final = 10_000

Place = asyncio.Future[Any]  # the rank among those that wait, once Redis has told it


@dataclass(frozen=True, slots=True)
class Outlook:
    """`position` counts from 1; `eta_s`: seconds until it is done. None: there is none to know."""

    position: int | None = None
    eta_s: float | None = None


class _Kept(NamedTuple):
    """An outlook that was given; `lane` is where the job waited, if it did."""

    at: float
    owner: str
    version: int
    lane: str | None
    outlook: Outlook


def _heard(place: Place) -> None:
    """Nobody may want it in the end: then nobody is told of its error either."""
    if not place.cancelled():
        place.exception()


class Outlooks:
    def __init__(self, pipeline: Pipeline, keys: Keys, costs: Costs, history: History) -> None:
        self._pipeline = pipeline
        self._keys = keys
        self._costs = costs
        self._history = history
        self._kept: dict[str, _Kept] = {}
        self._sums: dict[str, tuple[float, Sums | None]] = {}
        self._starts: Counter[str] = Counter()  # by owner, in the last minute
        self._counted_at = 0.0

    def ahead(self, owner: str, job_id: str) -> Place | None:
        """Ask for the place of a job that waited when it was asked for last, before it is read.

        So both travel in one round trip, for who polls; `of` takes what is returned. If the job has
        begun to wait only between the two, it has the first place for a second.
        """
        kept = self._kept.get(job_id)
        # For others than the owner no more is done than for what never was.
        if kept is None or kept.lane is None or kept.owner != owner:
            return None
        if monotonic() - kept.at < FRESH_S:
            return None
        place = self._pipeline.ask("ZRANK", self._keys.wait(kept.lane, owner), job_id)
        place.add_done_callback(_heard)
        return place

    async def of(self, job: Job, place: Place | None = None) -> Outlook:
        """The outlook of this job, at most a second old.

        Raises:
            StoreUnavailableError: it cannot be looked up now.
        """
        if job.state not in {JobState.QUEUED, JobState.RUNNING}:
            return Outlook()
        now = monotonic()
        kept = self._kept.get(job.id)
        if kept is not None and kept.version == job.version and now - kept.at < FRESH_S:
            return kept.outlook
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
        lane = None
        if job.state is JobState.RUNNING:
            found = await self._running(job)
        else:
            found, lane = await self._queued(job, place), job.lane
        self._kept[job.id] = _Kept(now, job.owner, job.version, lane, found)
        return found

    async def _running(self, job: Job) -> Outlook:
        takes_s = await self._takes_s(job)
        if takes_s is None or job.started_at is None:
            return Outlook()
        left_s = takes_s - (datetime.now(UTC) - job.started_at).total_seconds()
        # One that takes longer than those before it may take any time.
        return Outlook(eta_s=round(left_s, 1) if left_s > 0 else None)

    async def _queued(self, job: Job, place: Place | None) -> Outlook:
        takes_s = await self._takes_s(job)
        if place is None:
            place = self._pipeline.ask("ZRANK", self._keys.wait(job.lane, job.owner), job.id)
        rank = await place
        position = 1 if rank is None else int(rank) + 1  # else it is among those to be taken next
        pace = self._starts_per_s(job.owner)
        if takes_s is None or not pace:
            return Outlook(position)
        return Outlook(position, round(position / pace + takes_s, 1))

    async def _takes_s(self, job: Job) -> float | None:
        """Seconds that such a job takes; of pipelines nothing is known."""
        document = job.document
        if document.steps:
            return None
        sums = await self._sums_of(document.operation)
        if sums is None or round(sums.n) < LEAST_SAMPLES:
            return None
        return sums.expect(sum(info.size for info in document.inputs)).wall_s

    async def _sums_of(self, operation: str) -> Sums | None:
        """The same for all jobs of an operation: asked for once a second, not once a job."""
        now = monotonic()
        known = self._sums.get(operation)
        if known is not None and now - known[0] < FRESH_S:
            return known[1]
        sums = await self._costs.sums(operation)
        self._sums[operation] = now, sums
        return sums

    def _starts_per_s(self, owner: str) -> float:
        """How fast jobs of this owner were started lately, as far as this process has heard."""
        now = monotonic()
        if now - self._counted_at >= FRESH_S:
            since = Position(self._history.position.ms - PACE_S * 1000, 0, 0)
            starts = self._history.since(
                max(since, self._history.floor), lambda moved: moved.move == Move.CLAIM
            )
            self._starts = Counter(moved.owner for moved in starts or ())
            self._counted_at = now
        return self._starts[owner] / PACE_S
