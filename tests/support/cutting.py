"""A line to a server that is cut again and again, after some bytes each time."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class CutLine:
    """Forwards to one port, and cuts the connection after `every` bytes or so of a client's.

    Attributes:
        cuts: connections cut so far; after `most` of them the line holds.
        taken: connections taken so far.
        up: whoever connects while it is not set waits for it.
        url: where it is.
    """

    def __init__(self, port: int, *, most: int, every: int, seed: int = 7) -> None:
        self._port = port
        self._most = most
        self._every = every
        self._rng = random.Random(seed)
        self._tasks: set[asyncio.Task[None]] = set()
        self.cuts = self.taken = 0
        self.up = asyncio.Event()
        self.up.set()
        self.url = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[CutLine]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def go_down(self) -> None:
        """Cut every connection; those that come wait until it is `up` again."""
        self.up.clear()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.taken += 1
        try:
            await self.up.wait()
        except asyncio.CancelledError:
            writer.close()
            return
        behind, to_behind = await asyncio.open_connection("127.0.0.1", self._port)
        back = asyncio.create_task(_pump(behind, writer))
        try:
            left = self._rng.randint(1, 2 * self._every)
            while chunk := await reader.read(65_536):
                if self.cuts < self._most and len(chunk) > left:
                    to_behind.write(chunk[:left])
                    self.cuts += 1
                    self._end(writer, to_behind)
                    return
                left -= len(chunk)
                to_behind.write(chunk)
                await to_behind.drain()
        except (OSError, asyncio.CancelledError):
            pass  # either end is gone, or the test is over: streams log what a task raises
        finally:
            back.cancel()
            to_behind.close()
            writer.close()

    def _end(self, writer: asyncio.StreamWriter, to_behind: asyncio.StreamWriter) -> None:
        """In one way or another: either end may see a reset, or an orderly close."""
        for one in (writer, to_behind):
            one.transport.abort() if self._rng.random() < 0.5 else one.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(65_536):
            writer.write(chunk)
            await writer.drain()
        writer.close()
