"""How fast a job without an upload is accepted, against the least that could be done.

    python bench/accept.py [--seconds 5] [--rounds 3] [--clients 64]

The peer is a bare aiohttp + uvloop handler that makes one call of the accept script through the
same shared pipeline and answers the id: no validation, no middleware, no routes, no problem
documents. Both talk to one Valkey with `appendfsync always`, in turns, in the same run; generator,
server and Valkey share the machine's cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import uvloop
from load import Figures, measure, request

from fileproc.dev.engines import S3Server, Valkey
from fileproc.dev.processes import free_port

BODY = json.dumps({"operation": "debug.sleep", "params": {"seconds": 0}}).encode()


def serve_bare(port: int, url: str) -> None:
    """The peer: run as a process of its own."""
    from aiohttp import web

    from fileproc.ids import new_id
    from fileproc.jobs import JobDocument
    from fileproc.settings import Settings
    from fileproc.store import NewJob, open_store

    async def live() -> None:
        settings = Settings(redis_url=url, _env_file=None, max_queued_per_owner=10**9)
        async with open_store(settings) as store:
            await store.ensure_schema()

            async def accept(_: web.Request) -> web.Response:
                document = JobDocument(operation="debug.sleep", params={"seconds": 0})
                job_id = await store.jobs.accept(
                    NewJob(new_id("job"), "bare", "default", document, 3, 86_400)
                )
                return web.json_response({"id": job_id}, status=202)

            app = web.Application()
            app.add_routes([web.post("/jobs", accept)])
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", port).start()
            await asyncio.Event().wait()

    uvloop.run(live())


def start(command: list[str], environment: dict[str, str], address: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(address, timeout=1) as answer:
                answer.read()
        except urllib.error.HTTPError:
            break
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            break
    return process


def environment_for(valkey: Valkey, s3: S3Server, port: int) -> dict[str, str]:
    return {
        "FILEPROC_REDIS_URL": valkey.url,
        "AWS_ENDPOINT_URL_S3": s3.endpoint,
        "AWS_ACCESS_KEY_ID": s3.access_key,
        "AWS_SECRET_ACCESS_KEY": s3.secret_key,
        "FILEPROC_AUTH": "off",
        "FILEPROC_PORT": str(port),
        "FILEPROC_DEBUG_OPERATIONS": "1",
        "FILEPROC_MAX_QUEUED_PER_OWNER": "1000000000",
        "FILEPROC_MAX_EVENT_BACKLOG": "1000000000",
        "FILEPROC_LOG_LEVEL": "warning",
    }


def compare(
    name: str,
    ours: tuple[int, bytes | list[bytes]],
    bare: tuple[int, bytes | list[bytes]],
    expect: str,
    args: argparse.Namespace,
) -> None:
    """Rounds in turns; the ratio is that of the medians."""
    rounds: dict[str, list[Figures]] = {"fileproc": [], "bare": []}
    for _ in range(args.rounds):
        for who, (port, payload) in (("fileproc", ours), ("bare", bare)):
            figures = uvloop.run(
                measure(
                    "127.0.0.1",
                    port,
                    payload,
                    clients=args.clients,
                    seconds=args.seconds,
                    expect=expect,
                )
            )
            rounds[who].append(figures)
            print(f"{name:7} {who:9} {figures}", flush=True)
    medians = {
        who: statistics.median(figure.per_second for figure in figures)
        for who, figures in rounds.items()
    }
    worst = max(figure.p99_ms for figure in rounds["fileproc"])
    ratio = medians["fileproc"] / medians["bare"]
    print(
        f"{name}: {medians['fileproc']:.0f}/s against {medians['bare']:.0f}/s bare: "
        f"ratio {ratio:.2f}, worst p99 {worst:.1f} ms, {args.clients} clients\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--serve-bare", nargs=2, metavar=("PORT", "URL"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve_bare:
        serve_bare(int(args.serve_bare[0]), args.serve_bare[1])
        return
    with tempfile.TemporaryDirectory() as folder:
        valkey, s3 = Valkey(Path(folder) / "valkey"), S3Server(Path(folder) / "s3")
        valkey.start()
        s3.start()
        port, bare_port = free_port(), free_port()
        processes = [
            start(
                [sys.executable, "-m", "fileproc", "api"],
                environment_for(valkey, s3, port),
                f"http://127.0.0.1:{port}/readyz",
            ),
            start(
                [sys.executable, __file__, "--serve-bare", str(bare_port), valkey.url],
                {},
                f"http://127.0.0.1:{bare_port}/",
            ),
        ]
        try:
            compare(
                "accept",
                (port, request("POST", "/v1/jobs", BODY)),
                (bare_port, request("POST", "/jobs", BODY)),
                "202",
                args,
            )
        finally:
            for process in processes:
                process.terminate()
                process.wait()
            s3.stop()
            valkey.stop()


if __name__ == "__main__":
    main()
