"""A worker that is told to stop does so, also where Redis is away for good."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from fileproc.dev.engines import Valkey
from fileproc.jobs import JobDocument, JobState
from fileproc.worker.app import open_worker
from support.jobs import make_job
from support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fileproc.settings import Settings
    from fileproc.worker.app import Worker

ENDS_S = 30  # five times the grace and the longest pause of a lane


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Valkey]:
    engine = Valkey(tmp_path / "mortal")
    engine.start()
    yield engine
    engine.stop()


async def test_worker_stops_though_redis_never_comes_back(
    settings: Settings, mortal: Valkey
) -> None:
    others = {"redis_url": type(settings.redis_url)(mortal.url), "redis_prefix": "{m}:"}
    new = make_job(document=JobDocument(operation="debug.sleep", params={"seconds": 0}))
    async with open_worker(settings.model_copy(update={"grace_s": 0.5, **others})) as worker:
        running = asyncio.create_task(worker.run())
        jobs = worker.resources.store.jobs
        await worker.resources.store.ensure_schema()
        await jobs.accept(new)

        async def done() -> bool:
            return (await jobs.get(None, new.id)).state is JobState.SUCCEEDED

        await eventually(done, within_s=60)
        mortal.stop()
        await eventually(lambda: _asks_in_vain(worker), within_s=60)
        worker.stop()
        async with asyncio.timeout(ENDS_S):
            await running


def _asks_in_vain(worker: Worker) -> bool:
    return any(lane._failures > 1 for lane in worker._lanes)
