"""Power cuts of the store alone: jobs are accepted as fast as it goes, then the power is gone."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any

import redis

from faults.cluster import watched_valkey
from faults.faults import Stage
from faults.fsyncs import cut
from fileproc.dev.engines import Valkey
from fileproc.errors import StoreUnavailableError
from fileproc.settings import Settings
from fileproc.store import Store, open_store
from support.jobs import make_job

CALLERS = 64


async def store_power_cuts(stage: Stage, number: int, acks_each: int) -> None:
    """With `appendfsync always` nothing that was acknowledged is lost, with `everysec` it is."""
    acked, lost = await _cuts(stage, "always", number, acks_each)
    stage.counts["power cuts"] += number
    stage.figures["acknowledged before power cuts, fsync always"] = acked
    stage.figures["of these lost"] = lost
    if lost:
        stage.history.complain(f"{lost} of {acked} acknowledged jobs were lost in power cuts")
    acked, lost = await _cuts(stage, "everysec", max(1, number // 10), acks_each)
    stage.figures["the same with everysec, as a control"] = f"{lost} of {acked} lost"
    if not lost:
        stage.history.complain("a power cut with everysec lost nothing: the cut does not cut")


async def _cuts(stage: Stage, fsync: str, number: int, acks_each: int) -> tuple[int, int]:
    """(acknowledged, lost) over `number` cuts."""
    folder = stage.cluster.folder / f"power-{fsync}"
    table = folder / "synced.json"
    valkey = watched_valkey(folder, table)
    await asyncio.to_thread(valkey.start)
    acked: set[str] = set()
    try:
        for _ in range(number):
            client: Any = redis.Redis.from_url(valkey.url)
            client.config_set("appendfsync", fsync)
            await _accept_until_dark(stage.rng, valkey, acked, acks_each)
            async with asyncio.timeout(10):
                while not table.exists():
                    await asyncio.sleep(0.01)
            cut(folder / "appendonlydir", table, stage.rng)
            table.unlink()
            await asyncio.to_thread(valkey.start)
        lost = await asyncio.to_thread(_missing, valkey.url, acked)
    finally:
        await asyncio.to_thread(valkey.stop)
    return len(acked), lost


async def _accept_until_dark(
    rng: random.Random, valkey: Valkey, acked: set[str], enough: int
) -> None:
    settings = Settings(redis_url=valkey.url, _env_file=None)
    begin = len(acked)
    async with open_store(settings) as store:
        await store.ensure_schema()
        callers = [asyncio.create_task(_caller(store, acked)) for _ in range(CALLERS)]
        while len(acked) - begin < enough:
            await asyncio.sleep(0.01)
        await asyncio.sleep(rng.uniform(0, 0.2))
        await asyncio.to_thread(valkey.kill)
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)


async def _caller(store: Store, acked: set[str]) -> None:
    while True:
        with contextlib.suppress(StoreUnavailableError):
            acked.add(await store.jobs.accept(make_job()))
        await asyncio.sleep(0)


def _missing(url: str, acked: set[str]) -> int:
    client: Any = redis.Redis.from_url(url, decode_responses=True)
    ids = sorted(acked)
    found = 0
    for start in range(0, len(ids), 1000):
        part = ids[start : start + 1000]
        found += client.exists(*(f"{{fp}}:job:{job_id}" for job_id in part))
    return len(ids) - found
