"""A worker that is killed or stopped loses no job, and no job loses an attempt it did not use."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from fileproc.client import Client
from support.commands import Dev, dev, photo, run
from support.waiting import eventually

pytestmark = pytest.mark.timeout(240)

Job = dict[str, Any]


async def until(client: Client, job_id: str, within_s: float = 60, **expected: Any) -> Job:
    """The job as soon as it looks as expected."""

    async def there() -> Job | None:
        job = await client.get(job_id)
        return job if all(job[name] == value for name, value in expected.items()) else None

    job: Job = await eventually(there, within_s=within_s, every_s=0.05)
    return job


def signal_worker(running: Dev, number: signal.Signals) -> int:
    worker = running.role("worker")
    assert worker
    os.kill(worker, number)
    return worker


async def test_a_job_whose_worker_is_killed_runs_again_and_is_shown_once(tmp_path: Path) -> None:
    """12 s is what we promise; a busy machine may take five times as long."""
    async with dev(tmp_path) as running, Client(running.url) as client:
        file = photo(tmp_path / "p.jpg")
        job = await client.submit(file, "debug.sleep", {"seconds": 4})
        await until(client, job["id"], state="running", attempt=1)
        signal_worker(running, signal.SIGKILL)
        again = await until(client, job["id"], state="running", attempt=2)
        assert again["started_at"]
        done = await until(client, job["id"], state="succeeded")
        assert done["attempt"] == 2
        async with client.session.get(f"{running.url}/v1/jobs") as answer:
            assert [item["id"] for item in (await answer.json())["data"]] == [job["id"]]


async def test_a_worker_that_is_stopped_hands_back_without_spending_an_attempt(
    tmp_path: Path,
) -> None:
    settings = {"FILEPROC_GRACE_S": "1"}
    async with dev(tmp_path, settings=settings) as running, Client(running.url) as client:
        file = photo(tmp_path / "p.jpg")
        job = await client.submit(file, "debug.sleep", {"seconds": 6})
        first = await until(client, job["id"], state="running")
        worker = signal_worker(running, signal.SIGTERM)
        await eventually(lambda: running.role("worker") not in {None, worker}, within_s=60)
        done = await until(client, job["id"], state="succeeded")
        assert done["attempt"] == 1
        assert done["started_at"] > first["started_at"]


async def test_a_worker_that_is_stopped_lets_a_short_job_end(tmp_path: Path) -> None:
    async with dev(tmp_path) as running, Client(running.url) as client:
        file = photo(tmp_path / "p.jpg")
        job = await client.submit(file, "debug.sleep", {"seconds": 2})
        first = await until(client, job["id"], state="running")
        signal_worker(running, signal.SIGTERM)
        done = await until(client, job["id"], state="succeeded")
        assert (done["attempt"], done["started_at"]) == (1, first["started_at"])


async def test_a_burst_worker_works_the_queue_off_and_exits(tmp_path: Path) -> None:
    """Beside the one of `dev`: reached by what `dev.env` says."""
    async with dev(tmp_path) as running, Client(running.url) as client:
        file = photo(tmp_path / "p.jpg")
        jobs = [await client.submit(file, "image.resize", {"width": 20}) for _ in range(3)]
        lines = (running.data / "dev.env").read_text(encoding="utf-8").splitlines()
        engines = dict(line.split("=", 1) for line in lines)
        done = run("worker", "--burst", "--port", "0", cwd=tmp_path, settings=engines)
        assert done.returncode == 0, done.stderr
        for job in jobs:
            await until(client, job["id"], state="succeeded")
