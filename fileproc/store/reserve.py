"""Room in Redis for what was accepted: new jobs are refused before running ones cannot finish.

With `noeviction` a full Redis refuses every write: also the settling of jobs that are running, and
so nothing would ever get smaller again.
"""

from __future__ import annotations

import time

from fileproc.errors import BacklogError, StoreUnavailableError
from fileproc.store.connection import Pipeline
from fileproc.telemetry import LIMITS_HIT

LOOK_S = 1.0  # by then 5,000 jobs of 2 KB may have come in: a hundredth of a small Redis


class Reserve:
    """How full Redis is, looked at once a second where jobs are accepted.

    Args:
        share: of `maxmemory`, which is kept free; without a `maxmemory` there is nothing to keep.
    """

    def __init__(self, pipeline: Pipeline, share: float) -> None:
        self._pipeline = pipeline
        self._share = share
        self._next = 0.0
        self._used = 0
        self._most = 0

    async def check(self) -> None:
        """Return if there is room for another job.

        Raises:
            BacklogError: only the reserve is left.
        """
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + LOOK_S  # the others go by what was seen last
            await self._look()
        if self._most and self._used > self._most * (1 - self._share):
            LIMITS_HIT.labels("redis_reserve").inc()
            raise BacklogError(
                f"The job store has used {self._used:,} of its {self._most:,} bytes; the rest is "
                "kept for jobs that are there already.",
                retry_after_s=30,
            )

    async def _look(self) -> None:
        try:
            info = await self._pipeline.command("INFO", "memory")
        except StoreUnavailableError:  # a managed server that tells nothing, or one that is away
            self._used = self._most = 0
            return
        self._used = int(info.get("used_memory", 0))
        self._most = int(info.get("maxmemory", 0))
