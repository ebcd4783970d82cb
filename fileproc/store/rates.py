"""Counts requests in moving windows, the same for all api processes.

aiohttp-ratelimiter brings the windows and their scripts. Of its decorator nothing is used: it tests
and counts in two steps, so that parallel requests pass it, believes any X-Forwarded-For, makes a
budget of each path and answers 500 without Redis.

Not imported by `fileproc.store`: only the api counts requests.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from aiohttplimiter import RedisLimiter
from limits import RateLimitItemPerSecond

from fileproc.rates import Rate
from fileproc.store.connection import at_most_once, translated


class RateWindows:
    """Keys `limit:...`, one list of times for each rate and who; Redis forgets them by itself."""

    def __init__(self, url: str, prefix: str, *, patience_s: float) -> None:
        limiter = RedisLimiter(
            keyfunc=lambda _: "",  # we say who it is with each call
            uri=url,
            implementation="redispy",
            key_prefix=f"{prefix}limit",
            **at_most_once(patience_s),
        )
        self._patience_s = patience_s
        self._windows = limiter.moving_window
        database: Any = limiter.db
        self._client = database.bridge.get_connection()

    async def take(self, rate: Rate, kind: str, who: str, count: int = 1) -> bool:
        """Count so many requests, all or none; False where they would be too many.

        Raises:
            StoreUnavailableError: Redis did not answer in time; they may be counted or not.
        """
        with translated():
            async with asyncio.timeout(self._patience_s):
                return await self._windows.hit(_item(rate), kind, who, cost=count)

    async def left(self, rate: Rate, kind: str, who: str) -> tuple[int, float]:
        """Requests left, and seconds until the oldest one is forgotten; raises as `take`."""
        with translated():
            async with asyncio.timeout(self._patience_s):
                stats = await self._windows.get_window_stats(_item(rate), kind, who)
        return max(0, stats.remaining), max(0.0, stats.reset_time - time.time())

    async def close(self) -> None:
        await self._client.aclose()


def _item(rate: Rate) -> RateLimitItemPerSecond:
    return RateLimitItemPerSecond(rate.requests, rate.window_s)
