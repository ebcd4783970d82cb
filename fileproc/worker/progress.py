"""Progress flows to the job record at most twice a second, the latest always in the end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from fileproc.errors import StoreUnavailableError
from fileproc.jobs import Progress

INTERVAL_S = 0.5


class Throttle:
    """Passes on the first value at once, later ones no more often than `INTERVAL_S`."""

    def __init__(self, send: Callable[[Progress], Awaitable[None]]) -> None:
        self._send = send
        self._latest: Progress | None = None
        self._sender: asyncio.Task[None] | None = None

    def put(self, progress: Progress) -> None:
        """Take a value; never blocks, never raises."""
        self._latest = progress
        if self._sender is None or self._sender.done():
            self._sender = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        while self._latest is not None:
            progress, self._latest = self._latest, None
            with contextlib.suppress(StoreUnavailableError):  # the next one will do
                await self._send(progress)
            await asyncio.sleep(INTERVAL_S)

    async def close(self) -> None:
        """Nothing is sent after this: the job may be another's by then."""
        if self._sender is not None:
            self._sender.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sender
