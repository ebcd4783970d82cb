"""A deployment for one example of the model test: a prefix, an api and three workers."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from pydantic import SecretStr
from redis import Redis

from fileproc.errors import (
    IdempotencyInFlightError,
    IdempotencyMismatchError,
    NotFoundError,
    QuotaError,
)
from fileproc.store import (
    Heartbeat,
    Kept,
    Lease,
    NewJob,
    Pulse,
    Replay,
    Reservation,
    Settlement,
    Store,
    Verdict,
    open_store,
)
from support.books import Books, audit
from support.clock import step_clock
from support.jobs import accept_arguments
from support.witness import Witness, account, record_of

if TYPE_CHECKING:
    from fileproc.settings import Settings
    from support.snapshot import Snapshot

WORKERS = 3
MOST_QUEUED = 12
LEASE_MS = 1_000_000  # the model's margins are all far longer than a test takes
DAY_MS = 86_400_000
RESERVED_MS = 30_000
CAPS = {"plain": 0, "capped": 2, "heavy": 0, "changing": 0}
WEIGHTS = {"plain": 1, "capped": 1, "heavy": 3, "changing": 2}
REFUSALS = {
    QuotaError: "quota",
    NotFoundError: "no_file",
    IdempotencyInFlightError: "in_flight",
    IdempotencyMismatchError: "mismatch",
}

T = TypeVar("T")


@dataclass(frozen=True)
class Extras:
    """What the script of accept can do and the api does not ask for yet; 0: nothing of the kind."""

    due_ms: int = 0
    deadline_ms: int = 0
    cap: int = 0  # of the owner "changing"
    upload: bool = False


@dataclass
class Worker:
    """A process: what it knows is gone when it crashes."""

    name: str
    store: Store
    heart: Heartbeat
    learned: dict[str, Pulse]
    held: dict[str, str] = field(default_factory=dict)
    # (lane, flight) -> number and answer of the call whose reply was lost
    unanswered: dict[tuple[str, int], tuple[int, list[Lease]] | tuple[int]] = field(
        default_factory=dict
    )


@dataclass
class World:
    """What all examples share."""

    loop: asyncio.AbstractEventLoop
    settings: Settings
    url: str
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def without_fsync(self) -> None:
        """Nobody pulls the plug here, and a step writes a dozen times."""
        with Redis.from_url(self.url) as client:
            client.config_set("appendfsync", "no")


class Deployment:
    def __init__(self, world: World) -> None:
        self._loop = world.loop
        self._settings = world.settings.model_copy(
            update={
                "redis_url": SecretStr(world.url),
                "redis_prefix": f"{{m{next(world.numbers)}}}:",
                "max_queued_per_owner": MOST_QUEUED,
                "lease_s": LEASE_MS / 1000,
            }
        )
        self._open = AsyncExitStack()
        self._names = (f"wrk_{number}" for number in itertools.count())
        self.books = Books(world.url, self._settings.redis_prefix)
        self.books.mark()
        self.store = self.run(self._open.enter_async_context(open_store(self._settings)))
        self.workers = [self._worker() for _ in range(WORKERS)]

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(call)

    def refused(self, call: Coroutine[Any, Any, Any], error: type[Exception]) -> None:
        with pytest.raises(error):
            self.run(call)

    def script(self, name: str, *arguments: Any) -> Any:
        return self.run(self.store.pipeline.script(name, *arguments))

    def close(self) -> None:
        self.run(self._open.aclose())
        self.books.wipe()
        self.books.redis.close()

    # --- clients ---------------------------------------------------------------------------------

    def accept(self, new: NewJob, extras: Extras) -> str:
        """The id, or the kind of the refusal."""
        cap, weight = CAPS[new.owner], WEIGHTS[new.owner]
        if new.owner == "changing":
            cap = extras.cap
        if (extras, cap, weight) == (Extras(cap=extras.cap), 0, 1):
            return self._accept_by_the_api(new)
        now = self.books.look().now_ms
        arguments = accept_arguments(
            self.store,
            new,
            due=now + extras.due_ms if extras.due_ms else 0,
            deadline=now + extras.deadline_ms if extras.deadline_ms else 0,
            cap=cap,
            weight=weight,
            upload=extras.upload,
        )
        kind, *others = self.script("accept", *arguments)
        if kind == "known":
            return str(others[1]) if others[0] == new.fingerprint else "mismatch"
        return str(others[0]) if kind == "ok" else str(kind)

    def _accept_by_the_api(self, new: NewJob) -> str:
        try:
            return self.run(self.store.jobs.accept(new))
        except tuple(REFUSALS) as refusal:
            return REFUSALS[type(refusal)]

    def reserve(self, owner: str, key: str) -> Reservation | Replay | str:
        try:
            held = self.run(self.store.idempotency.reserve(owner, key))
        except IdempotencyInFlightError:
            return "in_flight"
        assert not isinstance(held, Kept)  # nobody keeps an answer here
        return held

    # --- workers ---------------------------------------------------------------------------------

    def _worker(self) -> Worker:
        name = next(self._names)
        learned: dict[str, Pulse] = {}
        held: dict[str, str] = {}
        heart = Heartbeat(
            self._settings.redis_url.get_secret_value(),
            self._settings.redis_prefix,
            worker=name,
            lanes="default heavy",
            lease_s=self._settings.lease_s,
            beat_s=1,
            leases=lambda: held,
            learned=lambda job, _, pulse: learned.update({job: pulse}),
            about=lambda: "{}",
        )
        self._open.callback(heart._client.close)
        opening = open_store(self._settings, worker=name)
        return Worker(name, self.run(self._open.enter_async_context(opening)), heart, learned, held)

    def replace(self, which: int) -> None:
        """A worker is gone at once, another process starts in its place."""
        self.workers[which] = self._worker()

    def beat(self, worker: Worker) -> dict[str, Pulse]:
        """What the worker learned of the jobs that it holds."""
        worker.learned.clear()
        worker.heart.beat()
        return dict(worker.learned)

    def settle(self, settlements: Sequence[Settlement]) -> list[Verdict]:
        """All in one call."""

        async def together() -> list[Verdict]:
            return await asyncio.gather(*map(self.store.queue.settle, settlements))

        return self.run(together())

    # --- the world -------------------------------------------------------------------------------

    def step_clock(self, step_ms: int) -> None:
        step_clock(self.books.redis, self.books.prefix, step_ms)

    def paused(self, now: Snapshot) -> set[tuple[str, str]]:
        """(lane, owner), owner '' for the lane itself."""
        flows = {flow for flow, fields in now.flows.items() if fields.get("paused") == "1"}
        return flows | {(lane, "") for lane in ("default", "heavy") if now.paused(lane)}

    def rebuilt_wrongly(self, witness: Witness) -> list[str]:
        """Restore from the events elsewhere: what is not as the events tell it."""
        elsewhere = self._settings.redis_prefix.replace("m", "r")
        there = self._settings.model_copy(update={"redis_prefix": elsewhere})
        memory = witness.folded_again()
        wrong = [] if memory.jobs == witness.memory.jobs else ["a snapshot folds to another state"]

        async def restore() -> None:
            async with open_store(there) as store:
                for _ in range(2):  # the second time changes nothing
                    for job in memory.jobs.values():
                        await store.journal.restore_job(job, all_read=False)

        self.run(restore())
        books = Books(self._settings.redis_url.get_secret_value(), elsewhere)
        now = books.look()
        wrong += audit(now)
        for job_id, job in memory.jobs.items():
            told, restored = account(job), record_of(now.jobs[job_id])
            told["st"] = told["st"] if job.over else "queued"
            restored["tok"] = told["tok"]  # it jumps ahead of all that were handed out
            if told != restored:
                wrong.append(f"{job_id} was {told} and is restored as {restored}")
        books.wipe()
        books.redis.close()
        return wrong
