"""How an unfinished job stands: its place in the queue, and when it may be done.

Both are looked up when somebody asks, never written down. What cannot be known is not guessed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Final

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


@dataclass(frozen=True, slots=True)
class Outlook:
    """`position` counts from 1; `eta_s`: seconds until it is done. None: there is none to know."""

    position: int | None = None
    eta_s: float | None = None


class Outlooks:
    def __init__(self, pipeline: Pipeline, keys: Keys, costs: Costs, history: History) -> None:
        self._pipeline = pipeline
        self._keys = keys
        self._costs = costs
        self._history = history
        self._kept: dict[tuple[str, int], tuple[float, Outlook]] = {}
        self._sums: dict[str, tuple[float, Sums | None]] = {}
        self._starts: Counter[str] = Counter()  # by owner, in the last minute
        self._counted_at = 0.0

    async def of(self, job: Job) -> Outlook:
        """The outlook of this job, at most a second old.

        Raises:
            StoreUnavailableError: it cannot be looked up now.
        """
        if job.state not in {JobState.QUEUED, JobState.RUNNING}:
            return Outlook()
        key, now = (job.id, job.version), monotonic()
        found = self._kept.get(key)
        if found is not None and now - found[0] < FRESH_S:
            return found[1]
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
        outlook = await (self._running(job) if job.state is JobState.RUNNING else self._queued(job))
        self._kept[key] = now, outlook
        return outlook

    async def _running(self, job: Job) -> Outlook:
        takes_s = await self._takes_s(job)
        if takes_s is None or job.started_at is None:
            return Outlook()
        left_s = takes_s - (datetime.now(UTC) - job.started_at).total_seconds()
        # One that takes longer than those before it may take any time.
        return Outlook(eta_s=round(left_s, 1) if left_s > 0 else None)

    async def _queued(self, job: Job) -> Outlook:
        takes_s = await self._takes_s(job)
        rank = await self._pipeline.command("ZRANK", self._keys.wait(job.lane, job.owner), job.id)
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
