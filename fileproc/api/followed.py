"""What can be followed: a job, all jobs of an owner, a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from pydantic_core import to_json

from fileproc.api.context import Api
from fileproc.api.frames import progress_of, tally
from fileproc.store import Batch, Moved, Topic
from fileproc.views import batch_view, job_body, with_outlook


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is followed, as it is now.

    Attributes:
        name: of the event that it is sent as.
        version: moves up to this are in it.
        ended_ms: when it came to its end, after which nothing happens.
    """

    name: str
    data: bytes
    version: int = 0
    ended_ms: int | None = None
    progress: bytes = b""  # the frame of the latest


class Followed(Protocol):
    @property
    def topic(self) -> Topic: ...

    async def snapshot(self) -> Snapshot:
        """Raises NotFoundError, GoneError or StoreUnavailableError."""

    @property
    def tallies(self) -> bool:
        """Whether it is told, after some moves, what they come to."""

    async def tally(self) -> bytes:
        """The frame that tells it; raises as `snapshot`."""

    def ended_by(self, moved: Moved) -> bool:
        """Whether nothing happens after this move."""


@dataclass(frozen=True, slots=True)
class FollowedJob:
    api: Api
    owner: str
    job_id: str

    @property
    def topic(self) -> Topic:
        return Topic.job(self.job_id)

    async def snapshot(self) -> Snapshot:
        job = await self.api.resources.store.jobs.get(self.owner, self.job_id)
        ended = int(job.finished_at.timestamp() * 1000) if job.finished_at else None
        outlook = await self.api.resources.store.outlooks.of(job)
        return Snapshot(
            "job",
            with_outlook(job_body(job), outlook.position, outlook.eta_s),
            version=job.version,
            ended_ms=ended if job.state.final else None,
            progress=progress_of(job),
        )

    tallies: ClassVar[bool] = False

    async def tally(self) -> bytes:
        return b""

    def ended_by(self, moved: Moved) -> bool:
        return moved.last


@dataclass(frozen=True, slots=True)
class FollowedOwner:
    api: Api
    owner: str

    @property
    def topic(self) -> Topic:
        return Topic.owner(self.owner)

    async def snapshot(self) -> Snapshot:
        counts = await self.api.resources.store.jobs.counts(self.owner)
        return Snapshot("owner", to_json({"object": "owner", "jobs": counts}))

    tallies: ClassVar[bool] = False

    async def tally(self) -> bytes:
        return b""

    def ended_by(self, moved: Moved) -> bool:
        del moved
        return False


@dataclass(frozen=True, slots=True)
class FollowedBatch:
    api: Api
    owner: str
    batch_id: str
    tallies: ClassVar[bool] = True

    @property
    def topic(self) -> Topic:
        return Topic.batch(self.batch_id)

    async def snapshot(self) -> Snapshot:
        batch = await self._batch()
        ended = int(batch.finished_at.timestamp() * 1000) if batch.finished_at else None
        data = to_json(batch_view(batch))
        return Snapshot("batch", data, ended_ms=ended, progress=tally(batch))

    async def tally(self) -> bytes:
        return tally(await self._batch())

    async def _batch(self) -> Batch:
        return await self.api.resources.store.batches.get(self.owner, self.batch_id)

    def ended_by(self, moved: Moved) -> bool:
        return moved.of_batch
