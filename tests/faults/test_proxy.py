"""The proxies do to a connection what their rules say, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as Broken
from redis.exceptions import OutOfMemoryError

from faults.http_proxy import SLOW_DOWN, HttpProxy
from faults.proxy import Action
from faults.resp_proxy import RespProxy, frame_end, name_of


@pytest.fixture
async def through(valkey: Any) -> AsyncIterator[tuple[RespProxy, Any]]:
    address = urlsplit(valkey.url)
    proxy = RespProxy(address.hostname or "", address.port or 0)
    await proxy.start()
    url = valkey.url.replace(f":{address.port}/", f":{proxy.port}/")
    client = redis.asyncio.Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=2)
    yield proxy, client
    await client.aclose()
    await proxy.stop()


@pytest.mark.parametrize(
    "frame",
    [
        b"+OK\r\n",
        b"$-1\r\n",
        b"$3\r\nabc\r\n",
        b"*2\r\n:1\r\n*1\r\n$0\r\n\r\n",
        b"%1\r\n+a\r\n_\r\n",
    ],
)
def test_a_frame_ends_where_it_ends(frame: bytes) -> None:
    assert frame_end(frame + b"+next\r\n") == len(frame)
    assert all(frame_end(frame[:cut]) == -1 for cut in range(len(frame)))


def test_commands_have_names() -> None:
    assert name_of(b"*1\r\n$4\r\nPING\r\n") == "ping"


async def test_a_dropped_reply_leaves_what_the_server_did(through: tuple[RespProxy, Any]) -> None:
    proxy, client = through
    with proxy.rule("incrby", action=Action.DROP, left=1):
        with pytest.raises(Broken):
            await client.incr("{proxy}:n")
        assert await client.get("{proxy}:n") == b"1"
    assert proxy.cuts == 1
    await client.delete("{proxy}:n")


async def test_a_cut_request_never_arrives(through: tuple[RespProxy, Any]) -> None:
    proxy, client = through
    with proxy.rule("incrby", action=Action.CUT, left=1), pytest.raises(Broken):
        await client.incr("{proxy}:n")
    assert await client.get("{proxy}:n") is None


async def test_an_answer_of_ours_keeps_its_place_in_the_pipeline(
    through: tuple[RespProxy, Any],
) -> None:
    proxy, client = through
    with proxy.rule("incrby", action=Action.ANSWER, reply=b"-OOM no room\r\n"):
        pipe = client.pipeline(transaction=False)
        pipe.echo("a").incr("{proxy}:n").echo("b")
        first, second, third = await pipe.execute(raise_on_error=False)
    assert (first, third) == (b"a", b"b")
    assert isinstance(second, OutOfMemoryError)


async def _server(body: bytes) -> tuple[asyncio.Server, int]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handle(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


async def test_the_storage_can_be_overloaded_and_break_off() -> None:
    server, port = await _server(b"x" * 1000)
    proxy = HttpProxy("127.0.0.1", port)
    await proxy.start()
    url = f"http://127.0.0.1:{proxy.port}/bucket/files/file_1"
    async with aiohttp.ClientSession() as session:
        with proxy.rule("GET files", action=Action.ANSWER, reply=SLOW_DOWN):
            async with session.get(url) as answer:
                assert answer.status == 503
        with proxy.rule("PUT files", action=Action.DROP) as other:
            async with session.get(url) as answer:
                assert len(await answer.read()) == 1000
        assert other.hits == 0
        with proxy.rule("GET files", action=Action.TRUNCATE):
            async with session.get(url) as answer:
                with pytest.raises(aiohttp.ClientPayloadError):
                    await answer.read()
    await proxy.stop()
    server.close()
