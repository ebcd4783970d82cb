"""A full scratch disk: a small file system where we may mount one, else a floor no disk has."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

from faults.faults import Stage
from faults.load import BIG, Work

SIZE = 24 * 1024 * 1024
ROOMY = str(1 << 50)


async def disk_full(stage: Stage) -> None:
    """One worker without room: its jobs end all the same, there or elsewhere."""
    worker = stage.cluster.workers[0]
    folder = stage.cluster.folder / "small"
    folder.mkdir(exist_ok=True)
    mounted = await asyncio.to_thread(_mount, folder)
    floor = "0" if mounted else ROOMY
    worker.extra = {"FILEPROC_SCRATCH_DIR": str(folder), "FILEPROC_SCRATCH_FLOOR_BYTES": floor}
    stage.cluster.kill(worker)
    await asyncio.sleep(0.5)
    await asyncio.wait_for(worker.ready.wait(), 60)
    ballast = folder / "ballast"
    if mounted:
        ballast.write_bytes(bytes(SIZE - 4 * 1024 * 1024))
    stage.figures["disk full by"] = "a full file system" if mounted else "the floor"
    body = stage.rng.randbytes(1024) * (BIG // 1024)
    jobs = [stage.load.run(Work("big", "file.probe", {}, body)) for _ in range(6)]
    await asyncio.gather(*jobs)
    ballast.unlink(missing_ok=True)
    stage.cluster.kill(worker)
    await asyncio.sleep(0.5)
    await asyncio.wait_for(worker.ready.wait(), 60)
    if mounted:
        await asyncio.to_thread(subprocess.run, ["umount", "-l", str(folder)], check=False)


def _mount(folder: Path) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "fileproc-faults", str(folder)]
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except OSError:
        return False
