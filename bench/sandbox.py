"""What a child process costs: `python bench/sandbox.py [attempts]`.

Each line is one way to run an operation that does nothing, all in the same run on the same
machine: a bare fork of a process with the same modules, then the whole way from `Sandbox.run` to
its ending with no layer, and with one layer more each time. Only differences and ratios within one
run mean something. Run it as the user the worker runs as, not as root.
"""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from fileproc import telemetry
from fileproc.operations import Limits
from fileproc.settings import SandboxMode, Settings
from fileproc.worker.sandbox import Assignment, Sandbox
from fileproc.worker.zygote.kernel import Kernel, detect

NOOP = str(Path(__file__).with_name("noop.py"))
ROOT = Path(__file__).parents[1]
IN_FLIGHT = 4

_BARE_FORK = """
import os, sys, time
sys.path[:0] = sys.argv[2:]
import importlib, gc
import fileproc.worker.zygote.zygote
from fileproc.operations import catalogue
for operation in catalogue(debug=True).values():
    for engine in operation.engines:
        importlib.import_module(engine)
gc.collect(); gc.freeze()
for _ in range(int(sys.argv[1])):
    begun = time.perf_counter()
    if (pid := os.fork()) == 0:
        os._exit(0)
    usage = os.wait4(pid, 0)[2]
    print(time.perf_counter() - begun, usage.ru_utime + usage.ru_stime)
"""


Took = tuple[float, float]  # seconds on the clock, seconds of processor time of the child


def line(name: str, took: list[Took], rate: float | None = None) -> None:
    walls, cpus = (sorted(1000 * value for value in column) for column in zip(*took, strict=True))
    p50, p99 = (walls[int(len(walls) * part)] for part in (0.5, 0.99))
    tail = f"{rate:10.0f}/s" if rate else ""
    print(f"{name:36}{p50:9.2f}{p99:9.2f}{cpus[len(cpus) // 2]:11.2f}{tail}", flush=True)


def bare_fork(attempts: int) -> list[Took]:
    command = [sys.executable, "-I", "-c", _BARE_FORK, str(attempts), str(ROOT)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    pairs = (row.split() for row in output.splitlines())
    return [(float(wall), float(cpu)) for wall, cpu in pairs]


async def one(sandbox: Sandbox, folder: Path) -> Took:
    assignment = Assignment("bench", "debug.nothing", {}, 1, folder, [], Limits(), debug=True)
    begun = time.perf_counter()
    ending = await sandbox.run(assignment, lambda _: None)
    if ending.error is not None:
        raise ending.error
    return time.perf_counter() - begun, ending.usage.cpu_s


async def measure(name: str, kernel: Kernel, attempts: int) -> None:
    settings = Settings(sandbox=SandboxMode.BEST_EFFORT)
    with tempfile.TemporaryDirectory() as folder:
        async with Sandbox.open(settings, preload=[NOOP], kernel=kernel) as sandbox:
            for _ in range(20):
                await one(sandbox, Path(folder))
            begun = time.perf_counter()
            times = [await one(sandbox, Path(folder)) for _ in range(attempts)]
            line(name, times, attempts / (time.perf_counter() - begun))
            if kernel == detect():
                await measure_together(sandbox, Path(folder), attempts)


async def measure_together(sandbox: Sandbox, folder: Path, attempts: int) -> None:
    times: list[Took] = []

    async def some() -> None:
        times.extend([await one(sandbox, folder) for _ in range(attempts // IN_FLIGHT)])

    begun = time.perf_counter()
    await asyncio.gather(*(some() for _ in range(IN_FLIGHT)))
    line(f"everything, {IN_FLIGHT} in flight", times, len(times) / (time.perf_counter() - begun))


def main() -> None:
    attempts = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    telemetry.configure_logging("error", "console")
    gc.freeze()
    have = detect()
    print(f"{os.cpu_count()} cores, uid {os.getuid()}, {attempts} attempts each")
    print(f"{'':36}{'p50 ms':>9}{'p99 ms':>9}{'child cpu':>11}")
    line("os.fork, exit, wait; nothing else", bare_fork(attempts))
    for name, kernel in (
        ("whole child, no layer", Kernel(0, seccomp=False, rlimits=False)),
        ("+ rlimits", Kernel(0, seccomp=False)),
        ("+ Landlock", Kernel(have.landlock, seccomp=False)),
        ("+ seccomp = everything", have),
    ):
        uvloop.run(measure(name, kernel, attempts))


if __name__ == "__main__":
    main()
