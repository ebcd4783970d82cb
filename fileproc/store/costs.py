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


@dataclass(frozen=True, slots=True)
class Sums:
    """What was seen of an operation: `n` jobs, their sizes `x`, wall times `y` and CPU times."""

    n: float
    x: float
    y: float
    xx: float
    xy: float
    cpu: float

    def expect(self, size: int) -> Cost:
        """For a job over `size` bytes: a straight line through what was seen."""
        mean_size, mean_s = self.x / self.n, self.y / self.n
        spread = self.xx / self.n - mean_size**2
        # Larger files never take less; of one size only, nothing is known of others.
        slope = max(0.0, (self.xy / self.n - mean_size * mean_s) / spread) if spread >= 1 else 0.0
        wall_s = max(mean_s + slope * (size - mean_size), 0.0)
        return Cost(wall_s, wall_s * (self.cpu / self.y if self.y else 0.0), round(self.n))


class Costs:
    def __init__(self, pipeline: Pipeline, keys: Keys) -> None:
        self._pipeline = pipeline
        self._keys = keys

    async def learn(self, operation: str, size: int, usage: Usage) -> None:
        """Note what a job over `size` bytes has used."""
        await self._pipeline.script("cost", operation, size, usage.wall_s, usage.cpu_s, LIFE_S)

    async def sums(self, operation: str) -> Sums | None:
        """What was seen so far; None: nothing."""
        names = ("n", "x", "y", "xx", "xy", "cpu")
        sums = await self._pipeline.command("HMGET", self._keys.cost(operation), *names)
        return Sums(*map(float, sums)) if sums[0] is not None else None

    async def expect(self, operation: str, size: int) -> Cost | None:
        """For a job over `size` bytes; None: nothing is known."""
        sums = await self.sums(operation)
        return sums.expect(size) if sums is not None else None
