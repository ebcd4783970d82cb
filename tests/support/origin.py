"""Servers that files are fetched from: honest ones, and those that misbehave."""

from __future__ import annotations

import asyncio
import gzip
import re
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

Behave = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Origin:
    """Answers each path as it was told; remembers the heads of all requests."""

    paths: dict[str, Behave] = field(default_factory=dict)
    port: int = 0
    heads: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def serves(self, path: str, answer: bytes | Behave) -> str:
        async def whole(writer: asyncio.StreamWriter, content: bytes = b"") -> None:
            writer.write(content)
            await writer.drain()

        if isinstance(answer, bytes):
            content = answer
            self.paths[path] = lambda writer: whole(writer, content)
        else:
            self.paths[path] = answer
        return self.url(path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            self.heads.append(head)
            if length := re.search(r"(?i)\ncontent-length: (\d+)", head):
                self.bodies.append(await reader.readexactly(int(length[1])))
            path = head.split(" ", 2)[1].partition("?")[0]
            if path in self.paths:
                await self.paths[path](writer)
            else:
                writer.write(ok(b"", status="404 Not Found"))
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            writer.transport.abort()
        except asyncio.CancelledError:
            writer.transport.abort()
            raise
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


@asynccontextmanager
async def serving_files() -> AsyncIterator[Origin]:
    origin = Origin()
    tasks: set[asyncio.Task[None]] = set()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(origin._serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    origin.port = server.sockets[0].getsockname()[1]
    try:
        yield origin
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def ok(content: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Length: {len(content) if length is None else length}",
        "Connection: close",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + content


def to(location: str, status: int = 302) -> bytes:
    return ok(b"", f"Location: {location}", status=f"{status} Found")


# --- twelve ways to misbehave ------------------------------------------------------------------


async def endless_body(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    while True:
        writer.write(bytes(65536))
        await writer.drain()


async def endless_chunks(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"4000\r\n" + bytes(0x4000) + b"\r\n")
        await writer.drain()


async def silence(writer: asyncio.StreamWriter) -> None:
    del writer
    await asyncio.Event().wait()


async def slow_drip(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.01)


async def endless_header(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()


async def endless_informing(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.001)


def gzip_bomb() -> bytes:
    """64 MiB of nothing in 64 KiB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = bytes(1 << 20)
    bomb = b"".join(packer.compress(block) for _ in range(64)) + packer.flush()
    return ok(bomb, "Content-Encoding: gzip", "Content-Type: text/plain")


SHORT = ok(b"only this", length=1000)
LONG = ok(b"more than it says", length=4)
TEN_THOUSAND_HEADERS = ok(b"x", *(f"X-{number}: y" for number in range(10_000)))
NONSENSE = b"\x00\x01\x02SSH-2.0-OpenSSH_9.2\r\n\r\n"
NEGATIVE = b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nhello"
TWO_LENGTHS = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 5\r\n\r\nhello"
UNASKED_PACKING = ok(b"\x28\xb5\x2f\xfd", "Content-Encoding: zstd")
CUT_GZIP = ok(gzip.compress(b"hello" * 1000)[:-12], "Content-Encoding: gzip")
