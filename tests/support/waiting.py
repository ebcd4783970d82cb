"""Waiting for an outcome, with a deadline, instead of sleeping for effect."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any


async def eventually(
    look: Callable[[], Any], *, within_s: float = 30, every_s: float = 0.01
) -> Any:
    """Look until the answer is true; returns it.

    Raises:
        TimeoutError: it was not, in all that time.
    """
    deadline = time.monotonic() + within_s
    while True:
        answer = look()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {within_s} s: {look!r}")
        await asyncio.sleep(every_s)
