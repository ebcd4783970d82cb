"""Reads every event that the store writes, past the proxies: the server's own history."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from fileproc.store.events import flat, parse


@dataclass(frozen=True, slots=True)
class Line:
    """One event. `at` is Redis' clock, in seconds; `number` orders those of one millisecond."""

    at: float
    job_id: str
    move: str
    version: int
    data: str
    number: int = 0

    @property
    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads(self.data) if self.data else {}
        return facts


class Tail:
    """Follows the stream across restarts of the server."""

    def __init__(self, url: str, prefix: str) -> None:
        self._client = Redis.from_url(url, decode_responses=True, socket_timeout=10)
        self._key = f"{prefix}events"
        self._last = "0-0"
        self.lines: list[Line] = []
        self.listeners: list[Callable[[Line], None]] = []
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._client.aclose()

    async def catch_up(self) -> None:
        """Return when everything that is there now has been read."""
        while True:
            try:
                while await self._read(block_ms=None):
                    pass
            except (RedisError, OSError):  # a connection of before a restart
                await asyncio.sleep(0.1)
            else:
                return

    async def _run(self) -> None:
        while True:
            with suppress(RedisError, OSError):
                while True:
                    await self._read(block_ms=500)
            await asyncio.sleep(0.1)

    async def _read(self, block_ms: int | None) -> int:
        reply: Any = await self._client.xread({self._key: self._last}, 1000, block_ms)
        groups = reply.values() if isinstance(reply, dict) else [item[1] for item in reply or ()]
        count = 0
        for group in groups:
            for entry, fields in flat(group):
                if _order(entry) <= _order(self._last):
                    continue  # read by two of us at once
                self._last = entry
                count += 1
                self._take(entry, fields["l"])
        return count

    def _take(self, entry: str, lines: str) -> None:
        ms, number = _order(entry)
        for event in parse(entry, lines):
            if not event.job_id.startswith("job_"):
                continue  # of a rebuild, a file, a webhook, ...: about no job
            line = Line(ms / 1000, event.job_id, event.move, event.version, event.data, number)
            self.lines.append(line)
            for listener in self.listeners:
                listener(line)


def _order(entry: str) -> tuple[int, int]:
    ms, _, number = entry.partition("-")
    return int(ms), int(number)
