"""What one reader has not taken yet: bounded, so that a slow one costs no more than a quick one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from fileproc.store.moved import Moved

MOST_WAITING: Final = 2_000  # moves that a reader may be behind
MOST_PROGRESS: Final = 500  # jobs of which the latest progress waits


class Break(StrEnum):
    """Why a reader gets no more from a subscription."""

    SLOW = "slow"  # it fell too far behind
    GAP = "gap"  # the stream itself could not be read without one
    KEY = "key"  # the key that it was opened with has changed


@dataclass(slots=True)
class Progressed:
    """The progress of a job, as JSON. It has no place in the stream: only the latest counts."""

    job_id: str
    owner: str
    version: int
    data: str
    frame: bytes | None = None  # as `Moved.frame`


class Subscription:
    """Filled by the feed, emptied by one reader."""

    def __init__(self) -> None:
        self._moves: list[Moved] = []
        self._progress: dict[str, Progressed] = {}
        self._news = asyncio.Event()
        self.broken: Break | None = None

    def offer(self, moved: Moved) -> None:
        if self.broken:
            return
        if len(self._moves) >= MOST_WAITING:
            self.cut(Break.SLOW)
            return
        known = self._progress.get(moved.job_id)
        if known is not None and known.version < moved.version:
            del self._progress[moved.job_id]  # of an attempt, or a phase, that is over
        self._moves.append(moved)
        self._news.set()

    def offer_progress(self, progress: Progressed) -> None:
        if self.broken:
            return
        if progress.job_id not in self._progress and len(self._progress) >= MOST_PROGRESS:
            return  # the next one will do
        self._progress[progress.job_id] = progress
        self._news.set()

    def cut(self, why: Break) -> None:
        """There is no more to come; what waits is thrown away."""
        self.broken = why
        self._moves, self._progress = [], {}
        self._news.set()

    async def wait(self) -> None:
        """Until there is something to take, or it is broken."""
        await self._news.wait()

    def take(self) -> tuple[list[Moved], list[Progressed]]:
        """Everything that waits: moves in their order, and the latest progress of each job."""
        moves, progress = self._moves, list(self._progress.values())
        self._moves, self._progress = [], {}
        if not self.broken:
            self._news.clear()
        return moves, progress
