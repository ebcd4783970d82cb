"""Reads of jobs against the least that could be done, and the redirect of a share link.

    python bench/reads.py [--seconds 3] [--rounds 3] [--clients 64] [--jobs 6000] [--only NAME...]

The peer is a bare aiohttp + uvloop handler that reads the record by HGETALL through the same shared
pipeline and answers it as JSON: no key, no rate, no routes, no headers, nothing understood. All
talk to one Valkey with `appendfsync always`, in turns, in the same run; generator, servers and
Valkey share the machine's cores. Beside what the clock says stands the CPU time that the server
took for a request: what else runs on the machine hardly changes that.

    polled      one queued job that all clients poll
    queued      a thousand queued jobs in turn
    many        six thousand, more than the api remembers: each record is understood anew
    succeeded   a thousand jobs that are done
    keyed       the same as `queued`, by a key: it is looked up, and its requests are counted
    link        the redirect of a share link, each counted, with one client and with 16
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop
from accept import environment_for, start
from load import Figures, measure, request

from fileproc.dev.engines import S3Server, Valkey
from fileproc.dev.processes import free_port
from fileproc.ids import new_id
from fileproc.jobs import FileInfo, JobDocument, JobResult, OutputInfo, Provenance, Usage
from fileproc.settings import Settings
from fileproc.store import NewJob, NewLink, Role, Settlement, Store, open_store

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
SOME = 1_000  # jobs that are asked for in turn
LINK_CLIENTS = (1, 16)
WARM_S = 1.0
OWNERS = {"off": "local", "key": "acme"}  # of the api without keys, and of the one with


def serve_bare(port: int, url: str) -> None:
    """The peer: run as a process of its own."""
    from aiohttp import web

    async def live() -> None:
        async with open_store(Settings(redis_url=url, _env_file=None)) as store:

            async def read(request: web.Request) -> web.Response:
                key = store.names.job(request.match_info["id"])
                return web.json_response(await store.pipeline.command("HGETALL", key))

            app = web.Application()
            app.add_routes([web.get("/jobs/{id}", read)])
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", port).start()
            await asyncio.Event().wait()

    uvloop.run(live())


# --- what is read ------------------------------------------------------------------------------


@dataclass
class Made:
    """What stands in the store: ids of jobs, those of the key's owner, a link's code, the key."""

    queued: list[str]
    succeeded: list[str]
    keyed: list[str]
    link: str
    token: str


def job_of(owner: str) -> NewJob:
    """A picture to be made smaller; nobody looks for its file."""
    file = FileInfo(
        file_id=new_id("file"),
        name="holiday.jpg",
        size=4_711_000,
        sha256="9f" * 32,
        type="image/jpeg",
        declared_type="image/jpeg",
    )
    document = JobDocument(
        operation="image.resize",
        params={"width": 400, "height": 300, "fit": "contain"},
        inputs=[file],
        labels={"album": "summer"},
    )
    return NewJob(new_id("job"), owner, "default", document, 3, 86_400, new_files=[file])


RESULT = JobResult(
    prefix="attempts/none/",
    outputs=[OutputInfo(name="holiday.jpg", size=48_213, sha256="a1" * 32, type="image/jpeg")],
    usage=Usage(wall_s=0.2, cpu_s=0.2, peak_rss_bytes=70_000_000),
    provenance=Provenance(engine="libvips 8.18", fileproc="0.1.0", build="none"),
)


async def accepted(store: Store, owner: str, count: int) -> list[str]:
    return await asyncio.gather(*(store.jobs.accept(job_of(owner)) for _ in range(count)))


async def finished(store: Store, count: int) -> None:
    """Whatever is queued, succeeds."""
    done = 0
    while done < count:
        number = store.queue.next_call()
        leases = await store.queue.claim("default", 0, min(count - done, 250), number)
        done += len(leases)
        await asyncio.gather(
            *(store.queue.settle(Settlement.complete(lease, RESULT)) for lease in leases)
        )


async def linked(store: Store, owner: str, job_id: str) -> str:
    ends_at = (await store.jobs.get(owner, job_id)).expires_at
    assert ends_at is not None
    return (await store.links.make(NewLink(owner, job_id, 0, "holiday.jpg", ends_at))).code


async def make(url: str, count: int) -> Made:
    many = 10 * count + 100
    settings = Settings(
        redis_url=url, _env_file=None, max_queued_per_owner=many, max_event_backlog=100 * many
    )
    async with open_store(settings) as store:
        await store.ensure_schema()
        succeeded = await accepted(store, OWNERS["off"], SOME)
        await finished(store, SOME)
        queued = await accepted(store, OWNERS["off"], count)
        keyed = await accepted(store, OWNERS["key"], SOME)
        link = await linked(store, OWNERS["off"], succeeded[0])
        key = await store.keys.create(OWNERS["key"], Role.USER)
    return Made(queued, succeeded, keyed, link, key.token)


# --- measuring ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Side:
    """A server, and what is sent to it."""

    name: str
    port: int
    pid: int
    payloads: Sequence[bytes]
    expect: str = "200"


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process has used, its threads included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def loaded(side: Side, clients: int, seconds: float) -> Figures:
    return uvloop.run(
        measure(
            "127.0.0.1",
            side.port,
            side.payloads,
            clients=clients,
            seconds=seconds,
            expect=side.expect,
        )
    )


def measured(side: Side, clients: int, seconds: float) -> tuple[Figures, float]:
    """Figures, and microseconds of the server's CPU for a request."""
    before = cpu_s(side.pid)
    figures = loaded(side, clients, seconds)
    used_us = (cpu_s(side.pid) - before) / figures.requests * 1e6
    print(f"  {side.name:9} {figures}   {used_us:5.0f} us of CPU each", flush=True)
    return figures, used_us


def compare(name: str, ours: Side, bare: Side, args: argparse.Namespace) -> None:
    """Rounds in turns; the ratios are those of the medians."""
    print(name)
    rounds: dict[str, list[tuple[Figures, float]]] = {"fileproc": [], "bare": []}
    for side in (ours, bare):  # what runs for the first time takes longer
        loaded(side, args.clients, WARM_S)
    for _ in range(args.rounds):
        for side in (ours, bare):
            rounds[side.name].append(measured(side, args.clients, args.seconds))
    rate = {
        who: statistics.median(figures.per_second for figures, _ in found)
        for who, found in rounds.items()
    }
    used = {who: statistics.median(us for _, us in found) for who, found in rounds.items()}
    p99 = statistics.median(figures.p99_ms for figures, _ in rounds["fileproc"])
    worst = max(figures.p99_ms for figures, _ in rounds["fileproc"])
    print(
        f"{name}: ratio {rate['fileproc'] / rate['bare']:.2f} of the bare handler's requests/s, "
        f"{used['bare'] / used['fileproc']:.2f} by CPU; p99 {p99:.1f} ms, worst {worst:.1f} ms, "
        f"{args.clients} clients\n",
        flush=True,
    )


def gets(paths: Sequence[str], headers: str = "") -> list[bytes]:
    return [request("GET", path, headers=headers) for path in paths]


def reads(made: Made, ports: dict[str, int], pids: dict[str, int], args: Any) -> None:
    """Jobs by the api without keys, by the one with keys, and by the peer."""

    def sides(who: str, job_ids: Sequence[str]) -> tuple[Side, Side]:
        key = f"Authorization: Bearer {made.token}\r\n" if who == "key" else ""
        ours = gets([f"/v1/jobs/{job_id}" for job_id in job_ids], key)
        bare = gets([f"/jobs/{job_id}" for job_id in job_ids])
        return (
            Side("fileproc", ports[who], pids[who], ours),
            Side("bare", ports["bare"], pids["bare"], bare),
        )

    wanted = {
        "polled": ("off", made.queued[:1]),
        "queued": ("off", made.queued[:SOME]),
        "many": ("off", made.queued),
        "succeeded": ("off", made.succeeded),
        "keyed": ("key", made.keyed),
    }
    for name, (who, job_ids) in wanted.items():
        if not args.only or name in args.only:
            compare(name, *sides(who, job_ids), args)


def redirects(made: Made, port: int, pid: int, args: Any) -> None:
    if args.only and "link" not in args.only:
        return
    print("link")
    for clients in LINK_CLIENTS:
        side = Side("fileproc", port, pid, gets([f"/d/{made.link}"]), "302")
        rounds = [measured(side, clients, args.seconds)[0] for _ in range(args.rounds)]
        p50 = statistics.median(figures.p50_ms for figures in rounds)
        p99 = statistics.median(figures.p99_ms for figures in rounds)
        print(f"link: p50 {p50:.1f} ms, p99 {p99:.1f} ms, {clients} clients\n", flush=True)


def run(valkey: Valkey, s3: S3Server, args: argparse.Namespace) -> None:
    made = asyncio.run(make(valkey.url, args.jobs))
    ports = {name: free_port() for name in ("off", "key", "bare")}
    command = [sys.executable, "-m", "fileproc", "api"]
    rates = {f"FILEPROC_RATE_{kind}": "100000/second" for kind in ("READ", "PUBLIC")}
    environments = {who: environment_for(valkey, s3, ports[who]) | rates for who in OWNERS}
    environments["key"]["FILEPROC_AUTH"] = "required"
    bare = [sys.executable, __file__, "--serve-bare", str(ports["bare"]), valkey.url]
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for who in OWNERS:
            ready = f"http://127.0.0.1:{ports[who]}/readyz"
            processes[who] = start(command, environments[who], ready)
        processes["bare"] = start(bare, {}, f"http://127.0.0.1:{ports['bare']}/")
        pids = {who: process.pid for who, process in processes.items()}
        reads(made, ports, pids, args)
        redirects(made, ports["off"], pids["off"], args)
    finally:
        for process in processes.values():
            process.terminate()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--jobs", type=int, default=6_000)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--serve-bare", nargs=2, metavar=("PORT", "URL"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve_bare:
        serve_bare(int(args.serve_bare[0]), args.serve_bare[1])
        return
    with tempfile.TemporaryDirectory() as folder:
        valkey, s3 = Valkey(Path(folder) / "valkey"), S3Server(Path(folder) / "s3")
        valkey.start()
        s3.start()
        try:
            run(valkey, s3, args)
        finally:
            s3.stop()
            valkey.stop()


if __name__ == "__main__":
    main()
