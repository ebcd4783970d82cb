"""What a worker does with the queue: wait, claim, settle, keep alive."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from fileproc.errors import ErrorClass, StoreUnavailableError
from fileproc.jobs import JobDocument, JobResult, Move, Problem
from fileproc.store.connection import Pipeline, unavailable
from fileproc.store.keys import Keys
from fileproc.telemetry import get_logger

POP_BLOCK_S = 1
MOST_SETTLED = 250
SETTLES_IN_FLIGHT = 2

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Lease:
    """A job in a worker's hands. `token` fences: only its holder can settle the job."""

    job_id: str
    token: str
    attempt: int
    max_attempts: int
    owner: str
    lane: str
    accepted_ms: int
    document: JobDocument


class Verdict(IntEnum):
    """What `settle` answers."""

    STALE = 0
    DONE = 1
    DONE_BEFORE = 2


@dataclass(frozen=True, slots=True)
class Settlement:
    """How an attempt ended.

    Build it by the named constructors: there is no other way out of `running` for a worker.
    """

    job_id: str
    token: str
    move: Move
    delay_ms: int = 0
    prefix: str = ""
    data: str = ""
    cpu_ms: int = 0  # of the attempt, for the owner's account
    kept: str = ""  # prefix of what is kept where it fails

    @classmethod
    def complete(cls, lease: Lease, result: JobResult) -> Settlement:
        data = result.model_dump_json(exclude_none=True)
        return cls(lease.job_id, lease.token, Move.COMPLETE, prefix=result.prefix, data=data)

    @classmethod
    def fail(cls, lease: Lease, problem: Problem, prefix: str = "", kept: str = "") -> Settlement:
        data = problem.model_dump_json(by_alias=True)
        return cls(lease.job_id, lease.token, Move.FAIL, prefix=prefix, data=data, kept=kept)

    @classmethod
    def retry(cls, lease: Lease, problem: Problem, delay_s: float, prefix: str = "") -> Settlement:
        data = problem.model_dump_json(by_alias=True)
        delay_ms = int(delay_s * 1000)
        return cls(lease.job_id, lease.token, Move.RETRY, delay_ms, prefix, data)

    @classmethod
    def cancel(cls, lease: Lease, prefix: str = "") -> Settlement:
        return cls(lease.job_id, lease.token, Move.CANCEL, prefix=prefix)

    @classmethod
    def release(cls, lease: Lease, prefix: str = "") -> Settlement:
        return cls(lease.job_id, lease.token, Move.RELEASE, prefix=prefix)


def _lease(lane: str, fields: Sequence[Any]) -> Lease:
    job_id, token, attempt, most, owner, accepted, document = fields
    return Lease(
        job_id=job_id,
        token=str(token),
        attempt=int(attempt),
        max_attempts=int(most),
        owner=owner,
        lane=lane,
        accepted_ms=int(accepted),
        document=JobDocument.model_validate_json(document),
    )


def _quarantine(job_id: str, token: Any, attempt: Any) -> Settlement:
    """The end of a job whose record is broken: it fails, and the queue goes on."""
    problem = Problem(
        type="/docs#error-corrupt_record",
        title="The job's record is broken",
        status=500,
        detail="The record of the job in the store cannot be read.",
        code="corrupt_record",
        error_class=ErrorClass.PERMANENT,
        retryable=False,
        attempt=int(attempt),
    )
    data = problem.model_dump_json(by_alias=True)
    return Settlement(job_id, str(token), Move.FAIL, data=data)


class Queue:
    """One worker's side of the queue.

    `waiting` is a client with one connection per lane, retries off, and a socket timeout above
    `POP_BLOCK_S`: BRPOPLPUSH is the one command that must never be sent twice by itself.
    """

    def __init__(
        self, pipeline: Pipeline, waiting: Redis, keys: Keys, *, worker: str, lease_s: float
    ) -> None:
        self._pipeline = pipeline
        self._waiting = waiting
        self._keys = keys
        self.worker = worker
        self.lease_ms = int(lease_s * 1000)
        self._numbers = itertools.count(1)
        self._unsettled: list[tuple[Settlement, asyncio.Future[Verdict]]] = []
        self._settling: set[asyncio.Task[None]] = set()

    async def wait(self, lane: str) -> bool:
        """Wait at most a second for a job; True if one lies in our processing list now.

        The reply is only a bell. BRPOPLPUSH moves the id on the server even if the reply is lost,
        so its value is not used: `claim` takes whatever lies in the list.

        Raises:
            StoreUnavailableError: Redis is away; claim once it is back.
        """
        try:
            rung: Any = await self._waiting.brpoplpush(
                self._keys.ready(lane), self._keys.proc(self.worker, lane), POP_BLOCK_S
            )
        except (RedisError, OSError, TimeoutError) as exc:
            raise unavailable(exc) from exc
        return rung is not None

    def next_call(self) -> int:
        """The number of the next claim; the same number asks for the same answer again."""
        return next(self._numbers)

    async def claim(self, lane: str, flight: int, free: int, number: int) -> list[Lease]:
        """Claim what was popped and up to `free` jobs in all.

        Raises:
            StoreUnavailableError: repeat with the same number: an answer may be lost, no job is.
        """
        reply = await self._pipeline.script(
            *("claim", self.worker, lane, flight, number, free, self.lease_ms, self.lease_ms)
        )
        leases = []
        for i in range(0, len(reply), 7):
            try:
                leases.append(_lease(lane, reply[i : i + 7]))
            except (ValueError, TypeError) as exc:
                log.error("a job's record cannot be read", job=reply[i], error=str(exc)[:300])  # noqa: TRY400
                await self.settle(_quarantine(*reply[i : i + 3]))
        return leases

    async def settle(self, settlement: Settlement) -> Verdict:
        """End an attempt; attempts that end together are settled together, in one call.

        Raises:
            StoreUnavailableError: it may have acted; settling again is harmless.
        """
        future: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self._unsettled.append((settlement, future))
        self._start_settling()
        return await future

    def _start_settling(self) -> None:
        if self._unsettled and len(self._settling) < SETTLES_IN_FLIGHT:
            task = asyncio.get_running_loop().create_task(self._settle_batch())
            self._settling.add(task)
            task.add_done_callback(self._settled)

    def _settled(self, task: asyncio.Task[None]) -> None:
        self._settling.discard(task)
        self._start_settling()

    async def _settle_batch(self) -> None:
        batch = self._unsettled[:MOST_SETTLED]
        del self._unsettled[:MOST_SETTLED]
        if not batch:
            return
        arguments: list[Any] = []
        for item, _ in batch:
            arguments += [item.job_id, item.token, item.move, item.delay_ms]
            arguments += [item.prefix, item.data, item.cpu_ms, item.kept]
        try:
            verdicts = await self._pipeline.script("settle", *arguments)
        except StoreUnavailableError as exc:
            for _, future in batch:
                if not future.done():
                    future.set_exception(exc)
            return
        for (_, future), verdict in zip(batch, verdicts, strict=True):
            if not future.done():
                future.set_result(Verdict(verdict))

    async def report_progress(self, lease: Lease, lanes: str, progress: str) -> None:
        """Write progress beside the lease, if it is still ours."""
        await self._pipeline.script(
            *("extend", self.worker, lanes, self.lease_ms, self.lease_ms, ""),
            *(lease.job_id, lease.token, progress),
        )
