"""A small HTTP/1.1 load generator: keep-alive connections, one request at a time on each.

Nothing but bytes and clocks, so that the generator costs less than what it measures.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice


@dataclass(frozen=True, slots=True)
class Figures:
    """What one round gave; times in milliseconds."""

    requests: int
    per_second: float
    p50_ms: float
    p99_ms: float
    errors: int

    def __str__(self) -> str:
        return (
            f"{self.per_second:8.0f}/s   p50 {self.p50_ms:6.2f} ms   p99 {self.p99_ms:7.2f} ms"
            f"   {self.requests} requests, {self.errors} errors"
        )


async def _client(
    address: tuple[str, int],
    payloads: Iterator[bytes],
    until: float,
    expect: bytes,
    took: list[float],
) -> int:
    reader, writer = await asyncio.open_connection(*address)
    errors = 0
    try:
        while time.monotonic() < until:
            start = time.monotonic()
            writer.write(next(payloads))
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)
            if length:
                await reader.readexactly(length)
            took.append(time.monotonic() - start)
            errors += not head.startswith(b"HTTP/1.1 " + expect)
    finally:
        writer.close()
    return errors


async def measure(
    host: str,
    port: int,
    payload: bytes | Sequence[bytes],
    *,
    clients: int,
    seconds: float,
    expect: str,
) -> Figures:
    """Send `payload` over `clients` connections for `seconds`; `expect` is the status wanted.

    Of several payloads each client sends one after the other, beginning at a place of its own.
    """
    several = [payload] if isinstance(payload, bytes) else payload
    took: list[float] = []
    start = time.monotonic()
    errors = await asyncio.gather(
        *(
            _client(
                (host, port),
                islice(cycle(several), number * len(several) // clients, None),
                start + seconds,
                expect.encode(),
                took,
            )
            for number in range(clients)
        )
    )
    elapsed = time.monotonic() - start
    took.sort()
    return Figures(
        requests=len(took),
        per_second=len(took) / elapsed,
        p50_ms=statistics.median(took) * 1000,
        p99_ms=took[int(len(took) * 0.99)] * 1000,
        errors=sum(errors),
    )


def request(method: str, path: str, body: bytes = b"", headers: str = "") -> bytes:
    """The bytes of one request."""
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body
