"""Thousands of open event streams on one api process: memory, losses and delay.

    python bench/streams.py [--streams 5000] [--readers 10] [--seconds 60] [--limit-mib 16]

Opens `streams` streams, `readers` of them on each job, and lets the jobs move (claimed and handed
back, over and over) as fast as the readers are told. Every reader must get every move. The delay is
from the entry in the stream, by its id, to the byte at the reader; generator, api and Valkey share
the machine and its clock. Exit 1 where a move is missing, or where the api's memory grows by more
than --limit-mib from the moment when all streams are open.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import uvloop
from accept import environment_for, start

from fileproc.dev.engines import S3Server, Valkey
from fileproc.dev.processes import free_port
from fileproc.ids import new_id
from fileproc.jobs import JobDocument
from fileproc.settings import Settings
from fileproc.store import Lease, NewJob, Settlement, Store, open_store

MIB = 1024 * 1024
_MOVE = re.compile(rb"id: ([0-9]+)-[0-9.]+\nevent: move\n")
OPENED_AT_ONCE = 200
WARM_ROUNDS = 4


class Reader(asyncio.Protocol):
    """Counts the moves that it is told; keeps nothing."""

    moves = 0  # of all readers
    opened = 0
    delays: list[float] = []  # noqa: RUF012 - of all readers, on purpose

    def __init__(self, job_id: str) -> None:
        self._job_id = job_id
        self._tail = b""
        self.open = False

    def connection_made(self, transport: Any) -> None:  # uvloop's own
        path = f"/v1/jobs/{self._job_id}/events"
        transport.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        now = time.time() * 1000
        if not self.open and b"event: job" in data:
            self.open = True
            Reader.opened += 1
        data = self._tail + data
        end = 0
        for found in _MOVE.finditer(data):
            Reader.moves += 1
            Reader.delays.append(now - int(found[1]))
            end = found.end()
        self._tail = data[end:][-200:]


def rss_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise LookupError(pid)


async def accepted(store: Store, count: int) -> list[str]:
    jobs = [
        NewJob(new_id("job"), "local", "default", JobDocument(operation="debug.sleep"), 3, 86_400)
        for _ in range(count)
    ]
    return await asyncio.gather(*map(store.jobs.accept, jobs))


async def opened(port: int, jobs: Sequence[str], streams: int) -> list[asyncio.BaseTransport]:
    loop = asyncio.get_running_loop()
    lines: list[asyncio.BaseTransport] = []
    for first in range(0, streams, OPENED_AT_ONCE):
        numbers = range(first, min(first + OPENED_AT_ONCE, streams))
        made = [
            loop.create_connection(partial(Reader, jobs[n % len(jobs)]), "127.0.0.1", port)
            for n in numbers
        ]
        lines += [transport for transport, _ in await asyncio.gather(*made)]
    await until(lambda: Reader.opened == streams, 120)
    return lines


def told_by_now(moves: int) -> bool:
    return Reader.moves >= moves


async def until(look: object, within_s: float) -> None:
    assert callable(look)
    deadline = time.monotonic() + within_s
    while not look():
        if time.monotonic() > deadline:
            raise TimeoutError("not in time")
        await asyncio.sleep(0.02)


async def one_round(store: Store, count: int) -> int:
    """Every job is claimed and handed back: two moves each. Returns how many moves."""
    leases: list[Lease] = []
    while len(leases) < count:
        number = store.queue.next_call()
        leases += await store.queue.claim("default", 0, min(count - len(leases), 250), number)
    await asyncio.gather(*(store.queue.settle(Settlement.release(lease)) for lease in leases))
    return 2 * count


async def run(valkey: Valkey, port: int, pid: int, args: argparse.Namespace) -> int:
    settings = Settings(redis_url=valkey.url, _env_file=None)
    async with open_store(settings) as store:
        await store.ensure_schema()
        jobs = await accepted(store, args.streams // args.readers)
        idle = rss_bytes(pid)
        begin = time.monotonic()
        lines = await opened(port, jobs, args.streams)
        took = time.monotonic() - begin
        print(f"{args.streams} streams open in {took:.1f} s, on {len(jobs)} jobs")
        for warm in range(1, WARM_ROUNDS + 1):  # what is remembered is full by then
            await one_round(store, len(jobs))
            await until(partial(told_by_now, 2 * args.streams * warm), 120)
        Reader.delays.clear()
        base, told, peak = rss_bytes(pid), Reader.moves, 0
        begin, rounds = time.monotonic(), 0
        while time.monotonic() - begin < args.seconds:
            await one_round(store, len(jobs))
            rounds += 1
            expected = told + rounds * 2 * args.streams
            await until(lambda expected=expected: Reader.moves >= expected, 120)
            peak = max(peak, rss_bytes(pid))
        seconds = time.monotonic() - begin
        for line in lines:
            line.close()
    per_stream = (base - idle) / args.streams / 1024
    growth = (peak - base) / MIB
    delays = sorted(Reader.delays)
    missing = expected - Reader.moves
    print(f"memory of the api  {idle / MIB:8.1f} MiB idle, {base / MIB:.1f} with all streams open")
    print(f"a stream           {per_stream:8.1f} KiB")
    print(f"moves told         {len(delays):8d} in {seconds:.0f} s: {len(delays) / seconds:.0f}/s")
    print(
        f"delay              {statistics.median(delays):8.0f} ms p50,"
        f" {delays[int(len(delays) * 0.99)]:.0f} ms p99, of {2 * args.streams} at once"
    )
    print(f"growth meanwhile   {growth:8.1f} MiB (allowed: {args.limit_mib:g}), missing: {missing}")
    return int(growth > args.limit_mib or missing != 0)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", type=int, default=5_000)
    parser.add_argument("--readers", type=int, default=10, help="of each job")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--limit-mib", type=float, default=16)
    args = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory() as folder:
        valkey, s3 = Valkey(Path(folder) / "valkey"), S3Server(Path(folder) / "s3")
        valkey.start()
        s3.start()
        port = free_port()
        most = str(args.streams)
        environment = environment_for(valkey, s3, port)
        environment |= {"FILEPROC_MAX_STREAMS": most, "FILEPROC_MAX_STREAMS_PER_OWNER": most}
        # As long as the measurement: those that come back would be counted as memory.
        environment["FILEPROC_STREAM_LIFE_S"] = str(args.seconds * 10 + 600)
        # Full after the first rounds: what grows from then on is none of it.
        environment["FILEPROC_MOVES_REMEMBERED"] = str(args.streams // args.readers * WARM_ROUNDS)
        command = [sys.executable, "-m", "fileproc", "api"]
        api = start(command, environment, f"http://127.0.0.1:{port}/readyz")
        try:
            return uvloop.run(run(valkey, port, api.pid, args))
        finally:
            api.terminate()
            api.wait()
            s3.stop()
            valkey.stop()


if __name__ == "__main__":
    sys.exit(main())
