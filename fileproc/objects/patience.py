"""Seeing work through although its caller was cancelled."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")
PATIENCE_S = 5.0


async def see_through(work: Coroutine[Any, Any, T]) -> T:
    """Await `work`; a cancel is heeded only once it is done, or 5 s later, and then raised.

    For calls whose effect must be known before the next step: one that was cut in the middle may
    still take effect at the server *after* we have cleaned up behind it.
    """
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await _wait_for(task)
        raise


async def _wait_for(task: asyncio.Task[Any]) -> None:
    """Wait for the end of `task`, whatever it is, however often we are cancelled meanwhile."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_S
    while not task.done() and (left_s := deadline - loop.time()) > 0:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({task}, timeout=left_s)
    task.cancel()
    if task.done() and not task.cancelled():
        task.exception()  # looked at: what the caller hears of is the cancel
