"""Local files at both ends of a transfer. Disk calls run in threads.

A write to a full page cache can block for seconds, and a worker that cannot beat loses its jobs.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import stat
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, BinaryIO

from fileproc.errors import ErrorClass, JobError, OutOfResources
from fileproc.objects.patience import see_through
from fileproc.objects.port import Stored

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator
    from pathlib import Path

SLICE_BYTES = 1024 * 1024


async def file_chunks(path: Path) -> AsyncGenerator[bytes]:
    """The file's bytes in slices of 1 MiB.

    Raises:
        JobError: it is not a regular file. Where a sandboxed child made it, a link or a pipe
            could hand out, or wait for, what is none of its business.
    """
    with ExitStack() as held:  # also the file whose opening we were cancelled in

        def opened() -> BinaryIO:
            return held.enter_context(_open_regular(path))

        # Seen through: a thread must not open or read what we have closed by then.
        file = await see_through(asyncio.to_thread(opened))
        while chunk := await see_through(asyncio.to_thread(file.read, SLICE_BYTES)):
            yield chunk


def _open_regular(path: Path) -> BinaryIO:
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        file = os.fdopen(os.open(path, flags), "rb", buffering=0)
    except OSError as exc:
        raise _not_regular(path) from exc
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise _not_regular(path)
    return file


def _not_regular(path: Path) -> JobError:
    return JobError(
        f"The output {path.name!r} is not a regular file.",
        code="bad_output",
        error_class=ErrorClass.PERMANENT,
    )


async def save(chunks: AsyncIterator[bytes], path: Path) -> Stored:
    """Write the stream to `path`, overwriting it; returns what was written.

    Raises:
        OutOfResources: the disk is full.
    """
    sink = _Sink(path)
    batch: list[bytes] = []
    batched = 0
    try:
        async for chunk in chunks:
            batch.append(chunk)
            batched += len(chunk)
            if batched >= SLICE_BYTES:
                await see_through(asyncio.to_thread(sink.take, batch))
                batch, batched = [], 0
        await see_through(asyncio.to_thread(sink.take, batch))
    finally:
        sink.close()
    return sink.stored


@asynccontextmanager
async def removed_on_error(path: Path) -> AsyncIterator[None]:
    try:
        yield
    except BaseException:
        await asyncio.to_thread(path.unlink, missing_ok=True)
        raise


class _Sink:
    """A file that knows its size and digest."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._digest = hashlib.sha256()
        self._size = 0

    @property
    def stored(self) -> Stored:
        return Stored(self._size, self._digest.hexdigest())

    def take(self, batch: list[bytes]) -> None:
        with _full_disk_is_a_limit():
            if self._file is None:
                self._file = self._path.open("wb")
            self._file.writelines(batch)
            self._file.flush()
        for chunk in batch:
            self._size += len(chunk)
            self._digest.update(chunk)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


@contextmanager
def _full_disk_is_a_limit() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        if exc.errno in {errno.ENOSPC, errno.EDQUOT}:
            message = "The scratch disk has no room for this file."
            raise OutOfResources(message, code="scratch_full") from exc
        raise
