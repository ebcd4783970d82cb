"""`fileproc dev` as a person uses it: real jobs, real signals, nothing left running."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from fileproc.client import Client, ClientError
from fileproc.dev.pictures import read_picture
from support.commands import Dev, all_gone, command_of, descendants, dev, photo, run
from support.waiting import eventually

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Dev]:
    async with dev(tmp_path) as process:
        yield process


async def test_a_photo_becomes_a_thumbnail_and_survives_a_restart(tmp_path: Path) -> None:
    """The main job: PUT, follow, 302 to a presigned URL; the same folder has the same jobs."""
    file = photo(tmp_path / "photo.jpg")
    async with dev(tmp_path) as first:
        async with Client(first.url) as client:
            job = await client.submit(file, "image.resize", {"width": 300, "format": "webp"})
            states = [step async for step in client.follow(job["id"])]
            assert states[-1]["state"] == "succeeded"
            assert states[-1]["attempt"] == 1
            assert await redirects_to_storage(first.url, job["id"])
            result = await client.download(states[-1], tmp_path / "small.webp")
            picture = read_picture(result)
            assert picture
            assert (picture.format, picture.width, picture.height) == ("webp", 300, 400)
        assert await first.stop(signal.SIGTERM) == 0
    async with dev(tmp_path) as second, Client(second.url) as client:
        job = await client.get(job["id"])
        assert job["state"] == "succeeded"
        again = await client.download(job, tmp_path / "again.webp")
        assert again.read_bytes() == result.read_bytes()


async def redirects_to_storage(url: str, job_id: str) -> bool:
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{url}/v1/jobs/{job_id}/result", allow_redirects=False) as answer,
    ):
        location = answer.headers["Location"]
        assert answer.status == 302
        assert "X-Amz-Signature" in location
        return not location.startswith(url)


async def test_ctrl_c_stops_everything_and_says_so(running: Dev) -> None:
    pids = descendants(running.process.pid)
    assert len(pids) >= 5  # Valkey, rclone, its front, the api, the worker
    assert await running.stop(signal.SIGINT) == 0
    assert "Everything is stopped." in running.said
    assert not (running.data / "dev.env").exists()


async def test_a_second_signal_kills(running: Dev) -> None:
    async with Client(running.url) as client:
        job = await client.submit(photo(running.data / "p.jpg"), "debug.sleep", {"seconds": 60})
        await until_state(client, job["id"], "running")
        running.process.send_signal(signal.SIGTERM)
        await eventually(lambda: "once more to kill" in running.said)
        assert await running.stop(signal.SIGTERM) != 0


async def test_nothing_is_left_when_the_supervisor_is_killed(running: Dev) -> None:
    async with Client(running.url) as client:
        job = await client.submit(photo(running.data / "p.jpg"), "debug.sleep", {"seconds": 60})
        await until_state(client, job["id"], "running")
    pids = descendants(running.process.pid)
    running.process.kill()
    running.process.wait()
    await all_gone(pids)


async def test_a_role_that_dies_is_started_again(running: Dev, tmp_path: Path) -> None:
    api = running.role("api")
    assert api
    os.kill(api, signal.SIGKILL)
    await eventually(lambda: running.role("api") not in {None, api})
    assert "The api has ended; starting it again" in running.said
    async with Client(running.url) as client:
        file = photo(tmp_path / "photo.jpg")

        async def submitted() -> bool:
            try:
                await client.submit(file, "image.resize", {"width": 10})
            except ClientError:  # not listening yet
                return False
            return True

        await eventually(submitted, within_s=60)


async def test_an_engine_that_dies_is_started_again_with_its_data(
    running: Dev, tmp_path: Path
) -> None:
    async with Client(running.url) as client:
        job = await client.submit(photo(tmp_path / "p.jpg"), "image.resize", {"width": 10})
        await until_state(client, job["id"], "succeeded")
        engines = {
            pid
            for pid in descendants(running.process.pid)
            if "valkey-server" in command_of(pid) or "rclone serve" in command_of(pid)
        }
        assert len(engines) == 2
        for pid in engines:
            os.kill(pid, signal.SIGKILL)
        await all_gone(engines)

        async def there() -> bool:
            try:
                final = await client.get(job["id"])
                await client.download(final, tmp_path / "p.out")
            except ClientError:
                return False
            return True

        await eventually(there, within_s=60, every_s=0.2)


async def test_a_folder_in_use_is_refused_and_the_first_goes_on(
    running: Dev, tmp_path: Path
) -> None:
    done = run("dev", "--port", "0", "--data", str(running.data), cwd=tmp_path)
    assert done.returncode == 1
    assert f"is in use by another fileproc (process {running.process.pid})" in done.stderr
    assert running.process.poll() is None
    assert (running.data / "dev.env").exists()


async def test_another_address_needs_a_key_which_opens_it(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "data"))
    refused = run("dev", "--port", "0", "--host", "0.0.0.0", *data, cwd=tmp_path)
    assert refused.returncode == 2
    advice = refused.stderr.splitlines()[-1].strip()
    made = run(*advice.removeprefix("python -m fileproc ").split(), cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    async with dev(tmp_path, "--host", "0.0.0.0") as open_to_all:
        file = photo(tmp_path / "photo.jpg")
        async with Client(open_to_all.url) as stranger:
            with pytest.raises(ClientError) as refusal:
                await stranger.submit(file, "image.resize", {"width": 10})
            assert refusal.value.http_status == 401
            assert refusal.value.problem_code == "unauthorized"
        async with Client(open_to_all.url, key=made.stdout.strip()) as owner:
            job = await owner.submit(file, "image.resize", {"width": 10})
            job = await until_state(owner, job["id"], "succeeded")
            await owner.download(job, tmp_path / "small.jpg")  # through the api: S3 is on loopback
        # a key made while it runs is good at once
        other = run("keys", "create", "--owner", "other", *data, cwd=tmp_path)
        async with Client(open_to_all.url, key=other.stdout.strip()) as stranger:
            with pytest.raises(ClientError) as refusal:
                await stranger.get(job["id"])
            assert refusal.value.http_status == 404


async def test_the_client_says_what_the_api_says(running: Dev, tmp_path: Path) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("not a picture at all\n" * 20, encoding="utf-8")
    async with Client(running.url) as client:
        with pytest.raises(ClientError) as wrong_type:
            await client.submit(text, "image.resize", {"width": 10})
        assert wrong_type.value.problem_code == "type_mismatch"
        with pytest.raises(ClientError, match="wide") as unknown:
            await client.submit(photo(tmp_path / "p.jpg"), "image.resize", {"wide": 10})
        assert unknown.value.http_status == 422
        job = await client.submit(tmp_path / "p.jpg", "debug.sleep", {"seconds": 60})
        await client.cancel(job["id"])
        job = await until_state(client, job["id"], "canceled")
        with pytest.raises(ClientError) as unfinished:
            await client.download(job, tmp_path / "none")
        assert unfinished.value.http_status == 409
        assert not (tmp_path / "none").exists()
        assert not (tmp_path / "none.part").exists()


async def test_the_same_idempotency_key_is_the_same_job(running: Dev, tmp_path: Path) -> None:
    file = photo(tmp_path / "p.jpg")
    async with Client(running.url) as client:
        params = {"width": 10}
        first = await client.submit(file, "image.resize", params, idempotency_key="one")
        second = await client.submit(file, "image.resize", params, idempotency_key="one")
        assert first["id"] == second["id"]


async def until_state(client: Client, job_id: str, state: str) -> dict[str, Any]:
    async def there() -> dict[str, Any] | None:
        job = await client.get(job_id)
        return job if job["state"] == state else None

    job: dict[str, Any] = await eventually(there, within_s=60, every_s=0.05)
    return job
