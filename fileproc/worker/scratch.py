"""Scratch folders: one per attempt, below one per worker that its owner keeps locked."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from fileproc.errors import EngineError
from fileproc.store import Lease
from fileproc.telemetry import get_logger
from fileproc.worker.sandbox import remove_scratch

log = get_logger(__name__)


class Scratch:
    def __init__(self, folder: Path, floor_bytes: int) -> None:
        self.folder = folder
        self._floor_bytes = floor_bytes
        self._left: deque[Path] = deque()  # what could not be removed when its attempt ended

    @property
    def free_bytes(self) -> int:
        return shutil.disk_usage(self.folder).free

    @property
    def has_room(self) -> bool:
        """Whether a job may be taken: below the floor it would only fail."""
        return self.free_bytes >= self._floor_bytes

    @asynccontextmanager
    async def attempt(self, lease: Lease) -> AsyncIterator[Path]:
        """A fresh folder for one attempt; gone afterwards, whatever it holds.

        What cannot be removed (for want of a descriptor, say) is tried again after the next one:
        it does not change how this attempt ended.
        """
        folder = self.folder / f"{lease.job_id}-{lease.token}"
        (folder / "in").mkdir(parents=True, mode=0o700)
        try:
            yield folder
        finally:
            folders = [folder, *(self._left.popleft() for _ in range(len(self._left)))]
            # In a thread: an operation may have written thousands of files.
            await asyncio.to_thread(self._remove, folders)

    def _remove(self, folders: list[Path]) -> None:
        for folder in folders:
            try:
                remove_scratch(folder)
            except OSError as exc:
                self._left.append(folder)
                log.warning("a scratch folder is left for later", folder=folder.name, why=str(exc))


@contextmanager
def open_scratch(base: Path | None, worker: str, floor_bytes: int) -> Iterator[Scratch]:
    """The worker's folder; what workers that died have left beside it is swept.

    Raises:
        EngineError: the folder cannot be made or written.
    """
    base = base or Path(tempfile.gettempdir()) / f"fileproc-{os.getuid()}"
    folder = base / worker
    try:
        base.mkdir(parents=True, exist_ok=True, mode=0o700)
        _sweep(base)
        folder.mkdir(mode=0o700)
        lock = (folder / ".lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        raise EngineError(
            f"The scratch folder {base} cannot be used ({exc.strerror}): set FILEPROC_SCRATCH_DIR."
        ) from exc
    with lock:
        try:
            yield Scratch(folder, floor_bytes)
        finally:
            remove_scratch(folder)


def _sweep(base: Path) -> None:
    """Remove folders whose lock nobody holds: their worker is dead."""
    for folder in base.glob("wrk_*"):
        try:
            with (folder / ".lock").open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove_scratch(folder)
                log.info("swept the scratch folder of a dead worker", folder=folder.name)
        except OSError:
            continue  # alive, or being made or swept by another worker right now
