"""A TCP proxy that breaks things on purpose: the base that the ones for RESP and HTTP share."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto

CHUNK = 256 * 1024

Take = Callable[[bytes], Awaitable[None]]


class Action(Enum):
    CUT = auto()  # the connection, before the server hears of the request
    DROP = auto()  # the server acts, its reply is thrown away, the connection is cut
    SWALLOW = auto()  # the server acts, nothing comes back any more, the connection stays open
    ANSWER = auto()  # with `reply`; the server never hears of it
    TRUNCATE = auto()  # half of the reply's body arrives, then the connection is cut (HTTP)
    SLOW = auto()  # the reply waits for `delay_s`


@dataclass(slots=True)
class Rule:
    """What befalls requests whose name is in `names` (empty: all), `left` times at most."""

    names: frozenset[str]
    action: Action
    left: int = 1_000_000
    reply: bytes = b""
    delay_s: float = 0.0
    hits: int = 0

    def takes(self, name: str) -> bool:
        """Whether it befalls this request."""
        return self.left > 0 and (not self.names or name in self.names)


class Cut(Exception):  # noqa: N818 - an order, not an error
    """Ends a connection, both ways."""


class Proxy(ABC):
    """Listens on a free port of loopback; `rules` decide about each request, the first that takes.

    Attributes:
        refusing: new connections are closed at once, as if nobody listened.
        flowing: cleared, nothing moves in either direction: a network that swallows packets.
        latency_s: what every piece of data takes longer, in either direction.
        cuts: connections that rules or `cut_all` have ended.
    """

    def __init__(self, host: str, port: int) -> None:
        self._upstream = host, port
        self.port = 0
        self.rules: list[Rule] = []
        self.refusing = False
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.latency_s = 0.0
        self.cuts = 0
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=CHUNK)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self.cut_all()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def cut_all(self) -> None:
        """End every connection now."""
        self.cuts += len(self._connections)
        for task in self._connections:
            task.cancel()

    @contextlib.contextmanager
    def rule(self, *names: str, action: Action, **others: object) -> Iterator[Rule]:
        """A rule for the life of the context."""
        rule = Rule(frozenset(names), action, **others)  # type: ignore[arg-type] # fields of Rule
        self.rules.append(rule)
        try:
            yield rule
        finally:
            self.rules.remove(rule)

    def judge(self, name: str) -> Rule | None:
        """The rule that takes this request; it is counted as a hit."""
        for rule in self.rules:
            if rule.takes(name):
                rule.left -= 1
                rule.hits += 1
                return rule
        return None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            if not self.refusing:
                await self._relay(reader, writer)
        except (OSError, Cut, asyncio.CancelledError, asyncio.IncompleteReadError):
            pass  # the end of this connection, and of nothing else
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection(*self._upstream, limit=CHUNK)
        try:
            link = self.link(writer, forth)
            pumps = [
                asyncio.create_task(self._pump(reader, link.request)),
                asyncio.create_task(self._pump(back, link.reply)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                for pump in pumps:
                    if pump.done() and isinstance(pump.exception(), Cut):
                        self.cuts += 1
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            forth.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, take: Take) -> None:
        while data := await source.read(CHUNK):
            await self.flowing.wait()
            if self.latency_s:
                await asyncio.sleep(self.latency_s)
            await take(data)

    @abstractmethod
    def link(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> Link:
        """What sits between the two ends of one connection."""


class Link(ABC):
    """Both directions of one connection."""

    @abstractmethod
    async def request(self, data: bytes) -> None:
        """Bytes from the client."""

    @abstractmethod
    async def reply(self, data: bytes) -> None:
        """Bytes from the server."""


async def send(writer: asyncio.StreamWriter, data: bytes) -> None:
    if data:
        writer.write(data)
        await writer.drain()
