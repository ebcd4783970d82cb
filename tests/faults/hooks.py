"""F31: receivers of webhooks that fail in every way, while those who send are killed.

What must hold: each event reaches the receiver at least once, or stands in the log as failed; all
attempts of a message have one id; redirects are not followed; 410 disables.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from faults.faults import Stage
from faults.load import Work
from support.receiver import Receiver, receiving

FAILING = 0.2  # of the answers
AT_ONCE = 24  # jobs
SETTLING_S = 240.0
# Two come of each job: whose workers are killed too often fails. Those that run again start again.
EVENTS = ("job.accepted", "job.succeeded", "job.failed")
SETTINGS = {
    "FILEPROC_OUTBOUND_ALLOW": "127.0.0.0/8",
    "FILEPROC_OUTBOUND_PORTS": "1-65535",
    "FILEPROC_WEBHOOK_SCHEDULE_S": "0.2,0.5,1,1,2,2,4,4,8,8,8,8",
    "FILEPROC_WEBHOOK_TIMEOUT_S": "1",
    "FILEPROC_WEBHOOK_OWNER_CONCURRENCY": "64",
    "FILEPROC_WEBHOOK_ENDPOINT_CONCURRENCY": "48",
    "FILEPROC_WEBHOOK_LOG_ENTRIES": "20000",
    "FILEPROC_MAX_PENDING_DELIVERIES": "100000",
}


@dataclass
class Book:
    """What a receiver was told, and how it answered."""

    receiver: Receiver
    rng: random.Random
    ids: dict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    delivered: set[tuple[str, str]] = field(default_factory=set)  # (job, type)
    attempts: int = 0
    failed: int = 0
    followed: int = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Fails in one of many ways, or answers 204."""
        self.attempts += 1
        told = json.loads(await request.read())
        event = told["data"]["id"], told["type"]
        if told["type"] in EVENTS:
            self.ids[event].add(request.headers["webhook-id"])
        if self.rng.random() < FAILING:
            self.failed += 1
            return await self._failure(request)
        self.delivered.add(event)
        return web.Response(status=204)

    async def _failure(self, request: web.Request) -> web.StreamResponse:
        match self.rng.randrange(6):
            case 0:
                return web.Response(status=500)
            case 1:
                return web.Response(status=503, headers={"Retry-After": "1"})
            case 2:
                return web.Response(status=302, headers={"Location": "/followed"})
            case 3:
                return await self.receiver.drip(request)
            case 4:
                return await self.receiver.die(request)
            case _:
                return await self.receiver.hang(request)

    async def follow(self, _: web.Request) -> web.StreamResponse:
        self.followed += 1
        return web.Response()


@contextlib.asynccontextmanager
async def listening(stage: Stage) -> AsyncIterator[Book]:
    """An endpoint that gets every event, for as long as the context lasts."""
    webhooks = stage.resources.store.webhooks
    async with receiving() as receiver:
        receiver.keeps = False
        book = Book(receiver, stage.rng)
        receiver.behave["/events"] = book.answer
        receiver.behave["/followed"] = book.follow
        receiver.status("/gone", 410)
        made, _ = await webhooks.create("local", f"{receiver.url}/events", EVENTS)
        gone, _ = await webhooks.create("local", f"{receiver.url}/gone", EVENTS)
        try:
            yield book
            shown = await webhooks.get("local", gone.id)
            if shown.disabled_reason != "gone":
                stage.history.complain(f"410 left its webhook {shown.disabled_reason}")
        finally:
            for webhook in (made, gone):
                await webhooks.delete("local", webhook.id)


async def webhooks_fail(stage: Stage, jobs: int, kills: int) -> None:
    """So many jobs, so many kills of those who send; in the end everything has been delivered."""
    async with listening(stage) as book, stage.load.at_most(1):
        wanted = asyncio.create_task(_submit(stage, jobs))
        killed = 0
        while killed < kills or not wanted.done():
            await asyncio.sleep(stage.rng.uniform(0.1, 0.5))
            role = stage.some("worker") if killed < kills else None
            if role is not None:
                stage.cluster.kill(role)
                stage.counts["kills"] += 1
                killed += 1
        events = set()
        for job in await wanted:
            events |= {(job, "job.accepted"), (job, f"job.{stage.history.seen[job][-1].state}")}
        missing = await _settled(book, events)
        stage.figures["webhooks: events, attempts, failed answers, kills"] = (
            f"{len(events)}, {book.attempts}, {book.failed}, {killed}"
        )
        for job, kind in sorted(missing)[:20]:
            stage.history.complain(f"{kind} of {job} was not delivered")
        for event in events:
            if len(book.ids[event]) > 1:
                stage.history.complain(f"{event} came with the ids {book.ids[event]}")
        if book.followed:
            stage.history.complain(f"{book.followed} redirects of a receiver were followed")


async def _submit(stage: Stage, jobs: int) -> list[str]:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one() -> str:
        async with gate:
            return await stage.load.run(Work("hooked", "debug.sleep", {"seconds": 0}))

    return await asyncio.gather(*(one() for _ in range(jobs)))


async def _settled(book: Book, events: set[Any]) -> set[Any]:
    """What is not delivered when nothing more comes, or the time is over."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SETTLING_S):
            while events - book.delivered:
                await asyncio.sleep(0.2)
    return events - book.delivered
