"""Several transfers at once, and again while the storage is away."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from fileproc.crashpoints import crash_point
from fileproc.errors import FileprocError, StorageUnavailableError
from fileproc.jobs import OutputInfo
from fileproc.objects import ObjectStore
from fileproc.operations import Output

TRANSFERS_AT_ONCE: Final = 4
STORAGE_PATIENCE_S = 60.0
STORAGE_PAUSE_CAP_S = 5.0

_T = TypeVar("_T")


async def patiently(transfer: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    """Repeat a transfer while the storage is away.

    That is no fault of the job's: it costs no attempt, and what the child made is not made again.
    Waiting jobs keep their slots, so a worker takes no others meanwhile.

    Raises:
        StorageUnavailableError: it was away for too long; then the attempt fails, as transient.
    """
    loop = asyncio.get_running_loop()
    deadline, ceiling = loop.time() + STORAGE_PATIENCE_S, 0.2
    while True:
        try:
            return await transfer()
        except StorageUnavailableError:
            if loop.time() > deadline:
                raise
        await asyncio.sleep(random.uniform(ceiling / 2, ceiling))  # noqa: S311 - spreads load
        ceiling = min(2 * ceiling, STORAGE_PAUSE_CAP_S)


async def together(transfers: list[Coroutine[Any, Any, _T]]) -> list[_T]:
    """All results in order; the first error cancels the others and comes out by itself."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(transfer) for transfer in transfers]
    except* FileprocError as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


async def publish(
    objects: ObjectStore, prefix: str, outputs: list[Output], *, first: int = 0
) -> list[OutputInfo]:
    """Store files as the objects 0, 1, ... below a prefix that no other attempt has.

    Raises:
        StorageUnavailableError, InsufficientStorageError, TooLargeError: from the storage.
        JobError: one is not a regular file.
    """
    gate = asyncio.Semaphore(TRANSFERS_AT_ONCE)

    async def put(number: int, output: Output) -> OutputInfo:
        async with gate:
            crash_point("before-put")
            # Shared with our own next try: a delete behind a put that failed may be carried out
            # when that has succeeded. What an attempt leaves goes with its prefix.
            stored = await patiently(
                lambda: objects.put_file(
                    f"{prefix}{number}", output.path, content_type=output.type, shared=True
                )
            )
        crash_point("output-stored")
        return OutputInfo(
            name=output.name, size=stored.size, sha256=stored.sha256, type=output.type
        )

    return await together([put(i, output) for i, output in enumerate(outputs, first)])
