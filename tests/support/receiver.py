"""A receiver of webhooks on loopback that answers as it is told, and notes what it got."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

Behaviour = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Got:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


@dataclass
class Receiver:
    """Answers 204; `behave` maps paths to other behaviours."""

    url: str = ""
    got: list[Got] = field(default_factory=list)
    behave: dict[str, Behaviour] = field(default_factory=dict)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    keeps: bool = True  # what it got

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        if self.keeps:
            self.got.append(Got(request.path, headers, body))
        if behaviour := self.behave.get(request.path):
            try:
                return await behaviour(request)
            except ConnectionError:  # the sender was killed: nobody's mistake, nothing to print
                pass
        return web.Response(status=204)

    def status(self, path: str, status: int, **headers: str) -> None:
        """Answer so at this path."""

        async def answer(_: web.Request) -> web.Response:
            return web.Response(status=status, headers=headers, text="secret of the receiver")

        self.behave[path] = answer

    async def hang(self, _: web.Request) -> web.Response:
        """Answer when the test is over."""
        await self.released.wait()
        return web.Response()

    async def drip(self, request: web.Request) -> web.StreamResponse:
        """200, and then a body that never ends."""
        response = web.StreamResponse(headers={"Content-Length": "100000"})
        await response.prepare(request)
        await response.write(b"x")
        await self.released.wait()
        return response

    async def die(self, request: web.Request) -> web.StreamResponse:
        """200, and half of the body that was announced."""
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.abort()
        return response

    async def flood(self, request: web.Request) -> web.StreamResponse:
        """200, and as much as whoever asks is willing to take."""
        response = web.StreamResponse()
        await response.prepare(request)
        while not self.released.is_set():
            await response.write(bytes(64 * 1024))
        return response


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield receiver
    finally:
        receiver.released.set()
        await runner.cleanup()
