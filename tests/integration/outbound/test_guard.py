"""The guard over real sockets: a canary on loopback that must never be called."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle

import pytest
from aiohttp import ClientError, InvalidURL
from aiohttp.abc import AbstractResolver, ResolveResult

from fileproc.errors import UrlNotAllowedError
from fileproc.outbound import Outbound, open_outbound
from fileproc.settings import Settings
from support.spellings import refused_urls


@dataclass
class Canary:
    """A server on loopback that counts who connects, and greets politely."""

    port: int = 0
    connected: int = 0
    requests: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connected += 1
        try:
            self.requests.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: a=b\r\n\r\nhi")
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


@pytest.fixture
async def canary() -> AsyncIterator[Canary]:
    bird = Canary()
    async with await asyncio.start_server(bird.serve, "127.0.0.1", 0) as server:
        bird.port = server.sockets[0].getsockname()[1]
        yield bird


@dataclass
class FakeDns(AbstractResolver):
    """Answers as told."""

    answer: Callable[[str], list[str]]
    asked: int = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        del family
        self.asked += 1
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self.answer(host)
        ]

    async def close(self) -> None:
        pass


def of(**others: object) -> Settings:
    given = {"outbound_ports": "1-65535", "outbound_connect_s": 50, **others}
    return Settings(_env_file=None, **given)  # type: ignore[arg-type]  # pydantic's own


@asynccontextmanager
async def outbound(
    resolver: AbstractResolver | None = None, **settings: object
) -> AsyncIterator[Outbound]:
    async with open_outbound(of(**settings), resolver=resolver) as opened:
        yield opened


async def test_the_canary_is_called_where_the_operator_permits_loopback(canary: Canary) -> None:
    async with (
        outbound(outbound_allow="127.0.0.0/8") as out,
        out.session.get(f"http://127.0.0.1:{canary.port}/") as answer,
    ):
        assert await answer.read() == b"hi"
    assert canary.connected == 1


async def test_no_spelling_reaches_the_canary_even_unchecked(canary: Canary) -> None:
    async with outbound(FakeDns(lambda _: ["127.0.0.1"])) as out:
        for url in refused_urls(canary.port):
            with pytest.raises((UrlNotAllowedError, InvalidURL, ClientError, ValueError)):
                await out.session.get(url, allow_redirects=False)
    assert canary.connected == 0


async def test_a_thousand_flips_of_a_name_never_reach_the_canary(canary: Canary) -> None:
    # TEST-NET would be refused; this public address is one that nobody routes to from a test.
    flips = cycle([["192.0.1.1", "127.0.0.1"], ["127.0.0.1"], ["127.0.0.1", "192.0.1.1"], ["::1"]])
    dns = FakeDns(lambda _: next(flips))
    async with outbound(dns) as out:
        for _ in range(1000):
            with pytest.raises(UrlNotAllowedError):
                await out.session.get(f"http://flip.example:{canary.port}/")
    assert (dns.asked, canary.connected) == (1000, 0)


async def test_a_name_is_looked_up_once_for_a_connection_and_the_answer_is_pinned(
    canary: Canary,
) -> None:
    answers = iter([["127.0.0.2"], ["127.0.0.1"], ["127.0.0.1"]])
    dns = FakeDns(lambda _: next(answers))
    async with outbound(dns, outbound_allow="127.0.0.2/32") as out:
        with pytest.raises(ClientError):  # nobody listens there: it is not asked again
            await out.session.get(f"http://flip.example:{canary.port}/")
        assert dns.asked == 1
        with pytest.raises(UrlNotAllowedError):
            await out.session.get(f"http://flip.example:{canary.port}/")
    assert canary.connected == 0


async def test_a_resolver_that_lies_about_the_family_or_answers_nonsense_gets_nowhere(
    canary: Canary,
) -> None:
    for address in ("::ffff:127.0.0.1", "127.1", "localhost", "2130706433", "", "0"):
        async with outbound(FakeDns(lambda _, found=address: [found])) as out:  # type: ignore[misc]  # bound now
            with pytest.raises(UrlNotAllowedError):
                await out.session.get(f"http://odd.example:{canary.port}/")
    assert canary.connected == 0


async def test_a_redirect_inwards_is_refused_at_its_hop(canary: Canary) -> None:
    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        location = f"http://127.0.0.2:{canary.port}/"
        writer.write(f"HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n".encode())
        writer.close()
        await writer.wait_closed()

    canary_there = await asyncio.start_server(canary.serve, "127.0.0.2", canary.port)
    async with (
        canary_there,
        await asyncio.start_server(redirect, "127.0.0.1", 0) as server,
        outbound(outbound_allow="127.0.0.1/32") as out,
    ):
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(UrlNotAllowedError):
            await out.session.get(f"http://127.0.0.1:{port}/", allow_redirects=True)
    assert canary.connected == 0


async def test_proxies_of_the_environment_are_passed_over(
    canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{canary.port}")
    # The proxy itself is allowed: only that nobody asks the environment keeps the request off it.
    async with outbound(FakeDns(lambda _: ["10.0.0.1"]), outbound_allow="127.0.0.1/32") as out:
        with pytest.raises(UrlNotAllowedError):
            await out.session.get("http://public.example/")
    assert canary.connected == 0


async def test_cookies_are_not_kept(canary: Canary) -> None:
    dns = FakeDns(lambda _: ["127.0.0.1"])  # a jar would keep no cookie of a bare address anyway
    async with outbound(dns, outbound_allow="127.0.0.0/8") as out:
        for _ in range(2):
            async with out.session.get(f"http://shop.example:{canary.port}/") as answer:
                await answer.read()
    assert len(canary.requests) == 2
    assert all(b"cookie" not in request.lower() for request in canary.requests)


async def test_the_peer_of_a_socket_is_judged_before_anything_is_sent(
    canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if the two earlier judgements had been talked round: only the peer itself is left.
    from fileproc.outbound import guard

    check = guard._Judge.check

    def only_peers(self: guard._Judge, address: str, where: str) -> None:
        if where == "peer":
            check(self, address, where)

    monkeypatch.setattr(guard._Judge, "check", only_peers)
    async with outbound(FakeDns(lambda _: ["127.0.0.1"])) as out:
        with pytest.raises(UrlNotAllowedError):
            await out.session.get(f"http://peer.example:{canary.port}/")
    assert canary.requests == []
