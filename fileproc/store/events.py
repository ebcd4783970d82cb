"""The event stream: every move appends a line, each process reads it once and wakes who waits."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from fileproc.store.keys import Keys
from fileproc.telemetry import STORE_ERRORS, get_logger

BLOCK_MS = 2_000
RECONNECT_S = 0.5
BATCH = 500

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the stream; `id` is `<stream id>.<line>`."""

    id: str
    job_id: str
    move: str
    owner: str
    version: int
    data: str


def parse(stream_id: str, lines: str) -> list[Event]:
    """The events of one entry."""
    events = []
    for number, line in enumerate(lines.split("\n")):
        job_id, move, owner, version, data = line.split(" ", 4)
        events.append(Event(f"{stream_id}.{number}", job_id, move, owner, int(version), data))
    return events


class Watch:
    """Waits for the next move of one job."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def wake(self) -> None:
        self._changed.set()

    async def wait(self, timeout_s: float) -> bool:
        """True when something moved since the watch began or since the last wait."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return False
        self._changed.clear()
        return True


class EventFeed:
    """Tails the stream on a connection of its own.

    What is missed while Redis is away is made up for by waking everybody on reconnect: a watcher
    reads the job again and sees for itself.
    """

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._watches: defaultdict[str, set[Watch]] = defaultdict(set)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Tail for the life of the context."""
        task = asyncio.create_task(self._run(), name="event-feed")
        try:
            yield
        finally:
            # Again until it obeys: redis-py can lose a cancel that meets it while connecting.
            while not task.done():
                task.cancel()
                await asyncio.wait({task}, timeout=0.1)

    @contextmanager
    def watch(self, job_id: str) -> Iterator[Watch]:
        """Begin before reading the job, so that no move falls between the two."""
        watch = Watch()
        self._watches[job_id].add(watch)
        try:
            yield watch
        finally:
            self._watches[job_id].discard(watch)
            if not self._watches[job_id]:
                del self._watches[job_id]

    def _wake(self, job_id: str) -> None:
        for watch in self._watches.get(job_id, ()):
            watch.wake()

    async def _run(self) -> None:
        last = "$"
        while True:
            try:
                last = await self._read(last)
            except (RedisError, OSError, TimeoutError) as exc:
                STORE_ERRORS.labels(type(exc).__name__).inc()
                log.warning("event feed: redis is away", error=str(exc)[:300])
                await asyncio.sleep(RECONNECT_S)
                for job_id in list(self._watches):
                    self._wake(job_id)

    async def _read(self, last: str) -> str:
        if last == "$":
            newest: Any = await self._client.xrevrange(self._keys.events, count=1)
            last = newest[0][0] if newest else "0-0"
        reply: Any = await self._client.xread({self._keys.events: last}, BATCH, BLOCK_MS)
        entries = reply.values() if isinstance(reply, dict) else [item[1] for item in reply or ()]
        for group in entries:
            for stream_id, fields in flat(group):
                last = stream_id
                for event in parse(stream_id, fields["l"]):
                    self._wake(event.job_id)
        return last


def flat(group: Any) -> list[tuple[str, dict[str, str]]]:
    """RESP3 wraps the entries of a stream once more than RESP2."""
    if group and isinstance(group[0], list) and group[0] and isinstance(group[0][0], list | tuple):
        group = group[0]
    return [(entry[0], entry[1]) for entry in group]
