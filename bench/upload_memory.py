"""Memory and speed of a large upload.

    python bench/upload_memory.py [--mib 2048]
        A child process streams a body through `put_stream` to the embedded S3 server.
    python bench/upload_memory.py --through-api http://127.0.0.1:8080/v1/jobs/file.probe --pid PID
        A 2 GiB body is PUT to a running api; read is the peak memory of the process PID.

Printed is by how much the peak resident memory of the uploading process grows, which a first, small
upload precedes (clients and connections are there), and MiB/s. Exit 1 if it grows by more than
--limit-mib.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MIB = 1024 * 1024
CHUNK = 64 * 1024  # what aiohttp hands to a handler at a time


def main() -> int:
    arguments = _arguments()
    if arguments.child:
        print(json.dumps(asyncio.run(_upload(arguments))))
        return 0
    if arguments.through_api:
        figures = asyncio.run(_through_api(arguments))
    else:
        figures = _through_child(arguments)
    return _report(figures, arguments.limit_mib)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mib", type=int, default=2048, help="size of the body (2048)")
    parser.add_argument("--limit-mib", type=float, default=64, help="growth allowed (64)")
    parser.add_argument("--uvloop", action="store_true", help="in the child")
    parser.add_argument("--through-api", metavar="URL", help="PUT the body there instead")
    parser.add_argument("--pid", type=int, help="process id of the api")
    parser.add_argument("--key", help="API key, if the api wants one")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.through_api and not arguments.pid:
        parser.error("--through-api needs --pid")
    return arguments


def _report(figures: dict[str, Any], limit_mib: float) -> int:
    growth_mib = (figures["peak_bytes"] - figures["base_bytes"]) / MIB
    speed = figures["mib"] / figures["seconds"]
    print(f"body              {figures['mib']:8.0f} MiB")
    print(f"speed             {speed:8.1f} MiB/s")
    print(f"cpu               {figures.get('cpu_s', float('nan')):8.1f} s")
    print(f"memory before     {figures['base_bytes'] / MIB:8.1f} MiB")
    print(f"peak memory       {figures['peak_bytes'] / MIB:8.1f} MiB")
    print(f"growth            {growth_mib:8.1f} MiB (allowed: {limit_mib:g})")
    return int(growth_mib > limit_mib)


# --- through put_stream, in a child ------------------------------------------------------------


def _through_child(arguments: argparse.Namespace) -> dict[str, Any]:
    from fileproc.dev.engines import S3Server

    with tempfile.TemporaryDirectory(prefix="fileproc-bench-") as folder:
        server = S3Server(Path(folder))
        server.start()
        try:
            command = [sys.executable, __file__, "--child", "--mib", str(arguments.mib)]
            command += ["--uvloop"] * arguments.uvloop
            environment = {
                **os.environ,
                "AWS_ENDPOINT_URL_S3": server.endpoint,
                "AWS_ACCESS_KEY_ID": server.access_key,
                "AWS_SECRET_ACCESS_KEY": server.secret_key,
                "FILEPROC_S3_BUCKET": "bench",
            }
            done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
        finally:
            server.stop()
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


async def _upload(arguments: argparse.Namespace) -> dict[str, Any]:
    from fileproc.objects import file_key, open_object_store
    from fileproc.settings import load_settings

    if arguments.uvloop:
        import uvloop

        loop: Any = asyncio.get_running_loop()
        if not isinstance(loop, uvloop.Loop):
            return await asyncio.to_thread(uvloop.run, _upload(arguments))
    async with open_object_store(load_settings()) as objects:
        await objects.ensure_bucket()
        await objects.put_stream(file_key("warm_up"), _body(1), content_type="text/plain")
        base_bytes = _peak_bytes()
        began, cpu_began = time.perf_counter(), time.process_time()
        stored = await objects.put_stream(
            file_key("large"), _body(arguments.mib), content_type="application/octet-stream"
        )
        seconds = time.perf_counter() - began
        assert stored.size == arguments.mib * MIB
        return {
            "mib": arguments.mib,
            "seconds": seconds,
            "cpu_s": time.process_time() - cpu_began,
            "base_bytes": base_bytes,
            "peak_bytes": _peak_bytes(),
        }


async def _body(mebibytes: int) -> AsyncIterator[bytes]:
    block = os.urandom(MIB + CHUNK)
    for number in range(mebibytes * MIB // CHUNK):
        start = number * 4093 % MIB
        yield block[start : start + CHUNK]


def _peak_bytes() -> int:
    """The largest resident set this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


# --- through the api ---------------------------------------------------------------------------


async def _through_api(arguments: argparse.Namespace) -> dict[str, Any]:
    import aiohttp

    headers = {"Content-Length": "", "Content-Type": "application/octet-stream"}
    if arguments.key:
        headers["Authorization"] = f"Bearer {arguments.key}"

    async def put(session: aiohttp.ClientSession, mebibytes: int) -> None:
        headers["Content-Length"] = str(mebibytes * MIB)
        answer = session.put(arguments.through_api, data=_body(mebibytes), headers=headers)
        async with answer as response:
            text = await response.text()
            if response.status not in {200, 202}:
                raise SystemExit(f"the api answered {response.status}: {text}")

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:
        await put(session, 1)
        base_bytes = _peak_of(arguments.pid)
        cpu_began, began = _cpu_s_of(arguments.pid), time.perf_counter()
        await put(session, arguments.mib)
        seconds = time.perf_counter() - began
    return {
        "mib": arguments.mib,
        "seconds": seconds,
        "cpu_s": _cpu_s_of(arguments.pid) - cpu_began,
        "base_bytes": base_bytes,
        "peak_bytes": _peak_of(arguments.pid),
    }


def _peak_of(pid: int) -> int:
    """VmHWM: the largest resident set the process ever had, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"process {pid} has no VmHWM")


def _cpu_s_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
