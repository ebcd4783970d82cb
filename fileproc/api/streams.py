"""Server-sent events: a job, a batch, or all jobs of an owner, followed as they move.

A reader whose connection breaks comes back by itself, with the id of the last event that it got;
the moves since then are sent from memory. A reader that is told 204 does not come back.
"""

from __future__ import annotations

import asyncio
import random
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from aiohttp import web

from fileproc.api import frames
from fileproc.api.batches import batch_id_of
from fileproc.api.context import Api, Caller, api_of, caller_of
from fileproc.api.followed import Followed, FollowedBatch, FollowedJob, FollowedOwner, Snapshot
from fileproc.api.jobs import job_id_of
from fileproc.api.middleware import authenticate
from fileproc.api.queries import StreamQuery
from fileproc.api.reading import read_query
from fileproc.errors import GoneError, NotFoundError, StoreUnavailableError
from fileproc.store import Break, Moved, Position, Subscription, Topic
from fileproc.telemetry import STREAMS_ENDED

BEAT_S: Final = 15.0  # below the patience of every proxy we know of
WRITE_S: Final = 30.0
_BUFFER_BYTES: Final = 16 * 1024  # unsent bytes above which a reader is waited for
_DEAD_MS: Final = 60_000  # without an acknowledgement a connection is given up
TALLY_S: Final = 1.0  # so often a reader is told what many moves come to, at most
_AHEAD_MS: Final = 60_000  # so far another process of ours may be ahead of this one, at most
_SAME_MS: Final = 5  # a job's end and the entry that tells of it are dated by two calls


class End(StrEnum):
    """Why a stream ends."""

    FINAL = "final"  # the job, or the batch, is over
    TIME = "time"  # it lasted as long as it may, or was to
    DRAINING = "draining"  # the server stops; another one takes over
    SLOW = "slow"  # the reader fell too far behind
    GAP = "gap"  # the server lost a part of the events
    KEY = "key"  # the key or token that it was opened with is over, or has another secret


_BROKEN: Final = {Break.SLOW: End.SLOW, Break.GAP: End.GAP, Break.KEY: End.KEY}


# --- the handlers ------------------------------------------------------------------------------


async def job_events(request: web.Request) -> web.StreamResponse:
    """`GET /v1/jobs/{id}/events`."""
    job_id = job_id_of(request)
    wait = read_query(StreamQuery, request.query).wait
    followed = FollowedJob(api_of(request), caller_of(request).owner, job_id)
    return await _follow(request, followed, wait)


async def owner_events(request: web.Request) -> web.StreamResponse:
    """`GET /v1/events`."""
    wait = read_query(StreamQuery, request.query).wait
    followed = FollowedOwner(api_of(request), caller_of(request).owner)
    return await _follow(request, followed, wait)


async def batch_events(request: web.Request) -> web.StreamResponse:
    """`GET /v1/batches/{batch}/events`."""
    batch_id = batch_id_of(request)
    wait = read_query(StreamQuery, request.query).wait
    followed = FollowedBatch(api_of(request), caller_of(request).owner, batch_id)
    return await _follow(request, followed, wait)


async def _follow(request: web.Request, followed: Followed, wait: int | None) -> web.StreamResponse:
    api, caller = api_of(request), caller_of(request)
    feed = api.resources.store.feed
    keys = [Topic.key(key_id) for key_id in (caller.key_id, caller.granted_by) if key_id]
    # Subscribed first, read then: no move falls between the two, and no end of the key.
    with api.places.taken(caller.owner), feed.subscribe(followed.topic, *keys) as news:
        if keys:
            await authenticate(api, request)
        opening = await _opened(followed, request.headers.get("Last-Event-ID"), api)
        if opening is None:
            return web.Response(status=204)
        response = web.StreamResponse(headers={"X-Accel-Buffering": "no"})
        response.content_type = "text/event-stream"
        response.force_close()  # a stream has its connection for itself, to the end of both
        if request.method == "HEAD":
            await response.prepare(request)
            return response
        stream = _Stream(request, response, followed, news, opening)
        return await stream.run(*_life(api, caller, wait))


def _life(api: Api, caller: Caller, wait: int | None) -> tuple[float, End]:
    """How long a stream lasts at most (s), and why it ends then."""
    life_s = api.settings.stream_life_s * random.uniform(0.8, 1)  # noqa: S311 - spreads load
    if wait is not None:
        life_s = min(wait, life_s)
    if caller.valid_until is not None:
        valid_s = (caller.valid_until - datetime.now(UTC)).total_seconds()
        if valid_s < life_s:
            return valid_s, End.KEY
    return life_s, End.TIME


# --- how a stream begins -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Opening:
    """What a reader gets first.

    Attributes:
        sent: the reader has everything up to here.
        version: moves of the followed job up to this need not be told.
        over: there is nothing more to come.
        told_end: a move that ends it is among the frames.
    """

    frames: bytes
    sent: Position
    version: int
    over: bool
    told_end: bool = False


async def _opened(followed: Followed, last: str | None, api: Api) -> Opening | None:
    opening = await _looked(followed, last, api)
    if opening is not None and opening.told_end and not opening.over:
        # It ended while it was read: else the reader would wait for an end that it has been told.
        opening = await _looked(followed, last, api)
    return opening


async def _looked(followed: Followed, last: str | None, api: Api) -> Opening | None:
    here = await api.resources.store.feed.position()
    return _opening(followed, await followed.snapshot(), here, last, api)


def _opening(
    followed: Followed, snapshot: Snapshot, here: Position, last: str | None, api: Api
) -> Opening | None:
    """None for a reader who has had everything there will ever be."""
    over = snapshot.ended_ms is not None
    since = Position.read(last) if last is not None else None
    if since is None or since.ms > here.ms + _AHEAD_MS:
        why = "The Last-Event-ID is not one of this server."
        return _fresh(snapshot, here, b"" if last is None else frames.reset(why))
    missed = api.resources.store.feed.history.since(since, followed.topic.has)
    if over and not missed and since.ms >= (snapshot.ended_ms or 0) - _SAME_MS:
        return None
    if missed is None:
        return _fresh(snapshot, here, frames.reset("The events since then are no longer kept."))
    told = [frames.retry(), *map(frames.frame_of, missed)]
    sent = missed[-1].position if missed else since
    if over:
        sent = max(sent, Position(snapshot.ended_ms or 0, 0, 0))
        told += [frames.frame(snapshot.name, snapshot.data, sent), frames.end(End.FINAL)]
    else:
        told.append(snapshot.progress)
    return Opening(b"".join(told), sent, 0, over, any(map(followed.ended_by, missed)))


def _fresh(snapshot: Snapshot, here: Position, before: bytes) -> Opening:
    over = snapshot.ended_ms is not None
    sent = here
    if snapshot.ended_ms is not None:
        # Whatever this process has read by now: a reader that comes back has seen the end.
        sent = max(here, Position(snapshot.ended_ms, 0, 0))
    told = [frames.retry(), before, frames.frame(snapshot.name, snapshot.data, sent)]
    if over:
        told.append(frames.end(End.FINAL))
    return Opening(b"".join(told), here, snapshot.version, over)


# --- how it goes on ----------------------------------------------------------------------------


class _Stream:
    """One reader, from the first byte to the last."""

    def __init__(
        self,
        request: web.Request,
        response: web.StreamResponse,
        followed: Followed,
        news: Subscription,
        opening: Opening,
    ) -> None:
        self._api = api_of(request)
        self._request = request
        self._response = response
        self._followed = followed
        self._news = news
        self._opening = opening
        self._tally_at: float | None = None  # by the loop's clock
        self._tallied_at = -TALLY_S

    async def run(self, life_s: float, at_its_end: End) -> web.StreamResponse:
        deadline = asyncio.get_running_loop().time() + life_s
        await self._response.prepare(self._request)
        _bound(self._request.transport)
        await self._write(self._opening.frames)
        end = End.FINAL
        if not self._opening.over:
            end = await self._live(deadline) or at_its_end
            await self._write(frames.end(end))
        STREAMS_ENDED.labels(end).inc()
        await self._response.write_eof()
        return self._response

    async def _live(self, deadline: float) -> End | None:
        """None when its time is over."""
        loop = asyncio.get_running_loop()
        while True:
            if self._news.broken is not None:
                return _BROKEN[self._news.broken]
            if await self._tell_news():
                return End.FINAL
            if self._api.draining:
                return End.DRAINING
            left = deadline - loop.time()
            if left <= 0:
                return None
            try:
                async with self._api.interruptible(min(BEAT_S, left, self._tally_in())):
                    await self._news.wait()
            except TimeoutError:
                if self._tally_at is None:
                    await self._write(frames.BEAT)

    async def _tell_news(self) -> bool:
        """Send what has come; True if that was the end."""
        moves, progress = self._news.take()
        moves = [moved for moved in moves if self._is_new(moved)]
        if told := [*map(frames.frame_of, moves), *map(frames.progressed, progress)]:
            await self._write(b"".join(told))
        if any(map(self._followed.ended_by, moves)):
            await self._tell_the_end(moves[-1].position)
            return True
        if moves and self._followed.tallies and self._tally_at is None:
            self._tally_at = max(asyncio.get_running_loop().time(), self._tallied_at + TALLY_S)
        if self._tally_in() <= 0:
            await self._tell_tally()
        return False

    def _tally_in(self) -> float:
        """Seconds until it is to be told what the moves come to."""
        if self._tally_at is None:
            return BEAT_S
        return max(0.0, self._tally_at - asyncio.get_running_loop().time())

    async def _tell_tally(self) -> None:
        now = asyncio.get_running_loop().time()
        try:
            tally = await self._followed.tally()
        except StoreUnavailableError:
            self._tally_at = now + TALLY_S
            return
        self._tally_at, self._tallied_at = None, now
        await self._write(tally)

    def _is_new(self, moved: Moved) -> bool:
        """What the opening has told already is not told again."""
        if moved.position <= self._opening.sent:
            return False
        return not self._opening.version or moved.version > self._opening.version

    async def _tell_the_end(self, position: Position) -> None:
        try:
            snapshot = await self._followed.snapshot()
        except (NotFoundError, GoneError, StoreUnavailableError):
            return  # it is deleted, the last move said so; or it is to be had by itself later
        await self._write(frames.frame(snapshot.name, snapshot.data, position))

    async def _write(self, data: bytes) -> None:
        """Send, and wait for a reader who does not take it; not for ever."""
        try:
            async with self._api.interruptible(WRITE_S):
                await self._response.write(data)
                await self._request.writer.drain()
        except TimeoutError as exc:
            STREAMS_ENDED.labels("stalled").inc()
            if self._request.transport is not None:
                self._request.transport.abort()
            raise ConnectionResetError("the reader takes nothing") from exc


def _bound(transport: asyncio.Transport | None) -> None:
    """Little is buffered for a reader, and a dead one is noticed."""
    if transport is None:
        return
    transport.set_write_buffer_limits(high=_BUFFER_BYTES)
    connection = transport.get_extra_info("socket")
    by_tcp = connection is not None and connection.family in {socket.AF_INET, socket.AF_INET6}
    if by_tcp and hasattr(socket, "TCP_USER_TIMEOUT"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_MS)
