"""The machine itself: its cores are taken, its clock steps, its descriptors run out."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from faults.cluster import Role
from faults.faults import Stage

HOGS = 8
SPARE = 2  # descriptors that a role may still open
HOUR_S = 3600


@contextlib.asynccontextmanager
async def _no_lease_ends(stage: Stage, what: str) -> AsyncIterator[None]:
    """Nobody dies, and no worker that lives loses a job."""
    await stage.until_nothing_is_leased()
    before = len(stage.tail.lines)
    async with stage.nobody_dies(what):
        yield
    await stage.tail.catch_up()
    taken = [line for line in stage.tail.lines[before:] if line.move == "recover"]
    stage.counts["false takes"] += len(taken)
    for line in taken:
        stage.history.complain(f"{what}: {line.job_id} was taken from a worker that lives")


async def cpu_hogs(stage: Stage, seconds: float) -> None:
    """Eight processes want all of each core; the workers' beats must come through all the same."""
    hogs = [_hog() for _ in range(HOGS)]
    try:
        async with _no_lease_ends(stage, "hogs"):
            await asyncio.sleep(seconds)
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
    stage.figures[f"false takes in {seconds:.0f} s with {HOGS} hogs"] = stage.counts["false takes"]


def _hog() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "while True: sum(range(10_000))"])


async def clock_steps(stage: Stage, each_s: float) -> None:
    """The clock of one worker jumps an hour ahead, then two back: nobody else's business.

    Needs Debian's libfaketime; without it the part is left out, and the figures say so.
    """
    library = _libfaketime()
    if library is None:
        stage.figures["clock steps"] = "left out: libfaketime is not installed"
        return
    worker = stage.cluster.workers[-1]
    moment = stage.cluster.folder / "clock"
    moment.write_text("+0", encoding="ascii")
    faked = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(moment),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    await _restarted(stage, worker, faked)
    async with _no_lease_ends(stage, "clock steps"):
        for offset in (HOUR_S, -HOUR_S, 0):
            moment.write_text(f"{offset:+d}", encoding="ascii")
            stage.history.mark("clock", role=worker.name, offset=offset)
            await asyncio.sleep(each_s)
            stage.counts["clock steps"] += 1
    await _restarted(stage, worker, {})


def _libfaketime() -> Path | None:
    return next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


async def _restarted(stage: Stage, role: Role, extra: dict[str, str]) -> None:
    """In order, so that no lease is left; with other settings for this once."""
    role.held = True
    role.extra = extra
    stage.cluster.terminate(role)
    await asyncio.to_thread(role.child.wait, 40)
    role.held = False
    await asyncio.sleep(0.3)
    await asyncio.wait_for(role.ready.wait(), 60)


async def few_descriptors(stage: Stage, each_s: float) -> None:
    """Each kind of role may open next to nothing for a while: it refuses work and stays up."""
    async with stage.nobody_dies("descriptors"):
        for role in (stage.cluster.apis[0], stage.cluster.workers[0]):
            await role.ready.wait()
            with _limited(role.child.pid):
                stage.history.mark("descriptors", role=role.name)
                await asyncio.sleep(each_s)
            stage.counts["limits of descriptors"] += 1


@contextlib.contextmanager
def _limited(pid: int) -> Iterator[None]:
    kind = resource.RLIMIT_NOFILE
    soft, hard = resource.prlimit(pid, kind)
    highest = max(int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir())
    resource.prlimit(pid, kind, (highest + 1 + SPARE, hard))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, kind, (soft, hard))
