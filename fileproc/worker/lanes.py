"""A lane: slots, and the loop that fills them.

A slot first, then a job: no job ever waits inside a process where nobody else can reach it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from fileproc import descriptors
from fileproc.crashpoints import crash_point
from fileproc.errors import StoreUnavailableError
from fileproc.store import Lease
from fileproc.store.queue import Queue
from fileproc.telemetry import LIMITS_HIT, RUNNING, SLOTS, get_logger
from fileproc.worker.scratch import Scratch

FLIGHT = 0  # one claim under way per lane; settlements travel beside it, in pipelines of their own
BACKOFF_CAP_S = 5.0
SHORTAGE_PAUSE_S = 1.0

log = get_logger(__name__)


class Lane:
    """Takes jobs of one lane while it has slots, and starts them.

    Args:
        start: begins a job and returns; it must call `done()` when the job has left its slot.
    """

    def __init__(
        self,
        name: str,
        slots: int,
        queue: Queue,
        scratch: Scratch,
        start: Callable[[Lane, Lease], Awaitable[None]],
    ) -> None:
        self.name = name
        self.slots = slots
        self._free = slots
        self._queue = queue
        self._scratch = scratch
        self._start = start
        self._slot_freed = asyncio.Event()
        self._give_up_at: float | None = None  # by the loop's clock; None: nobody said stop
        self._failures = 0
        SLOTS.labels(name).set(slots)

    @property
    def idle(self) -> bool:
        return self._free == self.slots

    def done(self) -> None:
        """A job has left its slot."""
        self._free += 1
        RUNNING.labels(self.name).set(self.slots - self._free)
        self._slot_freed.set()

    @property
    def _stopping(self) -> bool:
        return self._give_up_at is not None

    def stop(self, give_up_at: float) -> None:
        """Take nothing more; `run` returns when what it popped is back in the queue.

        While the store is away it is asked until `give_up_at`, by the loop's clock.
        """
        self._give_up_at = give_up_at
        self._slot_freed.set()

    def _may_give_up(self, free: int) -> bool:
        """Whether a claim without an answer is left alone.

        What it took, if it took anything, is recovered when the lease ends, at the price of an
        attempt; one that takes nothing loses nothing: adoption finds what is left.
        """
        if self._give_up_at is None:
            return False
        return free == 0 or asyncio.get_running_loop().time() >= self._give_up_at

    async def run(self, *, burst: bool = False) -> None:
        """Take and start jobs until `stop`; with `burst`, until the lane is empty."""
        more = True  # something may lie in the queue or in our own list: claim before waiting
        while not self._stopping:
            if not self._free:
                self._slot_freed.clear()
                await self._slot_freed.wait()
                continue
            if await self._without_room():
                continue
            rung = more or await self._wait()
            if not more and await self._without_room():  # that may have been a long wait
                continue
            # Also when the bell did not ring: a claim heals a short list that nobody feeds.
            wanted = self._free
            taken = await self._claim(wanted)
            more = len(taken) == wanted
            if burst and not taken and not rung and self.idle:
                break
        await self._claim(0)  # what was popped and not claimed goes back to the others

    async def _without_room(self) -> bool:
        """Whether a job could only fail here just now; then others get it, and we pause."""
        if not self._scratch.has_room:
            limit, why = "scratch_floor_bytes", "the scratch disk is nearly full"
        elif not descriptors.to_spare():
            limit, why = "open_files", "this process may open next to no more files"
        else:
            return False
        LIMITS_HIT.labels(limit).inc()
        log.warning("no job taken", reason=why)
        await self._claim(0)  # what was popped goes back, to workers that have room
        await asyncio.sleep(SHORTAGE_PAUSE_S)
        return True

    async def _wait(self) -> bool:
        try:
            rung = await self._queue.wait(self.name)
        except StoreUnavailableError:
            await self._back_off()
            return True  # the pop may have acted: look
        if rung:
            crash_point("popped")
        return rung

    async def _claim(self, free: int) -> list[Lease]:
        """Claim and start; asks with the same number until an answer is there."""
        number = self._queue.next_call()
        while True:
            try:
                leases = await self._queue.claim(self.name, FLIGHT, free, number)
            except StoreUnavailableError:
                if self._may_give_up(free):
                    return []
                await self._back_off()
                continue
            self._failures = 0
            break
        if leases:
            crash_point("claimed")
        for lease in leases:
            self._free -= 1
            RUNNING.labels(self.name).set(self.slots - self._free)
            await self._start(self, lease)
        return leases

    async def _back_off(self) -> None:
        self._failures += 1
        ceiling = min(BACKOFF_CAP_S, 0.1 * 2 ** min(self._failures, 10))
        await asyncio.sleep(random.uniform(ceiling / 2, ceiling))  # noqa: S311 - spreads load
