"""Server-sent events: a job, or all jobs of an owner, followed as they move.

Source of the format: the HTML standard, section 9.2, "Server-sent events". A reader whose
connection breaks comes back by itself, with the id of the last event that it got; the moves since
then are sent from memory. A reader that is told 204 does not come back.
"""

from __future__ import annotations

import asyncio
import random
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, Protocol

from aiohttp import web
from pydantic_core import to_json

from fileproc.api.context import Api, api_of, caller_of
from fileproc.api.jobs import job_id_of
from fileproc.api.queries import StreamQuery
from fileproc.api.reading import read_query
from fileproc.errors import GoneError, NotFoundError
from fileproc.jobs import Job, PipelineProgress
from fileproc.store import Break, Moved, Position, Progressed, Subscription, Topic
from fileproc.telemetry import STREAMS_ENDED, get_logger
from fileproc.views import job_body, with_outlook

BEAT_S: Final = 15.0  # below the patience of every proxy we know of
WRITE_S: Final = 30.0
_BUFFER_BYTES: Final = 16 * 1024  # unsent bytes above which a reader is waited for
_DEAD_MS: Final = 60_000  # without an acknowledgement a connection is given up
_COME_BACK_MS: Final = (2_000, 6_000)  # at random, so that not all come back at once
_AHEAD_MS: Final = 60_000  # so far another process of ours may be ahead of this one, at most
_SAME_MS: Final = 5  # a job's end and the entry that tells of it are dated by two calls
_BEAT: Final = b": \n\n"

log = get_logger(__name__)


class End(StrEnum):
    """Why a stream ends."""

    FINAL = "final"  # the job is over
    TIME = "time"  # it lasted as long as it may, or was to
    DRAINING = "draining"  # the server stops; another one takes over
    SLOW = "slow"  # the reader fell too far behind
    GAP = "gap"  # the server lost a part of the events


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
    """What can be followed; a batch would be a third."""

    @property
    def topic(self) -> Topic: ...

    async def snapshot(self) -> Snapshot:
        """Raises NotFoundError, GoneError or StoreUnavailableError."""


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
            progress=_progress_of(job),
        )


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


async def _follow(request: web.Request, followed: Followed, wait: int | None) -> web.StreamResponse:
    api, owner = api_of(request), caller_of(request).owner
    feed = api.resources.store.feed
    # Subscribed first, read then: no move falls between the two.
    with api.places.taken(owner), feed.subscribe(followed.topic) as news:
        here = await feed.position()
        snapshot = await followed.snapshot()
        opening = _opening(followed, snapshot, here, request.headers.get("Last-Event-ID"), api)
        if opening is None:
            return web.Response(status=204)
        response = web.StreamResponse(headers={"X-Accel-Buffering": "no"})
        response.content_type = "text/event-stream"
        response.force_close()  # a stream has its connection for itself, to the end of both
        if request.method == "HEAD":
            await response.prepare(request)
            return response
        life_s = api.settings.stream_life_s * random.uniform(0.8, 1)  # noqa: S311 - spreads load
        stream = _Stream(request, response, followed, news, opening)
        return await stream.run(life_s if wait is None else min(wait, life_s))


# --- how a stream begins -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Opening:
    """What a reader gets first.

    Attributes:
        sent: the reader has everything up to here.
        version: moves of the followed job up to this need not be told.
        over: there is nothing more to come.
    """

    frames: bytes
    sent: Position
    version: int
    over: bool


def _opening(
    followed: Followed, snapshot: Snapshot, here: Position, last: str | None, api: Api
) -> Opening | None:
    """None for a reader who has had everything there will ever be."""
    over = snapshot.ended_ms is not None
    since = Position.read(last) if last is not None else None
    if since is None or since.ms > here.ms + _AHEAD_MS:
        reset = b"" if last is None else _reset("The Last-Event-ID is not one of this server.")
        return _fresh(snapshot, here, reset)
    missed = api.resources.store.feed.history.since(since, followed.topic.has)
    if over and not missed and since.ms >= (snapshot.ended_ms or 0) - _SAME_MS:
        return None
    if missed is None:
        return _fresh(snapshot, here, _reset("The events since then are no longer kept."))
    frames = [_retry(), *map(frame_of, missed)]
    sent = missed[-1].position if missed else since
    if over:
        sent = max(sent, Position(snapshot.ended_ms or 0, 0, 0))
        frames += [_frame(snapshot.name, snapshot.data, sent), _end(End.FINAL)]
    else:
        frames.append(snapshot.progress)
    return Opening(b"".join(frames), sent, 0, over)


def _fresh(snapshot: Snapshot, here: Position, before: bytes) -> Opening:
    over = snapshot.ended_ms is not None
    sent = here
    if snapshot.ended_ms is not None:
        # Whatever this process has read by now: a reader that comes back has seen the end.
        sent = max(here, Position(snapshot.ended_ms, 0, 0))
    frames = [_retry(), before, _frame(snapshot.name, snapshot.data, sent)]
    if over:
        frames.append(_end(End.FINAL))
    return Opening(b"".join(frames), here, snapshot.version, over)


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

    async def run(self, life_s: float) -> web.StreamResponse:
        deadline = asyncio.get_running_loop().time() + life_s
        await self._response.prepare(self._request)
        _bound(self._request.transport)
        await self._write(self._opening.frames)
        end = End.FINAL
        if not self._opening.over:
            end = await self._live(deadline)
            await self._write(_end(end))
        STREAMS_ENDED.labels(end).inc()
        await self._response.write_eof()
        return self._response

    async def _live(self, deadline: float) -> End:
        loop = asyncio.get_running_loop()
        while True:
            if self._news.broken is not None:
                return End.SLOW if self._news.broken is Break.SLOW else End.GAP
            moves, progress = self._news.take()
            moves = [moved for moved in moves if self._is_new(moved)]
            if frames := [*map(frame_of, moves), *map(_progressed, progress)]:
                await self._write(b"".join(frames))
            if self._followed.topic.kind == "job" and any(moved.last for moved in moves):
                await self._tell_the_end(moves[-1].position)
                return End.FINAL
            if self._api.draining:
                return End.DRAINING
            left = deadline - loop.time()
            if left <= 0:
                return End.TIME
            try:
                async with self._api.interruptible(min(BEAT_S, left)):
                    await self._news.wait()
            except TimeoutError:
                await self._write(_BEAT)

    def _is_new(self, moved: Moved) -> bool:
        """What the opening has told already is not told again."""
        if moved.position <= self._opening.sent:
            return False
        return not self._opening.version or moved.version > self._opening.version

    async def _tell_the_end(self, position: Position) -> None:
        try:
            snapshot = await self._followed.snapshot()
        except (NotFoundError, GoneError):
            return  # it is deleted; the last move said so
        await self._write(_frame(snapshot.name, snapshot.data, position))

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


# --- frames ------------------------------------------------------------------------------------


def _frame(name: str, data: bytes, position: Position | None = None) -> bytes:
    head = f"id: {position}\nevent: {name}\ndata: " if position else f"event: {name}\ndata: "
    return head.encode() + data + b"\n\n"


def _retry() -> bytes:
    return b"retry: %d\n" % random.randint(*_COME_BACK_MS)  # noqa: S311 - spreads load


def _reset(why: str) -> bytes:
    return _frame("reset", to_json({"reason": why}))


def _end(why: End) -> bytes:
    return _frame("end", to_json({"reason": why}))


def frame_of(moved: Moved) -> bytes:
    """A move as it is sent; built once, however many follow it."""
    if moved.frame is None:
        view = {
            "object": "move",
            "job_id": moved.job_id,
            "move": moved.move,
            "state": moved.state,
            "version": moved.version,
            "at": datetime.fromtimestamp(moved.position.ms / 1000, UTC),
            "error_code": moved.code,
        }
        moved.frame = _frame("move", to_json(view), moved.position)
    return moved.frame


def _progressed(progress: Progressed) -> bytes:
    """As `frame_of`, of a progress, which has no place in the stream."""
    if progress.frame is None:
        told = PipelineProgress.model_validate_json(progress.data)
        plain = told.model_dump(exclude={"steps"})
        progress.frame = _progress_frame(progress.job_id, progress.version, plain, told.steps)
    return progress.frame


def _progress_of(job: Job) -> bytes:
    if job.progress is None:
        return b""
    return _progress_frame(job.id, job.version, job.progress, job.steps or None)


def _progress_frame(job_id: str, version: int, progress: Any, steps: Any) -> bytes:
    head = {"object": "progress", "job_id": job_id, "version": version}
    return _frame("progress", to_json({**head, "progress": progress, "steps": steps}))
