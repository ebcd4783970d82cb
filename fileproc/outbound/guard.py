"""An HTTP client that calls permitted addresses only, whatever a name resolves to at the moment.

Three places, each of which would do alone: the resolver's answers are judged as a whole (a name
with one public and one private address is refused); the address of each socket is judged before
it connects, which is the only place that sees addresses written into URLs; and the peer of each
connection is judged again before a request goes out on it, new or kept alive. No name is looked up
twice for one connection, so there is nothing to rebind in between.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aiohttp import (
    ClientHandlerType,
    ClientRequest,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
    ThreadedResolver,
)
from aiohttp.abc import AbstractResolver, ResolveResult

from fileproc import __version__
from fileproc.errors import UrlNotAllowedError
from fileproc.outbound.addresses import Networks, refusal
from fileproc.outbound.urls import check_url
from fileproc.settings import Settings
from fileproc.telemetry import OUTBOUND_REFUSED, get_logger

if TYPE_CHECKING:
    from aiohttp.connector import AddrInfoType, Connection

USER_AGENT: Final = f"fileproc/{__version__}"

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Outbound:
    """The way out.

    Attributes:
        session: follows no cookie, no proxy of the environment, decompresses nothing; its requests
            raise UrlNotAllowedError, on whatever hop. Say `allow_redirects=False`: who follows a
            redirect gives its URL to `check_url` first.
        settings: what `check_url` wants.
    """

    session: ClientSession
    settings: Settings


class _Judge:
    def __init__(self, settings: Settings) -> None:
        self._allowed = Networks.parse(settings.outbound_allow)

    def check(self, address: str, where: str) -> None:
        """Raise unless it may be called; which address it is, is none of the client's business."""
        if why := refusal(address, self._allowed):
            OUTBOUND_REFUSED.labels(where).inc()
            log.warning("an address was refused", address=address, reason=why, where=where)
            raise UrlNotAllowedError("The URL's host leads to an address that is not allowed.")


class _Resolver(AbstractResolver):
    """Another resolver's answers, if all of them are permitted."""

    def __init__(self, judge: _Judge, inner: AbstractResolver) -> None:
        self._judge = judge
        self._inner = inner

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        for each in found:
            self._judge.check(each["host"], "resolve")
        return found

    async def close(self) -> None:
        await self._inner.close()


class _Connector(TCPConnector):
    def __init__(self, judge: _Judge, resolver: AbstractResolver) -> None:
        self._judge = judge
        super().__init__(
            resolver=_Resolver(judge, resolver),
            use_dns_cache=False,  # what is judged is what is connected to, and nothing older
            socket_factory=self._socket,
            limit=0,  # callers bound themselves
        )

    def _socket(self, info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = info
        self._judge.check(str(address[0]), "connect")
        return socket.socket(family, kind, protocol)

    async def connect(self, req: ClientRequest, traces: Any, timeout: ClientTimeout) -> Connection:  # noqa: ASYNC109 - aiohttp's signature
        connection = await super().connect(req, traces, timeout)
        try:
            self._judge.check(_peer(connection), "peer")
        except UrlNotAllowedError:
            connection.close()
            raise
        return connection


def _peer(connection: Connection) -> str:
    """The address at the other end, from the socket itself; empty if it is gone."""
    transport = connection.transport
    peer = transport.get_extra_info("peername") if transport is not None else None
    return str(peer[0]) if peer else ""


@asynccontextmanager
async def open_outbound(
    settings: Settings, *, resolver: AbstractResolver | None = None
) -> AsyncIterator[Outbound]:
    """Open the way out. `resolver`: who is asked for names; None: the system."""

    async def checked(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        check_url(request.url, settings)
        return await handler(request)

    connector = _Connector(_Judge(settings), resolver or ThreadedResolver())
    async with ClientSession(
        connector=connector,
        cookie_jar=DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        headers={"User-Agent": USER_AGENT},
        middlewares=(checked,),
        timeout=ClientTimeout(
            total=None,
            connect=settings.outbound_connect_s,
            sock_connect=settings.outbound_connect_s,
            sock_read=settings.outbound_idle_s,
        ),
    ) as session:
        yield Outbound(session, settings)
