"""What operations cost, learned from the jobs that are done; learned anew after a loss."""

from __future__ import annotations

from dataclasses import dataclass

from fileproc.jobs import Usage
from fileproc.store.connection import Pipeline
from fileproc.store.keys import Keys

LIFE_S = 30 * 86_400


@dataclass(frozen=True, slots=True)
class Cost:
    """What a job may be expected to take; `samples`: how many jobs say so, at most about 50."""

    wall_s: float
    cpu_s: float
    samples: int


class Costs:
    def __init__(self, pipeline: Pipeline, keys: Keys) -> None:
        self._pipeline = pipeline
        self._keys = keys

    async def learn(self, operation: str, size: int, usage: Usage) -> None:
        """Note what a job over `size` bytes has used."""
        await self._pipeline.script("cost", operation, size, usage.wall_s, usage.cpu_s, LIFE_S)

    async def expect(self, operation: str, size: int) -> Cost | None:
        """For a job over `size` bytes: a straight line through what was seen; None: nothing was."""
        names = ("n", "x", "y", "xx", "xy", "cpu")
        sums = await self._pipeline.command("HMGET", self._keys.cost(operation), *names)
        if sums[0] is None:
            return None
        n, x, y, xx, xy, cpu = map(float, sums)
        mean_size, mean_s = x / n, y / n
        spread = xx / n - mean_size**2
        # Larger files never take less; of one size only, nothing is known of others.
        slope = max(0.0, (xy / n - mean_size * mean_s) / spread) if spread >= 1 else 0.0
        wall_s = max(mean_s + slope * (size - mean_size), 0.0)
        return Cost(wall_s, wall_s * (cpu / y if y else 0.0), round(n))
