"""What keeps the books: recovery, the clock, retention, the trash.

Any worker's janitor calls it; every step is safe when two do it at once.
"""

from __future__ import annotations

from dataclasses import dataclass

from fileproc.errors import ErrorClass
from fileproc.jobs import ATTEMPTS, LANES, Problem
from fileproc.store.connection import Pipeline
from fileproc.store.jobs import TOMBSTONE_S
from fileproc.store.journal import Journal, stream_id
from fileproc.store.keys import Keys

AT_ONCE = 200
FORGET_WORKER_MS = 3_600_000
SAME_CALL_MS = 1_000  # by so much a script's note in the trash may be older than its event, at most

_LOST = Problem(
    type="/docs#error-worker_lost",
    title="The worker was lost",
    status=500,
    detail="The worker that ran the job went silent, and so did those before it.",
    code="worker_lost",
    error_class=ErrorClass.WORKER_LOST,
    retryable=True,
    attempt=0,
)


@dataclass(frozen=True, slots=True)
class LaneState:
    """`ready`: ids in the short list; `waiting`: all others that are queued, of so many owners."""

    paused: bool
    ready: int
    waiting: int
    owners_waiting: int


class Upkeep:
    def __init__(self, pipeline: Pipeline, keys: Keys, journal: Journal) -> None:
        self._pipeline = pipeline
        self._journal = journal
        self._keys = keys

    async def lock(self, name: str, holder: str, life_s: float) -> bool:
        """Take or keep a lock that only saves work."""
        return bool(await self._pipeline.script("lock", name, holder, int(life_s * 1000)))

    async def recover(self) -> int:
        """Take jobs whose lease is over from their workers."""
        problem = _LOST.model_dump_json(by_alias=True)
        most = ATTEMPTS[ErrorClass.WORKER_LOST]
        return int(await self._pipeline.script("recover", AT_ONCE, most, problem))

    async def adopt(self) -> int:
        """Put back what silent workers popped and never claimed."""
        return int(await self._pipeline.script("adopt", AT_ONCE, FORGET_WORKER_MS, *LANES))

    async def tick(self) -> tuple[int, int]:
        """Promote what is due, expire what is late, fill the short lists: (promoted, expired)."""
        promoted, expired = await self._pipeline.script("tick", AT_ONCE, *LANES)
        return int(promoted), int(expired)

    async def purge(self) -> int:
        """Forget jobs whose retention is over; their objects go to the trash."""
        return int(await self._pipeline.script("purge", AT_ONCE, TOMBSTONE_S))

    async def pause(self, lane: str, owner: str = "") -> int:
        """Take nothing more from a lane, or from one owner in it. Running jobs go on.

        Returns how many ids went back from the short list to waiting.
        """
        return int(await self._pipeline.script("pause", lane, owner, 1))

    async def resume(self, lane: str, owner: str = "") -> None:
        """Take again; a lane and its owners are paused and resumed apart."""
        await self._pipeline.script("pause", lane, owner, 0)

    async def lane(self, lane: str) -> LaneState:
        """Whether a lane is paused, and what waits in it."""
        paused, waiting = await self._pipeline.command(
            "HMGET", self._keys.lane(lane), "paused", "waiting"
        )
        ready = await self._pipeline.command("LLEN", self._keys.ready(lane))
        owners = await self._pipeline.command("ZCARD", self._keys.ring(lane))
        return LaneState(
            paused=bool(paused),
            ready=int(ready),
            waiting=int(waiting or 0),
            owners_waiting=int(owners),
        )

    async def now_ms(self) -> int:
        """Redis' clock, ms since 1970."""
        return await self._pipeline.now_ms()

    async def known(self, job_id: str) -> tuple[str | None, int]:
        """(state, version) of a job; (None, 0) if it is not there, ("deleted", 0) for a while."""
        state, version = await self._pipeline.command("HMGET", self._keys.job(job_id), "st", "v")
        return state, int(version or 0)

    async def trash(self) -> list[str]:
        """Object keys, and prefixes (ending in / or -), that are due for deletion.

        Only what the journal knows to be deleted: a store that is built again from it would point
        to objects that are gone.
        """
        due = await self.now_ms()
        if oldest := await self._journal.unshipped_since():
            due = min(due, oldest[0] - SAME_CALL_MS)
        found: list[str] = await self._pipeline.command(
            *("ZRANGE", self._keys.trash, "-inf", due, "BYSCORE", "LIMIT", 0, AT_ONCE)
        )
        return found

    async def trashed(self, collected: list[str]) -> None:
        """These are gone from the storage."""
        if collected:
            await self._pipeline.command("ZREM", self._keys.trash, *collected)

    async def discard(self, what: str) -> None:
        """Put an object key or prefix into the trash."""
        await self._pipeline.command("ZADD", self._keys.trash, 0, what)

    async def trim_events(self, window_s: float) -> None:
        """Drop events that are safe in object storage, judged for webhooks, and old enough."""
        marks = await self._pipeline.command("MGET", self._keys.shipped, self._keys.webhooks_read)
        if not marks[0]:
            return
        # No mark of the webhooks' reader: none has ever begun, and it begins with what is there.
        ends = [stream_id(mark.partition(".")[0]) for mark in marks if mark]
        floor = (await self.now_ms() - int(window_s * 1000), 0)
        ms, seq = min(floor, *ends)
        await self._pipeline.command("XTRIM", self._keys.events, "MINID", "~", f"{ms}-{seq}")

    async def shared(self, prefix: str) -> bool:
        """Whether other jobs than the one that made them have the outputs there."""
        return bool(await self._pipeline.command("HEXISTS", self._keys.shared, prefix))

    async def live_prefix(self, job_id: str) -> tuple[str | None, str | None, str | None]:
        """(state, token, prefix of the published outputs) of a job; for the sweep of orphans."""
        state, token, prefix = await self._pipeline.command(
            "HMGET", self._keys.job(job_id), "st", "tok", "pre"
        )
        return state, token, prefix
