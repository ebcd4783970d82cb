"""The event stream: every move appends a line, each process reads it once and tells who waits."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from fileproc.errors import StoreUnavailableError
from fileproc.store.history import History
from fileproc.store.keys import Keys
from fileproc.store.moved import Moved, Position, moved_of
from fileproc.store.subscription import Break, Progressed, Subscription
from fileproc.telemetry import STORE_ERRORS, get_logger

BLOCK_MS = 2_000
RECONNECT_S = 0.5
BATCH = 500
REMEMBERED_AT_START = 2_000  # entries that a feed reads back when it begins
QUIET_S = 20.0  # a channel that says nothing for so long is asked whether it is still there
PLACED_WITHIN_S = 5.0
# After these a secret that was good may be so no more.
KEY_CHANGES = frozenset({"key_revoked", "key_rotated"})

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the stream; `id` is `<stream id>.<line>`, `batch` that of the job, if any."""

    id: str
    job_id: str
    move: str
    owner: str
    version: int
    data: str
    batch: str = ""


def parse(stream_id: str, lines: str, batches: str = "") -> list[Event]:
    """The events of one entry; `batches` tells of which batch the jobs of some lines are."""
    grouped = dict(line.split(" ") for line in batches.split("\n")) if batches else {}
    events = []
    for number, line in enumerate(lines.split("\n")):
        job_id, move, owner, version, data = line.split(" ", 4)
        batch = grouped.get(str(number), "")
        events.append(
            Event(f"{stream_id}.{number}", job_id, move, owner, int(version), data, batch)
        )
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


@dataclass(frozen=True, slots=True)
class Topic:
    """What can be followed. Kind and name are kept apart: an owner may be called like a job."""

    kind: str
    name: str

    @classmethod
    def job(cls, job_id: str) -> Topic:
        return cls("job", job_id)

    @classmethod
    def owner(cls, owner: str) -> Topic:
        return cls("owner", owner)

    @classmethod
    def batch(cls, batch_id: str) -> Topic:
        return cls("batch", batch_id)

    @classmethod
    def key(cls, key_id: str) -> Topic:
        """An api key: no move belongs to it, but who was let in by it is sent away when it changes.

        So a stream ends with what it was opened by, and need not ask for that again and again.
        """
        return cls("key", key_id)

    @classmethod
    def of(cls, moved: Moved) -> Iterator[Topic]:
        """Those that a move belongs to. The end of a batch is for those who follow it."""
        if not moved.of_batch:
            yield cls.job(moved.job_id)
            yield cls.owner(moved.owner)
        if moved.batch:
            yield cls.batch(moved.batch)

    def has(self, moved: Moved) -> bool:
        """Whether a move belongs to it; as `of`, without making any: it is asked of thousands."""
        match self.kind:
            case "job":
                return self.name == moved.job_id
            case "owner":
                return self.name == moved.owner and not moved.of_batch
            case _:
                return self.name == moved.batch


class EventFeed:
    """Tails the stream, and hears of progress, on connections of its own.

    Long polls only want to be woken: they read the job again and see for themselves. Those who
    follow get every move, so a gap (Redis was away for longer than events are kept) cuts them off
    and they begin anew.

    Args:
        remembered: moves that are kept for readers who come back.
    """

    def __init__(self, client: Redis, keys: Keys, *, remembered: int = 20_000) -> None:
        self._client = client
        self._keys = keys
        self._watches: defaultdict[str, set[Watch]] = defaultdict(set)
        self._subscriptions: defaultdict[Topic, set[Subscription]] = defaultdict(set)
        self._placed = asyncio.Event()
        self._broke = False  # since the last entry that was read
        self.history = History(remembered)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Tail for the life of the context."""
        tasks = {
            asyncio.create_task(self._run(), name="event-feed"),
            asyncio.create_task(self._hear(), name="progress-feed"),
        }
        try:
            yield
        finally:
            # Again until they obey: redis-py can lose a cancel that meets it while connecting.
            while pending := {task for task in tasks if not task.done()}:
                for task in pending:
                    task.cancel()
                await asyncio.wait(pending, timeout=0.1)

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

    @contextmanager
    def subscribe(self, *topics: Topic) -> Iterator[Subscription]:
        """Everything that happens from now on; as `watch`, begin before reading."""
        subscription = Subscription()
        for topic in topics:
            self._subscriptions[topic].add(subscription)
        try:
            yield subscription
        finally:
            for topic in topics:
                self._subscriptions[topic].discard(subscription)
                if not self._subscriptions[topic]:
                    del self._subscriptions[topic]

    async def position(self) -> Position:
        """How far the stream has been read.

        Raises:
            StoreUnavailableError: it has not been read at all, and that does not change in 5 s.
        """
        try:
            async with asyncio.timeout(PLACED_WITHIN_S):
                await self._placed.wait()
        except TimeoutError as exc:
            raise StoreUnavailableError(
                "The events cannot be read at the moment. Try again.", retry_after_s=2
            ) from exc
        return self.history.position

    def _wake(self, job_id: str) -> None:
        for watch in self._watches.get(job_id, ()):
            watch.wake()

    def _subscribed(self, topics: Iterable[Topic]) -> Iterator[Subscription]:
        for topic in topics:
            yield from self._subscriptions.get(topic, ())

    # --- moves ---------------------------------------------------------------------------------

    async def _run(self) -> None:
        last = "$"
        while True:
            try:
                last = await self._read(last)
            except (RedisError, OSError, TimeoutError) as exc:
                self._broke = True
                await _pause(exc, "event feed: redis is away")
                for job_id in list(self._watches):
                    self._wake(job_id)

    async def _read(self, last: str) -> str:
        if last == "$":
            return await self._begin()
        if self._broke and await self._missed(last):
            log.warning("event feed: events are missing", after=last)
            for subscriptions in list(self._subscriptions.values()):
                for subscription in subscriptions:
                    subscription.cut(Break.GAP)
            last = await self._begin()
        self._broke = False
        reply: Any = await self._client.xread({self._keys.events: last}, BATCH, BLOCK_MS)
        entries = reply.values() if isinstance(reply, dict) else [item[1] for item in reply or ()]
        for group in entries:
            for stream_id, fields in flat(group):
                last = stream_id
                for event in parse(stream_id, fields["l"], fields.get("b", "")):
                    self._wake(event.job_id)
                    self._tell(event)
        return last

    async def _begin(self) -> str:
        """Find the end of the stream, and remember what came last, as far back as is cheap."""
        newest: Any = await self._client.xrevrange(self._keys.events, count=REMEMBERED_AT_START)
        if newest:
            entries = [
                (stream_id, fields["l"], fields.get("b", ""))
                for stream_id, fields in reversed(newest)
            ]
            # Of what came before the first of them nothing is known.
            self.history.begin(_place(entries[0][0], -1), _place(entries[-1][0], 0))
        else:
            entries, end = [], await self._end()
            self.history.begin(_place(end, 0), _place(end, 0))
        for stream_id, lines, batches in entries:
            for event in parse(stream_id, lines, batches):
                self._remember(event)
        self._placed.set()
        ms, seq, _ = self.history.position
        return f"{ms}-{seq}"

    async def _end(self) -> str:
        """The id of the last entry, also where it has been trimmed away."""
        try:
            told: Any = await self._client.xinfo_stream(self._keys.events)
        except ResponseError:  # there is no stream yet
            return "0-0"
        return str(told["last-generated-id"])

    async def _missed(self, last: str) -> bool:
        """Whether entries after this one may have been trimmed away meanwhile."""
        oldest: Any = await self._client.xrange(self._keys.events, count=1)
        first = oldest[0][0] if oldest else await self._end()
        return _place(first, 0) > _place(last, 0)

    def _tell(self, event: Event) -> None:
        moved = self._remember(event)
        if moved is not None:
            for subscription in self._subscribed(Topic.of(moved)):
                subscription.offer(moved)
        elif event.move in KEY_CHANGES:
            for subscription in self._subscribed([Topic.key(event.job_id)]):
                subscription.cut(Break.KEY)

    def _remember(self, event: Event) -> Moved | None:
        stream_id, _, line = event.id.rpartition(".")
        self.history.position = position = _place(stream_id, int(line))
        moved = moved_of(event, position)
        if moved is not None:
            self.history.add(moved)
        return moved

    # --- progress ------------------------------------------------------------------------------

    async def _hear(self) -> None:
        while True:
            try:
                await self._listen()
            except (RedisError, OSError, TimeoutError) as exc:
                await _pause(exc, "progress feed: redis is away")

    async def _listen(self) -> None:
        async with self._client.pubsub() as channel:
            await channel.subscribe(self._keys.progress_channel)
            asked = False
            while True:
                message = await channel.get_message(timeout=QUIET_S)
                if message is None:
                    if asked:
                        raise TimeoutError("nothing from the channel, not even to a ping")
                    asked = True
                    await channel.ping()
                    continue
                asked = False
                if message["type"] == "message":
                    self._pass_on(message["data"])

    def _pass_on(self, message: str) -> None:
        job_id, owner, version, data = message.split(" ", 3)
        progress = Progressed(job_id, owner, int(version), data)
        for subscription in self._subscribed((Topic.job(job_id), Topic.owner(owner))):
            subscription.offer_progress(progress)


async def _pause(exc: Exception, what: str) -> None:
    STORE_ERRORS.labels(type(exc).__name__).inc()
    log.warning(what, error=str(exc)[:300])
    await asyncio.sleep(RECONNECT_S)


def _place(stream_id: str, line: int) -> Position:
    ms, _, seq = stream_id.partition("-")
    return Position(int(ms), int(seq), line)


def flat(group: Any) -> list[tuple[str, dict[str, str]]]:
    """RESP3 wraps the entries of a stream once more than RESP2."""
    if group and isinstance(group[0], list) and group[0] and isinstance(group[0][0], list | tuple):
        group = group[0]
    return [(entry[0], entry[1]) for entry in group]
